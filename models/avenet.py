"""AVE-Net: one embedding for a frame and for a second of sound (OtS sec. 3.1, fig. 2)."""

import torch
import torch.nn.functional as F
from torch import nn

from models.encoders import Encoder
from models.net import NEUTRAL, SLOPE, AVCNet, distances, max_pooled, standardise


class AVENet(AVCNet):
    """Two encoders, two 128-D unit vectors, and a decision that sees nothing but the distance between them.

    Each branch: `Encoder`, global max pool, fc1 (8 * width -> dim), ReLU, fc2 (dim -> dim), L2 norm. The Euclidean
    distance of the two, one number, goes through fc3 (1 -> 2) and a softmax.

    Args:
        width: channels of the first convolution; 64 is the paper's.
        dim: dimensions of the embedding; 128 is the paper's.
        dropout: share of the pooled features dropped in training; the paper uses none.
        vision: encoder of the frames, with an attribute `channels`; None for one frame's, `Encoder(3, width)`.
    """

    decision = "fc3"

    def __init__(self, width=64, dim=128, dropout=0.0, vision=None):
        super().__init__()
        self.vision = Encoder(3, width) if vision is None else vision
        self.vision_fc1 = nn.Linear(self.vision.channels, dim)
        self.vision_fc2 = nn.Linear(dim, dim)
        self.audio = Encoder(1, width)
        self.audio_fc1 = nn.Linear(self.audio.channels, dim)
        self.audio_fc2 = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.fc3 = nn.Linear(1, 2)
        self._start_fc3()

    @torch.no_grad()
    def _start_fc3(self):
        """Start fc3 as logit = 12 (1.2 - d): steep, and with the sign that makes a small distance mean "match".

        The sign is the paper's (sec. 3.1); it isn't enforced later. Two unit vectors that have nothing to do with
        each other lie sqrt(2) apart. PyTorch's default start has a random sign and a slope around 0.6, which barely
        tells pairs apart: the loss stays at ln 2. See docs/starting_well.md.
        """
        half = SLOPE / 2
        self.fc3.weight.copy_(torch.tensor([[half], [-half]]))
        self.fc3.bias.copy_(torch.tensor([-half * NEUTRAL, half * NEUTRAL]))

    def embed_frames(self, frames):
        """(B, 3, H, W) normalised frames -> (B, dim) unit vectors, float32."""
        return F.normalize(self._head(self.vision(frames), self.vision_fc1, self.vision_fc2), dim=1)

    def embed_with_mirror(self, frames):
        """The mean of the two unit vectors, made one again: (B, dim)."""
        return F.normalize(super().embed_with_mirror(frames), dim=1)

    def embed_sounds(self, spectrograms):
        """(B, 1, F, T) normalised log spectrograms -> (B, dim) unit vectors, float32."""
        return F.normalize(self._head(self.audio(spectrograms), self.audio_fc1, self.audio_fc2), dim=1)

    def _head(self, features, fc1, fc2):
        pooled = max_pooled(features)  # (B, 8 * width)
        # The head is tiny and ends in differences of nearly equal numbers: keep it in float32 under autocast.
        with torch.autocast(pooled.device.type, enabled=False):
            return fc2(F.relu(fc1(self.dropout(pooled))))  # (B, dim)

    def pair_logits(self, v, a):
        """(N, dim), (M, dim) -> (N, M): log-odds that frame n and sound m belong together.

        The difference of fc3's two outputs: a sigmoid of it is the paper's two-way softmax.
        """
        return -self.slope() * distances(v, a) + (self.fc3.bias[1] - self.fc3.bias[0])

    def slope(self):
        """By how much the logit grows as the distance shrinks, a scalar tensor."""
        return self.fc3.weight[0, 0] - self.fc3.weight[1, 0]

    @torch.no_grad()
    def start_from_data(self, frames, spectrograms):
        """Scale and shift each fc2 so that on these clips every output dimension has mean 0 and deviation 1.

        At a random start all embeddings point the same way (cosine 0.9 between different clips), so no distance
        tells anything. This spreads them over the sphere; the architecture is unchanged.

        Args:
            frames, spectrograms: about 100 clips or more, as in `forward`.
        """
        self.train()
        for encoder, fc1, fc2, inputs in (
            (self.vision, self.vision_fc1, self.vision_fc2, frames),
            (self.audio, self.audio_fc1, self.audio_fc2, spectrograms),
        ):
            standardise(fc2, fc2(F.relu(fc1(max_pooled(encoder(inputs))))))
