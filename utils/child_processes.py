"""Child processes: how many fit, and that they end with their parent. Imports the standard library only."""

import ctypes
import os
import signal
from pathlib import Path

PR_SET_PDEATHSIG = 1  # of prctl in linux/prctl.h
CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")  # a container's: "QUOTA PERIOD" in microseconds, or "max PERIOD"


def own_cores() -> int:
    """Get this process's share of the cores, at least 1.

    Those that the system and the container allow, divided among the processes that torchrun started on this machine.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = CPU_LIMIT.read_text().split() if CPU_LIMIT.is_file() else []
    if len(limit) == 2 and all(number.isdigit() for number in limit):
        cores = min(cores, int(limit[0]) // int(limit[1]))
    return max(cores // max(int(os.environ.get("LOCAL_WORLD_SIZE", 1)), 1), 1)


def end_with_parent(number: int = signal.SIGKILL) -> None:
    """Let the system send this process a signal when its parent ends, also by SIGKILL; on Linux only.

    Args:
        number: the signal.
    """
    parent = os.getppid()
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it ended meanwhile
            os.kill(os.getpid(), number)
