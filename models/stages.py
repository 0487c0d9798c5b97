"""The stages of an encoder of timm: the first ones, which fine-tuning can leave as they are, and the last ones."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

# The layers before the first stage and those that hold the stages, of EfficientNets and MobileNets, and of ResNets.
FAMILIES = (
    (("conv_stem", "bn1"), ("blocks",)),
    (("conv1", "bn1", "act1", "maxpool"), ("layer1", "layer2", "layer3", "layer4")),
)


class FirstStages(nn.Sequential):
    """The layers of an encoder up to the end of a stage. They are the encoder's own, with its weights.

    Args:
        layers: in the order in which they run.
        channels: of the last one's map.

    Attributes:
        channels: the argument.
    """

    def __init__(self, layers: Iterable[nn.Module], channels: int) -> None:
        super().__init__(*layers)
        self.channels = channels


def divide(net: Any) -> tuple[list[nn.Module], list[nn.Module]]:
    """Divide a net of timm into the layers before its first stage, and its stages.

    Args:
        net: without its classifier.

    Returns:
        (layers, stages), which give the net's last map if they run one after the other; both empty for a net of
        another family than `FAMILIES`.
    """
    for before, stages in FAMILIES:
        if all(hasattr(net, name) for name in (*before, *stages)):
            layers = [getattr(net, name) for name in before]
            found = [getattr(net, name) for name in stages]
            return layers, list(found[0]) if len(found) == 1 else found
    return [], []


def run_layers(layers: Iterable[nn.Module], inputs: Tensor) -> Tensor:
    """Apply `layers` to `inputs` one after the other."""
    for layer in layers:
        inputs = layer(inputs)
    return inputs
