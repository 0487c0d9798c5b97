"""Check whether a clip is fit for training: open and decode each of its files once, from end to end.

A clip is opened as training opens it, so what training would refuse is refused here, for the same reason. Beyond that
a clip must not be black, and its wav must be in sync with the sound track of its own mp4, which shares the clock of the
frames.
"""

import io
from pathlib import Path
from typing import NamedTuple, cast

import av
import numpy as np
from PIL import Image

from dataset.making.sync import COMPARE_RATE, SYNC_TOLERANCE, EmbeddedAudio, offset_between
from dataset.reading.audio import INT16_SCALE
from dataset.reading.clip_reader import ClipReader, to_upright_rgb, upright_size
from dataset.reading.errors import ClipError, error_reason

CHECK_KINDS = ("ok", "missing", "damaged", "no picture", "short", "silent", "black", "out of step")
MP4, WAV = "the mp4", "the wav"  # in messages
BRIGHTNESS_INTERVAL = 0.2  # from one frame whose brightness is measured to the next, seconds
BLACK_LEVEL = 0.1  # a frame is black if 98% of its pixels are darker than this, 0..1
LATE_START = 0.04 + SYNC_TOLERANCE  # a first frame later than this, one frame's duration, is mentioned, seconds
THUMBNAIL_WIDTH = 240  # pixels


class CheckResult(NamedTuple):
    """The result of checking one clip.

    Attributes:
        clip: its id.
        kind: one of `CHECK_KINDS`.
        message: what is wrong, or worth knowing; may be empty.
        seconds: how long both its video and its sound last; 0 if unknown.
        offset_ms: how much later the wav is than the mp4's own sound; None without such a sound, or if they differ.
        loudness: RMS of the wav, dB below full scale; None if unknown.
        brightness: mean brightness of the frames, 0..1; None if unknown.
        thumbnail: JPEG of a frame of a clip that isn't ok, or None.
    """

    clip: str
    kind: str
    message: str
    seconds: float = 0.0
    offset_ms: float | None = None
    loudness: float | None = None
    brightness: float | None = None
    thumbnail: bytes | None = None


def check_clip(clip: str, mp4: Path, wav: Path) -> CheckResult:
    """Check whether a clip is fit for training.

    Args:
        clip: its id.
        mp4: its video; read from end to end, and its own sound track too.
        wav: its sound; read from end to end.
    """
    reader = _CheckingReader(clip, mp4, wav)
    try:
        with reader:
            kind, message = reader.check()
    except ClipError as error:
        kind, message = error.kind, f"{MP4 if error.path == mp4 else WAV} {error.reason}"
    except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
        kind, message = "damaged", f"{MP4} can't be read ({error_reason(error)})"
    thumbnail = None if kind == "ok" or reader.middle_frame is None else _encode_thumbnail(reader.middle_frame)
    seconds = max(min(reader.sound_seconds, reader.video_end), 0.0)
    return CheckResult(clip, kind, message, seconds, reader.offset_ms, reader.loudness, reader.brightness, thumbnail)


class _DecodedVideo(NamedTuple):
    """What decoding all of an mp4 gave: when its first frame is shown, whether all are black, its own sound."""

    first_time: float
    is_black: bool
    sound: np.ndarray | None


class _CheckingReader(ClipReader):
    """A clip opened as training opens it, and read as a whole. What was measured before an error remains.

    Attributes:
        offset_ms, loudness, brightness: as of `CheckResult`.
        middle_frame: a frame from about the middle.
    """

    sound_seconds = video_end = 0.0
    offset_ms: float | None = None
    loudness: float | None = None
    brightness: float | None = None
    middle_frame: av.VideoFrame | None = None

    def check(self) -> tuple[str, str]:
        """Read all and return (kind, message).

        Raises:
            ClipError: training would raise it too.
        """
        video = self._decode_video()
        sound = self.full_waveform(COMPARE_RATE) / INT16_SCALE
        self.loudness = float(10 * np.log10(max(float(np.mean(np.square(sound, dtype=float))), 1e-10)))
        if video.is_black:
            return "black", f"{MP4} shows nothing but black"
        offset = None if video.sound is None else offset_between(sound, video.sound)
        if offset is not None:
            self.offset_ms = 1000 * offset
            if abs(offset) > SYNC_TOLERANCE:
                when = "late" if offset > 0 else "early"
                return "out of step", f"{WAV} is {abs(1000 * offset):.0f} ms {when} relative to the video"
        # Training reads no frame before `first`: up to there a late start does no harm.
        if video.first_time > self.first + LATE_START:
            return "out of step", f"{MP4} shows its first frame at {video.first_time:.2f} s, the sound begins at 0"
        is_late = video.first_time > LATE_START
        return "ok", f"the first frame comes at {video.first_time:.2f} s" if is_late else ""

    def _decode_video(self) -> _DecodedVideo:
        """Decode all frames and the mp4's own sound; measure the brightness."""
        first_time, last_time, last_frame = 0.0, 0.0, None
        brightness: list[float] = []
        is_black, sound = True, EmbeddedAudio()
        assert self._container is not None
        sound_streams = [stream for stream in self._container.streams.audio if stream.codec_context is not None]
        try:
            for packet in self._container.demux([self._stream, *sound_streams[:1]]):
                if packet.stream.type == "audio":
                    sound.add(packet)
                    continue
                for frame in cast(list[av.VideoFrame], packet.decode()):
                    if frame.is_corrupt or frame.time is None:  # the decoder concealed an error
                        raise self._error("damaged", self.video_file, f"is damaged at {frame.time or 0:.2f} s")
                    first_time = frame.time if last_frame is None else first_time
                    last_time, last_frame = frame.time, frame
                    if frame.time >= len(brightness) * BRIGHTNESS_INTERVAL:
                        gray = frame.reformat(64, 64, "gray", interpolation="AREA", threads=1).to_ndarray() / 255
                        brightness.append(gray.mean())
                        is_black &= bool(np.quantile(gray, 0.98) < BLACK_LEVEL)
                        if self.middle_frame is None or frame.time < self.video_end / 2:
                            self.middle_frame = frame
        except (av.FFmpegError, OSError) as error:
            raise self._error("damaged", self.video_file, f"is damaged ({error_reason(error)})") from error
        finally:
            self.brightness = float(np.mean(brightness)) if brightness else None
        if last_frame is None:
            raise self._error("no picture", self.video_file, "holds no frames")
        end = last_time + max(2.0 * float(last_frame.duration or 0) * float(last_frame.time_base or 0), 0.1)
        if self.last > end:  # as `ClipReader.decode_frames` checks it
            reason = f"is truncated at {last_time:.2f} s, before its end at {self.last:.2f} s"
            raise self._error("damaged", self.video_file, reason)
        return _DecodedVideo(first_time, is_black, sound.samples())


def _encode_thumbnail(frame: av.VideoFrame) -> bytes:
    """Encode a decoded frame as a small JPEG."""
    out, (width, height) = io.BytesIO(), upright_size(frame)
    pixels = to_upright_rgb(frame, THUMBNAIL_WIDTH, max(round(THUMBNAIL_WIDTH * height / width), 1))
    Image.fromarray(pixels).save(out, "JPEG", quality=70)
    return out.getvalue()
