"""Check whether a clip is fit for training: open and read all of it, as training, shards and embeddings read it.

There is no rule here about what can be read: those are the readers', so that what a reader would refuse is refused
here, for the same reason, and nothing else. Beyond that a clip must not be black, and its wav must be in sync with the
sound track of its own mp4, which shares the clock of the frames. Frames without a video have no such track.
"""

import io
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import av
import numpy as np
from PIL import Image

from dataset.making.checks.findings import FINDING_KINDS, MESSAGES, Finding
from dataset.making.checks.sync import SYNC_TOLERANCE, Sync, measure_sync
from dataset.making.checks.unchanging import GRID, ContentDigest, PictureChange, SoundChange
from dataset.reading.audio import INT16_SCALE
from dataset.reading.clip_reader import ClipReader
from dataset.reading.errors import ClipError, MediaErrorKind, error_reason
from dataset.reading.frame_reader import FrameReader
from dataset.reading.picture_clips import PictureReader
from dataset.reading.picture_files import is_of_pictures
from dataset.reading.upright import to_upright_rgb, upright_size

CHECK_VERSION = 1  # raised where a clip may be judged otherwise than before: kept results are no longer used
CHECK_KINDS = ("ok", *get_args(MediaErrorKind), "black", "out of step", *FINDING_KINDS)
MP4, WAV, PICTURE, FRAMES = "the mp4", "the wav", "the picture", "the folder of frames"  # in messages
BRIGHTNESS_INTERVAL = 0.2  # from one frame whose brightness is measured to the next, seconds
BLACK_LEVEL = 0.1  # a frame is black if 98% of its pixels are darker than this, 0..1
THUMBNAIL_WIDTH = 240  # pixels
LONGEST_DIFFERENCE = 1.0  # between the ends of frames and of their sound that is not worth a note, seconds
DEFAULT_FRAME, LONGEST_FRAME = 0.04, 0.2  # what counts as one frame's duration, if unknown, and at most, seconds

# What would cure a clip, see `dataset.making.checks.repair`. "rate": state another sample rate; "sync": shift the wav,
# or change its speed; "start": begin with the first frame; "container": write a proper mp4; "end": cut the wav off
# where the video ends.
Cure = Literal["rate", "sync", "start", "container", "end"]
CURES: tuple[Cure, ...] = ("rate", "sync", "start", "container", "end")


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
        cures: what may cure it, in this order; also of a clip that is ok but could be better.
        sync: how the wav lies to the mp4's own sound, or None.
        first_time: when the first frame is shown, seconds.
        findings: what else was found in a clip that is ok.
        digest: of what an ok clip shows and sounds like; equal clips have equal ones.
    """

    clip: str
    kind: str
    message: str
    seconds: float = 0.0
    offset_ms: float | None = None
    loudness: float | None = None
    brightness: float | None = None
    thumbnail: bytes | None = None
    cures: tuple[Cure, ...] = ()
    sync: Sync | None = None
    first_time: float = 0.0
    findings: tuple[Finding, ...] = ()
    digest: str = ""


def check_clip(clip: str, mp4: Path, wav: Path) -> CheckResult:
    """Check whether a clip is fit for training.

    Args:
        clip: its id.
        mp4: its video; read from end to end, and parts of its own sound track. Or its picture or folder of frames.
        wav: its sound; read from end to end.
    """
    reader: _CheckingReader = (_CheckingPictures if is_of_pictures(mp4) else _CheckingVideo)(clip, mp4, wav)
    cures: tuple[Cure, ...] = ()
    try:
        with reader:
            kind, message, cures = reader.check()
    except ClipError as error:
        names = {mp4: reader.picture_name, wav: WAV}
        kind, message = error.kind, f"{names.get(Path(error.path), Path(error.path).name)} {error.reason}"
    except (av.FFmpegError, OSError, ValueError) as error:
        kind, message = "damaged", f"{reader.picture_name} can't be read ({error_reason(error)})"
    findings = reader.findings() if kind == "ok" else ()
    shown = reader.middle_frame if kind != "ok" or findings else None
    thumbnail = None if shown is None else _encode_thumbnail(shown)
    return CheckResult(
        clip, kind, message, max(min(reader.sound_seconds, reader.video_end), 0.0),
        None if reader.sync is None else 1000 * reader.sync.at(reader.sound_seconds / 2),
        reader.loudness, reader.brightness, thumbnail, cures, reader.sync, reader.first_time, findings,
        reader.digest.text() if kind == "ok" else "",
    )  # fmt: skip


class _CheckingReader(FrameReader):
    """A clip opened as training opens it, and read as a whole. What was measured before an error remains.

    Attributes:
        picture_name: what the frames are read from, in messages.
        loudness, brightness, sync, first_time: as of `CheckResult`.
        middle_frame: a frame from about the middle.
        digest: as of `CheckResult`.
        fewest_pictures: with which a clip can be a still picture.
    """

    picture_name: str
    fewest_pictures = 1
    sound_seconds = video_end = first_time = 0.0
    loudness: float | None = None
    brightness: float | None = None
    sync: Sync | None = None
    middle_frame: av.VideoFrame | None = None
    digest: ContentDigest
    _is_still = _is_constant = False

    def findings(self) -> tuple[Finding, ...]:
        """List what was found, once all is read."""
        found = [("still", self._is_still), ("constant sound", self._is_constant)]
        return tuple(Finding(kind, MESSAGES[kind]) for kind, is_found in found if is_found)

    def check(self) -> tuple[str, str, tuple[Cure, ...]]:
        """Read all and return (kind, message, cures).

        Raises:
            ClipError: training would raise it too.
        """
        self.digest = ContentDigest()
        times = self.frame_times()
        is_black = self._read_frames(times)
        self._read_sound()
        if is_black:
            return "black", f"{self.picture_name} shows nothing but black", ()
        return self._judge(times)

    def _judge(self, times: list[float]) -> tuple[str, str, tuple[Cure, ...]]:
        """Judge how frames, shown at `times`, and sound fit together: (kind, message, cures)."""
        raise NotImplementedError

    def _read_frames(self, times: list[float]) -> bool:
        """Decode every frame and measure the brightness; return whether all are black."""
        is_black = True
        brightness: list[float] = []
        change = PictureChange()
        try:
            for k, frame in enumerate(self.decode_frames(times)):
                time = frame.time or 0.0
                if k == 0:
                    self.first_time = time
                if time < len(brightness) * BRIGHTNESS_INTERVAL:
                    continue
                pixels = frame.reformat(GRID, GRID, "gray", interpolation="AREA", threads=1).to_ndarray()
                change.add(pixels)
                self.digest.add(pixels)
                gray = pixels / 255
                brightness.append(gray.mean())
                is_black &= bool(np.quantile(gray, 0.98) < BLACK_LEVEL)
                if self.middle_frame is None or time < self.video_end / 2:
                    self.middle_frame = frame
        finally:
            self.brightness = float(np.mean(brightness)) if brightness else None
        self._is_still = not change.has_changed and len(brightness) >= self.fewest_pictures
        return is_black

    def _read_sound(self) -> None:
        """Read the whole wav as training does, and measure its loudness."""
        energy = 0.0
        change = SoundChange(self.native_rate)
        for block in self.stream_waveform(self.native_rate):
            samples = block / INT16_SCALE
            change.add(samples)
            self.digest.add(block)
            energy += float(np.sum(np.square(samples)))
        self._is_constant = change.is_constant()
        self.loudness = float(10 * np.log10(max(energy / self.native_samples, 1e-10)))


class _CheckingVideo(_CheckingReader, ClipReader):
    """A video and its wav."""

    picture_name = MP4

    def _judge(self, times: list[float]) -> tuple[str, str, tuple[Cure, ...]]:
        intervals = np.diff(times)
        frame = min(float(np.median(intervals)) if len(intervals) else DEFAULT_FRAME, LONGEST_FRAME)
        self.sync = measure_sync(self, self.video_file)
        refused, notes = self._judge_sync(frame)
        # Training reads no frame before `first`: up to there a late start does no harm.
        if self.first_time > self.first + frame + SYNC_TOLERANCE:
            refused["start"] = f"{MP4} shows its first frame at {self.first_time:.2f} s, the sound begins at 0"
        elif self.first_time > frame + SYNC_TOLERANCE:
            notes["start"] = f"the first frame comes at {self.first_time:.2f} s"
        if self._container is not None and "mp4" not in self._container.format.name.split(","):
            notes["container"] = f"{MP4} is of another format by its content: {self._container.format.long_name}"
        if self.sound_seconds > self.video_end + LONGEST_FRAME:
            notes["end"] = ""  # every reader leaves the rest of the wav unused
        cures = tuple(cure for cure in CURES if cure in refused | notes)
        return ("out of step" if refused else "ok"), "; ".join(filter(None, (refused or notes).values())), cures

    def _judge_sync(self, frame: float) -> tuple[dict[Cure, str], dict[Cure, str]]:
        """Say how the wav is out of step: (refused, notes), of which one holds a message.

        Args:
            frame: the duration of one frame, seconds: less is no reason to refuse a clip.
        """
        if self.sync is None:
            return {}, {}
        if self.sync.rate:
            wrong = f"{WAV} states a sample rate of {self.native_rate} Hz, but its sound has {self.sync.rate} Hz"
            return {"rate": wrong}, {}
        offset, end = self.sync.offset, self.sync.at(self.sound_seconds)
        worst = max(offset, end, key=abs)
        if abs(worst) <= SYNC_TOLERANCE:
            return {}, {}
        message = f"{WAV} is {_in_ms(offset)} relative to the video"
        if self.sync.drift:
            message += f" at its start and {_in_ms(end)} at its end"
        return ({"sync": message}, {}) if abs(worst) > frame else ({}, {"sync": f"{message}, less than a frame"})


class _CheckingPictures(_CheckingReader, PictureReader):
    """A picture, or frames at a rate, and their sound."""

    fewest_pictures = 2  # a clip of one picture is meant to be one

    def __init__(self, clip: str, mp4: Path, wav: Path) -> None:
        super().__init__(clip, mp4, wav)
        self.picture_name = FRAMES if mp4.is_dir() else PICTURE

    def _judge(self, times: list[float]) -> tuple[str, str, tuple[Cure, ...]]:
        if abs(self.video_end - self.sound_seconds) <= LONGEST_DIFFERENCE:
            return "ok", "", ()
        ends = f"the frames end at {self.video_end:.2f} s, the sound at {self.sound_seconds:.2f} s"
        return "ok", f"{ends}: is the rate in frames.json right?", ()


def _in_ms(offset: float) -> str:
    return f"{abs(1000 * offset):.0f} ms {'late' if offset > 0 else 'early'}"


def _encode_thumbnail(frame: av.VideoFrame) -> bytes:
    """Encode a decoded frame as a small JPEG."""
    out, (width, height) = io.BytesIO(), upright_size(frame)
    pixels = to_upright_rgb(frame, THUMBNAIL_WIDTH, max(round(THUMBNAIL_WIDTH * height / width), 1))
    Image.fromarray(pixels).save(out, "JPEG", quality=70)
    return out.getvalue()
