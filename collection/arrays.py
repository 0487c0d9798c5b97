"""Arrays in npz files, written and read some rows at a time: their number is not limited by memory.

The arrays of an npz file are npy files in a zip, stored without compression: their numbers lie there as in memory,
and can be mapped from there. Here each begins at a multiple of 64 bytes, as an array in memory does.
"""

import io
import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

CHUNK_BYTES = 2**23  # that are read or written at a time
ALIGNMENT = 64  # bytes
LOCAL_HEADER = 30  # bytes of a zip member's header, before its name and its extra field
ZIP64_FIELD = 20  # bytes that zipfile adds to the extra field of a member of any size
PADDING_FIELD = 0xD935  # id of an extra field that is padding, as Android's zipalign writes it


class ArrayChunks(NamedTuple):
    """An array to write: its type and shape, and chunks of rows, which are made when they are needed."""

    dtype: np.dtype
    shape: tuple[int, ...]
    chunks: Iterable[np.ndarray]


def whole_array(values: Any) -> ArrayChunks:
    """Describe an array in memory, `values`, to write."""
    array = np.asarray(values)
    return ArrayChunks(array.dtype, array.shape, [array])


def npy_header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """Make the first bytes of an npy file.

    Args:
        dtype: of the array.
        shape: of the array.
    """
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_2_0(out := io.BytesIO(), header)
    return out.getvalue()


def write_npz(file: BinaryIO, arrays: Mapping[str, ArrayChunks]) -> None:
    """Write arrays to an npz file, which np.load reads.

    Args:
        file: open for writing, at its start.
        arrays: {name: array}.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy")
            header = npy_header(array.dtype, array.shape)
            begin = file.tell() + LOCAL_HEADER + len(member.filename) + ZIP64_FIELD + 4 + len(header)
            padding = -begin % ALIGNMENT
            member.extra = struct.pack("<HH", PADDING_FIELD, padding) + bytes(padding)
            with archive.open(member, "w", force_zip64=True) as out:
                out.write(header)
                for chunk in array.chunks:
                    out.write(np.ascontiguousarray(chunk, array.dtype).tobytes())


class StoredArray(NamedTuple):
    """An array in a file, of which some rows can be read.

    Attributes:
        path: of the file.
        offset: of the array's first byte.
        dtype, shape: of the array.
    """

    path: Path
    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.dtype.itemsize * int(np.prod(self.shape[1:]))

    def chunks(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """Read rows, some megabytes at a time.

        Args:
            start: the first row.
            stop: the row after the last one.

        Raises:
            ValueError: the file is shorter than it should be.
        """
        step = max(CHUNK_BYTES // max(self.row_bytes, 1), 1)
        with open(self.path, "rb") as file:
            file.seek(self.offset + start * self.row_bytes)
            for first in range(start, stop, step):
                shape = (min(step, stop - first), *self.shape[1:])
                content = file.read(shape[0] * self.row_bytes)
                if len(content) < shape[0] * self.row_bytes:
                    raise ValueError("it ends too early")
                yield np.frombuffer(content, self.dtype).reshape(shape)

    def read(self) -> np.ndarray:
        """Read the whole array."""
        return np.concatenate([np.zeros((0, *self.shape[1:]), self.dtype), *self.chunks(0, len(self))])

    def map(self) -> np.ndarray:
        """Map the array into memory, where it takes none until it is read; only for reading."""
        if not all(self.shape):
            return np.zeros(self.shape, self.dtype)
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape)


def _parse_header(file: Any, path: Path, offset: int, size: int) -> StoredArray:
    """Parse the npy file that `file` is at the start of, `size` bytes at `offset` of `path`."""
    begin = file.tell()
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"npy version {version} is not known")
    shape, fortran_order, dtype = read(file)
    array = StoredArray(path, offset + file.tell() - begin, dtype, shape)
    if dtype.hasobject or (fortran_order and len(shape) > 1) or not shape:
        raise ValueError("it holds an array of another kind")
    if file.tell() - begin + len(array) * array.row_bytes != size:
        raise ValueError("an array is longer or shorter than its header says")
    return array


def open_npy(path: Path) -> StoredArray:
    """Find the array of an npy file.

    Args:
        path: of the file.

    Raises:
        OSError: it can't be read.
        ValueError: it is damaged, or of another kind.
    """
    with open(path, "rb") as file:
        return _parse_header(file, path, 0, path.stat().st_size)


def open_npz(path: Path, verify: bool = True) -> dict[str, StoredArray]:
    """Find the arrays of an npz file.

    Args:
        path: of the file.
        verify: read it once and compare its checksums.

    Raises:
        OSError: it can't be read.
        ValueError: it is damaged, compressed, or holds something else.
        zipfile.BadZipFile: it is damaged.
    """
    arrays = {}
    with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED or not member.filename.endswith(".npy"):
                raise ValueError("it is compressed, or holds other files than arrays")
            file.seek(member.header_offset)
            local = file.read(LOCAL_HEADER)
            if len(local) < LOCAL_HEADER:
                raise ValueError("it ends too early")
            name_length, extra_length = struct.unpack("<HH", local[26:30])
            offset = member.header_offset + LOCAL_HEADER + name_length + extra_length
            with archive.open(member) as content:
                arrays[member.filename.removesuffix(".npy")] = _parse_header(content, path, offset, member.file_size)
                while verify and content.read(CHUNK_BYTES):  # at its end zipfile compares the checksum
                    pass
    return arrays
