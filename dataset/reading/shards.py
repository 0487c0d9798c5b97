"""Shards: a fast copy of a dataset folder in a few large files, which data/build_shards.py makes.

    ROOT/shards.json              version, settings, what it was made from; ids, sizes and sha256 of every shard
    ROOT/SPLIT/vid2genre.json     as in the folder, and boxes.json where there is one
              /00000.tar          some clips: a plain tar in WebDataset's layout
              /00000.index        where in it each frame and each sound begins: two numpy arrays, CLIP and FRAME

A clip is `0000042.json` (its id, labels, the times of its frames), `0000042.000.jpg`, `.001.jpg`, ... and `0000042.wav`
(mono int16). WebDataset takes all up to a name's first dot for the key of a sample, and ids may hold dots: so a member
is named by the number of its clip in the split, and the json holds the id. Others need no index: `tar xf` unpacks it,
`webdataset.WebDataset("train/{00000..00009}.tar")` gives a sample a clip.

A frame is kept for each multiple of 1 / fps seconds and for each annotated time, with its exact time stamp: at these
times shards show the frame that the video shows. Between them they show the kept frame before.
"""

import functools
import hashlib
import mmap
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import simplejpeg
from av import VideoFrame

from dataset.reading.annotations import load_json
from dataset.reading.audio import SOUND_SECONDS, AudioReader
from dataset.reading.clip_reader import TIME_TOLERANCE
from dataset.reading.clips import Clips
from dataset.reading.errors import ClipError, MediaError
from dataset.reading.remote import PARALLEL_READS, RemoteBytes, as_path, is_url, read_bytes
from utils.errors import UserError

VERSION = 1  # of the form; a change counts it up
MANIFEST, UNFINISHED_MANIFEST = "shards.json", "unfinished.json"  # the second lies there while shards are being made
# A clip: the first of its rows in FRAME and how many; where its samples begin, how many; the last time of a frame
# with a second of sound around it, and of any frame, seconds.
CLIP_DTYPE = np.dtype([("first", "<i8"), ("frames", "<i8"), ("sound", "<i8"), ("samples", "<i8"),
                 ("last", "<f8"), ("shown_until", "<f8")])  # fmt: skip
FRAME_DTYPE = np.dtype([("time", "<f8"), ("offset", "<i8"), ("bytes", "<i8")])
MAX_MAPPED = 256  # shards that a process keeps open; each takes a file descriptor
REBUILD_HINT = "remove this file and repeat `python data/build_shards.py SRC DST`, which makes it again"


def open_clips(root, split, on_error="stop"):
    """The clips of a split, from a dataset folder or from shards, whichever lies in `root`: `Clips` or `Shards`."""
    return ShardedClips(root, split, on_error) if is_shards(root) else Clips(root, split, on_error)


def open_split(data, split):
    """The same for the settings of a run, a `configs.schema.Data`.

    Raises:
        UserError: what `Clips` and `Shards` raise; the settings ask for what shards don't hold.
    """
    clips = open_clips(data.root, split, data.on_error)
    if isinstance(clips, ShardedClips):
        clips.check(data)
    return clips


def is_shards(root):
    """Whether a folder holds shards, finished or not; what a URL leads to is always taken for shards."""
    return is_url(root) or any((Path(root) / name).exists() for name in (MANIFEST, UNFINISHED_MANIFEST))


class ShardedClips(Clips):
    """The clips of one split of shards: used as `Clips` is.

    Args:
        root: folder that data/build_shards.py made, or the URL of a copy.
        split: "train", "val" or "test".
        on_error: "stop" raises if shards were made without one of the clips; "skip" lists those in `skipped`.

    Attributes:
        ids, labels, boxes, skipped: as of `Clips`. settings: of data/build_shards.py, dict. reads_at_once: how many
        clips it pays to read at the same time.

    Raises:
        UserError: no shards, unfinished ones, another version, or a shard that is missing or not of its size.
        ClipError: on_error is "stop" and a clip is not in the shards.
    """

    def __init__(self, root, split, on_error="stop"):
        about = read_manifest(root)
        genres = self._read_tables(root, split)
        self.settings, self._shards = about["settings"], about["splits"].get(split, [])
        self.reads_at_once = PARALLEL_READS if is_url(root) else 1
        for shard in () if is_url(root) else self._shards:  # a request for each would take long
            for path, size in shard_files(self.folder, shard):
                if not path.is_file() or path.stat().st_size != size:
                    raise UserError(f"{path} is missing or not of its {size} bytes: {REBUILD_HINT}")
        places = {clip: (k, row) for k, shard in enumerate(self._shards) for row, clip in enumerate(shard["ids"])}
        left_out = {clip: why for shard in self._shards for clip, why in shard["skipped"].items()}
        left_out = about["missing"].get(split, {}) | left_out
        left_out |= {clip: "they hold no such clip" for clip in genres if clip not in places and clip not in left_out}
        for clip, why in sorted(left_out.items()):
            if on_error == "stop":
                reason = f"lacks clip {clip} ({why})"
                raise ClipError(clip, "missing", self.folder, reason, "pass --data.on_error skip")
            self.skipped[clip] = why
        self._take(genres, "vid2genre.json lists no clip that the shards hold")
        self._places = np.array([places[clip] for clip in self.ids])  # (N, 2): shard and row
        # Each process opens a shard when it first needs it, and keeps the last few hundred.
        self._mapped = functools.lru_cache(MAX_MAPPED)(lambda k: _MappedShard(self.folder, self._shards[k]))

    def check(self, data):
        """Refuse settings of a run, a `configs.schema.Data`, that ask for what these shards don't hold."""
        fps, size, rate = (self.settings[name] for name in ("fps", "size", "rate"))
        steps = data.frame_step * fps
        for holds, why in (
            (data.frames == 1 and data.flow == "none", f"data.frames and data.flow need every frame, and the shards "
             f"{data.root} keep {fps:g} a second: set --data.root to the folder that they were made from"),
            (steps > 0.5 and abs(steps - round(steps)) < 1e-6, f"data.frame_step {data.frame_step:g} is no multiple "
             f"of the {1 / fps:g} s between the frames of the shards {data.root}: set --data.frame_step {1 / fps:g}"),
            (data.resize_size <= size, f"data.resize_size {data.resize_size} is more than the {size} pixels of the "
             f"shards {data.root}: lower it, or make shards with --size {data.resize_size}"),
            (data.sample_rate <= rate, f"data.sample_rate {data.sample_rate} is more than the {rate} Hz of the shards "
             f"{data.root}: lower it, or make shards with --rate {data.sample_rate}"),
        ):  # fmt: skip
            if not holds:
                raise UserError(why)

    @contextmanager
    def open(self, index):
        """Open one clip: `with clips.open(i) as clip: clip.frame(t, 256); clip.sound(t, 48000)`."""
        clip, (shard, row) = self.ids[index], self._places[index].tolist()
        try:
            yield ShardClipReader(clip, self._mapped(shard), row, self.settings["rate"])
        except ClipError:
            raise
        except MediaError as error:  # as a clip's own errors reach the training process
            raise ClipError(clip, error.kind, error.path, error.reason, error.hint) from error


class _MappedShard:
    """A shard's bytes, as a memory map or by URL, and its index."""

    def __init__(self, folder, shard):
        (self.path, _), (index, _) = shard_files(folder, shard)
        self.clips, self.frames = read_index(index, shard["index_sha256"])
        if is_url(self.path):
            self.bytes = RemoteBytes(self.path)
            return
        try:
            with open(self.path, "rb") as file:
                self.bytes = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except OSError as error:
            raise MediaError("storage", self.path, f"can't be read ({error.strerror})", REBUILD_HINT) from None


class ShardClipReader(AudioReader):
    """One clip of a shard, with what `dataset.reading.clip_reader.ClipReader` has for training and evaluation.

    Attributes:
        first, last, shown_until, sound_seconds: as of the clip that it was made from, seconds.
        times: of the kept frames, (n,) float64, ascending, seconds.
    """

    def __init__(self, clip, shard, row, rate):
        super().__init__(clip, shard.path)
        first, count, self._sound, samples, self.last, self.shown_until = shard.clips[row].item()
        self.first, self.native_rate, self.native_samples = SOUND_SECONDS / 2, rate, samples
        self.sound_seconds = samples / rate
        self._rows, self._bytes = shard.frames[first : first + count], shard.bytes
        self.times = self._rows["time"]

    def _error(self, kind, path, reason):
        return ClipError(self.clip, kind, path, f"{reason} at clip {self.clip}", REBUILD_HINT)

    def frame(self, time, size):
        """The kept frame shown at `time`: (size, size, 3) uint8 RGB. The whole frame is resized."""
        place = max(int(np.searchsorted(self.times, time + TIME_TOLERANCE, "right")) - 1, 0)
        _, offset, count = self._rows[place].item()
        try:
            # The decoder itself shrinks by eighths, as far as the frame stays larger than asked for.
            frame = simplejpeg.decode_jpeg(self._bytes[offset : offset + count], "RGB", min_height=size, min_width=size)
        except ValueError as error:
            raise self._error("damaged", self.audio_file, f"is damaged ({error})") from error
        if frame.shape[:2] == (size, size):
            return frame
        # One thread, and nothing kept: threads of a resizer don't survive the fork of a loader process.
        whole, how = VideoFrame.from_ndarray(frame, format="rgb24"), {"interpolation": "AREA", "threads": 1}
        return whole.to_ndarray(width=size, height=size, format="rgb24", **how)

    def frames(self, times, size):
        """The kept frames shown at `times`, seconds: (len(times), size, size, 3) uint8."""
        return np.stack([self.frame(time, size) for time in times])

    def frame_stack(self, time, count, size):
        """Refused: frames 0.04 s apart are not kept."""
        raise self._error("short", self.audio_file, f"keeps too few frames a second for {count} in a row")

    def _as_it_is(self, start, count):
        begin = self._sound + 2 * start
        return np.frombuffer(self._bytes[begin : begin + 2 * count], "<i2")

    def _read(self, start, count):
        """Samples as (count,) float32 in -1..1; zeros outside the clip."""
        out = np.zeros(count, np.float32)
        low, high = max(start, 0), min(start + count, self.native_samples)
        out[low - start : high - start] = self._as_it_is(low, high - low) / np.float32(32768)
        return out


# ----------------------------------------------------------------------------------------------------- files


def shard_files(folder, shard):
    """[(Path of a shard's tar, its size in bytes), (Path of its index, its size)] from its entry in shards.json."""
    name = folder / shard["name"]
    return [(name.with_suffix(f".{kind}"), shard[f"{kind}_bytes"]) for kind in ("tar", "index")]


def read_manifest(root, name=MANIFEST):
    """ROOT/shards.json: {"version", "settings", "source", "missing", "splits": {split: [shard, ...]}}.

    Raises:
        UserError: the shards are unfinished, of another version, or the file is damaged.
    """
    path = as_path(root) / name
    if name == MANIFEST and (as_path(root) / UNFINISHED_MANIFEST).exists():
        raise UserError(f"the shards {root} are unfinished: repeat `python data/build_shards.py SRC {root}`")
    about = load_json(path, "what data/build_shards.py wrote")
    if not isinstance(about, dict) or about.get("version") != VERSION:
        raise UserError(f"{path} is not of version {VERSION} of the shards: make them again by data/build_shards.py")
    try:
        shards = [shard for split in about["splits"].values() for shard in split]
        right = all(is_valid_entry(shard) for shard in shards) and isinstance(about["missing"], dict)
        right = right and all(about["settings"][key] > 0 for key in ("fps", "size", "rate", "quality", "clips"))
    except (KeyError, TypeError, AttributeError):
        right = False
    if not right:
        raise UserError(f"{path} is damaged: make the shards again by data/build_shards.py")
    return about


def is_valid_entry(shard):
    """Whether JSON is a shard's entry in shards.json."""
    kinds = {"name": str, "ids": list, "skipped": dict, "tar_bytes": int, "index_bytes": int,
             "tar_sha256": str, "index_sha256": str}  # fmt: skip
    return isinstance(shard, dict) and all(isinstance(shard.get(key), kind) for key, kind in kinds.items())


def read_index(path, sha256):
    """(CLIP rows, FRAME rows) of a shard's index.

    Raises:
        UserError: it is missing or not what was written.
    """
    try:
        content = read_bytes(path)
    except OSError as error:
        raise MediaError("storage", path, f"can't be read ({error.strerror or error})", REBUILD_HINT) from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise MediaError("damaged", path, "is damaged (its sha256 is another)", REBUILD_HINT)
    clips, frames = np.frombuffer(content, "<i8", 2).tolist()
    rows = np.frombuffer(content, CLIP_DTYPE, clips, 16)
    return rows, np.frombuffer(content, FRAME_DTYPE, frames, 16 + rows.nbytes)


def pack_index(clips, frames):
    """The content of an index from lists of tuples: how many of each, CLIP rows, FRAME rows."""
    rows = np.array([len(clips), len(frames)], "<i8"), np.array(clips, CLIP_DTYPE), np.array(frames, FRAME_DTYPE)
    return b"".join(part.tobytes() for part in rows)
