"""How well maps outline sounding objects: mIoU and F of AVSBench (arXiv 2207.05042). Declares the measures.

A map's probabilities are sigmoids of its logits; a mask is what is annotated, 0 or 1 a pixel.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from evaluation.measures.map_overlap import Truths, best_maps, chunks, upsample
from evaluation.measures.measure import Detail, Measure, Reference, Section, Values, compute_measures
from evaluation.measures.standard_errors import bootstrap_error

BETA_SQUARED = 0.3
F_THRESHOLDS = np.linspace(0, 1 - 1e-10, 255)
HALF = 0.5  # probability above which a pixel is predicted


def mask_iou(predicted: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Compute the intersection over union of each predicted mask with the annotated one.

    Where nothing is annotated it is the part of the frame that isn't predicted, as in AVSBench's evaluation.

    Args:
        predicted: (N, S, S) bool.
        masks: (N, S, S) bool.

    Returns:
        (N,) float64 in 0..1.
    """
    union = (predicted | masks).sum((1, 2))
    ious = (predicted & masks).sum((1, 2)) / np.maximum(union, 1)
    return np.where(masks.any((1, 2)), ious, 1 - predicted.mean((1, 2)))


def f_curves(probabilities: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Compute F with beta squared of 0.3 of each map at 255 thresholds: a pixel counts from the threshold on.

    Args:
        probabilities: (N, S, S) float in 0..1.
        masks: (N, S, S) bool.

    Returns:
        (N, 255) float64 in 0..1; 0 where nothing right is predicted.
    """
    curves = np.zeros((len(masks), len(F_THRESHOLDS)))
    for values, mask, curve in zip(probabilities, masks, curves, strict=True):
        reached = np.searchsorted(F_THRESHOLDS, values.ravel(), side="right")  # how many thresholds a pixel reaches
        predicted, right = (
            np.bincount(of, minlength=len(F_THRESHOLDS) + 1)[::-1].cumsum()[::-1][1:]
            for of in (reached, reached[mask.ravel()])
        )
        # (1 + b) P R / (b P + R) with P = right / predicted and R = right / annotated
        below = BETA_SQUARED * mask.sum() + predicted
        np.divide((1 + BETA_SQUARED) * right, below, out=curve, where=below > 0)
    return curves


class MaskScores(NamedTuple):
    """What the maps of N frames get.

    iou: (N,) float64, see `mask_iou`. curves: (N, 255) float64, see `f_curves`.
    """

    iou: np.ndarray
    curves: np.ndarray


@dataclass(frozen=True)
class MaskedFrames:
    """Input of these measures.

    Attributes:
        scores: {"map", "whole" or "ceiling": scores} of the net's maps, the whole frame, and the best maps.
        is_empty: (N,) bool, frames in which nothing is annotated: they have no F.
        videos: (N,) int, the video of each frame: frames of one are no independent samples.
    """

    scores: dict[str, MaskScores]
    is_empty: np.ndarray
    videos: np.ndarray


def score_masks(maps: np.ndarray, truths: Truths, size: int, threshold: float, videos: np.ndarray) -> MaskedFrames:
    """Score maps against masks, some frames at a time.

    Args:
        maps: (N, h, w) float, logits, one for each location.
        truths: draws the mask of a frame, (`size`, `size`) of 0 and 1.
        size: side to which maps are interpolated, pixels.
        threshold: the logit that is a probability of a half.
        videos: (N,) int, see `MaskedFrames`.
    """
    parts: dict[str, list[MaskScores]] = {"map": [], "whole": [], "ceiling": []}
    empty = []
    for indices in chunks(len(maps), 2 * size):  # a quarter of the usual: they are double precision
        drawn = np.stack([truths(int(k)) for k in indices])
        masks = drawn > 0
        probabilities = {
            "map": expit(upsample(maps[indices], size).astype(np.float64) - threshold),
            "whole": np.broadcast_to(1.0, drawn.shape),
            "ceiling": upsample(best_maps(drawn, *maps.shape[1:]), size).astype(np.float64).clip(0, 1),
        }
        for name, values in probabilities.items():
            parts[name].append(MaskScores(mask_iou(values > HALF, masks), f_curves(values, masks)))
        empty.append(~masks.any((1, 2)))
    scores = {name: MaskScores(*map(np.concatenate, zip(*part, strict=True))) for name, part in parts.items()}
    return MaskedFrames(scores, np.concatenate(empty), videos)


def mean_iou(frames: MaskedFrames, judged: str = "map", weights: np.ndarray | None = None) -> float:
    """Compute the mean of the intersections over union.

    Args:
        frames: the scores.
        judged: a key of `MaskedFrames.scores`.
        weights: (N,) how often each frame counts; None: once.
    """
    return float(np.average(frames.scores[judged].iou, weights=weights))


def max_f(frames: MaskedFrames, judged: str = "map", weights: np.ndarray | None = None) -> float | None:
    """Compute the maximum over the thresholds of the mean F over the frames with a mask; None if there is none.

    Args:
        frames: the scores.
        judged: a key of `MaskedFrames.scores`.
        weights: (N,) how often each frame counts; None: once.
    """
    counts = (np.ones(len(frames.is_empty)) if weights is None else weights) * ~frames.is_empty
    return float((counts @ frames.scores[judged].curves).max() / counts.sum()) if counts.any() else None


Statistic = Callable[[MaskedFrames, str, np.ndarray | None], float | None]


def _error(statistic: Statistic) -> Callable[[MaskedFrames], float | None]:
    def error(frames: MaskedFrames) -> float | None:
        """The bootstrap over videos."""
        _, video = np.unique(frames.videos, return_inverse=True)
        return bootstrap_error(lambda weights: statistic(frames, "map", weights[video]) or 0.0, int(video.max()) + 1)

    return error


def _measure(key: str, name: str, meaning: str, statistic: Statistic) -> Measure[MaskedFrames]:
    return Measure(
        key, name, meaning, lambda frames: statistic(frames, "map", None),
        lambda frames: statistic(frames, "whole", None), "whole frame", (f"{key}_whole",),
        references=(Reference("ceiling", "ceiling", lambda frames: statistic(frames, "ceiling", None)),),
        error=_error(statistic),
    )  # fmt: skip


MASKS = Section[MaskedFrames](
    key="masks",
    title="Masks",
    about="Plain maps of the frames of AVSBench (arXiv 2207.05042) against the sounding objects' mask, at 224 px. The "
    "probability of a pixel is the sigmoid of its logit, after the threshold of validation is taken off.",
    measures=(
        _measure(
            "miou", "mIoU",
            "mean intersection over union of the pixels with a probability above 0.5 and the mask; where nothing "
            "sounds, the part of the frame that isn't predicted", mean_iou,
        ),
        _measure(
            "max_f", "largest F",
            "largest value, over 255 thresholds of the probability, of the mean F (beta squared 0.3) over the frames "
            "with a mask", max_f,
        ),
    ),
    details=(
        Detail("frames", "frames", "{}", "frame"),
        Detail("empty_masks", "frames in which nothing sounds", "{} in which nothing sounds", hidden=0),
        Detail("threshold", "the logit that is a probability of a half, from validation"),
        Detail("size", "side to which maps are interpolated, pixels"),
    ),
)  # fmt: skip


def mask_measures(
    maps: np.ndarray, truths: Truths, size: int, threshold: float, videos: np.ndarray
) -> tuple[Values, dict[str, np.ndarray]]:
    """Measure how well maps outline sounding objects: metrics.json's section, and what each frame gets, for a csv file.

    F is that at the threshold at which its mean is largest.

    Args:
        maps, truths, size, threshold, videos: as of `score_masks`.
    """
    data = score_masks(maps, truths, size, threshold, videos)
    curves = data.scores["map"].curves
    best = int(curves[~data.is_empty].sum(0).argmax())
    table = {"iou": data.scores["map"].iou, "f": np.where(data.is_empty, np.nan, curves[:, best])}
    counts = {"frames": len(maps), "empty_masks": int(data.is_empty.sum()), "threshold": threshold, "size": size}
    return compute_measures(MASKS, data) | counts, table
