"""Sums of the training metrics between two lines of the log, on the device."""

from collections.abc import Mapping

import torch
from torch import Tensor


def add_metrics(sums: Mapping[str, Tensor], metrics: Mapping[str, Tensor], weight: float = 1.0) -> dict[str, Tensor]:
    """Add metrics to their sums, all in one operation: one for each would keep a GPU waiting.

    Args:
        sums: {name: scalar} so far.
        metrics: {name: scalar}, of the sums' device.
        weight: of the metrics.

    Returns:
        {name: scalar}: the new sums.
    """
    values = [value.detach().float() for value in metrics.values()]
    if weight != 1:
        values = list(torch._foreach_mul(values, weight))
    none = values[0].new_zeros(()) if metrics.keys() - sums.keys() else values[0]
    added = torch._foreach_add([sums.get(name, none) for name in metrics], values)
    return {**sums, **dict(zip(metrics, added, strict=True))}
