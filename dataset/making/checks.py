"""Whether a clip is fit for training: each of its files is opened and decoded once, from end to end.

What training refuses is refused here, in the same words: `dataset.reading.clips` opens the clip. Beyond that a clip may not be
black, nor out of step: its wav is held against the sound track of its own mp4, which lies on the pictures' clock.
"""

import io
import os
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from PIL import Image
from scipy.fft import irfft, next_fast_len, rfft

from dataset.reading.annotations import read_genres
from dataset.reading.audio import to_mono
from dataset.reading.clip_reader import ClipReader, to_upright_rgb, upright_size
from dataset.reading.errors import ClipError, error_reason
from dataset.reading.shards import is_shards
from utils.errors import UserError

CHECK_KINDS = ("ok", "missing", "damaged", "no picture", "short", "silent", "black", "out of step")
MP4, WAV = "the mp4", "the wav"  # in messages
COMPARE_RATE = 16000  # at which sounds are compared, Hz
MAX_OFFSET = 1.5  # how far a sound is looked for, seconds
SYNC_TOLERANCE = 0.002  # a sound that is off by no more belongs to its pictures, seconds
MIN_CORRELATION = 0.5  # correlation from which two sounds are the same one
MIN_CORRELATION_GAIN = (
    0.03  # by which it must be higher elsewhere than in step: a steady tone is like itself at many places
)
BRIGHTNESS_INTERVAL = 0.2  # from one picture that is looked at to the next, seconds
BLACK_LEVEL = 0.1  # a picture is black if 98 of 100 of its pixels are darker than this, 0..1
LATE_START = 0.04 + SYNC_TOLERANCE  # pictures that start this much after time 0 are told of, seconds: a frame
MEDIA_FOLDERS = (("video", ".mp4"), ("audio", ".wav"))
SPLIT_ORDER = ("train", "val", "test")
THUMBNAIL_WIDTH = 240  # of a thumbnail, pixels


class CheckResult(NamedTuple):
    """What was found of a clip.

    Attributes:
        clip: its id. kind: one of KINDS. message: what is wrong, or worth knowing; may be empty.
        seconds: the length of both halves together; 0 if unknown.
        offset_ms: by how much the wav is later than the mp4's own sound; None without such a track or likeness.
        loudness: of the wav, dB below full scale (RMS); None if unknown.
        brightness: mean of the pictures that were looked at, 0..1; None if unknown.
        thumbnail: bytes of a JPEG of a picture of a clip that isn't ok, or None.
    """

    clip: str
    kind: str
    message: str
    seconds: float = 0.0
    offset_ms: float | None = None
    loudness: float | None = None
    brightness: float | None = None
    thumbnail: bytes | None = None


def check_clip(clip, mp4, wav):
    """Read a clip's two files, Paths, and say whether they are fit for training: a `Verdict`."""
    reading = _FullRead(clip, mp4, wav)
    try:
        with reading:
            kind, message = reading.everything()
    except ClipError as error:
        kind, message = error.kind, f"{MP4 if error.path == mp4 else WAV} {error.reason}"
    except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
        kind, message = "damaged", f"{MP4} can't be read ({error_reason(error)})"
    thumbnail = None if kind == "ok" or reading.picture is None else _jpeg(reading.picture)
    seconds = max(min(reading.sound_seconds, reading.shown_until), 0.0)
    return CheckResult(clip, kind, message, seconds, reading.offset_ms, reading.loudness, reading.brightness, thumbnail)


class _FullRead(ClipReader):
    """A clip that is opened as training opens it, and read whole. What was found before an error stays."""

    sound_seconds = shown_until = 0.0
    offset_ms = loudness = brightness = picture = None

    def everything(self):
        """Read all: (kind, message).

        Raises:
            ClipError: what training would meet too.
        """
        late, black, track = self._pictures_and_track()
        sound = self.full_waveform(COMPARE_RATE) / 32768
        self.loudness = float(10 * np.log10(max(np.mean(np.square(sound, dtype=float)), 1e-10)))
        if black:
            return "black", f"{MP4} shows nothing but black"
        offset = None if track is None else offset_between(sound, track)
        if offset is not None:
            self.offset_ms = 1000 * offset
            if abs(offset) > SYNC_TOLERANCE:
                when = "late" if offset > 0 else "early"
                return "out of step", f"{WAV} is {abs(1000 * offset):.0f} ms {when} for its pictures"
        # Training reads no picture before `first`: up to there a late start does no harm.
        if late > self.first + LATE_START:
            return (
                "out of step",
                f"{MP4} shows its first picture at {late:.2f} s, the sound begins at 0",
            )
        return "ok", f"the first picture comes at {late:.2f} s" if late > LATE_START else ""

    def _pictures_and_track(self):
        """(time of the first picture in seconds, whether all are black, samples of the track or None)."""
        first = last = None
        light, black, track = [], True, _EmbeddedAudio()
        sounds = [stream for stream in self._container.streams.audio if stream.codec_context is not None]
        streams = [self._stream, *sounds[:1]]
        try:
            for packet in self._container.demux(streams):
                if packet.stream.type == "audio":
                    track.add(packet)
                    continue
                for frame in packet.decode():
                    if frame.is_corrupt or frame.time is None:  # the decoder patched it up with what it had
                        raise self._error("damaged", self.video_file, f"is damaged at {frame.time or 0:.2f} s")
                    first, last = frame.time if first is None else first, frame
                    if frame.time >= len(light) * BRIGHTNESS_INTERVAL:
                        grey = frame.reformat(64, 64, "gray", interpolation="AREA", threads=1).to_ndarray() / 255
                        light.append(grey.mean())
                        black &= bool(np.quantile(grey, 0.98) < BLACK_LEVEL)
                        if self.picture is None or frame.time < self.shown_until / 2:
                            self.picture = frame
        except (av.FFmpegError, OSError) as error:
            raise self._error("damaged", self.video_file, f"is damaged ({error_reason(error)})") from error
        finally:
            self.brightness = float(np.mean(light)) if light else None
        if last is None:
            raise self._error("no picture", self.video_file, "holds no picture")
        ends = last.time + max(2.0 * float(last.duration or 0) * float(last.time_base), 0.1)
        if self.last > ends:  # as `OpenClip.frames`
            raise self._error(
                "damaged", self.video_file, f"is truncated at {last.time:.2f} s, before its end at {self.last:.2f} s"
            )
        return first, black, track.samples()


class _EmbeddedAudio:
    """The sound track of an mp4, by its absolute time stamps. Training doesn't read it: damage ends it, no more."""

    def __init__(self):
        self.pieces, self.rate, self.damaged = [], None, False

    def add(self, packet):
        """Decode a packet."""
        try:
            for frame in () if self.damaged else packet.decode():
                self.damaged |= self.rate not in (None, frame.sample_rate) or frame.time is None
                self.rate = frame.sample_rate
                self.pieces.append((round((frame.time or 0) * self.rate), to_mono(frame)))
        except (av.FFmpegError, OSError, ValueError):
            self.damaged = True

    def samples(self):
        """(samples,) float at RATE from time 0 on, zeros in gaps; None if there are none."""
        total = max((place + len(values) for place, values in self.pieces), default=0)
        if self.damaged or total <= 0 or total > sum(len(v) for _, v in self.pieces) + 60 * self.rate:
            return None
        out = np.zeros(total)
        for place, values in self.pieces:
            out[max(place, 0) : max(place + len(values), 0)] = values[max(-place, 0) :]
        from scipy.signal import resample_poly  # half a second to import

        return resample_poly(np.nan_to_num(out), COMPARE_RATE, self.rate)


def offset_between(sound, track):
    """By how many seconds `sound` is later than `track`; None if they aren't the same sound.

    Args:
        sound, track: (samples,) float at RATE, both from time 0 on.
    """
    lags = np.arange(-round(MAX_OFFSET * COMPARE_RATE), round(MAX_OFFSET * COMPARE_RATE) + 1)
    size = next_fast_len(max(len(sound) + len(track), len(lags) + 1))
    product = irfft(rfft(sound, size) * np.conj(rfft(track, size)), size)[lags]
    # Only where both are heard: sound[lag:] beside track, or sound beside track[-lag:].
    power_s, power_t = (np.concatenate([[0], np.cumsum(np.square(x, dtype=float))]) for x in (sound, track))
    begin = np.clip(lags, 0, len(sound))
    end = np.clip(len(track) + lags, 0, len(sound))
    heard = (power_s[end] - power_s[np.minimum(begin, end)]) * (
        power_t[np.clip(end - lags, 0, len(track))] - power_t[np.clip(begin - lags, 0, len(track))]
    )
    # A few samples that two ends share are no likeness: each must hold about a tenth of its sound there.
    likeness = np.where(heard > 0.01 * power_s[-1] * power_t[-1], product / np.sqrt(np.maximum(heard, 1e-12)), 0.0)
    near = np.abs(lags) <= SYNC_TOLERANCE * COMPARE_RATE
    best, at_home = likeness.max(), likeness[near].max()
    if best < MIN_CORRELATION:
        return None
    lag = lags[np.argmax(likeness)] if best > at_home + MIN_CORRELATION_GAIN else lags[near][np.argmax(likeness[near])]
    return float(lag) / COMPARE_RATE


def _jpeg(frame):
    out, (width, height) = io.BytesIO(), upright_size(frame)
    Image.fromarray(to_upright_rgb(frame, THUMBNAIL_WIDTH, max(round(THUMBNAIL_WIDTH * height / width), 1))).save(
        out, "JPEG", quality=70
    )
    return out.getvalue()


# --------------------------------------------------------------------------------------------------------- folders


class SplitFolder(NamedTuple):
    """A split's folder, its name, {id: labels} of its vid2genre.json, and all ids that are listed or have a file."""

    folder: Path
    name: str
    genres: dict
    ids: list

    def files(self, clip):
        """Paths of a clip's mp4 and wav, there or not."""
        return tuple(self.folder / kind / f"{clip}{suffix}" for kind, suffix in MEDIA_FOLDERS)


def find_splits(root):
    """The splits of a dataset folder, or the one that the folder is: list of `Split`.

    Raises:
        UserError: no such folder, no split in it, or a vid2genre.json that is missing or not of our form.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"there is no folder {root}: name a dataset with train/, val/ or test/, or one of its splits")
    if is_shards(root) or is_shards(root.parent):
        raise UserError(
            f"{root} holds shards: check the folder that they were made from, and them by data/build_shards.py --verify"
        )
    holders = [root] if _is_split(root) else [path for path in root.iterdir() if _is_split(path)]
    if not holders:
        raise UserError(f"{root} holds no split: a dataset is SPLIT/{{vid2genre.json,video/ID.mp4,audio/ID.wav}}")
    place = {name: k for k, name in enumerate(SPLIT_ORDER)}
    return [_read_split(path) for path in sorted(holders, key=lambda path: (place.get(path.name, 3), path.name))]


def _is_split(folder):
    return (folder / "vid2genre.json").is_file() or (folder / "video").is_dir()


def _read_split(folder):
    genres = read_genres(folder / "vid2genre.json")
    found = set(genres)
    for kind, suffix in MEDIA_FOLDERS:
        names = os.listdir(folder / kind) if (folder / kind).is_dir() else []
        # What begins with a dot is a file that is still being written.
        found |= {name.removesuffix(suffix) for name in names if name.endswith(suffix) and not name.startswith(".")}
    return SplitFolder(folder, folder.resolve().name, genres, sorted(found))
