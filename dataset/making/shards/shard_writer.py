"""Write one shard: what each process of data/build_shards.py does."""

import hashlib
import json
from collections.abc import Iterable
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from tarfile import USTAR_FORMAT, TarInfo
from typing import BinaryIO, NamedTuple, TypedDict

import av
import numpy as np
import simplejpeg

from dataset.making.shards.tar_folder import copied_sample, write_sound
from dataset.making.shards.tar_samples import TarSample
from dataset.making.workers.worker_process import begin_part
from dataset.reading.clip_reader import ClipReader
from dataset.reading.clips import clip_files
from dataset.reading.errors import ClipError, MediaError, OnError, error_reason
from dataset.reading.frame_reader import FrameReader
from dataset.reading.limits import SECONDS_PER_MEGABYTE, TIME_LIMIT
from dataset.reading.picture_clips import PictureReader
from dataset.reading.picture_files import is_of_pictures
from dataset.reading.shard_format import ShardEntry, pack_index
from dataset.reading.tar_members import TAR_BLOCK
from dataset.reading.upright import to_upright_rgb, upright_size
from dataset.reading.wav import MAX_WAV_SAMPLES, WAV_HEADER, wav_header
from utils.errors import UserError
from utils.files import atomic_write, write_json


class ShardSettings(TypedDict):
    """The options of data/build_shards.py that the content of shards depends on; shards.json holds them."""

    fps: float  # frames per second that are kept
    size: int  # short side of the frames, pixels
    square: bool  # resize frames to squares
    quality: int  # of the JPEGs, 1..100
    rate: int  # of the sound, Hz
    clips: int  # in a shard


class ShardClip(NamedTuple):
    """One clip of a job.

    Attributes:
        id: its id.
        labels: mids.
        times: at which it is annotated, seconds: the frames of these times are kept too.
        mp4_bytes: size of its mp4, or of its picture or frames.
        wav_bytes: size of its wav.
    """

    id: str
    labels: list[str]
    times: list[float]
    mp4_bytes: int
    wav_bytes: int


class ShardJob(NamedTuple):
    """What one shard is built from.

    Attributes:
        name: of the shard in its split: "00000".
        first: index of its first clip in the split.
        clips: its clips.
        source: checksum of everything that the shard depends on.
        lost: {clip: reason} of those at which an earlier try hung or crashed: they are not read.
        samples: {clip: where it lies} of clips in tars; empty for those of a folder.
        pictures: {clip: paths of its picture or folder of frames and of its sound, in the folder of the split}; empty
            for videos.
    """

    name: str
    first: int
    clips: list[ShardClip]
    source: str
    lost: dict[str, str]
    samples: dict[str, TarSample] = {}  # noqa: RUF012
    pictures: dict[str, tuple[str, str]] = {}  # noqa: RUF012

    def files(self, folder: Path, clip: str) -> tuple[Path, Path]:
        """Return the paths of a clip's video or pictures, and of its sound.

        Args:
            folder: in which they lie.
            clip: its id.
        """
        if clip not in self.pictures:
            return clip_files(folder, clip)
        picture, sound = self.pictures[clip]
        return folder / picture, folder / sound


class StoredClip(NamedTuple):
    """Where a clip lies in its shard, and what the index states of it.

    Attributes:
        frames: (time, first byte, bytes) of each frame; when it is first shown, seconds.
        sound_start: first byte of its samples.
        samples: number of samples of its sound.
        last: latest time of a frame whose second of sound lies within the clip, seconds.
        video_end: latest time at which a frame is shown, seconds.
    """

    frames: list[tuple[float, int, int]]
    sound_start: int
    samples: int
    last: float
    video_end: float


def build_shard(
    source: Path,
    target: Path,
    job: ShardJob,
    settings: ShardSettings,
    on_error: OnError,
    time_limit: float = TIME_LIMIT,
) -> ShardEntry:
    """Write one shard of a split: its tar, its index, and last NAME.done, its entry in shards.json.

    Args:
        source: folder of the split in SRC.
        target: folder of the split in DST.
        job: what the shard is built from.
        settings: how to encode it.
        on_error: at a clip that can't be read: "stop" raises its error, "skip" lists it in the entry.
        time_limit: for reading a clip, see `reading_limit`.

    Raises:
        UserError: a clip can't be read, or the shard can't be written.
    """
    tar_path, index_path = target / f"{job.name}.tar", target / f"{job.name}.index"
    ids: list[str] = []
    skipped: dict[str, str] = {}
    left_out: dict[str, tuple[str, str]] = {}
    clip_rows: list[tuple] = []
    frame_rows: list[tuple] = []
    try:
        with atomic_write(tar_path) as tar:
            for index, clip in enumerate(job.clips, job.first):
                begin = tar.tell()
                try:
                    stored = copy_clip(tar, f"{index:07d}", source, clip, job, settings, target, time_limit)
                except MediaError as error:
                    if on_error == "stop":
                        raise stopping_error(error, clip.id, job) from None
                    if job.samples:
                        left_out[clip.id] = error.kind, error.reason
                    else:
                        skipped[clip.id] = str(error)
                    tar.seek(begin)
                    tar.truncate()
                    continue
                ids.append(clip.id)
                clip_rows.append((len(frame_rows), len(stored.frames), *stored[1:]))
                frame_rows += stored.frames
            tar.write(bytes(2 * TAR_BLOCK))
        with atomic_write(index_path) as file:
            file.write(pack_index(clip_rows, frame_rows))
        entry: ShardEntry = {
            "name": job.name, "ids": ids, "skipped": skipped, "source": job.source,
            "tar_bytes": tar_path.stat().st_size, "tar_sha256": file_sha256(tar_path),
            "index_bytes": index_path.stat().st_size, "index_sha256": file_sha256(index_path),
        }  # fmt: skip
        if job.samples:
            entry["left_out"] = left_out
        write_json(target / f"{job.name}.done", entry)
    except OSError as error:
        raise UserError(f"{target} can't be written ({error}): fix this, then repeat the command") from None
    return entry


def copy_clip(
    tar: BinaryIO,
    key: str,
    source: Path,
    clip: ShardClip,
    job: ShardJob,
    settings: ShardSettings,
    target: Path,
    time_limit: float,
) -> StoredClip:
    """Append a clip to a tar, wherever its files lie.

    Args:
        tar, key, source, clip, settings: as of `store_clip`.
        job: what the shard is built from.
        target: folder of the split in DST, in which the files of a clip in a tar are copied for a while.
        time_limit: for reading the clip, see `reading_limit`.

    Raises:
        MediaError: it can't be read; a part of it may have been written.
        OSError: the tar can't be written.
    """
    refuse_lost(source, clip.id, job)
    begin_part(clip.id, time_limit + SECONDS_PER_MEGABYTE * (clip.mp4_bytes + clip.wav_bytes) / 1e6)
    with copied_sample(job.samples[clip.id], clip.id, target) if job.samples else nullcontext(source) as folder:
        if job.samples:
            write_sound(folder, clip.id)
        return store_clip(tar, key, folder, clip, settings, job.files(folder, clip.id))


def stopping_error(error: MediaError, clip: str, job: ShardJob) -> UserError:
    """Say which clip stops the command, and what to do.

    Args:
        error: why it can't be read.
        clip: its id.
        job: what the shard is built from.
    """
    if job.samples:
        return UserError(f"{job.samples[clip].where()} {error.reason}: leave out --on_error stop")
    return UserError(f"{error.problem}: fix or remove clip {clip}, or pass --on_error skip")


def refuse_lost(source: Path, clip: str, job: ShardJob) -> None:
    """Raise the error of a clip at which an earlier try hung or crashed.

    Args:
        source: folder of the split in SRC.
        clip: its id.
        job: what the shard is built from.

    Raises:
        ClipError: it is one of those.
    """
    if clip in job.lost:
        raise ClipError(clip, "time limit", job.files(source, clip)[0], job.lost[clip])


def store_clip(
    tar: BinaryIO,
    key: str,
    source: Path,
    clip: ShardClip,
    settings: ShardSettings,
    files: tuple[Path, Path] | None = None,
) -> StoredClip:
    """Append a clip to a tar: its sound, its frames, and its description, one after the other as they are read.

    Args:
        tar: open file.
        key: names its members.
        source: folder of its split.
        clip: which one.
        settings: how to encode it.
        files: its video or pictures, and its sound; None: those of a video in `source`.

    Raises:
        ClipError: it can't be read; a part of it may have been written.
        OSError: the tar can't be written.
    """
    picture, wav = files or clip_files(source, clip.id)
    reader_of = PictureReader if is_of_pictures(picture) else ClipReader
    try:
        with reader_of(clip.id, picture, wav) as reader:
            count = reader.num_samples(settings["rate"])
            if count < settings["rate"]:
                raise ClipError(clip.id, "short", wav, "is shorter than one second")
            if count > MAX_WAV_SAMPLES:
                hours = MAX_WAV_SAMPLES / settings["rate"] / 3600
                raise ClipError(clip.id, "too large", wav, f"is longer than a wav in a shard can be, {hours:.1f} hours")
            parts = (part.astype("<i2").tobytes() for part in reader.stream_waveform(settings["rate"]))
            header = wav_header(count, settings["rate"])
            sound_start = write_member(tar, f"{key}.wav", WAV_HEADER + 2 * count, chain([header], parts)) + WAV_HEADER
            frames = write_frames(tar, key, reader, clip.times, settings)
            last, video_end = reader.last, reader.video_end
    except ClipError:
        raise
    except (av.FFmpegError, ValueError) as error:
        raise ClipError(clip.id, "damaged", picture, f"can't be read ({error_reason(error)})") from error
    description = {"id": clip.id, "labels": clip.labels, "times": [time for time, *_ in frames]}
    encoded = json.dumps(description | {"shown_until": video_end}).encode()
    write_member(tar, f"{key}.json", len(encoded), [encoded])
    return StoredClip(frames, sound_start, count, last, video_end)


def write_frames(
    tar: BinaryIO, key: str, reader: FrameReader, times: list[float], settings: ShardSettings
) -> list[tuple[float, int, int]]:
    """Append the frames to a tar that are shown at each multiple of 1 / fps and at each of `times`.

    Args:
        tar: open file.
        key: names its members.
        reader: an open clip.
        times: annotated ones, seconds.
        settings: how to encode it.

    Returns:
        (time, first byte, bytes) of each frame, see `StoredClip`.
    """
    ticks = np.arange(int(reader.video_end * settings["fps"] + 1e-6) + 1) / settings["fps"]
    wanted = sorted({*ticks.tolist(), *(time for time in times if 0 <= time <= reader.video_end)})
    rows: list[tuple[float, int, int]] = []
    for frame in reader.decode_frames(wanted):
        if rows and frame.time == rows[-1][0]:
            continue  # it is still shown
        pixels = np.ascontiguousarray(to_upright_rgb(frame, *resized(*upright_size(frame), settings)))
        # Color at half the resolution, as in the video itself: a third fewer bytes, decoded in two thirds of the time.
        jpeg = simplejpeg.encode_jpeg(pixels, settings["quality"], "RGB", "420")
        begin = write_member(tar, f"{key}.{len(rows):03d}.jpg", len(jpeg), [jpeg])
        rows.append((float(frame.time or 0.0), begin, len(jpeg)))
    return rows


def resized(width: int, height: int, settings: ShardSettings) -> tuple[int, int]:
    """Compute the (width, height) of a kept frame from those of the video and the `settings`; never larger."""
    short = min(width, height)
    side = min(settings["size"], short)
    return (side, side) if settings["square"] else (round(width * side / short), round(height * side / short))


def write_member(tar: BinaryIO, name: str, size: int, parts: Iterable[bytes]) -> int:
    """Append a file to a tar, without owner and time: the same bytes in every run.

    Args:
        tar: open file.
        name: of the member.
        size: bytes.
        parts: its content.

    Returns:
        Where its content begins, bytes.
    """
    info = TarInfo(name)
    info.size = size
    tar.write(info.tobuf(USTAR_FORMAT))
    begin = tar.tell()
    for part in parts:
        tar.write(part)
    tar.write(bytes(-size % TAR_BLOCK))
    return begin


def file_sha256(path: Path) -> str:
    """Compute the SHA-256 of the file `path`, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
