"""Measure training steps of any net on batches in memory, as `utils.engine.fit` takes them.

`evaluation.speed.gpu.report` runs this file in a process for each of its rows, where REQUEST is a `Request` as JSON:

    python -m evaluation.speed.gpu.step_rates REQUEST

A line of JSON for each size of batch follows; the last one has the reason why a larger batch failed, if one did.
"""

import utils.startup  # isort: skip  # noqa: F401

import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

from dataset.loading.loader import Batch
from dataset.transforms.frames import PairTransform
from dataset.transforms.mixtures import MixtureSTFT, MixtureTransform, stack_sources
from evaluation.speed.timing import Rate, device_to_measure, summarize
from models import build_net
from models.losses import make_avc_step, make_separation_step
from models.pixelplayer import PixelPlayer
from models.pretrained import learning_rates, set_up_encoders
from utils.config import Config, load_config, override
from utils.engine import Step, fit
from utils.errors import exit_on_user_error, translate_machine_errors
from utils.kernels import choose_kernels, compile_encoders
from utils.run import Run

WARM_UP, CHUNKS = 4, 5  # steps that don't count; parts whose rates are compared
GIB = 2**30


class Request(NamedTuple):
    """What to measure.

    Attributes:
        config: file of the settings.
        changes: {dotted name of a setting: value}.
        device: "cpu" or "cuda".
        clips: of the first batch.
        doublings: how often the batch is doubled at most.
        seconds: that are measured of each size.
    """

    config: str
    changes: dict[str, Any]
    device: str
    clips: int
    doublings: int
    seconds: float


class _Measured(Exception):
    """Ends a training when enough is measured."""


class StepClock:
    """Gives a training the same batch again and again, and measures how long its steps take.

    Args:
        batch: in the memory of the host, pinned for a GPU.
        device: of the net.
        seconds: to measure; the steps before are `WARM_UP`.

    Attributes:
        rates: clips per second of each of `CHUNKS` parts of the time, once all is measured.
    """

    def __init__(self, batch: Batch, device: torch.device, seconds: float) -> None:
        self.batch, self.is_gpu, self.seconds = batch, device.type == "cuda", seconds
        self.rates: list[float] = []

    def batches(self, _: int) -> Iterator[Batch]:
        """Yield the batch until all is measured; then raise an exception, which ends the training."""
        for _ in range(WARM_UP):
            yield self.batch
        for _ in range(CHUNKS):
            begin, steps = self._now(), 0
            while time.perf_counter() - begin < self.seconds / CHUNKS or not steps:
                yield self.batch
                steps += 1
            self.rates.append(steps * len(self.batch["indices"]) / (self._now() - begin))
        raise _Measured

    def _now(self) -> float:
        """The time when the device has finished, seconds."""
        if self.is_gpu:
            torch.cuda.synchronize()
        return time.perf_counter()


def random_batch(config: Config) -> Batch:
    """Make a batch as the loader collates it, of noise, see `dataset.loading.loader.collate`.

    Args:
        config: its sizes count.
    """
    data, mix, clips = config.data, config.mix, config.train.batch_size
    separates = config.model.name == "PixelPlayer"
    frames = mix.frames if separates else data.frames
    several = (frames,) if frames > 1 else ()
    side, samples = data.resize_size, mix.samples if separates else round(data.seconds * data.sample_rate)
    batch: Batch = {
        "frames": torch.randint(256, (clips, *several, side, side, 3), dtype=torch.uint8),
        "sounds": torch.randint(-9999, 9999, (clips, samples), dtype=torch.int16),
        "seeds": torch.arange(clips), "indices": torch.arange(clips),
        "times": torch.zeros(clips, dtype=torch.float64), "errors": [],
    }  # fmt: skip
    if data.flow != "none":
        batch["flows"] = torch.randint(-99, 99, (clips, side, side, 2 * data.flow_fields), dtype=torch.int8)
    return batch


def build_training(config: Config, device: torch.device) -> tuple[nn.Module, list[dict[str, Any]], Step]:
    """Build a net from scratch with what trains it, as its script does.

    Args:
        config: the settings.
        device: of the net.

    Returns:
        the net, the groups of its parameters, its step.
    """
    train, mix, rates = config.train, config.mix, learning_rates(config)
    torch.manual_seed(train.seed)
    model: Any = build_net(config.model, config.data.flow_fields, train.similarity)
    if isinstance(model, PixelPlayer):
        if train.avc_loss_weight:
            model.add_avc_branch(config.model.width, config.model.dim, config.model.dropout, config.model.pool)
        groups = model.parameter_groups(rates.get("frames.body"), train.lr_vision_head, train.last_layer_lr_mult)
        step: Step = make_separation_step(
            MixtureTransform(config, train=True), MixtureSTFT(mix), partial(stack_sources, sources=mix.sources),
            mix.mask, train.avc_loss_weight, train.avc_warmup, train.loss, train.temperature,
        )  # fmt: skip
    else:
        groups = model.parameter_groups(train.last_layer_lr_mult, train.last_layer_decay, rates)
        step = make_avc_step(
            PairTransform(config, train=True), train.negatives, train.aux_loss_weight, kind=train.loss,
            temperature=train.temperature, silence=train.silence, moments=config.data.moments,
        )  # fmt: skip
    set_up_encoders(model, config, [], resumed=True)  # weights stay random
    names = ("frames.body", "sounds") if isinstance(model, PixelPlayer) else ("vision", "audio")
    compile_encoders([model.get_submodule(name) for name in names], train)
    return model.to(device), groups, step


def measure_steps(config: Config, device: torch.device, seconds: float) -> tuple[Rate, float]:
    """Measure how fast a net trains on batches in memory.

    Args:
        config: the settings.
        device: to train on.
        seconds: to measure.

    Returns:
        clips per second, and the most memory of a GPU that was in use, GiB; of a CPU 0.

    Raises:
        UserError: a batch doesn't fit into the GPU's memory, or the settings are not possible on this device.
    """
    choose_kernels(config.train)
    model, groups, step = build_training(config, device)
    batch = random_batch(config)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        batch = {name: value.pin_memory() if torch.is_tensor(value) else value for name, value in batch.items()}
    clock = StepClock(batch, device, seconds)
    with tempfile.TemporaryDirectory(prefix="step_rates_") as folder:
        run = Run(override(config, {"train.run_dir": folder}))
        with contextlib.suppress(_Measured):
            fit(
                model, run, param_groups=groups, batches=clock.batches, steps_per_epoch=10**9, step=step,
                evaluate=lambda _: {}, best="none",
            )  # fmt: skip
    peak = torch.cuda.max_memory_allocated() / GIB if device.type == "cuda" else 0.0
    return summarize(clock.rates), peak


def measure_sizes(request: Request) -> Iterator[dict[str, Any]]:
    """Measure batches of more and more clips, until one doesn't fit into memory.

    Args:
        request: what to measure.

    Yields:
        {"clips", "rate": clips/s, "spread", "gib"}; of a size that failed {"clips", "failed": the reason}.
    """
    device = device_to_measure(request.device)
    for doubling in range(request.doublings + 1):
        clips = request.clips * 2**doubling
        changes = {**request.changes, "train.batch_size": clips, "train.grad_accum_steps": 1}
        try:
            with translate_machine_errors("take a smaller batch"):
                rate, gib = measure_steps(override(load_config(request.config), changes), device, request.seconds)
        except Exception as error:
            yield {"clips": clips, "failed": f"{error}".split("\n")[0][:200] or type(error).__name__}
            return
        yield {"clips": clips, "rate": rate.median, "spread": rate.spread, "gib": gib}


def main(argv: list[str]) -> None:
    """Measure what the command line `argv` asks for and print a line of JSON for each size."""
    for result in measure_sizes(Request(**json.loads(argv[0]))):
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    with exit_on_user_error():
        main(sys.argv[1:])
