"""Memory that is freed is kept for the next use."""

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # of glibc's malloc.h
MB = 2**20


def disable_malloc_trim(keep=True):
    """Let the process keep what it frees, where the C library is glibc; elsewhere nothing happens.

    By default glibc returns every array above 32 MB to the system, so that each operation of a step on a CPU gets its
    pages anew, zeroed one by one: a fifth of a training step, more than half of a transform. The price is some memory
    (3.6 GB in the place of 3.0 for AVE-Net with 64 clips). Call it before the work begins. GPU memory is not concerned.

    Args:
        keep: False goes back to what glibc does by itself in a process that has used large arrays.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_MAX, 0 if keep else 65536)
        mallopt(MMAP_THRESHOLD, 32 * MB)
        mallopt(TRIM_THRESHOLD, 2**31 - 1 if keep else 64 * MB)
