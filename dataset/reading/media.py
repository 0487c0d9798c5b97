"""Any video or audio file: open it safely, decode its frames and its sound on one clock."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, Literal, cast, overload

import av
import numpy as np
from av.container import InputContainer

from dataset.reading.audio import SAMPLE_RATE, resample, to_int16, to_mono
from dataset.reading.clip_reader import decode_from, is_truncated, seconds_per_tick
from dataset.reading.errors import MediaError, error_reason

PREROLL = 1.0  # decoding begins this much before the first wanted sample: codecs depend on what came before, seconds
MAX_TIMESTAMP_JUMP = 0.0015  # time stamps of sound that jump by more mark a gap; matroska rounds them to 0.001, seconds
MAX_MISSING_END = 0.5  # a file whose last packet is this much before its declared end is truncated, seconds
ABSOLUTE_FORMATS = ("mp4", "matroska")  # their time 0 is where a player begins, however late the first frame comes
# What may be opened. Playlists and lists of files are not: they would make us read other files or addresses.
FORMATS = "mp4,matroska,mpegts,mpeg,avi,flv,asf,ogg,wav,mp3,aac,flac,aiff"

StreamKind = Literal["video", "audio"]


@dataclass
class _Stretch:
    """Sound without a gap: its first sample, counted from where reading starts, and its blocks of samples."""

    start: int
    blocks: list[np.ndarray] = field(default_factory=list)
    count: int = 0


def read_audio(path: Path | str, start: float = 0.0, end: float = inf) -> np.ndarray:
    """Read the sound of a file: (samples,) int16 mono at 48 kHz; sample 0 is the time `start`.

    Where a stream starts late or has a gap there are zeros; channels are averaged.

    Args:
        path: of a video or audio file.
        start, end: seconds on the file's own clock.

    Raises:
        MediaError: damaged or truncated, or without sound.
    """
    stretches: list[_Stretch] = []
    rate = SAMPLE_RATE
    for time, samples, rate in stream_samples(path, start - PREROLL, end):
        # Time stamps tell where a stretch begins. Within it samples are counted: stamps are rounded, and every sample
        # left out or repeated is a click.
        first = (time - start) * rate
        if not stretches or abs(stretches[-1].start + stretches[-1].count - first) > MAX_TIMESTAMP_JUMP * rate:
            stretches.append(_Stretch(round(first)))
        stretches[-1].blocks.append(samples)
        stretches[-1].count += len(samples)
    total = max([stretch.start + stretch.count for stretch in stretches] + [0])
    total = min(total, round((end - start) * rate)) if end < inf else total
    out = np.zeros(total, np.float32)
    for stretch in stretches:
        at = stretch.start
        values = np.concatenate(stretch.blocks)[max(-at, 0) : max(total - at, 0)]
        out[max(at, 0) : max(at, 0) + len(values)] = values
    if not np.isfinite(out).all():
        raise MediaError("damaged", path, "holds samples that are not numbers (NaN or infinite)")
    return to_int16(resample(out, rate, SAMPLE_RATE) if total else out)


def stream_samples(path: Path | str, start: float, end: float) -> Iterator[tuple[float, np.ndarray, int]]:
    """Decode the sound of a file block by block.

    Args:
        path: of a video or audio file.
        start, end: seconds on the file's own clock, as of `stream_frames`.

    Yields:
        (time, samples, rate): when the block begins, seconds; (n,) float32 mono; Hz, the same for all blocks.

    Raises:
        MediaError: damaged or truncated, without sound, or of a changing sample rate.
    """
    rate = None
    for time, frame in stream_frames(path, "audio", start, end):
        if rate not in (None, frame.sample_rate):
            reason = f"changes its sample rate from {rate} to {frame.sample_rate} Hz"
            raise MediaError("damaged", path, reason)
        rate = frame.sample_rate
        yield time, to_mono(frame), frame.sample_rate


@contextmanager
def open_media(path: Path | str) -> Iterator[InputContainer]:
    """Open a video or audio file for decoding: only formats of `FORMATS`, and no other file.

    Args:
        path: of the file.

    Raises:
        MediaError: it can't be opened, or isn't one.
    """
    limits = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    try:
        container = av.open(f"file:{path}", options=limits, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError("damaged", path, f"can't be opened as a video ({error_reason(error)})") from error
    with container:
        yield container


@overload
def stream_frames(
    path: Path | str, kind: Literal["video"], start: float, end: float
) -> Iterator[tuple[float, av.VideoFrame]]: ...


@overload
def stream_frames(
    path: Path | str, kind: Literal["audio"], start: float, end: float
) -> Iterator[tuple[float, av.AudioFrame]]: ...


def stream_frames(path: Path | str, kind: StreamKind, start: float, end: float) -> Iterator[tuple[float, Any]]:
    """Decode a file's frames, or blocks of its sound, in display order.

    Args:
        path: of a video or audio file.
        kind: "video" or "audio".
        start, end: seconds on the file's own clock.

    Yields:
        (time, frame): from the one at `start` or an earlier one to the first at `end` or later; seconds.

    Raises:
        MediaError: damaged or truncated, or without such a stream.
    """
    with open_media(path) as container:
        stream = best_stream(container, kind, path)
        begin, seconds = (container.start_time or 0) / av.time_base, (container.duration or 0) / av.time_base
        origin = 0.0 if set(ABSOLUTE_FORMATS) & set(container.format.name.split(",")) else begin
        due = origin  # where the next frame begins if it has no time stamp
        try:
            start = start + origin
            frames = decode_from(container, stream, start) if start > begin else container.decode(stream)
            for frame in cast(Iterator[Any], frames):
                if frame.is_corrupt:  # the decoder concealed the damage
                    raise MediaError("damaged", path, f"is damaged at {due - origin:.2f} s")
                time = due if frame.time is None else frame.time
                yield time - origin, frame
                if time - origin >= end:
                    return
                due = time + _frame_duration(frame, stream)
        except (av.FFmpegError, OSError) as error:
            raise MediaError("damaged", path, f"is damaged ({error_reason(error)})") from error
    ends_early = due < begin + seconds - MAX_MISSING_END
    if due - origin < end and (is_truncated(Path(path)) or (ends_early and _lacks_its_end(path))):
        raise MediaError("damaged", path, f"is truncated at {due - origin:.2f} s, before its end")


def best_stream(container: InputContainer, kind: StreamKind, path: Path | str) -> av.stream.Stream:
    """Choose the stream of a file to read, ready for decoding.

    Args:
        container: open file.
        kind: "video" or "audio".
        path: of the file, for messages.

    Raises:
        MediaError: there is none, or it has an unknown format.
    """
    stream = container.streams.best(kind)
    if stream is None:
        raise MediaError("no picture" if kind == "video" else "no sound", path, f"has no {kind} stream")
    if stream.codec_context is None:
        raise MediaError("damaged", path, f"has {kind} of an unknown format")
    stream.codec_context.thread_count = 1  # several clips are cut at once: processes share the cores
    return stream


def _frame_duration(frame: av.frame.Frame, stream: av.stream.Stream) -> float:
    """How long a frame lasts, seconds."""
    if isinstance(frame, av.AudioFrame):
        return frame.samples / frame.sample_rate
    return float((frame.duration or 0) * seconds_per_tick(stream)) or 1 / float(stream.average_rate or 25)


def _lacks_its_end(path: Path | str) -> bool:
    """Whether all streams end before the end that the file declares.

    One that only ends before the others is complete, but a file without a duration for each stream doesn't tell.
    """
    last = -inf
    with open_media(path) as container:
        end = ((container.start_time or 0) + (container.duration or 0)) / av.time_base
        try:
            for packet in container.demux():
                if packet.pts is not None:
                    last = max(last, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        except (av.FFmpegError, OSError):
            return True
    return last < end - MAX_MISSING_END
