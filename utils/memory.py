"""How much memory there is, and glibc's allocator tuned for training on a CPU."""

import ctypes
import mmap
import os
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from utils.errors import UserError
from utils.system_errors import is_gpu_memory_error

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # parameters of mallopt in glibc's malloc.h
MB = 2**20
BLAS_BUFFERS = 128 * MB  # more than those of numpy and scipy together, each 32 MB a thread
MEMORY_INFO = Path("/proc/meminfo")
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def available_memory(device: torch.device) -> int:
    """Get the memory that a process can have, bytes: of a GPU; or what the system, the container and `ulimit -v` allow.

    Args:
        device: where the net is.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    limits += [resource.getrlimit(limit)[0] for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    for file in (MEMORY_INFO, *CGROUP_LIMITS):
        text = file.read_text() if file.is_file() else ""
        available = re.search(r"MemAvailable: +(\d+) kB", text)
        limits += [int(available[1]) * 1024] if available else [int(text)] if text.strip().isdigit() else []
    return min(limit for limit in limits if limit > 0)


@contextmanager
def explain_gpu_memory(what: str, advice: str) -> Iterator[None]:
    """Turn a GPU's lack of memory into one sentence with the setting that decides.

    Args:
        what: does not fit: "a batch".
        advice: what to do: "lower --train.batch_size".

    Raises:
        UserError: the GPU has not enough memory.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and not is_gpu_memory_error(error):
            raise
        raise UserError(f"{what} doesn't fit into the GPU's memory: {advice}") from None


def disable_malloc_trim(keep: bool = True) -> None:
    """Keep freed memory in the process instead of returning it to the system; without glibc nothing happens.

    By default glibc returns every array above 32 MB to the system, so that each operation on a CPU gets new pages,
    which the system has to zero: a fifth of a training step, more than half of a transform. The price is memory (3.6 GB
    instead of 3.0 for AVE-Net with 64 clips). Call it at the start of a script. GPU memory is not affected.

    Args:
        keep: False restores glibc's defaults in a process that has used large arrays.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0 if keep else 65536)
        mallopt(M_MMAP_THRESHOLD, 32 * MB)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1 if keep else 64 * MB)


def release_freed_memory() -> None:
    """Return to the system what was freed; without glibc nothing happens. Call it before processes are forked.

    Else each of them keeps a copy of what its parent frees and then uses again.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def reserve_blas_buffers() -> None:
    """Let the BLAS of numpy and of scipy take their buffers now: once memory is short they would wait for it for ever.

    Call it at the start of a script that uses scipy or scikit-learn.

    Raises:
        OSError: memory is short already.
    """
    from scipy.linalg.blas import sgemm  # not every script needs it

    mmap.mmap(-1, BLAS_BUFFERS).close()
    square = np.ones((256, 256), np.float32)
    np.dot(square, square)
    sgemm(1.0, square, square)
