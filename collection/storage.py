"""An embedded collection on disk: NAME.npz with all vectors, NAME.csv as a readable table.

NAME.npz holds N rows, one for each embedded second of a file:

    frames, sounds         (N, D) float32 unit vectors; zeros where the file has no frame or no sound
    has_frame, has_sound   (N,) bool
    times                  (N,) float64, midpoint of the second, seconds
    files                  (N,) int32, index into about["files"]
    norms                  (N,) float32, with --maps: length of a sound's embedding before it was normalized
    about                  JSON: {"files": [[name, kind, name of its sound], ...], "input", "checkpoint", ...}

With --maps NAME_maps.npy holds the embeddings at each location of the F frames, (F, D, h, w) float16: 50 KB for each
frame with 128 dimensions at 14 x 14 locations.
"""

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evaluation.file_embedding import ARRAY_DIMS, OPTIONAL_DIMS, Collection
from utils.errors import UserError
from utils.files import atomic_write, write_text


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


def save_collection(path: Path, collection: Collection) -> None:
    """Write `collection` to the npz file `path`, atomically.

    Raises:
        UserError: the disk is full or the folder is not writable.
    """
    names = [*ARRAY_DIMS, *(name for name in OPTIONAL_DIMS if getattr(collection, name) is not None)]
    arrays = {name: getattr(collection, name) for name in names}
    with report_write_errors(path), atomic_write(path) as file:
        np.savez(file, about=np.frombuffer(json.dumps(collection.about).encode(), np.uint8), **arrays)


def save_maps(path: Path, parts: Sequence[Path]) -> int:
    """Join the maps of parts in one npy file, which can be mapped into memory, one part in memory at a time.

    Args:
        path: of the file; it is replaced atomically.
        parts: npz files with maps, in their order.

    Returns:
        The size of the file, bytes.

    Raises:
        UserError: the disk is full or the folder is not writable.
    """
    shapes = [maps.shape for part in parts if len(maps := _read_maps(part))]
    shape = (sum(count for count, *_ in shapes), *(shapes[0][1:] if shapes else (0, 0, 0)))
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float16)), "fortran_order": False, "shape": shape}
    with report_write_errors(path), atomic_write(path) as file:
        np.lib.format.write_array_header_2_0(file, header)
        for part in parts:
            file.write(_read_maps(part).tobytes())
    return path.stat().st_size


def _read_maps(part: Path) -> np.ndarray:
    with np.load(part, allow_pickle=False) as content:
        return content["maps"]


@contextmanager
def report_write_errors(path: Path) -> Iterator[None]:
    """Turn an OSError raised while writing `path` into a UserError."""
    try:
        yield
    except OSError as error:
        message = f"{path} can't be written ({error.strerror}): free some disk space and rerun the same command"
        raise UserError(message) from None


def load_collection(path: Path, with_maps: bool = True) -> Collection:
    """Read a collection from the npz file `path`, without executing any code in it.

    Args:
        path: of the file.
        with_maps: also map its maps into memory, if it has any: from NAME_maps.npy beside it.

    Raises:
        UserError: a file is missing, damaged, or not a collection.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in (*ARRAY_DIMS, "norms") if name in ARRAY_DIMS or name in content}
            about = json.loads(content["about"].tobytes())
    except OSError as error:
        raise UserError(f"collection {path} can't be read ({error.strerror or error}): make it with embed.py") from None
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged or not a collection ({error}): make it again with embed.py") from None
    if not _is_valid(arrays, about):
        raise UserError(f"collection {path} has an invalid format: make it again with embed.py")
    collection = Collection(**arrays, about=about)
    if with_maps and collection.norms is not None:
        collection.maps = _map_maps(output_paths(path).maps, int(collection.has_frame.sum()))
    return collection


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
    out = io.StringIO()
    writer = csv.writer(out)  # its CRLF line ends make it quote names with a carriage return
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
