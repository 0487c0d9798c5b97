"""Shards in object storage or behind a web server, by URL: `s3://BUCKET/ROOT`, `gs://...`, `https://...`.

fsspec does the talking; what a scheme needs beyond https (s3fs, gcsfs) is installed by the user who needs it.
"""

import os
import time
from pathlib import Path

import fsspec
from upath import UPath

from dataset.reading.errors import MediaError
from utils.errors import UserError

PARALLEL_READS = 16  # clips that a loader process asks for at the same time: an answer takes tens of milliseconds
MAX_TRIES, RETRY_DELAY = (
    5,
    0.5,
)  # of a request that fails, and seconds before the second; each later pause is twice as long


def is_url(root):
    """Whether a dataset's root is a URL and no folder of this machine."""
    return "://" in str(root)


def as_path(root):
    """A root as a path that can be read: a Path, or for a URL what behaves like one.

    Raises:
        UserError: nothing here can read URLs of that scheme.
    """
    if not is_url(root):
        return Path(root)
    try:
        return UPath(root)
    except (ImportError, ValueError) as error:
        raise UserError(f"{root} can't be read by URL ({error})") from None


def read_bytes(path):
    """The content of a small file of `place`.

    Raises:
        OSError: it can't be read, whatever the storage calls that.
    """
    try:
        return path.read_bytes()
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


class RemoteBytes:
    """The bytes of a file behind a URL: `remote[begin:end]` is one request, tried again if it fails for the moment.

    Safe to use from threads and in processes that were forked after it was made.

    Args:
        url: of the file.

    Raises:
        MediaError: from an access, if the bytes could not be had.
    """

    def __init__(self, url):
        self.url, self._owner, self._system, self._path = str(url), None, None, None

    def _open(self):
        if self._owner != os.getpid():  # connections don't survive a fork
            self._system, self._path = fsspec.core.url_to_fs(self.url)
            self._owner = os.getpid()
        return self._system

    def __getitem__(self, part):
        pause = RETRY_DELAY
        for left in reversed(range(MAX_TRIES)):
            try:
                found = self._open().cat_file(self._path, part.start, part.stop)
                if len(found) == part.stop - part.start:
                    return found
                reason = f"gave {len(found)} bytes of {part.stop - part.start}"
            except Exception as error:  # each storage has its own, from OSError to those of its client
                reason = f"{type(error).__name__}: {error}"
                if _is_permanent(error):
                    raise MediaError("storage", self.url, f"can't be read ({reason})") from None
            if left:
                time.sleep(pause)
                pause *= 2
        raise MediaError("storage", self.url, f"can't be read, tried {MAX_TRIES} times ({reason})")


def _is_permanent(error):
    """Whether asking again is in vain: the file isn't there, or isn't given to us."""
    status = getattr(error, "status", 0)  # of HTTP; 408 and 429 ask for patience
    return isinstance(error, (FileNotFoundError, PermissionError)) or status in {*range(400, 500)} - {408, 429}
