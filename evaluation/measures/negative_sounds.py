"""What a map shows for a sound that isn't in its frame: silence, noise, or another clip's. Pure functions on arrays.

A confidence says whether a map finds anything at all (SLAVC, arXiv 2209.09634); the fraction of the frame above one
threshold says how much of it is lit (arXiv 2410.01020).
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from evaluation.measures.map_overlap import Truths, chunks, region_overlap, upsample
from evaluation.measures.measure import Detail, Measure, Section, Values, compute_measures
from evaluation.measures.standard_errors import bootstrap_error, mean_error

CONFIDENT = 0.25  # fraction of the pixels whose mean is the confidence
LOCALIZED = 0.5  # cIoU from which on a sounding object counts as found
AREA_STEPS = np.linspace(0, 1, 21)


class LitMaps(NamedTuple):
    """What maps show at one threshold.

    confidence: (N,) float64, see `confidences`. area: (N,) float64 in 0..1, see `areas_above`. ciou: (N,) float64 in
    0..1, of the region above the threshold with the annotated one; empty without regions.
    """

    confidence: np.ndarray
    area: np.ndarray
    ciou: np.ndarray


def light_maps(maps: np.ndarray, size: int, threshold: float, truths: Truths | None = None) -> LitMaps:
    """Compute what maps show at a threshold, some maps at a time.

    Args:
        maps: (N, h, w) float, one value for each location.
        size: side to which they are interpolated, pixels.
        threshold: the same for all.
        truths: draws the annotated region of a frame, or None.
    """
    parts = []
    for indices in chunks(len(maps), size):
        large = upsample(maps[indices], size)
        drawn = None if truths is None else np.stack([truths(int(k)) for k in indices])
        overlap = np.empty(0) if drawn is None else region_overlap(large > threshold, drawn)
        parts.append(LitMaps(confidences(large), areas_above(large, threshold), overlap))
    return LitMaps(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def confidences(maps: np.ndarray) -> np.ndarray:
    """Compute the mean of the highest quarter of the pixels of each map: `maps` (N, S, S) float -> (N,) float64."""
    flat = np.asarray(maps).reshape(len(maps), -1)
    count = max(round(CONFIDENT * flat.shape[1]), 1)
    return np.partition(flat, flat.shape[1] - count, axis=1)[:, flat.shape[1] - count :].mean(1, dtype=np.float64)


def areas_above(maps: np.ndarray, threshold: float) -> np.ndarray:
    """Compute the fraction of each map above a threshold.

    Args:
        maps: (N, S, S) float.
        threshold: the same for all.

    Returns:
        (N,) float64 in 0..1.
    """
    return (np.asarray(maps) > threshold).mean((1, 2))


def mean_per_frame(values: np.ndarray, owner: np.ndarray, count: int) -> np.ndarray:
    """Average what negative pairs get over each frame.

    Args:
        values: (M,) float, of the pairs.
        owner: (M,) int, the frame of each.
        count: number of frames.

    Returns:
        (count,) float64; NaN of frames without a pair.
    """
    pairs = np.bincount(owner, minlength=count)
    return np.divide(np.bincount(owner, values, count), pairs, out=np.full(count, np.nan), where=pairs > 0)


@dataclass(frozen=True)
class NegativePairs:
    """Input of these measures: N frames with their own sounds, and M with sounds that aren't in them.

    Attributes:
        confidence: (N,) of the maps of sounding pairs. localized: (N,) bool, their cIoU is at least 0.5.
        area: (N,) fractions of their maps above the threshold. ciou: (N,) of that region.
        negative_confidence, negative_area: (M,) of the others.
        owner: (M,) int, the sounding pair whose frame each of them has.
    """

    confidence: np.ndarray
    localized: np.ndarray
    area: np.ndarray
    ciou: np.ndarray
    negative_confidence: np.ndarray
    negative_area: np.ndarray
    owner: np.ndarray

    def per_frame(self, values: np.ndarray) -> np.ndarray:
        """Average `values` (M,) of the negative pairs over each frame that has any."""
        means = mean_per_frame(values, self.owner, len(self.confidence))
        return means[~np.isnan(means)]


@dataclass(frozen=True)
class PrecisionRecall:
    """How precision and recall vary with the confidence from which on a map counts, from the highest one on.

    Attributes:
        precision, recall: (T,) float64, for each different confidence.
    """

    precision: np.ndarray
    recall: np.ndarray


def precision_recall(pairs: NegativePairs, weights: np.ndarray | None = None) -> PrecisionRecall:
    """Compute precision and recall of finding the sounding object (SLAVC, sec. 4).

    A sounding pair of at least the confidence t is a true positive if its cIoU is 0.5 or more, else a false one; a
    negative pair of at least t is a false one; a sounding pair below t is missed.

    Args:
        pairs: N at least 1.
        weights: (N,) int, how often each frame counts, with its negative pairs; None: once.
    """
    weights = np.ones(len(pairs.confidence), int) if weights is None else weights
    every = np.concatenate([pairs.confidence, pairs.negative_confidence])
    counts = np.concatenate([weights, weights[pairs.owner]])
    sounding_counts = np.where(np.arange(len(every)) < len(weights), counts, 0)
    found_counts = np.concatenate([pairs.localized * weights, np.zeros(len(pairs.owner), int)])
    order = np.argsort(-every, kind="stable")
    last = np.append(np.flatnonzero(np.diff(every[order])), len(every) - 1)  # of equal confidences all count at once
    found, sounding, called = (np.cumsum(one[order])[last] for one in (found_counts, sounding_counts, counts))
    reachable = found + weights.sum() - sounding
    recall = np.divide(found, reachable, out=np.zeros(len(last)), where=reachable > 0)
    return PrecisionRecall(np.divide(found, called, out=np.zeros(len(last)), where=called > 0), recall)


def average_precision(pairs: NegativePairs, weights: np.ndarray | None = None) -> float:
    """Compute the mean precision over the recall that each confidence adds, of `pairs` with `weights`."""
    curve = precision_recall(pairs, weights)
    return float(np.sum(np.diff(curve.recall, prepend=0.0) * curve.precision))


def max_f1(pairs: NegativePairs, weights: np.ndarray | None = None) -> float:
    """Compute the largest harmonic mean of precision and recall over all confidences, of `pairs` with `weights`."""
    curve = precision_recall(pairs, weights)
    return float(np.max(_harmonic(curve.precision, curve.recall)))


def constant_confidence(pairs: NegativePairs) -> NegativePairs:
    """Give all `pairs` the same confidence: what a net gets that doesn't tell whether anything sounds."""
    ones, others = np.ones(len(pairs.confidence)), np.ones(len(pairs.negative_confidence))
    return replace(pairs, confidence=ones, negative_confidence=others)


def dark_area(areas: np.ndarray) -> float:
    """Compute the area under the fraction of frames of which at most t is lit (`areas`), over t from 0 to 1."""
    return float(dark_areas(areas).mean())


def dark_areas(areas: np.ndarray) -> np.ndarray:
    """Compute what each frame adds to `dark_area`: (N,) lit fractions (`areas`) -> (N,), whose mean it is."""
    return np.asarray(np.trapezoid((areas[:, None] <= AREA_STEPS + 1e-9).astype(float), AREA_STEPS))


def dark_and_right(ciou: np.ndarray, areas: np.ndarray) -> float:
    """Compute the harmonic mean of the mean cIoU of sounding pairs (`ciou`) and of what stays dark in the others.

    Args:
        ciou: (N,) in 0..1.
        areas: (M,) lit fractions of the maps of negative pairs.
    """
    return float(_harmonic(np.float64(ciou.mean()), np.float64(1 - areas.mean())))


def _harmonic(a: np.ndarray | np.float64, b: np.ndarray | np.float64) -> np.ndarray:
    total = np.asarray(a + b)
    return np.divide(2 * a * b, total, out=np.zeros(total.shape), where=total > 0)


def _f_error(pairs: NegativePairs) -> float | None:
    def resampled(weights: np.ndarray) -> float:
        repeated = np.repeat(np.arange(len(weights)), weights)
        return dark_and_right(pairs.ciou[repeated], np.repeat(pairs.negative_area, weights[pairs.owner]))

    return bootstrap_error(resampled, len(pairs.ciou))


OWN, CONSTANT = "own sounds", "constant"
NEGATIVE_SOUNDS = Section[NegativePairs](
    key="negative_sounds",
    title="Sounds that aren't in the frame",
    about="The maps of the annotated frames for silence, noise, and the sounds of clips without a common label (ten "
    "draws). A map is lit where it is above the threshold of the pair score from val, the same for all clips "
    "(arXiv 2410.01020); a confidence is the mean of the highest quarter of a map (SLAVC, arXiv 2209.09634).",
    groups={"silence": "no sound", "noise": "white noise", "offscreen": "other clips' sounds"},
    measures=(
        Measure(
            "pia", "lit part of the frame",
            "mean fraction of the map above the threshold (pIA); the baseline, with their own sounds, is what a net "
            "gets that doesn't listen",
            lambda pairs: float(pairs.negative_area.mean()),
            lambda pairs: float(pairs.area.mean()), OWN, ("own_pia",),
            error=lambda pairs: mean_error(pairs.per_frame(pairs.negative_area)), lower_is_better=True,
        ),
        Measure(
            "auc_n", "area under dark fractions",
            "mean over all t in 0..1 of the fraction of frames of which at most t is lit (AUC_N)",
            lambda pairs: dark_area(pairs.negative_area),
            lambda pairs: dark_area(pairs.area), OWN, ("own_auc_n",),
            error=lambda pairs: mean_error(pairs.per_frame(dark_areas(pairs.negative_area))),
        ),
        Measure(
            "f", "F of lit rightly and dark",
            "harmonic mean of the mean cIoU of the lit region for their own sounds, and of the part that stays dark "
            "for these",
            lambda pairs: dark_and_right(pairs.ciou, pairs.negative_area),
            lambda pairs: dark_and_right(pairs.ciou, pairs.area), OWN, ("own_f",), error=_f_error,
        ),
        Measure(
            "ap", "AP",
            "average precision of finding the sounding object: own sounds at a cIoU of 0.5 or more are "
            "right, the others and these sounds wrong (SLAVC)",
            average_precision, lambda pairs: average_precision(constant_confidence(pairs)), CONSTANT, ("constant_ap",),
            error=lambda pairs: bootstrap_error(partial(average_precision, pairs), len(pairs.confidence)),
        ),
        Measure(
            "max_f1", "max-F1",
            "largest harmonic mean of precision and recall over the same confidences; SLAVC's LocAcc is `ciou@0.5` of "
            "`localization`",
            max_f1, lambda pairs: max_f1(constant_confidence(pairs)), CONSTANT, ("constant_max_f1",),
            error=lambda pairs: bootstrap_error(partial(max_f1, pairs), len(pairs.confidence)),
        ),
    ),
    group_details=(Detail("pairs", "negative pairs"),),
    details=(Detail("threshold", "above it a map is lit"), Detail("frames", "annotated frames")),
)  # fmt: skip


def negative_measures(pairs: NegativePairs) -> Values:
    """Compute the measures of one kind of negative sounds: a group of the section.

    Args:
        pairs: N and M at least 1.
    """
    return compute_measures(NEGATIVE_SOUNDS, pairs) | {"pairs": len(pairs.negative_area)}
