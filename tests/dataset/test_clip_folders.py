"""Splits on disk: ids, labels and boxes in step, and one clear sentence for a folder that is wrong."""

import json

import pytest
from helpers import make_clip, write_genres, write_json

from dataset.reading.clips import Clips
from dataset.reading.errors import ClipError
from utils.errors import UserError


def test_ids_are_sorted_and_labels_and_boxes_follow_them(folder):
    labels = {"b": ["/m/1", "/m/2"], "-a": ["/m/3"], "c": []}
    box = {"time": 0.2, "box": [0, 0.1, 0.5, 1], "label": "/m/1", "sounding": True}
    for clip in labels:
        make_clip(folder, clip)
    write_genres(folder, labels)
    clips = Clips(folder.parent, "train")
    assert clips.ids == ["-a", "b", "c"] and clips.labels == [["/m/3"], ["/m/1", "/m/2"], []] and len(clips) == 3
    assert clips.boxes == {} and clips.skipped == {}
    write_json(folder / "boxes.json", {"b": [box], "c": []})
    assert Clips(folder.parent, "train").boxes == {"b": [box], "c": []}


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("missing", ["video", "audio"])
def test_a_clip_without_one_of_its_files_stops_or_is_left_out(folder, missing, listed):
    files = dict(zip(("video", "audio"), make_clip(folder, "half"), strict=True))
    make_clip(folder, "good")
    files[missing].unlink()
    write_genres(folder, {"good": ["/m/1"], **({"half": ["/m/1"]} if listed else {})})
    with pytest.raises(
        ClipError, match=f"has no {missing} file of clip half: .*remove clip half.*on_error skip"
    ) as caught:
        Clips(folder.parent, "train")
    assert caught.value.clip == "half"
    clips = Clips(folder.parent, "train", on_error="skip")
    assert clips.ids == ["good"] and clips.labels == [["/m/1"]]
    assert list(clips.skipped) == ["half"] and f"no {missing} file" in clips.skipped["half"]
    assert len([path for path in files.values() if path.exists()]) == 1  # nothing of the user's is deleted


def test_a_listed_clip_without_any_file_stops_or_is_left_out(folder):
    make_clip(folder, "good")
    write_genres(folder, {"good": [], "ghost": []})
    with pytest.raises(ClipError, match="has no video and no audio file of clip ghost"):
        Clips(folder.parent, "train")
    assert list(Clips(folder.parent, "train", on_error="skip").skipped) == ["ghost"]


GENRES = {
    "missing": (None, "is missing"),
    "not JSON": ("{'a': []}", "is not valid JSON"),
    "cut short": ('{"good": ["/m/1"', "is not valid JSON"),
    "not text": (b"\xff\xfe\x00", "is not valid JSON"),
    "nested without end": ("[" * 100000, "is not valid JSON"),
    "a list": ('["good"]', "is not a table"),
    "a label that is no list": ('{"good": "/m/1"}', "has an invalid format at 'good'"),
    "labels that are numbers": ('{"good": [1, 2]}', "has an invalid format at 'good'"),
    "one bad entry among good ones": ('{"good": [], "other": null}', "has an invalid format at 'other'"),
    "an id that leads out of the folder": ('{"../good": []}', "has an invalid format at '../good'"),
    "an id with a slash": ('{"a/b": []}', "has an invalid format at 'a/b'"),
    "an id with a backslash": ('{"a\\\\b": []}', "has an invalid format at"),
    "an absolute path": ('{"/etc/passwd": []}', "has an invalid format at"),
    "an empty id": ('{"": []}', "has an invalid format at ''"),
    "the folder itself": ('{"..": []}', "has an invalid format at '..'"),
    "a zero byte": ('{"a\\u0000": []}', "has an invalid format at"),
}


@pytest.mark.parametrize(("content", "reason"), GENRES.values(), ids=GENRES)
def test_a_vid2genre_that_is_not_of_our_form_is_refused(folder, content, reason):
    make_clip(folder, "good")
    path = folder / "vid2genre.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for on_error in ("stop", "skip"):  # no clip is at fault: skipping doesn't help
        with pytest.raises(UserError) as caught:
            Clips(folder.parent, "train", on_error)
        message = str(caught.value)
        assert message.startswith(str(path)) and reason in message and "it must hold id: [mid, ...]" in message
        assert "\n" not in message and len(message) < len(str(path)) + 250


BOX = {"time": 0.0, "box": [0.1, 0.1, 0.2, 0.2], "label": "/m/1", "sounding": True}
BOXES = {
    "not JSON": "{",
    "a list": [BOX],
    "a box alone": {"good": BOX},
    "no time": {"good": [{key: value for key, value in BOX.items() if key != "time"}]},
    "three sides": {"good": [BOX | {"box": [0, 0, 1]}]},
    "sides in words": {"good": [BOX | {"box": ["0", "0", "1", "1"]}]},
    "a side that is no number": {"good": [BOX | {"box": [0, 0, float("nan"), 1]}]},
    "no label": {"good": [BOX | {"label": None}]},
    "sounding in words": {"good": [BOX | {"sounding": "yes"}]},
    "the second box is bad": {"good": [BOX, BOX | {"time": True}]},
}


@pytest.mark.parametrize("content", BOXES.values(), ids=BOXES)
def test_a_boxes_json_that_is_not_of_our_form_is_refused(folder, content):
    make_clip(folder, "good")
    write_genres(folder)
    path = folder / "boxes.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(UserError, match=r'it must hold id: \[\{"time"') as caught:
        Clips(folder.parent, "train")
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_is_named_with_what_to_do(folder, tmp_path):
    with pytest.raises(UserError, match=rf"no dataset folder {tmp_path}/nowhere: .*make_demo_data.*--data.root"):
        Clips(tmp_path / "nowhere", "train")
    make_clip(folder, "a")
    write_genres(folder)
    with pytest.raises(UserError, match=r"has no split 'val': .*set/val is missing"):
        Clips(folder.parent, "val")
    for kind in ("video", "audio"):
        other = tmp_path / kind / "train"
        make_clip(other, "a")
        write_genres(other)
        (other / kind).rename(other / "elsewhere")
        with pytest.raises(UserError, match=rf"{other}/{kind} is missing"):
            Clips(other.parent, "train", on_error="skip")


def test_an_empty_split_is_refused(folder):
    make_clip(folder, "a")
    write_genres(folder, {})
    with pytest.raises(UserError, match=r"set/train is empty"):
        Clips(folder.parent, "train")
    (folder / "audio" / "a.wav").unlink()
    write_genres(folder)
    with pytest.raises(UserError, match=r"set/train is empty"):  # nothing is left after skipping
        Clips(folder.parent, "train", on_error="skip")
