"""Any folder of videos, pictures and sounds: what is in it, and for each second a frame and the second of sound.

The instants are 0.5 s, 0.5 s + hop, ... for as long as they lie within the file. The frame is the one shown then, and
the sound is the second whose mid-point the instant is, as in training: nothing is padded. At a file's end the second is
moved inside, so a rest of half a second or more has an instant of its own and a shorter one has none.
"""

import os
from itertools import zip_longest
from math import inf
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from PIL import Image, ImageOps

from dataset.reading.annotations import is_printable_text
from dataset.reading.audio import SOUND_SECONDS, filter_margin, resample, to_mono
from dataset.reading.clip_reader import TIME_TOLERANCE, to_upright_rgb
from dataset.reading.errors import MediaError, image_error_reason
from dataset.reading.media import MAX_TIMESTAMP_JUMP, open_media, read_audio, stream_frames
from utils.errors import UserError

SUFFIXES = {
    "video": "mp4 m4v mov mkv webm avi flv wmv mpg mpeg ts 3gp ogv",
    "image": "jpg jpeg png webp bmp gif tif tiff",
    "sound": "wav mp3 flac ogg oga opus m4a aac wma aif aiff",
}
KIND_OF_SUFFIX = {f".{suffix}": kind for kind, suffixes in SUFFIXES.items() for suffix in suffixes.split()}
IMAGE_FORMATS = (
    "JPEG",
    "PNG",
    "WEBP",
    "BMP",
    "GIF",
    "TIFF",
)  # what may be opened: Pillow knows formats that run programs
MAX_PIXELS = 50_000_000  # of a picture or a frame at most: more takes memory that nobody meant to give
FIRST_TIME = SOUND_SECONDS / 2  # the first instant, seconds
ABSENT = ("no picture", "no sound", "short")  # kinds of error that leave out a stream; others refuse the file
MAX_GAP = 600  # sound whose time stamps leap by more is damaged, seconds


class MediaItem(NamedTuple):
    """A file to look into: its name below the folder `root`, "video", "image" or "sound", and where its sound is.

    `sound_name` is its own name, or that of the wav beside a video in our format (video/ID.mp4 and audio/ID.wav).
    """

    name: str
    kind: str
    sound_name: str
    root: Path

    @property
    def path(self):
        """Where the file is."""
        return self.root / self.name

    @property
    def sound(self):
        """Where its sound is."""
        return self.root / self.sound_name


class Moment(NamedTuple):
    """One instant: seconds, a frame (S, S, 3) uint8 RGB or None, its second of sound (rate,) int16 or None."""

    time: float
    frame: np.ndarray | None
    sound: np.ndarray | None


def find_media(source):
    """What can be embedded in a folder, below it too, or a single file. What a file is, its suffix says.

    Hidden files and folders are passed over. Where a split of our format is below, ID.mp4 and ID.wav are one item.

    Args:
        source: Path.

    Returns:
        (items, strange): list of `Item`, sorted by name; {name: reason} of files whose names can't be written.

    Raises:
        UserError: there is no such file or folder, or nothing in it.
    """
    if not source.exists():
        raise UserError(f"there is no file or folder {source}: name one with videos, pictures or sounds by --input")
    if source.is_file():
        paths, root = [source], source.parent
    else:
        paths, root = sorted(_files_below(source)), source
    found = {path: KIND_OF_SUFFIX[path.suffix.lower()] for path in paths if path.suffix.lower() in KIND_OF_SUFFIX}
    items, strange, taken = [], {}, set()
    for path, kind in found.items():
        name = path.relative_to(root).as_posix()
        if not is_printable_text(name):
            strange[name.encode("utf-8", "backslashreplace").decode()] = "its name is not printable text"
            continue
        wav = path.parent.parent / "audio" / f"{path.stem}.wav"
        paired = kind == "video" and path.parent.name == "video" and wav in found
        taken |= {wav} if paired else set()
        items.append(MediaItem(name, kind, wav.relative_to(root).as_posix() if paired else name, root))
    items = [item for item in items if item.path not in taken]
    if not items:
        known = " ".join(KIND_OF_SUFFIX)
        raise UserError(f"{source} holds no video, picture or sound by its suffix ({known}): name another --input")
    return sorted(items), strange


def _files_below(folder):
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place) / name for name in files if not name.startswith("."))


def iter_moments(item, size, rate, hop=SOUND_SECONDS):
    """Yield the `Moment`s of an item, hop seconds apart; a picture has one, at time 0.

    A digitally silent second is none. A video without sound has frames alone, one without pictures sounds alone.

    Args:
        item: an `Item`. size: side of the frame, pixels; the whole frame is resized. rate: of the sound, Hz.

    Raises:
        MediaError: it can't be read, is too large, silent or shorter than half a second (a sound: than a second).
    """
    if item.kind == "image":
        yield Moment(0.0, resize_square(open_image(item.path), size), None)
        return
    reasons, any_found = [], False
    frames = _or_reason(iter_frames(item.path, size, hop), reasons) if item.kind == "video" else ()
    sounds = _or_reason(iter_sound_seconds(item.sound, rate, hop), reasons)
    for k, (frame, sound) in enumerate(zip_longest(frames, sounds)):
        sound = sound if sound is not None and sound.any() else None
        if frame is not None or sound is not None:
            any_found = True
            yield Moment(FIRST_TIME + k * hop, frame, sound)
    if not any_found:
        kind = reasons[0].kind if reasons else "silent"
        raise MediaError(kind, item.path, "; ".join(e.reason for e in reasons) or "is silent from start to end")


def _or_reason(stream, reasons):
    """What a stream gives; one that isn't there, or is too short, gives nothing and its reason. Damage is an error."""
    try:
        yield from stream
    except MediaError as error:
        if error.kind not in ABSENT:
            raise
        reasons.append(error)


def iter_frames(path, size, hop=SOUND_SECONDS):
    """Yield the frames of a video that are shown at its instants: (size, size, 3) uint8 RGB each.

    Raises:
        MediaError: as of `dataset.reading.media.stream_frames`; or less than half a second of pictures.
    """
    shown, end, k = None, 0.0, 0
    for time, frame in stream_frames(path, "video", -1.0, inf):
        _refuse_huge(path, frame.width, frame.height)
        while FIRST_TIME + k * hop < time - TIME_TOLERANCE:
            yield to_upright_rgb(shown or frame, size, size)
            k += 1
        shown, end = frame, time + (float((frame.duration or 0) * (frame.time_base or 0)) or 0.04)
    while shown is not None and FIRST_TIME + k * hop < end - TIME_TOLERANCE:
        yield to_upright_rgb(shown, size, size)
        k += 1
    if k == 0:
        raise MediaError("short", path, f"shows pictures for {end:.2f} s, less than {FIRST_TIME} s")


def iter_sound_seconds(path, rate, hop=SOUND_SECONDS):
    """Yield the second of sound around each instant: (rate,) int16 mono; of a long sound little is in memory.

    Raises:
        MediaError: as of `dataset.reading.media.stream_frames`; or less than a second of sound.
    """
    held, first, native, k = [np.zeros(0, np.float32)], 0, None, 0  # the first sample held is number `first`
    end, due = 0, inf  # native samples so far; how many the next instant needs

    def read(start, count):
        out, sound = np.zeros(count, np.float32), held[0]
        low, high = max(start, first), min(start + count, first + len(sound))
        out[max(low - start, 0) : max(high - start, 0)] = sound[max(low - first, 0) : max(high - first, 0)]
        return out

    for time, frame in stream_frames(path, "audio", -1.0, inf):
        if native not in (None, frame.sample_rate):
            raise MediaError("damaged", path, f"changes its sample rate from {native} to {frame.sample_rate} Hz")
        if native is None:
            native = frame.sample_rate
            reach = filter_margin(native, rate) + 2 * native  # kept before an instant, needed after it, samples
            due = FIRST_TIME * native + reach
        values, gap = to_mono(frame), round(time * native) - end
        if not np.isfinite(values).all():
            raise MediaError("damaged", path, "holds samples that are not numbers (NaN or infinite)")
        if abs(gap) > MAX_GAP * native:
            raise MediaError("damaged", path, f"leaps from {end / native:.2f} s to {time:.2f} s")
        if abs(gap) > MAX_TIMESTAMP_JUMP * native or end == 0:  # a pause, or what was told already
            values = np.concatenate([np.zeros(max(gap, 0), np.float32), values[max(-gap, 0) :]])
        held.append(values)
        end += len(values)
        while end >= due:
            held[:] = [np.concatenate(held)]
            yield resample(read, round((FIRST_TIME + k * hop - SOUND_SECONDS / 2) * rate), rate, native, rate)
            k += 1
            past = min(max(round((FIRST_TIME + k * hop) * native) - reach - first, 0), len(held[0]))
            held[0], first, due = held[0][past:], first + past, (FIRST_TIME + k * hop) * native + reach
    if native is None or end < SOUND_SECONDS * native:
        raise MediaError("short", path, f"holds {end / (native or 1):.2f} s of sound, less than 1 s")
    held[:] = [np.concatenate(held)]
    while FIRST_TIME + k * hop < end / native - TIME_TOLERANCE:
        start = min(round((FIRST_TIME + k * hop - SOUND_SECONDS / 2) * rate), end * rate // native - rate)
        yield resample(read, start, rate, native, rate)
        k += 1


def open_image(path):
    """A picture file as an upright RGB `PIL.Image`, its first picture if it has several.

    Raises:
        MediaError: none that we know, damaged, or of more than PIXELS pixels.
    """
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            _refuse_huge(path, *image.size)
            ImageOps.exif_transpose(image, in_place=True)
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:  # all that PIL raises
        if isinstance(error, UserError):
            raise
        raise MediaError("damaged", path, f"can't be read as a picture ({image_error_reason(error)})") from None


def resize_square(image, size):
    """The whole of an RGB image resized to a square, whatever its shape: (size, size, 3) uint8."""
    return np.array(image.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0))  # large ones in two steps


def _refuse_huge(path, width, height):
    if width * height > MAX_PIXELS:
        raise MediaError(
            "too large", path, f"is {width} x {height} pixels large: at most {MAX_PIXELS // 10**6} million are read"
        )


def detect_kind(path):
    """ "image", "video" or "sound", by what a file holds, whatever its name.

    Raises:
        MediaError: none of these.
    """
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            _refuse_huge(path, *image.size)
            return "image"
    except MediaError:
        raise
    except Image.DecompressionBombError:
        raise MediaError("too large", path, f"has more pixels than {MAX_PIXELS // 10**6} million") from None
    except (OSError, ValueError, SyntaxError, EOFError):
        pass
    with open_media(path) as container:
        moving = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        if not moving and not container.streams.audio:
            raise MediaError("no picture", path, "holds neither picture nor sound")
        return "video" if moving else "sound"


def frame_image(item, time, largest=320):
    """The frame shown at `time`, or the picture, in its own shape: an RGB `PIL.Image`, `largest` pixels at most.

    Raises:
        MediaError: it can't be read.
    """
    if item.kind == "image":
        image = open_image(item.path)
    else:
        shown = None
        for begin, frame in stream_frames(item.path, "video", time, time + TIME_TOLERANCE):
            if shown is not None and begin > time + TIME_TOLERANCE:
                break
            shown = frame
        if shown is None:
            raise MediaError("no picture", item.path, f"shows no picture at {time:.2f} s")
        image = shown.to_image().rotate(shown.rotation, expand=True)
    image.thumbnail((largest, largest))
    return image


def sound_around(item, time):
    """The second of sound around `time`, moved inside the file at its ends: (samples,) int16 mono at 48 kHz.

    Raises:
        MediaError: it can't be read.
    """
    start = max(time - SOUND_SECONDS / 2, 0.0)
    return read_audio(item.sound, start, start + SOUND_SECONDS)
