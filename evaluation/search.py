"""Search an embedded collection by any picture, sound or video: the nearest frames and sounds, and where it sounds."""

import io
import itertools
import threading
from collections import OrderedDict
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image, ImageDraw
from scipy.signal import resample_poly

from dataset import media
from evaluation.media import embed_frames, embed_sounds
from evaluation.net import open_net
from utils import overlays
from utils.collection import file_digest
from utils.errors import UserError
from utils.neighbours import neighbours

KEPT = 32  # queries whose maps can still be asked for
CLOSER = 30  # rows looked at for each result: of a file only its nearest second is shown


def open_search(collection, checkpoint="", folder=""):
    """A `Search` of a collection with the net that embedded it.

    Args:
        collection: `utils.collection.Collection`. checkpoint: where the net is, if not where it was.
        folder: where the collection's files are, if not where they were.

    Raises:
        UserError: the net or the files aren't there, or it is another net.
    """
    about = collection.about
    path = checkpoint or about["checkpoint"]
    net = open_net(path, about["changes"])
    if file_digest(path) != about["digest"]:
        raise UserError(f"the collection was embedded with another checkpoint than {path}: name that by --checkpoint")
    root = Path(folder or about["input"]).resolve()
    root = root.parent if root.is_file() else root
    if not root.is_dir():
        raise UserError(f"the collection's files are no longer in {root}: name their folder by --files")
    return Search(net, collection, root)


class Search:
    """Answers queries; usable from several threads.

    Args:
        net: a `Net`. collection: a `Collection`. root: Path of the folder that its files are named below.

    Attributes:
        size, rate: of the frames (pixels) and sounds (Hz) that `ask` takes.
        localizes: whether `map` can be asked for.
    """

    def __init__(self, net, collection, root):
        self.net, self.rows, self.root = net, collection, root
        self.size, self.rate = net.config.data.stored_size, net.config.data.sample_rate
        self.localizes = hasattr(net.model, "location_logits")
        self._sides = {
            "pictures": (np.flatnonzero(collection.has_frame), collection.frames[collection.has_frame]),
            "sounds": (np.flatnonzero(collection.has_sound), collection.sounds[collection.has_sound]),
        }
        self._asked, self._numbers, self._lock = OrderedDict(), itertools.count(1), threading.Lock()

    def ask(self, query, count=12):
        """The nearest pictures and sounds of the collection.

        A query of several seconds is the mean of their unit vectors; a video's frames and sounds count alike.

        Args:
            query: `dataset.sandbox.Query`. count: files in each list at most.

        Returns:
            dict for JSON: query (its number, for `map`), kind, seconds, frame and sound (whether it has them), maps,
            and pictures and sounds: lists of {row, name, kind, time, likeness, frame, sound}, the nearest first;
            likeness is the cosine of the two vectors, -1..1.
        """
        frames = [moment.frame for moment in query.moments if moment.frame is not None]
        sounds = [moment.sound for moment in query.moments if moment.sound is not None]
        with self._lock:
            v = embed_frames(self.net, np.stack(frames)) if frames else None
            a = embed_sounds(self.net, np.stack(sounds)) if sounds else None
            means = [] if v is None else [_mean(self.net.model.frame_vectors(v))]
            means += [] if a is None else [_mean(self.net.model.sound_vectors(a))]
            number = next(self._numbers)
            middle = query.moments[len(query.moments) // 2]
            raw_sound = a[len(a) // 2] if a is not None else None
            self._asked[number] = (middle.frame, query.still, raw_sound)
            while len(self._asked) > KEPT:
                self._asked.popitem(last=False)
        vector = _mean(np.stack(means))[None]
        answer = {name: self._nearest(vector, *side, count) for name, side in self._sides.items()}
        about = {"query": number, "kind": query.kind, "seconds": len(query.moments), "maps": self.localizes}
        return about | {"frame": bool(frames), "sound": bool(sounds)} | answer

    def _nearest(self, vector, rows, vectors, count):
        """The nearest second of each of the `count` nearest files."""
        if not len(rows):
            return []
        likeness, places = neighbours(vector, vectors, count * CLOSER)
        found = {}
        for value, row in zip(likeness[0].tolist(), rows[places[0]].tolist(), strict=True):
            name, kind, _ = self.rows.about["files"][self.rows.files[row]]
            if name not in found and len(found) < count:
                there = {"frame": bool(self.rows.has_frame[row]), "sound": bool(self.rows.has_sound[row])}
                found[name] = {"row": row, "name": name, "kind": kind, "time": float(self.rows.times[row])} | there
                found[name]["likeness"] = value
        return list(found.values())

    def _item(self, row):
        """The file of a row and its time; a LookupError if there is no such row, or no such file in the folder."""
        if not 0 <= row < len(self.rows.times):
            raise LookupError
        item = media.Item(*self.rows.about["files"][self.rows.files[row]], self.root)
        for name in (PurePosixPath(item.name), PurePosixPath(item.sound_name)):
            # A collection may come from anywhere: its names shall lead to nothing outside of its folder.
            if name.is_absolute() or ".." in name.parts or not (self.root / name).is_file():
                raise LookupError
        return item, float(self.rows.times[row])

    def picture(self, row):
        """The frame of a row, of a sound alone its wave: JPEG bytes. LookupError: there is no such row or file."""
        item, time = self._item(row)
        if self.rows.has_frame[row]:
            return _jpeg(media.still(item, time, 480))
        return _jpeg(wave(media.second(item, time)))

    def sound(self, row):
        """The second of sound of a row: (samples,) int16 at 48 kHz. LookupError: there is none, or no such row."""
        if not (0 <= row < len(self.rows.times) and self.rows.has_sound[row]):
            raise LookupError
        return media.second(*self._item(row))

    def map(self, number, row=None):
        """Where it sounds, drawn over a frame: JPEG bytes.

        Args:
            number: of a query. row: None for the query's sound in the query's own frame; else the query's sound in
                that row's frame, or that row's sound in the query's frame.

        Raises:
            LookupError: the query is forgotten, or one of the two isn't there.
        """
        with self._lock:
            frame, still, a = self._asked[number]
        if row is not None and a is not None:
            item, time = self._item(row)
            image = media.still(item, time, 480) if self.rows.has_frame[row] else None
            frame = None if image is None else media.square(image, self.size)
        else:
            image = None if still is None else Image.open(io.BytesIO(still))
        if row is not None and a is None:
            sound = resample_poly(self.sound(row).astype(np.float32), self.rate, 48000)
            with self._lock:
                a = embed_sounds(self.net, np.clip(np.rint(sound), -32768, 32767).astype(np.int16)[None])[0]
        if not self.localizes or frame is None or a is None:
            raise LookupError
        with self._lock, torch.no_grad():
            v = embed_frames(self.net, frame[None]).to(self.net.device)
            logits = self.net.model.location_logits(v, a[None].to(self.net.device)).cpu().numpy()
        probability = Image.fromarray(overlays.probabilities(logits, 256)[0]).resize(image.size)
        return _jpeg(Image.fromarray(overlays.heat(np.asarray(image), np.asarray(probability))))


def _mean(vectors):
    """The mean of unit vectors, made one again: (N, D) -> (D,) float32."""
    mean = np.asarray(vectors, np.float32).mean(0)
    return mean / max(float(np.linalg.norm(mean)), 1e-9)


def _jpeg(image):
    image.save(out := io.BytesIO(), "JPEG", quality=85)
    return out.getvalue()


def wave(sound, size=(320, 200)):
    """A picture of a sound's loudness over time: (samples,) int16 -> RGB image of size (width, height)."""
    image = Image.new("RGB", size, (32, 36, 42))
    pen, middle = ImageDraw.Draw(image), size[1] / 2
    peaks = [np.abs(part.astype(np.float32)).max(initial=0) for part in np.array_split(sound, size[0] // 4)]
    for k, peak in enumerate(peaks):
        half = max(peak / max(max(peaks), 1) * middle * 0.8, 1)
        pen.line((4 * k + 2, middle - half, 4 * k + 2, middle + half), fill=(79, 183, 131), width=2)
    return image
