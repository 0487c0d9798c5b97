"""Cut a clip of our format out of any video: exact to a millisecond, with picture and sound on one clock.

The times of both streams are their absolute time stamps. A wav that is taken to begin with the first picture is off by
60 to 700 ms after ordinary cuts and where a stream starts late.
"""

from fractions import Fraction
from itertools import chain
from math import ceil, inf
from pathlib import Path

import av
from av.codec.context import Flags
from av.video.frame import PictureType

from dataset.reading.audio import SAMPLE_RATE, SOUND_SECONDS, write_wav
from dataset.reading.clip_reader import TIME_TOLERANCE, to_upright_rgb
from dataset.reading.errors import MediaError
from dataset.reading.media import best_stream, open_media, read_audio, stream_frames

VIDEO_TIME_BASE = 90_000  # ticks a second of the pictures' time stamps
KEY_FRAME_INTERVAL = 1.0  # from one key frame to the next at most, seconds: training reads pictures at random


def cut_clip(picture, sound, start, end, mp4, wav, height=360, fps=25):
    """Write one clip: H.264 and AAC in an mp4, and 48 kHz mono 16-bit wav; time 0 of both is `start`.

    Pictures have square pixels. A stream that starts late starts late in the clip too: silence in the wav, and no
    picture in the mp4 until the first one.

    Args:
        picture, sound: paths of the files that hold the two, on one clock; often the same.
        start, end: seconds; `end` may be infinite, or later than the video's: what is there is taken.
        mp4, wav: paths to write to, temporary ones: renaming them is the caller's. After an error neither is there.
        height: largest height of the picture, pixels; a lower one is kept.
        fps: pictures a second: at each tick, counted from `start`, the one shown then; 0 keeps the source's own times.

    Returns:
        float, seconds of the clip: of the shorter of the two streams.

    Raises:
        MediaError: damaged or broken off, without picture or sound, or less than a second of them in start..end.
        OSError: the result can't be written.
    """
    try:
        samples = read_audio(sound, start, end)
        _refuse_short(sound, "sound", len(samples) / SAMPLE_RATE, start)
        seconds = _write_mp4(picture, samples, start, mp4, height, fps)
        write_wav(wav, samples[: round(seconds * SAMPLE_RATE)])
    except BaseException:
        for path in (mp4, wav):
            Path(path).unlink(missing_ok=True)
        raise
    return seconds


def _write_mp4(path, samples, start, mp4, height, fps):
    """Write the pictures from `start` on, for as long as the samples last, and the samples, for as long as the
    pictures; returns the length in seconds.
    """
    seconds, first, until, key_until = len(samples) / SAMPLE_RATE, None, 0.0, -inf
    pictures = _frames_shown(path, start, seconds)
    some = next(pictures, None)  # only a picture tells whether they are to be turned
    size = _output_size(path, height, some[2].rotation // 90 if some else 0)
    pictures = chain([some] if some else [], pictures)
    with av.open(f"file:{mp4}", "w", format="mp4") as out:
        video, sound = _add_h264_stream(out, size, fps), out.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for time, until, frame in _at_ticks(pictures, fps) if fps else pictures:
            picture = _scaled_frame(frame, size)
            picture.pts, picture.time_base = round(time * VIDEO_TIME_BASE), Fraction(1, VIDEO_TIME_BASE)
            picture.duration = round(until * VIDEO_TIME_BASE) - picture.pts
            if until > key_until + TIME_TOLERANCE:  # the next one would be too late
                picture.pict_type, key_until = PictureType.I, time + KEY_FRAME_INTERVAL
            out.mux(video.encode(picture))
            first = time if first is None else first
        seconds = min(seconds, until)
        _refuse_short(path, "pictures", seconds - (first or 0), start)
        out.mux(video.encode())
        whole = av.AudioFrame.from_ndarray(samples[None, : round(seconds * SAMPLE_RATE)], format="s16", layout="mono")
        whole.sample_rate, whole.pts = SAMPLE_RATE, 0
        out.mux(sound.encode(whole))
        out.mux(sound.encode())
    return seconds


def _scaled_frame(frame, size):
    """A copy in the size (width, height), turned as it is to be shown."""
    if frame.rotation:
        return av.VideoFrame.from_ndarray(to_upright_rgb(frame, *size), format="rgb24").reformat(format="yuv420p")
    # The decoder's own frame carries its type, its shape of pixels and its times along.
    small = frame.reformat(*size, format="yuv420p", interpolation="AREA", threads=1)
    return av.VideoFrame.from_ndarray(small.to_ndarray(), format="yuv420p")


def _add_h264_stream(out, size, fps):
    """Add a stream for pictures of size (width, height) to an mp4."""
    # Without pictures that refer to later ones, every time can be sought: see `decoded_from`. Key frames are ours.
    options = {"preset": "veryfast", "crf": "23", "g": "100000", "bf": "0", "threads": "1"}
    video = out.add_stream("libx264", rate=fps or 25, options=options)
    video.codec_context.flags |= Flags.frame_duration  # else the last one would last as long as any
    video.width, video.height, video.pix_fmt = *size, "yuv420p"
    video.time_base = video.codec_context.time_base = Fraction(1, VIDEO_TIME_BASE)
    return video


def _frames_shown(path, start, seconds):
    """(time, until, frame): the pictures shown in start..start+seconds; times from `start` on, in 0..seconds."""
    shown = None
    for time, frame in stream_frames(path, "video", start, start + seconds - TIME_TOLERANCE):
        time -= start
        if shown is not None and time <= shown[0]:
            continue  # two for one time, or a clock that was set back: the first stays
        if shown is not None and time > TIME_TOLERANCE:
            yield max(shown[0], 0.0), min(time, seconds), shown[1]
        shown = time, frame
    if shown is not None and shown[0] < seconds - TIME_TOLERANCE:  # the last one of the file
        frame = shown[1]
        until = shown[0] + (float((frame.duration or 0) * (frame.time_base or 0)) or 0.04)
        if until > 0:
            yield max(shown[0], 0.0), min(until, seconds), frame


def _at_ticks(pictures, fps):
    """What `_pictures` gives, at times 0, 1/fps, 2/fps, ..."""
    tick = 0
    for time, until, frame in pictures:
        tick = max(tick, ceil((time - TIME_TOLERANCE) * fps))
        while tick / fps < until - TIME_TOLERANCE:
            yield tick / fps, (tick + 1) / fps, frame
            tick += 1


def _output_size(path, height, turns):
    """(width, height) to write a file's pictures in, both even: `height` at most, and square pixels.

    turns: by how many quarters they are to be turned to be shown.
    """
    with open_media(path) as container:
        stream = best_stream(container, "video", path)
        wide, high, ratio = stream.width, stream.height, float(stream.sample_aspect_ratio or 1)
    if not wide or not high:
        raise MediaError("damaged", path, "doesn't say how large its pictures are")
    wide, high = (high, wide * ratio) if turns % 2 else (wide * ratio, high)
    share = min(height / high, 1)
    return max(round(wide * share / 2) * 2, 2), max(int(high * share) // 2 * 2, 2)


def _refuse_short(path, what, seconds, start):
    if seconds < SOUND_SECONDS:
        raise MediaError("short", path, f"holds {max(seconds, 0):.2f} s of {what} from {start:.2f} s on, less than 1 s")
