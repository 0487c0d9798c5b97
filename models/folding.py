"""Fold batch norms into the convolutions before them: the same outputs in fewer operations, for inference alone."""

import copy
from itertools import pairwise
from typing import Any

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

CONVOLUTIONS, NORMS = (nn.Conv2d, nn.Conv3d), (nn.BatchNorm2d, nn.BatchNorm3d)


def fold_batch_norms(model: nn.Module) -> Any:
    """Copy a net, with each convolution and the batch norm right after it in an `nn.Sequential` as one convolution.

    Other batch norms, such as those of timm's encoders, stay.

    Args:
        model: in eval mode; it is not changed.

    Returns:
        the copy, whose outputs differ by rounding alone.
    """
    model = copy.deepcopy(model).eval()
    for module in model.modules():
        if not isinstance(module, nn.Sequential):
            continue
        names = list(module._modules)
        for name, following in pairwise(names):
            conv, norm = module._modules[name], module._modules[following]
            if isinstance(conv, CONVOLUTIONS) and isinstance(norm, NORMS):
                module._modules[name] = fuse_conv_bn_eval(conv, norm)
                module._modules[following] = nn.Identity()
    return model
