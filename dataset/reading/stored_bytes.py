"""Parts of large files, of this machine or by URL: `stored[begin:end]`."""

import os
from pathlib import Path

import numpy as np

from dataset.reading.errors import MediaError, MediaErrorKind, error_reason
from dataset.reading.remote import RemoteBytes, is_url


class FileBytes:
    """The bytes of a file of this machine: `file[begin:end]`. Safe to use from threads and in forked processes.

    They are read, not mapped: mapping pages costs more than copying them, and a file that was cut would end the
    process.

    Args:
        path: of the file.
        hint: what to do if it can't be read.

    Raises:
        MediaError: it can't be opened; from an access, it can't be read or has fewer bytes.
    """

    def __init__(self, path: Path, hint: str = "") -> None:
        self._path, self._hint, self._file = path, hint, -1
        try:
            self._file = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise self._error("storage", f"can't be read ({error_reason(error)})") from None

    def __del__(self) -> None:
        if self._file >= 0:
            os.close(self._file)

    def _error(self, kind: MediaErrorKind, reason: str) -> MediaError:
        return MediaError(kind, self._path, reason, self._hint)

    def __getitem__(self, part: slice) -> bytes:
        try:
            content = os.pread(self._file, part.stop - part.start, part.start)
        except OSError as error:
            raise self._error("storage", f"can't be read ({error_reason(error)})") from None
        if len(content) < part.stop - part.start:
            raise self._error("damaged", "is truncated")
        return content

    def read_into(self, begin: int, out: np.ndarray) -> None:
        """Read bytes into an array.

        Args:
            begin: the first byte.
            out: contiguous, of any type; as many bytes are read as it has.
        """
        try:
            count = os.preadv(self._file, [out.data], begin)
        except OSError as error:
            raise self._error("storage", f"can't be read ({error_reason(error)})") from None
        if count < out.nbytes:
            raise self._error("damaged", "is truncated")


def open_bytes(path: Path, hint: str = "") -> FileBytes | RemoteBytes:
    """Open the bytes of a file.

    Args:
        path: of the file, or its URL.
        hint: what to do if it can't be read.

    Raises:
        MediaError: it is a file that can't be opened.
    """
    return RemoteBytes(path) if is_url(path) else FileBytes(path, hint)
