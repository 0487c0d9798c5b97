"""Task "localization": where in the frame a sound comes from, compared with boxes; images and videos (OtS sec. 5)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

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
from evaluation.tasks.embeddings import embed_batches
from evaluation.tasks.task import EvalContext, TaskResult
from evaluation.trained_net import TrainedNet
from models.interfaces import LocalizingNet

VIDEO_FPS, VIDEO_RATE = 25, 48000  # frames per second; Hz


class LocalizationTask:
    """Peak accuracy and cIoU, for every net with localization maps."""

    name = "localization"

    def applies_to(self, model: nn.Module) -> bool:
        """Check whether `model` has localization maps."""
        return isinstance(model, LocalizingNet)

    def run(self, context: EvalContext) -> TaskResult:
        """Measure the maps of the split or benchmark of `context`, and draw them: the section "localization"."""
        net, embeddings, clips, out = context.net, context.embeddings, context.data.clips, context.out
        maps, size = location_maps(net, embeddings.v, embeddings.a), context.config.data.frame_size
        notes: tuple[str, ...] = ()
        if isinstance(clips, Benchmark):
            boxes = [_benchmark_boxes(clips, index) for index in embeddings.indices]
            measures = evaluate_benchmark(maps, clips, embeddings.indices, size)
        else:
            boxes = [
                clips.boxes_at(index, time) for index, time in zip(embeddings.indices, embeddings.times, strict=True)
            ]
            measures, notes = evaluate_boxes(maps, boxes, size), annotation_notes(clips, boxes)
            for k in evenly_spaced(len(maps), context.options.video):
                write_clip_video(out / "video" / f"{embeddings.ids[k]}.mp4", net, clips, embeddings.indices[k])

        drawn = slice(context.options.pictures)
        ids = embeddings.ids[drawn]
        names = [
            "; ".join(map(context.ontology.name, mids)) or clip
            for mids, clip in zip(embeddings.labels[drawn], ids, strict=True)
        ]
        write_localization_images(
            out / "localization", maps[drawn], boxes[drawn], ids, names, lambda k: embeddings.sample(k)[0]
        )
        page = PageMaps(maps, boxes, make_cross_maps(net, embeddings.v, embeddings.a))
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


@torch.no_grad()
def location_maps(net: TrainedNet, v: Tensor, a: Tensor) -> np.ndarray:
    """Compute the map of each frame with its own sound.

    Args:
        net: a net with maps.
        v: (N, D, h, w) embedded frames.
        a: (N, D) embedded sounds.

    Returns:
        (N, h, w) float32 logits.
    """
    return net.localizing_net.location_logits(v.to(net.device), a.to(net.device)).cpu().numpy()


def make_cross_maps(net: TrainedNet, v: Tensor, a: Tensor) -> Callable[[list[int]], np.ndarray]:
    """Make a function that maps the indices of K clips to (K, K, h, w) logits: each frame with each sound.

    Args:
        net: a net with maps.
        v: (N, D, h, w) embedded frames.
        a: (N, D) embedded sounds.
    """

    def cross_maps(chosen: list[int]) -> np.ndarray:
        rows = [location_maps(net, v[[k]].expand(len(chosen), -1, -1, -1), a[chosen]) for k in chosen]
        return np.stack(rows)

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
    v, a, *_ = embed_batches(net.encoder, batches, transform, config.train.precision, config.eval.flip_tta)
    start, length = round(times[0] * VIDEO_RATE), len(times) * VIDEO_RATE // VIDEO_FPS
    sound = waveform[start : start + length]
    write_heatmap_video(path, frames, location_maps(net, v, a), VIDEO_FPS, sound, VIDEO_RATE)
