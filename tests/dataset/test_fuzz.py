"""Damaged lists: whatever is done to a file, reading it gives a result or one clear sentence, never a traceback.

10,000 mutations in all, the same ones every time.
"""

import json
import os
import unicodedata
from math import isfinite

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataset.making.segments import MID, YOUTUBE_ID, clip_ids, iter_segments, read_class_labels, read_segments
from dataset.reading.clips import Clips
from evaluation.measures import ontology
from utils.errors import UserError

EACH = 2000  # mutations of each of five kinds of file
CLIPS = ("-4gqARaEJE_", "0123456789a")

SEGMENTS = b"""# Segments csv created Sun Mar  5 10:54:31 2017
# num_ytids=3, num_segs=3, num_unique_labels=4, num_positive_labels=5
# YTID, start_seconds, end_seconds, positive_labels
--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_"
-4gqARaEJE_, 30.500, 40.000, "/m/0bt9lr"
0123456789a,20,29.25,/t/dd00004
-4gqARaEJE_, 40.000, 50.000, "/m/0bt9lr,/m/068hy"
"""
LABELS = b"""index,mid,display_name
0,/m/09x0r,"Speech"
1,/m/05zppz,"Male speech, man speaking"
2,/t/dd00004,Alarm
"""
GENRES = {CLIPS[0]: ["/m/09x0r", "/m/05zppz"], CLIPS[1]: []}
BOX = {"time": 0.2, "box": [0, 0.1, 0.5, 1], "label": "/m/09x0r", "sounding": True}
BOXES = {CLIPS[0]: [BOX, BOX | {"time": 1, "sounding": False}], CLIPS[1]: []}
ONTOLOGY = [
    {"id": "/m/a", "name": "A", "description": "", "child_ids": ["/m/b", "/m/c"], "restrictions": ["abstract"]},
    {"id": "/m/b", "name": "B", "description": "", "child_ids": ["/m/c"], "restrictions": []},
    {"id": "/m/c", "name": "C, c", "description": "", "child_ids": [], "restrictions": []},
]

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


def fuzzed(strategy):
    """Run a test for EACH files of a strategy, derandomized."""
    options = settings(
        max_examples=EACH, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
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


@pytest.fixture
def split(tmp_path_factory):
    """A split whose clips have their (empty) files and good labels; one for each test."""
    folder = tmp_path_factory.mktemp("set") / "train"
    for kind, suffix in (("video", ".mp4"), ("audio", ".wav")):
        (folder / kind).mkdir(parents=True)
        for clip in CLIPS:
            (folder / kind / f"{clip}{suffix}").touch()
    (folder / "vid2genre.json").write_text(json.dumps(GENRES))
    return folder


@fuzzed(bytes_of(SEGMENTS))
def test_a_segment_file(split, content):
    path = split.parent / "segments.csv"
    segments = outcome(lambda: read_segments(path), path, content)
    if segments is None:
        return
    names = clip_ids(segments)
    assert names and len(set(names)) == len(names) <= sum(1 for _ in iter_segments(path))
    assert all(map(is_safe, names))
    for segment in segments:
        assert YOUTUBE_ID.fullmatch(segment.video) and 0 <= segment.start < segment.end < 10**6
        assert segment.labels and all(MID.fullmatch(label) for label in segment.labels)


@fuzzed(bytes_of(LABELS))
def test_a_list_of_class_names(split, content):
    path = split.parent / "labels.csv"
    names = outcome(lambda: read_class_labels(path), path, content)
    for mid, name in (names or {}).items():
        assert MID.fullmatch(mid) and name.isprintable() and name


@fuzzed(json_or_bytes(GENRES))
def test_a_vid2genre(split, content):
    clips = outcome(lambda: Clips(split.parent, "train", "skip"), split / "vid2genre.json", content)
    if clips is not None:
        assert all(map(is_safe, [*clips.ids, *clips.skipped]))
        assert all(is_one_line(reason) for reason in clips.skipped.values())
        assert all(is_one_line(label) for labels in clips.labels for label in labels)
    outcome(lambda: Clips(split.parent, "train"), split / "vid2genre.json", content)


@fuzzed(json_or_bytes(BOXES))
def test_a_boxes_json(split, content):
    clips = outcome(lambda: Clips(split.parent, "train"), split / "boxes.json", content)
    for i in range(0 if clips is None else len(clips)):
        for time in clips.annotated_times(i):
            assert isfinite(time) and clips.boxes_at(i, time)
            for box in clips.boxes_at(i, time):
                assert all(isfinite(float(side)) for side in box["box"]) and is_one_line(box["label"])


@fuzzed(json_or_bytes(ONTOLOGY))
def test_an_ontology(split, content):
    path = split.parent / "ontology.json"
    graph = outcome(lambda: ontology.load_ontology(path), path, content)
    if graph is not None:
        assert all(map(is_one_line, [*graph.names, *graph.names.values()]))
        found = graph.relevance(sorted({*graph.names, "/m/a"}))
        assert (found == found.T).all() and (found.diagonal() == ontology.MAX_RELEVANCE).all()


def test_the_files_are_good_before_they_are_damaged(split):
    """Else nothing of the above would say anything."""
    read = {}
    for name, content in (("s.csv", SEGMENTS), ("l.csv", LABELS), ("o.json", json.dumps(ONTOLOGY).encode())):
        read[name] = split.parent / name
        read[name].write_bytes(content)
    assert len(read_segments(read["s.csv"])) == 4 and len(read_class_labels(read["l.csv"])) == 3
    assert ontology.load_ontology(read["o.json"]).steps(["/m/a", "/m/b", "/m/c"])[0].tolist() == [0, 1, 1]
    (split / "boxes.json").write_text(json.dumps(BOXES))
    clips = Clips(split.parent, "train")
    assert clips.ids == list(CLIPS) and clips.boxes == BOXES
