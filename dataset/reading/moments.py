"""Read a frame and its sound at each moment of a file: what embed.py and search.py embed.

The moments are at 0.5 s, 0.5 s + hop, ... as long as the second centered at them lies within the file: nothing is
padded. If half a second or more remains, there is one more moment, half a second before the end: its second is the last
one of the file. So a moment is always the midpoint of its second of sound, and its frame is the one shown at that time.
Where the net takes more or less than a second (data.seconds), the moments stay, and the sound is cut around them: near
the ends of the file it is moved inside it. A file must last as long as the sound, and a second.

A video is as long as its sound; frames that are shown later have moments of their own, without sound.
"""

from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from dataset.reading.audio import (
    SOUND_SECONDS,
    AudioReader,
    filter_margin,
    format_seconds,
    resample_part,
    sound_samples,
)
from dataset.reading.clip_reader import TIME_TOLERANCE
from dataset.reading.errors import MediaError, MediaErrorKind
from dataset.reading.frame_reader import FRAME_INTERVAL
from dataset.reading.images import open_image, resize_square
from dataset.reading.media import stream_frames, stream_samples
from dataset.reading.media_folder import MediaItem, shown_frame
from dataset.reading.sound_buffer import SoundBuffer
from dataset.reading.timeline import shown_until
from dataset.reading.upright import to_upright_rgb

HALF = SOUND_SECONDS / 2  # the first moment, and from a moment to either end of its second, seconds
ABSENT: tuple[MediaErrorKind, ...] = ("no picture", "no sound", "short")  # the file's other stream can still be used


class Moment(NamedTuple):
    """A frame and its sound.

    Attributes:
        time: seconds.
        frame: (S, S, 3) uint8 RGB, or None.
        sound: (samples,) int16 mono, or None.
    """

    time: float
    frame: np.ndarray | None
    sound: np.ndarray | None


def iter_moments(
    item: MediaItem,
    size: int,
    rate: int,
    hop: float = SOUND_SECONDS,
    pad: bool = False,
    on_left_out: Callable[[str], object] = lambda reason: None,
    seconds: float = SOUND_SECONDS,
) -> Iterator[Moment]:
    """Read the frames and sounds of a file; an image has one moment, at time 0.

    A digitally silent sound is left out. A video without sound has frames only, one without frames sounds only.

    Args:
        item: the file.
        size: side of the frames, pixels; the whole frame is resized.
        rate: sample rate of the sounds, Hz.
        hop: between moments, seconds.
        pad: pad a sound of less than a second, or of less than `seconds`, with zeros at its end; the last frame of such
            a video stays.
        on_left_out: called with the reason if a video's sound or frames are left out because they are too short.
        seconds: length of the sound of a moment.

    Raises:
        MediaError: it can't be read, is too large, silent or shorter than half a second (a sound: than a second, or
            than `seconds`).
    """
    if item.kind == "image":
        yield Moment(0.0, resize_square(open_image(item.path), size), None)
        return
    frames = FrameCursor(item.path, size) if item.kind == "video" else None
    count, last, shown, is_empty = 0, -inf, False, True
    absent: list[MediaError] = []
    is_clip = item.sound_name != item.name and not pad
    if is_clip:
        sounds = iter_wav_seconds(item.sound, rate, hop, seconds)
    else:
        sounds = iter_sound_seconds(item.sound, rate, hop, pad, seconds)
    for time, sound in _until_absent(sounds, absent):
        count, last = count + 1, time
        frame = frames.at(time, stay=pad and time == HALF) if frames else None
        heard = sound if sound.any() else None
        if frame is not None or heard is not None:
            shown, is_empty = shown or frame is not None, False
            yield Moment(time, frame, heard)
    for time, frame in iter_late_frames(frames, hop, count, last, pad) if frames else ():
        shown, is_empty = True, False
        yield Moment(time, frame, None)
    if frames and not shown:
        absent.insert(0, frames.absent or _too_short(item.path, frames.end))
    if is_empty and absent:
        raise MediaError(absent[0].kind, item.path, "; ".join(error.reason for error in absent))
    if is_empty:
        raise MediaError("silent", item.path, "is silent from start to end")
    for error in absent:
        if error.kind == "short":
            on_left_out(error.reason)


def _until_absent(
    seconds: Iterator[tuple[float, np.ndarray]], absent: list[MediaError]
) -> Iterator[tuple[float, np.ndarray]]:
    """Yield `seconds`. If there are none, or the sound is too short, add the error to `absent`; damage is raised."""
    try:
        yield from seconds
    except MediaError as error:
        if error.kind not in ABSENT:
            raise
        absent.append(error)


class FrameCursor:
    """The frames that a video shows at ascending times.

    Args:
        path: of the video.
        size: side of the frames, pixels.

    Attributes:
        end: until when the frames that were read are shown, seconds.
        absent: None, or the error if there are no frames.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size
        self.end = 0.0
        self.absent: MediaError | None = None
        self._stream = stream_frames(path, "video", -1.0, inf)
        self._shown: av.VideoFrame | None = None
        self._next: tuple[float, av.VideoFrame] | None = None
        self._begun = False

    def at(self, time: float, stay: bool = False) -> np.ndarray | None:
        """Read the frame shown at a time: (size, size, 3) uint8 RGB, or None if the video has ended.

        Args:
            time: seconds, not before that of the last call; before the first frame, that one is shown.
            stay: the last frame stays after the end.

        Raises:
            MediaError: the video is damaged, or its frames are too large.
        """
        if not self._begun:
            self._begun, self._next = True, self._read()
        while self._next is not None and self._next[0] <= time + TIME_TOLERANCE:
            begin, self._shown = self._next
            duration = float((self._shown.duration or 0) * (self._shown.time_base or 0))
            self.end, self._next = begin + (duration or FRAME_INTERVAL), self._read()
            if self._next is None:  # the last frame may be shown for longer, as a slide or a still
                self.end = max(self.end, shown_until(self.path))
        shown = self._next[1] if self._shown is None and self._next else self._shown
        if shown is None or (self._next is None and time >= self.end - TIME_TOLERANCE and not stay):
            return None
        return to_upright_rgb(shown, self.size, self.size)

    def _read(self) -> tuple[float, av.VideoFrame] | None:
        """The next frame and its time; None after the last one."""
        try:
            return next(self._stream, None)
        except MediaError as error:
            if error.kind not in ABSENT:
                raise
            self.absent = error
            return None


def iter_late_frames(
    frames: FrameCursor, hop: float, count: int, last: float, pad: bool
) -> Iterator[tuple[float, np.ndarray]]:
    """Read the frames that a video shows at its moments after its sound has ended, or at all of them if it has none.

    Args:
        frames: of the video.
        hop: between moments, seconds.
        count: moments before; the first one here is 0.5 s + count * hop.
        last: time of the last moment before, seconds.
        pad: the last frame of a video of half a second or less stays.

    Yields:
        (time, frame): seconds; (size, size, 3) uint8 RGB.
    """
    waiting: list[tuple[float, np.ndarray]] = []  # of which isn't known whether the video lasts for half a second more
    while (frame := frames.at(time := HALF + count * hop, stay=pad and count == 0)) is not None:
        waiting.append((time, frame))
        count += 1
        while waiting[0][0] + HALF <= time:
            last = waiting[0][0]
            yield waiting.pop(0)
    if frames.end < SOUND_SECONDS:
        yield from waiting[:1]
        return
    whole = [moment for moment in waiting if moment[0] + HALF <= frames.end + TIME_TOLERANCE]
    yield from whole
    last = whole[-1][0] if whole else last
    remains = HALF + (count - len(waiting) + len(whole)) * hop <= frames.end + TIME_TOLERANCE
    if remains and frames.end - HALF > last + TIME_TOLERANCE:
        time = frames.end - HALF
        yield time, to_upright_rgb(shown_frame(frames.path, time), frames.size, frames.size)


def iter_sound_seconds(
    path: Path, rate: int, hop: float = SOUND_SECONDS, pad: bool = False, seconds: float = SOUND_SECONDS
) -> Iterator[tuple[float, np.ndarray]]:
    """Read the sound around each moment of a file; memory use is bounded.

    Args:
        path: of a video or audio file.
        rate: sample rate of the result, Hz.
        hop: between moments, seconds.
        pad: pad a sound of less than a second, or of less than `seconds`, with zeros at its end.
        seconds: length of the sound of a moment.

    Yields:
        (time, sound): the midpoint of the sound, seconds, unless it is moved inside the file; (samples,) int16 mono.

    Raises:
        MediaError: see `dataset.reading.media.stream_samples`; or less than a second of sound, or than `seconds`.
    """
    buffer, native, count, last = SoundBuffer(path), 0, 0, -1
    longest = max(seconds, SOUND_SECONDS)

    def moment(first: int, total: int = 0) -> tuple[float, np.ndarray]:
        start = sound_start(first, rate, seconds, total)
        return first / rate + HALF, resample_part(buffer.read, start, sound_samples(seconds, rate), native, rate)

    for begin, samples, native in stream_samples(path, -1.0, inf):
        buffer.add(begin, samples, native)
        # Samples kept before a moment and needed after it.
        reach = filter_margin(native, rate) + round((longest + 1) * native)
        while buffer.end >= (HALF + count * hop) * native + reach:
            last = round(count * hop * rate)
            yield moment(last)
            count += 1
            buffer.drop_before(round((HALF + count * hop) * native) - reach)
    total = max(buffer.end, 0) * rate // (native or 1)  # samples of the result
    if total < sound_samples(longest, rate):
        if not pad or not total:
            length, setting = format_seconds(max(buffer.end, 0) / (native or 1)), " (data.seconds)" * (seconds > 1)
            raise MediaError("short", path, f"holds {length} of sound, less than {longest:g} s{setting}")
        for first in _moment_starts(max(total, rate), rate, hop):
            yield moment(first, sound_samples(longest, rate))
        return
    for first in _moment_starts(total, rate, hop, count, last):
        yield moment(first, total)


def iter_wav_seconds(
    path: Path, rate: int, hop: float = SOUND_SECONDS, seconds: float = SOUND_SECONDS
) -> Iterator[tuple[float, np.ndarray]]:
    """Do what `iter_sound_seconds` does for the wav of a clip, which is read as training reads it.

    Args:
        path: of the wav.
        rate: sample rate of the result, Hz.
        hop: between moments, seconds.
        seconds: length of the sound of a moment.

    Yields:
        (time, sound): the midpoint of the sound, seconds, unless it is moved inside the file; (samples,) int16 mono.

    Raises:
        MediaError: see `dataset.reading.audio.AudioReader`; but a silent wav has silent sounds.
    """
    with AudioReader(path.stem, path, max(seconds, SOUND_SECONDS)) as wav:
        is_silent, total, silence = False, wav.num_samples(rate), np.zeros(sound_samples(seconds, rate), np.int16)
        for first in _moment_starts(total, rate, hop):
            start = sound_start(first, rate, seconds, total)
            try:
                sound = silence if is_silent else wav.waveform(start, len(silence), rate)
            except MediaError as error:
                if error.kind != "silent":
                    raise
                is_silent, sound = True, silence
            yield first / rate + HALF, sound


def sound_start(first: int, rate: int, seconds: float, total: int = 0) -> int:
    """Find where the sound of a moment begins.

    Args:
        first: sample at which the second around the moment begins.
        rate: Hz.
        seconds: length of the sound.
        total: samples of the whole sound, inside which it is moved; 0 if they aren't known.

    Returns:
        its first sample.
    """
    start = max(first + round((SOUND_SECONDS - seconds) / 2 * rate), 0)
    return min(start, total - sound_samples(seconds, rate)) if total else start


def _moment_starts(total: int, rate: int, hop: float, count: int = 0, last: int = -1) -> Iterator[int]:
    """First samples of the seconds around the moments of a sound of `total` samples, from moment `count` on."""
    while (HALF + count * hop) * rate <= total:
        first = min(round(count * hop * rate), total - rate)
        if first <= last:  # the last second of the file was the last moment
            return
        last = first
        yield first
        count += 1


def _too_short(path: Path, end: float) -> MediaError:
    return MediaError("short", path, f"shows frames for {format_seconds(end)}, less than {HALF} s")
