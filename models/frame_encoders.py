"""Encoders of single frames by the names that model.vision gives them; another one needs its line here."""

from collections.abc import Callable

from models.avenet import ConvEncoder
from models.interfaces import Encoder
from models.resnet import DilatedResNet18

# {model.vision: function of model.width}; "auto" is chosen by `models.build_net`.
FRAME_ENCODERS: dict[str, Callable[[int], Encoder]] = {
    "convnet": lambda width: ConvEncoder(3, width),  # OtS
    "resnet18": DilatedResNet18,  # SoP
    "resnet18_v3": lambda width: DilatedResNet18(width, first_dilation=2),  # "resnet18" up to config version 3
}
