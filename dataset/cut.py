"""Cut a clip of our format out of any video: exact to a millisecond, with picture and sound on one clock.

The times of both streams are their absolute time stamps. A wav that is taken to begin with the first picture is off by
60 to 700 ms after ordinary cuts and where a stream starts late.
"""

import io
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from math import ceil, inf
from pathlib import Path

import av
import numpy as np
import soundfile
from av.codec.context import Flags
from av.video.frame import PictureType

from dataset.clips import SECOND, is_cut_short, reason
from dataset.decoding import CLOCK, decoded_from, upright
from utils.errors import UserError

RATE = 48000  # of the sound that is written, Hz (OtS sec. 3)
PICTURE_CLOCK = 90_000  # ticks a second of the pictures' time stamps
KEY_EVERY = 1.0  # from one key frame to the next at most, seconds: training reads pictures at random
WARM_UP = 1.0  # decoding begins this much before the first sample that is wanted: codecs need what came before, seconds
STEP = 0.0015  # sound whose time stamps leap by more than this has a gap; matroska's are rounded to 0.001, seconds
BREAK = 0.5  # a file whose last packet lies this much before its declared end has been cut off, seconds
ABSOLUTE = ("mp4", "matroska")  # formats whose time 0 is where the player begins, whenever the first frame comes
# What may be opened. Playlists and lists of files are not: they would have other files, or addresses, read.
FORMATS = "mp4,matroska,mpegts,mpeg,avi,flv,asf,ogg,wav,mp3,aac,flac,aiff"


class CutError(UserError):
    """A clip that can't be cut. `kind`: "damaged", "no picture", "no sound" or "short"."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


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
        CutError: damaged or broken off, without picture or sound, or less than a second of them in start..end.
        OSError: the result can't be written.
    """
    try:
        samples = read_sound(sound, start, end)
        _refuse_short(sound, "sound", len(samples) / RATE, start)
        seconds = _write_mp4(picture, samples, start, mp4, height, fps)
        write_wav(wav, samples[: round(seconds * RATE)])
    except BaseException:
        for path in (mp4, wav):
            Path(path).unlink(missing_ok=True)
        raise
    return seconds


def read_sound(path, start=0.0, end=inf):
    """The sound of start..end of a file: (samples,) int16 mono at 48 kHz; sample 0 is the time `start`.

    Where a stream starts late or has a gap there are zeros, as there is no sound; channels are averaged.

    Raises:
        CutError: damaged or broken off, or without sound.
    """
    pieces, rate = [], None  # of (place from `start` on, native samples), one for each unbroken stretch
    for time, frame in stream_frames(path, "audio", start - WARM_UP, end):
        if rate not in (None, frame.sample_rate):
            raise CutError("damaged", f"{path} changes its sample rate from {rate} to {frame.sample_rate} Hz")
        rate = frame.sample_rate
        # Time stamps say where a stretch begins. Within it samples are counted: stamps are rounded, and every sample
        # left out or set twice is a click.
        if not pieces or abs(pieces[-1][0] + pieces[-1][2] - (time - start) * rate) > STEP * rate:
            pieces.append([round((time - start) * rate), [], 0])
        pieces[-1][1].append(mono(frame))
        pieces[-1][2] += frame.samples
    rate = rate or RATE
    total = max([place + count for place, _, count in pieces] + [0])
    total = min(total, round((end - start) * rate)) if end < inf else total
    out = np.zeros(total, np.float32)
    for place, values, _ in pieces:
        values = np.concatenate(values)[max(-place, 0) : max(total - place, 0)]
        out[max(place, 0) : max(place, 0) + len(values)] = values
    if not np.isfinite(out).all():
        raise CutError("damaged", f"{path} holds samples that are not numbers (NaN or infinite)")
    if rate != RATE and total:
        from scipy.signal import resample_poly  # half a second to import

        out = resample_poly(out, RATE, rate)
    return np.clip(np.rint(out * 32768), -32768, 32767).astype(np.int16)


def write_wav(path, samples, rate=RATE):
    """Write (samples,) int16 mono at `rate`, Hz.

    Raises:
        OSError: no room, or no right, to write there.
    """
    content = io.BytesIO()  # libsndfile doesn't tell of a full disk
    soundfile.write(content, samples, rate, format="WAV", subtype="PCM_16")
    Path(path).write_bytes(content.getvalue())


def mono(frame):
    """The samples of an audio frame, channels averaged: (samples,) float32 in -1..1."""
    values = frame.to_ndarray()  # (channels, samples), or (1, samples * channels)
    values = values.reshape(len(frame.layout.channels), -1, order="C" if frame.format.is_planar else "F")
    if values.dtype.kind == "f":
        return values.mean(0, dtype=np.float32)
    half = 2.0 ** (8 * values.dtype.itemsize - 1)
    return (values.mean(0, dtype=np.float64) / half - (values.dtype.kind == "u")).astype(np.float32)


@contextmanager
def opened(path):
    """Open a video or sound file for decoding: a PyAV container; only what is of FORMATS, and nothing but this file.

    Raises:
        CutError: it can't be opened, or is none.
    """
    limits = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    try:
        container = av.open(f"file:{path}", options=limits, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise CutError("damaged", f"{path} can't be opened as a video ({reason(error)})") from error
    with container:
        yield container


def stream_frames(path, kind, start, end):
    """(time, frame) of a file's "video" or "audio" as they are shown, from the one at `start` or an earlier one to the
    first at `end` or later; time in seconds on the file's own clock.

    Raises:
        CutError: damaged or broken off, or without such a stream.
    """
    with opened(path) as container:
        stream = _best(container, kind, path)
        begin, seconds = (container.start_time or 0) / av.time_base, (container.duration or 0) / av.time_base
        origin = 0.0 if set(ABSOLUTE) & set(container.format.name.split(",")) else begin
        due = origin  # where the next frame begins if it doesn't say
        try:
            start = start + origin
            for frame in decoded_from(container, stream, start) if start > begin else container.decode(stream):
                if frame.is_corrupt:  # the decoder patched it up with what it had
                    raise CutError("damaged", f"{path} is damaged at {due - origin:.2f} s")
                time = due if frame.time is None else frame.time
                yield time - origin, frame
                if time - origin >= end:
                    return
                due = time + _length(frame, stream)
        except (av.FFmpegError, OSError) as error:
            raise CutError("damaged", f"{path} is damaged ({reason(error)})") from error
    if due - origin < end and (is_cut_short(Path(path)) or (due < begin + seconds - BREAK and _breaks_off(path))):
        raise CutError("damaged", f"{path} breaks off at {due - origin:.2f} s, before its end")


def _best(container, kind, path):
    """The stream to read, ready for decoding."""
    stream = container.streams.best(kind)
    if stream is None:
        raise CutError(f"no {'picture' if kind == 'video' else 'sound'}", f"{path} has no {kind} stream")
    if stream.codec_context is None:
        raise CutError("damaged", f"{path} has {kind} of an unknown kind")
    stream.codec_context.thread_count = 1  # several clips are cut at once: processes share the cores
    return stream


def _length(frame, stream):
    """How long a frame lasts, seconds."""
    if isinstance(frame, av.AudioFrame):
        return frame.samples / frame.sample_rate
    return float((frame.duration or 0) * stream.time_base) or 1 / float(stream.average_rate or 25)


def _breaks_off(path):
    """Whether all streams end before what the file declares as its end. One that only ends before the others is
    whole, but a file without a time for each stream doesn't tell.
    """
    last = -inf
    with opened(path) as container:
        end = ((container.start_time or 0) + container.duration) / av.time_base
        try:
            for packet in container.demux():
                if packet.pts is not None:
                    last = max(last, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        except (av.FFmpegError, OSError):
            return True
    return last < end - BREAK


def _write_mp4(path, samples, start, mp4, height, fps):
    """Write the pictures from `start` on, for as long as the samples last, and the samples, for as long as the
    pictures; returns the length in seconds.
    """
    seconds, first, until, key_until = len(samples) / RATE, None, 0.0, -inf
    pictures = _pictures(path, start, seconds)
    some = next(pictures, None)  # only a picture tells whether they are to be turned
    size = _size(path, height, some[2].rotation // 90 if some else 0)
    pictures = chain([some] if some else [], pictures)
    with av.open(f"file:{mp4}", "w", format="mp4") as out:
        video, sound = _h264(out, size, fps), out.add_stream("aac", rate=RATE, layout="mono")
        for time, until, frame in _at_ticks(pictures, fps) if fps else pictures:
            picture = _small(frame, size)
            picture.pts, picture.time_base = round(time * PICTURE_CLOCK), Fraction(1, PICTURE_CLOCK)
            picture.duration = round(until * PICTURE_CLOCK) - picture.pts
            if until > key_until + CLOCK:  # the next one would be too late
                picture.pict_type, key_until = PictureType.I, time + KEY_EVERY
            out.mux(video.encode(picture))
            first = time if first is None else first
        seconds = min(seconds, until)
        _refuse_short(path, "pictures", seconds - (first or 0), start)
        out.mux(video.encode())
        whole = av.AudioFrame.from_ndarray(samples[None, : round(seconds * RATE)], format="s16", layout="mono")
        whole.sample_rate, whole.pts = RATE, 0
        out.mux(sound.encode(whole))
        out.mux(sound.encode())
    return seconds


def _small(frame, size):
    """A copy in the size (width, height), turned as it is to be shown."""
    if frame.rotation:
        return av.VideoFrame.from_ndarray(upright(frame, *size), format="rgb24").reformat(format="yuv420p")
    # The decoder's own frame carries its type, its shape of pixels and its times along.
    small = frame.reformat(*size, format="yuv420p", interpolation="AREA", threads=1)
    return av.VideoFrame.from_ndarray(small.to_ndarray(), format="yuv420p")


def _h264(out, size, fps):
    """Add a stream for pictures of size (width, height) to an mp4."""
    # Without pictures that refer to later ones, every time can be sought: see `decoded_from`. Key frames are ours.
    options = {"preset": "veryfast", "crf": "23", "g": "100000", "bf": "0", "threads": "1"}
    video = out.add_stream("libx264", rate=fps or 25, options=options)
    video.codec_context.flags |= Flags.frame_duration  # else the last one would last as long as any
    video.width, video.height, video.pix_fmt = *size, "yuv420p"
    video.time_base = video.codec_context.time_base = Fraction(1, PICTURE_CLOCK)
    return video


def _pictures(path, start, seconds):
    """(time, until, frame): the pictures shown in start..start+seconds; times from `start` on, in 0..seconds."""
    shown = None
    for time, frame in stream_frames(path, "video", start, start + seconds - CLOCK):
        time -= start
        if shown is not None and time <= shown[0]:
            continue  # two for one time, or a clock that was set back: the first stays
        if shown is not None and time > CLOCK:
            yield max(shown[0], 0.0), min(time, seconds), shown[1]
        shown = time, frame
    if shown is not None and shown[0] < seconds - CLOCK:  # the last one of the file
        frame = shown[1]
        until = shown[0] + (float((frame.duration or 0) * (frame.time_base or 0)) or 0.04)
        if until > 0:
            yield max(shown[0], 0.0), min(until, seconds), frame


def _at_ticks(pictures, fps):
    """What `_pictures` gives, at times 0, 1/fps, 2/fps, ..."""
    tick = 0
    for time, until, frame in pictures:
        tick = max(tick, ceil((time - CLOCK) * fps))
        while tick / fps < until - CLOCK:
            yield tick / fps, (tick + 1) / fps, frame
            tick += 1


def _size(path, height, turns):
    """(width, height) to write a file's pictures in, both even: `height` at most, and square pixels.

    turns: by how many quarters they are to be turned to be shown.
    """
    with opened(path) as container:
        stream = _best(container, "video", path)
        wide, high, ratio = stream.width, stream.height, float(stream.sample_aspect_ratio or 1)
    if not wide or not high:
        raise CutError("damaged", f"{path} doesn't say how large its pictures are")
    wide, high = (high, wide * ratio) if turns % 2 else (wide * ratio, high)
    share = min(height / high, 1)
    return max(round(wide * share / 2) * 2, 2), max(int(high * share) // 2 * 2, 2)


def _refuse_short(path, what, seconds, start):
    if seconds < SECOND:
        raise CutError("short", f"{path} holds {max(seconds, 0):.2f} s of {what} from {start:.2f} s on, less than 1 s")
