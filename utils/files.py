"""Atomic writes: a reader finds the old file or the new one, never a part, also after a kill or a full disk."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

StrPath = str | os.PathLike[str]
LOCK_NAME = ".lock"  # of a folder's lock file, see `utils.locks`


@contextmanager
def atomic_write(path: StrPath, sync: bool = False) -> Iterator[BinaryIO]:
    """Open a binary file for writing that replaces `path` when the `with` block ends without an error.

    Args:
        path: an older file is replaced.
        sync: flush to disk first, so that the file survives a power cut.

    Yields:
        the open file.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # a full disk needs the space
        raise


def write_text(path: StrPath, text: str) -> None:
    """Write `text` to `path` atomically, in UTF-8."""
    with atomic_write(path) as file:
        file.write(text.encode())


def write_json(path: StrPath, value: Any) -> None:
    """Write `value` as JSON to `path` atomically."""
    write_text(path, json.dumps(value, indent=0, ensure_ascii=False) + "\n")


def is_empty_folder(path: StrPath) -> bool:
    """Check that `path` is a folder that holds nothing but a lock and what a killed process left half-written."""
    path = Path(path)
    return path.is_dir() and all(
        entry.name == LOCK_NAME or (entry.name.startswith(".") and entry.suffix == ".tmp") for entry in path.iterdir()
    )
