"""AVE-Net that sees motion: several frames (AVE+MF), or one frame and optical flow (AVE+OF); OtS sec. 3.1, table 1.

Only the vision encoder is another: pooling, fc1, fc2, the sound's branch and the decision are AVE-Net's own.
"""

import torch
from torch import nn

from models.avenet import AVENet, ConvEncoder


class Encoder3d(ConvEncoder):
    """`Encoder` over frames, height and width: (B, 3, T, H, W) -> (B, 8 * width, T / 8, H / 16, W / 16)."""

    def __init__(self, width=64):
        super().__init__(3, width, dims=3)

    def forward(self, frames):
        if frames.device.type != "cpu":
            return super().forward(frames)
        # In bf16 on a CPU, torch's gradient of the weights of a 3-D convolution over 2 frames is whatever lay in memory
        # (seen with torch 2.14).
        with torch.autocast("cpu", enabled=False):
            return super().forward(frames.float())


class AVENetMF(AVENet):
    """AVE+MF: 25 frames go in, the 2-D convolutions become 3-D.

    That much is the paper's. Ours is what it means in time: kernels of 3 with padding 1 and pools of 2, as across the
    picture, but conv1_1's stride of 2 across the picture only, so that 25 frames become 25, 12, 6, 3 and the last pair
    still sees a sequence. At least 8 frames are needed. The global max pool goes over time too.

    Args: as `AVENet`'s; its `frames` are (B, 3, T, H, W).
    """

    def __init__(self, width=64, dim=128, dropout=0.0):
        super().__init__(width, dim, dropout, vision=Encoder3d(width))


class TwoStreamEncoder(nn.Module):
    """A frame and optical flow, each through three conv-conv-pool blocks; concatenated, conv4_1 and conv4_2.

    Args:
        fields: flow fields, of two channels each.
        width: as `Encoder`'s; each stream has it.

    Shapes:
        (B, 3 + 2 * fields, H, W) float, the frame's channels first -> (B, 8 * width, H / 16, W / 16).
    """

    def __init__(self, fields, width=64):
        super().__init__()
        self.frame = ConvEncoder(3, width, levels=(1, 2, 3))
        self.flow = ConvEncoder(2 * fields, width, levels=(1, 2, 3))
        self.both = ConvEncoder(self.frame.channels + self.flow.channels, width, levels=(4,))
        self.channels = self.both.channels

    def forward(self, inputs):
        frame, flow = self.frame(inputs[:, :3]), self.flow(inputs[:, 3:])  # (B, 4 * width, H / 16, W / 16) each
        return self.both(torch.cat([frame, flow], 1))


class AVENetOF(AVENet):
    """AVE+OF: one frame and 10 fields of optical flow, in two streams that join before conv4_1.

    Args: as `AVENet`'s, and
        flow_fields: 10 is the paper's. Its `frames` are (B, 3 + 2 * flow_fields, H, W).
    """

    def __init__(self, width=64, dim=128, dropout=0.0, flow_fields=10):
        super().__init__(width, dim, dropout, vision=TwoStreamEncoder(flow_fields, width))

    def flip_frames(self, frames):
        """Left and right exchanged: what moved to the right moves to the left."""
        sign = torch.ones(frames.shape[1], device=frames.device)
        sign[3::2] = -1  # u, the horizontal part, of each field
        return super().flip_frames(frames) * sign[:, None, None]
