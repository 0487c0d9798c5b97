"""What an error of the system means for the user: a full disk, too little memory, too few file descriptors.

Imports the standard library only, so every room may use it.
"""

import errno
import os

# What to do about an error of a file.
ADVICE = {
    errno.ENOSPC: "free some disk space, then repeat the command",
    errno.EDQUOT: "free some space of your quota, then repeat the command",
    errno.EFBIG: "raise the limit of the size of a file (`ulimit -f`), then repeat the command",
    errno.EROFS: "choose a place that can be written",
    errno.EACCES: "change its permissions, or choose another place",
    errno.EPERM: "change its permissions, or choose another place",
    errno.EIO: "its disk fails: choose another place",
    errno.ENAMETOOLONG: "choose a shorter name",
}
DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
DESCRIPTOR_ADVICE = "raise the limit with `ulimit -n 4096`, or lower the number of workers"
# Texts of errors that have no type of their own: of torch, the C++ library, OpenCV and the decoders.
MEMORY_TEXTS = (
    "can't allocate memory", "cannot allocate memory", "out of memory", "bad_alloc", "bad allocation", "malloc failed",
    "insufficient memory", "failed to allocate", "unable to mmap", "failed to map segment", "could not create a memory",
    "could not create a primitive", "error return without exception set",
    "could not get source code",  # `inspect`, which hides why, while torch is imported
)  # fmt: skip
GPU_MEMORY_TEXTS = (
    "cuda out of memory", "hip out of memory", "cuda error: out of memory", "hip error: out of memory",
    "cublas_status_alloc_failed", "cudnn_status_alloc_failed", "cufft_alloc_failed",
)  # fmt: skip
GPU_MEMORY_ADVICE = "end other programs that use it, or set CUDA_VISIBLE_DEVICES=-1 to compute on the CPU"
THREAD_TEXTS = ("can't start new thread", "thread creation failed", "resource temporarily unavailable")
LINK_TEXTS = ("symlink loop",)  # of pathlib
WORKER_TEXTS = ("dataloader worker",)  # "... (pid 7) is killed by signal: Killed", "... exited unexpectedly"
ENCODER_TEXTS = ("avcodec_open2",)  # decoders' errors are those of their files and don't come here
TYPES = (
    OSError,
    MemoryError,
    RuntimeError,
    SystemError,
    ImportError,
)  # of the errors that `describe_machine_error` knows


def is_memory_error(error: BaseException) -> bool:
    """Check whether an `error` says that memory is short."""
    is_one = isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM
    return is_one or is_gpu_memory_error(error) or (isinstance(error, TYPES) and _says(error, MEMORY_TEXTS))


def is_gpu_memory_error(error: BaseException) -> bool:
    """Check whether an `error` says that the memory of a GPU is short: of torch's allocator, or of CUDA's libraries."""
    return isinstance(error, RuntimeError) and _says(error, GPU_MEMORY_TEXTS)


def is_shortage(error: BaseException) -> bool:
    """Check whether an `error` says that memory or file descriptors are short: no fault of the file that is read."""
    return is_memory_error(error) or getattr(error, "errno", None) in DESCRIPTORS


def describe_machine_error(error: BaseException, memory_advice: str, gpu_advice: str = "") -> str | None:
    """Describe an error of the machine in one sentence, or None if it is of another kind, such as a fault of ours.

    Args:
        error: what was raised.
        memory_advice: what makes the command take less memory: "lower --train.batch_size".
        gpu_advice: what makes it take less of a GPU's memory; "" if no setting does.
    """
    number, name = getattr(error, "errno", None), getattr(error, "filename", None)
    place = os.fsdecode(name) if isinstance(name, (str, bytes)) else ""
    text = getattr(error, "strerror", None) or ""
    if number in DESCRIPTORS:
        return f"too many files are open{f' to open {place} too' if place else ''}: {DESCRIPTOR_ADVICE}"
    if _says(error, WORKER_TEXTS):
        return f"a process that loads clips was killed, most likely as memory is short: {memory_advice}"
    if _says(error, THREAD_TEXTS) and not place:
        return f"the system starts no more processes or threads: {memory_advice}, or raise their limit (`ulimit -u`)"
    if is_gpu_memory_error(error):
        return f"the GPU's memory is short: {', '.join(filter(None, (gpu_advice, GPU_MEMORY_ADVICE)))}"
    if is_memory_error(error) or _says(error, ENCODER_TEXTS):
        return f"memory is short: {memory_advice}"
    if isinstance(error, FileNotFoundError) and "temporary directory" in text:
        return "no folder for temporary files can be written: set TMPDIR to one"
    if _says(error, LINK_TEXTS):
        return f"a link leads back to itself ({error}): remove it"
    if number in ADVICE:
        return f"{place or 'a file'} can't be read or written ({text}): {ADVICE[number]}"
    if isinstance(error, OSError) and place and text:
        return f"{place} can't be read or written ({text})"
    return None


def _says(error: BaseException, texts: tuple[str, ...]) -> bool:
    message = str(error).lower()
    return any(text in message for text in texts)
