"""Damage files of all kinds, the same way every time, and judge what is said of them."""

import json
import os
import unicodedata

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from utils.errors import UserError

# What no one expects in such a file: it is put in at any place of the text.
BYTES = (
    b"\0", b"\n", b"\r", b'"', b"#", b",", b"\\", b"{", b"]", b"-", b"\x1b[31m", b"../", b"\xff", b"\xef\xbb\xbf",
    "\u2028\u202e\u0661".encode(), b"\xed\xa0\x80", b"\\ud800", b"\\n", b"<b>", b"NaN", b"1e999", b"9" * 5000,
    b"a" * 140_000, b'"' * 99, b"[" * 20_000, b'{"a":' * 5000, b'# ", "\n', b"\n\n", b"\xfe\xff",
)  # fmt: skip
# And in the place of any value, or any key, of a JSON file.
VALUES = (
    None, True, False, 0, -1, 0.5, 10**400, -(10**4000), 1e308, float("inf"), float("nan"), "", ".", "..", "../x",
    "/etc/passwd", "a/b", "a\\b", "a\0b", "a\nb", "a\x1b[31m", "\ud800", "\u2028", "\u202e", "-rf", "<script>",
    "a" * 5000, "0.5", [], {}, [[]], [None], [1, 2], ["/m/a"], {"a": 1}, [[[[[[[[[[]]]]]]]]]], [{}], [10**400],
)  # fmt: skip

place = st.integers(0, 2**16)
on_bytes = st.tuples(st.sampled_from(("flip", "cut", "repeat", "put", "put", "end")), place, place)
on_json = st.tuples(st.sampled_from(("value", "value", "key", "drop", "repeat")), place, place)


def mutated(content, steps):
    """Bytes after some steps (kind, where, what), each of which takes any number."""
    for kind, where, what in steps:
        where %= len(content) + 1
        if kind == "flip":
            content = content[:where] + bytes([what % 256]) + content[where + 1 :]
        elif kind == "cut":
            content = content[:where] + content[where + what % 64 :]
        elif kind == "repeat":
            lines = content.splitlines(keepends=True) or [b""]
            content = b"".join([*lines, *lines[where % len(lines) :]])
        elif kind == "put":
            content = content[:where] + BYTES[what % len(BYTES)] + content[where:]
        else:
            content = content[:where]
    return content


def containers(content):
    """All the lists and tables in a JSON value that aren't empty, from the outermost on."""
    found = [content] if isinstance(content, (list, dict)) and content else []
    inner = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    return found + [deep for value in inner for deep in containers(value)]


def mutated_json(content, steps):
    """The text of a JSON value after some steps, as `mutated`."""
    content = json.loads(json.dumps(content))  # a copy, which the steps change
    for kind, where, what in steps:
        found = containers(content)
        if not found:
            break
        inside = found[where % len(found)]
        at = where // len(found) % len(inside)
        key = list(inside)[at] if isinstance(inside, dict) else at
        value = json.loads(json.dumps(VALUES[what % len(VALUES)]))
        if kind == "value":
            inside[key] = value
        elif kind == "drop":
            del inside[key]
        elif kind == "key" and isinstance(inside, dict):
            inside[value if isinstance(value, str) else str(value)[:40]] = inside.pop(key)
        elif isinstance(inside, list):
            inside.append(inside[key])
    return json.dumps(content).encode()


def json_or_bytes(content):
    """Strategy: the file of a JSON value, changed in its values, its bytes, or both."""
    text = json.dumps(content, indent=1).encode()
    return st.one_of(
        st.lists(on_json, min_size=1, max_size=4).map(lambda steps: mutated_json(content, steps)),
        st.lists(on_bytes, min_size=1, max_size=4).map(lambda steps: mutated(text, steps)),
        st.tuples(on_json, on_bytes).map(lambda two: mutated(mutated_json(content, two[:1]), two[1:])),
    )


def bytes_of(content):
    """Strategy: a text file, changed in its bytes."""
    return st.lists(on_bytes, min_size=1, max_size=4).map(lambda steps: mutated(content, steps))


def fuzzed(strategy, count):
    """Run a test for `count` files of a strategy, derandomized."""
    options = settings(
        max_examples=count, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    return lambda test: options(given(content=strategy)(test))


def outcome(read, path, content):
    """What `read` makes of a file with this content; None where it refuses it in one clear sentence."""
    path.unlink(missing_ok=True)  # to write over a file is far slower than to make it anew
    path.write_bytes(content)
    try:
        return read()
    except UserError as error:
        message = str(error)
        assert is_one_line(message) and len(message) < 600, message
        assert path.name in message or str(path.parent) in message, message
        return None


def is_one_line(text):
    """Whether a text can be printed: no line ends, control characters, bidirectional overrides or surrogates."""
    categories = set(map(unicodedata.category, text))
    return not categories & {"Cc", "Cs", "Zl", "Zp"} and not set(map(unicodedata.bidirectional, text)) & {"RLO", "LRO"}


def is_safe(name):
    """Whether a name, with a folder before and a suffix behind it, is a file of that folder and nothing else."""
    path = os.path.join("/root", f"{name}.mp4")
    return os.path.dirname(os.path.normpath(path)) == "/root" and "\\" not in name and is_one_line(name)
