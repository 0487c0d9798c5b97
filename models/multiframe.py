"""AVE-Net with motion: several frames (AVE+MF), or one frame and optical flow (AVE+OF); OtS sec. 3.1, table 1.

Only the vision encoder differs: pooling, fc1, fc2, the audio branch and fc3 are AVE-Net's own.
"""

import torch
from torch import Tensor, nn

from models.avenet import LOGIT_SCALE, AVENet, ConvEncoder
from models.layers import to_float32


class Encoder3d(ConvEncoder):
    """`ConvEncoder` over time, height and width: (B, 3, T, H, W) -> (B, 8 * width, T / 8, H / 16, W / 16).

    Args:
        width: channels of the first level.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__(3, width, dims=3)

    def forward(self, frames: Tensor) -> Tensor:
        """Encode normalized `frames`, (B, 3, T, H, W) float32; in float32 on a CPU."""
        if frames.device.type != "cpu":
            return super().forward(frames)
        # In bf16 on a CPU, torch 2.14 returns uninitialized memory as the weight gradient of a 3-D convolution over
        # 2 frames.
        with torch.autocast("cpu", enabled=False):
            return super().forward(to_float32(frames))


class AVENetMF(AVENet):
    """AVE+MF: 25 frames and 3-D convolutions (OtS sec. 3.1).

    The paper doesn't say how the encoder treats time. Ours: kernels of 3 with padding 1 and pools of 2, as over height
    and width, but conv1_1 keeps every frame, so that 25 frames become 25, 12, 6, 3 and the last level still has a
    sequence. It needs at least 8 frames. The global max pool includes time.

    Args:
        width, dim, dropout, logit_scale: as of `AVENet`. The frames are (B, 3, T, H, W).
    """

    def __init__(self, width: int = 64, dim: int = 128, dropout: float = 0.0, logit_scale: float = LOGIT_SCALE) -> None:
        super().__init__(width, dim, dropout, Encoder3d(width), logit_scale)


class TwoStreamEncoder(nn.Module):
    """Encode a frame and its optical flow by three levels each; conv4_1 and conv4_2 on their concatenation.

    Args:
        flow_fields: of two channels each.
        width: channels of each stream's first level.

    Attributes:
        channels: of the output.

    Shapes:
        (B, 3 + 2 * flow_fields, H, W) float, the frame's channels first -> (B, 8 * width, H / 16, W / 16).
    """

    def __init__(self, flow_fields: int, width: int = 64) -> None:
        super().__init__()
        self.frame = ConvEncoder(3, width, levels=(1, 2, 3))
        self.flow = ConvEncoder(2 * flow_fields, width, levels=(1, 2, 3))
        self.both = ConvEncoder(self.frame.channels + self.flow.channels, width, levels=(4,))
        self.channels = self.both.channels

    def forward(self, inputs: Tensor) -> Tensor:
        """Encode `inputs`, (B, 3 + 2 * flow_fields, H, W) -> (B, 8 * width, H / 16, W / 16)."""
        frame, flow = self.frame(inputs[:, :3]), self.flow(inputs[:, 3:])  # (B, 4 * width, H / 16, W / 16) each
        return self.both(torch.cat([frame, flow], 1))


class AVENetOF(AVENet):
    """AVE+OF: one frame and 10 fields of optical flow, in two streams that join before conv4_1 (OtS sec. 3.1).

    Args:
        width, dim, dropout, logit_scale: as of `AVENet`.
        flow_fields: F; the paper has 10. The frames are (B, 3 + 2 * F, H, W).
    """

    def __init__(
        self,
        width: int = 64,
        dim: int = 128,
        dropout: float = 0.0,
        flow_fields: int = 10,
        logit_scale: float = LOGIT_SCALE,
    ) -> None:
        super().__init__(width, dim, dropout, TwoStreamEncoder(flow_fields, width), logit_scale)

    def flip_frames(self, frames: Tensor) -> Tensor:
        """Mirror `frames` and their flow, (B, 3 + 2 * F, H, W), left to right: horizontal motion changes its sign."""
        sign = torch.ones(frames.shape[1], device=frames.device)  # (3 + 2 * F,)
        sign[3::2] = -1  # horizontal components
        return super().flip_frames(frames) * sign[:, None, None]
