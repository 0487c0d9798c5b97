"""The frame net's ResNet-18, dilated (SoP sec. 3.1); its weights have torchvision's names, so that ImageNet's fit."""

import torch.nn.functional as F
from torch import nn


class DilatedResNet18(nn.Module):
    """ResNet-18 (He et al. 2016) without its last pool and layer, its last stage dilated by 2 in the place of a stride.

    Args:
        width: channels of the first convolution; 64 is a ResNet-18.
    """

    def __init__(self, width=64):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(BasicBlock(width, width), BasicBlock(width, width))
        self.layer2 = nn.Sequential(BasicBlock(width, 2 * width, stride=2), BasicBlock(2 * width, 2 * width))
        self.layer3 = nn.Sequential(BasicBlock(2 * width, 4 * width, stride=2), BasicBlock(4 * width, 4 * width))
        self.layer4 = nn.Sequential(
            BasicBlock(4 * width, 8 * width, dilation=2), BasicBlock(8 * width, 8 * width, dilation=2)
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, frames):
        """(B, 3, H, W) -> (B, 8 width, H / 16, W / 16), rounded up."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(frames))), 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a way around them, which is a 1 x 1 convolution where the shape changes."""

    def __init__(self, before, after, stride=1, dilation=1):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, dilation, dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.downsample = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x):
        """(B, before, H, W) -> (B, after, H / stride, W / stride)."""
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + (self.downsample(x) if self.downsample else x))
