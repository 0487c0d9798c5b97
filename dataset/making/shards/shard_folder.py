"""The folder that data/build_shards.py fills: plan its shards, keep those of earlier runs, finish it."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import NamedTuple, cast

from dataset.making.left_out import FILE_NAME, LeftOut, write_left_out
from dataset.making.shards.shard_writer import ShardClip, ShardJob, ShardSettings
from dataset.making.shards.tar_folder import TarClips, clip_rows, find_tars, open_tars
from dataset.reading.clips import Clips, SplitClips, clip_files
from dataset.reading.errors import OnError
from dataset.reading.limits import size_of
from dataset.reading.picture_clips import PictureClips
from dataset.reading.picture_files import picture_splits
from dataset.reading.shard_format import (
    MANIFEST,
    UNFINISHED_MANIFEST,
    Manifest,
    ShardEntry,
    is_shards,
    is_valid_entry,
    read_manifest,
    shard_files,
)
from dataset.reading.sounds_alone import refuse_sounds_alone
from utils.errors import UserError
from utils.files import is_empty_folder, read_text, write_json, write_text

TABLES = ("vid2genre.json", "boxes.json")
MAX_SHARD_CLIPS, MIN_SHARD_CLIPS = 128, 8
MIN_SHARDS = 64  # while they hold `MIN_SHARD_CLIPS` or more: enough for all cores to end at about the same time

ShardKey = tuple[str, str]  # split, name of the shard


class EarlierShards(NamedTuple):
    """What earlier runs left in a folder.

    Attributes:
        entries: of its shards, complete or not.
        is_finished: whether a run ended.
        settings: of these runs, or None.
    """

    entries: dict[ShardKey, ShardEntry]
    is_finished: bool
    settings: ShardSettings | None


def open_source(
    source: Path, on_error: OnError | None, split: str | None = None, video_list: Path | None = None
) -> Mapping[str, SplitClips]:
    """Open all splits of a dataset folder, or of a folder of WebDataset's tars: {split: clips}.

    Args:
        source: the folder.
        on_error: as of `Clips`; None: stop.
        split: of tars that lie in no folder of a split.
        video_list: a list of videos with the labels of the clips in tars.

    Raises:
        UserError: it holds no split, or shards.
    """
    if is_shards(source):
        raise UserError(f"{source} holds shards already: give the folder that they were built from")
    names = sorted({*(path.parent.name for path in source.glob("*/vid2genre.json")), *picture_splits(source)})
    tars = {} if names else find_tars(source, split)
    if tars:
        return open_tars(tars, source, video_list)
    if not names:
        refuse_sounds_alone(source)
        raise UserError(
            f"{source} holds no split: a dataset is SRC/SPLIT/{{vid2genre.json,video/ID.mp4,audio/ID.wav}}, "
            "SRC/SPLIT/{frames/ID.jpg,audio/ID.wav}, or SRC/SPLIT/*.tar of WebDataset"
        )
    if split is not None or video_list is not None:
        option = "--split" if split is not None else "--csv"
        raise UserError(
            f"{source} is a dataset, which has its splits and labels: leave out {option}, which is for tars"
        )
    reader = PictureClips if PictureClips.recognizes(source) else Clips
    return {name: reader(source, name, on_error or "stop") for name in names}


def read_earlier_shards(target: Path) -> EarlierShards:
    """Read what earlier runs left in the folder `target`.

    Raises:
        UserError: it holds something else.
    """
    entries: dict[ShardKey, ShardEntry] = {}
    is_finished, settings = (target / MANIFEST).exists() and not (target / UNFINISHED_MANIFEST).exists(), None
    if is_shards(target):
        manifest = read_manifest(target, MANIFEST if is_finished else UNFINISHED_MANIFEST)
        settings = cast(ShardSettings, manifest["settings"])
        entries = {(split, entry["name"]): entry for split, shards in manifest["splits"].items() for entry in shards}
    elif target.exists() and not is_empty_folder(target):
        raise UserError(f"{target} holds something other than shards: choose another DST, or an empty folder")
    for path in target.glob("*/*.done"):
        try:
            entry = json.loads(read_text(path))
        except (OSError, ValueError):
            continue
        if is_valid_entry(entry):
            entries[path.parent.name, entry["name"]] = entry
    return EarlierShards(entries, is_finished, settings)


def shard_size(num_clips: int) -> int:
    """Choose the number of clips in a shard for a dataset of `num_clips`."""
    return min(MAX_SHARD_CLIPS, max(MIN_SHARD_CLIPS, ceil(num_clips / MIN_SHARDS)))


def plan_shards(clips: SplitClips, settings: ShardSettings) -> list[ShardJob]:
    """Plan the shards of a split. Which clip is in which shard follows from the clips and the settings alone.

    Args:
        clips: of the split.
        settings: of the shards.
    """
    jobs = []
    for number, first in enumerate(range(0, len(clips), settings["clips"])):
        rows = []
        for index in range(first, min(first + settings["clips"], len(clips))):
            clip = clips.ids[index]
            times = sorted({box["time"] for box in clips.boxes.get(clip, ())})
            rows.append(ShardClip(clip, clips.labels[index], times, *_sizes(clips, clip)))
        samples = {row.id: clips.samples[row.id] for row in rows} if isinstance(clips, TarClips) else {}
        pictures = _pictures(clips, [row.id for row in rows])
        content = [first, rows, settings, *(sample.source() for sample in samples.values())]
        if isinstance(clips, PictureClips):
            content += [pictures, clips.frame_rate]
        source = hashlib.sha256(json.dumps(content).encode()).hexdigest()
        jobs.append(ShardJob(f"{number:05d}", first, rows, source, {}, samples, pictures))
    return jobs


def _sizes(clips: SplitClips, clip: str) -> list[int]:
    """Bytes of the picture and of the sound of a clip; 0 of a sound that is in the video."""
    if isinstance(clips, TarClips):
        sample = clips.samples[clip]
        return [sample.picture.size, sample.sound.size if sample.sound is not None else 0]
    if isinstance(clips, PictureClips):
        return [size_of(path) for path in (clips.files.pictures[clip], clips.files.sounds[clip])]
    return [path.stat().st_size for path in clip_files(clips.folder, clip)]


def _pictures(clips: SplitClips, ids: list[str]) -> dict[str, tuple[str, str]]:
    """The `ShardJob.pictures` of these clips."""
    if isinstance(clips, TarClips):
        return {
            clip: (f"frames/{clip}.jpg", f"audio/{clip}.wav") for clip in ids if clips.samples[clip].kind != "video"
        }
    if not isinstance(clips, PictureClips):
        return {}
    files, folder = clips.files, clips.folder
    paths = {clip: (files.pictures[clip], files.sounds[clip]) for clip in ids}
    return {clip: (str(one.relative_to(folder)), str(two.relative_to(folder))) for clip, (one, two) in paths.items()}


def kept_entries(
    target: Path, entries: Mapping[ShardKey, ShardEntry], jobs: Mapping[ShardKey, ShardJob], on_error: OnError
) -> dict[ShardKey, ShardEntry]:
    """Choose the shards of earlier runs that need not be built again: complete, and built from the same clips.

    Args:
        target: folder of the shards.
        entries: of earlier runs.
        jobs: all shards that the folder should hold.
        on_error: "stop" doesn't keep a shard that lacks a clip.
    """

    def is_kept(key: ShardKey, entry: ShardEntry) -> bool:
        if key not in jobs or entry.get("source") != jobs[key].source or (on_error == "stop" and unread_clips(entry)):
            return False
        return all(path.is_file() and path.stat().st_size == size for path, size in shard_files(target / key[0], entry))

    return {key: entry for key, entry in entries.items() if is_kept(key, entry)}


def unread_clips(entry: ShardEntry) -> dict[str, str]:
    """List the clips of the shard of an `entry` that could not be read, {id: reason}."""
    return entry["skipped"] | {clip: reason for clip, (_, reason) in entry.get("left_out", {}).items()}


def prepare_folder(source: Path, target: Path, splits: list[str], manifest: Manifest) -> None:
    """Create the folders of DST with copies of the tables, and remove the temporary files of a run that was killed.

    Args:
        source: SRC.
        target: DST.
        splits: names of the splits.
        manifest: content of the unfinished manifest.

    Raises:
        UserError: DST can't be written.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
        write_json(target / UNFINISHED_MANIFEST, manifest)
        for split in splits:
            (target / split).mkdir(exist_ok=True)
            remove_temporary(target / split)
            for name in TABLES:
                if (source / split / name).exists():
                    write_text(target / split / name, (source / split / name).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{target} can't be written ({error}): choose another DST") from None


def remove_temporary(folder: Path) -> None:
    """Remove from the `folder` of a split what a process that was killed left: half a shard, the copy of a clip."""
    for stale in folder.glob(".*.tmp"):
        if stale.is_dir() and not stale.is_symlink():
            shutil.rmtree(stale)
        else:
            stale.unlink()


def finish_folder(target: Path, manifest: Manifest, clips_of: Mapping[str, SplitClips]) -> None:
    """Write left_out.csv and shards.json; remove files no longer needed, and shards that have no clips any more.

    Args:
        target: DST.
        manifest: content of shards.json.
        clips_of: {split: clips} of SRC.

    Raises:
        UserError: DST can't be written, or no clip of a tar could be read.
    """
    rows = [
        LeftOut(clip, split, kind, reason)
        for split, entries in manifest["splits"].items()
        for kind, skipped in (
            ("missing", manifest["missing"].get(split, {})),
            *(("unreadable", entry["skipped"]) for entry in entries),
        )
        for clip, reason in skipped.items()
    ]
    try:
        for split, clips in clips_of.items():
            if isinstance(clips, TarClips):
                rows += _finish_tars(target / split, manifest["splits"][split], clips)
            elif not (target / split / "vid2genre.json").exists():  # frames and sounds need none
                write_json(target / split / "vid2genre.json", dict(zip(clips.ids, clips.labels, strict=True)))
        write_left_out(target / FILE_NAME, rows)
        for split, entries in manifest["splits"].items():
            if isinstance(clips_of[split], TarClips) and not any(entry["ids"] for entry in entries):
                raise UserError(f"no clip of {split} can be read: {target / FILE_NAME} gives the reasons")
        write_json(target / MANIFEST, manifest)
        (target / UNFINISHED_MANIFEST).unlink()
        for split, entries in manifest["splits"].items():
            remove_temporary(target / split)
            names = {entry["name"] for entry in entries}
            for path in (target / split).glob("[0-9]*.*"):
                if path.suffix == ".done" or path.stem not in names:
                    path.unlink()
    except OSError as error:
        raise UserError(f"{target} can't be written ({error}): fix this, then repeat the command") from None


def _finish_tars(folder: Path, entries: list[ShardEntry], clips: TarClips) -> list[LeftOut]:
    """Write the vid2genre.json of a split that was built from tars, and list what was left out of it."""
    stored = {clip for entry in entries for clip in entry["ids"]}
    labels = {clip: mids for clip, mids in zip(clips.ids, clips.labels, strict=True) if clip in stored}
    write_json(folder / "vid2genre.json", labels)
    return clip_rows(clips, {clip: why for entry in entries for clip, why in entry.get("left_out", {}).items()})
