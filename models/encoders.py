"""Encoders of frames and of spectrograms by the names that model.vision and model.sound give them.

Our own are in OWN_ENCODERS; every other name is that of a net of timm (`models.timm_encoder`).
"""

from collections.abc import Callable
from typing import Any

from models.avenet import ConvEncoder
from models.interfaces import Encoder
from models.resnet import DilatedResNet18
from models.timm_encoder import TimmEncoder, check_name
from utils.errors import UserError

RESNET18_WIDTH = 64  # of the published weights
# {model.vision: (function of a width and a stride, the strides that it offers, its own first)}
OWN_ENCODERS: dict[str, tuple[Callable[[int, int], Encoder], tuple[int, ...]]] = {
    "convnet": (lambda width, _: ConvEncoder(3, width), (16,)),  # OtS
    "resnet18": (lambda width, stride: DilatedResNet18(width, stride), (16, 8, 32)),  # SoP
    "resnet18_v3": (lambda width, _: DilatedResNet18(width, first_dilation=2), (16,)),  # up to config version 3
}


def build_vision_encoder(config: Any) -> Encoder:
    """Build the encoder of frames that model.vision names, with random weights.

    Args:
        config: a `configs.schema.Model`, of which encoder, vision_stride, width and pretrained are used.

    Raises:
        UserError: there is no encoder of that name, or it doesn't offer the stride.
    """
    name, stride = config.encoder, config.vision_stride
    if name not in OWN_ENCODERS:
        check_name("model.vision", name, list(OWN_ENCODERS))
        return TimmEncoder(name, 3, stride)
    build, strides = OWN_ENCODERS[name]
    if stride and stride not in strides:
        offered = " or ".join(map(str, sorted(strides)))
        raise UserError(f"model.vision_stride must be 0 or {offered} with model.vision {name}, and is {stride}")
    width = RESNET18_WIDTH if config.pretrained else config.width  # which the sound's encoder has at any rate
    return build(width, stride or strides[0])


def build_sound_encoder(config: Any) -> Encoder | None:
    """Build the encoder of spectrograms that model.sound names, with random weights; None for the net's own.

    A net builds its own after its vision layers: so a seed gives the weights that it always gave.

    Args:
        config: a `configs.schema.Model`, of which sound and width are used.

    Raises:
        UserError: there is no encoder of that name.
    """
    if config.sound == "convnet":
        return None
    check_name("model.sound", config.sound, ["convnet"])
    return TimmEncoder(config.sound, 1)
