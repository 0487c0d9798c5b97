"""The convolutional encoder that all nets of *Objects that Sound* share for pictures and for sound."""

from torch import nn


def convolution(channels_in, channels_out, stride=1, dims=2):
    """3 x 3 (x 3) convolution, batch norm, ReLU (OtS sec. 3.1: every convolution is followed by both)."""
    conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dims == 2 else (nn.Conv3d, nn.BatchNorm3d)
    return nn.Sequential(
        conv(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),  # batch norm has the bias
        norm(channels_out),
        nn.ReLU(inplace=True),
    )


class Encoder(nn.Sequential):
    """conv1_1 (stride 2) ... conv4_2 with 2 x 2 max pools between the four pairs (OtS fig. 2).

    Args:
        channels: 3 for a picture, 1 for a spectrogram.
        width: channels of the first pair; they double after each pool. 64 is the paper's.
        dims: 2; or 3 for several frames: kernels of 3 and pools of 2 in time too, while conv1_1 keeps every frame.
        levels: which of the pairs, each with the pool that follows it.

    Shapes:
        (B, channels, H, W) float -> (B, 8 * width, H / 16, W / 16), sides rounded up once and then down, e.g.
        (B, 3, 224, 224) -> (B, 512, 14, 14) and (B, 1, 257, 200) -> (B, 512, 16, 12).
        With dims 3: (B, channels, T, H, W) -> (B, 8 * width, T / 8, H / 16, W / 16), (B, 512, 3, 14, 14) of 25 frames.
    """

    def __init__(self, channels, width=64, dims=2, levels=(1, 2, 3, 4)):
        layers = {}
        halve = 2 if dims == 2 else (1, 2, 2)
        for level in levels:
            out = width * 2 ** (level - 1)
            layers[f"conv{level}_1"] = convolution(channels, out, halve if level == 1 else 1, dims)
            layers[f"conv{level}_2"] = convolution(out, out, dims=dims)
            if level < 4:
                layers[f"pool{level}"] = nn.MaxPool2d(2) if dims == 2 else nn.MaxPool3d(2)
            channels = out
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.channels = channels
