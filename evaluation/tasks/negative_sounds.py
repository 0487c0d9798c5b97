"""The maps of annotated frames for sounds that aren't in them: silence, noise, and other clips' sounds."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dataset.reading.audio import sound_samples
from evaluation.measures.map_overlap import Truths
from evaluation.measures.negative_sounds import LOCALIZED, LitMaps, NegativePairs, light_maps, negative_measures
from evaluation.tasks.task import EvalContext

OFFSCREEN_DRAWS = 10  # sounds of other clips for each frame
NOISES = 16  # different noises, taken in turn
NOISE_LEVEL = 0.1  # standard deviation of the noise, of full scale


def measure_negative_sounds(
    context: EvalContext, frames: list[int], truths: Truths, size: int, ciou: np.ndarray
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Measure the plain maps for negative sounds: the section "negative_sounds", and notes.

    Args:
        context: of the evaluation, of a net with maps.
        frames: positions in the embeddings of the N frames with an annotated region.
        truths: draws the region of the k-th of these frames.
        size: side to which maps are interpolated, pixels.
        ciou: (N,) of the plain maps for their own sounds.
    """
    embeddings, threshold = context.embeddings, float(context.net.content["metrics"].get("threshold", 0.0))
    v, a = embeddings.v[frames], embeddings.a[frames]
    own = light_maps(context.net.location_maps(v, a).numpy(), size, threshold, truths)
    rows, sounds, notes = offscreen_sounds(embeddings.labels, frames)
    negatives = {kind: _maps_of(context, v, _repeat(made, len(v))) for kind, made in _made_sounds(context).items()}
    values: dict[str, Any] = {"threshold": threshold, "frames": len(frames)}
    for kind, maps in negatives.items():
        values[kind] = _group(own, ciou, light_maps(maps, size, threshold), np.arange(len(v)))
    if len(rows):
        lit = [
            light_maps(_maps_of(context, v[part], embeddings.a[sound]), size, threshold)
            for part, sound in zip(np.split(rows, OFFSCREEN_DRAWS), np.split(sounds, OFFSCREEN_DRAWS), strict=True)
        ]
        others = LitMaps(*(np.concatenate(part) for part in zip(*lit, strict=True)))
        values["offscreen"] = _group(own, ciou, others, rows)
    return {"negative_sounds": values}, notes


def offscreen_sounds(labels: list[list[str]], frames: list[int]) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Draw other clips' sounds for frames, of clips that have no label of the frame's; the same ones every time.

    Args:
        labels: of all clips; without any label any other clip is drawn.
        frames: the clips whose frames get a sound.

    Returns:
        (K,) positions in `frames`, draw after draw; (K,) clips whose sounds they get; notes.
    """
    rng = np.random.default_rng(0)
    classes = sorted({label for own in labels for label in own})
    column = {label: k for k, label in enumerate(classes)}
    has = np.zeros((len(labels), len(classes)), bool)
    for clip, own in enumerate(labels):
        has[clip, [column[label] for label in own]] = True
    rows, sounds = [], []
    lonely = 0
    for position, clip in enumerate(frames):
        others = ~(has & has[clip]).any(1)
        others[clip] = False
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


def _repeat(a: Tensor, count: int) -> Tensor:
    return a[torch.arange(count) % len(a)]


def _maps_of(context: EvalContext, v: Tensor, a: Tensor) -> np.ndarray:
    return context.net.location_maps(v, a).numpy()


def _group(own: LitMaps, ciou: np.ndarray, others: LitMaps, owner: np.ndarray) -> dict[str, Any]:
    pairs = NegativePairs(own.confidence, ciou >= LOCALIZED, own.area, own.ciou, others.confidence, others.area, owner)
    return negative_measures(pairs)
