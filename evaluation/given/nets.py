"""In the place of a net: what another program computed, asked for as of a net, so that the same tasks measure it."""

import torch
from torch import Tensor, nn

from models.layers import pairwise_distances


class GivenEmbeddings(nn.Module):
    """An `EmbeddingNet` whose embedded frames and sounds are numbers of clips, (N, 1) int64.

    Args:
        frames: (N, D) float32, unit vectors of the clips' frames.
        sounds: (N, D) float32, of their sounds.
        log_odds: (N, N) float32, of each frame with each sound; None: pairs are scored by their vectors' distance.
        ranks_by_pair_scores: these scores order the results of a search across modalities, not the distances.
    """

    def __init__(
        self, frames: Tensor, sounds: Tensor, log_odds: Tensor | None = None, ranks_by_pair_scores: bool = False
    ) -> None:
        super().__init__()
        self.frames, self.sounds = (nn.Parameter(side, requires_grad=False) for side in (frames, sounds))
        self.log_odds, self.ranks_by_pair_scores = log_odds, ranks_by_pair_scores

    def embed_frames(self, frames: Tensor) -> Tensor:
        """Refuse to embed `frames`: another program has."""
        raise NotImplementedError

    def embed_with_flip(self, frames: Tensor) -> Tensor:
        """Refuse to embed `frames`: another program has."""
        raise NotImplementedError

    def embed_sounds(self, spectrograms: Tensor) -> Tensor:
        """Refuse to embed `spectrograms`: another program has."""
        raise NotImplementedError

    def frame_vectors(self, v: Tensor) -> Tensor:
        """Get the vectors of the clips' frames: numbers `v` (B, 1) -> (B, D)."""
        return self.frames[v[:, 0]]

    def sound_vectors(self, a: Tensor) -> Tensor:
        """Get the vectors of the clips' sounds: numbers `a` (B, 1) -> (B, D)."""
        return self.sounds[a[:, 0]]

    def pair_logits(self, v: Tensor, a: Tensor) -> Tensor:
        """Score all pairs of clips' frames `v` (N, 1) and sounds `a` (M, 1) -> (N, M)."""
        if self.log_odds is not None:
            return self.log_odds[v[:, 0]][:, a[:, 0]]
        return -pairwise_distances(self.frame_vectors(v), self.sound_vectors(a))


class NoSeparation(nn.Module):
    """A `SeparatingNet` that gives each source the same: its estimates are replaced by another program's."""

    def __init__(self) -> None:
        super().__init__()
        self.none = nn.Parameter(torch.zeros(1), requires_grad=False)

    def frame_features(self, frames: Tensor) -> Tensor:
        """Give clips of `frames` (B, T, 3, H, W) no features: (B, 1) zeros."""
        return frames.new_zeros(len(frames), 1)

    def pixel_features(self, frames: Tensor) -> Tensor:
        """Refuse to look at `frames`: another program has."""
        raise NotImplementedError

    def sound_maps(self, spectrograms: Tensor) -> Tensor:
        """Give mixtures of `spectrograms` (B, 1, F, T) one map of zeros, of the same shape."""
        return torch.zeros_like(spectrograms)

    def mask_logits(self, features: Tensor, maps: Tensor) -> Tensor:
        """Give sources of `features` (B, N, 1) the same mask: `maps` (B, 1, F, T) -> (B, N, F, T)."""
        return maps.expand(-1, features.shape[1], -1, -1)

    def masks_at_pixels(self, features: Tensor, maps: Tensor, rows: int = 4) -> None:
        """Refuse to compute masks.

        Args:
            features, maps, rows: as of `models.interfaces.SeparatingNet`.
        """
        raise NotImplementedError
