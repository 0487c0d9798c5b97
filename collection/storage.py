"""An embedded collection on disk: NAME.npz with all vectors, NAME.csv as a readable table.

NAME.npz holds N rows, one for each embedded second of a file:

    frames, sounds         (N, D) float32 unit vectors; zeros where the file has no frame or no sound
    has_frame, has_sound   (N,) bool
    times                  (N,) float64, midpoint of the second, seconds
    files                  (N,) int32, index into about["files"]
    norms                  (N,) float32, with --maps: length of a sound's embedding before it was normalized
    stamps                 (F, 5) int64, what shows that one of the F files has changed, see `collection.stamps`
    about                  JSON: {"files": [[name, kind, name of its sound], ...], "input", "checkpoint", ...}

The rows of a file follow each other, in the order of its seconds; the files are in the order of about["files"].
Collections of earlier versions have no stamps.
With --maps NAME_maps.npy holds the embeddings at each location of the F frames, (F, D, h, w) float16: 50 KB for each
frame with 128 dimensions at 14 x 14 locations.
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

from collection.arrays import ArrayChunks, StoredArray, open_npz, whole_array, write_npz
from evaluation.file_embedding import ARRAY_DIMS, OPTIONAL_DIMS, Collection
from utils.errors import UserError
from utils.files import atomic_write

FINISHED = "finished"  # folder in NAME.parts: all files of a collection, which are about to replace NAME's


class OutputPaths(NamedTuple):
    """The files that embed.py writes: vectors, maps, table, what was left out; `parts` until then."""

    npz: Path
    maps: Path
    csv: Path
    left_out: Path
    parts: Path


def output_paths(out: str | Path) -> OutputPaths:
    """Name the files of a collection; `out` is embed.py's --out, with or without ".npz"."""
    out = str(out).removesuffix(".npz")
    return OutputPaths(*(Path(f"{out}{end}") for end in (".npz", "_maps.npy", ".csv", "_left_out.csv", ".parts")))


def save_part(path: Path, collection: Collection, stamps: np.ndarray) -> None:
    """Write the rows of some files to the npz file `path`, atomically, with their maps if they have any.

    Args:
        path: of the file.
        collection: the rows.
        stamps: (F, 5) int64, of its files.

    Raises:
        UserError: the disk is full or the folder is not writable.
    """
    names = [*ARRAY_DIMS, *(name for name in OPTIONAL_DIMS if getattr(collection, name) is not None)]
    arrays = {name: whole_array(getattr(collection, name)) for name in names}
    with report_write_errors(path), atomic_write(path) as file:
        write_npz(file, {"about": about_array(collection.about), "stamps": whole_array(stamps), **arrays})


def about_array(about: dict[str, Any]) -> ArrayChunks:
    """Make the array that holds `about`, plain data, as JSON."""
    return whole_array(np.frombuffer(json.dumps(about).encode(), np.uint8))


@contextmanager
def report_write_errors(path: Path) -> Iterator[None]:
    """Turn an OSError raised while writing `path` into a UserError."""
    try:
        yield
    except OSError as error:
        message = f"{path} can't be written ({error.strerror}): free some disk space and rerun the same command"
        raise UserError(message) from None


def load_collection(path: Path, with_maps: bool = True) -> Collection:
    """Open a collection, the npz file `path`, without executing any code in it; its vectors are mapped from the disk.

    Args:
        path: of the file.
        with_maps: also map its maps into memory, if it has any: from NAME_maps.npy beside it.

    Raises:
        UserError: a file is missing, damaged, not a collection, or being replaced.
    """
    paths = output_paths(path)
    if (paths.parts / FINISHED).exists():
        raise UserError(f"embed.py has not replaced all files of {path} yet: run it again with the same --out")
    stored = read_arrays(path)
    arrays = {name: stored[name].map() for name in (*ARRAY_DIMS, "norms") if name in stored}
    collection = Collection(**arrays, about=read_about(path, stored))
    if not _is_valid(arrays, collection.about):
        raise UserError(f"collection {path} has an invalid format: make it again with embed.py")
    if with_maps and collection.norms is not None:
        collection.maps = _map_maps(paths.maps, int(collection.has_frame.sum()))
    return collection


def read_arrays(path: Path, verify: bool = True) -> dict[str, StoredArray]:
    """Find the arrays of a collection's npz file.

    Args:
        path: of the file.
        verify: as of `open_npz`.

    Raises:
        UserError: the file is missing, damaged, or not a collection.
    """
    with report_damage(path):
        arrays = open_npz(path, verify)
        if missing := {*ARRAY_DIMS, "about"} - arrays.keys():
            raise ValueError(f"it holds no {min(missing)}")
        return arrays


def read_about(path: Path, arrays: dict[str, StoredArray]) -> dict[str, Any]:
    """Read what describes a collection.

    Args:
        path: of its npz file.
        arrays: of it.

    Raises:
        UserError: it is damaged.
    """
    with report_damage(path):
        return json.loads(arrays["about"].read().tobytes())


@contextmanager
def report_damage(path: Path) -> Iterator[None]:
    """Turn the errors of reading the collection `path` into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(f"collection {path} can't be read ({error.strerror or error}): make it with embed.py") from None
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{path} is damaged or not a collection ({error}): make it again with embed.py") from None


def _map_maps(path: Path, count: int) -> np.ndarray:
    """Map the maps of `count` frames into memory."""
    try:
        maps = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"the collection's maps {path} can't be read ({getattr(error, 'strerror', None) or error}): put the file "
            "there, or make the collection again with embed.py"
        ) from None
    if maps.ndim != OPTIONAL_DIMS["maps"] or len(maps) != count or maps.dtype != np.float16:
        raise UserError(f"{path} does not hold the maps of this collection: make it again with embed.py")
    return maps


def _is_valid(arrays: dict[str, np.ndarray], about: Any) -> bool:
    """Whether the arrays fit each other and every row's file is listed in `about`."""
    rows, listed = len(arrays["times"]), about.get("files") if isinstance(about, dict) else None
    if not isinstance(listed, list) or not all(isinstance(entry, list) and len(entry) == 3 for entry in listed):
        return False
    dims = ARRAY_DIMS | OPTIONAL_DIMS
    if not all(len(array) == rows and array.ndim == dims[name] for name, array in arrays.items()):
        return False
    return rows == 0 or bool(0 <= arrays["files"].min() <= arrays["files"].max() < len(listed))


def write_csv(path: Path, collection: Collection) -> None:
    """Write file, kind, time in seconds, and whether there is a frame and a sound, for each row of `collection`.

    Args:
        path: of the csv file; its rows are those of the npz.
        collection: what is listed.
    """
    with atomic_write(path) as file, io.TextIOWrapper(file, "utf-8", "backslashreplace", newline="") as out:
        writer = csv.writer(out)  # its CRLF line ends make it quote names with a carriage return
        writer.writerow(["file", "kind", "time", "frame", "sound"])
        for row, time in enumerate(collection.times):
            name, kind, _ = collection.file_of(row)
            has = int(collection.has_frame[row]), int(collection.has_sound[row])
            writer.writerow([name, kind, f"{time:.3f}", *has])


def file_digest(path: str | Path) -> str:
    """Compute the SHA-256 of the content of the file `path`, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
