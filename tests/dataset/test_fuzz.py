"""Damaged lists: whatever is done to a file, reading it gives a result or one clear sentence, never a traceback.

10,000 mutations in all, the same ones every time.
"""

import json
from math import isfinite

import pytest
from mutations import bytes_of, fuzzed, is_one_line, is_safe, json_or_bytes, outcome

from dataset.making.lists.segments import MID, YOUTUBE_ID, clip_ids, iter_rows, read_class_labels
from dataset.making.lists.video_lists import read_list
from dataset.reading.clips import Clips
from evaluation.measures import ontology

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


def read_segments(path):
    """The segments of AudioSet's list `path`."""
    return read_list(path, "audioset").segments


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


@fuzzed(bytes_of(SEGMENTS), EACH)
def test_a_segment_file(split, content):
    path = split.parent / "segments.csv"
    segments = outcome(lambda: read_segments(path), path, content)
    if segments is None:
        return
    names = clip_ids(segments)
    assert names and len(set(names)) == len(names) <= sum(1 for _ in iter_rows(path))
    assert all(map(is_safe, names))
    for segment in segments:
        assert YOUTUBE_ID.fullmatch(segment.video) and 0 <= segment.start < segment.end < 10**6
        assert segment.labels and all(MID.fullmatch(label) for label in segment.labels)


@fuzzed(bytes_of(LABELS), EACH)
def test_a_list_of_class_names(split, content):
    path = split.parent / "labels.csv"
    names = outcome(lambda: read_class_labels(path), path, content)
    for mid, name in (names or {}).items():
        assert MID.fullmatch(mid) and name.isprintable() and name


@fuzzed(json_or_bytes(GENRES), EACH)
def test_a_vid2genre(split, content):
    clips = outcome(lambda: Clips(split.parent, "train", "skip"), split / "vid2genre.json", content)
    if clips is not None:
        assert all(map(is_safe, [*clips.ids, *clips.skipped]))
        assert all(is_one_line(reason) for reason in clips.skipped.values())
        assert all(is_one_line(label) for labels in clips.labels for label in labels)
    outcome(lambda: Clips(split.parent, "train"), split / "vid2genre.json", content)


@fuzzed(json_or_bytes(BOXES), EACH)
def test_a_boxes_json(split, content):
    clips = outcome(lambda: Clips(split.parent, "train"), split / "boxes.json", content)
    for i in range(0 if clips is None else len(clips)):
        for time in clips.annotated_times(i):
            assert isfinite(time) and clips.boxes_at(i, time)
            for box in clips.boxes_at(i, time):
                assert all(isfinite(float(side)) for side in box["box"]) and is_one_line(box["label"])


@fuzzed(json_or_bytes(ONTOLOGY), EACH)
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
