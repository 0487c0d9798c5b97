"""Read files that a user names, and write files atomically.

Atomic: a reader finds the old file or the new one, never a part, also after a kill or a full disk.
"""

import contextlib
import errno
import io
import json
import math
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

StrPath = str | os.PathLike[str]
MAX_FILE = 2**30  # bytes of a text or table, far more than that of any dataset
LOCK_NAME = ".lock"  # of a folder's lock file, see `utils.locks`


def regular_size(path: StrPath, most: float = math.inf) -> int:
    """Get the size of a file that can be read to its end: no folder, no device such as /dev/zero, no pipe.

    Args:
        path: of the file.
        most: bytes that it may have.

    Returns:
        Bytes.

    Raises:
        OSError: it is something else, missing or larger; `strerror` gives the reason.
    """
    try:
        status = os.stat(path)
    except ValueError:  # a zero character, or one that the file system's encoding lacks
        raise OSError(errno.EINVAL, "no file can have this name", str(path)) from None
    _refuse_other(status.st_mode, path)
    if status.st_size > most:
        raise OSError(errno.EINVAL, f"it has {status.st_size / 1e6:,.0f} MB, more than {most / 1e6:,.0f}", str(path))
    return status.st_size


def _refuse_other(mode: int, path: StrPath) -> None:
    """Raise an OSError if the `mode` of a `path` is not that of a file: root could even replace /dev/null by one."""
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):  # a link to nothing is replaced
        raise OSError(errno.EINVAL, "it is a device or a pipe, not a file", str(path))


def read_file(path: StrPath, most: int = MAX_FILE) -> bytes:
    """Read a file that a user names.

    Args:
        path: of the file.
        most: bytes; a larger file is not read.

    Raises:
        OSError: it can't be read, or is larger; `strerror` gives the reason.
    """
    regular_size(path, most)
    return Path(path).read_bytes()


def read_text(path: StrPath) -> str:
    """Read a text file in UTF-8 that a user names, with or without a byte order mark.

    Args:
        path: of the file.

    Raises:
        OSError: as `read_file`.
        UnicodeDecodeError: it isn't UTF-8.
    """
    return read_file(path).decode("utf-8-sig")


@contextmanager
def atomic_path(path: StrPath) -> Iterator[Path]:
    """Give a writer that needs a name one that replaces `path` when the `with` block ends without an error.

    Args:
        path: an older file is replaced.

    Yields:
        the name to write to, in the same folder; it has another suffix, so the format must be given.
    """
    path = Path(path)
    if not path.name:  # "", "/"
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if os.path.lexists(path):
        _refuse_other(os.stat(path).st_mode if path.exists() else os.lstat(path).st_mode, path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):  # the folder is read-only
            temporary.unlink()  # a full disk needs the space
        raise


def save_image(path: StrPath, image: Any, **options: Any) -> None:
    """Write a Pillow image atomically.

    Args:
        path: of the file; its suffix gives the format, .png or .jpg.
        image: a PIL.Image.Image.
        options: of the format, see Pillow.
    """
    # In memory first: on a full disk Pillow writes a part of the image to a file and doesn't notice.
    image.save(content := io.BytesIO(), "PNG" if Path(path).suffix == ".png" else "JPEG", **options)
    with atomic_write(path) as file:
        file.write(content.getvalue())


@contextmanager
def atomic_write(path: StrPath, sync: bool = False) -> Iterator[BinaryIO]:
    """Open a binary file for writing that replaces `path` when the `with` block ends without an error.

    Args:
        path: an older file is replaced.
        sync: flush to disk first, so that the file survives a power cut.

    Yields:
        the open file.
    """
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        yield file
        if sync:
            file.flush()
            os.fsync(file.fileno())


def write_text(path: StrPath, text: str) -> None:
    """Write `text` to `path` atomically, in UTF-8; names that are not UTF-8 are escaped, as JSON reads them."""
    write_texts(path, [text])


def write_texts(path: StrPath, texts: Iterable[str]) -> None:
    """Write `texts` one after the other to `path`, as `write_text` does."""
    with atomic_write(path) as file:
        for text in texts:
            file.write(text.encode(errors="backslashreplace"))


def write_json(path: StrPath, value: Any) -> None:
    """Write `value` as JSON to `path` atomically."""
    write_text(path, json.dumps(value, indent=0, ensure_ascii=False) + "\n")


def is_empty_folder(path: StrPath) -> bool:
    """Check that `path` is a folder that holds nothing but a lock and what a killed process left half-written."""
    path = Path(path)
    return path.is_dir() and all(
        entry.name == LOCK_NAME or (entry.name.startswith(".") and entry.suffix == ".tmp") for entry in path.iterdir()
    )
