"""Plan the clips that long recordings are cut into: which seconds of which file."""

from math import floor, inf
from pathlib import Path
from typing import NamedTuple

import av

from dataset.reading.container import StreamKind, demux, media_streams, open_media, seconds_per_tick
from dataset.reading.errors import MediaError, error_reason
from dataset.reading.timeline import declared_end, origin_of

MAX_SHORTAGE = 0.1  # a last clip may lack this much: a file's streams don't end at quite the same time, seconds


class Cut(NamedTuple):
    """A clip to cut out of a recording.

    Attributes:
        clip: its id.
        start, end: seconds on the file's own clock.
    """

    clip: str
    start: float
    end: float


def plan_cuts(
    recording: str, seconds: float, length: float, every: float, begin: float = 0.0
) -> tuple[list[Cut], float]:
    """Plan the clips of a recording: one at `begin`, `begin` + `every`, ... that lie within it.

    Args:
        recording: its id; a clip is called RECORDING_START_END, as in `dataset.making.lists.segments.clip_ids`.
        seconds: when it ends.
        length: of a clip, seconds.
        every: from the start of a clip to that of the next, seconds.
        begin: start of the first clip, seconds.

    Returns:
        (clips, seconds at the end of the recording that are in none of them).
    """
    count = max(floor((seconds - begin + MAX_SHORTAGE - length) / every) + 1, 0)
    cuts = []
    for k in range(count):
        start, end = round(begin + k * every, 3), round(begin + k * every + length, 3)
        cuts.append(Cut(f"{recording}_{start:.3f}_{end:.3f}", start, end))
    return cuts, max(seconds - (cuts[-1].end if cuts else begin), 0.0)


def recording_of_cut(clip: str) -> str:
    """Name the recording of a `clip` that `plan_cuts` named."""
    return clip.rsplit("_", 2)[0]


def measure_recording(video: Path, sound: Path | None) -> float:
    """Measure how long a recording has both frames and sound, seconds on its own clock, without decoding it.

    Args:
        video: its file.
        sound: file of its sound; None: the video's own.

    Raises:
        MediaError: it can't be read, or has no frames or no sound.
    """
    return min(_end_of_stream(video, "video"), _end_of_stream(sound or video, "audio"))


def _end_of_stream(path: Path, kind: StreamKind) -> float:
    """When the streams of a kind end, seconds on the file's own clock."""
    with open_media(path) as container:
        streams = media_streams(container, kind)
        if not streams:
            raise MediaError("no picture" if kind == "video" else "no sound", path, f"has no {kind} stream")
        ends = [((s.start_time or 0) + s.duration) * float(seconds_per_tick(s)) for s in streams if s.duration]
        end = max(ends) if ends else declared_end(container)
        if end == inf:  # nothing tells: read all packets, without decoding them
            try:
                times = (float(packet.pts * packet.time_base) for packet in demux(container, *streams) if packet.pts)
                end = max(times, default=0.0)
            except (av.FFmpegError, OSError) as error:
                raise MediaError("damaged", path, f"is damaged ({error_reason(error)})") from error
        return float(end) - origin_of(container)
