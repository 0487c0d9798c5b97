"""Join what is embedded to a collection: its files are written beside those that they replace, then replace them.

Vectors are copied some megabytes at a time: memory holds the names of the files, not their rows. However the process
ends, NAME's files are the old ones, the new ones, or the next run finishes replacing them.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from collection.arrays import ArrayChunks, npy_header, whole_array, write_npz
from collection.embedded_files import DoneFiles, Run, about_files, count_rows
from collection.storage import (
    FINISHED,
    Collection,
    OutputPaths,
    about_array,
    load_collection,
    report_write_errors,
    write_csv,
)
from dataset.making.left_out import LeftOut, write_left_out
from evaluation.file_embedding import ARRAY_DIMS
from utils.errors import UserError
from utils.files import atomic_write

FILES_AT_ONCE = 2**12  # whose rows are numbered


def finish_collection(
    paths: OutputPaths, done: DoneFiles, about: dict[str, Any], skipped: dict[str, str]
) -> Collection:
    """Write NAME's files and remove the folder of the parts.

    Args:
        paths: NAME's files.
        done: all files.
        about: of the collection.
        skipped: {file name: reason} of files that aren't in `done`.

    Returns:
        The collection.

    Raises:
        UserError: the files can't be written, or the collection is empty (only NAME_left_out.csv is written then).
    """
    about = about | {"files": about_files(done.items), "in_part": done.reasons("in_part")}
    about["skipped"] = done.reasons("skipped") | skipped
    runs = list(done.runs())
    counts, num_frames = count_rows(runs)
    if not counts.sum():
        save_left_out(paths.left_out, about)
        shutil.rmtree(paths.parts)
        raise UserError(f"nothing could be embedded: {paths.left_out} gives the reason for each file")
    new = paths.parts / "new"
    try:
        with report_write_errors(new):
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir()
        save_left_out(new / paths.left_out.name, about)
        _write_npz(new / paths.npz.name, runs, counts, about, done.stamps)
        if about["maps"]:
            _write_maps(new / paths.maps.name, runs, num_frames)
        with report_write_errors(new / paths.csv.name):
            write_csv(new / paths.csv.name, load_collection(new / paths.npz.name, with_maps=False))
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)  # a full disk needs the space
        raise
    new.rename(paths.parts / FINISHED)
    replace_files(paths)
    return load_collection(paths.npz)


def replace_files(paths: OutputPaths) -> None:
    """Move the finished files of a collection, if there are any, over NAME's, and remove the folder of the parts.

    Args:
        paths: NAME's files.
    """
    finished = paths.parts / FINISHED
    if not finished.exists():
        return
    for path in (paths.left_out, paths.csv, paths.maps, paths.npz):
        if (finished / path.name).exists():
            with report_write_errors(path):
                os.replace(finished / path.name, path)
    for path in paths.parts.glob("*"):
        if path != finished:
            path.unlink(missing_ok=True) if path.is_file() else shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(paths.parts, ignore_errors=True)  # `finished` last: it says what is left to do


def save_left_out(path: Path, about: dict[str, Any]) -> None:
    """Write NAME_left_out.csv.

    Args:
        path: of the file.
        about: of the collection, with "skipped" and "in_part".
    """
    rows = [LeftOut("", name, "left out", reason) for name, reason in about["skipped"].items()]
    rows += [LeftOut("", name, "in part", reason) for name, reason in about["in_part"].items()]
    with report_write_errors(path):
        write_left_out(path, rows)


def _write_npz(path: Path, runs: Sequence[Run], counts: np.ndarray, about: dict[str, Any], stamps: np.ndarray) -> None:
    """Write the rows of `runs`; `counts` (F,) are the rows of each file, `stamps` (F, 5) of the files."""
    filled = next(run.source for run in runs if run.source.first_row[run.first] < run.source.first_row[run.last])
    rows, arrays = int(counts.sum()), {"about": about_array(about), "stamps": whole_array(stamps)}
    for name in (*ARRAY_DIMS, "norms"):
        if name == "files":
            arrays[name] = ArrayChunks(np.dtype(np.int32), (rows,), _numbers(counts))
        elif name in filled.arrays:
            stored = filled.arrays[name]
            arrays[name] = ArrayChunks(stored.dtype, (rows, *stored.shape[1:]), _rows(runs, name))
    with report_write_errors(path), atomic_write(path) as file:
        write_npz(file, arrays)


def _rows(runs: Sequence[Run], name: str) -> Iterator[np.ndarray]:
    for run in runs:
        yield from run.rows(name)


def _numbers(counts: np.ndarray) -> Iterator[np.ndarray]:
    """The number of the file of each row."""
    for first in range(0, len(counts), FILES_AT_ONCE):
        some = counts[first : first + FILES_AT_ONCE]
        yield np.repeat(np.arange(first, first + len(some), dtype=np.int32), some)


def _write_maps(path: Path, runs: Sequence[Run], num_frames: int) -> None:
    """Write the maps of all frames to one npy file, which can be mapped into memory."""
    shapes = (run.source.maps.shape[1:] for run in runs if run.source.maps is not None and len(run.source.maps))
    shape = (num_frames, *next(shapes, (0, 0, 0)))
    with report_write_errors(path), atomic_write(path) as file:
        file.write(npy_header(np.dtype(np.float16), shape))
        for chunk in _rows(runs, "maps"):
            file.write(chunk.tobytes())
