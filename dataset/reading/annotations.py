"""The JSON tables of a split: vid2genre.json (labels) and boxes.json (annotated objects), read and validated."""

import json
import re

from dataset.reading.remote import read_bytes
from utils.errors import UserError

MAX_NUMBER = 1e300  # a number beyond is none: infinite, or a whole one that no float can hold
MAX_NAME_BYTES = 251  # file systems take 255 bytes, ".mp4" included
# Control characters, line ends, what turns the direction of writing, halves of characters.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def load_json(path, form):
    """Load any JSON, or say what is wrong with the file, which must hold `form`."""
    try:
        return json.loads(read_bytes(path).decode("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: it must hold {form}") from None
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror or error}): it must hold {form}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}): it must hold {form}") from None


def is_printable_text(value):
    """Whether a value is a string that can stand in a message and in a file: one line, without control characters."""
    return isinstance(value, str) and not UNPRINTABLE.search(value)


def is_valid_id(clip):
    """Whether an id can be the name of a file: what could lead out of the folder is no id."""
    is_inside = is_printable_text(clip) and clip not in ("", ".", "..") and not set(clip) & set("/\\")
    return is_inside and len(clip.encode()) <= MAX_NAME_BYTES


def read_genres(path):
    """A split's vid2genre.json: {id: [mid, ...]}; every id can be the name of a file.

    Raises:
        UserError: it is missing or not of our form.
    """
    return _read_table(path, _are_mids, "id: [mid, ...], where video/id.mp4 is a file")


def read_boxes(path):
    """A split's boxes.json: {id: list of boxes}, empty where there is no such file.

    Raises:
        UserError: it is not of our form.
    """
    form = 'id: [{"time": seconds, "box": [x0, y0, x1, y1], "label": mid, "sounding": true or false}, ...]'
    return _read_table(path, _are_boxes, form) if path.exists() else {}


def _read_table(path, is_right, form):
    """Load a JSON table whose entries all satisfy `is_right(key, value)`, or say what is wrong."""
    content = load_json(path, form)
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a table: it must hold {form}")
    for key, value in content.items():
        if not is_right(key, value):
            raise UserError(f"{path} is not of our form at {key[:80]!r}: it must hold {form}")
    return content


def _are_mids(clip, mids):
    return is_valid_id(clip) and isinstance(mids, list) and all(map(is_printable_text, mids))


def _are_boxes(_, boxes):
    def is_number(value):
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < MAX_NUMBER

    return isinstance(boxes, list) and all(
        isinstance(box, dict)
        and is_number(box.get("time"))
        and isinstance(box.get("box"), list) and len(box["box"]) == 4 and all(map(is_number, box["box"]))
        and is_printable_text(box.get("label")) and isinstance(box.get("sounding"), bool)
        for box in boxes
    )  # fmt: skip
