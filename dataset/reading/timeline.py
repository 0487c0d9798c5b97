"""The clock of a media file: where its time 0 is, where it ends, and until when its last frame is shown."""

from math import inf
from pathlib import Path
from typing import NamedTuple, cast

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from dataset.reading.container import best_stream, demux, is_truncated, open_media, seconds_per_tick
from dataset.reading.decoding import seek
from dataset.reading.errors import MediaError

ABSOLUTE_FORMATS = ("mp4", "matroska")  # their time 0 is where a player begins, however late the first frame comes
MAX_MISSING_END = 0.5  # a file whose last packet is this much before its declared end is truncated, seconds
TAIL = 3.0  # the last frames are looked for from this much before the end on, seconds
SLIDE_INTERVAL = 1.0  # frames that are shown this long are slides, of which the last stays to the end, seconds
LONG_INTERVAL = 0.1  # frames that are shown longer than this are slides or stills, seconds


class LastFrame(NamedTuple):
    """The end of a video.

    Attributes:
        time: when its last frame begins, seconds; None where only the file's header was read.
        end: until when it is shown, seconds.
    """

    time: float | None
    end: float


def origin_of(container: InputContainer) -> float:
    """Find where the clock of a file begins, in seconds of its streams' own clock.

    Args:
        container: open file.
    """
    is_absolute = _is_one_of(container, ABSOLUTE_FORMATS)
    return 0.0 if is_absolute else (container.start_time or 0) / av.time_base


def declared_end(container: InputContainer) -> float:
    """Read where a file says that it ends, in seconds of its streams' own clock; infinite if it doesn't say.

    Args:
        container: open file.
    """
    if not container.duration:
        return inf
    # Matroska states the time of its end, other formats how long they last.
    begin = 0 if _is_one_of(container, ("matroska",)) else container.start_time or 0
    return (begin + container.duration) / av.time_base


def find_last_frame(container: InputContainer, stream: VideoStream, path: Path) -> LastFrame:
    """Find the last frame of a video without decoding, and until when it is shown, as players show it.

    An mp4 states how long its frames last. Elsewhere, and where frames are slides or a still, the last frame stays
    shown as long as the longest before it; the last slide and a single frame for as long as the file lasts.

    Args:
        container: open file.
        stream: its video.
        path: of the file, for messages.

    Raises:
        MediaError: the file is truncated.
    """
    end = declared_end(container)
    stated = 0.0
    if _is_one_of(container, ("mp4",)) and stream.duration and stream.frames:
        tick = seconds_per_tick(stream)
        stated = float((stream.duration + (stream.start_time or 0)) * tick)
        is_slides = stream.duration * tick / stream.frames > LONG_INTERVAL or stream.frames == 1
        if not is_slides or stated > end - LONG_INTERVAL:
            return LastFrame(None, stated)
    tail = _read_tail(container, stream, end - TAIL if end < inf else None)
    if len(tail.times) < 2:
        tail = _read_tail(container, stream, None)
    if is_truncated(path) or (end < inf and tail.end < end - MAX_MISSING_END):
        raise MediaError("damaged", path, f"is truncated at {max(tail.end, 0):.2f} s, before its end at {end:.2f} s")
    if not tail.times:
        raise MediaError("no picture", path, "holds no frames")
    intervals = [after - before for before, after in zip(tail.times, tail.times[1:], strict=False)]
    held = max([*intervals, tail.duration]) if intervals else inf
    held = inf if held >= SLIDE_INTERVAL else held
    last = tail.times[-1]
    least = max(last + tail.duration, stated)
    return LastFrame(last, max(min(last + held, end if end < inf else tail.end), least))


def shown_until(path: Path | str) -> float:
    """Find until when the last frame of a video is shown, on the file's own clock, seconds.

    Args:
        path: of the file.

    Raises:
        MediaError: it can't be opened, has no video, or is truncated.
    """
    with open_media(path) as container:
        stream = cast(VideoStream, best_stream(container, "video", path))
        return find_last_frame(container, stream, Path(path)).end - origin_of(container)


class _Tail(NamedTuple):
    """The last packets of a file: ascending times of its frames, how long the last one lasts, when any stream ends."""

    times: list[float]
    duration: float
    end: float


def _read_tail(container: InputContainer, stream: VideoStream, start: float | None) -> _Tail:
    """Read the packets of all streams from a time on, or from the beginning."""
    times: dict[float, float] = {}
    end = 0.0
    seek(container, stream, start)
    for packet in demux(container):
        if packet.pts is None or packet.time_base is None:
            continue
        time, duration = float(packet.pts * packet.time_base), float((packet.duration or 0) * packet.time_base)
        end = max(end, time + duration)
        if packet.stream_index == stream.index and not packet.is_discard:
            times[time] = duration
    last = max(times, default=0.0)
    return _Tail(sorted(times), times.get(last, 0.0), end)


def _is_one_of(container: InputContainer, formats: tuple[str, ...]) -> bool:
    return not set(formats).isdisjoint(container.format.name.split(","))
