"""The convolutional encoder that all nets of *Objects that Sound* share for pictures and for sound."""

from torch import nn


def convolution(channels_in, channels_out, stride=1):
    """3 x 3 convolution, batch norm, ReLU (OtS sec. 3.1: every convolution is followed by both)."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),  # batch norm has the bias
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


class Encoder(nn.Sequential):
    """conv1_1 (stride 2) ... conv4_2 with 2 x 2 max pools between the four pairs (OtS fig. 2).

    Args:
        channels: 3 for a picture, 1 for a spectrogram.
        width: channels of the first pair; they double after each pool. 64 is the paper's.

    Shapes:
        (B, channels, H, W) float -> (B, 8 * width, H / 16, W / 16), sides rounded up once and then down, e.g.
        (B, 3, 224, 224) -> (B, 512, 14, 14) and (B, 1, 257, 200) -> (B, 512, 16, 12).
    """

    def __init__(self, channels, width=64):
        layers = {}
        for level in range(1, 5):
            out = width * 2 ** (level - 1)
            layers[f"conv{level}_1"] = convolution(channels, out, stride=2 if level == 1 else 1)
            layers[f"conv{level}_2"] = convolution(out, out)
            if level < 4:
                layers[f"pool{level}"] = nn.MaxPool2d(2)
            channels = out
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.channels = channels
