"""Sound source localization: peak accuracy, distractors, cIoU and its AUC. Pure functions on arrays.

A map is (h, w) float, larger where the sound is believed to come from. Locations are (x, y) in 0..1 of the frame, from
its top left corner; boxes are (x0, y0, x1, y1) in the same units.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from evaluation.measures.measure import Detail, Headline, Measure, Section, Values, compute_measures
from evaluation.measures.standard_errors import mean_error

CIOU_THRESHOLDS = np.linspace(0, 1, 21)

Box = Sequence[float]
Entry = Mapping[str, Any]  # of boxes.json: {"box": Box, "sounding": bool, ...}


def upsample(maps: np.ndarray, size: int) -> np.ndarray:
    """Interpolate `maps` bilinearly to the size of a frame: (N, h, w) float -> (N, `size`, `size`) float32."""
    tensor = torch.as_tensor(np.asarray(maps), dtype=torch.float32)[:, None]
    return F.interpolate(tensor, size=(size, size), mode="bilinear", align_corners=False)[:, 0].numpy()


def map_peaks(maps: np.ndarray) -> np.ndarray:
    """Find the largest value of each map: `maps` (N, h, w) -> (N, 2) float64 locations, the first of equal ones.

    Give the maps as the net computes them: interpolated, the plateau between a location at the border and the frame's
    edge has the largest value too, and the peak would lie on the edge.
    """
    height, width = maps.shape[1:]
    row, column = np.unravel_index(maps.reshape(len(maps), -1).argmax(1), (height, width))
    return np.stack([(column + 0.5) / width, (row + 0.5) / height], 1)


def is_in_box(location: Sequence[float] | np.ndarray, boxes: Sequence[Box]) -> bool:
    """Check whether a `location` (x, y) lies in one of the `boxes`, edges included."""
    return any(x0 <= location[0] <= x1 and y0 <= location[1] <= y1 for x0, y0, x1, y1 in boxes)


def box_mask(boxes: Sequence[Box], size: int) -> np.ndarray:
    """Mark the pixels whose center lies in one of the `boxes`: (`size`, `size`) float32, 0 or 1."""
    centers = (np.arange(size) + 0.5) / size
    mask = np.zeros((size, size), bool)
    for x0, y0, x1, y1 in boxes:
        columns, rows = (centers >= x0) & (centers <= x1), (centers >= y0) & (centers <= y1)
        mask |= rows[:, None] & columns[None]
    return mask.astype(np.float32)


def ciou(maps: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Compute the consensus intersection over union of maps and annotated regions.

    A map predicts the pixels above its median, half of the frame. With the prediction p in 0 / 1 and the truth g:
    sum(p g) / (sum(g) + sum(p where g = 0)), as results on Flickr-SoundNet and VGG-SS are published (Senocak et al.,
    arXiv 1803.03849; EZ-VSL, arXiv 2203.09324).

    Args:
        maps: (N, S, S) float, upsampled.
        truths: (N, S, S) float in 0..1, how many annotators agree on each pixel.

    Returns:
        (N,) float64 in 0..1; 0 where nothing is annotated.
    """
    maps, truths = np.asarray(maps), np.asarray(truths, np.float64)
    predicted = maps > np.median(maps, axis=(1, 2), keepdims=True)
    union = truths.sum((1, 2)) + (predicted & (truths == 0)).sum((1, 2))
    hit = (predicted * truths).sum((1, 2))
    return np.divide(hit, union, out=np.zeros(len(maps)), where=union > 0)


# --------------------------------------------------------------------------------------------------- the measures


class PeakHits(NamedTuple):
    """Where one location of each frame lies.

    on_sounding: (N,) bool, in the box of a sounding object.
    on_silent: (N,) bool, in the box of a silent object, and in none of a sounding object.
    """

    on_sounding: np.ndarray
    on_silent: np.ndarray


@dataclass(frozen=True)
class LocalizedFrames:
    """Input of the localization measures: N frames, with the results of the maps and of always the center.

    Attributes:
        ciou, center_ciou: (N,) of the maps, and of a map that falls with the distance from the center.
        peaks, center: of the maps' peaks and of the frames' centers; None where it isn't annotated which objects sound.
        two_objects: (N,) bool, frames with a silent object too.
    """

    ciou: np.ndarray
    center_ciou: np.ndarray
    peaks: PeakHits | None = None
    center: PeakHits | None = None
    two_objects: np.ndarray | None = None


def peak_accuracy(hits: PeakHits | None) -> float | None:
    """Compute the fraction of frames whose location lies on a sounding object (`hits`)."""
    return None if hits is None else hits.on_sounding.mean()


def two_object_accuracy(hits: PeakHits | None, two_objects: np.ndarray | None) -> float | None:
    """Compute the same as `peak_accuracy` of `hits`, over the frames with a silent object too (`two_objects`)."""
    return None if hits is None else _mean_where(hits.on_sounding, two_objects)


def distractor_accuracy(hits: PeakHits | None, two_objects: np.ndarray | None) -> float | None:
    """Compute the fraction of the frames with a silent object (`two_objects`) whose location lies on it (`hits`)."""
    return None if hits is None else _mean_where(hits.on_silent, two_objects)


def _mean_where(values: np.ndarray, where: np.ndarray | None) -> float:
    return values[where].mean() if where is not None and where.any() else 0.0


def hits_error(hits: np.ndarray | None, where: np.ndarray | None = None) -> float | None:
    """Compute the standard error of the fraction of `hits` (N,) bool, over the frames `where` if it is given."""
    return None if hits is None else mean_error(hits if where is None else hits[where])


def ciou_success(values: np.ndarray) -> float:
    """Compute the fraction of frames with a cIoU (`values`) of at least 0.5."""
    return (values >= 0.5).mean()


def ciou_area(values: np.ndarray) -> float:
    """Compute the area under the fraction of frames whose cIoU (`values`) reaches a threshold of 0, 0.05, ..., 1."""
    return float(ciou_areas(values).mean())


def ciou_areas(values: np.ndarray) -> np.ndarray:
    """Compute what each frame adds to `ciou_area`: (N,) `values` of cIoU -> (N,) areas, whose mean it is."""
    return np.asarray(np.trapezoid((values[:, None] >= CIOU_THRESHOLDS - 1e-9).astype(float), CIOU_THRESHOLDS))


CENTER = "always the center"
LOCALIZATION = Section[LocalizedFrames](
    key="localization",
    title="Localization",
    about="The map of each annotated frame and its own sound (OtS sec. 5.2). cIoU as Senocak et al. (2018) define it; "
    "small objects can't reach 0.5, because a map always predicts half of the frame.",
    measures=(
        Measure(
            "peak_accuracy", "peak on a sounding object",
            "fraction of frames in which the map's largest value lies in the box of a sounding object",
            lambda frames: peak_accuracy(frames.peaks),
            lambda frames: peak_accuracy(frames.center), CENTER, ("centre_accuracy",),
            error=lambda frames: hits_error(frames.peaks and frames.peaks.on_sounding),
            headlines=(Headline(1, "peak on a sounding object"),),
        ),
        Measure(
            "two_object_accuracy", "with a silent object too: peak on the sounding one",
            "the same over the frames in which a silent object is annotated too",
            lambda frames: two_object_accuracy(frames.peaks, frames.two_objects),
            lambda frames: two_object_accuracy(frames.center, frames.two_objects), CENTER, ("two_object_centre",),
            error=lambda frames: hits_error(frames.peaks and frames.peaks.on_sounding, frames.two_objects),
            count_key="two_object_frames",
        ),
        Measure(
            "distractor_accuracy", "with a silent object too: peak on the silent one",
            "fraction of those frames in which the map's largest value lies on the silent object",
            lambda frames: distractor_accuracy(frames.peaks, frames.two_objects),
            lambda frames: distractor_accuracy(frames.center, frames.two_objects), CENTER, ("distractor_centre",),
            error=lambda frames: hits_error(frames.peaks and frames.peaks.on_silent, frames.two_objects),
            lower_is_better=True, count_key="two_object_frames",
        ),
        Measure(
            "ciou@0.5", "cIoU of at least 0.5",
            "fraction of frames in which the half of the frame above the map's median and the box have an intersection "
            "over union of at least 0.5",
            lambda frames: ciou_success(frames.ciou),
            lambda frames: ciou_success(frames.center_ciou), CENTER, ("ciou@0.5_centre",),
            error=lambda frames: mean_error(frames.ciou >= 0.5),
            headlines=(Headline(6, "cIoU of at least 0.5"),),
        ),
        Measure(
            "auc", "area under cIoU fractions",
            "mean over all thresholds in 0..1 of the fraction of frames with a larger cIoU",
            lambda frames: ciou_area(frames.ciou),
            lambda frames: ciou_area(frames.center_ciou), CENTER, ("auc_centre",),
            error=lambda frames: mean_error(ciou_areas(frames.ciou)),
        ),
    ),
    details=(
        Detail("frames", "annotated frames", "{}", "frame"),
        Detail("two_object_frames", "those with a silent object too", "{} with a silent object too"),
        Detail("random_accuracy", "peak_accuracy of a location that is drawn at random"),
        Detail("dropped_boxes", "invalid boxes of a public benchmark"),
        Detail("object_weight", "eval.object_weight, if maps are mixed with object maps", "object weight {}"),
    ),
    variants={"plain": "plain map", "object": "object map alone"},
)  # fmt: skip


def ciou_measures(maps: np.ndarray, truths: np.ndarray) -> Values:
    """Compute the cIoU measures of `LOCALIZATION`, each with that of always the center.

    Args:
        maps, truths: as for `ciou`; N at least 1.
    """
    return compute_measures(LOCALIZATION, LocalizedFrames(ciou(maps, truths), _center_ciou(truths)))


def box_measures(maps: np.ndarray, frames: Sequence[Sequence[Entry]], size: int = 0) -> Values:
    """Compute how often maps peak on the sounding object, and the cIoU with it: metrics.json's section.

    Args:
        maps: (N, s, s) float, one value for each location. A peak is the center of its location.
        frames: for each frame its entries of boxes.json; at least one object of each frame sounds.
        size: side to which maps are interpolated for the cIoU, pixels; 0 for maps that are that large already.

    Returns:
        the measures of `LOCALIZATION`, those over frames with a silent object being 0 without such a frame;
        random_accuracy, of a random location; frames and two_object_frames, how many.
    """
    sounding = [[entry["box"] for entry in entries if entry["sounding"]] for entries in frames]
    silent = [[entry["box"] for entry in entries if not entry["sounding"]] for entries in frames]
    large = upsample(maps, size) if size else maps
    truths = np.stack([box_mask(boxes, large.shape[1]) for boxes in sounding])
    two_objects = np.array([bool(boxes) for boxes in silent])
    data = LocalizedFrames(
        ciou=ciou(large, truths),
        center_ciou=_center_ciou(truths),
        peaks=_hits(map_peaks(maps), sounding, silent),
        center=_hits(np.full((len(frames), 2), 0.5), sounding, silent),
        two_objects=two_objects,
    )
    counts = {"frames": len(frames), "two_object_frames": int(two_objects.sum())}
    random = np.mean([box_mask(boxes, maps.shape[1]).mean() for boxes in sounding])
    return compute_measures(LOCALIZATION, data) | {"random_accuracy": float(random)} | counts


def _hits(locations: np.ndarray, sounding: Sequence[Sequence[Box]], silent: Sequence[Sequence[Box]]) -> PeakHits:
    on_sounding = np.array([is_in_box(*one) for one in zip(locations, sounding, strict=True)])
    on_silent = np.array([is_in_box(*one) for one in zip(locations, silent, strict=True)])
    return PeakHits(on_sounding, on_silent & ~on_sounding)


def _center_ciou(truths: np.ndarray) -> np.ndarray:
    """The cIoU of the map that falls with the distance from the center: (N, S, S) -> (N,)."""
    line = (np.arange(truths.shape[1]) + 0.5) / truths.shape[1] - 0.5
    return ciou(np.broadcast_to(-np.hypot(line[:, None], line[None]), truths.shape), truths)
