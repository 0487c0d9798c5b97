"""Task "localization": where in the frame a sound comes from, compared with boxes; images and videos (OtS sec. 5)."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from dataset.loading.loader import collate, make_sample
from dataset.making.text import count_text
from dataset.reading.annotations import Box
from dataset.reading.benchmarks.benchmark import Benchmark
from dataset.reading.reader import ClipDataset
from dataset.transforms.frames import PairTransform
from evaluation.measures.boxes import box_mask
from evaluation.measures.localization import (
    BENCHMARK_SIZE,
    LocalizedFrames,
    box_measures,
    frame_table,
    peak_fraction,
    region_measures,
)
from evaluation.measures.map_overlap import Truths
from evaluation.measures.masks import mask_measures
from evaluation.report.heatmaps import write_heatmap_video, write_localization_images
from evaluation.report.page_content import PageMaps
from evaluation.report.selection import evenly_spaced
from evaluation.tasks.embeddings import SplitEmbeddings, embed_batches
from evaluation.tasks.negative_sounds import measure_negative_sounds, validation_threshold
from evaluation.tasks.task import EvalContext, TaskResult
from evaluation.trained_net import TrainedNet
from models.interfaces import LocalizingNet
from models.object_maps import location_maps
from utils.files import write_text

VIDEO_FPS, VIDEO_RATE = 25, 48000  # frames per second; Hz
WEIGHTS = tuple(k / 10 for k in range(11))  # of the object map, tried on val


class LocalizationTask:
    """Peak accuracy and cIoU, for every net with localization maps."""

    name = "localization"

    def applies_to(self, model: nn.Module) -> bool:
        """Check whether `model` has localization maps."""
        return isinstance(model, LocalizingNet)

    def run(self, context: EvalContext) -> TaskResult:
        """Measure the maps of the split or benchmark of `context`, and draw them: "localization", "negative_sounds"."""
        net, embeddings, clips, out = context.net, context.embeddings, context.data.clips, context.out
        maps = net.location_maps(embeddings.v, embeddings.a, embeddings.objects).numpy()
        boxes, annotated, notes = annotations(context)
        if not isinstance(clips, Benchmark):
            for k in evenly_spaced(len(maps), context.options.video):
                write_clip_video(out / "video" / f"{embeddings.ids[k]}.mp4", net, clips, embeddings.indices[k])
        metrics: dict[str, Any] = {}
        if annotated.frames:
            metrics, found = measure_all(context, annotated, maps)
            notes += (*best_weight_notes(context, annotated), *found)
        if isinstance(clips, Benchmark) and clips.has_masks:
            metrics |= measure_masks(context, clips)
        mixed = embeddings.objects is not None
        draw_maps(context, maps, boxes, mixed)
        page = PageMaps(maps, boxes, make_cross_maps(net, embeddings), mixed)
        return context.embedding_result(metrics, maps=page, notes=notes)


@dataclass(frozen=True)
class AnnotatedFrames:
    """The frames of an evaluation in which a sounding object is annotated.

    Attributes:
        frames: their positions in the embeddings.
        size: side to which maps are interpolated, pixels.
        boxes: the objects of each, of a split; None of a benchmark, which has no silent objects.
        truths: draws the region of the k-th of them.
        pictures: (N,) int, the same for those that are one picture.
        details: more values of the section.
    """

    frames: list[int]
    size: int
    truths: Truths
    boxes: list[list[Box]] | None
    pictures: np.ndarray | None
    details: dict[str, Any]

    def measure(self, maps: np.ndarray, known: LocalizedFrames | None = None) -> tuple[dict[str, Any], LocalizedFrames]:
        """Measure maps: the section, and what it was computed from.

        Args:
            maps: (M, h, w) of all frames.
            known: computed from other maps of the frames.
        """
        own = maps[self.frames]
        if self.boxes is not None:
            values, data = box_measures(own, self.boxes, self.size, known)
        else:
            values, data = region_measures(own, self.truths, self.size, self.pictures, known)
        return values | self.details, data


def draw_maps(context: EvalContext, maps: np.ndarray, boxes: list[list[Box]], mixed: bool) -> None:
    """Write OUT/localization/ID.jpg of the first clips.

    Args:
        context: of the evaluation; its options say of how many.
        maps: (N, h, w) of all frames.
        boxes: the annotated objects of each.
        mixed: the maps are values in 0..1, not logits.
    """
    embeddings, drawn = context.embeddings, slice(context.options.pictures)
    ids = embeddings.ids[drawn]
    names = [
        "; ".join(map(context.ontology.name, mids)) or clip
        for mids, clip in zip(embeddings.labels[drawn], ids, strict=True)
    ]
    write_localization_images(
        context.out / "localization", maps[drawn], boxes[drawn], ids, names, lambda k: embeddings.sample(k)[0], mixed
    )


def annotations(context: EvalContext) -> tuple[list[list[Box]], AnnotatedFrames, tuple[str, ...]]:
    """List the annotated objects of each frame of `context`, those that can be measured, and notes."""
    embeddings, clips, size = context.embeddings, context.data.clips, context.config.data.frame_size
    if isinstance(clips, Benchmark):
        return _benchmark_annotations(clips, embeddings.indices)
    boxes = [clips.boxes_at(index, time) for index, time in zip(embeddings.indices, embeddings.times, strict=True)]
    frames = [k for k, objects in enumerate(boxes) if any(box["sounding"] for box in objects)]
    own = [boxes[k] for k in frames]
    sounding = [[box["box"] for box in objects if box["sounding"]] for objects in own]
    annotated = AnnotatedFrames(frames, size, lambda k: box_mask(sounding[k], size), own, None, {})
    return boxes, annotated, annotation_notes(clips, boxes)


def _benchmark_annotations(
    clips: Benchmark, indices: list[int]
) -> tuple[list[list[Box]], AnnotatedFrames, tuple[str, ...]]:
    """The same of a benchmark, whose rows `indices` are embedded."""
    boxes = [
        [Box(time=0.0, box=box, label="", sounding=True) for box in clips.boxes[index].tolist()] for index in indices
    ]
    frames = [k for k, index in enumerate(indices) if clips.has_region[index]]
    rows = [indices[k] for k in frames]
    names = [clips.rows[row].picture for row in rows]
    pictures = np.unique(names, return_inverse=True)[1] if clips.several_sounds else None
    failed = [clips.ids[row] for row in rows if clips.ids[row] in set(clips.failures)]
    notes = []
    if failed:
        shown = ", ".join(failed[:3]) + (", ..." if len(failed) > 3 else "")
        notes.append(
            f"{len(failed)} of {count_text(len(rows), 'clip')} ({shown}) "
            "have no box that lies in the frame: they count as failures, with a cIoU of 0, as in published evaluations"
        )
    if len(rows) < len(indices):
        empty = len(indices) - len(rows)
        notes.append(f"in {count_text(empty, 'frame')} nothing sounds: they count for mIoU, not for localization or F")
    if clips.several_sounds and len(set(names)) == len(names):
        notes.append("no picture has several sounds here, so IIoU and IAUC are not measured")
    annotated = AnnotatedFrames(
        frames, BENCHMARK_SIZE, lambda k: clips.truth(rows[k], BENCHMARK_SIZE), None, pictures,
        {"dropped_boxes": clips.dropped, "failures": len(failed)},
    )  # fmt: skip
    return boxes, annotated, tuple(notes)


def measure_masks(context: EvalContext, clips: Benchmark) -> dict[str, Any]:
    """Measure the plain maps against the masks of a benchmark: the section "masks"; writes masks.csv.

    Args:
        context: of the evaluation.
        clips: the benchmark.
    """
    embeddings, threshold = context.embeddings, validation_threshold(context.net)
    rows = embeddings.indices
    videos = np.unique([clips.rows[row].picture for row in rows], return_inverse=True)[1]
    maps = context.net.location_maps(embeddings.v, embeddings.a).numpy()
    values, table = mask_measures(
        maps, lambda k: clips.truth(rows[k], BENCHMARK_SIZE), BENCHMARK_SIZE, threshold, videos
    )
    write_text(context.out / "masks.csv", pd.DataFrame({"id": embeddings.ids, **table}).to_csv(index=False))
    return {"masks": values}


def measure_all(
    context: EvalContext, annotated: AnnotatedFrames, maps: np.ndarray
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Measure maps, what they are mixed of, and those for sounds that aren't in the frame; write localization.csv.

    Args:
        context: of the evaluation.
        annotated: the frames to measure, at least one.
        maps: (N, h, w) of all embedded frames.

    Returns:
        Sections of metrics.json, and notes.
    """
    net, embeddings = context.net, context.embeddings
    values, data = annotated.measure(maps)
    table, plain = frame_table(data), data
    if embeddings.objects is not None:
        values["plain"], plain = annotated.measure(net.location_maps(embeddings.v, embeddings.a).numpy(), data)
        values["object"], _ = annotated.measure(embeddings.objects.numpy(), data)
        values["object_weight"] = context.config.eval.object_weight
    negatives, more, notes = measure_negative_sounds(
        context, annotated.frames, annotated.truths, annotated.size, plain.overlaps["map"].ciou
    )
    write_frame_table(context, annotated, table | more)
    return {"localization": values, "negative_sounds": negatives}, notes


def write_frame_table(context: EvalContext, annotated: AnnotatedFrames, table: dict[str, np.ndarray]) -> None:
    """Write OUT/localization.csv.

    Args:
        context: of the evaluation.
        annotated: its N frames that are measured.
        table: {column: (N,)}.
    """
    ids = [context.embeddings.ids[k] for k in annotated.frames]
    pictures = {} if annotated.pictures is None else {"picture": annotated.pictures}
    content = pd.DataFrame({"id": ids, **table, **pictures}).to_csv(index=False)
    write_text(context.out / "localization.csv", content)


def annotation_notes(clips: ClipDataset, boxes: list[list[Box]]) -> tuple[str, ...]:
    """Say in sentences which annotations are not measured.

    Args:
        clips: the split.
        boxes: the annotated objects of each embedded frame.
    """
    notes = []
    known = {*clips.ids, *clips.skipped}
    if unknown := sorted(clips.boxes.keys() - known):
        shown = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")
        notes.append(f"boxes.json annotates {count_text(len(unknown), 'clip')} that the split doesn't have ({shown})")
    annotated = sum(any(box["sounding"] for box in clips.boxes.get(clip, ())) for clip in clips.ids)
    measured = sum(any(box["sounding"] for box in objects) for objects in boxes)
    if annotated > measured:
        notes.append(
            f"of {count_text(annotated, 'annotated clip')} {annotated - measured} can't be measured: they can't be "
            "read, or no sounding object is annotated at a time with half of data.seconds of sound before and after it"
        )
    if not measured:
        notes.append("no sounding object is annotated (boxes.json), so localization is drawn and not measured")
    return tuple(notes)


def best_weight_notes(context: EvalContext, annotated: AnnotatedFrames) -> tuple[str, ...]:
    """Say which eval.object_weight is best, on val only: a weight that is chosen on test says nothing.

    Args:
        context: of the evaluation.
        annotated: the frames to measure.
    """
    embeddings = context.embeddings
    if context.split != "val" or embeddings.objects is None or annotated.boxes is None:
        return ()
    inputs = context.net.localizing_net, embeddings.v, embeddings.a, embeddings.objects
    own = [location_maps(*inputs, weight).numpy()[annotated.frames] for weight in WEIGHTS]
    peaks = [peak_fraction(maps, annotated.boxes) or 0.0 for maps in own]
    values = ", ".join(f"{weight:g}: {peak:.3f}" for weight, peak in zip(WEIGHTS, peaks, strict=True))
    best = WEIGHTS[int(np.argmax(peaks))]
    return (f"val is best with eval.object_weight {best:g}, by its peak on a sounding object ({values})",)


def make_cross_maps(net: TrainedNet, embeddings: SplitEmbeddings) -> Callable[[list[int]], np.ndarray]:
    """Make a function that maps the indices of K clips to (K, K, h, w) maps: each frame with each sound.

    Args:
        net: a net with maps.
        embeddings: of the split.
    """
    v, a, objects = embeddings.v, embeddings.a, embeddings.objects

    def cross_maps(chosen: list[int]) -> np.ndarray:
        frames = [[k] * len(chosen) for k in chosen]
        rows = [net.location_maps(v[k], a[chosen], None if objects is None else objects[k]) for k in frames]
        return torch.stack(rows).numpy()

    return cross_maps


def write_clip_video(path: Path, net: TrainedNet, clips: ClipDataset, index: int) -> None:
    """Write a video of a clip with the map of every frame and its sound.

    Args:
        path: mp4 file to write.
        net: a net with maps.
        clips: the split.
        index: of the clip.
    """
    config = net.config
    with clips.open(index) as clip:
        times = np.arange(clip.first, clip.last + 1e-6, 1 / VIDEO_FPS).tolist()
        frames = clip.frames(times, config.data.resize_size)
        sounds = [clip.sound(time, config.data.sample_rate) for time in times]
        waveform = clip.full_waveform(VIDEO_RATE)
    samples = [make_sample(frame, sound) for frame, sound in zip(frames, sounds, strict=True)]
    size, transform = config.eval.batch_size, PairTransform(config, train=False)
    batches = [collate(samples[k : k + size]) for k in range(0, len(samples), size)]
    mixed = config.eval.object_weight > 0
    v, a, _, _, objects = embed_batches(
        net.encoder, batches, transform, config.train.precision, config.eval.flip_tta, mixed
    )
    start, length = round(times[0] * VIDEO_RATE), len(times) * VIDEO_RATE // VIDEO_FPS
    sound = waveform[start : start + length]
    maps = net.location_maps(v, a, objects).numpy()
    write_heatmap_video(path, frames, maps, VIDEO_FPS, sound, VIDEO_RATE, mixed)
