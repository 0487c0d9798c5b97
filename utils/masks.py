"""How well masks are told: the loss that the sound's and the picture's nets learn from, and what tells a stall."""

import torch
import torch.nn.functional as F


def mask_loss(logits, targets, weights, kind):
    """The loss of masks (SoP sec. 3.2): per place, then the mean.

    Args:
        logits: (B, N, F, T). targets: the same shape, 0 or 1, or ratios of 0 and more.
        weights: (B, 1, F, T): how much a place counts.
        kind: mix.mask; "ratio": absolute difference; else cross-entropy.

    Returns:
        scalar tensor.
    """
    weights = weights.expand_as(logits)
    if kind != "ratio":
        return F.binary_cross_entropy_with_logits(logits, targets, weights)
    return (weights * (torch.sigmoid(logits) - targets).abs()).mean()


def told_apart(logits, targets, weights):
    """Shares in 0..1 of the weight of all places, as scalar tensors in a dict.

    accuracy: where the mask is on the right side of one half. contrast: by how much the masks of a mixture's first two
    pictures differ; near 0 the net looks at the sound alone.
    """
    masks = torch.sigmoid(logits.detach())
    right = ((masks > 0.5) == (targets > 0.5)).float()
    share = weights / weights.sum().clamp(min=1e-8)
    accuracy = (right.mean(1, keepdim=True) * share).sum()
    return {"accuracy": accuracy, "contrast": ((masks[:, :1] - masks[:, 1:2]).abs() * share).sum()}


def gain(truths, estimates):
    """By how many dB nearer estimates are to their sources than the mixture is: mean over the sources.

    Args:
        truths: (B, N, samples) what was mixed. estimates: (B, N, samples).

    Returns:
        (B,) float32; 0 for the mixture itself; not finite where a source is silent.
    """
    off = (truths - estimates).square().sum(-1)
    mixture_off = (truths - truths.sum(1, keepdim=True)).square().sum(-1)
    heard = torch.where(truths.square().sum(-1) > 0, 0.0, torch.nan)
    return (10 * torch.log10(mixture_off / off.clamp(min=1e-12)) + heard).mean(1)


def diagnose(means):
    """A sentence if training is stuck, from mean metrics of a training step; else None.

    Args:
        means: dict of floats; contrast of `told_apart`, once masks are learned; matched, that of `utils.avc.avc_loss`.
    """
    if means.get("matched", 1.0) < 0.54:
        return (
            f"which sound goes with which picture is told no better than by chance (matched {means['matched']:.3f}): "
            "masks will not follow the pictures; check that pictures and sounds belong together"
        )
    if means.get("contrast", 1.0) < 0.02:
        return (
            f"the masks of a mixture's two pictures are nearly the same (they differ by {means['contrast']:.3f}): the "
            "net doesn't look at the pictures; train longer, or raise --train.lr_frames"
        )
    return None
