"""What an error of the exchange between processes (nccl, gloo, torch's store) means for the user."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch.distributed as dist

from utils.errors import MachineError, UserError

LOST = "lost"  # the advice of a lost connection: another process has ended


class EveryProcessError(UserError):
    """A mistake that all processes find together, so that each of them says it: on its own machine it is seen."""


class LostProcessError(MachineError):
    """Another process has ended."""


class Cause(NamedTuple):
    """Texts of one cause, in lower case, and what to do about it."""

    texts: tuple[str, ...]
    advice: str


# Errors of nccl and gloo have no kinds, only texts. The first cause whose text is in the error's last line is taken.
CAUSES = (
    Cause(
        ("/dev/shm", "nccl-shm", "shared memory", "posix_fallocate"),
        "/dev/shm is full or too small: start Docker with `--shm-size 16g` or `--ipc host` (Docker gives 64 MB), and "
        "remove old files from /dev/shm",
    ),
    Cause(
        ("ibv_reg_mr", "ibv_create"),
        "raise the limit of locked memory with `ulimit -l unlimited`, of a container with `--ulimit memlock=-1`",
    ),
    Cause(
        ("out of memory", "cuda calloc", "cuda malloc", "cannot allocate memory", "malloc failed"),
        "memory is short: lower --train.batch_size, and end other programs that use the GPU",
    ),
    Cause(("too many open files",), "raise the limit with `ulimit -n 4096`"),
    Cause(("duplicate gpu",), "start one process for each GPU, no more: torchrun's --nproc-per-node"),
    Cause(
        ("driver version", "driver is insufficient", "no kernel image", "no cuda-capable"),
        "update the GPU's driver, or install a torch made for it",
    ),
    Cause(("eaddrinuse", "already in use"), "choose another port with MASTER_PORT or torchrun's --rdzv-endpoint"),
    Cause(
        ("no socket interface", "unable to find address", "unable to resolve", "no address found"),
        "set NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME to a network interface that `ip addr` lists, or unset them",
    ),
    Cause(
        (
            "while trying to connect", "failed to connect", "cannot be retrieved", "name or service not known",
            "connection refused", "no route to host", "network is unreachable", "ping failed", "connectfullmesh",
        ),
        "check the address and the port (MASTER_ADDR and MASTER_PORT, or torchrun's --rdzv-endpoint), and that no "
        "firewall is between the machines",
    ),
    Cause(("clients joined",), "start all processes, within minutes of each other"),
    Cause(
        (
            "connection closed", "connection reset", "connection was likely closed", "broken pipe", "socket closed",
            "closed by remote peer", "application timeout caused pair closure", "got 0 bytes",
        ),
        LOST,
    ),
    Cause(
        ("timed out", "timeout", "time out", "timeouts"),
        "another process is far slower, or hangs: look at its messages, then resume with the same command and --resume",
    ),
)  # fmt: skip
OTHERWISE = "check the network between the machines; NCCL_DEBUG=INFO shows more"


def describe_process_error(error: RuntimeError, number: int, count: int) -> MachineError | None:
    """Make the error to report for one of the exchange between processes; None for an error of another kind.

    It keeps the last line of the cause. Only a lost connection means that another process has ended.

    Args:
        error: of nccl, of gloo or of torch's store.
        number: of this process, 0..count - 1.
        count: of the processes.
    """
    text = str(error)
    if not isinstance(error, dist.DistError) and "/gloo/" not in text and "Gloo" not in text and "NCCL" not in text:
        return None
    text = re.split(r"\nException raised from |\nTraceback ", text)[0]  # then come the calls in C++
    line = [line for line in text.splitlines() if line.strip()][-1:] or [type(error).__name__]
    # Without the line of C++, the condition that failed there, and gloo's general remark.
    cause = re.sub(r"^\[[^\]]*\.(?:cc|cpp|h|hpp):\d+\] (?:.{0,80}? != nullptr\. )?", "", line[0].strip())
    cause = cause.partition(" This is typically caused by ")[0].rstrip(". ")
    advice = next((c.advice for c in CAUSES if any(known in cause.lower() for known in c.texts)), OTHERWISE)
    if advice == LOST:
        return LostProcessError(
            f"another of the {count} processes has ended ({cause}), so process {number} ends too: resume from the last "
            "checkpoint with the same command and --resume"
        )
    return MachineError(f"process {number} of {count} can't exchange data with the others ({cause}): {advice}")


@contextmanager
def translate_process_errors(number: int, count: int) -> Iterator[None]:
    """Raise a MachineError in the place of an error of the exchange between processes.

    Args:
        number: of this process, 0..count - 1.
        count: of the processes.
    """
    try:
        yield
    except RuntimeError as error:
        described = describe_process_error(error, number, count)
        if described is None:
            raise
        raise described from error
