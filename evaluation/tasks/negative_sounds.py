"""The maps of annotated frames for sounds that aren't in them: silence, noise, and other clips' sounds."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dataset.reading.audio import sound_samples
from dataset.reading.benchmarks.benchmark import Benchmark
from evaluation.measures.map_overlap import Truths
from evaluation.measures.negative_sounds import (
    LOCALIZED,
    LitMaps,
    NegativePairs,
    light_maps,
    mean_per_frame,
    negative_measures,
)
from evaluation.tasks.task import EvalContext
from evaluation.trained_net import TrainedNet

OFFSCREEN_DRAWS = 10  # sounds of other clips for each frame
CHUNK = 256  # maps that are computed at a time
NOISES = 16  # different noises, given to the frames cyclically
NOISE_LEVEL = 0.1  # standard deviation of the noise, of full scale


def measure_negative_sounds(
    context: EvalContext, frames: list[int], truths: Truths, size: int, ciou: np.ndarray
) -> tuple[dict[str, Any], dict[str, np.ndarray], tuple[str, ...]]:
    """Measure the plain maps for negative sounds.

    Args:
        context: of the evaluation, of a net with maps.
        frames: positions in the embeddings of the N frames with an annotated region.
        truths: draws the region of the k-th of these frames.
        size: side to which maps are interpolated, pixels.
        ciou: (N,) of the plain maps for their own sounds.

    Returns:
        The section "negative_sounds"; {column: (N,)} for localization.csv; notes.
    """
    embeddings, threshold = context.embeddings, validation_threshold(context.net)
    v, a = embeddings.v[frames], embeddings.a[frames]
    every = np.arange(len(frames))
    own = light_maps(_maps_of(context, every, v, every, a), size, threshold, truths)
    labels, pictures = _in_the_pictures(context)
    rows, sounds, notes = offscreen_sounds(labels, frames, pictures)
    values: dict[str, Any] = {"threshold": threshold, "frames": len(frames)}
    table = {"confidence": own.confidence, "lit": own.area}
    given = {kind: (every, every % len(made), made) for kind, made in _made_sounds(context).items()}
    given |= {"offscreen": (rows, sounds, embeddings.a)} if len(rows) else {}
    for kind, (owner, sound, embedded) in given.items():
        others = light_maps(_maps_of(context, owner, v, sound, embedded), size, threshold)
        values[kind] = _group(own, ciou, others, owner)
        table[f"confidence_{kind}"] = mean_per_frame(others.confidence, owner, len(frames))
        table[f"lit_{kind}"] = mean_per_frame(others.area, owner, len(frames))
    return values, table, notes


def validation_threshold(net: TrainedNet) -> float:
    """Read the logit from which on a pair matches, which validation of `net` found in training; 0 if unknown."""
    return float(net.content["metrics"].get("threshold", 0.0))


def _in_the_pictures(context: EvalContext) -> tuple[list[list[str]], np.ndarray | None]:
    """The labels of all that sounds in each embedded frame, and which frames are of one picture or video: (N,) int."""
    embeddings, clips = context.embeddings, context.data.clips
    if not isinstance(clips, Benchmark):
        return embeddings.labels, None
    rows = [clips.rows[index] for index in embeddings.indices]
    names: dict[str, list[str]] = {}
    for row in clips.rows:
        names.setdefault(row.picture, []).extend(row.classes)
    return [names[row.picture] for row in rows], np.unique([row.picture for row in rows], return_inverse=True)[1]


def offscreen_sounds(
    labels: list[list[str]], frames: list[int], pictures: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Draw other clips' sounds for frames, of clips that have no label of the frame's; the same ones every time.

    Args:
        labels: of all clips; without any label any other clip is drawn.
        frames: the clips whose frames get a sound.
        pictures: (N,) int, the same for clips of one picture or video, of which none is drawn; None: all differ.

    Returns:
        (K,) positions in `frames`, draw after draw; (K,) clips whose sounds they get; notes.
    """
    pictures = np.arange(len(labels)) if pictures is None else pictures
    rng = np.random.default_rng(0)
    classes = sorted({label for own in labels for label in own})
    column = {label: k for k, label in enumerate(classes)}
    has = np.zeros((len(labels), len(classes)), bool)
    for clip, own in enumerate(labels):
        has[clip, [column[label] for label in own]] = True
    rows, sounds = [], []
    lonely = 0
    for position, clip in enumerate(frames):
        others = ~has[:, has[clip]].any(1) & (pictures != pictures[clip])
        candidates = np.flatnonzero(others)
        if not len(candidates):
            lonely += 1
            continue
        rows.append(position)
        sounds.append(rng.choice(candidates, OFFSCREEN_DRAWS))
    notes = []
    if lonely:
        notes.append(f"for {lonely} frames no clip has other labels, so no sound from off screen was given to them")
    if not classes and len(rows):
        notes.append("the clips have no labels, so sounds from off screen may be of the same class as the frame's")
    drawn = np.array(sounds, int).reshape(-1, OFFSCREEN_DRAWS)
    return np.tile(np.array(rows, int), OFFSCREEN_DRAWS), drawn.T.reshape(-1), tuple(notes)


def _made_sounds(context: EvalContext) -> dict[str, Tensor]:
    """Embeddings of silence and of some noises."""
    data = context.config.data
    count = sound_samples(data.seconds, data.sample_rate)
    noise = np.random.default_rng(1).normal(0, NOISE_LEVEL, (NOISES, count)).clip(-1, 1)
    sounds = {"silence": np.zeros((1, count), np.int16), "noise": (noise * (2**15 - 1)).round().astype(np.int16)}
    return {kind: context.net.embed_sounds(waves) for kind, waves in sounds.items()}


def _maps_of(context: EvalContext, frames: np.ndarray, v: Tensor, sounds: np.ndarray, a: Tensor) -> np.ndarray:
    """Maps of frames for sounds, some at a time: embedded frames are large, and each is needed often."""
    parts = [
        context.net.location_maps(v[frames[k : k + CHUNK]], a[sounds[k : k + CHUNK]])
        for k in range(0, len(frames), CHUNK)
    ]
    return torch.cat(parts).numpy()


def _group(own: LitMaps, ciou: np.ndarray, others: LitMaps, owner: np.ndarray) -> dict[str, Any]:
    pairs = NegativePairs(own.confidence, ciou >= LOCALIZED, own.area, own.ciou, others.confidence, others.area, owner)
    return negative_measures(pairs)
