"""The map of embeddings: frames and sounds on one plane, by t-SNE."""

from typing import NamedTuple

import numpy as np

from evaluation.report.page_content import PageClips
from evaluation.report.selection import common_classes, evenly_spaced

MAX_CLIPS = 600


class MapPoint(NamedTuple):
    """A clip on the map: its index, its class (an index into `EmbeddingMap.classes`), and x, y of frame and sound."""

    k: int
    kind: int
    at: tuple[float, float, float, float]


class EmbeddingMap(NamedTuple):
    """Points, names of the classes ("others" for the rest), and the number of clips that they were chosen from."""

    points: list[MapPoint]
    classes: list[str]
    num_clips: int


def map_embeddings(v: np.ndarray, a: np.ndarray, clips: PageClips) -> EmbeddingMap | None:
    """Map up to MAX_CLIPS clips, chosen in equal steps.

    Args:
        v: (N, D) float32, of the frames.
        a: (N, D) float32, of the sounds.
        clips: the N clips.

    Returns:
        The map; None where `tsne_map` gives none.
    """
    chosen = evenly_spaced(len(v), MAX_CLIPS)
    plane = tsne_map(v[chosen], a[chosen])
    if plane is None:
        return None
    labels = [clips.labels[k] for k in chosen]
    common = common_classes(labels)
    kinds = [next((common.index(label) for label in common if label in one), len(common)) for one in labels]
    points = [MapPoint(k, kind, tuple(at)) for k, kind, at in zip(chosen, kinds, plane.tolist(), strict=True)]
    names = [clips.class_name(label) for label in common] + (["others"] if len(common) in kinds else [])
    return EmbeddingMap(points, names, len(v))


def tsne_map(v: np.ndarray, a: np.ndarray, seed: int = 0) -> np.ndarray | None:
    """Map frames and sounds to one plane by t-SNE (van der Maaten & Hinton, 2008).

    The mean of each modality is subtracted first: it separates all frames from all sounds, which would be all that
    the plane shows, and says nothing of which correspond.

    Args:
        v: (N, D) float32, of the frames.
        a: (N, D) float32, of the sounds.
        seed: of the start.

    Returns:
        (N, 4) float64 in 0..100: x and y of each frame, x and y of each sound. None for fewer than 4 clips, different D
        or equal embeddings.
    """
    from sklearn.manifold import TSNE  # takes a second to import

    v, a = np.asarray(v, np.float32), np.asarray(a, np.float32)
    if len(v) < 4 or v.shape != a.shape:
        return None
    both = np.concatenate([v - v.mean(0), a - a.mean(0)])
    lengths = np.linalg.norm(both, axis=1, keepdims=True)
    if lengths.max() < 1e-6:
        return None
    both /= np.maximum(lengths, 1e-12)
    perplexity = min(30.0, (2 * len(v) - 1) / 3)
    plane = TSNE(2, perplexity=perplexity, init="random", random_state=seed, max_iter=600).fit_transform(both)
    plane = (plane - plane.min(0)) / np.maximum(np.ptp(plane, axis=0), 1e-9) * 96 + 2
    return np.concatenate([plane[: len(v)], plane[len(v) :]], 1).round(2)
