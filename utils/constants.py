"""Tensors that never change, made once for each device: a copy from the host, in every step, would wait for the GPU."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


@lru_cache(maxsize=256)
def constant(make: Callable[..., Tensor], device: torch.device, *arguments: Any) -> Tensor:
    """Make a tensor on the CPU, the first time that it is asked for, and copy it to a device.

    Args:
        make: a function that gives the same tensor whenever its arguments are the same, such as `torch.eye`.
        device: of the result.
        arguments: of `make`, hashable.

    Returns:
        `make(*arguments)`, which callers must not change.
    """
    with torch.inference_mode(False):  # a training may use it later
        return make(*arguments).to(device)
