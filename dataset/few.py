"""Changes of a batch that are fast on a CPU too."""

import contextlib

import torch

CACHE = 2 * 2**20  # bytes of float32 samples that a CPU changes at a time


def by_few(change, *samples):
    """`change` all samples; on a CPU a few at a time, so that each operation finds in the cache what the last one left.

    On one thread there: so few are no work to share, and threads that wait for each other after every operation take
    many times as long where other processes want the cores too.

    Args:
        change: callable of as many tensors, (b, ...) -> (b, ...), whose row k depends on rows k alone.
        samples: (B, ...) tensors, some of which may be None, but not the first.

    Returns:
        (B, ...), what `change` gives for all of them.
    """
    total, out = len(samples[0]), None
    if not total or samples[0].device.type != "cpu":
        return change(*samples)
    few = max(1, CACHE // (4 * samples[0][0].numel()))
    with one_thread():
        if total <= few:
            return change(*samples)
        for start in range(0, total, few):
            rows = slice(start, start + few)
            part = change(*(one if one is None else one[rows] for one in samples))
            if out is None:
                out = part.new_empty_strided((total, *part.shape[1:]), part.stride())
            out[rows] = part
    return out


@contextlib.contextmanager
def one_thread():
    """A context in which torch computes on one thread of the CPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def hide(values, hidden, instead):
    """Write `instead` into `values` where `hidden`; as a mixture, since `torch.where` is five times slower on a CPU."""
    values.lerp_(instead, hidden.to(values))
