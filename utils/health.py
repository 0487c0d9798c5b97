"""Health metrics of a training: early signs of a net that doesn't learn, and the likely cause in one sentence."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

STUCK_ACCURACY = 0.54  # of pairs in training, and for their AUC; chance is 0.5


@torch.no_grad()
def health_metrics(v: Tensor, a: Tensor, logits: Tensor, logit_scale: Tensor | None = None) -> dict[str, Tensor]:
    """Compute metrics that show early whether training on audio-visual correspondence is stuck.

    Args:
        v: (B, D), vectors of frames, as of `frame_vectors`.
        a: (B, D), vectors of the matching sounds, as of `sound_vectors`.
        logits: (B, B), of all their pairs.
        logit_scale: scalar, how much the logit grows with similarity, which should be positive; None if the net doesn't
            compare the two vectors with each other.

    Returns:
        dict of scalars: logit_std, the standard deviation of the logits; cosine_frames and cosine_sounds, the mean
        cosine between different clips. With a logit scale also: distance_std, the standard deviation of the distances
        between all frames and sounds; cosine_gap, the mean cosine of positive pairs minus that of negative pairs;
        logit_scale.
    """
    v, a = (F.normalize(side.float(), dim=1) for side in (v, a))
    count = len(v)
    off_diagonal = _off_diagonal(count, v.device)
    pairs = count * (count - 1)
    with torch.autocast(v.device.type, enabled=False):
        cosines = [v @ v.T, a @ a.T] + ([] if logit_scale is None else [v @ a.T])
        others = torch._foreach_mul(cosines, [off_diagonal] * len(cosines))  # a GPU starts the products all at once
        means = torch._foreach_div([other.sum() for other in others], pairs)
        metrics = {"logit_std": logits.float().std(), "cosine_frames": means[0], "cosine_sounds": means[1]}
        if logit_scale is not None:
            metrics |= {
                "distance_std": (2 - 2 * cosines[2]).clamp(min=0).sqrt().std(),
                "cosine_gap": cosines[2].diagonal().mean() - means[2],
                "logit_scale": logit_scale.detach(),
            }
    return metrics


@lru_cache(maxsize=1)  # from one step to the next it is the same
def _off_diagonal(count: int, device: torch.device) -> Tensor:
    return 1 - torch.eye(count, device=device)


@torch.no_grad()
def ranking_metrics(similarities: Tensor, first: int = 0) -> dict[str, Tensor]:
    """Compute how well similarities rank the own sound of each frame; no threshold is needed.

    Args:
        similarities: (B, M), of B frames and M sounds.
        first: column of frame 0's sound; the next column belongs to frame 1.

    Returns:
        dict of scalars in 0..1: batch_recall, the fraction of frames whose own sound is more similar than every other
        one; batch_recall_chance, 1 / M; batch_auc, the fraction of other sounds that are less similar than the own one
        (half where equal; chance 0.5).
    """
    count, sounds = similarities.shape
    own = similarities.diagonal(first)[:, None]  # (B, 1)
    lower, equal = (similarities < own).float(), (similarities == own).float()
    return {
        "batch_recall": (lower.sum(1) == sounds - 1).float().mean(),
        "batch_recall_chance": similarities.new_full((), 1 / sounds),
        "batch_auc": (lower.sum() + (equal.sum() - count) / 2) / (count * max(sounds - 1, 1)),
    }


def diagnose_avc(metrics: dict[str, float]) -> str | None:
    """Find the likely cause if training is stuck at chance.

    InfoNCE is judged by the ranking that it trains, not by a threshold of the last layer, which only follows it.

    Args:
        metrics: recent means of a training step's accuracy and of `health_metrics`; with InfoNCE also of
            `ranking_metrics`.

    Returns:
        one sentence, or None if training is not stuck.
    """
    contrastive = "batch_auc" in metrics
    if metrics.get("batch_auc" if contrastive else "accuracy", 1.0) > STUCK_ACCURACY or "logit_std" not in metrics:
        return None
    start = "training is stuck at chance"
    if contrastive:
        start += f" (batch_auc {metrics['batch_auc']:.3f})"
    elif metrics.get("logit_scale", 1.0) < 0:
        return (
            f"{start}: the last layer's logit scale is {metrics['logit_scale']:+.2f}, so dissimilar pairs count as "
            "matches; restart with another --train.seed or a lower --train.lr"
        )
    if max(metrics["cosine_frames"], metrics["cosine_sounds"]) > 0.8:
        which = "frames" if metrics["cosine_frames"] > metrics["cosine_sounds"] else "sounds"
        return (
            f"{start}: all {which} have nearly the same embedding (cosine {metrics[f'cosine_{which}']:.2f} between "
            "different clips); start with --train.data_dependent_init true, or lower --train.lr"
        )
    if not contrastive and metrics["logit_std"] < 0.1:
        return (
            f"{start}: all logits are nearly equal (standard deviation {metrics['logit_std']:.3f}); start with "
            "--train.data_dependent_init true, or raise --train.last_layer_lr_mult"
        )
    return f"{start}: frames don't predict their sounds yet; check that the frames and sounds of clips belong together"


def mask_metrics(logits: Tensor, targets: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """Compute how well predicted masks agree with the targets, and how much they depend on the frames.

    Args:
        logits: (B, N, F, T), of the masks of N sources.
        targets: (B, N, F, T).
        weights: (B, 1, F, T), of each frequency and time.

    Returns:
        dict of scalars in 0..1, weighted means over frequencies and times: accuracy, the fraction where the mask is on
        the right side of one half; mask_difference, the difference between the masks of a mixture's first two sources.
        Near 0 the net ignores the frames.
    """
    masks = torch.sigmoid(logits.detach())
    correct = ((masks > 0.5) == (targets > 0.5)).float()
    weights = weights / weights.sum().clamp(min=1e-8)
    accuracy = (correct.mean(1, keepdim=True) * weights).sum()
    return {"accuracy": accuracy, "mask_difference": ((masks[:, :1] - masks[:, 1:2]).abs() * weights).sum()}


def diagnose_masks(metrics: dict[str, float]) -> str | None:
    """Find the likely cause if training on mixtures is stuck.

    Args:
        metrics: recent means of a training step: mask_difference of `mask_metrics`, avc_accuracy of the AVC branch;
            each may be absent.

    Returns:
        one sentence, or None if training is not stuck.
    """
    if metrics.get("avc_accuracy", 1.0) < STUCK_ACCURACY:
        return (
            f"which sound belongs to which frame is predicted no better than by chance (avc_accuracy "
            f"{metrics['avc_accuracy']:.3f}), and masks can't follow the frames; check that the frames and sounds of "
            "clips belong together"
        )
    if metrics.get("mask_difference", 1.0) < 0.02:
        return (
            f"the masks of a mixture's two sources are nearly the same (mask_difference "
            f"{metrics['mask_difference']:.3f}): the net ignores the frames; train longer, or raise --train.lr_vision"
        )
    return None
