"""Fold batch norms into the convolutions before them: the same outputs in fewer operations, for inference alone."""

import copy
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

CONVOLUTIONS, NORMS = (nn.Conv2d, nn.Conv3d), (nn.BatchNorm2d, nn.BatchNorm3d)
# Modules of timm and torchvision whose layers run in the order of their definition: a batch norm takes the output of
# the convolution before it.
IN_ORDER = (
    "EfficientNet", "ConvBnAct", "DepthwiseSeparableConv", "InvertedResidual", "EdgeResidual",
    "ResNet", "BasicBlock", "Bottleneck",
)  # fmt: skip


def fold_batch_norms(model: nn.Module) -> Any:
    """Copy a net, with each convolution and the batch norm right after it as one convolution.

    In an `nn.Sequential`, and in EfficientNets and ResNets of timm and torchvision. Other batch norms stay.

    Args:
        model: in eval mode; it is not changed.

    Returns:
        the copy, whose outputs differ by rounding alone.
    """
    model = copy.deepcopy(model).eval()
    for module in model.modules():
        for name, following in [*_pairs(module)]:
            conv: Any = module._modules[name]
            norm: Any = module._modules[following]
            module._modules[name] = fuse_conv_bn_eval(conv, norm)
            # timm's batch norm ends with its activation
            module._modules[following] = getattr(norm, "act", None) or nn.Identity()
    return model


def _pairs(module: nn.Module) -> Iterator[tuple[str, str]]:
    """The names of the convolutions in a `module`, each with that of the batch norm that takes its output."""
    if not (isinstance(module, nn.Sequential) or type(module).__name__ in IN_ORDER):
        return
    for name, following in pairwise(list(module._modules)):
        conv, norm = module._modules[name], module._modules[following]
        if isinstance(conv, CONVOLUTIONS) and isinstance(norm, NORMS):
            yield name, following
