"""InfoNCE, a softmax over the sounds and the frames of a batch, and its learned temperature."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAX_SCALE = 100.0  # of similarities in the softmax (CLIP, arXiv 2103.00020, sec. 2.5)


class Temperature(nn.Module):
    """A learned temperature, kept as the logarithm of its inverse, the scale; the scale stays at most 100 (CLIP).

    Args:
        start: temperature before the first step, at least 0.01.

    Attributes:
        log_scale: scalar parameter.
    """

    def __init__(self, start: float) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-math.log(start)))

    def forward(self) -> Tensor:
        """Get the scale of similarities, 1 / temperature: a scalar in 0..100, with gradient."""
        with torch.no_grad():  # the weight itself is clamped: its gradient stays, and it can come back
            self.log_scale.clamp_(max=math.log(MAX_SCALE))
        return self.log_scale.exp()


def infonce_loss(
    frames_to_sounds: Tensor,
    sounds_to_frames: Tensor,
    scale: float | Tensor,
    first: int = 0,
    extra: int = 0,
    share: float = 0.0,
) -> Tensor:
    """Compute InfoNCE: which sound belongs to this frame, and which frame to this sound? The mean of both directions.

    Each direction is a softmax over all candidates and the cross-entropy with the own one (CPC, arXiv 1807.03748; in
    both directions: CLIP, arXiv 2103.00020, fig. 3). Of several processes, each has the rows of its own clips in both
    directions; the mean over the processes is the loss of all clips in one batch.

    Args:
        frames_to_sounds: (B, M + K) similarities of this process's B frames with the M sounds of all processes, then
            with K extra sounds that belong to no frame.
        sounds_to_frames: (B, M) similarities of this process's B sounds with the M frames of all processes.
        scale: of the similarities in the softmax, 1 / temperature.
        first: number of this process's first clip among the M.
        extra: K.
        share: fraction in 0..1 (not 1) of a frame's negatives that the extra sounds stand for. They are weighted so
            in the denominator; all negatives together weigh as much as without them. Sounds have no extra frames.

    Returns:
        scalar.
    """
    count, clips = len(frames_to_sounds), frames_to_sounds.shape[1] - extra
    own = torch.arange(first, first + count, device=frames_to_sounds.device)
    with torch.autocast(frames_to_sounds.device.type, enabled=False):
        sound_logits = scale * frames_to_sounds  # (B, M + K)
        if extra:
            weights = torch.full_like(sound_logits, 1 - share)
            weights[:, clips:] = share * (clips - 1) / extra
            sound_logits = sound_logits + weights.scatter(1, own[:, None], 1.0).log()
        return (F.cross_entropy(sound_logits, own) + F.cross_entropy(scale * sounds_to_frames, own)) / 2
