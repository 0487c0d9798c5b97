"""One shard, written whole or not at all: the part of data/build_shards.py that each of its processes does."""

import hashlib
import json
import os
from tarfile import USTAR_FORMAT, TarInfo

import av
import numpy as np
import simplejpeg

from dataset.reading.audio import wav_bytes
from dataset.reading.clip_reader import ClipReader, to_upright_rgb, upright_size
from dataset.reading.errors import ClipError, error_reason
from dataset.reading.shard_format import pack_index
from utils.files import write_json

BLOCK = 512  # of a tar, bytes


def build_shard(source, target, job, settings, on_error):
    """Write one shard of a split: its tar, its index, and last NAME.done, its entry in shards.json.

    Args:
        source, target: Paths of the split in SRC and in DST.
        job: {"name", "first": number of its first clip, "clips": [[id, labels, annotated times, ...], ...], "source"}.
        settings: dict, the options of data/build_shards.py. on_error: "stop" or "skip".

    Returns:
        The entry, a dict; a str, what is wrong, if it can't be made.
    """
    drafts = {kind: target / f".{job['name']}.{kind}.{os.getpid()}.tmp" for kind in ("tar", "index")}
    ids, skipped, rows, frames = [], {}, [], []
    try:
        with open(drafts["tar"], "wb") as tar:
            for number, (clip, labels, times, *_) in enumerate(job["clips"], job["first"]):
                try:
                    members, stamps, row = read_clip(source, clip, labels, times, f"{number:07d}", settings)
                except ClipError as error:
                    if on_error == "stop":
                        return f"{error.path} {error.reason}: fix or remove clip {clip}, or pass --on_error skip"
                    skipped[clip] = str(error)
                    continue
                ids.append(clip)
                begins = [write_member(tar, *member) for member in members]  # its json, its wav, its pictures
                rows.append((len(frames), len(stamps), begins[1] + 44, *row))
                frames += list(zip(stamps, begins[2:], [len(data) for _, data in members[2:]], strict=True))
            tar.write(bytes(2 * BLOCK))
        drafts["index"].write_bytes(pack_index(rows, frames))
        entry = {"name": job["name"], "ids": ids, "skipped": skipped, "source": job["source"]}
        for kind, draft in drafts.items():
            entry |= {f"{kind}_bytes": draft.stat().st_size, f"{kind}_sha256": sha256(draft)}
            os.replace(draft, target / f"{job['name']}.{kind}")
        write_json(target / f"{job['name']}.done", entry)
        return entry
    except OSError as error:
        return f"{target} can't take the shards ({error}): put that right and repeat the command"
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


def read_clip(source, clip, labels, times, key, settings):
    """Read one clip whole.

    Args:
        source: Path of its split. times: annotated ones, seconds. key: what its members are named by.

    Returns:
        [(name, bytes), ...] of the members: json, wav, pictures; the times of the pictures, seconds; and
        (samples, last, video_end).

    Raises:
        ClipError: it can't be read.
    """
    mp4, wav = source / "video" / f"{clip}.mp4", source / "audio" / f"{clip}.wav"
    try:
        with ClipReader(clip, mp4, wav) as opened:
            sound = opened.full_waveform(settings["rate"])
            if len(sound) < settings["rate"]:
                raise ClipError(clip, "short", wav, "is shorter than one second")
            pictures, stamps = kept_pictures(opened, times, settings)
            row = len(sound), opened.last, opened.video_end
    except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
        if isinstance(error, ClipError):
            raise
        raise ClipError(clip, "damaged", mp4, f"can't be read ({error_reason(error)})") from error
    about = {"id": clip, "labels": labels, "times": stamps, "shown_until": row[2]}
    members = [(f"{key}.json", json.dumps(about).encode()), (f"{key}.wav", wav_bytes(sound, settings["rate"]))]
    return members + [(f"{key}.{k:03d}.jpg", jpeg) for k, jpeg in enumerate(pictures)], stamps, row


def kept_pictures(opened, times, settings):
    """([JPEG, ...], [time stamp, ...]) of the frames shown at each multiple of 1 / fps and at each of `times`."""
    ticks = np.arange(int(opened.video_end * settings["fps"] + 1e-6) + 1) / settings["fps"]
    ticks = sorted({*ticks.tolist(), *(time for time in times if 0 <= time <= opened.video_end)})
    pictures, stamps = [], []
    for frame in opened.decode_frames(ticks):
        if stamps and frame.time == stamps[-1]:
            continue  # it is still shown
        picture = to_upright_rgb(frame, *side_lengths(*upright_size(frame), settings))
        # Colour at half the resolution, as in the video itself: a third fewer bytes, decoded in two thirds of the time.
        jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(picture), settings["quality"], "RGB", "420")
        pictures.append(jpeg)
        stamps.append(frame.time)
    return pictures, stamps


def side_lengths(width, height, settings):
    """(width, height) of a kept picture: the short side is `size`, or less where the video's is; pixels."""
    short = min(width, height)
    side = min(settings["size"], short)
    return (side, side) if settings["square"] else (round(width * side / short), round(height * side / short))


def write_member(tar, name, data):
    """Append a file to a tar, always in the same way: no owner, no time. Returns where its data begins, bytes."""
    info = TarInfo(name)
    info.size = len(data)
    tar.write(info.tobuf(USTAR_FORMAT))
    begin = tar.tell()
    tar.write(data + bytes(-len(data) % BLOCK))
    return begin


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
