"""Embed files in parts, so that an interrupted embed.py resumes: each part is one npz in the folder NAME.parts."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from collection.storage import (
    Collection,
    load_collection,
    output_paths,
    report_write_errors,
    save_collection,
    write_csv,
)
from dataset.reading.media_folder import MediaItem
from utils.errors import UserError
from utils.files import write_json

PART_FILES, PART_BYTES = 256, 200_000_000  # limits of a part: a killed run loses at most one part's work


def split_into_parts(items: list[MediaItem], stats: list[os.stat_result]) -> list[list[MediaItem]]:
    """Split files into parts of at most PART_FILES files and about PART_BYTES, keeping their order.

    Args:
        items: files to embed.
        stats: size and times of each.
    """
    parts: list[list[MediaItem]] = []
    space = 0
    for item, stat in zip(items, stats, strict=True):
        if not parts or len(parts[-1]) == PART_FILES or stat.st_size > space:
            parts.append([])
            space = PART_BYTES
        parts[-1].append(item)
        space -= stat.st_size
    return parts


def embed_in_parts(
    parts: list[list[MediaItem]],
    folder: Path,
    embed: Callable[[list[MediaItem]], Collection],
    skip: Callable[[int], object],
) -> list[Collection]:
    """Embed files part by part, except the parts that an earlier run has finished.

    Args:
        parts: the files of each part.
        folder: where the embedded parts go; `open_parts` has made it.
        embed: embeds the files of one part.
        skip: is called with the number of files of each part that is already finished.

    Returns:
        the embedded parts.
    """
    paths = [folder / f"{number:06d}.npz" for number in range(len(parts))]
    for path, items in zip(paths, parts, strict=True):
        if path.exists():
            skip(len(items))
        else:
            save_collection(path, embed(items))
    return [load_collection(path) for path in paths]


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


def finish_collection(out: str, collection: Collection, skipped: dict[str, str]) -> None:
    """Write NAME's files and remove the folder of the parts. The npz is written last: where it exists, all do.

    Args:
        out: NAME.
        collection: all parts, joined.
        skipped: {file name: reason} of files that can't be embedded.

    Raises:
        UserError: the files can't be written, or the collection is empty (only NAME_skipped.json is written then).
    """
    paths = output_paths(out)
    with report_write_errors(paths.skipped):
        write_json(paths.skipped, skipped)
    if not len(collection.times):
        shutil.rmtree(paths.parts)
        raise UserError(f"nothing could be embedded: {paths.skipped} gives the reason for each file")
    with report_write_errors(paths.csv):
        write_csv(paths.csv, collection)
    save_collection(paths.npz, collection)
    shutil.rmtree(paths.parts)


def files_digest(items: list[MediaItem], stats: list[os.stat_result]) -> str:
    """Compute a short hash that changes when a file is added, removed or modified.

    Args:
        items: files to embed.
        stats: size and times of each.
    """
    files = [[item.name, stat.st_size, stat.st_mtime_ns] for item, stat in zip(items, stats, strict=True)]
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()[:16]
