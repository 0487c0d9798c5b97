"""eval.py from end to end, as a user runs it, on a few tiny clips."""

import json

import pytest
import torch
from helpers import MIDS, make_dataset, write_json
from kill_and_resume import command
from training import lines

from evaluation.measures.registry import undeclared
from evaluation.tasks.embeddings import embed_split, open_eval_split
from evaluation.trained_net import load_trained_net
from utils import checkpoint

AVC = {"accuracy", "auc", "loss", "pairs"}
RETRIEVAL = {"k", "gain", "labels", "random", "im-im", "im-aud", "aud-im", "aud-aud"}
DIRECTIONS = ("im-im", "im-aud", "aud-im", "aud-aud")


def test_metrics_have_the_promised_keys_and_lie_in_their_ranges(evaluated, whole, data):
    metrics, _, done = evaluated
    assert metrics.keys() >= {"model", "split", "clips", "skipped", "avc", "retrieval"} and undeclared(metrics) == []
    assert not metrics.keys() & {"localization", "separation"}  # don't apply
    assert (metrics["model"], metrics["split"], metrics["clips"], metrics["skipped"]) == ("AVENet", "test", 10, 0)

    avc, found = metrics["avc"], metrics["retrieval"]
    assert avc.keys() >= AVC and found.keys() >= RETRIEVAL
    assert avc["pairs"] == 100  # 10 matches, 90 mismatches
    assert 0 <= avc["accuracy"] <= 1 and 0 <= avc["auc"] <= 1 and 0 < avc["loss"] < 10
    labels = {mid for mids in json.loads((data / "test" / "vid2genre.json").read_text()).values() for mid in mids}
    assert (found["k"], found["gain"], found["labels"]) == (30, "exponential", len(labels))
    assert 0 < found["random"] < 1 and found["ontology"].endswith("ontology.json")
    for direction in DIRECTIONS:
        row = found[direction]
        for prefix in ("", "random_"):
            names = [prefix + name for name in ("ndcg", "recall@1", "recall@5", "recall@10", "map")]
            assert all(0 <= row[name] <= 1 for name in names)
            assert row[prefix + "recall@1"] <= row[prefix + "recall@5"] <= row[prefix + "recall@10"]
            assert 1 <= row[prefix + "median_rank"] <= 10
        assert row["recall@10"] == 1 or "-" not in direction.replace("im-im", "").replace("aud-aud", "")

    shown = [line.split() for line in done.stdout.splitlines()]
    assert ["AUC", f"{avc['auc']:.3f}", f"{avc['auc_error']:.3f}", "0.500"] in shown
    row = found["im-aud"]
    assert any(words[:1] == ["im-aud"] and words[4:7] == [f"{row[n]:.3f}" for n in ("ndcg", "recall@1", "recall@5")]
               for words in shown)  # fmt: skip


def test_the_last_line_names_a_page_of_these_clips(evaluated, data):
    metrics, folder, done = evaluated
    assert done.stdout.strip().endswith(str(folder / "report.html"))
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert f"{metrics['retrieval']['im-aud']['ndcg']:.3f}" in text and "train.batch_size" in text
    assert "is it stuck?" in text and "cosine, different frames" in text
    shown = {path.stem for path in (folder / "report").glob("*.mp3")}
    assert shown == {f"{k:04d}" for k in range(10)} and all(f"report/{name}.mp3" in text for name in shown)
    assert all(clip in text for clip in json.loads((data / "test" / "vid2genre.json").read_text()))


def test_evaluation_again_and_by_other_batches_gives_the_same(evaluated, whole, tmp_path, script):
    """In eval mode no clip's embedding depends on the clips beside it."""
    again = {"checkpoint": whole[0] / "best.pt", "out": tmp_path}
    assert script(command("eval.py", again)).returncode == 0
    assert json.loads((tmp_path / "metrics.json").read_text()) == evaluated[0]
    done = script(command("eval.py", again | {"eval.batch_size": 3, "train.workers": 1, "tasks": "avc"}))
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["avc"] == pytest.approx(evaluated[0]["avc"], abs=1e-4)


def test_embeddings_in_bf16_are_those_in_fp32(whole):
    """Where the hardware has bf16 it is the default: what is measured must not depend on it."""
    found = []
    for precision in ("fp32", "bf16"):
        net = load_trained_net(whole[0] / "best.pt", {"train.precision": precision})
        with torch.no_grad():
            found.append(embed_split(net.model, net.config, open_eval_split(net.config, "test")))
    for one, other in ((found[0].v, found[1].v), (found[0].a, found[1].a)):
        assert 0.999 < (one * other).sum(1).min() < 1 and not torch.equal(one, other)


def test_evaluation_of_best_gives_what_its_validation_gave(whole, script):
    """The same weights, clips, instants and threshold, through another script."""
    done = script(command("eval.py", {"checkpoint": whole[0] / "best.pt", "split": "val", "tasks": "avc"}))
    assert done.returncode == 0, done.stderr
    folder = whole[0] / "eval_val"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert "retrieval" not in metrics and not list(folder.glob("retrieval*"))
    step = checkpoint.load(whole[0] / "best.pt")["step"]  # not always that of the highest AUC: the best within an error
    (val,) = (line for line in lines(whole[0], "val") if line["step"] == step)
    assert metrics["avc"] == pytest.approx({name: val[name] for name in metrics["avc"]}, abs=1e-5)


def test_evaluation_on_another_dataset_with_an_ontology_that_lacks_labels(evaluated, whole, tmp_path, script):
    other = make_dataset(tmp_path / "other", train=0, val=0, test=7, classes=2, seed=1)
    write_json(tmp_path / "ontology.json", [{"id": MIDS[0], "name": "Strings", "child_ids": []}])
    settings = {"checkpoint": whole[0] / "best.pt", "data.root": other, "out": tmp_path / "out"}
    done = script(command("eval.py", settings | {"eval.ontology": tmp_path / "ontology.json"}))
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (metrics["clips"], metrics["retrieval"]["labels"], metrics["data"]) == (7, 2, str(other))
    assert metrics["retrieval"]["unlabelled"] == 0  # the label that the ontology lacks is one too
    assert metrics["retrieval"]["ontology"] == str(tmp_path / "ontology.json")
    said = done.stderr.strip().splitlines()
    assert len(said) == 1 and said[0].startswith("warning: ") and "lacks 1 label of" in said[0] and MIDS[1] in said[0]
