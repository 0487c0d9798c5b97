"""torchvision's ImageNet weights: read from a file, or downloaded to torch's hub folder."""

from typing import Any

import torch
from torch import Tensor

from models.interfaces import Encoder
from models.resnet import DilatedResNet18
from utils.errors import UserError
from utils.tensors import check_finite, fits, load_tensors

RESNET18 = "https://download.pytorch.org/models/resnet18-f37072fd.pth"  # 45 MB; the name ends with its SHA-256's start


def read_weights(net: str, url: str, weights: str) -> tuple[str, dict[str, Tensor]]:
    """Read the weights of one of torchvision's nets.

    Args:
        net: its name, for messages.
        url: of torchvision's file.
        weights: path of such a file, or "imagenet": torch's hub folder, where the file is downloaded if missing.

    Returns:
        (path of the file, {name: tensor} on the CPU).

    Raises:
        UserError: the file can't be downloaded, is missing or damaged.
    """
    in_hub, file = weights == "imagenet", url.rpartition("/")[2]
    path = f"{torch.hub.get_dir()}/checkpoints/{file}" if in_hub else weights
    try:
        return path, load_tensors(path, f"{net}'s weights", f"replace it by torchvision's file {file}")
    except OSError as error:
        if in_hub and isinstance(error, FileNotFoundError):
            return path, _download(net, url, path)
        raise UserError(f"{net}'s weights can't be read from {path} ({_reason(error)}): give the file {file}") from None


def load_imagenet_resnet18(body: Encoder, weights: str) -> None:
    """Load ImageNet's weights into a dilated ResNet-18 (SoP sec. 3.1).

    Args:
        body: a `DilatedResNet18` of width 64.
        weights: path of a file, or "imagenet", see `read_weights`.

    Raises:
        UserError: as `read_weights`; or the file holds another net's weights.
    """
    assert isinstance(body, DilatedResNet18)
    path, values = read_weights("ResNet-18", RESNET18, weights)
    body.load_state_dict(select_weights(values, body.state_dict(), path, "ResNet-18", RESNET18))


def select_weights(values: object, own: dict[str, Tensor], path: str, net: str, url: str) -> dict[str, Tensor]:
    """Take a net's weights from the content of a file, and check them.

    Args:
        values: content of the file.
        own: the net's state_dict; the file may hold more.
        path: of the file, for messages.
        net: its name, for messages.
        url: of torchvision's file, for messages.

    Raises:
        UserError: the file lacks a weight, or has one of another shape or type, or values that are not finite.
    """
    weights: dict[str, Any] = {name: values.get(name) for name in own} if isinstance(values, dict) else {}
    modules = {name.partition(".")[0] for name in own}
    larger = isinstance(values, dict) and any(str(name).partition(".")[0] in modules for name in values.keys() - own)
    if larger or not all(name in weights and fits(weights[name], value) for name, value in own.items()):
        file = url.rpartition("/")[2]
        raise UserError(f"{path} does not hold the weights of torchvision's {net}: use its file {file}")
    check_finite(weights, path)
    return weights


def _download(net: str, url: str, path: str) -> dict[str, Tensor]:
    file = url.rpartition("/")[2]
    try:
        return torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
    except Exception as error:  # no network, a full disk, or a wrong hash
        raise UserError(
            f"{net}'s ImageNet weights could not be downloaded from {url} ({_reason(error)}): put the file {file} into "
            f"{path.removesuffix('/' + file)}, or give its path"
        ) from None


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error).strip(".")
