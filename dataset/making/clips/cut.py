"""Cut a clip in the dataset's format out of any video: exact to a millisecond, frames and sound on the same clock.

Both streams are placed by their absolute time stamps. A wav that is taken to begin with the first frame is off by 60
to 700 ms after ordinary cuts and where a stream starts late.
"""

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from math import ceil, inf
from pathlib import Path
from typing import NamedTuple, cast

import av
import soundfile
from av.codec.context import Flags
from av.container import OutputContainer
from av.video.frame import PictureType

from dataset.reading.audio import SAMPLE_RATE, SOUND_SECONDS, format_seconds
from dataset.reading.clip_reader import TIME_TOLERANCE
from dataset.reading.container import best_stream, open_media
from dataset.reading.errors import MediaError
from dataset.reading.media import stream_audio, stream_frames
from dataset.reading.timeline import shown_until
from dataset.reading.upright import Colors, orientation, to_upright_yuv, yuv_colors
from dataset.reading.wav import shorten_wav, write_wav

VIDEO_TIME_BASE = 90_000  # ticks per second of the frames' time stamps
KEY_FRAME_INTERVAL = 1.0  # from one key frame to the next at most, seconds: training reads frames at random
DEFAULT_DURATION = 0.04  # of a file's last frame if it has none, seconds


def cut_clip(
    video: Path | str,
    sound: Path | str,
    start: float,
    end: float,
    mp4: Path | str,
    wav: Path | str,
    height: int = 360,
    fps: int = 25,
) -> float:
    """Write one clip: H.264 and AAC in an mp4, and a 48 kHz mono 16-bit wav; time 0 of both is `start`.

    Frames have square pixels. A stream that starts late starts late in the clip too: silence in the wav, no frame in
    the mp4.

    Args:
        video: file with the frames.
        sound: file with the sound, on the same clock; often the same file.
        start: seconds.
        end: seconds; may be infinite, or later than the end of the video.
        mp4: path to write to, a temporary one: the caller renames it. It doesn't exist after an error.
        wav: the same for the wav.
        height: largest height of the frames, pixels; smaller ones keep theirs.
        fps: frames per second, counted from `start`; each is what is shown at its time; 0 keeps the source's own times.

    Returns:
        Duration of the clip, seconds: of the shorter of the two streams.

    Raises:
        MediaError: damaged or truncated, without video or sound, or less than a second of them between start and end.
        OSError: the result can't be written.
    """
    try:
        count = write_wav(wav, stream_audio(sound, start, end))
        _refuse_short(sound, "sound", count / SAMPLE_RATE, start)
        with soundfile.SoundFile(os.fsencode(wav)) as samples:
            seconds = _write_mp4(video, samples, start, mp4, height, fps)
        shorten_wav(wav, round(seconds * SAMPLE_RATE))
    except BaseException:
        for path in (mp4, wav):
            Path(path).unlink(missing_ok=True)
        raise
    return seconds


class _TimedFrame(NamedTuple):
    """A frame and the interval in which it is shown, seconds from the start of the clip."""

    time: float
    until: float
    frame: av.VideoFrame


def _write_mp4(
    path: Path | str, samples: soundfile.SoundFile, start: float, mp4: Path | str, height: int, fps: int
) -> float:
    """Write the frames of `path` from `start` on, for as long as the sound lasts, and the sound for as long as the
    frames; returns the duration in seconds.
    """
    seconds, first, until, key_until = samples.frames / SAMPLE_RATE, None, 0.0, -inf
    frames = _frames_shown(path, start, seconds)
    head = next(frames, None)  # only a frame tells whether it must be rotated
    if head is None:
        _refuse_short(path, "video", 0.0, start)
    assert head is not None
    size, colors = _output_size(path, height, orientation(head.frame).transpose), yuv_colors(head.frame)
    frames = chain([head], frames)
    with av.open(f"file:{mp4}", "w", format="mp4") as out:
        video, sound = _add_h264_stream(out, size, fps, colors), out.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for time, until, frame in _resample_frames(frames, fps) if fps else frames:
            while samples.tell() < time * SAMPLE_RATE:  # the two side by side, as players read them
                out.mux(sound.encode(_next_block(samples, SAMPLE_RATE)))
            scaled = to_upright_yuv(frame, *size, colors)
            scaled.pts, scaled.time_base = round(time * VIDEO_TIME_BASE), Fraction(1, VIDEO_TIME_BASE)
            scaled.duration = round(until * VIDEO_TIME_BASE) - scaled.pts
            if until > key_until + TIME_TOLERANCE:  # the next frame would be too late for a key frame
                scaled.pict_type, key_until = PictureType.I, time + KEY_FRAME_INTERVAL
            out.mux(video.encode(scaled))
            first = time if first is None else first
        seconds = min(seconds, until)
        _refuse_short(path, "video", seconds - (first or 0), start)
        out.mux(video.encode())
        while (rest := round(seconds * SAMPLE_RATE) - samples.tell()) > 0:
            out.mux(sound.encode(_next_block(samples, min(rest, SAMPLE_RATE))))
        out.mux(sound.encode())
    return seconds


def _next_block(samples: soundfile.SoundFile, count: int) -> av.AudioFrame:
    """Read the next `count` samples of a wav for the encoder."""
    position = samples.tell()
    block = av.AudioFrame.from_ndarray(samples.read(count, "int16")[None], format="s16", layout="mono")
    block.sample_rate, block.pts, block.time_base = SAMPLE_RATE, position, Fraction(1, SAMPLE_RATE)
    return block


def _add_h264_stream(out: OutputContainer, size: tuple[int, int], fps: int, colors: Colors) -> av.VideoStream:
    """Add a stream for frames of `size` (width, height) and `colors` to an mp4."""
    # No frame refers to a later one, so that every time can be sought, see `dataset.reading.clip_reader.decode_from`.
    # Key frames are chosen by the caller.
    options = {"preset": "veryfast", "crf": "23", "g": "100000", "bf": "0", "threads": "1"}
    video = cast(av.VideoStream, out.add_stream("libx264", rate=fps or 25, options=options))
    video.codec_context.flags |= Flags.frame_duration  # otherwise the last frame would last as long as any
    video.width, video.height = size
    video.pix_fmt = "yuv420p"
    codec = video.codec_context
    codec.colorspace, codec.color_range, codec.color_primaries, codec.color_trc = colors
    video.time_base = video.codec_context.time_base = Fraction(1, VIDEO_TIME_BASE)
    return video


def _frames_shown(path: Path | str, start: float, seconds: float) -> Iterator[_TimedFrame]:
    """Decode the frames that are shown between start and start + seconds; times are counted from `start`."""
    last_time, last_frame = -inf, None
    for absolute_time, frame in stream_frames(path, "video", start, start + seconds - TIME_TOLERANCE):
        time = absolute_time - start
        if last_frame is not None and time <= last_time:
            continue  # two frames for the same time, or a clock that was set back: the first one stays
        if last_frame is not None and time > TIME_TOLERANCE:
            yield _TimedFrame(max(last_time, 0.0), min(time, seconds), last_frame)
        last_time, last_frame = time, frame
    if last_frame is not None and last_time < seconds - TIME_TOLERANCE:  # the last frame of the file
        end = max(shown_until(path) - start, last_time + DEFAULT_DURATION)
        if end > 0:
            yield _TimedFrame(max(last_time, 0.0), min(end, seconds), last_frame)


def _resample_frames(frames: Iterable[_TimedFrame], fps: int) -> Iterator[_TimedFrame]:
    """Repeat and skip frames so that one is shown at each of the times 0, 1/fps, 2/fps, ..."""
    tick = 0
    for time, until, frame in frames:
        tick = max(tick, ceil((time - TIME_TOLERANCE) * fps))
        while tick / fps < until - TIME_TOLERANCE:
            yield _TimedFrame(tick / fps, (tick + 1) / fps, frame)
            tick += 1


def _output_size(path: Path | str, height: int, transposed: bool) -> tuple[int, int]:
    """Choose (width, height) of the written frames: even, at most `height`, for square pixels.

    `transposed`: rows become columns when the frames are turned as they are shown.
    """
    with open_media(path) as container:
        stream = cast(av.VideoStream, best_stream(container, "video", path))
        wide, high, ratio = stream.width, stream.height, float(stream.sample_aspect_ratio or 1)
    if not wide or not high:
        raise MediaError("damaged", path, "has frames of an unknown size")
    upright_wide, upright_high = (high, wide * ratio) if transposed else (wide * ratio, high)
    scale = min(height / upright_high, 1)
    return max(round(upright_wide * scale / 2) * 2, 2), max(int(upright_high * scale) // 2 * 2, 2)


def _refuse_short(path: Path | str, what: str, seconds: float, start: float) -> None:
    if seconds < SOUND_SECONDS:
        length = format_seconds(max(seconds, 0.0))
        raise MediaError("short", path, f"holds {length} of {what} from {start:.2f} s on, less than 1 s")
