"""Scores of pairs of frames and sounds by a net's own `pair_logits`, in chunks of bounded memory.

A net with localization maps scores a pair by the largest value of its map (OtS sec. 5.1). The cosine of mean vectors is
another score, which it was not trained with: within a modality there is no other, across modalities there is.
"""

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

PairLogits = Callable[[Tensor, Tensor], Tensor]  # frames (N, D, h, w) and sounds (M, D) -> (N, M)
CHUNK_SOUNDS = 512  # sounds at a time
CHUNK_VALUES = {"cpu": 2**20, "cuda": 2**26}  # values of maps at a time: those of a CPU stay in its cache
MAX_CACHED = 2**27  # scores that are kept, half a gigabyte: those of 11,000 clips


@torch.no_grad()
def score_pairs(pair_logits: PairLogits, v: Tensor, a: Tensor, device: torch.device | str) -> Tensor:
    """Score all pairs of embedded frames and sounds, some at a time.

    Args:
        pair_logits: the net's.
        v: (N, D, h, w) float32, embedded frames, on the CPU or on `device`.
        a: (M, D) float32, embedded sounds.
        device: of the net.

    Returns:
        (N, M) float32 on the CPU.
    """
    values = CHUNK_VALUES.get(torch.device(device).type, CHUNK_VALUES["cpu"])
    num_frames = max(values // (v[0, :1].numel() * CHUNK_SOUNDS), 1) if len(v) else 1
    out, sounds = torch.empty(len(v), len(a)), a.to(device, non_blocking=True)
    for row in range(0, len(v), num_frames):
        frames = v[row : row + num_frames].to(device, non_blocking=True)
        columns = range(0, len(a), CHUNK_SOUNDS)
        parts = [pair_logits(frames, sounds[column : column + CHUNK_SOUNDS]) for column in columns]
        out[row : row + num_frames] = torch.cat(parts, 1)
    return out


def mean_pair_logits(pair_logits: PairLogits, v: Tensor, a: Tensor) -> Tensor:
    """Score all pairs of clips by the mean over M aligned moments (data.moments).

    Args:
        pair_logits: the net's, of one moment.
        v: (N, M, ...) embedded frames.
        a: (K, M, ...) embedded sounds.

    Returns:
        (N, K).
    """
    return torch.stack([pair_logits(v[:, m], a[:, m]) for m in range(v.shape[1])]).mean(0)


class PairScores:
    """Scores of N frames and N sounds for retrieval in both directions across modalities.

    Args:
        pair_logits: the net's.
        v: (N, D, h, w) float32, embedded frames.
        a: (N, D) float32, embedded sounds of the same clips.
        device: of the net.
        all_queries: most clips are queries: compute all scores once for both directions, if they fit in memory.
    """

    def __init__(
        self, pair_logits: PairLogits, v: Tensor, a: Tensor, device: torch.device | str, all_queries: bool = True
    ) -> None:
        self.pair_logits, self.v, self.a, self.device = pair_logits, v, a, device
        self.keeps_all = all_queries and len(v) * len(a) <= MAX_CACHED

    def __call__(self, direction: str, queries: np.ndarray) -> np.ndarray:
        """Score queries with all clips of the collection.

        Args:
            direction: "im-aud" (frames search sounds) or "aud-im".
            queries: (Q,) int, indices of the clips that are queries.

        Returns:
            (Q, N) float32.
        """
        if self.keeps_all:
            return (self._all if direction == "im-aud" else self._all.T)[queries]
        if direction == "im-aud":
            return score_pairs(self.pair_logits, self.v[queries], self.a, self.device).numpy()
        return score_pairs(self.pair_logits, self.v, self.a[queries], self.device).numpy().T

    @cached_property
    def _all(self) -> np.ndarray:
        """(N, N) scores of all frames (rows) and sounds: computed once for both directions."""
        return score_pairs(self.pair_logits, self.v, self.a, self.device).numpy()
