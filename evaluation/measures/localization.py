"""Sound source localization: where maps peak, and how they cover annotated regions. Declares the measures.

`evaluation.measures.boxes` judges peaks, `evaluation.measures.map_overlap` regions.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from evaluation.measures.boxes import Entry, PeakHits, box_mask, find_hits, map_peaks
from evaluation.measures.map_overlap import Overlaps, Truths, ciou_areas, judge_maps
from evaluation.measures.measure import Detail, Headline, Measure, Reference, Section, Values, compute_measures
from evaluation.measures.standard_errors import mean_error

BENCHMARK_SIZE = 224  # side at which maps are judged on public benchmarks, pixels


@dataclass(frozen=True)
class LocalizedFrames:
    """Input of the localization measures: N frames, with what their maps and those to compare them with get.

    Attributes:
        overlaps: {one of `map_overlap.JUDGED`: overlaps with the annotated region}.
        areas: (N,) float64 in 0..1, the annotated part of the frame.
        pictures: (N,) int, which picture a frame is: the same one has several sounds, each with its own map.
        peaks, center: of the maps' peaks and of the frames' centers; None where it isn't annotated which objects sound.
        two_objects: (N,) bool, frames with a silent object too.
    """

    overlaps: Mapping[str, Overlaps]
    areas: np.ndarray
    pictures: np.ndarray
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


def several_sounds(values: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    """Select pictures with several sounds, and take the worst of each: a picture counts only if every sound is found.

    Interactive localization (IIoU, arXiv 2407.13676).

    Args:
        values: (N,) cIoU.
        pictures: (N,) int, the picture of each.

    Returns:
        (P,) float64, of the P pictures with two sounds or more.
    """
    _, picture, counts = np.unique(pictures, return_inverse=True, return_counts=True)
    worst = np.full(len(counts), np.inf)
    np.minimum.at(worst, picture, values)
    return worst[counts > 1]


# ------------------------------------------------------------------------------------------------------ declarations

CENTER = "always the center"
ADAPTIVE = (
    "as `ciou@0.5`, `auc` and `ciou`, for as many of the map's highest pixels as the box has: tells good maps of small "
    "objects apart"
)
OTHERS = {"whole": "whole frame", "random": "random", "ceiling": "ceiling"}
SIZES = {"small": 32, "medium": 96, "large": 144, "huge": BENCHMARK_SIZE}  # side of a square of that area, at 224 px


def _overlap_measure(
    key: str,
    name: str,
    meaning: str,
    each: Callable[[np.ndarray], np.ndarray],
    select: Callable[[LocalizedFrames, str], np.ndarray],
    others: Iterable[str] = OTHERS,
    headlines: tuple[Headline, ...] = (),
    count_key: str = "",
    is_detail: bool = False,
) -> Measure[LocalizedFrames]:
    """Declare a mean over frames, for the maps and for what they are compared with.

    Args:
        key, name, meaning, headlines, count_key, is_detail: as of `Measure`.
        each: maps the (N,) overlaps to what each frame adds to the mean.
        select: gives the overlaps of one of `map_overlap.JUDGED`.
        others: keys of OTHERS that it is compared with, beside the center.
    """

    def mean_of(judged: str) -> Callable[[LocalizedFrames], float | None]:
        def compute(frames: LocalizedFrames) -> float | None:
            values = select(frames, judged)
            return float(each(values).mean()) if len(values) else None

        return compute

    return Measure(
        key, name, meaning, mean_of("map"), mean_of("center"), CENTER, (f"{key}_centre",),
        references=tuple(Reference(other, OTHERS[other], mean_of(other)) for other in others),
        error=lambda frames: mean_error(each(select(frames, "map"))),
        headlines=headlines, count_key=count_key, is_detail=is_detail,
    )  # fmt: skip


def _half(frames: LocalizedFrames, judged: str) -> np.ndarray:
    return frames.overlaps[judged].ciou


def _adaptive(frames: LocalizedFrames, judged: str) -> np.ndarray:
    return frames.overlaps[judged].adaptive


def _several(frames: LocalizedFrames, judged: str) -> np.ndarray:
    return several_sounds(frames.overlaps[judged].ciou, frames.pictures)


def _of_size(name: str) -> Callable[[LocalizedFrames, str], np.ndarray]:
    return lambda frames, judged: frames.overlaps[judged].ciou[size_classes(frames.areas) == name]


def size_classes(areas: np.ndarray) -> np.ndarray:
    """Name the size of each annotated region, a key of SIZES; "" without one: `areas` (N,), parts of the frame."""
    sides = np.sqrt(areas) * BENCHMARK_SIZE
    names = np.array(list(SIZES))
    named = names[np.searchsorted([side + 1e-9 for side in SIZES.values()][:-1], sides)]
    return np.where(areas > 0, named, "")


def _reached(values: np.ndarray) -> np.ndarray:
    return values >= 0.5


def _itself(values: np.ndarray) -> np.ndarray:
    return values


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
            "two_object_accuracy", "two objects: peak on the sounding one",
            "the same over the frames in which a silent object is annotated too",
            lambda frames: two_object_accuracy(frames.peaks, frames.two_objects),
            lambda frames: two_object_accuracy(frames.center, frames.two_objects), CENTER, ("two_object_centre",),
            error=lambda frames: hits_error(frames.peaks and frames.peaks.on_sounding, frames.two_objects),
            count_key="two_object_frames",
        ),
        Measure(
            "distractor_accuracy", "two objects: peak on the silent one",
            "fraction of those frames in which the map's largest value lies on the silent object",
            lambda frames: distractor_accuracy(frames.peaks, frames.two_objects),
            lambda frames: distractor_accuracy(frames.center, frames.two_objects), CENTER, ("distractor_centre",),
            error=lambda frames: hits_error(frames.peaks and frames.peaks.on_silent, frames.two_objects),
            lower_is_better=True, count_key="two_object_frames",
        ),
        _overlap_measure(
            "ciou@0.5", "cIoU of at least 0.5",
            "fraction of frames in which the half of the frame above the map's median and the box have an intersection "
            "over union of at least 0.5",
            _reached, _half, headlines=(Headline(6, "cIoU of at least 0.5"),),
        ),
        _overlap_measure(
            "auc", "area under cIoU fractions",
            "mean over all thresholds in 0..1 of the fraction of frames with a larger cIoU", ciou_areas, _half,
        ),
        _overlap_measure("ciou", "mean cIoU", "mean over the frames", _itself, _half, is_detail=True),
        _overlap_measure(
            "adaptive_ciou@0.5", "adaptive cIoU of at least 0.5",
            ADAPTIVE,
            _reached, _adaptive, ("random", "ceiling"),
        ),
        _overlap_measure(
            "adaptive_auc", "area under adaptive cIoU fractions",
            ADAPTIVE,
            ciou_areas, _adaptive, ("random", "ceiling"),
        ),
        _overlap_measure(
            "adaptive_ciou", "mean adaptive cIoU",
            ADAPTIVE,
            _itself, _adaptive, ("random", "ceiling"), is_detail=True,
        ),
        _overlap_measure(
            "iiou", "several sounds: cIoU of at least 0.5 for each",
            "fraction of the pictures with several sounds in which the map of every sound has a cIoU of at least 0.5 "
            "(IIoU)", _reached, _several, count_key="several_sounds",
        ),
        _overlap_measure(
            "iauc", "several sounds: area under the fractions of the worst cIoU",
            "the same over all thresholds (IAUC)", ciou_areas, _several, count_key="several_sounds",
        ),
        *(
            _overlap_measure(
                f"ciou@0.5_{name}", f"cIoU of at least 0.5, {name} objects",
                "the same over frames whose annotated area at 224 px is at most that of a square of 32 (small), 96 "
                "(medium), 144 (large) px, or larger (huge)",
                _reached, _of_size(name), count_key=f"{name}_objects", is_detail=True,
            )
            for name in SIZES
        ),
    ),
    details=(
        Detail("frames", "annotated frames", "{}", "frame"),
        Detail("two_object_frames", "those with a silent object too", "{} with a silent object too"),
        *(Detail(f"{name}_objects", f"frames with {name} objects") for name in SIZES),
        Detail("several_sounds", "pictures with several sounds", "{} with several sounds", hidden=0),
        Detail("size", "side to which maps are interpolated, pixels"),
        Detail("random_accuracy", "peak_accuracy of a location that is drawn at random"),
        Detail("dropped_boxes", "invalid boxes of a public benchmark"),
        Detail("failures", "clips of a public benchmark without a valid box: the cIoU of every map is 0"),
        Detail("object_weight", "eval.object_weight, if maps are mixed with object maps", "object weight {}"),
    ),
    variants={"plain": "plain map", "object": "object map alone"},
)  # fmt: skip


def region_measures(
    maps: np.ndarray,
    truths: Truths,
    size: int,
    pictures: np.ndarray | None = None,
    known: LocalizedFrames | None = None,
) -> tuple[Values, LocalizedFrames]:
    """Measure how maps cover annotated regions: metrics.json's section.

    Args:
        maps: (N, h, w) float, one value for each location; N at least 1.
        truths: draws the region of a frame, (`size`, `size`) float in 0..1.
        size: side to which maps are interpolated, pixels.
        pictures: (N,) int, the same for frames that are one picture with several sounds; None: all differ.
        known: computed from other maps of these frames: what all maps are compared with is taken from there.

    Returns:
        The measures of `LOCALIZATION` that need no more than regions, and what they were computed from.
    """
    return _measure(_judge(maps, truths, size, pictures, known), size)


def box_measures(
    maps: np.ndarray, frames: Sequence[Sequence[Entry]], size: int = 0, known: LocalizedFrames | None = None
) -> tuple[Values, LocalizedFrames]:
    """Measure how often maps peak on the sounding object, and how they cover it: metrics.json's section.

    Args:
        maps: (N, h, w) float, one value for each location. A peak is the center of its location.
        frames: for each frame its entries of boxes.json; at least one object of each frame sounds.
        size: side to which maps are interpolated for the cIoU, pixels; 0 for maps that are that large already.
        known: computed from other maps of these frames: what all maps are compared with is taken from there.

    Returns:
        The measures of `LOCALIZATION`, those over frames with a silent object being 0 without such a frame;
        random_accuracy, of a random location; frames and two_object_frames, how many. And what they were computed from.
    """
    size = size or maps.shape[1]
    sounding = [[entry["box"] for entry in entries if entry["sounding"]] for entries in frames]
    silent = [[entry["box"] for entry in entries if not entry["sounding"]] for entries in frames]
    two_objects = np.array([bool(boxes) for boxes in silent])
    data = replace(
        _judge(maps, lambda k: box_mask(sounding[k], size), size, known=known),
        peaks=find_hits(map_peaks(maps), sounding, silent),
        center=find_hits(np.full((len(frames), 2), 0.5), sounding, silent),
        two_objects=two_objects,
    )
    random = float(np.mean([box_mask(boxes, maps.shape[1]).mean() for boxes in sounding]))
    values, data = _measure(data, size)
    return values | {"random_accuracy": random, "two_object_frames": int(two_objects.sum())}, data


def peak_fraction(maps: np.ndarray, frames: Sequence[Sequence[Entry]]) -> float | None:
    """Compute the fraction of maps that peak on a sounding object; None if none is annotated.

    Args:
        maps: (N, h, w) float, one value for each location.
        frames: for each frame its entries of boxes.json; those without a sounding object don't count.
    """
    boxes = [[entry["box"] for entry in entries if entry["sounding"]] for entries in frames]
    annotated = [k for k, own in enumerate(boxes) if own]
    if not annotated:
        return None
    hits = find_hits(map_peaks(maps[annotated]), [boxes[k] for k in annotated], [[] for _ in annotated])
    return float(hits.on_sounding.mean())


def _judge(
    maps: np.ndarray,
    truths: Truths,
    size: int,
    pictures: np.ndarray | None = None,
    known: LocalizedFrames | None = None,
) -> LocalizedFrames:
    overlaps, counts = judge_maps(maps, truths, size, None if known is None else known.overlaps)
    return LocalizedFrames(overlaps, counts / size**2, np.arange(len(maps)) if pictures is None else pictures)


def _measure(data: LocalizedFrames, size: int) -> tuple[Values, LocalizedFrames]:
    """Compute the measures, and count the frames that they are means over."""
    names = size_classes(data.areas)
    counts = {f"{name}_objects": int((names == name).sum()) for name in SIZES}
    several = len(several_sounds(data.areas, data.pictures))
    counts |= {"frames": len(data.areas), "several_sounds": several, "size": size}
    return compute_measures(LOCALIZATION, data) | counts, data


def frame_table(data: LocalizedFrames) -> dict[str, np.ndarray]:
    """List what each frame gets, for a csv file: {column: (N,)} of `data`."""
    table = {"ciou": data.overlaps["map"].ciou, "adaptive_ciou": data.overlaps["map"].adaptive, "area": data.areas}
    table |= {f"ciou_{name}": overlaps.ciou for name, overlaps in data.overlaps.items() if name != "map"}
    if data.peaks is not None:
        table |= {"peak_on_sounding": data.peaks.on_sounding, "peak_on_silent": data.peaks.on_silent}
    return table
