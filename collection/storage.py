"""An embedded collection on disk: OUT.npz with all vectors, OUT.csv for people, and the parts of an unfinished one.

OUT.npz holds, for N rows, one for each instant of a file:

    frames, sounds         (N, D) float32 unit vectors; zeros where there is none
    has_frame, has_sound   (N,) bool
    times                  (N,) float64, the mid-point of the second, seconds
    files                  (N,) int32, which file of `about`
    about                  JSON: {"files": [[name, kind, name of its sound], ...], "input", "checkpoint", ...}
"""

import csv
import hashlib
import io
import json
import shutil
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.errors import UserError
from utils.files import atomic_write, write_json, write_text

ARRAYS = {"frames": 2, "sounds": 2, "has_frame": 1, "has_sound": 1, "times": 1, "files": 1}  # and their dimensions
PART_FILES, PART_BYTES = 256, 200_000_000  # of a part at most: what a kill costs


@dataclass
class Collection:
    """Rows of embedded instants: the arrays of OUT.npz, and `about`, a dict."""

    frames: np.ndarray
    sounds: np.ndarray
    has_frame: np.ndarray
    has_sound: np.ndarray
    times: np.ndarray
    files: np.ndarray
    about: dict


def save_collection(path, collection):
    """Write an npz in one step.

    Raises:
        UserError: there is no room, or no right, to write there.
    """
    arrays = {name: getattr(collection, name) for name in ARRAYS}
    with _one_sentence(path), atomic_write(path) as file:
        np.savez(file, about=np.frombuffer(json.dumps(collection.about).encode(), np.uint8), **arrays)


@contextmanager
def _one_sentence(path):
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} can't be written ({error.strerror}): free some space and repeat the command") from None


def load_collection(path):
    """Read what `save` wrote: a `Collection`. No code in it is run.

    Raises:
        UserError: no such file, or not of our form.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in ARRAYS}
            about = json.loads(content["about"].tobytes())
    except OSError as error:
        raise UserError(f"collection {path} can't be read ({error.strerror or error}): make it with embed.py") from None
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"collection {path} is damaged or none ({error}): make it again with embed.py") from None
    rows, files = len(arrays["times"]), about.get("files") if isinstance(about, dict) else None
    fits = all(len(arrays[name]) == rows and arrays[name].ndim == ndim for name, ndim in ARRAYS.items())
    fits = fits and isinstance(files, list) and all(isinstance(f, list) and len(f) == 3 for f in files)
    if not fits or (rows and not 0 <= arrays["files"].min() <= arrays["files"].max() < len(files)):
        raise UserError(f"collection {path} is not of our form: make it again with embed.py")
    return Collection(**arrays, about=about)


def join_collections(parts, about):
    """One collection of several, in their order; `about` of the whole, without its files."""
    parts = [part for part in parts if len(part.times)] or parts[:1]
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS}
    files, shift = [], []
    for part in parts:
        shift.append(np.full(len(part.files), len(files), np.int32))
        files += part.about["files"]
    arrays["files"] = arrays["files"] + np.concatenate(shift)
    return Collection(**arrays, about={**about, "files": files})


def write_csv(path, collection):
    """Write the rows' file, kind, time in seconds, and whether there is a frame and a sound; vectors are in the npz."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(["file", "kind", "time", "frame", "sound"])
    numbers = zip(collection.files, collection.times, collection.has_frame, collection.has_sound, strict=True)
    for file, time, frame, sound in numbers:
        name, kind, _ = collection.about["files"][file]
        rows.writerow([name, kind, f"{time:.3f}", int(frame), int(sound)])
    write_text(path, out.getvalue())


def output_paths(out):
    """The paths of an embedding: (npz, csv, skipped json, folder of parts)."""
    out = str(out).removesuffix(".npz")
    return Path(f"{out}.npz"), Path(f"{out}.csv"), Path(f"{out}_skipped.json"), Path(f"{out}.parts")


def split_into_parts(items, sizes):
    """Files, in their order, in parts that are embedded in one go: list of lists.

    Args:
        items: list. sizes: of their files, bytes.
    """
    parts, room = [], 0
    for item, size in zip(items, sizes, strict=True):
        if not parts or len(parts[-1]) == PART_FILES or size > room:
            parts.append([])
            room = PART_BYTES
        parts[-1].append(item)
        room -= size
    return parts


def open_parts(folder, settings):
    """Make the folder of the parts, or check that those in it were made in the same way.

    Args:
        folder: Path. settings: {what: plain value} that all parts must share.

    Raises:
        UserError: it holds parts of other settings, or can't be made.
    """
    kept = folder / "settings.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not kept.exists():
            write_json(kept, settings)
        before = json.loads(kept.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{folder} can't be written ({error.strerror}): name another --out") from None
    except ValueError:
        before = {}
    other = [name for name, value in settings.items() if before.get(name) != value]
    if other:
        raise UserError(
            f"{folder} holds the parts of an embedding with another {' and '.join(other)}: name another --out, or "
            f"remove {folder} to begin anew"
        )


def finish_collection(out, whole, skipped):
    """Write OUT's files and remove the parts. The npz is the last: where it is, all is.

    Args:
        whole: the `Collection` of all parts. skipped: {name: reason}.

    Raises:
        UserError: they can't be written, or there is no row: then only OUT_skipped.json is written.
    """
    npz, table, left_out, folder = output_paths(out)
    with _one_sentence(left_out):
        write_json(left_out, skipped)
    if not len(whole.times):
        shutil.rmtree(folder)
        raise UserError(f"nothing could be embedded: {left_out} says why of each file")
    with _one_sentence(table):
        write_csv(table, whole)
    save_collection(npz, whole)
    shutil.rmtree(folder)


def settings_digest(values):
    """A short text that differs where values, plain ones, differ."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def file_digest(path):
    """Of a file's content: sha256 in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
