"""Embed files so that an interrupted embed.py resumes: what is finished goes to npz files in the folder NAME.parts.

A part is named by the number of its first file. It ends where a batch ends, so a resumed run embeds the same batches,
and ends with the same result.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from collection.storage import (
    Collection,
    load_collection,
    output_paths,
    report_write_errors,
    save_collection,
    save_maps,
    write_csv,
)
from dataset.making.left_out import LeftOut, write_left_out
from dataset.reading.media_folder import MediaItem
from evaluation.file_embedding import join_collections
from utils.errors import UserError
from utils.files import write_json

PART_SECONDS = 2.0  # between two parts: a killed run loses the work of this time, and the batch that it was at


def embed_in_parts(
    items: list[MediaItem],
    folder: Path,
    embed: Callable[[list[MediaItem]], Iterator[Collection]],
    done: Callable[[int], object],
) -> list[Path]:
    """Embed files, except those in the parts of an earlier run.

    Args:
        items: the files.
        folder: where the parts go; `open_parts` has made it.
        embed: embeds files; yields the rows of the next ones.
        done: is called with the number of files that are finished.

    Returns:
        the paths of the parts, in the order of their files.
    """
    paths: list[Path] = []
    count = 0
    while (path := _part_path(folder, count)).exists():
        finished = len(load_collection(path, with_maps=False).about["files"])
        paths.append(path)
        count += finished
        done(finished)
    waiting: list[Collection] = []
    written = time.monotonic()
    for group in embed(items[count:]) if count < len(items) else ():
        waiting.append(group)
        done(len(group.about["files"]))
        if time.monotonic() - written >= PART_SECONDS:
            paths.append(_save_part(folder, count, waiting))
            count += sum(len(group.about["files"]) for group in waiting)
            waiting.clear()
            written = time.monotonic()
    return [*paths, _save_part(folder, count, waiting)] if waiting else paths


def _part_path(folder: Path, first: int) -> Path:
    return folder / f"{first:09d}.npz"


def _save_part(folder: Path, first: int, groups: list[Collection]) -> Path:
    part = join_collections(groups, {})
    maps = [group.maps for group in groups if group.maps is not None and len(group.maps)]
    if part.norms is not None:
        part.maps = np.concatenate(maps) if maps else groups[0].maps
    path = _part_path(folder, first)
    save_collection(path, part)
    return path


def open_parts(folder: Path, settings: dict[str, Any]) -> None:
    """Create the folder of the parts, or check that its parts were made with the same settings.

    Args:
        folder: NAME.parts.
        settings: {name: plain value} that all parts must share.

    Raises:
        UserError: the folder holds parts made with other settings, or can't be created.
    """
    stored = folder / "settings.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not stored.exists():
            write_json(stored, settings)
        before = json.loads(stored.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{folder} can't be written ({error.strerror}): choose another --out") from None
    except ValueError:
        before = {}
    different = [name for name, value in settings.items() if before.get(name) != value]
    if different:
        raise UserError(
            f"{folder} holds parts of an embedding with another {' and '.join(different)}: choose another --out, or "
            f"remove {folder} to start again"
        )


def finish_collection(out: str, parts: list[Path], about: dict[str, Any], skipped: dict[str, str]) -> Collection:
    """Write NAME's files and remove the folder of the parts. The npz is written last: where it exists, all do.

    Args:
        out: NAME.
        parts: of `embed_in_parts`.
        about: of the collection.
        skipped: {file name: reason} of files that aren't in the parts.

    Returns:
        The collection.

    Raises:
        UserError: the files can't be written, or the collection is empty (only NAME_left_out.csv is written then).
    """
    paths = output_paths(out)
    collection = join_collections([load_collection(part, with_maps=False) for part in parts], about)
    collection.about["skipped"] |= skipped
    rows = [LeftOut("", name, "left out", reason) for name, reason in collection.about["skipped"].items()]
    rows += [LeftOut("", name, "in part", reason) for name, reason in collection.about["in_part"].items()]
    with report_write_errors(paths.left_out):
        write_left_out(paths.left_out, rows)
    if not len(collection.times):
        shutil.rmtree(paths.parts)
        raise UserError(f"nothing could be embedded: {paths.left_out} gives the reason for each file")
    with report_write_errors(paths.csv):
        write_csv(paths.csv, collection)
    if collection.norms is not None:
        size = save_maps(paths.maps, parts)
        print(f"{size / 1e6:,.1f} MB of maps: {paths.maps}")
    save_collection(paths.npz, collection)
    shutil.rmtree(paths.parts)
    return collection


def files_digest(items: list[MediaItem]) -> str:
    """Compute a short hash of the `items` that changes when a file or its sound is added, removed or modified."""
    files = [[name, *_size_and_time(item.root / name)] for item in items for name in {item.name, item.sound_name}]
    return hashlib.sha256(json.dumps(sorted(files)).encode()).hexdigest()[:16]


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:  # it was removed meanwhile: its reader will say so
        return -1, -1
    return stat.st_size, stat.st_mtime_ns
