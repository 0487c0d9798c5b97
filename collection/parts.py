"""Embed files so that an interrupted embed.py resumes: what is finished goes to npz files in the folder NAME.parts.

A part holds some files, each with what shows that it has changed since; a part's name comes from those of its files.
It ends where a batch ends, so a resumed run embeds the same batches, and ends with the same result.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from collection.embedded_files import DoneFiles, EmbeddedFiles
from collection.storage import Collection, report_write_errors, save_part
from dataset.reading.media_folder import MediaItem
from evaluation.file_embedding import join_collections
from utils.errors import UserError
from utils.files import write_json

PART_SECONDS = 2.0  # between two parts: a killed run loses the work of this time, and the batch that it was at


def embed_in_parts(
    done: DoneFiles,
    folder: Path,
    embed: Callable[[list[MediaItem]], Iterator[tuple[int, Collection]]],
    finished: Callable[[int], object],
) -> None:
    """Embed the files that are not done, and add the parts that they are written to.

    Args:
        done: the files; at the end all are done.
        folder: where the parts go; `open_parts` has made it.
        embed: embeds files; yields (number of the first one, rows of it and the next ones), in any order.
        finished: is called with the number of files that are finished.
    """
    rest = np.flatnonzero(~done.is_done()).tolist()
    finished(len(done.items) - len(rest))
    waiting: list[Collection] = []
    numbers: list[int] = []
    written = time.monotonic()
    for first, group in embed([done.items[number] for number in rest]) if len(rest) else ():
        count = len(group.about["files"])
        waiting.append(group)
        numbers += rest[first : first + count]
        finished(count)
        if time.monotonic() - written >= PART_SECONDS:
            done.add(_save_part(folder, waiting, done.stamps[numbers], done.time_limit))
            waiting, numbers, written = [], [], time.monotonic()
    if waiting:
        done.add(_save_part(folder, waiting, done.stamps[numbers], done.time_limit))


def number_groups(groups: Iterable[Collection], first: int = 0) -> Iterator[tuple[int, Collection]]:
    """Number groups of rows that come in the order of their files: (number of the first file, group).

    Args:
        groups: rows of the next files each.
        first: number of the first file of all.
    """
    for group in groups:
        yield first, group
        first += len(group.about["files"])


def _save_part(folder: Path, groups: list[Collection], stamps: np.ndarray, time_limit: float) -> EmbeddedFiles:
    part = join_collections(groups, {"time_limit": time_limit})
    maps = [group.maps for group in groups if group.maps is not None and len(group.maps)]
    if part.norms is not None:
        part.maps = np.concatenate(maps) if maps else groups[0].maps
    names = json.dumps([name for name, *_ in part.about["files"]]).encode()
    path = folder / f"{hashlib.sha256(names).hexdigest()[:24]}.npz"
    save_part(path, part, stamps)
    return EmbeddedFiles(path, verify=False)


def add_parts(done: DoneFiles, folder: Path) -> None:
    """Add the parts that an interrupted run has left in `folder`, NAME.parts, to what is `done`."""
    for path in sorted(folder.glob("*.npz")):
        try:
            done.add(EmbeddedFiles(path))
        except UserError:  # a power cut has damaged it: its files are embedded again
            path.unlink(missing_ok=True)


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
            with report_write_errors(stored):
                write_json(stored, settings)
        before = json.loads(stored.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{folder} can't be written ({error.strerror}): choose another --out") from None
    except ValueError:
        before = {}
    refuse_other_settings(f"{folder} holds parts of an embedding", before, settings, folder)


def refuse_other_settings(what: str, before: dict[str, Any], settings: dict[str, Any], path: Path) -> None:
    """Refuse to join embeddings of different kinds.

    Args:
        what: is there, for the message.
        before: its settings.
        settings: {name: plain value} of this run.
        path: what to remove to start again.

    Raises:
        UserError: a setting is another one.
    """
    different = [name for name, value in settings.items() if before.get(name) != value]
    if different:
        raise UserError(
            f"{what} with another {' and '.join(different)}: choose another --out, or remove {path} to start again"
        )
