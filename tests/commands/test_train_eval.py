"""train_AVENet.py and eval.py from end to end, as a user runs them, on a few tiny clips."""

import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import time

import pytest
import torch
from helpers import MIDS, make_dataset, write_json
from kill_and_resume import REPOSITORY, SMALL, command, compare, differences, one_thread, train_command

from configs.schema import Augment, Spectrogram
from evaluation.measures.registry import undeclared
from evaluation.tasks.embeddings import embed_split, open_eval_split
from evaluation.trained_net import load_trained_net
from utils import checkpoint
from utils.config import load_config
from utils.run import read_log

DEMO = "configs/demo_AVENet.py"
# Next to no augmentation: a run of seconds has no time for it.
PLAIN = {f"augment.{field.name}": 0 for field in dataclasses.fields(Augment) if field.type is float}
PLAIN |= {"augment.crop_min": 0.9, "augment.crop_max": 1, "augment.gain": 0.1, "data.misalignment": 0.1}
# 24 training clips: 6 steps an epoch. Dropout and a running average, so that an evaluation in the wrong mode or of the
# wrong weights shows.
SETTINGS = SMALL | PLAIN | {
    "model.dropout": 0.1, "train.ema": 0.9, "train.epochs": 20, "train.lr": 3e-3, "train.workers": 0,
    "train.save_every": 7, "train.log_every": 1, "train.validate_every": 5,
}  # fmt: skip
STEPS = 120
CHANCE = 0.693  # loss, ln 2
AVC = {"accuracy", "auc", "loss", "pairs"}
RETRIEVAL = {"k", "gain", "labels", "random", "im-im", "im-aud", "aud-im", "aud-aud"}
DIRECTIONS = ("im-im", "im-aud", "aud-im", "aud-aud")


def run(words):
    """Run a script in a process of its own, to its end."""
    return subprocess.run(words, cwd=REPOSITORY, env=one_thread(), capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "clips", train=24, val=8, test=10, classes=6)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A run that was never stopped: its directory and the finished process."""
    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    done = run(train_command(data, run_dir, SETTINGS))
    assert done.returncode == 0, done.stderr
    return run_dir, done


@pytest.fixture(scope="module")
def evaluated(whole):
    """What eval.py wrote beside the checkpoint: metrics.json, the folder, the finished process."""
    folder = whole[0] / "eval_test"
    done = run(command("eval.py", {"checkpoint": whole[0] / "best.pt"}))
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "metrics.json").read_text()), folder, done


@pytest.fixture
def copied(whole, tmp_path):
    """A copy of the finished run that a test may spoil."""
    return shutil.copytree(whole[0], tmp_path / "run")


def lines(run_dir, kind):
    return [line for line in read_log(run_dir) if line["kind"] == kind]


def contents(folder):
    """{path: (bytes, time of the last change)} of all files below a folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def one_sentence(done, *parts):
    """A user's mistake: exit code 2 and one line on stderr that holds `parts`; no traceback."""
    said = done.stderr.strip().splitlines()
    assert done.returncode == 2, done.stderr
    assert len(said) == 1 and said[0].startswith("error: "), done.stderr
    for part in parts:
        assert str(part) in said[0]
    return True


# -------------------------------------------------------------------------------------------------------- training


def test_a_run_leaves_its_settings_log_checkpoints_and_curves(whole, data):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run_dir, done = whole
    assert {path.name for path in run_dir.iterdir()} >= {
        "config.json",
        "log.jsonl",
        "last.pt",
        "best.pt",
        "tensorboard",
    }
    assert not list(run_dir.glob(".*"))  # no half-written file

    config = json.loads((run_dir / "config.json").read_text())
    last = checkpoint.load(run_dir / "last.pt")
    assert last["config"] == config and last["step"] == STEPS
    for name, value in SETTINGS.items():
        section, key = name.split(".")
        assert config[section][key] == value
    assert config["data"]["root"] == str(data)
    assert config["spectrogram"]["hop"] == load_config(DEMO).spectrogram.hop != Spectrogram().hop  # the config file's

    train, val = lines(run_dir, "train"), lines(run_dir, "val")
    assert [line["step"] for line in train] == list(range(1, STEPS + 1))
    assert [line["step"] for line in val] == [30, 60, 90, 120] and [line["epoch"] for line in val] == [5, 10, 15, 20]
    assert train[-1]["lr"] < 1e-5 < 2e-3 < max(line["lr"] for line in train) <= 3e-3

    board = EventAccumulator(str(run_dir / "tensorboard")).Reload()
    for kind, written in (("train", train), ("val", val)):
        curve = board.Scalars(f"{kind}/loss")
        assert [(point.step, pytest.approx(point.value)) for point in curve] == [
            (x["step"], x["loss"]) for x in written
        ]

    assert f"python eval.py --checkpoint {run_dir / 'best.pt'}" in done.stdout


def test_a_short_run_learns(whole, tmp_path, script):
    """Its training clips: on eight others a hundred steps may end at chance, by one processor's rounding."""
    train = lines(whole[0], "train")
    assert sum(line["loss"] for line in train[-10:]) / 10 < CHANCE - 0.1
    assert sum(line["accuracy"] for line in train[-10:]) / 10 > 0.65
    words = ("--split", "train", "--tasks", "avc", "retrieval")
    done = script(command("eval.py", {"checkpoint": whole[0] / "last.pt", "out": tmp_path}, *words))
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["avc"]["auc"] > 0.7
    for direction in ("aud-aud", "im-aud"):
        assert metrics["retrieval"][direction]["ndcg"] > metrics["retrieval"]["random"] + 0.05


def test_best_is_the_last_validation_within_a_standard_error_of_the_largest_auc(whole):
    best = checkpoint.load(whole[0] / "best.pt")
    highest, top = 0, None
    for line in lines(whole[0], "val"):
        highest = max(highest, line["auc"])
        top = line if line["auc"] >= highest - line["auc_error"] else top
    assert (best["step"], best["metrics"]["auc"]) == (top["step"], top["auc"])
    assert f"AUC {top['auc']:.3f}" in whole[1].stdout


def test_validation_does_not_change_what_is_learned(whole, data, tmp_path, script):
    """Weights, running averages and batch norm's statistics end the same, validated four times or once.

    Begun with --resume in an empty directory, which starts from the beginning.
    """
    settings = SETTINGS | {"train.validate_every": 1000}
    done = script(train_command(data, tmp_path, settings, "--resume"))
    assert done.returncode == 0 and "starting from the beginning" in done.stderr
    assert [line["step"] for line in lines(tmp_path, "val")] == [STEPS]
    often, once = (checkpoint.load(run_dir / "last.pt") for run_dir in (whole[0], tmp_path))
    for part in ("model", "ema", "optimizer"):
        assert differences(often[part], once[part], part) == []


def test_one_mismatch_per_match_accumulated_batches_and_full_precision(whole, data, tmp_path, script):
    """Settings take effect: an update of two batches of a net that stands still has the mean of their losses."""
    still = SETTINGS | {
        "train.lr": 1e-12,
        "model.dropout": 0,
        "train.ema": 0,
        "train.epochs": 1,
        "train.precision": "fp32",
    }
    losses = {}
    for name, changes in {
        "all": {}, "one": {"train.negatives": "one"}, "two": {"train.grad_accum_steps": 2},
    }.items():  # fmt: skip
        done = script(train_command(data, tmp_path / name, still | changes))
        assert done.returncode == 0, done.stderr
        losses[name] = [line["loss"] for line in lines(tmp_path / name, "train")]
        assert checkpoint.load(tmp_path / name / "last.pt")["ema"] is None
    assert len(losses["all"]) == len(losses["one"]) == 6 and len(losses["two"]) == 3
    pairs = zip(losses["all"][::2], losses["all"][1::2], strict=True)
    assert losses["two"] == pytest.approx([(first + second) / 2 for first, second in pairs], rel=1e-5)
    assert losses["one"] != pytest.approx(losses["all"], rel=1e-2)


def test_a_run_by_the_clock_ends_in_time_with_a_validation(data, tmp_path, script):
    settings = SETTINGS | {"train.max_minutes": 0.05, "train.epochs": 1, "train.validate_every": 10**6}
    done = script(train_command(data, tmp_path, settings))
    assert done.returncode == 0, done.stderr
    train, (val,) = lines(tmp_path, "train"), lines(tmp_path, "val")
    assert train[-1]["step"] == val["step"] > 6  # more than the one epoch
    assert 2.9 < val["seconds"] < 8
    assert train[-1]["lr"] < 0.5 * max(line["lr"] for line in train)  # the schedule follows the clock
    assert checkpoint.load(tmp_path / "best.pt")["step"] == val["step"]
    again = script(train_command(data, tmp_path, settings, "--resume"))
    assert again.returncode == 0 and "complete" in again.stderr and "AUC" in again.stdout


def test_init_from_takes_what_fits(whole, data, tmp_path, script):
    source = checkpoint.evaluated_weights(checkpoint.load(whole[0] / "best.pt"))
    start = SETTINGS | {"model.init_from": whole[0] / "best.pt", "train.lr": 1e-12, "train.epochs": 1}
    other_head = start | {"model.dim": 8}
    for name, settings in (("all", start), ("some", other_head)):
        done = script(train_command(data, tmp_path / name, settings))
        assert done.returncode == 0, done.stderr
        taken = int(done.stderr.split(" weights taken from")[0].split()[-1])
        weights = checkpoint.load(tmp_path / name / "last.pt")["model"]
        assert torch.allclose(weights["vision.conv4_2.0.weight"], source["vision.conv4_2.0.weight"], atol=1e-6)
        heads = [key for key in source if weights[key].shape != source[key].shape]
        assert taken == len(source) - len(heads)
    assert heads  # those of the other dimension


# ------------------------------------------------------------------------------------------------ stopping, resuming


def stop_at(step, number, words, run_dir, to_group=False):
    """Start a training, send it a signal once it has logged `step`, and return the finished process."""
    process = subprocess.Popen(
        words, cwd=REPOSITORY, env=one_thread(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while process.poll() is None and not any(line["step"] >= step for line in read_log(run_dir)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        (os.killpg if to_group else os.kill)(process.pid, number)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def test_a_stopped_and_resumed_run_continues_bit_for_bit(whole, data, tmp_path, script):
    """Stopped by SIGTERM, as batch systems do, and by Ctrl-C: says how to go on, and loses nothing."""
    words = train_command(data, tmp_path, SETTINGS)
    for number, step in ((signal.SIGTERM, 20), (signal.SIGINT, 65)):
        done = stop_at(step, number, words, tmp_path)
        assert done.returncode == 130, done.stderr
        assert "Traceback" not in done.stderr and done.stdout == ""
        stopped = checkpoint.load(tmp_path / "last.pt")["step"]
        assert step <= stopped < STEPS and lines(tmp_path, "train")[-1]["step"] == stopped
        assert f"stopped at step {stopped}" in done.stderr and "--resume" in done.stderr.strip().splitlines()[-1]
        words = train_command(data, tmp_path, SETTINGS, "--resume")
        if number == signal.SIGTERM:  # before the first validation: it can be measured all the same
            early = script(command("eval.py", {"checkpoint": tmp_path / "last.pt", "tasks": "avc"}))
            assert early.returncode == 0, early.stderr
    done = script(words)
    assert done.returncode == 0 and f"resuming {tmp_path} at step {stopped}" in done.stderr
    assert compare(whole[0], tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_loader_processes_leave_a_signal_to_the_training(number, data, tmp_path):
    """Ctrl-C in a terminal reaches all processes, and so does the SIGTERM of `timeout` and of batch systems."""
    settings = SETTINGS | {
        "train.workers": 2,
        "train.epochs": 1000,
        "train.validate_every": 1000,
        "train.save_every": 1000,
    }
    done = stop_at(5, number, train_command(data, tmp_path, settings), tmp_path, to_group=True)
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert checkpoint.load(tmp_path / "last.pt")["step"] == lines(tmp_path, "train")[-1]["step"] >= 5


def test_resuming_a_finished_run_says_so_and_trains_no_more(copied, data, script):
    before = contents(copied)
    done = script(train_command(data, copied, SETTINGS, "--resume"))
    assert done.returncode == 0 and f"is complete at step {STEPS}" in done.stderr
    after = contents(copied)
    for name in ("last.pt", "best.pt", "log.jsonl"):
        assert after[copied / name][0] == before[copied / name][0]


def test_a_run_stopped_just_before_its_last_validation_is_validated_when_resumed(copied, whole, data, script):
    content = checkpoint.load(copied / "last.pt")
    checkpoint.save(copied / "last.pt", content | {"metrics": {}, "best": {}, "highest": -math.inf})
    (copied / "best.pt").unlink()
    log = [line for line in read_log(copied) if line["kind"] == "train"]
    (copied / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    done = script(train_command(data, copied, SETTINGS, "--resume"))
    assert done.returncode == 0, done.stderr
    assert differences(lines(copied, "val"), lines(whole[0], "val")[-1:]) == []
    assert checkpoint.load(copied / "best.pt")["step"] == STEPS


def test_a_longer_run_goes_on_from_a_finished_one(copied, data, script):
    """epochs, like the number of loader processes, may change on a resume."""
    changed = SETTINGS | {"train.epochs": 21, "train.workers": 1}
    done = script(train_command(data, copied, changed, "--resume"))
    assert done.returncode == 0, done.stderr
    assert [line["step"] for line in lines(copied, "train")] == list(range(1, STEPS + 7))


@pytest.mark.parametrize("words", [{}, {"train.lr": 1e-4}, {"model.width": 8}, {"augment.noise": 0.5}])
def test_a_run_is_never_overwritten(words, copied, data, script):
    """Neither started anew in its directory nor resumed with other settings; nothing is touched."""
    before = contents(copied)
    done = script(train_command(data, copied, SETTINGS | words, *(["--resume"] if words else [])))
    assert one_sentence(done, copied, *(words or ["--resume", "--train.run_dir"]))
    assert contents(copied) == before


def test_a_start_that_failed_claims_no_directory(data, tmp_path, script):
    settings = SETTINGS | {"train.epochs": 1}
    assert script(train_command(data, tmp_path, settings | {"model.init_from": "none.pt"})).returncode == 2
    assert script(train_command(data, tmp_path, settings)).returncode == 0


# ------------------------------------------------------------------------------------------------------ evaluation


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
    assert ["AUC", f"{avc['auc']:.3f}", "0.500"] in shown
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
    assert metrics["retrieval"]["ontology"] == str(tmp_path / "ontology.json")
    said = done.stderr.strip().splitlines()
    assert len(said) == 1 and said[0].startswith("warning: ") and "lacks 1 labels" in said[0] and MIDS[1] in said[0]


# ----------------------------------------------------------------------------------------------- clips that are broken


@pytest.fixture(scope="module")
def broken(data, tmp_path_factory):
    """The dataset with a truncated video in each split, and a test clip without its sound."""
    root = shutil.copytree(data, tmp_path_factory.mktemp("broken") / "clips")
    for split in ("train", "val", "test"):
        video = root / split / "video" / f"{split}_0002.mp4"
        video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    (root / "test" / "audio" / "test_0005.wav").unlink()
    return root


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_clip_stops_training_with_its_name(workers, broken, tmp_path, script):
    done = script(train_command(broken, tmp_path, SETTINGS | {"train.workers": workers}))
    assert one_sentence(done, "train_0002", "--data.on_error skip")


def test_broken_clips_are_left_out_counted_and_listed_on_request(broken, tmp_path, script):
    """Also where one is alone in its batch, and once only however often they are met."""
    settings = SETTINGS | {"data.on_error": "skip", "train.epochs": 3, "train.validate_every": 1, "eval.batch_size": 1}
    (broken / "train" / "video" / "stray.mp4").write_bytes(b"no sound goes with it")
    for epochs in (3, 4):
        settings["train.epochs"] = epochs
        done = script(train_command(broken, tmp_path, settings, *(["--resume"] if epochs == 4 else [])))
        assert done.returncode == 0, done.stderr
        skipped = lines(tmp_path, "skipped")
        assert sorted(line["clip"] for line in skipped) == ["stray", "train_0002", "val_0002"]
        assert all(line["clip"] in line["reason"] for line in skipped)
    (broken / "train" / "video" / "stray.mp4").unlink()
    assert {line["pairs"] for line in lines(tmp_path, "val")} == {49}  # 7 of 8 clips

    done = script(command("eval.py", {"checkpoint": tmp_path / "last.pt", "tasks": "avc"}))
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "eval_test" / "metrics.json").read_text())
    assert (metrics["clips"], metrics["skipped"], metrics["avc"]["pairs"]) == (8, 2, 64)
    assert metrics["skipped_clips"].keys() == {"test_0002", "test_0005"}

    done = script(command("eval.py", {"checkpoint": tmp_path / "last.pt", "data.on_error": "stop"}))
    assert one_sentence(done, "test_0005", "no audio")


def test_a_split_in_which_no_clip_can_be_read_is_named(data, whole, tmp_path, script):
    root = shutil.copytree(data, tmp_path / "clips")
    for split in ("val", "test"):
        for video in (root / split / "video").iterdir():
            video.write_bytes(b"")
    skip = {"data.on_error": "skip", "train.epochs": 1}
    done = script(train_command(root, tmp_path / "run", SETTINGS | skip))
    assert done.returncode == 2 and f"error: {root / 'val'}" in done.stderr and "Traceback" not in done.stderr
    done = script(command("eval.py", {"checkpoint": whole[0] / "best.pt", "data.root": root, "data.on_error": "skip"}))
    assert one_sentence(done, root / "test")


# -------------------------------------------------------------------------------------------------------- mistakes


class Malicious:
    """Unpickling it would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.fixture(scope="module")
def places(whole, data, tmp_path_factory):
    """Files and folders to make mistakes with, by name."""
    folder = tmp_path_factory.mktemp("mistakes")
    place = {"data": data, "best": whole[0] / "best.pt", "missing": folder / "missing", "folder": folder}

    for name, content in (("empty", "{}"), ("malformed", "{not json"), ("other_form", '["a list"]')):
        place[name] = folder / name
        shutil.copytree(data, place[name], ignore=shutil.ignore_patterns("*.mp4", "*.wav"))
        (place[name] / "train" / "vid2genre.json").write_text(content)
    place["small"] = make_dataset(folder / "small", train=3, val=2, test=0)
    shutil.copytree(place["small"], folder / "half")
    (folder / "half" / "train" / "audio" / "train_0000.wav").unlink()

    content = checkpoint.load(place["best"])
    checkpoint.save(folder / "nothing_fits.pt", content | {"model": {"other": torch.zeros(3)}, "ema": None})
    (folder / "truncated.pt").write_bytes(place["best"].read_bytes()[:-1000])
    (folder / "empty.pt").write_bytes(b"")
    (folder / "text.pt").write_text("not a checkpoint")
    torch.save({"format": 1, "model": Malicious(folder / "it_ran")}, folder / "malicious.pt")
    torch.save({"state_dict": {"weight": torch.zeros(3)}}, folder / "foreign.pt")
    (folder / "config.py").write_text("config = 1 / 0\n")
    shutil.copytree(whole[0], folder / "damaged_run", ignore=shutil.ignore_patterns("tensorboard", "eval*"))
    shutil.copy(folder / "truncated.pt", folder / "damaged_run" / "last.pt")
    return place


# What is typed after `python train_AVENet.py --config configs/demo_AVENet.py SMALL-SETTINGS`, and what is said of it.
TRAINING_MISTAKES = {
    "no dataset": (["--data.root", "{missing}"], ["{missing}", "data/make_demo_data.py", "--data.root"]),
    "no dataset, the paper's config": (
        ["--config", "configs/config_AVENet.py", "--data.root", "{missing}"], ["{missing}", "data/make_demo_data.py"]),
    "an empty split": (["--data.root", "{empty}"], ["{empty}/train", "empty"]),
    "labels not in JSON": (["--data.root", "{malformed}"], ["{malformed}/train/vid2genre.json", "not valid JSON"]),
    "labels of another form": (["--data.root", "{other_form}"], ["{other_form}/train/vid2genre.json", "form"]),
    "a clip without its sound": (["--data.root", "{folder}/half"], ["train_0000", "no audio"]),
    "a batch larger than the dataset": (["--data.root", "{small}"], ["--train.batch_size", "{small}", "3"]),
    "more accumulated than the dataset": (["--train.grad_accum_steps", "7"], ["--train.grad_accum_steps", "24"]),
    "an unknown setting": (["--train.learning_rate", "1"], ["train.learning_rate", "nearest"]),
    "an unknown option": (["--resmue"], ["--resmue", "--help"]),
    "a word for a number": (["--train.epochs", "many"], ["train.epochs", "many", "whole number"]),
    "a fraction for a whole number": (["--model.width", "4.5"], ["model.width", "whole number"]),
    "a value out of range": (["--train.batch_size", "1"], ["train.batch_size", "at least 2"]),
    "no value": (["--train.lr"], ["--train.lr", "value"]),
    "another choice": (["--train.negatives", "some"], ["train.negatives", "all, one"]),
    "no such config": (["--config", "{missing}.py"], ["{missing}.py", "configs/"]),
    "a config that fails": (["--config", "{folder}/config.py"], ["{folder}/config.py", "ZeroDivisionError"]),
    "no such net": (["--model.name", "VENet"], ["model.name", "VENet", "AVENet"]),
    "a run directory below a file": (["--train.run_dir", "{folder}/text.pt/run"], ["text.pt/run", "--train.run_dir"]),
    "a run directory that is a file": (["--train.run_dir", "{folder}/text.pt"], ["text.pt", "--train.run_dir"]),
    "a start from another net": (["--model.init_from", "{folder}/nothing_fits.pt"], ["nothing_fits.pt", "fits"]),
    "a start from a missing file": (["--model.init_from", "{missing}"], ["{missing}", "no checkpoint"]),
    "a start from a malicious file": (["--model.init_from", "{folder}/malicious.pt"], ["malicious.pt", "code"]),
    "a damaged run": (["--resume", "--train.run_dir", "{folder}/damaged_run"], ["damaged_run/last.pt", "damaged"]),
    "a learning rate that explodes": (
        ["--train.optimizer", "adam", "--train.lr", "1e38", "--train.warmup", "0", "--train.save_every", "1"],
        ["not finite", "--train.lr"]),
}  # fmt: skip

# What is typed after `python eval.py`.
EVALUATION_MISTAKES = {
    "no checkpoint named": ([], ["--checkpoint"]),
    "no such checkpoint": (["--checkpoint", "{missing}"], ["{missing}", "no checkpoint"]),
    "a folder": (["--checkpoint", "{folder}"], ["{folder}"]),
    "a truncated checkpoint": (["--checkpoint", "{folder}/truncated.pt"], ["truncated.pt", "damaged"]),
    "an empty file": (["--checkpoint", "{folder}/empty.pt"], ["empty.pt", "damaged"]),
    "a text": (["--checkpoint", "{folder}/text.pt"], ["text.pt", "damaged"]),
    "a malicious checkpoint": (["--checkpoint", "{folder}/malicious.pt"], ["malicious.pt", "code"]),
    "a checkpoint of another project": (["--checkpoint", "{folder}/foreign.pt"], ["foreign.pt", "not written by"]),
    "another width": (["--checkpoint", "{best}", "--model.width", "8"], ["best.pt", "another net", "model.width"]),
    "no dataset": (["--checkpoint", "{best}", "--data.root", "{missing}"], ["{missing}", "--data.root"]),
    "no such split": (["--checkpoint", "{best}", "--split", "exam"], ["exam", "{data}"]),
    "a split that the dataset lacks": (["--checkpoint", "{best}", "--data.root", "{small}"], ["test", "{small}"]),
    "no such task": (["--checkpoint", "{best}", "--tasks", "guess"], ["--tasks", "guess"]),
    "no such ontology": (["--checkpoint", "{best}", "--eval.ontology", "{missing}"], ["{missing}", "--eval.ontology"]),
    "results below a file": (["--checkpoint", "{best}", "--out", "{folder}/text.pt/out"], ["text.pt/out", "--out"]),
    "a wrong type": (["--checkpoint", "{best}", "--eval.k", "few"], ["eval.k", "few"]),
}


@pytest.mark.parametrize("mistake", TRAINING_MISTAKES)
def test_a_mistake_in_training_gets_one_sentence(mistake, places, tmp_path, script):
    typed, said = TRAINING_MISTAKES[mistake]
    run_dir = tmp_path / "run"
    words = train_command(places["data"], run_dir, SMALL | {"train.workers": 0})
    done = script(words + [word.format(**places) for word in typed])
    assert one_sentence(done, *(part.format(**places) for part in said)) and done.stdout == ""
    assert not list(tmp_path.glob("**/*.pt")) and not (places["folder"] / "it_ran").exists()


@pytest.mark.parametrize("mistake", EVALUATION_MISTAKES)
def test_a_mistake_in_evaluation_gets_one_sentence(mistake, places, script):
    typed, said = EVALUATION_MISTAKES[mistake]
    done = script(command("eval.py") + [word.format(**places) for word in typed])
    assert one_sentence(done, *(part.format(**places) for part in said)) and done.stdout == ""
    assert not (places["folder"] / "it_ran").exists()
