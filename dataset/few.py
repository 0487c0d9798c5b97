"""Changes of a batch that are fast on a CPU too."""

import torch

CACHE = 2 * 2**20  # bytes of float32 samples that a core of a CPU changes at a time


def by_few(change, *samples):
    """`change` all samples; on a CPU a few at a time, so that each operation finds in the cache what the last one left.

    Args:
        change: callable of as many tensors, (b, ...) -> (b, ...), whose row k depends on rows k alone.
        samples: (B, ...) tensors, some of which may be None, but not the first.

    Returns:
        (B, ...), what `change` gives for all of them.
    """
    total = few = len(samples[0])
    if total and samples[0].device.type == "cpu":
        few = max(1, torch.get_num_threads() * CACHE // (4 * samples[0][0].numel()))
    if total <= few:
        return change(*samples)
    out = None
    for start in range(0, total, few):
        rows = slice(start, start + few)
        part = change(*(one if one is None else one[rows] for one in samples))
        if out is None:
            out = part.new_empty_strided((total, *part.shape[1:]), part.stride())
        out[rows] = part
    return out


def hide(values, hidden, instead):
    """Write `instead` into `values` where `hidden`; as a mixture, since `torch.where` is five times slower on a CPU."""
    values.lerp_(instead, hidden.to(values))
