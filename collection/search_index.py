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

from collection.nearest import nearest_vectors
from collection.storage import file_digest
from dataset.reading import media_folder
from evaluation.file_embedding import embed_frames, embed_sounds
from evaluation.report import heatmaps
from evaluation.trained_net import load_trained_net
from utils.errors import UserError

IMAGE_SIDE = 480  # longest side of a picture that is shown, pixels
MAX_QUERIES = 32  # queries whose maps can still be asked for
CANDIDATES_PER_RESULT = 30  # rows looked at for each result: of a file only its nearest second is shown


def open_search_index(collection, checkpoint="", folder=""):
    """A `Search` of a collection with the net that embedded it.

    Args:
        collection: `collection.storage.Collection`. checkpoint: where the net is, if not where it was.
        folder: where the collection's files are, if not where they were.

    Raises:
        UserError: the net or the files aren't there, or it is another net.
    """
    about = collection.about
    path = checkpoint or about["checkpoint"]
    net = load_trained_net(path, about["changes"])
    if file_digest(path) != about["digest"]:
        raise UserError(f"the collection was embedded with another checkpoint than {path}: name that by --checkpoint")
    root = Path(folder or about["input"]).resolve()
    root = root.parent if root.is_file() else root
    if not root.is_dir():
        raise UserError(f"the collection's files are no longer in {root}: name their folder by --files")
    return SearchIndex(net, collection, root)


class SearchIndex:
    """Answers queries; usable from several threads.

    Args:
        net: a `Net`. collection: a `Collection`. root: Path of the folder that its files are named below.

    Attributes:
        size, rate: of the frames (pixels) and sounds (Hz) that `ask` takes.
        localizes: whether `map` can be asked for.
    """

    def __init__(self, net, collection, root):
        self.net, self.rows, self.root = net, collection, root
        self.size, self.rate = net.config.data.resize_size, net.config.data.sample_rate
        self.localizes = hasattr(net.model, "location_logits")
        self._sides = {
            "pictures": (np.flatnonzero(collection.has_frame), collection.frames[collection.has_frame]),
            "sounds": (np.flatnonzero(collection.has_sound), collection.sounds[collection.has_sound]),
        }
        self._asked, self._numbers, self._lock = OrderedDict(), itertools.count(1), threading.Lock()

    def ask(self, query, count=12):
        """The nearest pictures and sounds of the collection, by the query's picture and by its sound.

        A query of several seconds is the mean of their unit vectors.

        Args:
            query: `collection.sandbox.Query`. count: files in each list at most.

        Returns:
            dict for JSON: query (its number, for `map`), kind, seconds, maps (whether `map` can be asked), and by:
            {"picture": found, "sound": found}, of what the query has. found is {"pictures": list, "sounds": list} of
            {row, name, kind, time, cosine, sound (whether there is one)}, the nearest first.
        """
        means, embedded = {}, {}
        with self._lock:
            for name, part, embed, vectors in (
                ("picture", "frame", embed_frames, self.net.model.frame_vectors),
                ("sound", "sound", embed_sounds, self.net.model.sound_vectors),
            ):
                there = [getattr(moment, part) for moment in query.moments if getattr(moment, part) is not None]
                if there:
                    embedded[name] = embed(self.net, np.stack(there))
                    means[name] = _mean(vectors(embedded[name]))
            number, middle = next(self._numbers), query.moments[len(query.moments) // 2]
            sounds = embedded.get("sound")
            self._asked[number] = (middle.frame, query.still, None if sounds is None else sounds[len(sounds) // 2])
            while len(self._asked) > MAX_QUERIES:
                self._asked.popitem(last=False)
        by = {
            name: {side: self._nearest(vector, *rows, count) for side, rows in self._sides.items()}
            for name, vector in means.items()
        }
        about = {"query": number, "kind": query.kind, "seconds": len(query.moments), "maps": self.localizes}
        return about | {"by": by}

    def _nearest(self, vector, rows, vectors, count):
        """The nearest second of each of the `count` nearest files."""
        if not len(rows):
            return []
        cosines, places = nearest_vectors(vector[None], vectors, count * CANDIDATES_PER_RESULT)
        found = {}
        for cosine, row in zip(cosines[0].tolist(), rows[places[0]].tolist(), strict=True):
            name, kind, _ = self.rows.about["files"][self.rows.files[row]]
            if name not in found and len(found) < count:
                found[name] = {"row": row, "name": name, "kind": kind, "time": float(self.rows.times[row])}
                found[name] |= {"cosine": cosine, "sound": bool(self.rows.has_sound[row])}
        return list(found.values())

    def _item(self, row):
        """The file of a row and its time; a LookupError if there is no such row, or no such file in the folder."""
        if not 0 <= row < len(self.rows.times):
            raise LookupError
        item = media_folder.MediaItem(*self.rows.about["files"][self.rows.files[row]], self.root)
        for name in (PurePosixPath(item.name), PurePosixPath(item.sound_name)):
            # A collection may come from anywhere: its names shall lead to nothing outside of its folder.
            if name.is_absolute() or ".." in name.parts or not (self.root / name).is_file():
                raise LookupError
        return item, float(self.rows.times[row])

    def picture(self, row):
        """The frame of a row, of a sound alone its wave: JPEG bytes. LookupError: there is no such row or file."""
        item, time = self._item(row)
        return _jpeg(
            self._frame(row) if self.rows.has_frame[row] else waveform_image(media_folder.sound_around(item, time))
        )

    def sound(self, row):
        """The second of sound of a row: (samples,) int16 at 48 kHz. LookupError: there is none, or no such row."""
        if not (0 <= row < len(self.rows.times) and self.rows.has_sound[row]):
            raise LookupError
        return media_folder.sound_around(*self._item(row))

    def map(self, number, side="", row=None):
        """Where it sounds, drawn over a frame: JPEG bytes.

        Args:
            number: of a query. side, row: none for the query's sound in its own frame; "picture" for the query's sound
                in that row's frame, "sound" for that row's sound in the query's frame.

        Raises:
            LookupError: the query is forgotten, one of the two isn't there, or the net has no such maps.
        """
        with self._lock:
            frame, still, a = self._asked[number]
        if not self.localizes:
            raise LookupError
        if side == "picture":
            image = self._frame(row)
            frame = media_folder.resize_square(image, self.size)
        elif still is not None:
            image = Image.open(io.BytesIO(still))
        if side == "sound":
            sound = resample_poly(self.sound(row).astype(np.float32), self.rate, 48000).clip(-32768, 32767)
            with self._lock:
                a = embed_sounds(self.net, sound.round().astype(np.int16)[None])[0]
        if frame is None or a is None:
            raise LookupError
        with self._lock, torch.no_grad():
            v = embed_frames(self.net, frame[None]).to(self.net.device)
            logits = self.net.model.location_logits(v, a[None].to(self.net.device)).cpu().numpy()
        probability = Image.fromarray(heatmaps.map_probabilities(logits, 256)[0]).resize(image.size)
        return _jpeg(Image.fromarray(heatmaps.overlay_heatmap(np.asarray(image), np.asarray(probability))))

    def _frame(self, row):
        item, time = self._item(row)
        if not self.rows.has_frame[row]:
            raise LookupError
        return media_folder.frame_image(item, time, IMAGE_SIDE)


def _mean(vectors):
    """The mean of unit vectors, made one again: (N, D) -> (D,) float32."""
    mean = np.asarray(vectors, np.float32).mean(0)
    return mean / max(float(np.linalg.norm(mean)), 1e-9)


def _jpeg(image):
    image.save(out := io.BytesIO(), "JPEG", quality=85)
    return out.getvalue()


def waveform_image(sound, size=(320, 200)):
    """A picture of a sound's loudness over time: (samples,) int16 -> RGB image of size (width, height)."""
    image = Image.new("RGB", size, (32, 36, 42))
    pen, middle = ImageDraw.Draw(image), size[1] / 2
    peaks = [np.abs(part.astype(np.float32)).max(initial=0) for part in np.array_split(sound, size[0] // 4)]
    for k, peak in enumerate(peaks):
        half = max(peak / max(max(peaks), 1) * middle * 0.8, 1)
        pen.line((4 * k + 2, middle - half, 4 * k + 2, middle + half), fill=(79, 183, 131), width=2)
    return image
