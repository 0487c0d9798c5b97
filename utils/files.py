"""Write files atomically: a reader, or a process killed at any time, leaves the old file or the new one, no part."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield the path of a temporary file that replaces `path` when the block ends without an error.

    Args:
        path: file to write. The temporary file lies beside it, is named `.NAME.PID.tmp`, and is removed after an error.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # on a full disk it would keep the space that others need
        raise


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Open a binary file whose content replaces `path` when the block ends without an error, as `atomic_path` does."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        yield file


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write `text` to the file `path` in UTF-8, atomically."""
    with atomic_write(path) as file:
        file.write(text.encode())


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write `value` as JSON to the file `path`, one entry a line, atomically."""
    write_text(path, json.dumps(value, indent=0, ensure_ascii=False) + "\n")
