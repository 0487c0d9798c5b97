"""torchvision's ImageNet weights: read from a file, or downloaded to torch's hub folder."""

import torch
from torch import Tensor

from models.interfaces import Encoder
from models.resnet import DilatedResNet18
from utils.errors import UserError

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
        with open(path, "rb"):  # before loading, in which damage can raise OSError too
            pass
    except OSError as error:
        if in_hub and isinstance(error, FileNotFoundError):
            return path, _download(net, url, path)
        raise UserError(f"{net}'s weights can't be read from {path} ({_reason(error)}): give the file {file}") from None
    try:
        return path, torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damage raises many types
        raise UserError(
            f"{net}'s weights in {path} are damaged, or hold more than weights ({type(error).__name__}): replace it by "
            f"torchvision's file {file}"
        ) from None


def load_imagenet_resnet18(body: Encoder, weights: str) -> None:
    """Load ImageNet's weights into a dilated ResNet-18 (SoP sec. 3.1).

    Args:
        body: a `DilatedResNet18` of width 64.
        weights: path of a file, or "imagenet", see `read_weights`.

    Raises:
        UserError: as `read_weights`; the file holds another net's weights, or the net has another width.
    """
    assert isinstance(body, DilatedResNet18)
    if body.conv1.out_channels != 64:
        raise UserError('model.width must be 64 for ImageNet\'s weights: set it, or --model.vision_weights ""')
    path, values = read_weights("ResNet-18", RESNET18, weights)
    own = body.state_dict()
    if not isinstance(values, dict) or any(getattr(values.get(k), "shape", None) != v.shape for k, v in own.items()):
        file = RESNET18.rpartition("/")[2]
        raise UserError(f"{path} does not hold the weights of torchvision's ResNet-18: use its file {file}")
    body.load_state_dict({name: values[name] for name in own})


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
