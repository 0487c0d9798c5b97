"""Search an embedded collection by any image, sound or video: the nearest files, and maps of where sounds come from."""

import io
import itertools
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image

from collection.nearest import nearest_vectors
from collection.query import Query
from collection.row_media import RowMedia
from collection.storage import Collection, file_digest
from dataset.reading.audio import INT16_SCALE, SAMPLE_RATE, resample, to_int16
from dataset.reading.images import resize_square
from evaluation.report.heatmaps import map_probabilities, overlay_heatmap
from evaluation.trained_net import TrainedNet, load_trained_net
from models.interfaces import LocalizingNet
from utils.config import translate_stored
from utils.errors import UserError

MAX_RECENT = 32  # queries whose maps can still be requested
MAP_SIDE = 256  # side to which maps are interpolated, pixels
ROWS_PER_RESULT = 30  # rows ranked for each result: only the nearest second of a file is listed


class RecentQuery(NamedTuple):
    """What is kept of a query to draw its maps: the middle frame, its JPEG, the embedding of the middle sound."""

    frame: np.ndarray | None
    preview: bytes | None
    sound: torch.Tensor | None


def open_search_index(collection: Collection, checkpoint: str = "", folder: str | Path = "") -> "SearchIndex":
    """Load the net that embedded a collection, and find the collection's files.

    Args:
        collection: to search.
        checkpoint: of the net; by default where it was.
        folder: of the collection's files; by default where they were.

    Raises:
        UserError: the checkpoint or the files are missing, or it is a different checkpoint.
    """
    about = collection.about
    path = checkpoint or about["checkpoint"]
    net = load_trained_net(path, translate_stored(about["changes"], about["model"]))
    if file_digest(path) != about["digest"]:
        raise UserError(f"the collection was embedded with another checkpoint than {path}: pass it with --checkpoint")
    root = Path(folder or about["input"]).resolve()
    root = root.parent if root.is_file() else root
    if not root.is_dir():
        raise UserError(f"the collection's files are no longer in {root}: pass their folder with --files")
    return SearchIndex(net, collection, root)


class SearchIndex:
    """Answers queries about a collection; usable from several threads.

    Args:
        net: that embedded the collection.
        collection: to search.
        root: folder of its files.

    Attributes:
        size, rate: of the frames (pixels) and sounds (Hz) that a query must have.
        media: frames and sounds of the rows.
        localizes: whether maps can be drawn.
    """

    def __init__(self, net: TrainedNet, collection: Collection, root: Path) -> None:
        self.net, self.collection = net, collection
        self.size, self.rate = net.config.data.resize_size, net.config.data.sample_rate
        self.media = RowMedia(collection, root)
        self.localizes = isinstance(net.model, LocalizingNet)
        self._sides = {
            "images": (np.flatnonzero(collection.has_frame), collection.frames[collection.has_frame]),
            "sounds": (np.flatnonzero(collection.has_sound), collection.sounds[collection.has_sound]),
        }
        self._recent: OrderedDict[int, RecentQuery] = OrderedDict()
        self._ids, self._lock = itertools.count(1), threading.Lock()

    def search(self, query: Query, count: int = 12) -> dict[str, Any]:
        """Find the nearest images and sounds of the collection, by the query's frames and by its sound.

        The vector of a query of several seconds is the normalized mean of their unit vectors.

        Args:
            query: decoded upload.
            count: files per list at most.

        Returns:
            plain data for JSON: "query" (id, for `draw_map`), "kind", "seconds", "maps" (whether maps can be drawn),
            and "by": {"image": lists, "sound": lists}, as far as the query has them. Lists are {"images": [...],
            "sounds": [...]} of {"row", "name", "kind", "time", "cosine", "sound" (whether it has one)}, nearest first.
        """
        frames = [moment.frame for moment in query.moments if moment.frame is not None]
        sounds = [moment.sound for moment in query.moments if moment.sound is not None]
        encoder, vectors, sound = self.net.encoder, {}, None
        with self._lock:
            if frames:
                v = self.net.embed_frames(np.stack(frames))
                vectors["image"] = _mean_vector(encoder.frame_vectors(v))
            if sounds:
                a = self.net.embed_sounds(np.stack(sounds))
                vectors["sound"], sound = _mean_vector(encoder.sound_vectors(a)), a[len(a) // 2]
            query_id = next(self._ids)
            self._recent[query_id] = RecentQuery(query.middle.frame, query.preview, sound)
            if len(self._recent) > MAX_RECENT:
                self._recent.popitem(last=False)
        by = {
            name: {side: self._nearest(vector, *rows, count) for side, rows in self._sides.items()}
            for name, vector in vectors.items()
        }
        about = {"query": query_id, "kind": query.kind, "seconds": len(query.moments), "maps": self.localizes}
        return about | {"by": by}

    def _nearest(self, vector: np.ndarray, rows: np.ndarray, vectors: np.ndarray, count: int) -> list[dict[str, Any]]:
        """The nearest second of each of the `count` nearest files: (D,), (M,) rows of `vectors` (M, D)."""
        if not len(rows):
            return []
        cosines, indices = nearest_vectors(vector[None], vectors, count * ROWS_PER_RESULT)
        results: dict[str, dict[str, Any]] = {}
        for cosine, row in zip(cosines[0].tolist(), rows[indices[0]].tolist(), strict=True):
            name, kind, _ = self.collection.file_of(row)
            if name not in results and len(results) < count:
                time, has_sound = float(self.collection.times[row]), bool(self.collection.has_sound[row])
                results[name] = {
                    "row": row, "name": name, "kind": kind, "time": time, "cosine": cosine, "sound": has_sound
                }  # fmt: skip
        return list(results.values())

    def draw_map(self, query_id: int, side: Literal["", "image", "sound"] = "", row: int = -1) -> Image.Image:
        """Draw over a frame where a sound comes from.

        Args:
            query_id: of a recent query; its sound over its own frame, unless `side` says otherwise.
            side: "image" draws the query's sound over the frame of `row`; "sound" the sound of `row` over the query's
                frame.
            row: of the collection.

        Raises:
            LookupError: the query is too old, there is no such frame or sound, or the net can't localize.
        """
        with self._lock:
            frame, preview, sound = self._recent[query_id]
        if not self.localizes:
            raise LookupError
        if side == "image":
            image = self.media.frame(row)
            frame = resize_square(image, self.size)
        elif preview is not None:
            image = Image.open(io.BytesIO(preview))
        if side == "sound":
            sound = self._embed_sound(self.media.sound(row))
        if frame is None or sound is None:
            raise LookupError
        with self._lock, torch.no_grad():
            v, a = self.net.embed_frames(frame[None]).to(self.net.device), sound[None].to(self.net.device)
            logits = self.net.localizing_net.location_logits(v, a).cpu().numpy()
        probabilities = Image.fromarray(map_probabilities(logits, MAP_SIDE)[0]).resize(image.size)
        return Image.fromarray(overlay_heatmap(np.asarray(image), np.asarray(probabilities)))

    def _embed_sound(self, sound: np.ndarray) -> torch.Tensor:
        """Embed a second of sound at 48 kHz, (samples,) int16."""
        samples = resample(sound.astype(np.float32) / INT16_SCALE, SAMPLE_RATE, self.rate)
        with self._lock:
            return self.net.embed_sounds(to_int16(samples)[None])[0]


def _mean_vector(vectors: torch.Tensor) -> np.ndarray:
    """The normalized mean of unit vectors: (N, D) -> (D,) float32."""
    mean = np.asarray(vectors, np.float32).mean(0)
    return mean / max(float(np.linalg.norm(mean)), 1e-9)
