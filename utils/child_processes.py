"""Child processes that end with their parent, however it ends. Imports the standard library only."""

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1  # of prctl in linux/prctl.h


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
