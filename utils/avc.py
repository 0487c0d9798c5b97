"""Audio-visual correspondence: the loss, its measures, the calibration of its threshold, and what tells a stall.

Pure functions on tensors and arrays.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F

from utils.errors import UserError


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


@torch.no_grad()
def health(vectors, logits, slope=None):
    """What tells early whether training is stuck.

    Args:
        vectors: (v, a), (B, D) each, of matching frames and sounds: what retrieval compares.
        logits: (B, B) of all their pairs.
        slope: scalar tensor, by how much the logit grows the more alike two vectors are; it should be positive. None
            where the net doesn't compare the two vectors with each other.

    Returns:
        dict of scalar tensors: logit_spread, the deviation of the logits; cosine_frames and cosine_sounds, the mean
        cosine between different clips. With a slope also: distance_spread, the deviation of the distances between all
        frames and sounds; cosine_pairs, the mean cosine of matches minus that of mismatches; slope.
    """
    v, a = (F.normalize(side.float(), dim=1) for side in vectors)
    count = len(v)
    off = 1 - torch.eye(count, device=v.device)
    pairs = count * (count - 1)
    with torch.autocast(v.device.type, enabled=False):
        found = {
            "logit_spread": logits.float().std(),
            "cosine_frames": (v @ v.T * off).sum() / pairs,
            "cosine_sounds": (a @ a.T * off).sum() / pairs,
        }
        if slope is not None:
            across = v @ a.T
            found |= {
                "distance_spread": (2 - 2 * across).clamp(min=0).sqrt().std(),
                "cosine_pairs": across.diagonal().mean() - (across * off).sum() / pairs,
                "slope": slope.detach(),
            }
    return found


def diagnose(metrics):
    """The likely cause if training is stuck at chance, in one sentence; None if it is not.

    Args:
        metrics: dict of floats, recent means of a training step's `accuracy` and of `health`.
    """
    if metrics.get("accuracy", 1.0) > 0.54 or "logit_spread" not in metrics:
        return None
    start = "training is stuck at chance"
    if metrics.get("slope", 1.0) < 0:
        return f"{start}: the last layer's slope is {metrics['slope']:+.2f}, so unlike means a match; start anew"
    if max(metrics["cosine_frames"], metrics["cosine_sounds"]) > 0.8:
        which = "frames" if metrics["cosine_frames"] > metrics["cosine_sounds"] else "sounds"
        return (
            f"{start}: all {which} are embedded alike (cosine {metrics[f'cosine_{which}']:.2f} between different "
            "clips); start with --train.start_from_data true, or lower --train.lr"
        )
    if metrics["logit_spread"] < 0.1:
        return (
            f"{start}: all logits are nearly equal (deviation {metrics['logit_spread']:.3f}); start with "
            "--train.start_from_data true, or raise --train.lr_decision"
        )
    return f"{start}: pictures and sounds tell nothing about each other yet; check that they belong together"


def validate(model, found, group, device, split):
    """AVC measures of a validation split, with the threshold that fits it best.

    Args:
        model: a net of `models`. found: what `utils.embedding.embed` returned. group: of `score_groups`.
        split: what to call the split in a message.

    Raises:
        UserError: fewer than two clips.
    """
    if not found or len(found[0]) < 2:
        raise UserError(f"{split} has fewer than 2 readable clips: validation needs mismatches")
    v, a, *_ = found
    matches, mismatches = score_groups(model.pair_logits, v.to(device), a.to(device), group)
    return measure(matches, mismatches, calibrate(matches, mismatches))


def measure(matches, mismatches, threshold=0.0):
    """AVC accuracy, AUC and loss of scored pairs.

    Args:
        matches, mismatches: (P,), (Q,) float arrays of logits.
        threshold: logits above it say "match".

    Returns:
        dict of floats: accuracy, the mean of the share of matches above the threshold and that of mismatches not above
        it (0.5 is chance); accuracy_raw, the same at threshold 0; auc, the probability that a match scores higher than
        a mismatch, ties counted half; auc_error, its standard error over the matches; loss, cross-entropy in nats with
        both classes weighted half (ln 2 is chance); threshold; pairs, P + Q.
    """
    matches, mismatches = np.asarray(matches, np.float64), np.asarray(mismatches, np.float64)
    order = np.sort(mismatches)
    below = np.searchsorted(order, matches, "left")
    up_to = np.searchsorted(order, matches, "right")
    above = (below + up_to) / 2 / len(mismatches)  # share of the mismatches that each match beats
    return {
        "accuracy": _accuracy(matches, mismatches, threshold),
        "accuracy_raw": _accuracy(matches, mismatches, 0.0),
        "auc": float(above.mean()),
        "auc_error": float(above.std() / len(matches) ** 0.5),
        "loss": float((np.logaddexp(0, -matches).mean() + np.logaddexp(0, mismatches).mean()) / 2),
        "threshold": float(threshold),
        "pairs": len(matches) + len(mismatches),
    }


def _accuracy(matches, mismatches, threshold):
    return float(((matches > threshold).mean() + (mismatches <= threshold).mean()) / 2)


def calibrate(matches, mismatches):
    """The threshold that tells matches from mismatches best, from validation pairs: Platt scaling.

    In long runs the training pairs become separable, fc3 sharpens and its threshold drifts. Here a logistic
    regression of one variable, classes weighted half each, is fitted by Newton's method; its zero is the threshold.
    Its two parameters make it steadier on few pairs than the best of all cuts.

    Args:
        matches, mismatches: (P,), (Q,) float arrays of logits.

    Returns:
        float, a logit; 0.0 where the logits tell nothing.
    """
    x = np.concatenate([matches, mismatches]).astype(np.float64)
    y = np.concatenate([np.ones(len(matches)), np.zeros(len(mismatches))])
    weight = np.where(y == 1, 0.5 / len(matches), 0.5 / len(mismatches))
    centre, scale = np.average(x, weights=weight), x.std()
    if not scale > 1e-9:
        return 0.0
    design = np.stack([(x - centre) / scale, np.ones_like(x)], 1)
    beta = np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        ridge = 1e-6 * np.eye(2)  # separable pairs have no finite optimum
        step = np.linalg.solve(
            design.T @ (design * (weight * p * (1 - p))[:, None]) + ridge, design.T @ (weight * (y - p)) - 1e-6 * beta
        )
        beta += step
        if np.abs(step).max() < 1e-9:
            break
    if not beta[0] > 1e-3:
        return 0.0
    return float(centre - scale * beta[1] / beta[0])


def groups(count, largest, seed=0):
    """Fixed random groups for the AVC pairs of an evaluation: every clip with every other of its group.

    Args:
        count: clips. largest: clips in a group, at most. seed: of the grouping.

    Returns:
        list of (n,) int arrays, sizes as equal as can be.
    """
    order = np.random.default_rng(seed).permutation(count)
    return np.array_split(order, max(math.ceil(count / largest), 1))


@torch.no_grad()
def score_groups(pair_logits, v, a, largest=256):
    """Logits of the fixed evaluation pairs.

    Args:
        pair_logits: the net's; (n, ...), (n, ...) -> (n, n).
        v, a: (N, ...) embeddings of matching frames and sounds.
        largest: clips in a group, at most.

    Returns:
        (matches (N,), mismatches (M,)): float64 arrays.
    """
    matches, mismatches = [], []
    for group in groups(len(v), largest):
        logits = pair_logits(v[group], a[group]).double().cpu()
        on = torch.eye(len(group), dtype=torch.bool)
        matches.append(logits[on].numpy())
        mismatches.append(logits[~on].numpy())
    return np.concatenate(matches), np.concatenate(mismatches)


@torch.no_grad()
def class_confusion(pair_logits, v, a, labels, classes, threshold=0.0, largest=256):
    """Which class's sound is taken for which class's frame, over the pairs of `score_groups`.

    Args:
        pair_logits, v, a, largest: of `score_groups`. labels: list of N lists of class ids. threshold: of `measure`.
        classes: list of C class ids, the rows and columns.

    Returns:
        (C, C) float64, [i, j]: the share of the pairs of a frame of class i and a sound of class j that are called a
        match, matching pairs among them; nan where there is no such pair. A clip counts for each of its classes.
    """
    belongs = np.array([[label in one for label in classes] for one in labels], np.float64).reshape(len(v), -1)
    called, pairs = (np.zeros((len(classes), len(classes))) for _ in range(2))
    for group in groups(len(v), largest):
        said = (pair_logits(v[group], a[group]).double().cpu().numpy() > threshold).astype(np.float64)
        called += belongs[group].T @ said @ belongs[group]
        pairs += np.outer(belongs[group].sum(0), belongs[group].sum(0))
    return np.divide(called, pairs, out=np.full_like(called, np.nan), where=pairs > 0)
