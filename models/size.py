"""The memory that a net needs, computed before it is built: `model.width 2048` would fill it before an error comes.

And whether nets of timm, some of which are made for one size of images, can take the inputs.
"""

from typing import Any

import torch
from torch import Tensor

from models import build_net
from models.pixelplayer import PixelPlayer
from models.pretrained import learning_rates
from models.timm_encoder import TimmEncoder
from utils.errors import UserError
from utils.memory import available_memory

SIZES = {"PixelPlayer": "model.width, model.sound_width, model.unet_depth or model.num_channels"}  # of weights
GB = 1e9


def check_memory(config: Any, device: torch.device, batch_size: int = 0) -> None:
    """Check that a net fits into memory, by lower bounds of what it needs, and that its encoders can take the inputs.

    Args:
        config: a `configs.schema.Config`.
        device: of the net.
        batch_size: clips of a training step; 0 if the net is not trained.

    Raises:
        UserError: the net or a training step needs more; or an encoder can't take frames or spectrograms of this size.
    """
    with torch.device("meta"):  # shapes without values
        net = build_net(config.model, config.data.flow_fields)
    for part, rate in learning_rates(config).items():
        net.get_submodule(part).requires_grad_(rate > 0)
    copies, fixed = 1, 1
    if batch_size:  # with gradients and the optimizer's means
        copies, fixed = (3, 1) if config.train.ema == 0 else (4, 2)
    weights = sum(weight.nbytes * (copies if weight.requires_grad else fixed) for weight in net.parameters())
    memory = available_memory(device)
    name, there_are = config.model.name, f"and {memory / GB:,.1f} GB are available"
    if weights > memory:
        names = SIZES.get(name, "model.width or model.dim")
        raise UserError(f"{name} needs {weights / GB:,.1f} GB of memory for its weights, {there_are}: lower {names}")
    if not batch_size and not any(isinstance(part, TimmEncoder) for part in net.modules()):
        return
    check_inputs(net, config)
    rows = batch_size * config.data.moments
    step = weights + rows * activation_bytes(net, *input_shapes(config))
    if step > memory:
        more = [f"data.{field}" for field in ("moments", "seconds") if getattr(config.data, field) > 1]
        raise UserError(
            f"a training step of {batch_size} clips needs at least {step / GB:,.1f} GB of memory, {there_are}: lower "
            f"{', '.join(['train.batch_size', *more, 'data.frame_size'])} or model.width"
        )


def check_inputs(net: Any, config: Any) -> None:
    """Check that encoders of timm can take frames and spectrograms of the size that a config gives.

    Args:
        net: on the meta device, where only shapes are computed.
        config: a `configs.schema.Config`.

    Raises:
        UserError: one can't.
    """
    frames, spectrogram = input_shapes(config)
    vision = net.frames.body if isinstance(net, PixelPlayer) else net.vision
    side, rows, columns = frames[-1], *spectrogram[1:]
    if isinstance(vision, TimmEncoder) and not _takes(vision, 3, side, side):
        stride, own = vision.net.feature_info[-1]["reduction"], vision.net.pretrained_cfg["input_size"][-1]
        sizes = (side // stride * stride, side // stride * stride + stride, own)
        good = [size for size in sizes if size >= 32 and _takes(vision, 3, size, size)]
        advice = f"set data.frame_size {good[0]}" if good else "take another encoder"
        if good and good[0] > config.data.resize_size:
            advice += f" and data.resize_size {good[0]}"
        raise UserError(f"model.vision {vision.name} can't take frames of {side} x {side} pixels: {advice}")
    audio = None if isinstance(net, PixelPlayer) else net.audio
    if isinstance(audio, TimmEncoder) and not _takes(audio, 1, rows, columns):
        raise UserError(
            f"model.sound {audio.name} can't take spectrograms of {rows} x {columns}: take a convolutional "
            "net, or set spectrogram.n_mels and spectrogram.hop for another size"
        )


def _takes(encoder: TimmEncoder, channels: int, height: int, width: int) -> bool:
    """Whether an encoder can take inputs of a size."""
    try:
        with torch.no_grad():
            encoder(torch.empty(2, channels, height, width, device="meta"))
    except Exception:  # timm asserts, or a reshape fails
        return False
    return True


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
