"""Estimate how long `make demo` takes on this machine, from some two seconds of its work.

    python -m docs.demo_time

Makes a few clips, and updates the demo's AVE-Net a few times on random input.
"""

import math
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from configs.schema import Config
from data.demo_clips import SIZES
from data.demo_clips.clip import make_clip
from models import build_net
from models.losses import avc_loss
from utils.child_processes import own_cores
from utils.config import load_config, override, parse_settings
from utils.device import channels_last
from utils.optimizers import build_optimizers
from utils.precision import autocast, resolve_precision

# The trainings of `make demo`: AVE-Net, and AVOL-Net from its weights. With smaller frames early, and as many epochs as
# it takes until the validation figures no longer rise.
TRAININGS = (
    ("configs/demo_AVENet.py", "--train.epochs 24 --train.low_res_until 0.6"),
    ("configs/demo_VOLNet.py", "--train.epochs 8 --train.low_res_until 0.5 --train.low_res_size 80"),
)
CLIPS = 3  # that are made to measure
SECONDS = 1.0  # of updates that are measured, at least two of each size
CPU = torch.device("cpu")
# Beside what is measured here, on two cores of an AMD EPYC:
MORE_CLIPS = 1.2  # the test sets, and processes that share the cores
STARTS = 45.0  # seconds for starts, validations, evaluations and reports


def estimate_seconds(clip: float, updates: dict[int, float], cores: int) -> float:
    """Estimate the time of `make demo`, seconds.

    Args:
        clip: seconds that making a clip takes.
        updates: {height of the frames, pixels: seconds of an update of AVE-Net}, of each size in the two trainings.
        cores: of the machine.
    """
    total = MORE_CLIPS * sum(SIZES.values()) * clip / cores + STARTS
    for config in configs():
        steps = config.train.epochs * (SIZES["train"] // config.train.batch_size)
        small = config.train.low_res_until
        total += steps * small * updates[config.train.low_res_size]
        total += steps * (1 - small) * updates[config.data.frame_size]
    return total


def configs() -> list[Config]:
    """Read the configs of both trainings, with their settings on the command line."""
    read = []
    for path, flags in TRAININGS:
        words = flags.replace("--", "").split()
        read.append(override(load_config(path), parse_settings(dict(zip(words[::2], words[1::2], strict=True)))))
    return read


def time_clip() -> float:
    """Measure how long making a clip of the demo takes on one core, seconds."""
    root = Path(tempfile.mkdtemp(prefix="demo_time_"))
    try:
        for kind in ("audio", "video"):
            (root / "train" / kind).mkdir(parents=True)
        make_clip("train", 0, 0, root, 0, 16000)  # the first one also starts the libraries
        start = time.perf_counter()
        for index in range(1, CLIPS + 1):
            make_clip("train", index, index, root, 0, 16000)
        return (time.perf_counter() - start) / CLIPS
    finally:
        shutil.rmtree(root, ignore_errors=True)


def time_updates(config: Config, size: int, seconds: float) -> float:
    """Measure how long an update of a net takes on the CPU with random input: the fastest one, seconds.

    Args:
        config: of an AVE-Net.
        size: height and width of the frames, pixels.
        seconds: to measure for, at least two updates.
    """
    net: Any = channels_last(build_net(config.model)).train()
    optimizers = build_optimizers(config, net.parameter_groups(config.train.last_layer_lr_mult), CPU)
    count, bands = config.train.batch_size, config.spectrogram.n_mels
    frames = torch.randn(count, size, size, 3).permute(0, 3, 1, 2)
    sounds = torch.randn(count, 1, bands, round(config.data.seconds / config.spectrogram.hop))

    def update() -> None:
        with autocast(CPU, config.train.precision):
            loss, _ = avc_loss(net(frames, sounds)[2])
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

    return _fastest(update, seconds)


def _fastest(work: Callable[[], None], seconds: float) -> float:
    """The shortest of at least two calls within `seconds`, after one more."""
    work()
    best, end, done = math.inf, time.perf_counter() + seconds, 0
    while done < 2 or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        best, done = min(best, time.perf_counter() - start), done + 1
    return best


def main() -> None:
    """Measure, and print the estimate in one line."""
    ave = configs()[0]
    sizes = {size for config in configs() for size in (config.data.frame_size, config.train.low_res_size)}
    updates = {size: time_updates(ave, size, SECONDS / len(sizes)) for size in sorted(sizes)}
    minutes = estimate_seconds(time_clip(), updates, own_cores()) / 60
    precision = resolve_precision(CPU, ave.train.precision)
    kind = "bf16" if precision == "bf16" else "fp32, as the processor has no bf16 instructions"
    gpu = "; its GPU, which wasn't measured, will train faster" if torch.cuda.is_available() else ""
    print(
        f"from start to end the demo takes some {max(round(minutes), 1)} minutes on the CPU of this machine "
        f"({own_cores()} cores, {kind}){gpu}"
    )


if __name__ == "__main__":
    main()
