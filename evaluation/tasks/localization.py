"""Where the sound comes from: maps of a split judged by its boxes, pictures of them, and films."""

import numpy as np
import torch

from dataset.loading.loader import collate, make_sample
from dataset.transforms.frames import PairTransform
from evaluation.measures import localization
from evaluation.report import heatmaps
from evaluation.tasks.embeddings import embed_batches


def location_maps(model, seen):
    """The logits of each frame's places with its own sound: (N, h, w) float32."""
    return model.location_logits(seen.v.to(device_of(model)), seen.a.to(device_of(model))).cpu().numpy()


def evaluate_boxes(maps, seen, size):
    """`evaluation.measures.localization.box_measures` of the frames in which something that sounds is annotated, or {} without any.

    Args:
        maps: (N, h, w). seen: a `Seen`. size: of the frame, pixels.
    """
    frames = seen.boxes()
    chosen = [k for k, entries in enumerate(frames) if any(entry["sounding"] for entry in entries)]
    if not chosen:
        return {}
    return localization.box_measures(localization.upsample(maps[chosen], size), [frames[k] for k in chosen])


def evaluate_benchmark(maps, seen, size):
    """cIoU on a public benchmark, whose annotators may disagree: as metrics.json has it.

    Returns:
        (dict of measures, for each frame its boxes in the form of boxes.json, for the pictures).
    """
    boxes = [[{"box": box, "sounding": True} for box in seen.clips.boxes[place].tolist()] for place in seen.indices]
    truths = np.stack([seen.clips.truth(place, size) for place in seen.indices])
    measured = localization.ciou_measures(localization.upsample(maps, size), truths)
    return measured | {"frames": len(maps), "dropped_boxes": seen.clips.dropped}, boxes


def make_cross_maps(model, v, a):
    """A callable (list of K clips) -> (K, K, h, w) location logits of each one's frame with each one's sound."""
    device = device_of(model)

    def cross(chosen):
        sounds = a[chosen].to(device)
        rows = [model.location_logits(v[[k]].expand(len(chosen), -1, -1, -1).to(device), sounds) for k in chosen]
        return torch.stack(rows).cpu().numpy()

    return cross


def write_map_images(folder, maps, boxes, seen, classes, most):
    """Write pictures of the first `most` clips: `evaluation.report.heatmaps.write_localization_images`.

    Args:
        folder: Path. maps: (N, h, w). boxes: N lists of entries. seen: a `Seen`. classes: an `Ontology`, for names.
    """
    ids = seen.ids()[:most]
    names = ["; ".join(map(classes.name, mids)) or clip for mids, clip in zip(seen.labels, ids, strict=False)]
    heatmaps.write_localization_images(folder, maps[:most], boxes[:most], ids, names, lambda k: seen.sample(k)[0])


def write_clip_video(path, clips, place, model, config, fps=25):
    """Write a video of a clip with the map of every frame and its second of sound."""
    rate, device = config.data.sample_rate, device_of(model)
    with clips.open(place) as clip:
        times = np.arange(clip.first, clip.last + 1e-6, 1 / fps).tolist()
        frames = clip.frames(times, config.data.resize_size)
        samples = [make_sample(frame, clip.sound(time, rate)) for frame, time in zip(frames, times, strict=True)]
        track = clip.full_waveform(48000)[round(times[0] * 48000) :][: len(times) * 48000 // fps]
    size = config.eval.batch_size
    batches = [collate(samples[k : k + size]) for k in range(0, len(samples), size)]
    v, a, *_ = embed_batches(
        model, batches, PairTransform(config, train=False), config.train.precision, config.eval.flip_tta
    )
    heatmaps.write_heatmap_video(
        path, frames, model.location_logits(v.to(device), a.to(device)).cpu(), fps, track, 48000
    )


def device_of(model):
    """Where a net's weights are."""
    return next(model.parameters()).device
