"""Audio-visual correspondence: the loss, its measures, the calibration of its threshold, and what tells a stall.

Pure functions on tensors and arrays.
"""

import math

import numpy as np
import torch


def avc_measures(matches, mismatches, threshold=0.0):
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


def calibrate_threshold(matches, mismatches):
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


def evaluation_groups(count, largest, seed=0):
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
    for group in evaluation_groups(len(v), largest):
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
    for group in evaluation_groups(len(v), largest):
        said = (pair_logits(v[group], a[group]).double().cpu().numpy() > threshold).astype(np.float64)
        called += belongs[group].T @ said @ belongs[group]
        pairs += np.outer(belongs[group].sum(0), belongs[group].sum(0))
    return np.divide(called, pairs, out=np.full_like(called, np.nan), where=pairs > 0)
