"""Names in Unicode: "Größe" composed (NFC, as people type it) and decomposed (NFD, as macOS stores it) are one name.

Ids are held composed, whatever lists and files spell; a file is opened by its own spelling.
"""

import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

Value = TypeVar("Value")


def normalize_name(name: str) -> str:
    """Compose a `name` (NFC), so that two spellings of the same letters compare equal."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def normalize_keys(table: Mapping[str, Value]) -> tuple[dict[str, Value], list[str]]:
    """Normalize the names that a table is keyed by.

    Args:
        table: {name: anything}.

    Returns:
        ({normalized name: value}, names that two keys spell, with different values).
    """
    if isinstance(table, dict) and all(map(str.isascii, table)):  # no second table of millions of names
        return table, []
    normalized: dict[str, Value] = {}
    conflicts = []
    for name, value in table.items():
        key = normalize_name(name)
        if key in normalized and normalized[key] != value:
            conflicts.append(key)
        normalized[key] = value
    return normalized, conflicts


def same_names(names: Iterable[str], case: bool = True) -> list[list[str]]:
    """List the groups of names that are the same but for their spelling in Unicode, each with two names or more.

    Args:
        names: different strings.
        case: whether capital letters count; file systems of macOS and Windows hold "a" and "A" to be the same.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        key = normalize_name(name)
        groups.setdefault(key if case else normalize_name(key.casefold()), []).append(name)
    return [sorted(group) for group in groups.values() if len(group) > 1]


def find_file(folder: Path, name: str) -> Path:
    """Find the file of a name, however the folder spells it.

    Args:
        folder: where it lies.
        name: of the file.

    Returns:
        Its path; folder/name if there is no such file in any spelling.
    """
    path = folder / name
    if name.isascii() or path.exists():
        return path
    try:
        spellings = _spellings(str(folder), folder.stat().st_mtime_ns)
    except OSError:
        return path
    return folder / spellings.get(normalize_name(name), name)


@lru_cache(maxsize=16)
def _spellings(folder: str, changed: int) -> dict[str, str]:
    """{normalized name: name} of the names in a folder that aren't normalized; `changed` is when it last was."""
    names = (path.name for path in Path(folder).iterdir())
    return {normalize_name(name): name for name in names if normalize_name(name) != name}
