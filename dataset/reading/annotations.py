"""The JSON tables of a split: vid2genre.json (labels) and boxes.json (annotated objects), read and validated."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict, TypeGuard

from dataset.reading.names import normalize_keys
from dataset.reading.remote import read_bytes
from utils.errors import UserError

MAX_NUMBER = 1e300  # numbers beyond are refused: infinity, or an integer that no float can hold
EDGE = 0.01  # by how much a box may reach beyond the frame
MAX_NAME_BYTES = 251  # file systems take 255 bytes, ".mp4" included
# Control characters, line ends, marks that change the direction of writing, lone surrogates.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Box(TypedDict):
    """An annotated object, an entry of boxes.json."""

    time: float  # of the frame, seconds
    box: list[float]  # x0, y0, x1, y1 as fractions of the frame
    label: str  # mid of its class
    sounding: bool


def load_json(path: Path, form: str) -> Any:
    """Load a JSON file.

    Args:
        path: of the file; may be a URL's.
        form: what the file must hold, for messages.

    Raises:
        UserError: it is missing, can't be read or isn't JSON.
    """
    try:
        return json.loads(read_bytes(path).decode("utf-8-sig"), object_pairs_hook=_unique_keys)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: it must hold {form}") from None
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror or error}): it must hold {form}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}): it must hold {form}") from None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make the dict of a JSON table: of a key that it has twice, one entry would be lost without a word."""
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"two entries for {next(key for key in keys if keys.count(key) > 1)[:80]!r}")
    return table


def is_printable_text(value: object) -> TypeGuard[str]:
    """Check that a `value` is a string that fits into a message and a table: one line, without control characters."""
    return isinstance(value, str) and not UNPRINTABLE.search(value)


def is_valid_id(clip: object) -> TypeGuard[str]:
    """Check that an id, `clip`, can be the name of a file and can't lead out of its folder."""
    if not is_printable_text(clip) or clip in ("", ".", "..") or set(clip) & set("/\\"):
        return False
    return len(clip.encode()) <= MAX_NAME_BYTES


def read_genres(path: Path) -> dict[str, list[str]]:
    """Read a split's labels from the vid2genre.json at `path`: {id: [mid, ...]}; every id can be a file's name.

    Raises:
        UserError: it is missing or has an invalid format.
    """
    return _read_table(path, _are_mids, "id: [mid, ...], where video/id.mp4 is a file")


def read_boxes(path: Path) -> dict[str, list[Box]]:
    """Read a split's annotated objects from the boxes.json at `path`: {id: boxes}, empty if there is no such file.

    Raises:
        UserError: it has an invalid format.
    """
    form = 'id: [{"time": seconds, "box": [x0, y0, x1, y1] in 0..1, "label": mid, "sounding": true or false}, ...]'
    return _read_table(path, _are_boxes, form) if path.exists() else {}


def _read_table(path: Path, is_valid: Callable[[str, object], bool], form: str) -> dict[str, Any]:
    """Load a JSON table whose entries all satisfy `is_valid(key, value)`, with normalized ids, or say what is wrong."""
    content = load_json(path, form)
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a table: it must hold {form}")
    for key, value in content.items():
        if not is_valid(key, value):
            raise UserError(f"{path} has an invalid format at {key[:80]!r}: it must hold {form}")
    table, conflicts = normalize_keys(content)
    if conflicts:
        raise UserError(f"{path} has two entries for {conflicts[0]!r}, in two spellings of Unicode: remove one of them")
    return table


def _are_mids(clip: str, mids: object) -> bool:
    return is_valid_id(clip) and isinstance(mids, list) and all(map(is_printable_text, mids))


def _are_boxes(_: str, boxes: object) -> bool:
    return isinstance(boxes, list) and all(map(_is_box, boxes))


def _is_box(box: object) -> bool:
    return (
        isinstance(box, dict)
        and is_number(box.get("time"))
        and box["time"] >= 0
        and _are_fractions(box.get("box"))
        and is_printable_text(box.get("label"))
        and isinstance(box.get("sounding"), bool)
    )


def is_number(value: object) -> TypeGuard[int | float]:
    """Check that a `value` of JSON is a finite number that a float can hold."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < MAX_NUMBER


def _are_fractions(box: object) -> TypeGuard[list[float]]:
    """Check the four sides of a box: fractions of the frame, rounded at its edges; not pixels, not width and height."""
    if not are_sides(box):
        return False
    x0, y0, x1, y1 = box
    return -EDGE <= x0 <= x1 <= 1 + EDGE and -EDGE <= y0 <= y1 <= 1 + EDGE


def are_sides(value: object) -> TypeGuard[list[float]]:
    """Check that a `value` of JSON is a list of a box's four sides."""
    return isinstance(value, list) and len(value) == 4 and all(map(is_number, value))
