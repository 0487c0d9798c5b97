"""A training step as a module, which torch's averaging of gradients over processes needs."""

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from utils import distributed

Loss = tuple[Tensor, dict[str, Tensor]]  # scalar, and scalar metrics by name


class StepModule(nn.Module):
    """Takes a step in its forward.

    Args:
        model: the net.
        step: (model, batch) -> (loss, metrics).
    """

    def __init__(self, model: nn.Module, step: Callable[[Any, dict[str, Any]], Loss]) -> None:
        super().__init__()
        self.model, self.step = model, step

    def forward(self, batch: dict[str, Any]) -> Loss:
        """Take the step with a `batch`, of this process."""
        return self.step(self.model, batch)


def average_gradients(module: nn.Module, unused_parameters: bool) -> nn.Module:
    """Let several processes average the gradients of a `module` in its backward pass; for one it stays as it is.

    Process 0's weights are copied to all: no rounding differences are left at the start. Buffers, the statistics of
    batch norm, are each process's own in training; `utils.distributed.broadcast_buffers` copies them where they count.

    Args:
        module: on its device.
        unused_parameters: whether some steps don't use all weights.
    """
    if distributed.world_size() == 1:
        return module
    distributed.all_gather_numbers(0.0)  # meet first: DDP's own waiting handles no signals
    with warnings.catch_warnings():  # newer versions of torch have another name for broadcast_buffers
        warnings.simplefilter("ignore", FutureWarning)
        return DistributedDataParallel(
            module, broadcast_buffers=False, gradient_as_bucket_view=True, find_unused_parameters=unused_parameters
        )


def no_average(module: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Make a context in which each process adds to its own gradients of a `module` of `average_gradients`."""
    return module.no_sync() if isinstance(module, DistributedDataParallel) else contextlib.nullcontext()
