"""eval.py --embeddings: the measures of vectors that another program wrote, and of our own."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from given_results import SETTINGS, clip_names, measure, save_vectors, words
from helpers import make_dataset, small_checkpoint

import embed
import eval as script
from evaluation.given.vectors import read_vectors
from evaluation.measures.registry import undeclared
from evaluation.report.compare import write_comparison
from utils.errors import UserError

MEASURES = ("avc", "by_class", "retrieval")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "clips", train=0, val=0, test=10)


@pytest.fixture(scope="module", params=["AVENet", "AVOLNet", "L3Net"])
def own(request, root, tmp_path_factory):
    """metrics.json of a checkpoint, the embeddings that were written beside it, and the checkpoint."""
    folder = tmp_path_factory.mktemp(request.param)
    net = small_checkpoint(folder / "best.pt", **{"model.name": request.param})
    settings = {"checkpoint": net, "data.root": root, "train.workers": 0, "pictures": 0}
    metrics = script.main(words(settings | {"write_embeddings": folder / "own.npz"}))
    return metrics, folder / "own.npz", net


def numbers(values, path=""):
    """{path: number} of everything in a part of metrics.json."""
    if isinstance(values, dict):
        return {k: v for key, value in values.items() for k, v in numbers(value, f"{path}/{key}").items()}
    if isinstance(values, list):
        return {k: v for key, value in enumerate(values) for k, v in numbers(value, f"{path}/{key}").items()}
    return {path: values}


def test_our_own_embeddings_give_the_figures_of_the_checkpoint(own, root, tmp_path):
    metrics, file, _ = own
    found = measure(root, tmp_path, embeddings=file)
    assert undeclared(found) == [] and found["given"] == {
        "kind": "embeddings", "file": str(file), "missing": 0, "doubled": 0, "unknown": 0,
    }  # fmt: skip
    assert (found["model"], found["clips"], found["split"]) == ("own", 10, "test") and "checkpoint" not in found
    for section in MEASURES:
        before, after = numbers(metrics[section]), numbers(found[section])
        assert before.keys() == after.keys() and len(before) > 8
        for key, value in before.items():
            assert after[key] == (value if isinstance(value, str) else pytest.approx(value, abs=1e-9)), key
    page = (tmp_path / "report.html").read_text()
    assert "read from" in page and "There is no log" not in page
    write_comparison([file.parent, tmp_path], tmp_path)
    assert (tmp_path / "compare.html").exists()


def test_a_collection_of_embed_gives_the_retrieval_of_the_checkpoint(root, tmp_path):
    net = small_checkpoint(tmp_path / "best.pt")
    metrics = script.main(words({"checkpoint": net, "data.root": root, "train.workers": 0, "pictures": 0}))
    # Rows at 0.5, 0.6, 0.7 s ...: the evaluated times, those of boxes, are among them.
    embed.main(words({"checkpoint": net, "input": root / "test", "out": tmp_path / "emb", "hop": 0.1, "threads": 1}))
    found = measure(root, tmp_path / "out", embeddings=tmp_path / "emb.npz")
    assert found["given"]["missing"] == 0 and not [note for note in found["notes"] if "nearest" in note]
    before, after = numbers(metrics["retrieval"]), numbers(found["retrieval"])
    assert after == {key: value if isinstance(value, str) else pytest.approx(value, abs=1e-9)
                     for key, value in before.items()}  # fmt: skip
    assert found["avc"]["auc"] == pytest.approx(metrics["avc"]["auc"], abs=1e-9)
    assert found["avc"].keys() == {"auc", "auc_error", "pairs"} and "by_class" not in found
    assert any("no log_odds" in note for note in found["notes"])

    embed.main(words({"checkpoint": net, "input": root / "test", "out": tmp_path / "few", "threads": 1}))
    found = measure(root, tmp_path / "out", embeddings=tmp_path / "few.npz")  # rows at 0.5 and 1.0 s
    assert any("no row is at the evaluated time: the nearest is measured" in note for note in found["notes"])


def test_what_is_missing_doubled_or_unknown_is_counted_and_named(root, tmp_path, capsys):
    clips = clip_names(root)
    written = [*clips[1:], clips[3], "elsewhere"]
    arrays = save_vectors(tmp_path / "net.npz", written)
    modality = arrays["modality"].copy()
    modality[len(written) + 1] = "frame"  # the sound of clips[2] becomes a second frame
    save_vectors(tmp_path / "net.npz", written, modality=modality)
    found = measure(root, tmp_path / "out", embeddings=tmp_path / "net.npz")
    assert found["given"] | {"file": ""} == {
        "kind": "embeddings", "file": "", "missing": 2, "missing_clips": [clips[0], f"{clips[2]}: no sound"],
        "doubled": 1, "doubled_clips": [clips[3]], "unknown": 1, "unknown_clips": ["elsewhere"],
    }  # fmt: skip
    assert found["clips"] == 8
    page, printed = (tmp_path / "out" / "report.html").read_text(), capsys.readouterr().err
    for text in (clips[0], clips[3], "elsewhere"):
        assert text in page and text in printed


def test_the_ranks_are_those_of_the_cosine(root, tmp_path):
    clips, rng = clip_names(root), np.random.default_rng(1)
    arrays = save_vectors(tmp_path / "net.npz", clips)
    arrays["vector"] *= np.exp(2 * rng.normal(size=(len(arrays["vector"]), 1)))  # their dot products rank otherwise
    np.savez(tmp_path / "net.npz", **arrays)
    found = measure(root, tmp_path / "out", embeddings=tmp_path / "net.npz", tasks="retrieval")
    assert "avc" not in found
    unit = arrays["vector"] / np.linalg.norm(arrays["vector"], axis=1, keepdims=True)
    scores = unit[:10] @ unit[10:].T
    ranks = (scores >= scores.diagonal()[:, None]).sum(1)
    assert found["retrieval"]["im-aud"]["recall@1"] == pytest.approx((ranks == 1).mean())
    assert found["retrieval"]["im-aud"]["median_rank"] == pytest.approx(np.median(ranks))


def test_a_time_chooses_among_the_rows_of_a_clip(root, tmp_path):
    clips = clip_names(root)
    arrays = save_vectors(tmp_path / "one.npz", clips)
    twice = {name: np.concatenate([array, array]) for name, array in arrays.items()}
    twice["vector"][20:] = np.random.default_rng(5).normal(size=(20, 8))  # of a time far away
    np.savez(tmp_path / "two.npz", **twice, time=np.repeat([0.8, 30.0], 20))
    one, two = (measure(root, tmp_path / name, embeddings=tmp_path / f"{name}.npz") for name in ("one", "two"))
    assert one["retrieval"] == two["retrieval"] and two["given"]["doubled"] == 0


WRONG = {
    "nan": ({"vector": np.full((20, 8), np.nan)}, "the array vector of .* has a NaN or infinity, row 0"),
    "zeros": ({"vector": np.zeros((20, 8))}, "has a vector of zeros"),
    "shape": ({"vector": np.ones((20, 8, 2))}, r"must be \(rows, D\) numbers and is \(20, 8, 2\)"),
    "text": ({"vector": np.full((20, 8), "1")}, r"must be \(rows, D\) numbers"),
    "rows": ({"vector": np.ones((19, 8))}, "as many rows in each array, and has clip 20, modality 20, vector 19"),
    "modality": ({"modality": np.repeat(["frame", "smell"], 10)}, "row 10 .* has the modality 'smell': write frame or"),
    "absent": ({"clip": None}, "lacks the array clip and has modality, vector"),
    "objects": ({"clip": np.array([["a"], None] * 10, dtype=object)}, "no npz file of plain arrays"),
    "odds": ({"log_odds": np.ones((3, 10))}, r"log_odds of .* is \(3, 10\) and must be \(frames, sounds\), \(10, 10\)"),
    "ranked": ({"ranked_by": np.array("log_odds")}, "with the array log_odds"),
    "names": ({"clip": np.array([f"x{k}" for k in range(20)])}, "results for 0 clips of .* named like 'x0'"),
    "empty": ({"clip": np.array([], str), "modality": np.array([], str), "vector": np.ones((0, 8))}, "has no rows"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_form_is_one_sentence(name, root, tmp_path):
    changes, message = WRONG[name]
    save_vectors(tmp_path / "net.npz", clip_names(root), **changes)
    with pytest.raises(UserError, match=message) as raised:
        measure(root, tmp_path / "out", embeddings=tmp_path / "net.npz")
    assert str(tmp_path / "net.npz") in str(raised.value) and not (tmp_path / "out" / "metrics.json").exists()


@pytest.mark.parametrize("content", [b"", b"PK\3\4 no zip", b"\x93NUMPY", b"clip,modality\n"])
def test_a_file_that_is_no_npz_is_one_sentence(content, root, tmp_path):
    (tmp_path / "net.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"net\.npz is damaged, or no npz file"):
        measure(root, tmp_path / "out", embeddings=tmp_path / "net.npz")
    with pytest.raises(UserError, match=r"gone\.npz can't be read"):
        measure(root, tmp_path / "out", embeddings=tmp_path / "gone.npz")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoint": "best.pt"}, "--embeddings and --checkpoint exclude each other"),
        ({"baselines": "cca"}, "--baselines needs a net"),
        ({"probe_folder": "x"}, "--probe_folder needs a net"),
        ({"benchmark": "vggss"}, "--benchmark vggss measures localization: give --maps"),
        ({"tasks": "localization"}, "--embeddings is measured by --tasks avc retrieval"),
        ({"config": "configs/nowhere.py"}, "there is no config file configs/nowhere.py"),
    ],
)
def test_options_that_fit_no_embeddings_are_refused(options, message, root, tmp_path):
    save_vectors(tmp_path / "net.npz", clip_names(root))
    with pytest.raises(UserError, match=message):
        measure(root, tmp_path / "out", embeddings=tmp_path / "net.npz", **options)


def test_a_checkpoint_takes_no_config(tmp_path):
    with pytest.raises(UserError, match="a checkpoint has its own config"):
        script.main(words({"checkpoint": tmp_path / "best.pt", "config": "configs/demo_AVENet.py"}))


def test_a_clip_that_cannot_be_read_is_skipped_as_in_any_evaluation(root, tmp_path):
    import shutil

    copy = shutil.copytree(root, tmp_path / "data")
    clips = clip_names(copy)
    (copy / "test" / "video" / f"{clips[0]}.mp4").write_bytes(b"broken")
    save_vectors(tmp_path / "net.npz", clips)
    found = measure(copy, tmp_path / "out", embeddings=tmp_path / "net.npz", **{"data.on_error": "skip"})
    assert (found["clips"], found["skipped"], found["given"]["unknown"]) == (9, 1, 0)
    assert list(json.loads((tmp_path / "out" / "metrics.json").read_text())["skipped_clips"]) == [clips[0]]
    assert SETTINGS["train.workers"] == 0


def test_the_example_of_the_page_runs_with_small_nets(root, tmp_path, monkeypatch):
    """In the place of CLIP and CLAP, which aren't installed: nets with their calls, of 8 dimensions."""

    class Images(torch.nn.Module):
        def encode_image(self, pixels):
            return pixels.float().mean((1, 2)) @ torch.eye(3, 8) + 1

    class Sounds(torch.nn.Module):
        def forward(self, waves):
            return SimpleNamespace(audio_embeds=torch.fft.rfft(waves).abs()[:, :800].unflatten(1, (8, 100)).sum(2))

    def extract(sound, sampling_rate, return_tensors):
        assert (sampling_rate, return_tensors, sound.dtype, len(sound)) == (48000, "pt", np.float32, 48000)
        return {"waves": torch.from_numpy(sound)[None]}

    create = {
        "create_model_and_transforms": lambda *_, **__: (Images(), None, lambda image: torch.tensor(np.array(image)))
    }
    clap = SimpleNamespace(from_pretrained=lambda name: Sounds())
    others = {"ClapAudioModelWithProjection": clap, "ClapFeatureExtractor": lambda truncation: extract}
    monkeypatch.setitem(sys.modules, "open_clip", SimpleNamespace(**create))
    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(**others))
    text = (Path(script.__file__).parent / "docs" / "other_nets.md").read_text(encoding="utf-8")
    code = text.partition("```python\n")[2].partition("```")[0].replace("data/demo", str(root))
    assert len([line for line in code.splitlines() if line.strip()]) <= 32
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "other_nets.md", "exec"), {})
    monkeypatch.chdir(Path(script.__file__).parent)
    found = measure(root, tmp_path / "out", embeddings=tmp_path / "clip.npz")
    assert found["clips"] == 10 and 0 <= found["retrieval"]["im-aud"]["ndcg"] <= 1


def test_a_single_array_and_rows_of_one_modality_are_one_sentence(tmp_path):
    np.save(tmp_path / "one.npy", np.ones((4, 2)))
    with pytest.raises(UserError, match=r"one\.npy is a single array, and an npz file of several is asked for"):
        read_vectors(tmp_path / "one.npy")
    rows = {"clip": np.array(["a", "b"]), "modality": np.array(["frame"] * 2), "vector": np.eye(2)}
    np.savez(tmp_path / "frames.npz", **rows)
    with pytest.raises(UserError, match=r"frames\.npz has no row of a sound"):
        read_vectors(tmp_path / "frames.npz")
    rows |= {"modality": np.array(["frame", "sound"]), "log_odds": np.array([[1e300]])}
    np.savez(tmp_path / "odds.npz", **rows)
    with pytest.raises(UserError, match=r"log_odds of .*odds\.npz has values above 1e\+30"):
        read_vectors(tmp_path / "odds.npz")
