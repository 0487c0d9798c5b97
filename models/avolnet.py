"""AVOL-Net: localize the object that sounds, learning from audio-visual correspondence alone (OtS sec. 5.1, fig. 6)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.avenet import LOGIT_SCALE, NEUTRAL_DISTANCE, AVCNet, ConvEncoder
from models.interfaces import Encoder, Gather, gather_sounds
from models.layers import global_max_pool, pairwise_distances, standardize_outputs, to_float32
from models.object_maps import object_maps

INIT_STD = 0.3  # standard deviation of each embedding dimension after data-dependent initialization


class AVOLNet(AVCNet):
    """One vector for each location of the frame, one for the sound; the most similar location decides (OtS fig. 6).

    Vision: `ConvEncoder`, then fc1 and fc2 as 1 x 1 convolutions conv5 (8 * width -> dim, ReLU) and conv6 (dim -> dim).
    Audio: as in AVE-Net. No L2 norm, so that background can score low. The dot product at each location goes through
    conv7, one scale and one bias; the sigmoid of its maximum is the probability of a match.

    With similarity "cosine" the vectors of locations and sounds do get the L2 norm, as in EZ-VSL (arXiv 2203.09324):
    the dot product is a cosine everywhere, in training, pair scores and maps. InfoNCE trains this net.

    Args:
        width: channels of the first convolution; the paper has 64.
        dim: dimensions of the vectors; the paper has 128.
        dropout: fraction of the pooled audio features, and of the channels of the frame's feature map, dropped in
            training; the paper uses none.
        vision: encoder of the frames; None for `ConvEncoder(3, width)`.
        similarity: "dot" (the paper's) or "cosine".
        audio: encoder of the spectrograms; None for `ConvEncoder(1, width)`.
        mean_weight: weight in 0..1 of the mean over locations in the score of a pair; the maximum has the rest. The
            paper has 0. With few clips a part of the mean helps: all locations learn from every pair.
    """

    logit_layer = "conv7"

    def __init__(
        self,
        width: int = 64,
        dim: int = 128,
        dropout: float = 0.0,
        vision: Encoder | None = None,
        similarity: str = "dot",
        audio: Encoder | None = None,
        mean_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.mean_weight = mean_weight
        self.similarity = similarity
        self.vision = ConvEncoder(3, width) if vision is None else vision
        self.conv5 = nn.Conv2d(self.vision.channels, dim, 1)
        self.conv6 = nn.Conv2d(dim, dim, 1)
        self.audio = ConvEncoder(1, width) if audio is None else audio
        self.audio_fc1 = nn.Linear(self.audio.channels, dim)
        self.audio_fc2 = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.conv7 = nn.Conv2d(1, 1, 1)
        # With a random sign, the max pool would pick the least similar location in half of the runs.
        self._set_conv7(1.0, 0.0)

    def embed_frames(self, frames: Tensor) -> Tensor:
        """Embed normalized `frames`, (B, 3, H, W) -> (B, dim, H / 16, W / 16), one vector per location, float32."""
        return self._normalize(self._project(self.frame_map(frames)))

    def embed_with_flip(self, frames: Tensor) -> Tensor:
        """Average the embeddings of `frames` and of their mirror images at each location: (B, dim, H / 16, W / 16)."""
        return self.embed_with_objects(frames, flip=True)[0]

    def embed_with_objects(self, frames: Tensor, flip: bool = False) -> tuple[Tensor, Tensor]:
        """Embed frames, and compute their object maps from the same features (`models.object_maps`).

        Args:
            frames: (B, 3, H, W), as of `embed_frames`.
            flip: average both over the frames and their mirror images.

        Returns:
            The embeddings of `embed_frames` or `embed_with_flip`, and the object maps (B, H / 16, W / 16).
        """
        features = self.frame_map(frames)
        v, objects = self._normalize(self._project(features)), object_maps(features)
        if flip:
            mirrored, mirrored_objects = self.embed_with_objects(self.flip_frames(frames))
            v, objects = self._normalize((v + mirrored.flip(-1)) / 2), (objects + mirrored_objects.flip(-1)) / 2
        return v, objects

    def embed_sounds(self, spectrograms: Tensor) -> Tensor:
        """Embed normalized log `spectrograms`, (B, 1, F, T) -> (B, dim), float32."""
        return self._normalize(self._project_sounds(spectrograms))

    def _normalize(self, vectors: Tensor) -> Tensor:
        """Make (B, dim, ...) vectors unit vectors if similarity is the cosine."""
        return F.normalize(vectors, dim=1) if self.similarity == "cosine" else vectors

    def _project_sounds(self, spectrograms: Tensor) -> Tensor:
        """Encode sounds and apply fc1 and fc2: (B, 1, F, T) -> (B, dim), float32."""
        pooled = global_max_pool(self.audio(spectrograms))  # (B, 8 * width)
        with torch.autocast(pooled.device.type, enabled=False):
            return self.audio_fc2(F.relu(self.audio_fc1(self.dropout(pooled))))

    def _project(self, features: Tensor) -> Tensor:
        """Apply conv5 and conv6: (B, 8 * width, h, w) -> (B, dim, h, w), float32."""
        with torch.autocast(features.device.type, enabled=False):
            features = F.dropout2d(to_float32(features), self.dropout.p, self.training)
            return self.conv6(F.relu(self.conv5(features)))

    def _project_pooled(self, features: Tensor) -> Tensor:
        """Max-pool over locations before conv5 and conv6: (B, 8 * width, h, w) -> (B, dim), float32."""
        return self._project(features.amax((2, 3), keepdim=True)).flatten(1)

    def forward_with_aux(
        self, frames: Tensor, spectrograms: Tensor, gather: Gather | None = None
    ) -> tuple[Tensor, ...]:
        """Score all B x B pairs with the main head and two auxiliary heads, which pool the frame before comparing.

        Both max-pool the frame's features over locations, project them by conv5 and conv6 to one vector, and compare it
        with the sound's. The first is conv7 of their dot product. A location's receptive field covers nearly the whole
        frame, so the main head alone may put its peak anywhere around the object; this head asks for features that are
        largest on the object, and the map's peak follows. The second is AVE-Net's head on the same weights: the
        distance of unit vectors, through fc3 as initialized. It learns where the others stay at chance. Ours, not the
        paper's: docs/localization.md.

        Args:
            frames, spectrograms, gather: as of `forward`.

        Returns:
            v (B, dim, h, w), a (B, dim) and three logits (B, B): main, pooled, distance.
        """
        features, a = self.frame_map(frames), self.embed_sounds(spectrograms)  # (B, 8 * width, h, w), (B, dim)
        a = gather_sounds(a, len(features), gather)
        v = self._normalize(self._project(features))  # (B, dim, h, w)
        pooled = self._normalize(self._project_pooled(features))  # (B, dim)
        with torch.autocast(a.device.type, enabled=False):
            pooled_logits = self._to_logits(pooled @ a.T)
        distances = pairwise_distances(F.normalize(pooled, dim=1), F.normalize(a, dim=1))
        return v, a, self.pair_logits(v, a), pooled_logits, LOGIT_SCALE * (NEUTRAL_DISTANCE - distances)

    def pair_logits(self, v: Tensor, a: Tensor) -> Tensor:
        """Score all pairs by the frame's most similar location: `v` (N, dim, h, w), `a` (M, dim) -> (N, M) logits.

        One matrix product over all N * h * w locations. The sigmoid is monotonic: the maximum can be taken before it.
        """
        with torch.autocast(v.device.type, enabled=False):
            return self._pool(self._to_logits(location_products(v, a)))

    def _pool(self, scores: Tensor) -> Tensor:
        """Pool (N, L, M) scores of L locations: (N, M), their maximum, mixed with their mean by `mean_weight`."""
        largest = scores.amax(1)
        return largest.lerp(scores.mean(1), self.mean_weight) if self.mean_weight else largest

    def largest_cosines(self, v: Tensor, a: Tensor) -> Tensor:
        """Compute the largest cosine over the locations of N frames with M sounds (EZ-VSL, arXiv 2203.09324).

        It is mixed with the mean over locations by `mean_weight`.

        Args:
            v: (N, dim, h, w), embedded frames of a net whose similarity is "cosine".
            a: (M, dim), embedded sounds.

        Returns:
            (N, M), in -1..1.
        """
        with torch.autocast(v.device.type, enabled=False):
            return self._pool(location_products(v, a))

    def location_logits(self, v: Tensor, a: Tensor) -> Tensor:
        """Score each location of N frames with N sounds: `v` (N, dim, h, w), `a` (N, dim) -> (N, h, w) logits."""
        with torch.autocast(v.device.type, enabled=False):
            return self._to_logits(torch.einsum("ndhw,nd->nhw", v, a))

    def _to_logits(self, products: Tensor) -> Tensor:
        assert self.conv7.bias is not None
        return self.conv7.weight.view(()) * products + self.conv7.bias

    def logit_scale(self) -> Tensor:
        """Get conv7's scale, a scalar tensor; below 0 the max pool picks the least similar location."""
        return self.conv7.weight.view(())

    def frame_vectors(self, v: Tensor) -> Tensor:
        """Average embedded frames `v` over locations and normalize: (B, dim, h, w) -> (B, dim). Ours: OtS has none."""
        return F.normalize(v.mean((2, 3)), dim=1)

    def sound_vectors(self, a: Tensor) -> Tensor:
        """Normalize embedded sounds `a`: (B, dim) -> (B, dim)."""
        return F.normalize(a, dim=1)

    @torch.no_grad()
    def data_dependent_init(self, frames: Tensor, spectrograms: Tensor) -> None:
        """Standardize both embeddings, and set conv7 so that all pairs' logits have mean 0 and standard deviation 1.

        conv6 (for pooled features, which are compared by direction) and fc2 are scaled and shifted to mean 0 and
        standard deviation 0.3 in each dimension. With PyTorch's initialization all vectors point the same way, the
        logits of all pairs are equal, and only conv7's bias learns.

        Args:
            frames: (B, 3, H, W), as of `forward`, of about 100 clips or more.
            spectrograms: (B, 1, F, T) of the same clips.
        """
        self.train()
        standardize_outputs(self.conv6, self._project_pooled(self.frame_map(frames)), std=INIT_STD)
        standardize_outputs(self.audio_fc2, self._project_sounds(spectrograms), std=INIT_STD)
        self._set_conv7(1.0, 0.0)
        scale = 1 / self(frames, spectrograms)[2].std().clamp(min=1e-6)
        self._set_conv7(scale, 0.0)
        self._set_conv7(scale, -self(frames, spectrograms)[2].mean())

    @torch.no_grad()
    def calibrate_logits(self, frames: Tensor, spectrograms: Tensor, gap: float = 4.0) -> None:
        """Set conv7 for trained embeddings: mean logit +gap / 2 for positive pairs, -gap / 2 for negative pairs.

        Args:
            frames: (B, 3, H, W), as of `forward`, of about 100 clips or more.
            spectrograms: (B, 1, F, T) of the same clips.
            gap: difference between the two means.
        """
        self.eval()
        self._set_conv7(1.0, 0.0)
        logits = self(frames, spectrograms)[2]
        diagonal = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        positive, negative = logits[diagonal].mean(), logits[~diagonal].mean()
        scale = gap / (positive - negative).clamp(min=1e-3)
        self._set_conv7(scale, -scale * (positive + negative) / 2)

    @torch.no_grad()
    def _set_conv7(self, scale: float | Tensor, bias: float | Tensor) -> None:
        assert self.conv7.bias is not None
        self.conv7.weight.copy_(torch.as_tensor(scale).view(1, 1, 1, 1))
        self.conv7.bias.copy_(torch.as_tensor(bias))

    def remap_state_dict(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Convert AVE-Net's `weights`: the frame's fc1 and fc2 become conv5 and conv6; fc3 has no counterpart here."""
        names = {"vision_fc1": "conv5", "vision_fc2": "conv6"}
        out = {}
        for name, value in weights.items():
            layer, _, kind = name.rpartition(".")
            if layer in names:
                if layer == "vision_fc2" and kind == "weight" and value.shape[1] == 2 * value.shape[0]:
                    value = torch.stack(value.chunk(2, 1)).sum(0)  # of maximum and mean, equal at a single location
                name, value = f"{names[layer]}.{kind}", value[..., None, None] if kind == "weight" else value
            out[name] = value
        return out


def location_products(v: Tensor, a: Tensor) -> Tensor:
    """Compute the dot products of all locations of N frames with M sounds, in one matrix product.

    Args:
        v: (N, dim, h, w).
        a: (M, dim).

    Returns:
        (N, h * w, M).
    """
    return v.flatten(2).transpose(1, 2) @ a.T
