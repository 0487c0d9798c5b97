"""Shards in object storage or behind a web server, by URL: `s3://BUCKET/ROOT`, `gs://...`, `https://...`.

fsspec does the transfers; what a scheme needs beyond https (s3fs, gcsfs) is installed by the user who needs it.
"""

import os
import time
from pathlib import Path
from typing import cast

import fsspec
import numpy as np
from upath import UPath

from dataset.reading.errors import MediaError
from utils.errors import UserError
from utils.files import read_file

PARALLEL_READS = 16  # clips that a loader process requests at the same time: a request takes tens of milliseconds
MAX_TRIES = 5  # of a request that fails
RETRY_DELAY = 0.5  # before the second try, seconds; each later pause is twice as long


def is_url(root: Path | str) -> bool:
    """Check whether `root` is a URL and not a folder of this machine."""
    return "://" in str(root)


def as_path(root: Path | str) -> Path:
    """Turn a `root` into a path that can be read: a Path, or for a URL an object with the same methods.

    Raises:
        UserError: URLs of that scheme can't be read here.
    """
    if not is_url(root):
        return Path(root)
    try:
        return cast(Path, UPath(root))
    except (ImportError, ValueError) as error:
        raise UserError(f"{root} can't be read by URL ({error}): use another address, or a folder") from None


def read_bytes(path: Path) -> bytes:
    """Read a small file; `path` is of `as_path`.

    Raises:
        OSError: it can't be read, whatever exception the storage raises.
    """
    try:
        if isinstance(path, UPath) and is_url(path):
            return path.fs.cat_file(path.path)  # one request, where read_bytes asks for the size first
        return read_file(path)
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


class RemoteBytes:
    """The bytes of a file behind a URL: `remote[begin:end]` is one request, repeated where the failure may pass.

    Safe to use from threads and in processes that were forked after it was made.

    Args:
        url: of the file.

    Raises:
        MediaError: from an access, if the bytes could not be read.
    """

    def __init__(self, url: Path | str) -> None:
        self.url = str(url)
        self._owner: int | None = None  # the process that opened the connection
        self._system: fsspec.AbstractFileSystem | None = None
        self._path = ""

    def _connect(self) -> fsspec.AbstractFileSystem:
        if self._owner != os.getpid():  # connections don't survive a fork
            self._system, self._path = fsspec.core.url_to_fs(self.url)
            self._owner = os.getpid()
        return self._system

    def __getitem__(self, part: slice) -> bytes:
        pause, reason = RETRY_DELAY, ""
        for tries_left in reversed(range(MAX_TRIES)):
            try:
                content = self._connect().cat_file(self._path, part.start, part.stop)
                if len(content) == part.stop - part.start:
                    return content
                reason = f"gave {len(content)} bytes of {part.stop - part.start}"
            except Exception as error:  # each storage has its own, from OSError to those of its client
                reason = f"{type(error).__name__}: {error}"
                if _is_permanent(error):
                    raise MediaError("storage", self.url, f"can't be read ({reason})") from None
            if tries_left:
                time.sleep(pause)
                pause *= 2
        raise MediaError("storage", self.url, f"can't be read, tried {MAX_TRIES} times ({reason})")

    def read_into(self, begin: int, out: np.ndarray) -> None:
        """Read bytes into an array.

        Args:
            begin: the first byte.
            out: contiguous, of any type; as many bytes are read as it has.
        """
        out[...] = np.frombuffer(self[begin : begin + out.nbytes], out.dtype).reshape(out.shape)


def _is_permanent(error: Exception) -> bool:
    """Whether trying again is useless: the file doesn't exist, or access is denied."""
    status = getattr(error, "status", 0)  # of HTTP; 408 and 429 ask to try later
    return isinstance(error, (FileNotFoundError, PermissionError)) or status in {*range(400, 500)} - {408, 429}
