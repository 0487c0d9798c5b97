"""How well masks are told: the loss that the sound's and the picture's nets learn from, and what tells a stall."""

import torch
import torch.nn.functional as F

STEEPNESS = 5.0  # of the softmax of cosines


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


def match_loss(v, a):
    """How badly pictures and sounds of a batch find each other, among all of it: not the paper's, for its start.

    The masks of randomly drawn nets are the better for being alike, so from scratch it takes long until the first of
    them follows its picture; which whole sound goes with which picture is learned in minutes, and masks follow from
    there. Both sides are standardised over the batch, so that being alike doesn't pay; then a softmax each way.

    Args:
        v, a: (B, K) float32 of pictures and sounds, matches in the same place.

    Returns:
        scalar tensor, log(B) at chance.
    """
    v, a = (F.normalize((x - x.mean(0)) / (x.std(0) + 1e-4), dim=1) for x in (v, a))
    cosines, own = STEEPNESS * v @ a.T, torch.arange(len(v), device=v.device)
    return (F.cross_entropy(cosines, own) + F.cross_entropy(cosines.T, own)) / 2


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
    """A sentence if training is stuck, from mean metrics of `told_apart`; else None."""
    if means["contrast"] < 0.02:
        return (
            f"the masks of a mixture's two pictures are nearly the same (they differ by {means['contrast']:.3f}): the "
            "net doesn't look at the pictures; train longer, or raise --train.lr_frames"
        )
    return None
