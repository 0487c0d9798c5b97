"""Folding batch norms: the outputs stay, of nets of timm and torchvision too."""

import pytest
import timm
import torch
import torchvision
from helpers import relative_error
from torch import nn

from models.folding import fold_batch_norms


def trained(net):
    """A net whose batch norms have statistics other than 0 and 1."""
    torch.manual_seed(0)
    net.train()
    with torch.no_grad():
        net(torch.randn(4, 3, 64, 64))
    return net.eval()


def norms(net):
    return sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())


@pytest.mark.parametrize(
    "create",
    [
        lambda: timm.create_model("tf_efficientnet_lite0", num_classes=10),
        lambda: timm.create_model("resnet26", num_classes=10),
        lambda: torchvision.models.resnet18(num_classes=10),
    ],
    ids=["efficientnet_lite0", "timm resnet26", "torchvision resnet18"],
)
def test_every_batch_norm_of_published_nets_is_folded(create):
    net = trained(create())
    frames = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        before, count = net(frames), norms(net)
        folded = fold_batch_norms(net)
        assert relative_error(folded(frames), before) < 1e-5
        assert torch.equal(net(frames), before) and norms(net) == count  # the net itself is as it was
    assert count > 0 and norms(folded) == 0


def test_a_batch_norm_before_its_convolution_stays():
    """timm's ResNetV2 normalizes first, and branches between the two."""
    net = trained(timm.create_model("resnetv2_18d", num_classes=10))
    frames = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert relative_error(fold_batch_norms(net)(frames), net(frames)) < 1e-5
