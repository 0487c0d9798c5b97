"""The training losses: audio-visual correspondence (OtS sec. 3.1) and separation masks (SoP sec. 3.2)."""

import torch
import torch.nn.functional as F


def avc_loss(logits, negatives="all", first=0):
    """Cross-entropy of "do these two belong together?", matches and mismatches weighted half each.

    The paper's loss (OtS sec. 3.1: two-way softmax and cross-entropy, as many mismatches as matches), written for the
    difference of the two outputs and for a batch that was embedded once.

    Args:
        logits: (B, B) float; [i, j] is the log-odds that frame i and sound j belong together; matches on the diagonal.
            With "off_grid" (B, 2 B): to the right those of each clip's other second of sound.
            Or (B, M): the rows of B of the frames that M sounds belong to.
        negatives: "all": every frame with every other clip's sound; "one": frame i with the sound of clip i + 1,
            a derangement of a batch whose order is random: the paper's one mismatch per match. "off_grid": the same
            with that clip's other second, which was cut at any time, not around a frame. How a sound was cut then
            gives the answer away: the shortcut that OtS sec. 3.3 warns of, here to be shown, not to be used.
        first: which sound belongs to frame 0; the next one belongs to frame 1.

    Returns:
        (loss, accuracy): scalars; accuracy is the mean of the share of matches with a logit above 0 and the share of
        mismatches without, so 0.5 is chance also where all logits are equal.
    """
    matches = logits.diagonal(first)
    if negatives == "off_grid":
        mismatches = logits[:, -len(logits) :].roll(-1, dims=1).diagonal()
    elif negatives == "one":
        mismatches = logits.roll(-1, dims=1).diagonal(first)
    else:
        # Row i without column first + i. By numbers, not by a mask, which would wait for the device.
        others = torch.arange(logits.shape[1] - 1, device=logits.device).expand(len(logits), -1)
        own = torch.arange(first, first + len(logits), device=logits.device)[:, None]
        mismatches = logits.gather(1, others + (others >= own))
    loss = (F.softplus(-matches).mean() + F.softplus(mismatches).mean()) / 2
    accuracy = ((matches > 0).float().mean() + (mismatches <= 0).float().mean()) / 2
    return loss, accuracy


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
