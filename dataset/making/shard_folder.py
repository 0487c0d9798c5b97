"""The folder that data/build_shards.py fills: plan its shards, keep those of earlier runs, finish it."""

import hashlib
import json
from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import NamedTuple, cast

from dataset.making.left_out import FILE_NAME, LeftOut, write_left_out
from dataset.making.shard_writer import ShardClip, ShardJob, ShardSettings
from dataset.reading.clips import Clips, clip_files
from dataset.reading.errors import OnError
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


def open_source(source: Path, on_error: OnError) -> dict[str, Clips]:
    """Open all splits of the dataset folder `source`, {split: clips}; `on_error` as of `Clips`.

    Raises:
        UserError: it holds no split, or shards.
    """
    if is_shards(source):
        raise UserError(f"{source} holds shards already: give the folder that they were built from")
    names = [path.parent.name for path in sorted(source.glob("*/vid2genre.json"))]
    if not names:
        raise UserError(f"{source} holds no split: a dataset is SRC/SPLIT/{{vid2genre.json,video/ID.mp4,audio/ID.wav}}")
    return {name: Clips(source, name, on_error) for name in names}


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


def plan_shards(clips: Clips, settings: ShardSettings) -> list[ShardJob]:
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
            sizes = [path.stat().st_size for path in clip_files(clips.folder, clip)]
            rows.append(ShardClip(clip, clips.labels[index], times, *sizes))
        source = hashlib.sha256(json.dumps([first, rows, settings]).encode()).hexdigest()
        jobs.append(ShardJob(f"{number:05d}", first, rows, source, {}))
    return jobs


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
        if key not in jobs or entry.get("source") != jobs[key].source or (on_error == "stop" and entry["skipped"]):
            return False
        return all(path.is_file() and path.stat().st_size == size for path, size in shard_files(target / key[0], entry))

    return {key: entry for key, entry in entries.items() if is_kept(key, entry)}


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
            for stale in (target / split).glob(".*.tmp"):
                stale.unlink()
            for name in TABLES:
                if (source / split / name).exists():
                    write_text(target / split / name, (source / split / name).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{target} can't be written ({error}): choose another DST") from None


def finish_folder(target: Path, manifest: Manifest) -> None:
    """Write left_out.csv and shards.json; remove files no longer needed, and shards that have no clips any more.

    Args:
        target: DST.
        manifest: content of shards.json.

    Raises:
        UserError: DST can't be written.
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
        write_left_out(target / FILE_NAME, rows)
        write_json(target / MANIFEST, manifest)
        (target / UNFINISHED_MANIFEST).unlink()
        for split, entries in manifest["splits"].items():
            names = {entry["name"] for entry in entries}
            for path in (target / split).glob("[0-9]*.*"):
                if path.suffix == ".done" or path.stem not in names:
                    path.unlink()
    except OSError as error:
        raise UserError(f"{target} can't be written ({error}): fix this, then repeat the command") from None
