"""Trainings by the scripts themselves, for `evaluation.speed.gpu.report`: from files, resumed, in several processes."""

import json
import os
import signal
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dataset.baseline_loaders import DIFFERENT, make_clips
from evaluation.speed.gpu.programs import Finished, run_program, started
from evaluation.speed.timing import Rate, summarize
from utils import checkpoint
from utils.run import read_log

SCRIPT, CONFIG = "train_AVENet.py", "configs/config_AVENet.py"
VAL_CLIPS = 4
STOP_AFTER, RESUMED_STEPS = 5, 60  # steps of a run that is stopped and resumed
PARTS = 5  # of a log, whose rates are compared

Settings = dict[str, Any]  # {dotted name: value}


class TrainedRates(NamedTuple):
    """What the log of a training says.

    Attributes:
        rate: clips per second after the first line of the log.
        waiting: share of the time in which the device waited for batches, 0..1.
        loss: in the first line.
    """

    rate: Rate
    waiting: float
    loss: float


def make_dataset(folder: Path, clips: int, seconds: int) -> Path:
    """Make a dataset of synthetic clips: few are different, the others are links to them.

    Args:
        folder: for the files.
        clips: of the train split.
        seconds: length of a clip.

    Returns:
        its root.
    """
    made, root = make_clips(folder / "made", DIFFERENT, seconds) / "train", folder / "data"
    for split, count in (("train", clips), ("val", VAL_CLIPS)):
        for kind, suffix in (("video", "mp4"), ("audio", "wav")):
            (root / split / kind).mkdir(parents=True)
            for k in range(count):
                source = made / kind / f"clip{k % DIFFERENT:02d}.{suffix}"
                os.link(source, root / split / kind / f"{split}{k:05d}.{suffix}")
        genres = {f"{split}{k:05d}": ["/m/042v_gx"] for k in range(count)}
        (root / split / "vid2genre.json").write_text(json.dumps(genres), encoding="utf-8")
    return root


def make_shards(root: Path, device: str, seconds: float) -> Finished:
    """Build shards of a dataset beside it, in the folder "shards".

    Args:
        root: of the dataset.
        device: see `run_program`.
        seconds: that it may take.
    """
    words = ["data/build_shards.py", str(root), str(root.parent / "shards"), "--square"]
    return run_program(words, device, seconds)


def train_words(settings: Settings, processes: int = 1) -> list[str]:
    """List the words after "python" of a training of AVE-Net at full size.

    Args:
        settings: of the command line.
        processes: more than one are started by torchrun.
    """
    together = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    return [*(together if processes > 1 else []), SCRIPT, "--config", CONFIG, *words]


def run_settings(root: Path, run_dir: Path, clips: int, changes: Settings) -> Settings:
    """Get the settings of a training that is measured.

    Args:
        root: of its dataset.
        run_dir: of the run.
        clips: of a batch.
        changes: further settings.
    """
    return {
        "data.root": root, "train.run_dir": run_dir, "train.batch_size": clips, "train.grad_accum_steps": 1,
        "train.data_dependent_init": False, "train.validate_every": 10**6, "train.epochs": 10**6, **changes,
    }  # fmt: skip


def log_rates(run_dir: Path, clips: int) -> TrainedRates | None:
    """Compute rates from the log of a run; None if it has too few lines.

    Args:
        run_dir: of the run.
        clips: of an update.
    """
    lines = [line for line in read_log(run_dir) if line["kind"] == "train"]
    if len(lines) < 3:
        return None
    later = lines[1:]  # the first line has the start of the workers and the choice of kernels in it
    marks = [round(k * (len(lines) - 1) / PARTS) for k in range(PARTS + 1)]
    ends = [lines[mark] for mark in dict.fromkeys(marks)]
    rates = [
        (end["step"] - begin["step"]) * clips / max(end["seconds"] - begin["seconds"], 0.01)
        for begin, end in pairwise(ends)
    ]
    waiting = sum(line["waiting"] for line in later) / len(later)
    return TrainedRates(summarize(rates), waiting, lines[0]["loss"])


def stop_and_resume(settings: Settings, device: str, seconds: float) -> str:
    """Train once to the end, and once stopped by a signal and resumed; compare the weights.

    Args:
        settings: of the training, without its run directory.
        device: see `run_program`.
        seconds: that all may take.

    Returns:
        what differs, in a few words.

    Raises:
        RuntimeError: a training failed.
    """
    end = time.monotonic() + seconds
    folders = [Path(f"{settings['train.run_dir']}_{name}") for name in ("whole", "resumed")]
    whole, parts = (train_words(settings | {"train.run_dir": folder}) for folder in folders)
    _require(run_program(whole, device, end - time.monotonic()), 0)
    with started(parts, device) as program:
        while not _has_step(folders[1]) and program.process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        program.process.send_signal(signal.SIGTERM)
        _require(program.finish(end - time.monotonic()), 130)
    _require(run_program([*parts, "--resume"], device, end - time.monotonic()), 0)
    one, other = (checkpoint.load(folder / "last.pt")["model"] for folder in folders)
    different = [name for name in one if not torch.equal(one[name], other[name])]
    largest = max((float((one[name].double() - other[name].double()).abs().max()) for name in different), default=0.0)
    return f"{len(different)} of {len(one)} weights differ, by at most {largest:.2g}" if different else "bit for bit"


def _has_step(folder: Path) -> bool:
    """Whether a run has taken STOP_AFTER steps."""
    lines = read_log(folder) if (folder / "log.jsonl").exists() else []
    return any(line["kind"] == "train" and line["step"] >= STOP_AFTER for line in lines)


def _require(finished: Finished, code: int) -> None:
    if finished.code != code:
        raise RuntimeError(finished.reason)
