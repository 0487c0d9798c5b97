"""Several aligned moments of a clip as one: its similarity with another is the mean over the moments (data.moments).

As in CAV-MAE Sync (arXiv 2505.01237), frames are compared with the sounds of the same moment only. Rows of M moments of
B clips are ordered by moment: the first moments of all clips, then the second ones, ...
"""

import torch
from torch import Tensor

from models.interfaces import Gather


class GatherMoments:
    """Collects the rows of all processes, in the order of their moments.

    Args:
        gather: collects clips.
        moments: of each clip.

    Attributes:
        first: number of this process's first clip among all clips.
    """

    def __init__(self, gather: Gather, moments: int) -> None:
        self.first, self._gather, self._moments = gather.first, gather, moments

    def __call__(self, values: Tensor) -> Tensor:
        """Gather `values`: (M * B, ...) of this process -> (M * W, ...) of the W clips of all processes."""
        by_clip = values.unflatten(0, (self._moments, -1)).transpose(0, 1)
        return self._gather(by_clip.contiguous()).transpose(0, 1).flatten(0, 1)


def mean_over_moments(scores: Tensor, moments: int, extra: int = 0) -> Tensor:
    """Average the scores of the same moments of two clips.

    Args:
        scores: (M * B, M * W + K): of M moments of B clips with those of W clips, then with K sounds of no clip.
        moments: M.
        extra: K, which are compared with every moment.

    Returns:
        (B, W + K).
    """
    if moments == 1:
        return scores
    clips, others = scores[:, : scores.shape[1] - extra], scores[:, scores.shape[1] - extra :]
    aligned = clips.unflatten(1, (moments, -1)).unflatten(0, (moments, -1)).diagonal(dim1=0, dim2=2)  # (B, W, M)
    return torch.cat([aligned.mean(-1), others.unflatten(0, (moments, -1)).mean(0)], 1)
