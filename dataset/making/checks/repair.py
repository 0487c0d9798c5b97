"""Cure a clip: write corrected files, from what `dataset.making.checks.clip_checks` measured, and check them again.

A wav is shifted, cut, or played at its right speed; one that can't be used is replaced by the video's own sound. A
video that isn't an mp4 by its content is copied into one, without encoding it again where that is possible.
"""

import os
import shutil
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import soundfile
import soxr

from dataset.making.checks.clip_checks import CheckResult, Cure, check_clip
from dataset.making.checks.move_files import publish_file
from dataset.making.checks.sync import Sync
from dataset.making.clips.cut import cut_clip
from dataset.making.clips.link_files import temporary_path
from dataset.reading.audio import BLOCK_SECONDS, QUALITY
from dataset.reading.container import best_stream, demux, open_media
from dataset.reading.errors import MediaError, error_reason
from dataset.reading.media import stream_audio
from dataset.reading.timeline import origin_of
from dataset.reading.wav import write_wav

NO_SOUND_KINDS = ("missing", "damaged", "short", "silent")  # perhaps of the wav: the video may have the same sound
MAX_STEPS = 5  # cures of one clip
MAX_HEIGHT = 10_000  # of a video that is encoded again: it keeps its size, pixels


class Repair(NamedTuple):
    """What became of a clip.

    Attributes:
        clip: its id.
        steps: what was done to it; none if it could not be cured.
        reason: why it could not be cured, or "".
        start: time of the source at which the corrected clip begins, seconds.
    """

    clip: str
    steps: tuple[str, ...]
    reason: str = ""
    start: float = 0.0


def is_curable(result: CheckResult) -> bool:
    """Check whether `repair_clip` has something to do for a clip, given the result of checking it."""
    return bool(result.cures) or result.kind in NO_SOUND_KINDS


def repair_clip(clip: str, mp4: Path, wav: Path, result: CheckResult, mp4_target: Path, wav_target: Path) -> Repair:
    """Write a corrected copy of a clip, if it can be cured: the copy passes the check.

    Args:
        clip: its id.
        mp4, wav: its files, which are only read.
        result: of checking it.
        mp4_target, wav_target: paths of the copy's files, which don't exist; their folders do.

    Raises:
        OSError: the copy can't be written.
    """
    work = _Workshop(mp4, wav, temporary_path(mp4_target), temporary_path(wav_target))
    steps: list[str] = []
    first = result
    try:
        while result.kind != "ok" or result.cures:
            step = work.apply_next(result)
            if step is None:
                break
            steps.append(step)
            result = check_clip(clip, work.mp4, work.wav)
        if result.kind != "ok" or not steps:
            return Repair(clip, (), result.message or first.message)
        work.publish(mp4_target, wav_target)
        return Repair(clip, tuple(steps), start=work.start)
    except MediaError as error:
        if error.kind == "storage":
            raise
        return Repair(clip, (), first.message)
    finally:
        work.clean_up()


class _Workshop:
    """The files of a clip while it is cured.

    Args:
        mp4, wav: the source.
        new_mp4, new_wav: temporary paths for corrected files.

    Attributes:
        mp4, wav: what the clip is made of so far.
        start: time of the source that is its time 0 now, seconds.
    """

    def __init__(self, mp4: Path, wav: Path, new_mp4: Path, new_wav: Path) -> None:
        self.mp4, self.wav, self.start = mp4, wav, 0.0
        self._new = {".mp4": new_mp4, ".wav": new_wav}
        self._tried: list[Cure | str] = []

    def apply_next(self, result: CheckResult) -> str | None:
        """Apply the next cure that `result` asks for, and say what it did; None if none is left."""
        if result.kind in NO_SOUND_KINDS:
            return self._apply_once("sound", result)
        for cure in result.cures:
            step = self._apply_once(cure, result)
            if step is not None:
                return step
        return None

    def _apply_once(self, cure: Cure | str, result: CheckResult) -> str | None:
        # A second attempt at the same fault, with what was measured after the first one, is the last.
        if self._tried.count(cure) >= 2 or len(self._tried) >= MAX_STEPS:
            return None
        self._tried.append(cure)
        mp4, wav = (self._new[suffix].with_suffix(".new.tmp") for suffix in (".mp4", ".wav"))
        apply = {
            "sound": _take_sound, "rate": _state_rate, "sync": _shift_sound, "start": _cut_start,
            "container": _write_mp4, "end": _cut_end,
        }[cure]  # fmt: skip
        try:
            step = apply(self, result, mp4, wav)
        except BaseException:
            for path in (mp4, wav):
                path.unlink(missing_ok=True)
            raise
        for path, suffix in ((mp4, ".mp4"), (wav, ".wav")):
            if path.exists():
                os.replace(path, self._new[suffix])
        self.mp4, self.wav = (
            self._new[suffix] if self._new[suffix].exists() else old
            for suffix, old in ((".mp4", self.mp4), (".wav", self.wav))
        )
        return step

    def publish(self, mp4: Path, wav: Path) -> None:
        """Give the files their final names; what wasn't changed is copied."""
        for source, target, temporary in ((self.wav, wav, self._new[".wav"]), (self.mp4, mp4, self._new[".mp4"])):
            if source != temporary:
                shutil.copy2(source, temporary)
            publish_file(temporary, target)

    def clean_up(self) -> None:
        """Remove temporary files."""
        for path in self._new.values():
            path.unlink(missing_ok=True)


def _take_sound(work: _Workshop, result: CheckResult, mp4: Path, wav: Path) -> str:
    write_wav(wav, stream_audio(work.mp4))
    return "took the sound of the video itself for the wav"


def _state_rate(work: _Workshop, result: CheckResult, mp4: Path, wav: Path) -> str:
    rate = result.sync.rate if result.sync else 0
    with soundfile.SoundFile(os.fsencode(work.wav)) as source:
        _write_like(source, wav, _blocks(source), rate)
        return f"stated the sample rate of the wav as {rate} Hz, not {source.samplerate} Hz"


def _shift_sound(work: _Workshop, result: CheckResult, mp4: Path, wav: Path) -> str:
    sync = result.sync or Sync(0.0)
    with soundfile.SoundFile(os.fsencode(work.wav)) as source:
        blocks = _blocks(source)
        if sync.drift:
            blocks = _change_speed(blocks, source.samplerate, source.samplerate * (1 - sync.drift), source.channels)
        _write_like(source, wav, _shift(blocks, round(-sync.offset * source.samplerate), source.channels))
    moved = f"moved the sound {abs(1000 * sync.offset):.1f} ms {'earlier' if sync.offset > 0 else 'later'}"
    speed = f"played it {abs(100 * sync.drift):.3f}% {'faster' if sync.drift > 0 else 'slower'}"
    return f"{moved}, {speed}" if sync.drift else moved


def _cut_start(work: _Workshop, result: CheckResult, mp4: Path, wav: Path) -> str:
    cut_clip(work.mp4, work.wav, result.first_time, inf, mp4, wav, MAX_HEIGHT, fps=0)
    work.start += result.first_time
    return f"cut the first {result.first_time:.2f} s off, which have no frames"


def _write_mp4(work: _Workshop, result: CheckResult, mp4: Path, wav: Path) -> str:
    if _remux(work.mp4, mp4):
        check = check_clip(result.clip, mp4, work.wav)
        if check.kind == "ok" and "container" not in check.cures:
            return "copied the streams of the video into an mp4"
    cut_clip(work.mp4, work.wav, 0.0, inf, mp4, wav, MAX_HEIGHT, fps=0)
    return "encoded the video again as an mp4 in H.264"


def _cut_end(work: _Workshop, result: CheckResult, mp4: Path, wav: Path) -> str:
    with soundfile.SoundFile(os.fsencode(work.wav)) as source:
        count = round(result.seconds * source.samplerate)
        _write_like(source, wav, _limit(_blocks(source), count))
        return f"cut {source.frames / source.samplerate - result.seconds:.2f} s off the end of the wav"


def _blocks(source: soundfile.SoundFile) -> Iterator[np.ndarray]:
    """Read a sound in blocks: (samples, channels) float64."""
    while len(block := source.read(BLOCK_SECONDS * source.samplerate, "float64", always_2d=True)):
        yield block


def _write_like(source: soundfile.SoundFile, target: Path, blocks: Iterator[np.ndarray], rate: int = 0) -> None:
    """Write blocks of samples to a wav of the same kind of samples as `source`, at `rate` or its own."""
    subtype = source.subtype if soundfile.check_format("WAV", source.subtype) else "PCM_24"
    form = {"samplerate": rate or source.samplerate, "channels": source.channels, "subtype": subtype, "format": "WAV"}
    with soundfile.SoundFile(os.fsencode(target), "w", **form) as out:
        for block in blocks:
            out.write(block)


def _change_speed(blocks: Iterator[np.ndarray], rate: float, new_rate: float, channels: int) -> Iterator[np.ndarray]:
    """Resample a stream of blocks."""
    stream = soxr.ResampleStream(rate, new_rate, channels, dtype="float64", quality=QUALITY)
    for block in blocks:
        yield stream.resample_chunk(block if channels > 1 else block[:, 0]).reshape(-1, channels)
    rest = np.zeros((0, channels)) if channels > 1 else np.zeros(0)
    yield stream.resample_chunk(rest, last=True).reshape(-1, channels)


def _shift(blocks: Iterator[np.ndarray], count: int, channels: int) -> Iterator[np.ndarray]:
    """Begin a stream with `count` samples of silence, or, if negative, without its first samples."""
    if count > 0:
        yield np.zeros((count, channels))
    skip = max(-count, 0)
    for block in blocks:
        yield block[skip:]
        skip = max(skip - len(block), 0)


def _limit(blocks: Iterator[np.ndarray], count: int) -> Iterator[np.ndarray]:
    """End a stream after `count` samples."""
    for block in blocks:
        yield block[:count]
        count = max(count - len(block), 0)


def _remux(source: Path, target: Path) -> bool:
    """Copy the picture and the sound of a file into an mp4 as they are; False if an mp4 can't hold them."""
    try:
        with open_media(source) as container, av.open(f"file:{target}", "w", format="mp4") as out:
            video = best_stream(container, "video", source)
            sound = container.streams.best("audio")
            streams = {stream.index: out.add_stream_from_template(stream) for stream in (video, sound) if stream}
            origin = origin_of(container)
            for packet in demux(container, *(stream for stream in (video, sound) if stream)):
                if packet.size == 0 or packet.time_base is None:
                    continue
                shift = round(origin / packet.time_base)
                packet.pts = None if packet.pts is None else packet.pts - shift
                packet.dts = None if packet.dts is None else packet.dts - shift
                packet.stream = streams[packet.stream_index]
                out.mux(packet)
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, MediaError):
            raise
        error_reason(error)  # raises a shortage of memory
        target.unlink(missing_ok=True)
        return False
    return True
