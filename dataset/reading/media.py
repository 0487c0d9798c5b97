"""Any video or audio file: open it safely, decode its frames and its sound on one clock."""

from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import Any, Literal, cast, overload

import av
import numpy as np

from dataset.reading.audio import SAMPLE_RATE, to_mono
from dataset.reading.container import StreamKind, best_stream, demux, is_truncated, open_media, seconds_per_tick
from dataset.reading.decoding import PacketDecoder, decode_from
from dataset.reading.errors import MediaError, error_reason
from dataset.reading.limits import refuse_long, refuse_rate
from dataset.reading.sound_buffer import SoundBuffer
from dataset.reading.timeline import MAX_MISSING_END, declared_end, origin_of

PREROLL = 1.0  # decoding begins this much before the first wanted sample: codecs depend on what came before, seconds


def read_audio(path: Path | str, start: float = 0.0, end: float = inf) -> np.ndarray:
    """Read the sound of a file: (samples,) int16 mono at 48 kHz, all parts of `stream_audio`.

    Args:
        path: of a video or audio file.
        start, end: seconds on the file's own clock.

    Raises:
        MediaError: damaged or truncated, or without sound.
    """
    return np.concatenate([np.zeros(0, np.int16), *stream_audio(path, start, end)])


def stream_audio(
    path: Path | str, start: float = 0.0, end: float = inf, rate: int = SAMPLE_RATE
) -> Iterator[np.ndarray]:
    """Read the sound of a file second by second, with the memory of a few seconds.

    Where a stream starts late or has a gap there are zeros; channels are averaged.

    Args:
        path: of a video or audio file.
        start, end: seconds on the file's own clock.
        rate: sample rate of the result, Hz.

    Yields:
        (samples,) int16 mono, a second of it, the last part less; the first sample is at the time `start`.

    Raises:
        MediaError: damaged or truncated, or without sound.
    """
    buffer, native_rate = SoundBuffer(path, start, end), rate
    for time, samples, native_rate in stream_samples(path, start - PREROLL, end):
        buffer.add(time, samples, native_rate)
        yield from buffer.take_seconds(native_rate, rate)
    yield from buffer.take_seconds(native_rate, rate, is_last=True)


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
        refuse_rate(path, frame.sample_rate)
        if rate not in (None, frame.sample_rate):
            reason = f"changes its sample rate from {rate} to {frame.sample_rate} Hz"
            raise MediaError("damaged", path, reason)
        rate = frame.sample_rate
        yield time, to_mono(frame), frame.sample_rate


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
        origin, file_end = origin_of(container), declared_end(container)
        due = origin  # where the next frame begins
        try:
            frames = decode_from(container, stream, start + origin, PacketDecoder(stream))
            for frame in cast(Iterator[Any], frames):
                if frame.is_corrupt:  # the decoder concealed the damage
                    raise MediaError("damaged", path, f"is damaged at {due - origin:.2f} s")
                refuse_long(path, frame.time - origin)
                yield frame.time - origin, frame
                if frame.time - origin >= end:
                    return
                due = frame.time + _frame_duration(frame, stream)
        except (av.FFmpegError, OSError) as error:
            raise MediaError("damaged", path, f"is damaged ({error_reason(error)})") from error
    ends_early = file_end < inf and due < file_end - MAX_MISSING_END
    if due - origin < end and (is_truncated(Path(path)) or (ends_early and _lacks_its_end(path))):
        raise MediaError("damaged", path, f"is truncated at {due - origin:.2f} s, before its end")


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
        end = declared_end(container)
        try:
            for packet in demux(container):
                if packet.pts is not None:
                    last = max(last, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        except (av.FFmpegError, OSError):
            return True
    return last < end - MAX_MISSING_END
