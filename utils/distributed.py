"""Several processes that train one net, one a GPU, as torchrun starts them. Alone, every function here does nothing.

What only the hosts need (sizes, flags, metrics) goes from CPU to CPU through gloo, so that no device is waited for.
"""

import os
import sys
from contextlib import contextmanager

import torch
import torch.distributed as dist

from utils.errors import UserError


def rank():
    """The number of this process, 0..ranks() - 1. Number 0 writes the files and speaks."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size():
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def process_group():
    """Join the other processes for the length of a script; inside `utils.errors.exit_on_user_error`.

    What is wrong is said once, whether one of them finds it or all. A process whose partner is gone ends, so that none
    waits for ever.

    Raises:
        UserError: as the script does, in the first process that raises it; the others exit with code 2 in silence.
        SystemExit(1): another process is gone, and didn't say why.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) < 2:
        yield
        return
    store, number, count = next(iter(dist.rendezvous("env://")))
    # torchrun keeps the store over its restarts, and in it the addresses of processes that are gone.
    store = dist.PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=number, world_size=count)
    try:
        _take_gpu()
        yield
    except UserError:
        speaks, code = _first_to_end(store, 2)
        if speaks:
            raise
        sys.exit(code)
    except RuntimeError as error:
        if not _partner_gone(error):
            raise
        speaks, code = _first_to_end(store, 1)
        if speaks:
            print(
                f"error: another of the {count} processes has ended, and process {number} ends with it: go on from the "
                "last checkpoint by the same command with --resume", file=sys.stderr,
            )  # fmt: skip
        sys.exit(code)
    dist.destroy_process_group()


def _first_to_end(store, code):
    """Before ending with an exit code: (whether no other process did so earlier, the exit code of the first)."""
    try:
        first, code = store.compare_set("ended", "", f"{rank()} {code}").decode().split()
    except RuntimeError:  # without torchrun, process 0 keeps the store: it's gone, and has spoken
        return False, code
    return int(first) == rank(), int(code)


def _take_gpu():
    """Make this process's GPU the one that "cuda" means."""
    gpus, own = torch.cuda.device_count(), int(os.environ.get("LOCAL_RANK", 0))
    if gpus and own >= gpus:
        raise UserError(f"this machine has {gpus} GPUs, too few for all processes: lower torchrun's --nproc-per-node")
    if gpus:
        torch.cuda.set_device(own)


def _partner_gone(error):
    """Whether an error says that a collective call's other end is gone."""
    return isinstance(error, dist.DistError) or "gloo" in str(error) or "NCCL" in str(error)


# ------------------------------------------------------------------------------------------------- between the hosts


def all_gather_numbers(*numbers):
    """Everybody's numbers: K floats -> list of ranks() lists of K floats. Waits for the other hosts, for no device."""
    own = torch.tensor(numbers, dtype=torch.float64)
    if world_size() == 1:
        return [own.tolist()]
    rows = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(rows, own)
    return torch.stack(rows).tolist()


def broadcast_object(value):
    """Process 0's value, in all of them: anything that can be pickled, tensors on the CPU."""
    if world_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, 0)
    return values[0]


def all_gather_object(value):
    """The values of all processes, in all of them: a list. Anything that can be pickled, tensors on the CPU."""
    if world_size() == 1:
        return [value]
    values = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


# ----------------------------------------------------------------------------------------------- between the devices


def mean_over_ranks(values):
    """The means over all processes of a dict of scalar tensors, on their device."""
    if world_size() == 1 or not values:
        return values
    stacked = torch.stack(list(values.values()))
    dist.all_reduce(stacked)
    return dict(zip(values, (stacked / world_size()).unbind(), strict=True))


def broadcast_buffers(model):
    """Give every process what process 0's net has counted, batch norm's statistics: each has seen its own clips."""
    for buffer in model.buffers() if world_size() > 1 else ():
        dist.broadcast(buffer, 0)


class _Gather(torch.autograd.Function):
    """Rows of all processes; backward, each gets the sum of what all of them found for its own rows."""

    @staticmethod
    def forward(ctx, values, sizes):
        ctx.sizes = sizes
        padded = values.new_zeros(max(sizes), *values.shape[1:])  # collective calls take equal sizes only
        padded[: len(values)] = values
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx, gradient):
        total = gradient.contiguous().clone()  # an in-place sum, and autograd may need its own
        dist.all_reduce(total)
        return total.split(ctx.sizes)[rank()], None


def make_gather(whose, sizes):
    """How a step finds the sounds that its frames are compared with.

    The gradients flow back to the process that embedded a sound: the mean over the processes of the gradients of their
    losses is the gradient of the mean loss, as if one process had embedded all.

    Args:
        whose: "rank" or "all", see train.gather. sizes: list of the numbers of clips of each process.

    Returns:
        (gather, first): gather maps (B, ...) of this process to (M, ...): the same with "rank", with "all" everybody's
        in the order of the processes; its own begin at row `first`.
    """
    if whose == "rank" or world_size() == 1:
        return (lambda values: values), 0
    return (lambda values: _Gather.apply(values, sizes)), sum(sizes[: rank()])
