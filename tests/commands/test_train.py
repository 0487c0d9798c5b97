"""train_AVENet.py from end to end on a few tiny clips: what it learns and leaves, stopping and resuming."""

import json
import math
import signal

import pytest
import torch
from kill_and_resume import command, compare, differences, train_command
from training import DEMO, SETTINGS, STEPS, contents, lines, one_sentence, stop_at

from configs.schema import Spectrogram
from dataset.small_splits import warn_of_small_splits
from utils import checkpoint
from utils.config import load_config
from utils.run import read_log

CHANCE = 0.693  # loss, ln 2


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
        taken = int(done.stderr.split(" weights taken from")[0].split()[-3])  # "98 of 106 weights taken from"
        weights = checkpoint.load(tmp_path / name / "last.pt")["model"]
        assert torch.allclose(weights["vision.conv4_2.0.weight"], source["vision.conv4_2.0.weight"], atol=1e-6)
        heads = [key for key in source if weights[key].shape != source[key].shape]
        assert taken == len(source) - len(heads)
    assert heads  # those of the other dimension


# ------------------------------------------------------------------------------------------------ stopping, resuming


def test_a_stopped_and_resumed_run_continues_bit_for_bit(whole, data, tmp_path, script):
    """Stopped by SIGTERM, as batch systems do, and by Ctrl-C: says how to go on, and loses nothing."""
    words = train_command(data, tmp_path, SETTINGS)
    for number, step in ((signal.SIGTERM, 20), (signal.SIGINT, 65)):
        done = stop_at(script, step, number, words, tmp_path)
        assert done.returncode == 130, done.stderr
        assert "Traceback" not in done.stderr and done.stdout == warn_of_small_splits({"val": 8}) + "\n"
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
def test_loader_processes_leave_a_signal_to_the_training(number, data, tmp_path, script):
    """Ctrl-C in a terminal reaches all processes, and so does the SIGTERM of `timeout` and of batch systems."""
    settings = SETTINGS | {
        "train.workers": 2,
        "train.epochs": 1000,
        "train.validate_every": 1000,
        "train.save_every": 1000,
    }
    done = stop_at(script, 5, number, train_command(data, tmp_path, settings), tmp_path, to_group=True)
    assert done.returncode == 130, done.stderr
    said = done.stderr.strip().splitlines()
    assert len(said) == 2 and said[0].startswith("training on ") and said[1].startswith("stopped at step "), said
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
