"""Several processes that train one net, one per GPU, as torchrun starts them. In a single process nothing happens.

What only the hosts need (sizes, flags, metrics) goes from CPU to CPU through gloo, so that no device is waited for.
"""

import contextlib
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from utils.child_processes import end_with_parent
from utils.errors import UserError, translate_machine_errors
from utils.process_errors import EveryProcessError, translate_process_errors

NOTE_SECONDS = 30.0  # of waiting for others to start, after which a note is printed
LEAVE_SECONDS = 30.0  # for leaving the group, at most
# What makes a training take less memory: of the machine, of a GPU.
TRAINING_MEMORY = ("lower --train.batch_size, --train.workers or --data.cache_gb", "lower --train.batch_size")


def rank() -> int:
    """Get the number of this process, 0..world_size() - 1. Process 0 writes files and prints."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Get the number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def process_group() -> Iterator[None]:
    """Join the other processes while a script runs; inside `utils.errors.exit_on_user_error`.

    One process prints an error, even if all of them raise it, unless each is to say it. If a process ends, the others
    end too, so that none waits forever. Every way out leaves the group.

    Raises:
        UserError: as the script does, in the first process that raises it; the others exit with its code silently. Of
            a cause of the machine, and in the place of an error of nccl, gloo or the network, a MachineError.
    """
    count = _process_count()
    if count < 2:
        yield
        return
    end_with_parent(signal.SIGTERM)  # a torchrun that is killed: a checkpoint is written, and nobody trains unseen
    store = None
    try:
        with translate_machine_errors(*TRAINING_MEMORY), translate_process_errors(_number("RANK"), count):
            place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
            note = f"process {_number('RANK')} of {count} is waiting for the others at {place}"
            store = _wait_for(_join, note=note)
            _select_gpu()
            yield
    except EveryProcessError:
        raise
    except UserError as error:
        first, code = _first_to_end(store, error.exit_code) if store else (True, error.exit_code)
        if first:
            raise
        sys.exit(code)
    finally:
        _leave()


def _process_count() -> int:
    """Read the number of processes from the environment; raise a UserError if it is half set."""
    count = _number("WORLD_SIZE") if "WORLD_SIZE" in os.environ else 1
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if count > 1 and missing:
        raise UserError(
            f"WORLD_SIZE is {count}, but {' and '.join(missing)} can't be found in the environment: start with "
            "torchrun, or set RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT for each process"
        )
    return count


def _number(name: str) -> int:
    text = os.environ.get(name, "0")
    if not text.isdecimal():
        raise UserError(f"the environment variable {name} is {text!r}, and must be a number: start with torchrun")
    return int(text)


def _join() -> dist.Store:
    """Meet the other processes; returns the store that all share."""
    store, number, count = next(iter(dist.rendezvous("env://")))
    # torchrun keeps the store when it restarts the processes, with the addresses of those that have ended.
    store = dist.PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=number, world_size=count)
    return store


def _leave() -> None:
    """Leave the group, also while an exchange is going on."""
    _remove_torchrun_folder()
    if dist.is_initialized():
        limit_waits(LEAVE_SECONDS)
        with contextlib.suppress(RuntimeError, WaitError):  # a connection is lost already, or nccl waits for it
            _wait_for(dist.destroy_process_group)


def _remove_torchrun_folder() -> None:
    """Remove the empty folders that torchrun makes for each process in TMPDIR and leaves there."""
    file = Path(os.environ.get("TORCHELASTIC_ERROR_FILE", ""))
    if any(folder.name.startswith("torchelastic_") for folder in file.parents):
        with contextlib.suppress(OSError):  # not empty: other processes have not ended
            for folder in file.parents:
                folder.rmdir()
                if folder.name.startswith("torchelastic_"):
                    break


class WaitError(UserError):
    """Another process didn't answer after a signal."""

    exit_code = 130


def _first_to_end(store: dist.Store, code: int) -> tuple[bool, int]:
    """Register that this process ends with `code`: (whether it is the first to end, the exit code of the first)."""
    limit_waits(5.0)
    try:
        first, first_code = _wait_for(store.compare_set, "ended", "", f"{rank()} {code}").decode().split()
    except WaitError:  # process 0, which keeps the store without torchrun, hangs
        return True, code
    except RuntimeError:  # it has ended, with an error message
        return False, code
    return int(first) == rank(), int(first_code)


def _select_gpu() -> None:
    """Make this process's GPU the default one: the one with its number on the machine, or the only one that it sees.

    Raises:
        UserError: there are fewer GPUs than processes.
    """
    gpus, own = torch.cuda.device_count(), _number("LOCAL_RANK")
    if gpus > 1 and own >= gpus:
        raise UserError(f"this machine has {gpus} GPUs, too few for all processes: lower torchrun's --nproc-per-node")
    if not gpus:
        return
    torch.cuda.set_device(own if gpus > 1 else 0)  # srun --gpus-per-task=1 shows each process its own GPU as the first
    ids = all_gather_object(_gpu_id() if torch.cuda.is_available() else "")
    shared = [str(number) for number, other in enumerate(ids) if other and ids.count(other) > 1]
    if shared:
        raise UserError(
            f"processes {', '.join(shared)} have the same GPU as another process: start one process for each GPU "
            "(torchrun's --nproc-per-node, srun's --gpus-per-task=1)"
        )


def _gpu_id() -> str:
    """Get the unique number of this process's GPU, "" if torch doesn't know it."""
    return str(getattr(torch.cuda.get_device_properties(torch.cuda.current_device()), "uuid", ""))


# ------------------------------------------------------------------------------------------------------- waiting

_give_up_at = math.inf  # time.monotonic() at which waiting for other processes ends


def limit_waits(seconds: float) -> None:
    """Let waiting for other processes end `seconds` from now: a signal has arrived, and one of them may hang."""
    global _give_up_at
    _give_up_at = time.monotonic() + seconds


def _wait_for(call: Callable[..., Any], *args: Any, note: str = "") -> Any:
    """Call what waits for other processes, in a thread: this process handles signals meanwhile, which torch doesn't.

    After NOTE_SECONDS a `note` is printed.

    Raises:
        WaitError: the others have not come after `limit_waits`.
    """
    results: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call(*args))
        except BaseException as error:  # raised where it is waited for
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    started = time.monotonic()
    while thread.is_alive():
        thread.join(0.5)
        if note and thread.is_alive() and time.monotonic() > started + NOTE_SECONDS:
            print(note, file=sys.stderr)
            note = ""
        if thread.is_alive() and time.monotonic() > _give_up_at:
            raise WaitError(
                f"process {rank()} was told to stop, and another process hasn't answered since, so it ends without a "
                "new checkpoint: resume from the last one with the same command and --resume"
            )
    if errors:
        raise errors[0]
    return results[0]


# ------------------------------------------------------------------------------------------------- between the hosts


def all_gather_numbers(*numbers: float) -> list[list[float]]:
    """Gather K `numbers` from each process: a list of world_size() lists of K floats. Waits for hosts, not devices."""
    own = torch.tensor(numbers, dtype=torch.float64)
    if world_size() == 1:
        return [own.tolist()]
    rows = [torch.empty_like(own) for _ in range(world_size())]
    _wait_for(dist.all_gather, rows, own)
    return torch.stack(rows).tolist()


def broadcast_object(value: Any) -> Any:
    """Get process 0's `value` in all processes: anything that can be pickled, tensors on the CPU."""
    if world_size() == 1:
        return value
    values = [value]
    _wait_for(dist.broadcast_object_list, values, 0)
    return values[0]


def all_gather_object(value: Any) -> list[Any]:
    """Get the `value` of every process in all processes: anything that can be pickled, tensors on the CPU."""
    if world_size() == 1:
        return [value]
    values = [None] * world_size()
    _wait_for(dist.all_gather_object, values, value)
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
