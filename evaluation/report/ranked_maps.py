"""Rank localization maps by how clearly their peak lies on a sounding object."""

from dataclasses import dataclass

import numpy as np

from dataset.reading.annotations import Box
from evaluation.measures.boxes import box_mask, is_in_box, map_peaks
from evaluation.measures.map_overlap import upsample
from evaluation.report.selection import evenly_spaced

CLIPS_PER_PART = 8
UPSAMPLING = 4  # maps are compared with boxes at this many times their size


@dataclass(frozen=True)
class RankedMap:
    """A clip's map.

    Attributes:
        index: of the clip.
        peak: (x, y) in 0..1.
        hit: whether the peak is on a sounding object; None if none is annotated.
        margin: the largest logit in the boxes of sounding objects minus the largest elsewhere (above 0: a hit); the
            largest logit if there are no boxes.
    """

    index: int
    peak: tuple[float, float]
    hit: bool | None
    margin: float


@dataclass(frozen=True)
class RankedMaps:
    """Parts of the ranking by name ("Best", ...); whether sounding objects are annotated."""

    parts: dict[str, list[RankedMap]]
    annotated: bool


def rank_heatmaps(logits: np.ndarray, boxes: list[list[Box]]) -> RankedMaps:
    """Rank maps by their margin.

    Args:
        logits: (N, h, w).
        boxes: the annotated objects of each frame; if any sounding object is annotated, only such frames are ranked.
    """
    annotated = [k for k, objects in enumerate(boxes) if any(box["sounding"] for box in objects)]
    indices = annotated or range(len(logits))
    ranked = [_rank_map(k, logits[k], boxes[k] if annotated else []) for k in indices]
    ranked.sort(key=lambda one: -one.margin)
    most, middle = min(CLIPS_PER_PART, len(ranked)), len(ranked) // 2
    low = max(middle - most // 2, 0)
    parts = {"Best": ranked[:most], "Middle": ranked[low : low + most], "Worst": ranked[::-1][:most]}
    with_silent = [one for one in ranked if any(not box["sounding"] for box in boxes[one.index])]
    if annotated and with_silent:
        parts["With a silent object"] = [with_silent[k] for k in evenly_spaced(len(with_silent), most)]
    return RankedMaps(parts, bool(annotated))


def _rank_map(index: int, logits: np.ndarray, boxes: list[Box]) -> RankedMap:
    size = UPSAMPLING * len(logits)
    large = upsample(logits[None], size)
    x, y = map_peaks(logits[None])[0].tolist()
    sounding = [box["box"] for box in boxes if box["sounding"]]
    if not sounding:
        return RankedMap(index, (x, y), None, float(large.max()))
    inside = box_mask(sounding, size).astype(bool)
    outside_peak = large.min() if inside.all() else large[0][~inside].max()
    margin = float(large[0][inside].max() - outside_peak) if inside.any() else 0.0
    return RankedMap(index, (x, y), is_in_box((x, y), sounding), margin)
