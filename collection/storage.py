"""An embedded collection on disk: NAME.npz with all vectors, NAME.csv as a readable table.

NAME.npz holds N rows, one for each embedded second of a file:

    frames, sounds         (N, D) float32 unit vectors; zeros where the file has no frame or no sound
    has_frame, has_sound   (N,) bool
    times                  (N,) float64, midpoint of the second, seconds
    files                  (N,) int32, index into about["files"]
    about                  JSON: {"files": [[name, kind, name of its sound], ...], "input", "checkpoint", ...}
"""

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evaluation.file_embedding import Collection
from utils.errors import UserError
from utils.files import atomic_write, write_text

ARRAY_DIMS = {"frames": 2, "sounds": 2, "has_frame": 1, "has_sound": 1, "times": 1, "files": 1}


class OutputPaths(NamedTuple):
    """The files that embed.py writes: vectors, table, skipped files with reasons; `parts` is the folder until then."""

    npz: Path
    csv: Path
    skipped: Path
    parts: Path


def output_paths(out: str | Path) -> OutputPaths:
    """Name the files of a collection; `out` is embed.py's --out, with or without ".npz"."""
    out = str(out).removesuffix(".npz")
    return OutputPaths(Path(f"{out}.npz"), Path(f"{out}.csv"), Path(f"{out}_skipped.json"), Path(f"{out}.parts"))


def save_collection(path: Path, collection: Collection) -> None:
    """Write `collection` to the npz file `path`, atomically.

    Raises:
        UserError: the disk is full or the folder is not writable.
    """
    arrays = {name: getattr(collection, name) for name in ARRAY_DIMS}
    with report_write_errors(path), atomic_write(path) as file:
        np.savez(file, about=np.frombuffer(json.dumps(collection.about).encode(), np.uint8), **arrays)


@contextmanager
def report_write_errors(path: Path) -> Iterator[None]:
    """Turn an OSError raised while writing `path` into a UserError."""
    try:
        yield
    except OSError as error:
        message = f"{path} can't be written ({error.strerror}): free some disk space and rerun the same command"
        raise UserError(message) from None


def load_collection(path: Path) -> Collection:
    """Read a collection from the npz file `path`, without executing any code in it.

    Raises:
        UserError: the file is missing, damaged, or not a collection.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in ARRAY_DIMS}
            about = json.loads(content["about"].tobytes())
    except OSError as error:
        raise UserError(f"collection {path} can't be read ({error.strerror or error}): make it with embed.py") from None
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged or not a collection ({error}): make it again with embed.py") from None
    if not _is_valid(arrays, about):
        raise UserError(f"collection {path} has an invalid format: make it again with embed.py")
    return Collection(**arrays, about=about)


def _is_valid(arrays: dict[str, np.ndarray], about: Any) -> bool:
    """Whether the arrays fit each other and every row's file is listed in `about`."""
    rows, listed = len(arrays["times"]), about.get("files") if isinstance(about, dict) else None
    if not isinstance(listed, list) or not all(isinstance(entry, list) and len(entry) == 3 for entry in listed):
        return False
    if not all(len(arrays[name]) == rows and arrays[name].ndim == dims for name, dims in ARRAY_DIMS.items()):
        return False
    return rows == 0 or bool(0 <= arrays["files"].min() <= arrays["files"].max() < len(listed))


def join_collections(parts: list[Collection], about: dict[str, Any]) -> Collection:
    """Concatenate collections.

    Args:
        parts: one or more, in the order of their files.
        about: of the result, without "files".
    """
    parts = [part for part in parts if len(part.times)] or parts[:1]
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ARRAY_DIMS}
    files: list[list[str]] = []
    offsets = []
    for part in parts:
        offsets.append(np.full(len(part.files), len(files), np.int32))
        files += part.about["files"]
    arrays["files"] = arrays["files"] + np.concatenate(offsets)
    return Collection(**arrays, about={**about, "files": files})


def write_csv(path: Path, collection: Collection) -> None:
    """Write file, kind, time in seconds, and whether there is a frame and a sound, for each row of `collection`.

    Args:
        path: of the csv file; its rows are those of the npz.
        collection: what is listed.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["file", "kind", "time", "frame", "sound"])
    for row, time in enumerate(collection.times):
        name, kind, _ = collection.file_of(row)
        has = int(collection.has_frame[row]), int(collection.has_sound[row])
        writer.writerow([name, kind, f"{time:.3f}", *has])
    write_text(path, out.getvalue())


def file_digest(path: str | Path) -> str:
    """Compute the SHA-256 of the content of the file `path`, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
