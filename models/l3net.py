"""L3-Net, the paper's baseline: two encoders and a classifier on their concatenation (L3, arXiv 1705.08168)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.avenet import AVCNet, ConvEncoder
from models.interfaces import Encoder
from models.layers import global_max_pool, standardize_outputs


class L3Net(AVCNet):
    """Two 512-D features, concatenated, fc1 (1024 -> 128), ReLU, fc2 (128 -> 2), softmax (L3 sec. 3; OtS fig. 2a).

    Nothing makes the two features comparable: frames and sounds meet only in fc1. Retrieval compares the L2-normalized
    features (OtS sec. 4.1) or their projections by a CCA (`evaluation.measures.cca`).

    Args:
        width: channels of the first convolution; the paper has 64. The features have 8 * width dimensions.
        dim: units of fc1; the paper has 128.
        dropout: fraction of the pooled features dropped in training; the paper uses none.
        vision: encoder of the frames; None for `ConvEncoder(3, width)`.
        audio: encoder of the spectrograms; None for `ConvEncoder(1, width)`.
    """

    logit_layer = "fc2"

    def __init__(
        self,
        width: int = 64,
        dim: int = 128,
        dropout: float = 0.0,
        vision: Encoder | None = None,
        audio: Encoder | None = None,
    ) -> None:
        super().__init__()
        self.vision = ConvEncoder(3, width) if vision is None else vision
        self.audio = ConvEncoder(1, width) if audio is None else audio
        self.dropout = nn.Dropout(dropout)
        self.fc1 = nn.Linear(self.vision.channels + self.audio.channels, dim)
        self.fc2 = nn.Linear(dim, 2)

    def embed_frames(self, frames: Tensor) -> Tensor:
        """Embed normalized `frames`, (B, 3, H, W) -> (B, 8 * width) pooled features, float32, at least 0."""
        return self.dropout(global_max_pool(self.frame_map(frames)))

    def embed_sounds(self, spectrograms: Tensor) -> Tensor:
        """Embed normalized log `spectrograms`, (B, 1, F, T) -> (B, 8 * width) pooled features, float32, at least 0."""
        return self.dropout(global_max_pool(self.audio(spectrograms)))

    def pair_logits(self, v: Tensor, a: Tensor) -> Tensor:
        """Classify all pairs of `v` (N, 8 * width) and `a` (M, 8 * width): (N, M), difference of fc2's two outputs."""
        with torch.autocast(v.device.type, enabled=False):
            hidden = F.relu(self._hidden(v, a))  # (N, M, dim)
            return hidden @ (self.fc2.weight[1] - self.fc2.weight[0]) + (self.fc2.bias[1] - self.fc2.bias[0])

    def _hidden(self, v: Tensor, a: Tensor) -> Tensor:
        """Apply fc1 to all concatenated pairs, (N, M, dim): a sum of two products, so each clip is multiplied once."""
        frame_weight, sound_weight = self.fc1.weight.split((v.shape[1], a.shape[1]), dim=1)
        return (v @ frame_weight.T)[:, None] + (a @ sound_weight.T)[None] + self.fc1.bias

    def frame_vectors(self, v: Tensor) -> Tensor:
        """Normalize the frames' features `v`: (B, 8 * width) -> (B, 8 * width) (OtS sec. 4.1)."""
        return F.normalize(v, dim=1)

    def sound_vectors(self, a: Tensor) -> Tensor:
        """Normalize the sounds' features `a`: (B, 8 * width) -> (B, 8 * width) (OtS sec. 4.1)."""
        return F.normalize(a, dim=1)

    @torch.no_grad()
    def data_dependent_init(self, frames: Tensor, spectrograms: Tensor) -> None:
        """Standardize fc1's units over all pairs of these clips, then the logits: mean 0, standard deviation 1.

        Args:
            frames: (B, 3, H, W), as of `forward`, of about 100 clips or more.
            spectrograms: (B, 1, F, T) of the same clips.
        """
        self.train()
        v, a = global_max_pool(self.frame_map(frames)), global_max_pool(self.audio(spectrograms))
        standardize_outputs(self.fc1, self._hidden(v, a).flatten(0, 1))
        logits = self.pair_logits(v, a)
        self.fc2.weight.div_(logits.std().clamp(min=1e-6))
        self.fc2.bias.zero_()
        self.fc2.bias[1] = -self.pair_logits(v, a).mean()
