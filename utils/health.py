"""How well masks are told: the loss that the sound's and the picture's nets learn from, and what tells a stall."""

import torch
import torch.nn.functional as F


@torch.no_grad()
def health_metrics(vectors, logits, slope=None):
    """What tells early whether training is stuck.

    Args:
        vectors: (v, a), (B, D) each, of matching frames and sounds: what retrieval compares.
        logits: (B, B) of all their pairs.
        slope: scalar tensor, by how much the logit grows the more alike two vectors are; it should be positive. None
            where the net doesn't compare the two vectors with each other.

    Returns:
        dict of scalar tensors: logit_std, the deviation of the logits; cosine_frames and cosine_sounds, the mean
        cosine between different clips. With a slope also: distance_std, the deviation of the distances between all
        frames and sounds; cosine_gap, the mean cosine of matches minus that of mismatches; slope.
    """
    v, a = (F.normalize(side.float(), dim=1) for side in vectors)
    count = len(v)
    off = 1 - torch.eye(count, device=v.device)
    pairs = count * (count - 1)
    with torch.autocast(v.device.type, enabled=False):
        found = {
            "logit_std": logits.float().std(),
            "cosine_frames": (v @ v.T * off).sum() / pairs,
            "cosine_sounds": (a @ a.T * off).sum() / pairs,
        }
        if slope is not None:
            across = v @ a.T
            found |= {
                "distance_std": (2 - 2 * across).clamp(min=0).sqrt().std(),
                "cosine_gap": across.diagonal().mean() - (across * off).sum() / pairs,
                "slope": slope.detach(),
            }
    return found


def diagnose_avc(metrics):
    """The likely cause if training is stuck at chance, in one sentence; None if it is not.

    Args:
        metrics: dict of floats, recent means of a training step's `accuracy` and of `health`.
    """
    if metrics.get("accuracy", 1.0) > 0.54 or "logit_std" not in metrics:
        return None
    start = "training is stuck at chance"
    if metrics.get("slope", 1.0) < 0:
        return f"{start}: the last layer's slope is {metrics['slope']:+.2f}, so unlike means a match; start anew"
    if max(metrics["cosine_frames"], metrics["cosine_sounds"]) > 0.8:
        which = "frames" if metrics["cosine_frames"] > metrics["cosine_sounds"] else "sounds"
        return (
            f"{start}: all {which} are embedded alike (cosine {metrics[f'cosine_{which}']:.2f} between different "
            "clips); start with --train.data_dependent_init true, or lower --train.lr"
        )
    if metrics["logit_std"] < 0.1:
        return (
            f"{start}: all logits are nearly equal (deviation {metrics['logit_std']:.3f}); start with "
            "--train.data_dependent_init true, or raise --train.last_layer_lr_mult"
        )
    return f"{start}: pictures and sounds tell nothing about each other yet; check that they belong together"


def mask_metrics(logits, targets, weights):
    """Shares in 0..1 of the weight of all places, as scalar tensors in a dict.

    accuracy: where the mask is on the right side of one half. contrast: by how much the masks of a mixture's first two
    pictures differ; near 0 the net looks at the sound alone.
    """
    masks = torch.sigmoid(logits.detach())
    right = ((masks > 0.5) == (targets > 0.5)).float()
    share = weights / weights.sum().clamp(min=1e-8)
    accuracy = (right.mean(1, keepdim=True) * share).sum()
    return {"accuracy": accuracy, "mask_difference": ((masks[:, :1] - masks[:, 1:2]).abs() * share).sum()}


def diagnose_masks(means):
    """A sentence if training is stuck, from mean metrics of a training step; else None.

    Args:
        means: dict of floats; contrast of `told_apart`, once masks are learned; matched, that of `models.losses.avc_loss`.
    """
    if means.get("avc_accuracy", 1.0) < 0.54:
        return (
            f"which sound goes with which picture is told no better than by chance (matched {means['avc_accuracy']:.3f}): "
            "masks will not follow the pictures; check that pictures and sounds belong together"
        )
    if means.get("mask_difference", 1.0) < 0.02:
        return (
            f"the masks of a mixture's two pictures are nearly the same (they differ by {means['mask_difference']:.3f}): the "
            "net doesn't look at the pictures; train longer, or raise --train.lr_vision"
        )
    return None
