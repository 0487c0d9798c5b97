"""Start a net from data (train.data_dependent_init), on a GPU within the memory of a training step."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from configs.schema import Train
from utils import distributed
from utils.device import to_device
from utils.memory import explain_gpu_memory

Batch = dict[str, Any]


def start_from_data(
    initialize: Callable[..., None],
    batch: Batch,
    prepare: Callable[[Batch], tuple[Tensor, ...]],
    encoders: Iterable[nn.Module],
    device: torch.device,
    train: Train,
) -> None:
    """Initialize a net from a batch, on a GPU in parts of as many clips as a training step has.

    In float32, as small differences between clips are what the net is scaled by; without gradients a part then needs
    less than a step. On a CPU the batch stays whole, so that runs start from the same weights to the last bit.

    Args:
        initialize: takes the tensors that `prepare` gives, of all clips.
        batch: collated, on the CPU.
        prepare: (batch on the device) -> the net's inputs, each row of one clip.
        encoders: parts of the net that need much memory; each maps rows to rows.
        device: of the net.
        train: the setting train.batch_size.

    Raises:
        UserError: the GPU has not enough memory.
    """
    if device.type == "cpu":
        initialize(*prepare(to_device(batch, device)))
        return
    clips = max(2, train.batch_size // distributed.world_size())  # batch norm needs two
    advice = f"lower --train.batch_size ({train.batch_size}): it takes as many clips at a time as a training step"
    with explain_gpu_memory("the start from data", advice):
        start_in_parts(initialize, batch, prepare, encoders, device, clips)


def start_in_parts(
    initialize: Callable[..., None],
    batch: Batch,
    prepare: Callable[[Batch], tuple[Tensor, ...]],
    encoders: Iterable[nn.Module],
    device: torch.device,
    clips: int,
) -> None:
    """Do as `start_from_data` in parts, on any device. Batch norm takes its statistics from a part, as in training.

    Args:
        initialize, batch, prepare, encoders, device: as of `start_from_data`.
        clips: of a part, at most.
    """
    count = -(-len(batch["seeds"]) // clips)
    chunks = {name: value.tensor_split(count) for name, value in batch.items() if torch.is_tensor(value)}
    parts = [prepare(to_device({name: rows[k] for name, rows in chunks.items()}, device)) for k in range(count)]
    inputs = [torch.cat(rows) for rows in zip(*parts, strict=True)]
    del parts
    with contextlib.ExitStack() as stack:
        for encoder in encoders:
            stack.enter_context(_encoding_in_parts(encoder, count))
        initialize(*inputs)


@contextlib.contextmanager
def _encoding_in_parts(encoder: nn.Module, count: int) -> Iterator[None]:
    """Let an `encoder` take its inputs in `count` parts."""
    whole = encoder.forward
    encoder.forward = lambda inputs: torch.cat([whole(part) for part in inputs.tensor_split(count)])
    try:
        yield
    finally:
        del encoder.forward
