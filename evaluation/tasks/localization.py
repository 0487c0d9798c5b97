"""Task "localization": where in the frame a sound comes from, compared with boxes; images and videos (OtS sec. 5)."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dataset.loading.loader import collate, make_sample
from dataset.making.text import count_text
from dataset.reading.annotations import Box
from dataset.reading.public_benchmarks import Benchmark
from dataset.reading.reader import ClipDataset
from dataset.transforms.frames import PairTransform
from evaluation.measures.localization import box_measures, ciou_measures, upsample
from evaluation.report.heatmaps import write_heatmap_video, write_localization_images
from evaluation.report.page_content import PageMaps
from evaluation.report.selection import evenly_spaced
from evaluation.tasks.embeddings import SplitEmbeddings, embed_batches
from evaluation.tasks.task import EvalContext, TaskResult
from evaluation.trained_net import TrainedNet
from models.interfaces import LocalizingNet
from models.object_maps import location_maps

VIDEO_FPS, VIDEO_RATE = 25, 48000  # frames per second; Hz
WEIGHTS = tuple(k / 10 for k in range(11))  # of the object map, tried on val


class LocalizationTask:
    """Peak accuracy and cIoU, for every net with localization maps."""

    name = "localization"

    def applies_to(self, model: nn.Module) -> bool:
        """Check whether `model` has localization maps."""
        return isinstance(model, LocalizingNet)

    def run(self, context: EvalContext) -> TaskResult:
        """Measure the maps of the split or benchmark of `context`, and draw them: the section "localization"."""
        net, embeddings, clips, out = context.net, context.embeddings, context.data.clips, context.out
        maps = net.location_maps(embeddings.v, embeddings.a, embeddings.objects).numpy()
        notes: tuple[str, ...] = ()
        measure: Callable[[np.ndarray], dict[str, Any]]
        if isinstance(clips, Benchmark):
            boxes = [_benchmark_boxes(clips, index) for index in embeddings.indices]
            measure = partial(evaluate_benchmark, benchmark=clips, indices=embeddings.indices)
        else:
            boxes = [
                clips.boxes_at(index, time) for index, time in zip(embeddings.indices, embeddings.times, strict=True)
            ]
            measure, notes = partial(evaluate_boxes, boxes=boxes), annotation_notes(clips, boxes)
            for k in evenly_spaced(len(maps), context.options.video):
                write_clip_video(out / "video" / f"{embeddings.ids[k]}.mp4", net, clips, embeddings.indices[k])

        measure = partial(measure, size=context.config.data.frame_size)
        measures = measure(maps)
        if measures and embeddings.objects is not None:
            measures |= object_map_measures(context, measure)
            notes += best_weight_notes(context, measure)
        drawn, mixed = slice(context.options.pictures), embeddings.objects is not None
        ids = embeddings.ids[drawn]
        names = [
            "; ".join(map(context.ontology.name, mids)) or clip
            for mids, clip in zip(embeddings.labels[drawn], ids, strict=True)
        ]
        write_localization_images(
            out / "localization", maps[drawn], boxes[drawn], ids, names, lambda k: embeddings.sample(k)[0], mixed
        )
        page = PageMaps(maps, boxes, make_cross_maps(net, embeddings), mixed)
        return context.embedding_result({"localization": measures} if measures else {}, maps=page, notes=notes)


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


def _benchmark_boxes(benchmark: Benchmark, index: int) -> list[Box]:
    return [Box(time=0.0, box=box, label="", sounding=True) for box in benchmark.boxes[index].tolist()]


def object_map_measures(context: EvalContext, measure: Callable[[np.ndarray], dict[str, Any]]) -> dict[str, Any]:
    """Measure what mixed maps are made of, each alone.

    Args:
        context: of the evaluation, with eval.object_weight above 0.
        measure: computes the measures of (N, h, w) maps.

    Returns:
        "plain" and "object", the measures of the maps without object maps and of the object maps; "object_weight".
    """
    net, embeddings = context.net, context.embeddings
    assert embeddings.objects is not None
    plain = net.location_maps(embeddings.v, embeddings.a).numpy()
    found = {"plain": measure(plain), "object": measure(embeddings.objects.numpy())}
    return found | {"object_weight": context.config.eval.object_weight}


def best_weight_notes(context: EvalContext, measure: Callable[[np.ndarray], dict[str, Any]]) -> tuple[str, ...]:
    """Say which eval.object_weight is best, on val only: a weight that is chosen on test says nothing.

    Args:
        context: of the evaluation, with eval.object_weight above 0.
        measure: computes the measures of (N, h, w) maps.
    """
    if context.split != "val":
        return ()
    embeddings = context.embeddings
    inputs = context.net.localizing_net, embeddings.v, embeddings.a, embeddings.objects
    peaks = [measure(location_maps(*inputs, weight).numpy())["peak_accuracy"] for weight in WEIGHTS]
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


def evaluate_boxes(maps: np.ndarray, boxes: list[list[Box]], size: int) -> dict[str, Any]:
    """Measure the maps of the frames in which a sounding object is annotated.

    Args:
        maps: (N, h, w) logits.
        boxes: the annotated objects of each frame.
        size: side of the frames, pixels.

    Returns:
        The measures of `box_measures`; empty if no sounding object is annotated.
    """
    annotated = [k for k, objects in enumerate(boxes) if any(box["sounding"] for box in objects)]
    return box_measures(maps[annotated], [boxes[k] for k in annotated], size) if annotated else {}


def evaluate_benchmark(maps: np.ndarray, benchmark: Benchmark, indices: list[int], size: int) -> dict[str, Any]:
    """Measure cIoU on a public benchmark, whose annotators may disagree.

    Args:
        maps: (N, h, w) logits.
        benchmark: the clips with their boxes.
        indices: of the N clips in it.
        size: side of the frames, pixels.
    """
    truths = np.stack([benchmark.truth(index, size) for index in indices])
    measures = ciou_measures(upsample(maps, size), truths)
    return measures | {"frames": len(maps), "dropped_boxes": benchmark.dropped}


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
