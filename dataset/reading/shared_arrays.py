"""Long lists in arrays, which the loader's processes share.

A list of a million Python objects isn't shared by processes that were forked: reading one changes its count of
references, so that the system copies the page that it lies in. Numbers in an array stay where they are.
"""

import mmap
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain
from typing import Generic, TypeVar, overload

import numpy as np

T = TypeVar("T")


def shared_array(count: int, dtype: np.dtype | type) -> np.ndarray:
    """Make an array of zeros that this process and those forked later read and write: (count,).

    The system allocates its memory page by page, where it is first written.

    Args:
        count: number of elements.
        dtype: their type.
    """
    size = count * np.dtype(dtype).itemsize
    return np.frombuffer(mmap.mmap(-1, max(size, 1)), np.uint8, size).view(dtype)


class PackedSequence(Sequence[T], Generic[T]):
    """A list that can't be changed; a subclass keeps its elements in arrays and implements `_element`, `__len__`.

    It equals each sequence of the same elements.
    """

    def _element(self, index: int) -> T:
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self._element(k) for k in range(*index.indices(len(self)))]
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"{index} is not one of {len(self)} elements")
        return self._element(position)

    def __iter__(self) -> Iterator[T]:
        return map(self._element, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))


class PackedTexts(PackedSequence[str]):
    """Texts as bytes in a row: 19 bytes for an id of 11 letters.

    Args:
        texts: the elements.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        self._ends = array("q", accumulate(map(len, encoded), initial=0))
        self._bytes = b"".join(encoded)

    def _element(self, index: int) -> str:
        return self._bytes[self._ends[index] : self._ends[index + 1]].decode("utf-8", "surrogatepass")

    def __len__(self) -> int:
        return len(self._ends) - 1


class PackedLabels(PackedSequence[list[str]]):
    """Lists of labels, of which many are the same, as numbers in an array.

    Args:
        lists: the elements.
    """

    def __init__(self, lists: Iterable[Iterable[str]]) -> None:
        numbers: dict[str, int] = {}
        rows = [[numbers.setdefault(label, len(numbers)) for label in labels] for labels in lists]
        self._names = list(numbers)
        self._ends = array("q", accumulate(map(len, rows), initial=0))
        self._numbers = array("i", chain.from_iterable(rows))

    def _element(self, index: int) -> list[str]:
        return [self._names[number] for number in self._numbers[self._ends[index] : self._ends[index + 1]]]

    def __len__(self) -> int:
        return len(self._ends) - 1
