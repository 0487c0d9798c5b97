"""Batch norm folded into the convolutions before it, for evaluation."""

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norm(model):
    """A copy of a net, in eval mode, without batch norms right behind a convolution: its weights do their work.

    In eval mode batch norm is a fixed scale and shift per channel. The copy gives the same embeddings but for rounding,
    sooner: what a convolution gives is no longer read and written once more. It is not for training.
    """
    model = copy.deepcopy(model).eval()
    for block in model.modules():
        if not isinstance(block, nn.Sequential):
            continue
        for place, (layer, after) in enumerate(zip(block, list(block)[1:], strict=False)):
            if isinstance(layer, (nn.Conv2d, nn.Conv3d)) and isinstance(after, (nn.BatchNorm2d, nn.BatchNorm3d)):
                block[place], block[place + 1] = fuse_conv_bn_eval(layer, after), nn.Identity()
    return model
