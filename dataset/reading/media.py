"""Any video or audio file: open it safely, decode its frames and its sound on one clock."""

from contextlib import contextmanager
from math import inf
from pathlib import Path

import av
import numpy as np

from dataset.reading.audio import SAMPLE_RATE, to_mono
from dataset.reading.clip_reader import decode_from, is_truncated
from dataset.reading.errors import MediaError, error_reason

PREROLL = 1.0  # decoding begins this much before the first sample that is wanted: codecs need what came before, seconds
MAX_TIMESTAMP_JUMP = (
    0.0015  # sound whose time stamps leap by more than this has a gap; matroska's are rounded to 0.001, seconds
)
MAX_MISSING_END = 0.5  # a file whose last packet lies this much before its declared end has been cut off, seconds
ABSOLUTE_FORMATS = (
    "mp4",
    "matroska",
)  # formats whose time 0 is where the player begins, whenever the first frame comes
# What may be opened. Playlists and lists of files are not: they would have other files, or addresses, read.
FORMATS = "mp4,matroska,mpegts,mpeg,avi,flv,asf,ogg,wav,mp3,aac,flac,aiff"


def read_audio(path, start=0.0, end=inf):
    """The sound of start..end of a file: (samples,) int16 mono at 48 kHz; sample 0 is the time `start`.

    Where a stream starts late or has a gap there are zeros, as there is no sound; channels are averaged.

    Raises:
        MediaError: damaged or broken off, or without sound.
    """
    pieces, rate = [], None  # of (place from `start` on, native samples), one for each unbroken stretch
    for time, frame in stream_frames(path, "audio", start - PREROLL, end):
        if rate not in (None, frame.sample_rate):
            raise MediaError("damaged", path, f"changes its sample rate from {rate} to {frame.sample_rate} Hz")
        rate = frame.sample_rate
        # Time stamps say where a stretch begins. Within it samples are counted: stamps are rounded, and every sample
        # left out or set twice is a click.
        if not pieces or abs(pieces[-1][0] + pieces[-1][2] - (time - start) * rate) > MAX_TIMESTAMP_JUMP * rate:
            pieces.append([round((time - start) * rate), [], 0])
        pieces[-1][1].append(to_mono(frame))
        pieces[-1][2] += frame.samples
    rate = rate or SAMPLE_RATE
    total = max([place + count for place, _, count in pieces] + [0])
    total = min(total, round((end - start) * rate)) if end < inf else total
    out = np.zeros(total, np.float32)
    for place, values, _ in pieces:
        values = np.concatenate(values)[max(-place, 0) : max(total - place, 0)]
        out[max(place, 0) : max(place, 0) + len(values)] = values
    if not np.isfinite(out).all():
        raise MediaError("damaged", path, "holds samples that are not numbers (NaN or infinite)")
    if rate != SAMPLE_RATE and total:
        from scipy.signal import resample_poly  # half a second to import

        out = resample_poly(out, SAMPLE_RATE, rate)
    return np.clip(np.rint(out * 32768), -32768, 32767).astype(np.int16)


@contextmanager
def open_media(path):
    """Open a video or sound file for decoding: a PyAV container; only what is of FORMATS, and nothing but this file.

    Raises:
        MediaError: it can't be opened, or is none.
    """
    limits = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    try:
        container = av.open(f"file:{path}", options=limits, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError("damaged", path, f"can't be opened as a video ({error_reason(error)})") from error
    with container:
        yield container


def stream_frames(path, kind, start, end):
    """(time, frame) of a file's "video" or "audio" as they are shown, from the one at `start` or an earlier one to the
    first at `end` or later; time in seconds on the file's own clock.

    Raises:
        MediaError: damaged or broken off, or without such a stream.
    """
    with open_media(path) as container:
        stream = _best_stream(container, kind, path)
        begin, seconds = (container.start_time or 0) / av.time_base, (container.duration or 0) / av.time_base
        origin = 0.0 if set(ABSOLUTE_FORMATS) & set(container.format.name.split(",")) else begin
        due = origin  # where the next frame begins if it doesn't say
        try:
            start = start + origin
            for frame in decode_from(container, stream, start) if start > begin else container.decode(stream):
                if frame.is_corrupt:  # the decoder patched it up with what it had
                    raise MediaError("damaged", path, f"is damaged at {due - origin:.2f} s")
                time = due if frame.time is None else frame.time
                yield time - origin, frame
                if time - origin >= end:
                    return
                due = time + _frame_duration(frame, stream)
        except (av.FFmpegError, OSError) as error:
            raise MediaError("damaged", path, f"is damaged ({error_reason(error)})") from error
    if due - origin < end and (
        is_truncated(Path(path)) or (due < begin + seconds - MAX_MISSING_END and _is_cut_off(path))
    ):
        raise MediaError("damaged", path, f"is truncated at {due - origin:.2f} s, before its end")


def _best_stream(container, kind, path):
    """The stream to read, ready for decoding."""
    stream = container.streams.best(kind)
    if stream is None:
        raise MediaError("no picture" if kind == "video" else "no sound", path, f"has no {kind} stream")
    if stream.codec_context is None:
        raise MediaError("damaged", path, f"has {kind} of an unknown kind")
    stream.codec_context.thread_count = 1  # several clips are cut at once: processes share the cores
    return stream


def _frame_duration(frame, stream):
    """How long a frame lasts, seconds."""
    if isinstance(frame, av.AudioFrame):
        return frame.samples / frame.sample_rate
    return float((frame.duration or 0) * stream.time_base) or 1 / float(stream.average_rate or 25)


def _is_cut_off(path):
    """Whether all streams end before what the file declares as its end. One that only ends before the others is
    whole, but a file without a time for each stream doesn't tell.
    """
    last = -inf
    with open_media(path) as container:
        end = ((container.start_time or 0) + container.duration) / av.time_base
        try:
            for packet in container.demux():
                if packet.pts is not None:
                    last = max(last, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        except (av.FFmpegError, OSError):
            return True
    return last < end - MAX_MISSING_END
