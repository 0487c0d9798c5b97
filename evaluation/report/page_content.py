"""Plain data that report.html shows in addition to the measures: clips, retrieved clips, localization maps, the run."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from dataset.reading.annotations import Box
from evaluation.measures.retrieval import CrossScores
from utils.config import ChangedSetting


class ClipMedia(NamedTuple):
    """The media of a clip that the net embedded.

    Attributes:
        frame: (S, S, 3) uint8 RGB.
        spectrogram: (F, T) float32, log power.
        sound: (samples,) int16 mono, or None for a clip without sound.
        rate: of the sound, Hz.
    """

    frame: np.ndarray
    spectrogram: np.ndarray
    sound: np.ndarray | None
    rate: int


@dataclass(frozen=True)
class PageClips:
    """The N clips of the split.

    Attributes:
        ids: N ids.
        labels: N lists of AudioSet mids.
        class_name: maps a mid to its display name.
        load_media: loads the k-th clip.
    """

    ids: list[str]
    labels: list[list[str]]
    class_name: Callable[[str], str]
    load_media: Callable[[int], ClipMedia]


@dataclass(frozen=True)
class PageRetrieval:
    """The vectors that retrieval compares.

    Attributes:
        v: (N, D) float32, of the frames.
        a: (N, D) float32, of the sounds; another D for baselines that aren't comparable.
        relevance: maps two clips' indices to how related their classes are, 0..MAX_RELEVANCE; -1 if that isn't known.
        cross_scores: by which clips were ranked across modalities, see `evaluation.measures.retrieval.CrossScores`;
            None for the distance of the vectors.
    """

    v: np.ndarray
    a: np.ndarray
    relevance: Callable[[int, int], float]
    cross_scores: CrossScores | None = None


@dataclass(frozen=True)
class PageMaps:
    """Localization maps.

    Attributes:
        logits: (N, h, w) float32, of each frame with its own sound; values in 0..1 if they are mixed.
        boxes: the annotated objects of each frame; empty lists where nothing is annotated.
        cross_logits: maps the indices of K clips to (K, K, h, w): [i, j] is the map of frame i with sound j; None if
            only those with their own sounds are known.
        mixed: the maps are mixed with object maps, see `models.object_maps`.
    """

    logits: np.ndarray
    boxes: list[list[Box]]
    cross_logits: Callable[[list[int]], np.ndarray] | None
    mixed: bool = False


@dataclass(frozen=True)
class PageContent:
    """What a net's page can show: None for parts that don't apply to the net or were not measured."""

    clips: PageClips | None = None
    retrieval: PageRetrieval | None = None
    maps: PageMaps | None = None

    def __or__(self, other: "PageContent") -> "PageContent":
        return PageContent(other.clips or self.clips, other.retrieval or self.retrieval, other.maps or self.maps)


@dataclass(frozen=True)
class RunInfo:
    """The run that trained the net.

    Attributes:
        changed: settings that differ from the defaults.
        log: lines of its log.jsonl.
    """

    changed: list[ChangedSetting] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
