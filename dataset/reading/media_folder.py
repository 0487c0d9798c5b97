"""Read any folder of videos, images and sounds: list its files, and read a frame and a second of sound per second.

The moments of a file are at 0.5 s, 0.5 s + hop, ... for as long as they lie within it. The frame is the one shown at
that time, and the sound is the second centered at it, as in training: nothing is padded. At a file's end the second is
moved inside, so a remainder of half a second or more has a moment of its own and a shorter one has none.
"""

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from math import inf
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image

from dataset.reading.annotations import is_printable_text
from dataset.reading.audio import SOUND_SECONDS, filter_margin, format_seconds, resample_part
from dataset.reading.clip_reader import FRAME_INTERVAL, TIME_TOLERANCE
from dataset.reading.container import media_streams, open_media
from dataset.reading.errors import MediaError, MediaErrorKind
from dataset.reading.file_tree import FileTree, list_files, match_sounds
from dataset.reading.images import IMAGE_FORMATS, open_image, resize_square
from dataset.reading.limits import MAX_PIXELS, refuse_huge, require_file
from dataset.reading.media import read_audio, stream_frames, stream_samples
from dataset.reading.sound_buffer import SoundBuffer
from dataset.reading.suffixes import KIND_OF_SUFFIX, MediaKind, media_kind
from dataset.reading.upright import to_upright_rgb, upright_size
from utils.errors import UserError

FIRST_TIME = SOUND_SECONDS / 2  # the first moment, seconds
ABSENT: tuple[MediaErrorKind, ...] = ("no picture", "no sound", "short")  # the file's other stream can still be used

Stream = TypeVar("Stream")


class MediaItem(NamedTuple):
    """A file to embed, and where its sound is.

    Attributes:
        name: of the file, below `root`.
        kind: "video", "image" or "sound".
        sound_name: `name`, or the sound file that belongs to a video, see `dataset.reading.file_tree.match_sounds`.
        root: the folder.
    """

    name: str
    kind: MediaKind
    sound_name: str
    root: Path

    @property
    def path(self) -> Path:
        """Path of the file."""
        return self.root / self.name

    @property
    def sound(self) -> Path:
        """Path of its sound."""
        return self.root / self.sound_name


class Moment(NamedTuple):
    """A frame and its second of sound.

    Attributes:
        time: seconds.
        frame: (S, S, 3) uint8 RGB, or None.
        sound: (rate,) int16 mono, or None.
    """

    time: float
    frame: np.ndarray | None
    sound: np.ndarray | None


def find_media(source: Path) -> tuple[list[MediaItem], dict[str, str]]:
    """List what can be embedded: the videos, images and sounds of a folder and those below it, by their suffixes.

    A video and the sound file that belongs to it are one item: NAME.mp4 with NAME.wav, also in video/ and audio/.

    Args:
        source: the folder, or a single file.

    Returns:
        (items, skipped): the items sorted by name; {name: reason} of what is passed over: hidden, of another suffix,
            seen already through a link, or of a name that can't be written.

    Raises:
        UserError: there is no such file or folder, or nothing in it.
    """
    if not source.exists():
        raise UserError(f"there is no file or folder {source}: set --input to one with videos, images or sounds")
    root = source.parent if source.is_file() else source
    try:
        tree = FileTree([source], {}) if source.is_file() else list_files(source)
    except OSError as error:
        raise UserError(f"{source} can't be listed ({error.strerror}): set --input to another folder") from None
    sounds, unused = match_sounds(tree.files)
    skipped = dict(tree.skipped)
    skipped |= {path: f"is not the sound of {video.name}: {sounds[video].name} is" for path, video in unused.items()}
    items: list[MediaItem] = []
    taken = set(sounds.values())
    for path in tree.files:
        name, kind = path.relative_to(root).as_posix(), media_kind(path)
        if path in taken or path in skipped:
            continue
        if kind is None:
            skipped[path] = f"has no known suffix ({path.suffix or path.name})"
        elif not is_printable_text(name):
            skipped[path] = "its name is not printable text"
        else:
            items.append(MediaItem(name, kind, sounds.get(path, path).relative_to(root).as_posix(), root))
    if not items:
        raise UserError(
            f"{source} holds no video, image or sound with a known suffix ({' '.join(KIND_OF_SUFFIX)}): set --input to "
            "another folder"
        )
    names = {path: path.relative_to(root).as_posix().encode("utf-8", "backslashreplace").decode() for path in skipped}
    return sorted(items), {names[path]: reason for path, reason in skipped.items()}


def iter_moments(item: MediaItem, size: int, rate: int, hop: float = SOUND_SECONDS) -> Iterator[Moment]:
    """Read the frames and seconds of sound of a file; an image has one moment, at time 0.

    A digitally silent second is left out. A video without sound has frames only, one without frames sounds only.

    Args:
        item: the file.
        size: side of the frames, pixels; the whole frame is resized.
        rate: sample rate of the sounds, Hz.
        hop: between moments, seconds.

    Raises:
        MediaError: it can't be read, is too large, silent or shorter than half a second (a sound: than a second).
    """
    if item.kind == "image":
        yield Moment(0.0, resize_square(open_image(item.path), size), None)
        return
    absent: list[MediaError] = []
    is_empty = True
    frames = _unless_absent(iter_frames(item.path, size, hop), absent) if item.kind == "video" else ()
    sounds = _unless_absent(iter_sound_seconds(item.sound, rate, hop), absent)
    for k, (frame, sound) in enumerate(zip_longest(frames, sounds)):
        sound = sound if sound is not None and sound.any() else None
        if frame is not None or sound is not None:
            is_empty = False
            yield Moment(FIRST_TIME + k * hop, frame, sound)
    if is_empty and absent:
        raise MediaError(absent[0].kind, item.path, "; ".join(error.reason for error in absent))
    if is_empty:
        raise MediaError("silent", item.path, "is silent from start to end")


def _unless_absent(stream: Iterable[Stream], absent: list[MediaError]) -> Iterator[Stream]:
    """What a stream gives. If there is none, or it is too short, the error goes to `absent`; damage is raised."""
    try:
        yield from stream
    except MediaError as error:
        if error.kind not in ABSENT:
            raise
        absent.append(error)


def iter_frames(path: Path, size: int, hop: float = SOUND_SECONDS) -> Iterator[np.ndarray]:
    """Read the frames that a video shows at its moments: (size, size, 3) uint8 RGB each.

    Args:
        path: of the video.
        size: pixels.
        hop: between moments, seconds.

    Raises:
        MediaError: see `dataset.reading.media.stream_frames`; or less than half a second of frames.
    """
    shown, end, k = None, 0.0, 0
    for time, frame in stream_frames(path, "video", -1.0, inf):
        while FIRST_TIME + k * hop < time - TIME_TOLERANCE:
            yield to_upright_rgb(shown or frame, size, size)
            k += 1
        shown, end = frame, time + (float((frame.duration or 0) * (frame.time_base or 0)) or FRAME_INTERVAL)
    while shown is not None and FIRST_TIME + k * hop < end - TIME_TOLERANCE:
        yield to_upright_rgb(shown, size, size)
        k += 1
    if k == 0:
        raise MediaError("short", path, f"shows frames for {format_seconds(end)}, less than {FIRST_TIME} s")


def iter_sound_seconds(path: Path, rate: int, hop: float = SOUND_SECONDS) -> Iterator[np.ndarray]:
    """Read the second of sound around each moment of a file: (rate,) int16 mono each; memory use is bounded.

    Args:
        path: of a video or audio file.
        rate: sample rate of the result, Hz.
        hop: between moments, seconds.

    Raises:
        MediaError: see `dataset.reading.media.stream_samples`; or less than a second of sound.
    """
    buffer, native, k = SoundBuffer(path), 0, 0
    for time, samples, native in stream_samples(path, -1.0, inf):
        buffer.add(time, samples, native)
        reach = filter_margin(native, rate) + 2 * native  # samples kept before a moment and needed after it
        while buffer.end >= (FIRST_TIME + k * hop) * native + reach:
            start = round((FIRST_TIME + k * hop - SOUND_SECONDS / 2) * rate)
            yield resample_part(buffer.read, start, rate, native, rate)
            k += 1
            buffer.drop_before(round((FIRST_TIME + k * hop) * native) - reach)
    if not native or buffer.end < SOUND_SECONDS * native:
        raise MediaError(
            "short", path, f"holds {format_seconds(max(buffer.end, 0) / (native or 1))} of sound, less than 1 s"
        )
    while FIRST_TIME + k * hop < buffer.end / native - TIME_TOLERANCE:
        start = round((FIRST_TIME + k * hop - SOUND_SECONDS / 2) * rate)
        yield resample_part(buffer.read, min(start, buffer.end * rate // native - rate), rate, native, rate)
        k += 1


def detect_kind(path: Path) -> MediaKind:
    """Detect whether the file at `path` is an image, a video or a sound by its content, whatever its name.

    Raises:
        MediaError: none of these.
    """
    require_file(path)
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            refuse_huge(path, *image.size)
            return "image"
    except MediaError:
        raise
    except Image.DecompressionBombError:
        raise MediaError("too large", path, f"has more pixels than {MAX_PIXELS // 10**6} million") from None
    except (OSError, ValueError, SyntaxError, EOFError):
        pass
    with open_media(path) as container:
        has_frames = bool(media_streams(container, "video"))
        if not has_frames and not media_streams(container, "audio"):
            raise MediaError("no picture", path, "holds neither frames nor sound")
        return "video" if has_frames else "sound"


def frame_image(item: MediaItem, time: float, largest: int = 320) -> Image.Image:
    """Read the frame of a video shown at a time, or the image, in its own shape.

    Args:
        item: the file.
        time: seconds.
        largest: longest side of the result, pixels.

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
            raise MediaError("no picture", item.path, f"shows no frame at {time:.2f} s")
        image = Image.fromarray(to_upright_rgb(shown, *upright_size(shown)))
    image.thumbnail((largest, largest))
    return image


def sound_around(item: MediaItem, time: float) -> np.ndarray:
    """Read the second of sound around a time, moved inside the file at its ends: (samples,) int16 mono at 48 kHz.

    Args:
        item: the file.
        time: seconds.

    Raises:
        MediaError: it can't be read.
    """
    start = max(time - SOUND_SECONDS / 2, 0.0)
    return read_audio(item.sound, start, start + SOUND_SECONDS)
