"""Write one shard: what each process of data/build_shards.py does."""

import hashlib
import json
from pathlib import Path
from tarfile import USTAR_FORMAT, TarInfo
from typing import BinaryIO, NamedTuple, TypedDict

import av
import numpy as np
import simplejpeg

from dataset.reading.audio import wav_bytes
from dataset.reading.clip_reader import ClipReader
from dataset.reading.clips import clip_files
from dataset.reading.errors import ClipError, OnError, error_reason
from dataset.reading.shard_format import ShardEntry, pack_index
from dataset.reading.upright import to_upright_rgb, upright_size
from utils.errors import UserError
from utils.files import atomic_write, write_json

TAR_BLOCK = 512  # bytes
WAV_HEADER = 44  # bytes of a wav before its samples


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
        mp4_bytes: size of its mp4.
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
    """

    name: str
    first: int
    clips: list[ShardClip]
    source: str


class StoredClip(NamedTuple):
    """A clip as a shard stores it.

    Attributes:
        json: bytes of its description.
        wav: bytes of its sound.
        jpegs: bytes of its frames.
        times: when each frame is first shown, seconds.
        samples: number of samples of its sound.
        last: latest time of a frame whose second of sound lies within the clip, seconds.
        video_end: latest time at which a frame is shown, seconds.
    """

    json: bytes
    wav: bytes
    jpegs: list[bytes]
    times: list[float]
    samples: int
    last: float
    video_end: float


def build_shard(source: Path, target: Path, job: ShardJob, settings: ShardSettings, on_error: OnError) -> ShardEntry:
    """Write one shard of a split: its tar, its index, and last NAME.done, its entry in shards.json.

    Args:
        source: folder of the split in SRC.
        target: folder of the split in DST.
        job: what the shard is built from.
        settings: how to encode it.
        on_error: at a clip that can't be read: "stop" raises its error, "skip" lists it in the entry.

    Raises:
        UserError: a clip can't be read, or the shard can't be written.
    """
    tar_path, index_path = target / f"{job.name}.tar", target / f"{job.name}.index"
    ids: list[str] = []
    skipped: dict[str, str] = {}
    clip_rows: list[tuple] = []
    frame_rows: list[tuple] = []
    try:
        with atomic_write(tar_path) as tar:
            for index, clip in enumerate(job.clips, job.first):
                try:
                    stored = read_clip(source, clip.id, clip.labels, clip.times, settings)
                except ClipError as error:
                    if on_error == "stop":
                        hint = f"fix or remove clip {clip.id}, or pass --on_error skip"
                        raise UserError(f"{error.problem}: {hint}") from None
                    skipped[clip.id] = str(error)
                    continue
                sound_start, frame_starts = write_clip(tar, stored, f"{index:07d}")
                ids.append(clip.id)
                clip_rows.append((len(frame_rows), len(stored.times), sound_start, *stored[4:]))
                frame_rows += zip(stored.times, frame_starts, map(len, stored.jpegs), strict=True)
            tar.write(bytes(2 * TAR_BLOCK))
        with atomic_write(index_path) as file:
            file.write(pack_index(clip_rows, frame_rows))
        entry: ShardEntry = {
            "name": job.name, "ids": ids, "skipped": skipped, "source": job.source,
            "tar_bytes": tar_path.stat().st_size, "tar_sha256": file_sha256(tar_path),
            "index_bytes": index_path.stat().st_size, "index_sha256": file_sha256(index_path),
        }  # fmt: skip
        write_json(target / f"{job.name}.done", entry)
    except OSError as error:
        raise UserError(f"{target} can't be written ({error}): fix this, then repeat the command") from None
    return entry


def read_clip(source: Path, clip: str, labels: list[str], times: list[float], settings: ShardSettings) -> StoredClip:
    """Read a whole clip and encode it as a shard stores it.

    Args:
        source: folder of its split.
        clip: its id.
        labels: its mids.
        times: annotated ones, seconds.
        settings: how to encode it.

    Raises:
        ClipError: it can't be read.
    """
    mp4, wav = clip_files(source, clip)
    try:
        with ClipReader(clip, mp4, wav) as reader:
            sound = reader.full_waveform(settings["rate"])
            if len(sound) < settings["rate"]:
                raise ClipError(clip, "short", wav, "is shorter than one second")
            jpegs, stamps = encode_frames(reader, times, settings)
            last, video_end = reader.last, reader.video_end
    except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
        if isinstance(error, ClipError):
            raise
        raise ClipError(clip, "damaged", mp4, f"can't be read ({error_reason(error)})") from error
    description = {"id": clip, "labels": labels, "times": stamps, "shown_until": video_end}
    encoded = json.dumps(description).encode(), wav_bytes(sound, settings["rate"])
    return StoredClip(*encoded, jpegs, stamps, len(sound), last, video_end)


def encode_frames(reader: ClipReader, times: list[float], settings: ShardSettings) -> tuple[list[bytes], list[float]]:
    """Encode the frames that are shown at each multiple of 1 / fps and at each of `times`.

    Args:
        reader: an open clip.
        times: annotated ones, seconds.
        settings: how to encode it.

    Returns:
        JPEGs, and the time stamp of each, seconds.
    """
    ticks = np.arange(int(reader.video_end * settings["fps"] + 1e-6) + 1) / settings["fps"]
    wanted = sorted({*ticks.tolist(), *(time for time in times if 0 <= time <= reader.video_end)})
    jpegs: list[bytes] = []
    stamps: list[float] = []
    for frame in reader.decode_frames(wanted):
        if stamps and frame.time == stamps[-1]:
            continue  # it is still shown
        pixels = np.ascontiguousarray(to_upright_rgb(frame, *resized(*upright_size(frame), settings)))
        # Color at half the resolution, as in the video itself: a third fewer bytes, decoded in two thirds of the time.
        jpegs.append(simplejpeg.encode_jpeg(pixels, settings["quality"], "RGB", "420"))
        stamps.append(float(frame.time or 0.0))
    return jpegs, stamps


def resized(width: int, height: int, settings: ShardSettings) -> tuple[int, int]:
    """Compute the (width, height) of a kept frame from those of the video and the `settings`; never larger."""
    short = min(width, height)
    side = min(settings["size"], short)
    return (side, side) if settings["square"] else (round(width * side / short), round(height * side / short))


def write_clip(tar: BinaryIO, clip: StoredClip, key: str) -> tuple[int, list[int]]:
    """Append a clip to a tar.

    Args:
        tar: open file.
        clip: what to write.
        key: names its members.

    Returns:
        Where its samples begin and where each of its frames begins, bytes.
    """
    write_member(tar, f"{key}.json", clip.json)
    sound_start = write_member(tar, f"{key}.wav", clip.wav) + WAV_HEADER
    return sound_start, [write_member(tar, f"{key}.{k:03d}.jpg", jpeg) for k, jpeg in enumerate(clip.jpegs)]


def write_member(tar: BinaryIO, name: str, content: bytes) -> int:
    """Append a file with this `name` and `content` to a `tar`, without owner and time: the same bytes in every run.

    Returns:
        Where its content begins, bytes.
    """
    info = TarInfo(name)
    info.size = len(content)
    tar.write(info.tobuf(USTAR_FORMAT))
    begin = tar.tell()
    tar.write(content + bytes(-len(content) % TAR_BLOCK))
    return begin


def file_sha256(path: Path) -> str:
    """Compute the SHA-256 of the file `path`, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
