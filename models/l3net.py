"""L3-Net, the paper's baseline: two encoders and a classifier on their concatenation (L3, arXiv 1705.08168)."""

import torch
import torch.nn.functional as F
from torch import nn

from models.avenet import AVCNet, ConvEncoder, global_max_pool, standardize_outputs


class L3Net(AVCNet):
    """Two 512-D features, concatenated, fc1 (1024 -> 128), ReLU, fc2 (128 -> 2), softmax (L3 sec. 3; OtS fig. 2a).

    Nothing makes the two features comparable: frames and sounds meet only in fc1. For retrieval the features are
    taken as they are, L2-normalised (OtS sec. 4.1), or projected by a CCA (`evaluation.measures.cca`).

    Args:
        width: channels of the first convolution; 64 is the paper's. The features have 8 * width dimensions.
        dim: units of fc1; 128 is the paper's.
        dropout: share of the pooled features dropped in training; the paper uses none.
    """

    logit_layer = "fc2"

    def __init__(self, width=64, dim=128, dropout=0.0):
        super().__init__()
        self.vision, self.audio = ConvEncoder(3, width), ConvEncoder(1, width)
        self.dropout = nn.Dropout(dropout)
        self.fc1 = nn.Linear(self.vision.channels + self.audio.channels, dim)
        self.fc2 = nn.Linear(dim, 2)

    def embed_frames(self, frames):
        """(B, 3, H, W) normalised frames -> (B, 8 * width) pooled features, float32, not below 0."""
        return self.dropout(global_max_pool(self.vision(frames)))

    def embed_sounds(self, spectrograms):
        """(B, 1, F, T) normalised log spectrograms -> (B, 8 * width) pooled features, float32, not below 0."""
        return self.dropout(global_max_pool(self.audio(spectrograms)))

    def pair_logits(self, v, a):
        """(N, 8 * width), (M, 8 * width) -> (N, M): difference of fc2's two outputs for each concatenated pair."""
        with torch.autocast(v.device.type, enabled=False):
            hidden = F.relu(self._hidden(v, a))
            return hidden @ (self.fc2.weight[1] - self.fc2.weight[0]) + (self.fc2.bias[1] - self.fc2.bias[0])

    def _hidden(self, v, a):
        """fc1 of all concatenated pairs, (N, M, dim): a sum of two products, so each clip is multiplied once."""
        of_v, of_a = self.fc1.weight.split((v.shape[1], a.shape[1]), dim=1)
        return (v @ of_v.T)[:, None] + (a @ of_a.T)[None] + self.fc1.bias

    def frame_vectors(self, v):
        """The features, L2-normalised: (B, 8 * width) (OtS sec. 4.1)."""
        return F.normalize(v, dim=1)

    def sound_vectors(self, a):
        """The same of sounds."""
        return F.normalize(a, dim=1)

    @torch.no_grad()
    def data_dependent_init(self, frames, spectrograms):
        """Scale and shift fc1 so that over all pairs of these clips each unit has mean 0 and deviation 1, then fc2
        so that the logits have mean 0 and deviation 1.

        Args:
            frames, spectrograms: about 100 clips or more, as in `forward`.
        """
        self.train()
        v, a = global_max_pool(self.vision(frames)), global_max_pool(self.audio(spectrograms))
        standardize_outputs(self.fc1, self._hidden(v, a).flatten(0, 1))
        logits = self.pair_logits(v, a)
        self.fc2.weight.div_(logits.std().clamp(min=1e-6))
        self.fc2.bias.zero_()
        self.fc2.bias[1] = -self.pair_logits(v, a).mean()
