"""List what a tar holds, which may come from anywhere: nothing is unpacked, and no name in it becomes a path.

Python's tarfile alone takes an invalid header in the middle for the end, reads a header of any announced size, and goes
back and forth for ever where a size is negative.
"""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from dataset.reading.errors import MediaError, error_reason
from dataset.reading.limits import require_file

MAX_HEADER = 2**20  # bytes of a long name or of extended attributes
TAR_BLOCK = 512  # bytes
SCANNED = 2**24  # bytes after the end mark in which more is looked for


class TarMember(NamedTuple):
    """A file in a tar.

    Attributes:
        name: as the tar spells it: no path of this computer.
        offset: where its content begins, bytes.
        size: of its content, bytes.
    """

    name: str
    offset: int
    size: int


class OtherMember(NamedTuple):
    """What a tar holds beside files and folders: a link, a device, a pipe, a sparse file.

    Attributes:
        name: as the tar spells it.
        what: it is, for people: "a link".
    """

    name: str
    what: str


class _Bounded(io.RawIOBase):
    """A file of which tarfile reads no more at once than a header may have."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def read(self, size: int | None = -1) -> bytes:  # type: ignore[override]
        if size is None or not 0 <= size <= MAX_HEADER:
            raise tarfile.ReadError("a header is too large")
        return self.file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()


def iter_members(path: Path) -> Iterator[TarMember | OtherMember]:
    """List the members of a tar one by one; folders are passed over.

    Args:
        path: of the tar, which is not compressed.

    Yields:
        Its members, as far as it is intact.

    Raises:
        MediaError: it can't be read, is damaged or is truncated, after what could be listed.
    """
    require_file(path)
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            end = 0  # of the members so far
            try:
                with tarfile.open(fileobj=_Bounded(file), mode="r:") as tar:
                    for info in tar:
                        if info.size < 0 or info.offset < end or info.offset_data < info.offset:
                            raise tarfile.ReadError("a size in it is not valid")
                        end = info.offset_data + info.size
                        if end > size:
                            raise tarfile.ReadError("its last file is not complete")
                        tar.members.clear()  # type: ignore[attr-defined]  # it keeps all of them
                        yield from _member(info)
                    end = tar.offset
            except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
                raise _damaged(path, end, size, error_reason(error)) from None
            _check_end(path, file, end, size)
    except OSError as error:
        raise MediaError("storage", path, f"can't be read ({error_reason(error)})") from None


def _member(info: tarfile.TarInfo) -> Iterator[TarMember | OtherMember]:
    if info.issparse():
        yield OtherMember(info.name, "a sparse file")
    elif info.isreg():
        yield TarMember(info.name, info.offset_data, info.size)
    elif not info.isdir():
        yield OtherMember(info.name, "a link" if info.issym() or info.islnk() else "a device or a pipe")


def _damaged(path: Path, at: int, size: int, reason: str) -> MediaError:
    with open(path, "rb") as file:
        head = file.read(4)
    if head[:2] == b"\x1f\x8b" or head in (b"\x28\xb5\x2f\xfd", b"BZh9") or head == b"\xfd7zX":
        return MediaError("damaged", path, "is compressed", "unpack it to a .tar first")
    if not at:
        return MediaError("damaged", path, "is not a tar")
    return MediaError("damaged", path, f"is damaged or truncated at byte {min(at, size):,} ({reason})")


def _check_end(path: Path, file: BinaryIO, end: int, size: int) -> None:
    """Refuse a tar without the mark at its end, or with more behind it: what is there would be lost without a word."""
    file.seek(end)
    mark = file.read(TAR_BLOCK)
    if mark.strip(b"\0"):
        raise _damaged(path, end, size, "a header is not valid")
    if len(mark) < TAR_BLOCK:
        raise _damaged(path, end or size, size, "its end is missing")
    if file.read(SCANNED).strip(b"\0"):
        raise _damaged(path, end, size, "more follows after its end, as of a second tar")


def read_member(path: Path, member: TarMember, most: int) -> bytes:
    """Read a small file of a tar.

    Args:
        path: of the tar.
        member: the file.
        most: bytes that it may have.

    Raises:
        MediaError: it is larger, or can't be read.
    """
    if member.size > most:
        raise MediaError("too large", path, f"holds {member.name} of {member.size / 1e6:,.0f} MB")
    content = io.BytesIO()
    copy_member(path, member, content)
    return content.getvalue()


def copy_member(path: Path, member: TarMember, target: BinaryIO) -> None:
    """Copy a file of a tar.

    Args:
        path: of the tar.
        member: the file.
        target: open for writing.

    Raises:
        MediaError: the tar can't be read, or has become shorter.
        OSError: the copy can't be written.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115
    except OSError as error:
        raise MediaError("storage", path, f"can't be read ({error_reason(error)})") from None
    with file:
        file.seek(member.offset)
        rest = member.size
        while rest:
            try:
                part = file.read(min(rest, MAX_HEADER))
            except OSError as error:
                raise MediaError("storage", path, f"can't be read ({error_reason(error)})") from None
            if not part:
                raise MediaError("damaged", path, f"ends before the end of {member.name}")
            target.write(part)
            rest -= len(part)
