"""Audio-visual correspondence: scores of pairs, their measures and the calibration of the threshold.

A positive is a frame with the sound of its own clip, a negative one with another clip's. Pure functions on tensors and
arrays.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from evaluation.measures.measure import Detail, Headline, Measure, Section, Values, compute_measures
from evaluation.measures.standard_errors import pair_mean_error

PairLogits = Callable[[Tensor, Tensor], Tensor]  # embedded frames (N, ...) and sounds (M, ...) -> logits (N, M)


@dataclass(frozen=True)
class ScoredPairs:
    """Logits of P positives and N negatives.

    Attributes:
        positives: (P,) float64.
        negatives: (N,) float64.
        threshold: logits above it mean "correspond".
        group_sizes: which pairs share a clip, see `evaluation.measures.standard_errors.pair_mean_error`.
    """

    positives: np.ndarray
    negatives: np.ndarray
    threshold: float = 0.0
    group_sizes: Sequence[int] | None = None

    @cached_property
    def wins(self) -> np.ndarray:
        """(P,) fraction of the negatives that each positive scores above, ties counted half."""
        return _fraction_below(self.positives, self.negatives)

    @cached_property
    def losses(self) -> np.ndarray:
        """(N,) fraction of the positives that score above each negative, ties counted half."""
        return 1 - _fraction_below(self.negatives, self.positives)

    def error(self, positives: np.ndarray, negatives: np.ndarray) -> float | None:
        """Compute the standard error of the sum of the means of `positives` (P,) and `negatives` (N,)."""
        return pair_mean_error(positives, negatives, self.group_sizes)


def _fraction_below(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Compute for each of `values` the fraction of `others` that are below it, equal ones counted half."""
    ascending = np.sort(others)
    below, up_to = (np.searchsorted(ascending, values, side) for side in ("left", "right"))
    return (below + up_to) / 2 / len(others)


def halves_right(pairs: ScoredPairs, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Check which positives of `pairs` are above `threshold` and which negatives are not: (P,) and (N,), 0 or 0.5."""
    return (pairs.positives > threshold) / 2, (pairs.negatives <= threshold) / 2


def balanced_accuracy(pairs: ScoredPairs, threshold: float) -> float:
    """Compute the mean of the fraction of positives above `threshold` and that of negatives not above it.

    `pairs` are the scored pairs; positives and negatives have equal weight, so that 0.5 is chance.
    """
    return sum(half.mean() for half in halves_right(pairs, threshold))


def half_cross_entropies(pairs: ScoredPairs) -> tuple[np.ndarray, np.ndarray]:
    """Compute half of the cross-entropy of each of `pairs`, nats: (P,) of the positives and (N,) of the negatives."""
    return np.logaddexp(0, -pairs.positives) / 2, np.logaddexp(0, pairs.negatives) / 2


def balanced_cross_entropy(pairs: ScoredPairs) -> float:
    """Compute the cross-entropy of `pairs` in nats, positives and negatives weighted half each: ln 2 is chance."""
    return sum(half.mean() for half in half_cross_entropies(pairs))


CORRESPONDENCE = Section[ScoredPairs](
    key="avc",
    title="Correspondence",
    about="Do a frame and a sound belong to the same clip? Each clip's own pair is compared with its pairs with the "
    "other clips of a fixed random group; both classes have equal weight (OtS sec. 3).",
    measures=(
        Measure(
            "accuracy", "accuracy",
            "mean of the fraction of positives called a match and that of negatives called a mismatch; the threshold "
            "is calibrated on the validation split",
            lambda pairs: balanced_accuracy(pairs, pairs.threshold), 0.5, "chance",
            error=lambda pairs: pairs.error(*halves_right(pairs, pairs.threshold)),
            headlines=(Headline(3, "correspondence, accuracy"),),
        ),
        Measure(
            "accuracy_raw", "accuracy at the net's own threshold", "the same at a logit of 0",
            lambda pairs: balanced_accuracy(pairs, 0.0), 0.5, "chance",
            error=lambda pairs: pairs.error(*halves_right(pairs, 0.0)),
        ),
        Measure(
            "auc", "AUC", "probability that a positive scores above a negative",
            lambda pairs: pairs.wins.mean(), 0.5, "chance",
            error=lambda pairs: pairs.error(pairs.wins, pairs.losses),
        ),
        Measure(
            "loss", "loss", "cross-entropy with both classes weighted half",
            balanced_cross_entropy, math.log(2), "chance", lower_is_better=True, unit="nats",
            error=lambda pairs: pairs.error(*half_cross_entropies(pairs)),
        ),
    ),
    variants={"clip": "mean over moments"},
    details=(
        Detail("moments", "aligned moments of a clip, in `clip`", "{} moments"),
        Detail("pairs", "scored pairs", "{}", "pair"),
        Detail("threshold", "logits above it mean a match", "threshold {:+.2f} from val"),
    ),
)  # fmt: skip


def avc_measures(
    positives: np.ndarray, negatives: np.ndarray, threshold: float = 0.0, group_sizes: Sequence[int] | None = None
) -> Values:
    """Compute AVC accuracy, AUC and loss of scored pairs: metrics.json's section.

    Args:
        positives: (P,) float logits.
        negatives: (N,) float logits.
        threshold: logits above it mean "correspond".
        group_sizes: clips of each group of `score_groups`, for the standard errors; None if no pairs share a clip.

    Returns:
        the measures of `CORRESPONDENCE`, threshold, and pairs, P + N.
    """
    positives, negatives = np.asarray(positives, np.float64), np.asarray(negatives, np.float64)
    pairs = ScoredPairs(positives, negatives, float(threshold), group_sizes)
    counts = {"threshold": pairs.threshold, "pairs": len(pairs.positives) + len(pairs.negatives)}
    return compute_measures(CORRESPONDENCE, pairs) | counts


def calibrate_threshold(positives: np.ndarray, negatives: np.ndarray) -> float:
    """Fit the threshold between positives and negatives of the validation split, by Platt scaling.

    In long runs the training pairs become separable, fc3 sharpens and its threshold drifts. Here a logistic regression
    of one variable, both classes weighted half, is fitted by Newton's method; its zero is the threshold. It has two
    parameters, which makes it steadier on few pairs than the threshold of the highest accuracy.

    Args:
        positives: (P,) float logits.
        negatives: (N,) float logits.

    Returns:
        a logit; 0.0 where positives don't score above negatives.
    """
    x = np.concatenate([positives, negatives]).astype(np.float64)
    y = np.concatenate([np.ones(len(positives)), np.zeros(len(negatives))])
    weight = np.where(y == 1, 0.5 / len(positives), 0.5 / len(negatives))
    center, scale = np.average(x, weights=weight), x.std()
    if not scale > 1e-9:
        return 0.0
    design = np.stack([(x - center) / scale, np.ones_like(x)], 1)
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
    return float(center - scale * beta[1] / beta[0])


def evaluation_groups(count: int, largest: int, seed: int = 0) -> list[np.ndarray]:
    """Split clips into fixed random groups, in which every clip is paired with every other.

    Args:
        count: clips.
        largest: clips in a group, at most.
        seed: of the grouping.

    Returns:
        (n,) int arrays of indices, sizes as equal as possible.
    """
    order = np.random.default_rng(seed).permutation(count)
    return np.array_split(order, max(math.ceil(count / largest), 1))


def group_sizes(count: int, largest: int) -> list[int]:
    """Get the number of clips in each of the `evaluation_groups` of `count` clips, `largest` at most."""
    return [len(group) for group in evaluation_groups(count, largest)]


@torch.no_grad()
def score_groups(pair_logits: PairLogits, v: Tensor, a: Tensor, largest: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Score the fixed evaluation pairs of N clips.

    Args:
        pair_logits: the net's.
        v: (N, ...) embedded frames.
        a: (N, ...) embedded sounds, in the same order.
        largest: clips in a group, at most.

    Returns:
        float64 logits of the positives (N,) and of the negatives (M,), group by group: in each the rows of the matrix
        of frames and sounds without its diagonal.
    """
    every = np.arange(len(v))
    return join_group_rows([(every, score_group_rows(pair_logits, v, a, every, largest))], largest)


@torch.no_grad()
def score_group_rows(
    pair_logits: PairLogits, v: Tensor, a: Tensor, positions: np.ndarray, largest: int = 256
) -> list[Tensor]:
    """Score some of N frames with all sounds of their groups, as one of several processes does.

    Args:
        pair_logits: the net's.
        v: (n, ...) embedded frames, a part of the N.
        a: (N, ...) embedded sounds of all clips.
        positions: (n,) int, of the frames among the N clips, ascending.
        largest: clips in a group, at most.

    Returns:
        of each group a matrix, float32 on the CPU: rows for those of the frames that are in it, in its order, columns
        for its sounds.
    """
    rows = []
    for group in evaluation_groups(len(a), largest):
        own = np.searchsorted(positions, group[np.isin(group, positions)])
        part = pair_logits(_rows(v, own), _rows(a, group)).cpu() if len(own) else torch.empty(0, len(group))
        rows.append(part)
    return rows


def _rows(values: Tensor, indices: np.ndarray) -> Tensor:
    """Choose rows on a GPU without waiting for it, as numpy's indices would."""
    return values[torch.from_numpy(indices).to(values.device, non_blocking=True)]


def join_group_rows(
    parts: Sequence[tuple[np.ndarray, Sequence[Tensor]]], largest: int = 256
) -> tuple[np.ndarray, np.ndarray]:
    """Join the logits of all frames: what `score_groups` returns.

    Args:
        parts: (positions, logits of `score_group_rows`) of disjoint parts of the frames, all together.
        largest: clips in a group, at most.
    """
    positives, negatives = [], []
    for number, group in enumerate(evaluation_groups(sum(len(positions) for positions, _ in parts), largest)):
        logits = np.empty((len(group), len(group)))
        for positions, rows in parts:
            logits[np.isin(group, positions)] = rows[number].double().numpy()
        same_clip = np.eye(len(group), dtype=bool)
        positives.append(logits[same_clip])
        negatives.append(logits[~same_clip])
    return np.concatenate(positives), np.concatenate(negatives)


@torch.no_grad()
def class_confusion(
    pair_logits: PairLogits,
    v: Tensor,
    a: Tensor,
    labels: Sequence[Sequence[str]],
    classes: Sequence[str],
    threshold: float = 0.0,
    largest: int = 256,
) -> np.ndarray:
    """Compute how often a frame of one class and a sound of another are called a match, over `score_groups`' pairs.

    Args:
        pair_logits, v, a, largest: as for `score_groups`.
        labels: N lists of class ids.
        classes: C class ids, the rows (frames) and columns (sounds).
        threshold: logits above it mean a match.

    Returns:
        (C, C) float64 fractions of the pairs, positives included; nan where there is no pair. A clip counts for each of
        its classes.
    """
    has_class = np.array([[label in own for label in classes] for own in labels], np.float64).reshape(len(v), -1)
    matches, pairs = (np.zeros((len(classes), len(classes))) for _ in range(2))
    for group in evaluation_groups(len(v), largest):
        called = (pair_logits(v[group], a[group]).double().cpu().numpy() > threshold).astype(np.float64)
        matches += has_class[group].T @ called @ has_class[group]
        pairs += np.outer(has_class[group].sum(0), has_class[group].sum(0))
    return np.divide(matches, pairs, out=np.full_like(matches, np.nan), where=pairs > 0)
