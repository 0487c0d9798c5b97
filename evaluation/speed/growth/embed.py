"""How joining an embedded collection grows with its rows, and embedding one new file."""

import tempfile
from pathlib import Path

import numpy as np

from collection.embedded_files import STAMP_SIZE, DoneFiles, EmbeddedFiles, about_files
from collection.joining import finish_collection
from collection.parts import add_parts
from collection.storage import Collection, OutputPaths, output_paths, save_part
from dataset.reading.media_folder import MediaItem
from evaluation.speed.growth.resource_use import measure_use

DIM = 128  # of the vectors (OtS sec. 3)
FILE_ROWS = 10  # seconds of a clip
PART_FILES = 1000


def measure(size: int) -> dict[str, float]:
    """Measure what embed.py does beside the nets: join parts, and add one file to the collection.

    Args:
        size: rows, of made-up vectors.

    Returns:
        "cpu_seconds" and "peak_mb" (see `measure_use`) of joining all parts; "add_cpu_seconds" and "add_peak_mb" of
        adding a file.
    """
    count = max(size // FILE_ROWS, 1)
    with tempfile.TemporaryDirectory() as folder:
        paths, root = output_paths(Path(folder) / "emb"), Path(folder)
        items = [MediaItem(f"{number:09d}.mp4", "video", f"{number:09d}.mp4", root) for number in range(count + 1)]
        stamps = np.ones((count + 1, STAMP_SIZE), np.int64)
        write_parts(paths, items[:count], stamps[:count])
        with measure_use() as join:
            _join(paths, items[:count], stamps[:count])
        write_parts(paths, items[count:], stamps[count:])
        with measure_use() as add:
            _join(paths, items, stamps)
    return join | {f"add_{name}": value for name, value in add.items()}


def write_parts(paths: OutputPaths, items: list[MediaItem], stamps: np.ndarray) -> None:
    """Write parts as embed.py does, of random vectors.

    Args:
        paths: of the collection.
        items: the files, of FILE_ROWS rows each.
        stamps: (F, 5) int64, of the files.
    """
    rng = np.random.default_rng(0)
    paths.parts.mkdir(exist_ok=True)
    for first in range(0, len(items), PART_FILES):
        some = items[first : first + PART_FILES]
        rows = len(some) * FILE_ROWS
        frames, sounds = rng.standard_normal((2, rows, DIM), np.float32)
        there, times = np.ones(rows, bool), np.tile(np.arange(FILE_ROWS) + 0.5, len(some))
        files = np.repeat(np.arange(len(some), dtype=np.int32), FILE_ROWS)
        about = {"files": about_files(some), "skipped": {}, "in_part": {}}
        part = Collection(frames, sounds, there, there, times, files, about)
        save_part(paths.parts / f"{first:09d}.npz", part, stamps[first : first + PART_FILES])


def _join(paths: OutputPaths, items: list[MediaItem], stamps: np.ndarray) -> None:
    done = DoneFiles(items, stamps)
    if paths.npz.exists():
        done.add(EmbeddedFiles(paths.npz))
    add_parts(done, paths.parts)
    finish_collection(paths, done, {"maps": False}, {})
