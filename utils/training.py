"""What every training script does first: command line, device, data, run directory."""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, NamedTuple, Protocol, TypeVar

import torch

from configs.schema import Config
from utils import distributed
from utils.agreement import check_agreement
from utils.arguments import max_workers
from utils.command_line import add_resume_option, parse_train_command
from utils.device import gpu_problem, pick_device
from utils.errors import UserError
from utils.kernels import check_compiler, choose_kernels
from utils.memory import disable_malloc_trim
from utils.precision import resolve_precision
from utils.run import Run, SkipHandler, Split


class DataModule(Protocol):
    """Training and validation data of a run."""

    @property
    def splits(self) -> Mapping[str, Split]:
        """{name: clips}."""
        ...

    @property
    def warnings(self) -> list[str]:
        """What to know about the data before training."""
        ...


Data = TypeVar("Data", bound=DataModule)


class TrainingSetup(NamedTuple, Generic[Data]):
    """What a training script begins with."""

    config: Config
    device: torch.device
    data: Data
    run: Run
    on_skip: SkipHandler  # for clips that can't be read, see `Run.skip_handler`


def setup_training(
    argv: Iterable[str] | None,
    description: str | None,
    script: str,
    config_file: str,
    data_module: Callable[[Config, torch.device, int, int], Data],
) -> TrainingSetup[Data]:
    """Parse the command line of a training script, open its data and its run directory.

    Args:
        argv: words after the script's name; None: those of this process.
        description: first lines of `--help`.
        script: the script's name; nets that another script trains are refused.
        config_file: default of `--config`.
        data_module: (config, device, rank, world size) -> the data.

    Raises:
        UserError: a mistake in the settings, the data, or the run directory.
    """
    args, config = parse_train_command(argv, description, add_resume_option, config_file, script)
    if config.train.workers > max_workers():  # no rule of the config, which other machines read too
        raise UserError(
            f"train.workers must be at most {max_workers()} on this machine of {os.cpu_count()} cores, and is "
            f"{config.train.workers}"
        )
    disable_malloc_trim()
    choose_kernels(config.train)
    device = pick_device()
    _check_precision(device, config.train.precision)
    if config.train.compile:
        check_compiler(device)
    data = data_module(config, device, distributed.rank(), distributed.world_size())
    check_agreement(config, data.splits, device)
    run = Run(config, args.resume)
    if distributed.rank() == 0:
        for warning in filter(None, [gpu_problem(), *data.warnings]):
            print(warning)
    return TrainingSetup(config, device, data, run, run.skip_handler(config.data.on_error, data.splits))


def _check_precision(device: torch.device, precision: str) -> None:
    """Raise a UserError if a device can't compute in a precision, or "auto" is another one for other processes."""
    card = torch.cuda.get_device_name() if device.type == "cuda" else "the CPU"
    found = dict(distributed.all_gather_object((resolve_precision(device, precision), card)))
    if len(found) > 1:
        cards = " and ".join(f"{name} ({kind})" for kind, name in found.items())
        raise UserError(
            f"train.precision auto differs between the processes: {cards}; set one that all have, --train.precision "
            "fp16 or fp32"
        )
