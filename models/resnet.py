"""ResNet-18 with dilated last stages (SoP sec. 3.1); weights have torchvision's names, so that ImageNet's load."""

import torch.nn.functional as F
from torch import Tensor, nn


class DilatedResNet18(nn.Module):
    """ResNet-18 (He et al. 2016) without its pool and classifier, its last stage dilated by 2 instead of strided.

    The first convolution of the last stage, which had the stride, is not dilated: it reads what the stage before wrote
    at every location. So every second location of the output, down and across, is what the strided net computes.

    Args:
        width: channels of the first convolution; ResNet-18 has 64.
        stride: of the output, pixels: 16 (SoP); 32, ResNet-18's own, without dilation; or 8, two stages dilated.
        first_dilation: of that first convolution; 2 in checkpoints of config version 3 and older.

    Attributes:
        channels: of the output, 8 * width.
    """

    def __init__(self, width: int = 64, stride: int = 16, first_dilation: int = 1) -> None:
        super().__init__()
        self.channels = 8 * width
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(BasicBlock(width, width), BasicBlock(width, width))
        self.layer2 = nn.Sequential(BasicBlock(width, 2 * width, stride=2), BasicBlock(2 * width, 2 * width))
        before, after = (2, 4) if stride == 8 else (1, 2 if stride == 16 else 1)  # dilation in the last two stages
        self.layer3 = nn.Sequential(
            BasicBlock(2 * width, 4 * width, 1 if stride == 8 else 2, (1, before)),
            BasicBlock(4 * width, 4 * width, dilations=(before, before)),
        )
        self.layer4 = nn.Sequential(
            BasicBlock(4 * width, 8 * width, 2 if stride == 32 else 1, (max(first_dilation, before), after)),
            BasicBlock(8 * width, 8 * width, dilations=(after, after)),
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, frames: Tensor) -> Tensor:
        """Encode `frames`, (B, 3, H, W) -> (B, 8 * width, H / stride, W / stride), rounded up."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(frames))), 3, 2, 1)  # (B, width, H / 4, W / 4)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with a residual connection, a 1 x 1 convolution where the shape changes.

    Args:
        in_channels, out_channels: of the block.
        stride: of the first convolution.
        dilations: of the two convolutions.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, dilations: tuple[int, int] = (1, 1)
    ) -> None:
        super().__init__()
        first, second = dilations
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, first, first, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, second, second, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or in_channels != out_channels:
            shortcut = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to `x`: (B, in_channels, H, W) -> (B, out_channels, H / stride, W / stride)."""
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + (self.downsample(x) if self.downsample else x))
