"""How well a map covers an annotated region: cIoU, adaptive cIoU, and what trivial and best maps get.

A map is (h, w) float, larger where the sound is believed to come from, and a truth (S, S) float in 0..1: how many
annotators agree on each pixel. Where two rules predict a region of a map, a constant map predicts nothing.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt

CIOU_THRESHOLDS = np.linspace(0, 1, 21)
CHUNK_PIXELS = 2**20  # of the maps that are interpolated at a time: more is slower, and needs the memory
TIE = 1e-3  # by how much the value of the best map falls with the distance from the region: no two are equal
Truths = Callable[[int], np.ndarray]  # index of a frame -> (S, S) float in 0..1
# Which maps are judged: the net's, three trivial ones, and the region itself drawn at the size of the maps.
JUDGED = ("map", "center", "whole", "random", "ceiling")


def upsample(maps: np.ndarray, size: int) -> np.ndarray:
    """Interpolate `maps` bilinearly to the size of a frame: (N, h, w) float -> (N, `size`, `size`) float32."""
    tensor = torch.as_tensor(np.asarray(maps), dtype=torch.float32)[:, None]
    return F.interpolate(tensor, size=(size, size), mode="bilinear", align_corners=False)[:, 0].numpy()


def region_overlap(predicted: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Compute the consensus intersection over union of predicted and annotated regions.

    With the prediction p in 0 / 1 and the truth g: sum(p g) / (sum(g) + sum(p where g = 0)) (Senocak et al.,
    arXiv 1803.03849; EZ-VSL, arXiv 2203.09324).

    Args:
        predicted: (N, S, S) bool.
        truths: (N, S, S) float in 0..1.

    Returns:
        (N,) float64 in 0..1; 0 where nothing is annotated.
    """
    truths = np.asarray(truths, np.float64)
    union = truths.sum((1, 2)) + (predicted & (truths == 0)).sum((1, 2))
    return np.divide((predicted * truths).sum((1, 2)), union, out=np.zeros(len(truths)), where=union > 0)


def predict_regions(maps: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predict two regions of each map: the pixels above its median, and its `counts` highest pixels.

    Both at once, as sorting the values is what costs. Of pixels as high as the first one left out, none is taken, so
    that a constant map predicts nothing.

    Args:
        maps: (N, S, S) float.
        counts: (N,) int, the size of the second region, pixels.

    Returns:
        (half of the frame, the highest pixels): (N, S, S) bool each.
    """
    flat = np.asarray(maps).reshape(len(maps), -1)
    half, as_large = np.empty(flat.shape, bool), np.empty(flat.shape, bool)
    middle = flat.shape[1] // 2
    for values, count, above, highest in zip(flat, counts, half, as_large, strict=True):
        first_left_out = len(values) - 1 - int(count)
        ranks = (middle - 1, middle, max(first_left_out, 0), 0)
        ordered = np.partition(values, sorted(set(ranks)))
        median = ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
        np.greater(values, median, out=above)
        if first_left_out >= 0:
            np.greater(values, ordered[first_left_out], out=highest)
        else:  # the whole frame, unless the map is constant
            highest[:] = ordered[0] < values.max()
    return half.reshape(maps.shape), as_large.reshape(maps.shape)


def ciou(maps: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Compute the cIoU of maps, each of which predicts the pixels above its median: half of the frame.

    As results on Flickr-SoundNet and VGG-SS are published (EZ-VSL, arXiv 2203.09324).

    Args:
        maps: (N, S, S) float, upsampled.
        truths: (N, S, S) float in 0..1.

    Returns:
        (N,) float64 in 0..1, see `region_overlap`.
    """
    return region_overlap(predict_regions(maps, np.zeros(len(maps), int))[0], truths)


def adaptive_ciou(maps: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Compute the cIoU of maps, each of which predicts as many of its highest pixels as the truth has.

    The adaptive cIoU of SSL-Align (arXiv 2407.13676), which doesn't say what becomes of equal pixels.

    Args:
        maps: (N, S, S) float, upsampled.
        truths: (N, S, S) float in 0..1.

    Returns:
        (N,) float64 in 0..1, see `region_overlap`.
    """
    return region_overlap(predict_regions(maps, (truths > 0).sum((1, 2)))[1], truths)


def ciou_area(values: np.ndarray) -> float:
    """Compute the area under the fraction of frames whose cIoU (`values`) reaches a threshold of 0, 0.05, ..., 1."""
    return float(ciou_areas(values).mean())


def ciou_areas(values: np.ndarray) -> np.ndarray:
    """Compute what each frame adds to `ciou_area`: (N,) `values` of cIoU -> (N,) areas, whose mean it is."""
    return np.asarray(np.trapezoid((values[:, None] >= CIOU_THRESHOLDS - 1e-9).astype(float), CIOU_THRESHOLDS))


# -------------------------------------------------------------------------------------- trivial maps and the best one


def center_map(size: int) -> np.ndarray:
    """Make the map that falls with the distance from the center: (`size`, `size`) float64."""
    line = (np.arange(size) + 0.5) / size - 0.5
    return -np.hypot(line[:, None], line[None])


def random_maps(indices: np.ndarray, height: int, width: int) -> np.ndarray:
    """Draw a map of independent uniform values for each frame.

    Args:
        indices: (N,) int, of the frames: the same index gives the same map.
        height, width: of the maps, locations.

    Returns:
        (N, height, width) float64 in 0..1.
    """
    return np.stack([np.random.default_rng([5, int(k)]).random((height, width)) for k in indices])


def best_maps(truths: np.ndarray, height: int, width: int) -> np.ndarray:
    """Draw regions at the size of a net's maps: what a map of this size can hope for.

    Each location gets the mean of the truth over its part of the frame. Values rise with the distance from the region's
    border inside of it, and fall outside; no two are equal, as equal ones would be predicted together or not at all.

    Args:
        truths: (N, S, S) float in 0..1.
        height, width: of the maps, locations.

    Returns:
        (N, height, width) float64.
    """
    tensor = torch.as_tensor(np.asarray(truths, np.float64))[:, None]
    small = F.adaptive_avg_pool2d(tensor, (height, width))[:, 0].numpy()
    unequal = np.random.default_rng(7).random((height, width)) / 2
    for one in small:
        region = np.pad(one > 0, 1)  # the frame's edge is a border too
        inside = distance_transform_edt(region)[1:-1, 1:-1]
        outside = distance_transform_edt(~region)[1:-1, 1:-1]
        one += TIE * (inside - outside + unequal)
    return small


# ------------------------------------------------------------------------------------------------------- many frames


@dataclass(frozen=True)
class Overlaps:
    """What the maps of N frames get.

    Attributes:
        ciou: (N,) float64 in 0..1, of the half above the median.
        adaptive: (N,) float64 in 0..1, of as many pixels as the truth has; NaN of the whole frame, which has no order.
    """

    ciou: np.ndarray
    adaptive: np.ndarray


def judge_maps(
    maps: np.ndarray, truths: Truths, size: int, known: Mapping[str, Overlaps] | None = None
) -> tuple[dict[str, Overlaps], np.ndarray]:
    """Compute the overlaps of maps, and of the maps to compare them with, some frames at a time.

    Args:
        maps: (N, h, w) float, one value for each location.
        truths: draws the annotated region of a frame, (`size`, `size`).
        size: side to which maps are interpolated, pixels.
        known: result for other maps of the same frames and size: what all are compared with is taken from there.

    Returns:
        ({one of `JUDGED`: overlaps}, (N,) number of annotated pixels).
    """
    parts: list[Mapping[str, Overlaps]] = []
    areas: list[np.ndarray] = []
    center = center_map(size)[None]
    for indices in chunks(len(maps), size):
        drawn = np.stack([truths(int(k)) for k in indices])
        height, width = maps.shape[1:]
        counts = (drawn > 0).sum((1, 2))
        judged = {"map": upsample(maps[indices], size)}
        if known is None:
            judged |= {
                "center": np.broadcast_to(center, drawn.shape),
                "random": upsample(random_maps(indices, height, width), size),
                "ceiling": upsample(best_maps(drawn, height, width), size),
            }
        found = {
            name: Overlaps(*(region_overlap(region, drawn) for region in predict_regions(one, counts)))
            for name, one in judged.items()
        }
        if known is None:
            whole = region_overlap(np.ones(drawn.shape, bool), drawn)
            found["whole"] = Overlaps(whole, np.full(len(drawn), np.nan))
        parts.append(found)
        areas.append(counts)
    joined = {
        name: Overlaps(*(np.concatenate([getattr(part[name], key) for part in parts]) for key in ("ciou", "adaptive")))
        for name in parts[0]
    }
    return {**(known or {}), **joined}, np.concatenate(areas)


def chunks(count: int, size: int) -> Iterator[np.ndarray]:
    """Yield the indices of `count` frames, as many at a time as fit into memory at `size` x `size` pixels."""
    step = max(CHUNK_PIXELS // size**2, 1)
    for start in range(0, count, step):
        yield np.arange(start, min(start + step, count))
