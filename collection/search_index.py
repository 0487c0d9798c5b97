"""Search an embedded collection by any image, sound or video: the nearest files, and maps of where sounds come from."""

import io
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image

from collection.nearest import Nearest, VectorIndex
from collection.query import Query
from collection.row_media import RowMedia
from collection.storage import Collection, file_digest
from dataset.reading.audio import INT16_SCALE, SAMPLE_RATE, resample, to_int16
from dataset.reading.images import resize_square
from evaluation.pair_scores import score_pairs
from evaluation.report.heatmaps import enlarge_maps, overlay_heatmap
from evaluation.report.plotting import load_matplotlib
from evaluation.trained_net import TrainedNet, load_trained_net
from models.interfaces import LocalizingNet
from utils.config import translate_stored
from utils.errors import UserError
from utils.progress_bar import Progress, pass_on

CHANGEABLE = ("train.precision",)  # settings that a search may have other than its collection
MAP_SIDE = 256  # side to which maps are interpolated, pixels
COMPARING = "comparing with the collection"  # the stage of a search that takes long
SOUNDS_AT_A_TIME = 2**16  # whose scores are computed at a time
ROWS_AT_A_TIME = 256  # frames whose maps are scored at a time: 25 MB of 128 dimensions at 14 x 14 locations


# What ranks a list: the cosine of vectors, or the probability of a match by the net's own score of pairs.
Measure = Literal["cosine", "probability"]


class MapSource(NamedTuple):
    """What maps of a query are drawn from: the middle frame, its JPEG, the embedding of the middle sound."""

    frame: np.ndarray | None
    preview: bytes | None
    sound: torch.Tensor | None


def _mean_vector(vectors: torch.Tensor) -> np.ndarray:
    """The normalized mean of a query's unit vectors, (Q, D) -> (D,)."""
    mean = vectors.numpy().mean(0)
    return mean / max(float(np.linalg.norm(mean)), 1e-9)


def collection_settings(collection: Collection, changes: Mapping[str, str]) -> dict[str, Any]:
    """Get the settings with which a collection's net is loaded, {dotted name: value}.

    Args:
        collection: to search.
        changes: settings to override; those of CHANGEABLE only.

    Raises:
        UserError: another setting would no longer fit the collection's embeddings.
    """
    for name in changes:
        if name not in CHANGEABLE:
            raise UserError(
                f"--{name} can't be changed here: a collection is searched with the settings it was embedded with, so "
                "embed again with it, or leave it out"
            )
    return translate_stored(collection.about["changes"], collection.about["model"]) | dict(changes)


def open_search_index(
    collection: Collection, checkpoint: str = "", folder: str | Path = "", changes: Mapping[str, str] | None = None
) -> "SearchIndex":
    """Load the net that embedded a collection, and find the collection's files.

    Args:
        collection: to search.
        checkpoint: of the net; by default where it was.
        folder: of the collection's files; by default where they were.
        changes: settings to override, see `collection_settings`.

    Raises:
        UserError: the checkpoint or the files are missing, it is a different checkpoint, or a setting can't be changed.
    """
    about = collection.about
    path = checkpoint or about["checkpoint"]
    net = load_trained_net(path, collection_settings(collection, changes or {}))
    if file_digest(net.weights_file) != about["digest"]:
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
        size, rate, seconds: of the frames (pixels) and sounds (Hz; length) that a query must have.
        media: frames and sounds of the rows.
        localizes: whether maps can be drawn.
        scores_pairs: whether images and sounds are compared by the net's own score of pairs, the largest value of the
            map, for which the collection must hold the frames' maps; else by the cosine of mean vectors.
        notes: how many rows are searched, for people.
    """

    def __init__(self, net: TrainedNet, collection: Collection, root: Path) -> None:
        self.net, self.collection = net, collection
        self.size, self.rate = net.config.data.resize_size, net.config.data.sample_rate
        self.seconds = net.config.data.seconds
        self.media = RowMedia(collection, root, self.seconds)
        self.localizes = isinstance(net.model, LocalizingNet)
        if self.localizes:
            load_matplotlib()  # here: in a visitor's thread it would take a second and change the environment meanwhile
        self.scores_pairs = self.localizes and collection.maps is not None
        self._sides = {
            "images": VectorIndex(collection.frames, collection.has_frame, collection.files),
            "sounds": VectorIndex(collection.sounds, collection.has_sound, collection.files),
        }
        self.notes = [f"{side}: {index.note}" for side, index in self._sides.items() if index.note]
        self._embedding = threading.Lock()  # a query after the other; all else runs side by side

    def search(self, query: Query, count: int = 12, progress: Progress = pass_on) -> dict[str, Any]:
        """Find the nearest images and sounds of the collection, by the query's frames and by its sound.

        The vector of a query of several seconds is the normalized mean of their unit vectors; its score of pairs is the
        mean of their logits.

        Args:
            query: decoded upload.
            count: files per list at most.
            progress: shows how far it is.

        Returns:
            plain data for JSON: "kind", "seconds", "maps" (whether maps can be drawn), and "by": {"image": lists,
            "sound": lists}, as far as the query has them. Lists are {"images": list, "sounds": list}, a list is
            {"measure": see `Measure`, "items": [{"row", "name", "kind", "time", "score", "sound" (whether it has
            one)}]}, nearest first, of each file its nearest second.
        """
        frames = [moment.frame for moment in query.moments if moment.frame is not None]
        sounds = [moment.sound for moment in query.moments if moment.sound is not None]
        sides = [("image", frames, self.net.embed_frames), ("sound", sounds, self.net.embed_sounds)]
        found, by = {}, {}
        for side, inputs, embed in progress([one for one in sides if one[1]], "looking and listening"):
            found[side] = self._embed(embed, np.stack(inputs))
        if "image" in found:
            by["image"] = self._rank_by_frames(found["image"], count, progress)
        if "sound" in found:
            by["sound"] = self._rank_by_sounds(found["sound"], count, progress)
        return {"kind": query.kind, "seconds": len(query.moments), "maps": self.localizes, "by": by}

    def map_source(self, query: Query) -> MapSource | None:
        """Keep of `query` what its maps are drawn from, for `draw_map`; None: the net can't localize."""
        if not self.localizes:
            return None
        middle = query.middle
        sound = None if middle.sound is None else self._embed(self.net.embed_sounds, middle.sound[None])[0]
        return MapSource(middle.frame, query.preview, sound)

    def _embed(self, embed: Callable[[np.ndarray], torch.Tensor], inputs: np.ndarray) -> torch.Tensor:
        with self._embedding:
            return embed(inputs)

    def _rank_by_frames(self, v: torch.Tensor, count: int, progress: Progress) -> dict[str, Any]:
        """Rank both lists by embedded frames `v`, (Q, ...); `count` files each."""
        vector, norms = _mean_vector(self.net.encoder.frame_vectors(v)), self.collection.norms
        lists = {"images": self._by_cosine("images", vector, count)}
        if not self.scores_pairs or norms is None:
            return lists | {"sounds": self._by_cosine("sounds", vector, count)}
        rows = self._sides["sounds"].rows
        logits = [torch.zeros(len(v), 0)]
        for start in progress(range(0, len(rows), SOUNDS_AT_A_TIME), COMPARING):
            some = rows[start : start + SOUNDS_AT_A_TIME]
            a = torch.from_numpy(self.collection.sounds[some] * norms[some][:, None])
            logits.append(score_pairs(self.net.localizing_net.pair_logits, v, a, self.net.device))
        return lists | {"sounds": self._by_probability("sounds", torch.cat(logits, 1), count)}

    def _rank_by_sounds(self, a: torch.Tensor, count: int, progress: Progress) -> dict[str, Any]:
        """Rank both lists by embedded sounds `a`, (Q, ...); `count` files each."""
        vector, maps = _mean_vector(self.net.encoder.sound_vectors(a)), self.collection.maps
        lists = {"sounds": self._by_cosine("sounds", vector, count)}
        if not self.scores_pairs or maps is None:
            return lists | {"images": self._by_cosine("images", vector, count)}
        logits = []
        for start in progress(range(0, len(maps), ROWS_AT_A_TIME), COMPARING):
            v = torch.from_numpy(np.array(maps[start : start + ROWS_AT_A_TIME])).float()
            logits.append(score_pairs(self.net.localizing_net.pair_logits, v, a, self.net.device))
        # A map belongs to a frame in the order of the rows, which an index may have changed.
        frame_of = np.cumsum(self.collection.has_frame)[self._sides["images"].rows] - 1
        scores = torch.cat([torch.zeros(0, len(a)), *logits])[frame_of].T
        return lists | {"images": self._by_probability("images", scores, count)}

    def _by_cosine(self, side: str, vector: np.ndarray, count: int) -> dict[str, Any]:
        """List the `count` nearest files of a side by the cosine with `vector` (D,)."""
        return self._list_files("cosine", self._sides[side].search(vector, count))

    def _by_probability(self, side: str, logits: torch.Tensor, count: int) -> dict[str, Any]:
        """List files by the mean of a query's logits with all rows, (Q, M), as probabilities; float64 orders them."""
        values = torch.sigmoid(logits.double().mean(0)).numpy()
        return self._list_files("probability", self._sides[side].best_of_files(values, count))

    def _list_files(self, measure: Measure, nearest: Nearest) -> dict[str, Any]:
        items = [self._describe(int(row), float(score)) for row, score in zip(*nearest, strict=True)]
        return {"measure": measure, "items": items}

    def _describe(self, row: int, score: float) -> dict[str, Any]:
        name, kind, _ = self.collection.file_of(row)
        time, has_sound = float(self.collection.times[row]), bool(self.collection.has_sound[row])
        return {"row": row, "name": name, "kind": kind, "time": time, "score": score, "sound": has_sound}

    def draw_map(self, source: MapSource, side: Literal["", "image", "sound"] = "", row: int = -1) -> Image.Image:
        """Draw over a frame where a sound comes from.

        Args:
            source: of a query, by `map_source`; its sound over its own frame, unless `side` says otherwise.
            side: "image" draws the query's sound over the frame of `row`; "sound" the sound of `row` over the query's
                frame.
            row: of the collection.

        Raises:
            LookupError: there is no such frame or sound.
        """
        frame, preview, sound = source
        if side == "image":
            image = self.media.frame(row)
            frame = resize_square(image, self.size)
        elif preview is not None:
            image = Image.open(io.BytesIO(preview))
        if side == "sound":
            sound = self._embed_sound(self.media.sound(row))
        if frame is None or sound is None:
            raise LookupError
        with self._embedding:
            v, objects = self.net.embed_with_objects(frame[None])
            maps = self.net.location_maps(v, sound[None], objects).numpy()
        values = Image.fromarray(enlarge_maps(maps, MAP_SIDE, objects is not None)[0]).resize(image.size)
        return Image.fromarray(overlay_heatmap(np.asarray(image), np.asarray(values)))

    def _embed_sound(self, sound: np.ndarray) -> torch.Tensor:
        """Embed the sound of a row at 48 kHz, (samples,) int16."""
        samples = resample(sound.astype(np.float32) / INT16_SCALE, SAMPLE_RATE, self.rate)
        return self._embed(self.net.embed_sounds, to_int16(samples)[None])[0]
