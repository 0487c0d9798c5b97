"""AVOL-Net: find the object that sounds, asking only whether frame and sound belong together (OtS sec. 5.1, fig. 6)."""

import torch
import torch.nn.functional as F
from torch import nn

from models.avenet import (
    LOGIT_SCALE,
    NEUTRAL_DISTANCE,
    AVCNet,
    ConvEncoder,
    global_max_pool,
    pairwise_distances,
    standardize_outputs,
)


class AVOLNet(AVCNet):
    """A vector for every place of the frame's feature map, and the best place's likeness to the sound's vector.

    Vision: `Encoder`, then fc1 and fc2 as 1 x 1 convolutions conv5 (8 * width -> dim, ReLU) and conv6 (dim -> dim).
    Audio: as in AVE-Net. No L2 norm, so that background can answer low. The scalar product at every place goes through
    conv7, one scale and one bias, and a sigmoid; the largest is the answer: corresponding is 1.

    Args:
        width: channels of the first convolution; 64 is the paper's.
        dim: dimensions of the vectors; 128 is the paper's.
        dropout: share of the pooled audio features dropped in training; the paper uses none.
    """

    logit_layer = "conv7"

    def __init__(self, width=64, dim=128, dropout=0.0):
        super().__init__()
        self.vision = ConvEncoder(3, width)
        self.conv5 = nn.Conv2d(self.vision.channels, dim, 1)
        self.conv6 = nn.Conv2d(dim, dim, 1)
        self.audio = ConvEncoder(1, width)
        self.audio_fc1 = nn.Linear(self.audio.channels, dim)
        self.audio_fc2 = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.conv7 = nn.Conv2d(1, 1, 1)
        # PyTorch's random sign would, half of the time, make the max pool pick the place that fits the sound least.
        nn.init.ones_(self.conv7.weight)
        nn.init.zeros_(self.conv7.bias)

    def embed_frames(self, frames):
        """(B, 3, H, W) normalised frames -> (B, dim, H / 16, W / 16), a vector for every place, float32."""
        return self._at_locations(self.vision(frames))

    def _at_locations(self, features):
        with torch.autocast(features.device.type, enabled=False):
            return self.conv6(F.relu(self.conv5(features.float())))

    def forward_with_aux(self, frames, spectrograms, gather=None):
        """As `forward`, and two more answers, from the frame's features pooled first and compared afterwards.

        Each feature's largest value, wherever it is, goes through conv5 and conv6 to one vector. The second answer is
        conv7 of its product with the sound's. A place sees nearly the whole frame, so with the first answer alone the
        best place may lie anywhere around the object; the second wants features that are large on what they stand for,
        and the maps follow. The third is AVE-Net's on the same weights: the distance of the two as unit vectors,
        through fc3 as that starts. It learns where the others stay at chance. See docs/localising.md; ours, not the
        paper's.

        Returns:
            v (B, dim, h, w), a (B, dim), and three logits (B, B); with `gather` as in `forward`.
        """
        features, a = self.vision(frames), self.embed_sounds(spectrograms)
        a = gather(a) if gather else a
        v, pooled = self._at_locations(features), self._pool_then_embed(features)
        with torch.autocast(a.device.type, enabled=False):
            second = self._to_logits(pooled @ a.T)
        third = LOGIT_SCALE * (NEUTRAL_DISTANCE - pairwise_distances(F.normalize(pooled, dim=1), F.normalize(a, dim=1)))
        return v, a, self.pair_logits(v, a), second, third

    def _pool_then_embed(self, features):
        return self._at_locations(features.amax((2, 3), keepdim=True)).flatten(1)  # (B, dim)

    def embed_with_flip(self, frames):
        """The mean at each place of the frame: (B, dim, H / 16, W / 16); the mirror image's map is turned back."""
        return (self.embed_frames(frames) + self.embed_frames(self.flip_frames(frames)).flip(-1)) / 2

    def embed_sounds(self, spectrograms):
        """(B, 1, F, T) normalised log spectrograms -> (B, dim), float32."""
        pooled = global_max_pool(self.audio(spectrograms))
        with torch.autocast(pooled.device.type, enabled=False):
            return self.audio_fc2(F.relu(self.audio_fc1(self.dropout(pooled))))

    def pair_logits(self, v, a):
        """(N, dim, h, w), (M, dim) -> (N, M): conv7 of each frame's best scalar product with each sound.

        One product of matrices over all N * h * w places. A sigmoid, which is monotonic, commutes with the maximum.
        """
        with torch.autocast(v.device.type, enabled=False):
            places = v.flatten(2).transpose(1, 2)  # (N, h * w, dim)
            return self._to_logits(places @ a.T).amax(1)

    def location_logits(self, v, a):
        """Where the sound comes from: (N, dim, h, w), (N, dim) of N pairs -> (N, h, w) logits before the max pool."""
        with torch.autocast(v.device.type, enabled=False):
            return self._to_logits(torch.einsum("ndhw,nd->nhw", v, a))

    def _to_logits(self, products):
        return self.conv7.weight.view(()) * products + self.conv7.bias

    def logit_scale(self):
        """conv7's scale, a scalar tensor: below 0 the pool would pick the place that fits the sound least."""
        return self.conv7.weight.view(())

    def frame_vectors(self, v):
        """The mean over all places, L2-normalised: (B, dim). Ours: the paper has none."""
        return F.normalize(v.mean((2, 3)), dim=1)

    def sound_vectors(self, a):
        """The sound's vector, L2-normalised: (B, dim)."""
        return F.normalize(a, dim=1)

    @torch.no_grad()
    def data_dependent_init(self, frames, spectrograms):
        """Spread both embeddings, and set conv7 so that the logits of all pairs of these clips have mean 0 and
        deviation 1.

        conv6 and fc2 are scaled and shifted to mean 0 and deviation 0.3 in every dimension, conv6 for features that
        are pooled first: these are compared by their directions. From PyTorch's own start all vectors point the same
        way, the logits of all pairs are equal, and only conv7's bias learns.

        Args:
            frames, spectrograms: about 100 clips or more, as in `forward`.
        """
        self.train()
        standardize_outputs(self.conv6, self._pool_then_embed(self.vision(frames)), deviation=0.3)
        standardize_outputs(self.audio_fc2, self.embed_sounds(spectrograms), deviation=0.3)
        nn.init.ones_(self.conv7.weight)
        nn.init.zeros_(self.conv7.bias)
        logits = self(frames, spectrograms)[2]
        self.conv7.weight.div_(logits.std().clamp(min=1e-6))
        self.conv7.bias.copy_(-self(frames, spectrograms)[2].mean())

    def remap_state_dict(self, weights):
        """AVE-Net's weights for this net: its fc1 and fc2 of the frame are conv5 and conv6; fc3 has no place here."""
        names = {"vision_fc1": "conv5", "vision_fc2": "conv6"}
        out = {}
        for name, value in weights.items():
            layer, _, kind = name.rpartition(".")
            if layer in names:
                name, value = f"{names[layer]}.{kind}", value[..., None, None] if kind == "weight" else value
            out[name] = value
        return out

    @torch.no_grad()
    def calibrate_logits(self, frames, spectrograms, gap=4.0):
        """Set conv7 for embeddings that are trained already: mean logits +gap / 2 for matches, -gap / 2 for mismatches.

        Args:
            frames, spectrograms: about 100 clips or more, as in `forward`.
        """
        self.eval()
        nn.init.ones_(self.conv7.weight)
        nn.init.zeros_(self.conv7.bias)
        logits = self(frames, spectrograms)[2]
        on = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        match, mismatch = logits[on].mean(), logits[~on].mean()
        scale = gap / (match - mismatch).clamp(min=1e-3)
        self.conv7.weight.copy_(scale.view(1, 1, 1, 1))
        self.conv7.bias.copy_(-scale * (match + mismatch) / 2)
