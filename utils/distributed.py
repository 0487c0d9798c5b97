"""Several processes that train one net, one per GPU, as torchrun starts them. In a single process nothing happens.

What only the hosts need (sizes, flags, metrics) goes from CPU to CPU through gloo, so that no device is waited for.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from utils.child_processes import end_with_parent
from utils.errors import UserError, translate_machine_errors

TRAINING_MEMORY = "lower --train.batch_size, --train.workers or --data.cache_gb"


def rank() -> int:
    """Get the number of this process, 0..world_size() - 1. Process 0 writes files and prints."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Get the number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def process_group() -> Iterator[None]:
    """Join the other processes while a script runs; inside `utils.errors.exit_on_user_error`.

    One process prints an error, even if all of them raise it. If a process ends, the others end too, so that none waits
    forever.

    Raises:
        UserError: as the script does, in the first process that raises it; the others exit with its code silently.
        SystemExit(1): another process has ended without an error message.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) < 2:
        yield
        return
    end_with_parent(signal.SIGTERM)  # a torchrun that is killed: a checkpoint is written, and nobody trains unseen
    store, number, count = next(iter(dist.rendezvous("env://")))
    # torchrun keeps the store when it restarts the processes, with the addresses of those that have ended.
    store = dist.PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=number, world_size=count)
    try:
        _select_gpu()
        with translate_machine_errors(TRAINING_MEMORY):
            yield
    except UserError as error:
        first, code = _first_to_end(store, error.exit_code)
        if first:
            raise
        sys.exit(code)
    except RuntimeError as error:
        if not _is_lost_connection(error):
            raise
        first, code = _first_to_end(store, 1)
        if first:
            print(
                f"error: another of the {count} processes has ended, so process {number} ends too: resume from the "
                "last checkpoint with the same command and --resume", file=sys.stderr,
            )  # fmt: skip
        sys.exit(code)
    finally:
        _remove_torchrun_folder()
    dist.destroy_process_group()


def _remove_torchrun_folder() -> None:
    """Remove the empty folders that torchrun makes for each process in TMPDIR and leaves there."""
    file = Path(os.environ.get("TORCHELASTIC_ERROR_FILE", ""))
    if any(folder.name.startswith("torchelastic_") for folder in file.parents):
        with contextlib.suppress(OSError):  # not empty: other processes have not ended
            for folder in file.parents:
                folder.rmdir()
                if folder.name.startswith("torchelastic_"):
                    break


def _first_to_end(store: dist.Store, code: int) -> tuple[bool, int]:
    """Register that this process ends with `code`: (whether it is the first to end, the exit code of the first)."""
    try:
        first, first_code = store.compare_set("ended", "", f"{rank()} {code}").decode().split()
    except RuntimeError:  # without torchrun, process 0 keeps the store: it has ended, with an error message
        return False, code
    return int(first) == rank(), int(first_code)


def _select_gpu() -> None:
    """Make this process's GPU the default one."""
    gpus, own = torch.cuda.device_count(), int(os.environ.get("LOCAL_RANK", 0))
    if gpus and own >= gpus:
        raise UserError(f"this machine has {gpus} GPUs, too few for all processes: lower torchrun's --nproc-per-node")
    if gpus:
        torch.cuda.set_device(own)


def _is_lost_connection(error: RuntimeError) -> bool:
    """Whether a collective call failed because another process has ended; gloo and NCCL have no type for it."""
    return isinstance(error, dist.DistError) or "gloo" in str(error) or "NCCL" in str(error)


# ------------------------------------------------------------------------------------------------- between the hosts


def all_gather_numbers(*numbers: float) -> list[list[float]]:
    """Gather K `numbers` from each process: a list of world_size() lists of K floats. Waits for hosts, not devices."""
    own = torch.tensor(numbers, dtype=torch.float64)
    if world_size() == 1:
        return [own.tolist()]
    rows = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(rows, own)
    return torch.stack(rows).tolist()


def broadcast_object(value: Any) -> Any:
    """Get process 0's `value` in all processes: anything that can be pickled, tensors on the CPU."""
    if world_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, 0)
    return values[0]


def all_gather_object(value: Any) -> list[Any]:
    """Get the `value` of every process in all processes: anything that can be pickled, tensors on the CPU."""
    if world_size() == 1:
        return [value]
    values = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


# ----------------------------------------------------------------------------------------------- between the devices


def mean_over_ranks(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Average a dict of scalar tensors, `values`, over all processes, on their device."""
    if world_size() == 1 or not values:
        return values
    stacked = torch.stack(list(values.values()))
    dist.all_reduce(stacked)
    return dict(zip(values, (stacked / world_size()).unbind(), strict=True))


def broadcast_buffers(model: nn.Module) -> None:
    """Copy the buffers of process 0's `model`, batch norm's statistics, to all processes, whose clips differed."""
    for buffer in model.buffers() if world_size() > 1 else ():
        dist.broadcast(buffer, 0)


class Gather:
    """Gathers the rows of all processes, in the order of their ranks, with gradients.

    Gradients flow back to the process that embedded a row. The mean over the processes of the gradients of their losses
    is the gradient of the mean loss, as if one process had embedded all.

    Args:
        sizes: numbers of rows of each process.

    Attributes:
        first: the row of the result at which this process's own rows begin.
    """

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes
        self.first = sum(sizes[: rank()])

    def __call__(self, values: Tensor) -> Tensor:
        """(B, ...) of this process -> (M, ...) of all processes."""
        return _AllGather.apply(values, self.sizes)


class _AllGather(torch.autograd.Function):
    """Rows of all processes; backward, each process gets the sum of all processes' gradients for its own rows."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        padded = values.new_zeros(max(sizes), *values.shape[1:])  # collective calls need equal sizes
        padded[: len(values)] = values
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.contiguous().clone()  # autograd may still need its own
        dist.all_reduce(total)
        return total.split(ctx.sizes)[rank()], None
