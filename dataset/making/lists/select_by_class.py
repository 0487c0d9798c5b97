"""Select entries of a dataset by their AudioSet classes, with a limit for each class."""

import difflib
import random
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from dataset.making.lists.label_maps import map_labels
from dataset.making.lists.segments import MID
from dataset.making.text import printable
from utils.errors import UserError
from utils.files import read_text


class ClassNames:
    """AudioSet's classes, looked up by name or mid, ignoring case and spacing.

    Args:
        tables: {mid: display name} each; the names of the last one are shown.

    Attributes:
        names: {mid: display name}.
    """

    def __init__(self, *tables: dict[str, str]) -> None:
        self.names: dict[str, str] = {}
        self._mids: dict[str, set[str]] = {}  # of each normalized name or mid
        for table in tables:
            self.add(table)

    def add(self, table: dict[str, str]) -> None:
        """Add the classes of a `table`, {mid: display name}, or {label: itself} for labels that are no mids."""
        self.names |= table
        for mid, name in table.items():
            self._mids.setdefault(_normalize(mid), set()).add(mid)
            self._mids.setdefault(_normalize(name), set()).add(mid)

    def find(self, text: str) -> set[str]:
        """Find the mids of the classes with this name or mid, `text`; none if there is no such class."""
        return self._mids.get(_normalize(text), set())

    def nearest(self, text: str) -> str:
        """Find the mid of the class whose name or mid is nearest to `text`: "violin" is nearest to "Violin, fiddle"."""
        text = _normalize(text)[:60]
        with_part = [spelling for spelling in self._mids if text in spelling.split(", ")]
        return min(self._mids[(with_part or difflib.get_close_matches(text, self._mids, 1, cutoff=0))[0]])


def _normalize(text: str) -> str:
    """Lower the case of a name and collapse its spaces."""
    return " ".join(text.casefold().split())


def read_class_lines(path: Path) -> list[tuple[int, str]]:
    """Read the lines of a list of classes, (line number, text); # begins a comment.

    Args:
        path: of the file.

    Raises:
        UserError: it can't be read.
    """
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise UserError(f"the list of classes {path} can't be read ({reason}): choose another with --genres") from None
    texts = ((number, line.partition("#")[0].strip()) for number, line in enumerate(lines, 1))
    return [(number, text) for number, text in texts if text]


def read_class_list(path: Path, classes: ClassNames, source: str = "") -> set[str]:
    """Read the mids of the classes that a text file lists, one name or mid per line; # begins a comment.

    Args:
        path: of the file.
        classes: all classes.
        source: name of the list whose labels are classes too; "": all are AudioSet's.

    Raises:
        UserError: the file can't be read, lists nothing, or a line is not a class: the nearest one is named.
    """
    mids: set[str] = set()
    for number, text in read_class_lines(path):
        if not classes.find(text):
            nearest = classes.nearest(text)
            what = f"a class of AudioSet, nor a label of {source}" if source else "a class of AudioSet"
            name = repr(printable(classes.names[nearest]))
            shown = name if classes.names[nearest] == nearest else f"{name}, {printable(nearest)}"
            raise UserError(f"{path}, line {number}: {text[:60]!r} is not {what}: the nearest is {shown}")
        mids |= classes.find(text)
    if not mids:
        raise UserError(f"{path} lists no class: write a name such as Musical instrument into it, one per line")
    return mids


def own_labels(labels: Iterable[Iterable[str]]) -> set[str]:
    """Collect the labels that are no mids of AudioSet, of the `labels` of each entry."""
    return {label for label in set().union(*labels) if not MID.fullmatch(label)}


def map_to_classes(
    labels: Iterable[tuple[str, ...]], chosen: Collection[str], table: Mapping[str, tuple[str, ...]]
) -> list[tuple[str, ...]]:
    """Replace labels by the classes that they are, unless the label itself is chosen.

    Args:
        labels: of each entry.
        chosen: mids and labels.
        table: of `read_label_map`.
    """

    @cache
    def classes_of(entry: tuple[str, ...]) -> tuple[str, ...]:
        mapped = (part for label in entry for part in ((label,) if label in chosen else map_labels([label], table)))
        return tuple(dict.fromkeys(mapped))

    return [classes_of(entry) for entry in labels]


def find_matches(labels: Sequence[Iterable[str]], chosen: set[str], match: Literal["any", "all"] = "any") -> list[int]:
    """Find the entries that have the chosen classes.

    Args:
        labels: mids of each entry.
        chosen: mids.
        match: "any": at least one label of the entry is chosen; "all": each of them is.

    Returns:
        Ascending indices in `labels`.
    """
    if match == "all":
        return [i for i, mids in enumerate(labels) if mids and chosen.issuperset(mids)]
    return [i for i, mids in enumerate(labels) if not chosen.isdisjoint(mids)]


def limit_per_class(
    per_class: int,
    labels: Sequence[Iterable[str]],
    indices: Iterable[int],
    chosen: set[str],
    balanced: bool,
    seed: int,
) -> list[int]:
    """Draw entries so that no chosen class has more than `per_class` of them.

    Args:
        per_class: the limit. An entry counts for each chosen class that it has.
        labels: mids of each entry.
        indices: of the entries to draw from.
        chosen: mids.
        balanced: draw in rounds, in each of which every class gets one more entry, the rarest class first; otherwise
            draw from all at random. So a common class, or one above many others, doesn't use up what rare ones need.
        seed: of the order.

    Returns:
        Ascending indices.
    """
    order = list(indices)
    random.Random(seed).shuffle(order)
    taken: set[int] = set()
    count: Counter[str] = Counter()

    def take(i: int) -> None:
        mids = chosen.intersection(labels[i])
        if i not in taken and all(count[mid] < per_class for mid in mids):
            taken.add(i)
            count.update(mids)

    if not balanced:
        for i in order:
            take(i)
        return sorted(taken)
    of_class: dict[str, list[int]] = {mid: [] for mid in chosen}
    for i in order:
        for mid in chosen.intersection(labels[i]):
            of_class[mid].append(i)
    by_rarity = sorted(chosen, key=lambda mid: (len(of_class[mid]), mid))
    remaining = {mid: iter(of_class[mid]) for mid in chosen}
    for goal in range(1, min(per_class, len(order)) + 1):
        for mid in by_rarity:
            while count[mid] < goal and (candidate := next(remaining[mid], None)) is not None:
                take(candidate)
    return sorted(taken)
