"""The memory that a net needs, computed before it is built: `model.width 2048` would fill it before an error comes."""

from typing import Any

import torch
from torch import Tensor

from models import build_net
from models.pixelplayer import PixelPlayer
from utils.errors import UserError
from utils.memory import available_memory

SIZES = {"PixelPlayer": "model.width, model.sound_width, model.unet_depth or model.num_channels"}  # of weights
GB = 1e9


def check_memory(config: Any, device: torch.device, batch_size: int = 0) -> None:
    """Check that a net fits into memory, by lower bounds of what it needs.

    Args:
        config: a `configs.schema.Config`.
        device: of the net.
        batch_size: clips of a training step; 0 if the net is not trained.

    Raises:
        UserError: the net or a training step needs more.
    """
    with torch.device("meta"):  # shapes without values
        net = build_net(config.model, config.data.flow_fields)
    copies = 3 + (config.train.ema > 0) if batch_size else 1  # with gradients and the optimizer's means
    weights = copies * sum(weight.nbytes for weight in net.parameters())
    memory = available_memory(device)
    name, there_are = config.model.name, f"and {memory / GB:,.1f} GB are available"
    if weights > memory:
        names = SIZES.get(name, "model.width or model.dim")
        raise UserError(f"{name} needs {weights / GB:,.1f} GB of memory for its weights, {there_are}: lower {names}")
    rows = batch_size * config.data.moments
    step = weights + rows * activation_bytes(net, *input_shapes(config)) if batch_size else 0
    if step > memory:
        more = [f"data.{field}" for field in ("moments", "seconds") if getattr(config.data, field) > 1]
        raise UserError(
            f"a training step of {batch_size} clips needs at least {step / GB:,.1f} GB of memory, {there_are}: lower "
            f"{', '.join(['train.batch_size', *more, 'data.frame_size'])} or model.width"
        )


def input_shapes(config: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Get the shapes of one clip's frames and spectrogram, as the net takes them.

    Args:
        config: a `configs.schema.Config`.

    Returns:
        Shapes without the dimension of the batch.
    """
    data, spec, mix, name = config.data, config.spectrogram, config.mix, config.model.name
    sides = (data.frame_size, data.frame_size)
    if name == "PixelPlayer":
        return (mix.frames, 3, *sides), (1, mix.freq_bins or mix.n_fft // 2 + 1, mix.samples // mix.hop + 1)
    columns = round(data.seconds * data.sample_rate) // round(spec.hop * data.sample_rate)
    spectrogram = (1, spec.n_mels or spec.n_fft // 2 + 1, columns)
    if name == "AVENet_MF":
        return (3, data.frames, *sides), spectrogram
    return (3 + 2 * data.flow_fields if name == "AVENet_OF" else 3, *sides), spectrogram


def activation_bytes(net: Any, frames: tuple[int, ...], spectrogram: tuple[int, ...]) -> int:
    """Compute what the encoders keep of one clip for the gradients, in half precision.

    Args:
        net: on the meta device.
        frames: shape of a clip's frames.
        spectrogram: shape of its spectrogram.

    Returns:
        Bytes.
    """
    kept: dict[int, int] = {}  # {storage: bytes}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return tensor

    clips = 2  # batch norm needs more than one
    inputs = [torch.empty(clips, *shape, device="meta") for shape in (frames, spectrogram)]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        if isinstance(net, PixelPlayer):
            outputs = net.frames.backbone_features(inputs[0]), net.sounds(inputs[1])
        else:
            outputs = net.vision(inputs[0]), net.audio(inputs[1])
    for weight in net.parameters():
        kept.pop(weight.untyped_storage()._cdata, None)
    del outputs  # alive until here: a storage that is freed may give its number to another
    return sum(kept.values()) // clips // 2
