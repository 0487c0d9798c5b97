"""Lists of videos: each format is recognized by its content, read by its own rules, and refused in one sentence."""

import csv
import json
from functools import partial
from math import inf, isfinite
from pathlib import Path

import pytest
from mutations import bytes_of, fuzzed, is_one_line, is_safe, json_or_bytes, outcome

from dataset.making.lists.list_formats import FORMAT_NAMES, describe_forms, parse_name
from dataset.making.lists.segments import Segment
from dataset.making.lists.video_lists import read_list, vggsound_name
from utils.errors import UserError

AUDIOSET = Path(__file__).parents[3] / "shared" / "audioset"
ONE, TWO, THREE = "---g-f_I2yQ", "RUhOCu3LNXM", "0_8-g2rof7E"

# One list of each format, as its authors write it, and what it says.
LISTS = {
    "audioset": (
        f'# YTID, start_seconds, end_seconds, positive_labels\n{ONE}, 0.000, 10.000, "/m/04rlf,/m/07y_7"\n'
        f'{TWO}, 30.000, 40.000, "/m/0bt9lr"\n',
        [Segment(ONE, 0, 10, ("/m/04rlf", "/m/07y_7")), Segment(TWO, 30, 40, ("/m/0bt9lr",))],
        [ONE, TWO],
    ),
    "vggsound": (
        f'{ONE},1,"people marching",test\n{THREE},49,"heart sounds, heartbeat",train\n{ONE},220,wind noise,test\n',
        [
            Segment(ONE, 1, 11, ("people marching",), "test"),
            Segment(THREE, 49, 59, ("heart sounds, heartbeat",), "train"),
            Segment(ONE, 220, 230, ("wind noise",), "test"),
        ],
        [f"{ONE}_000001", f"{THREE}_000049", f"{ONE}_000220"],
    ),
    "ave": (
        "Category&VideoID&Quality&StartTime&EndTime\n"
        f"Church bell&{TWO}&good&0&10\nMale speech, man speaking&{ONE}&good&2&9\n",
        [Segment(TWO, 0, 10, ("Church bell",)), Segment(ONE, 2, 9, ("Male speech, man speaking",))],
        [TWO, ONE],
    ),
    "ids": (
        f"{ONE}\n{THREE}_000049\n{TWO}_30_40\n4444\nfolder/{TWO}.mp4\n",
        [
            Segment(ONE, 0, inf, ()), Segment(THREE, 49, 59, ()), Segment(TWO, 30, 40, ()), Segment("4444", 0, inf, ()),
            Segment(TWO, 0, inf, ()),
        ],
        [ONE, THREE, f"{TWO}_30.000_40.000", "4444", TWO],
    ),
    "plain": (
        f'id,start,end,label,split\n{ONE},1.5,3,"dog, barking",train\n{ONE},1.5,3,cat,train\n{TWO},,,,test\n',
        [Segment(ONE, 1.5, 3, ("dog, barking", "cat"), "train"), Segment(TWO, 0, inf, (), "test")],
        [ONE, TWO],
    ),
    "music": (
        json.dumps({"version": "1.0", "videos": {"acoustic_guitar violin": [ONE], "flute": [TWO]}}),
        [Segment(ONE, 0, inf, ("acoustic_guitar", "violin")), Segment(TWO, 0, inf, ("flute",))],
        [ONE, TWO],
    ),
    "cav-mae": (
        json.dumps({"data": [{"video_id": ONE, "wav": "x", "labels": "/m/04rlf,/m/07y_7"}, {"wav": f"y/{TWO}.wav"}]}),
        [Segment(ONE, 0, inf, ("/m/04rlf", "/m/07y_7")), Segment(TWO, 0, inf, ())],
        [ONE, TWO],
    ),
    "vggss": (
        json.dumps([{"class": "dog barking", "file": f"{ONE}_000001", "bbox": [[0.1, 0.2, 0.3, 0.4]]}]),
        [Segment(ONE, 1, 11, ("dog barking",), "test")],
        [f"{ONE}_000001"],
    ),
    "solos": (
        json.dumps({"Trombone": {ONE: [[18, 750], [760, 2028]]}, "Oboe": {TWO: [[0, 5000]]}}),
        [
            Segment(ONE, 0.72, 30, ("Trombone",)), Segment(ONE, 30.4, 81.12, ("Trombone",)),
            Segment(TWO, 0, 200, ("Oboe",)),
        ],
        [f"{ONE}_0.720_30.000", f"{ONE}_30.400_81.120", TWO],
    ),
}  # fmt: skip


@pytest.fixture
def listed(tmp_path):
    """A callable: text -> path of a list that holds it."""

    def write(text):
        path = tmp_path / "list.txt"
        path.write_text(text)
        return path

    return write


def refused(path, *more):
    with pytest.raises(UserError) as error:
        read_list(path, *more)
    assert is_one_line(str(error.value))
    return str(error.value)


def test_every_format_is_tried():
    assert list(LISTS) == list(FORMAT_NAMES)
    assert all(name in describe_forms() for name in ("AudioSet", "VGGSound", "AVE", "MUSIC", "Solos", "CAV-MAE"))


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_recognized_and_read_by_its_own_rules(listed, name):
    text, segments, names = LISTS[name]
    found = read_list(listed(text))
    assert (found.format, found.segments, found.left_out) == (name, segments, {})
    assert found.clip_ids() == names
    assert read_list(found.path, name) == found


@pytest.mark.parametrize("other", FORMAT_NAMES)
def test_a_format_that_is_forced_reads_the_file_or_says_that_it_does_not_fit(listed, other):
    for text, segments, _ in LISTS.values():
        path = listed(text)
        found = outcome(partial(read_list, path, other), path, text.encode())
        if found is not None:
            assert found.format == other and (found.segments == segments or other in ("ids", "solos", "vggsound"))


def test_the_first_lists_of_vggsound_name_their_clips(listed):
    found = read_list(listed(f'{ONE}_000300.mp4,playing hammond organ\n{THREE}_000049.mp4,"heart sounds, heartbeat"\n'))
    assert found.format == "vggsound" and found.clip_ids() == [f"{ONE}_000300", f"{THREE}_000049"]
    assert found.segments[0] == Segment(ONE, 300, 310, ("playing hammond organ",))


def test_a_header_of_a_list_that_has_none_is_no_row(listed):
    found = read_list(listed(f"ytid,start,label,split\n{ONE},1,dog,train\n{TWO},2,cat,test\n{THREE},3,cat,test\n"))
    assert found.format == "vggsound" and len(found.segments) == 3


@pytest.mark.parametrize("delimiter", ["\t", ";"])
@pytest.mark.parametrize("name", ["vggsound", "plain"])
def test_cells_may_be_separated_by_tabs_and_semicolons(listed, name, delimiter):
    text, segments, _ = LISTS[name]
    lines = list(csv.reader(text.splitlines()))
    path = listed(
        "".join(delimiter.join(f'"{cell}"' if "," in cell else cell for cell in line) + "\n" for line in lines)
    )
    assert read_list(path).segments == read_list(path, name).segments == segments


def test_vggsound_without_parts(listed):
    found = read_list(listed(f'{ONE},1,"people marching"\n{THREE},49,"heart sounds, heartbeat"\n'))
    assert found.format == "vggsound" and found.clip_ids() == [f"{ONE}_000001", f"{THREE}_000049"]
    assert {segment.part for segment in found.segments} == {""}


def test_ids_of_solos_without_time_stamps_are_whole_videos(listed):
    found = read_list(listed(json.dumps({"Bassoon": [ONE, TWO], "Cello": [THREE]})))
    assert found.format == "solos" and found.segments[2] == Segment(THREE, 0, inf, ("Cello",))


def test_what_is_left_out_of_a_list_is_counted(listed):
    found = read_list(listed(f"Flute&{ONE}&good&0&0\nFlute&{TWO}&good&0&0\nFlute&{TWO}&good&0&10\n"))
    assert found.left_out == {"an event of no length": 2} and "left out: 2 x an event of no length" in found.describe()
    found = read_list(listed(json.dumps({"Tuba": {ONE: [], TWO: [[0, 50]]}})))
    assert found.left_out == {"a video without time stamps": 1} and found.segments == [Segment(TWO, 0, 2, ("Tuba",))]


def test_one_part_of_a_list(listed):
    path = listed(LISTS["vggsound"][0])
    assert [segment.video for segment in read_list(path, part="train").segments] == [THREE]
    assert len(read_list(path, part="test").segments) == 2
    assert "(test 2, train 1)" in read_list(path).describe()
    assert "part val" in refused(path, None, "val")
    assert "has no parts" in refused(listed(LISTS["audioset"][0]), None, "train")


def test_a_clip_has_the_same_name_in_its_part_as_in_the_whole_list(listed):
    path = listed(f"id,start,end,label,split\n{ONE},0,2,cat,train\n{ONE},2,4,cat,test\n{TWO},0,2,cat,test\n")
    whole = dict(zip(read_list(path).segments, read_list(path).clip_ids(), strict=True))
    for part in ("train", "test"):
        taken = read_list(path, part=part)
        assert taken.clip_ids() == [whole[segment] for segment in taken.segments]
    assert whole[Segment(ONE, 0, 2, ("cat",), "train")] == f"{ONE}_0.000_2.000"


def test_a_clip_in_two_parts_is_refused(listed):
    said = refused(listed(f"{ONE},1,dog,train\n{TWO},1,dog,test\n{ONE},1,cat,test\n"))
    assert "line 3" in said and ONE in said and "train" in said and "test" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{ONE},1,dog,train\n{TWO},1,dog,nowhere\n", ["line 2", "YTID,start,label", "'nowhere' is no part"]),
        (f"{ONE},1,dog,train\n{TWO},one,dog,test\n", ["line 2", "must be seconds"]),
        (f"{ONE},1,dog,train\n{TWO}\n", ["line 2", "it has 1 cell"]),
        (f"Flute&{ONE}&good&0&10\nFlute&{TWO}&good&9&2\n", ["line 2", "before the end"]),
        (f"{ONE}\ntwo words\n", ["line 2", "holds a space"]),
        (f"id,end,label\n{ONE},x,dog\n", ["line 1 fits no known list", "only one of the columns start and end"]),
        (f"id,video,label\n{ONE},{ONE},dog\n", ["'id' and 'video' are both the id"]),
        ("a,b,c\n", ["line 1 fits no known list: 'a,b,c'", "AudioSet", "VGGSound", "--format"]),
        ("# only a comment\n", ["has no rows"]),
        ("", ["has no rows"]),
        ('{"a": 1}', ["fits no known list", "MUSIC", "Solos"]),
        ('{"videos": {"flute": ["short"]}}', ["MUSIC", "'short' is not a YouTube id"]),
        ('{"videos": {"flute": 3}}', ["MUSIC", "no list of ids"]),
        (f'{{"Flute": {{"{ONE}": [[5, 5]]}}}}', ["Solos", "before the end"]),
        ('{"data": [{"labels": "x"}]}', ["CAV-MAE", "entry 1 has no video_id"]),
        ('{"data": []}', ["lists no clip"]),
        ("[1]", ["VGG-SS", "entry 1 has no file"]),
        ("{", ["not valid JSON"]),
    ],
)
def test_what_is_wrong_is_said_with_its_line(listed, text, words):
    path = listed(text)
    said = refused(path)
    assert str(path) in said and all(word in said for word in words), said


def test_an_unknown_or_wrong_format_is_refused(listed):
    path = listed(LISTS["vggsound"][0])
    assert "choose one of audioset, vggsound" in refused(path, "vggsounds")
    assert "is not JSON" in refused(path, "music")
    assert "is JSON" in refused(listed(LISTS["music"][0]), "vggsound")
    assert "can't be read" in refused(path.parent / "nowhere.csv")
    path.write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in refused(path)


@pytest.mark.parametrize("seconds", [0, 7, 30, 123456])
def test_names_of_vggsound_are_read_back(seconds):
    segment = Segment(ONE, float(seconds), seconds + 10.0, ())
    assert parse_name(vggsound_name(segment)) == segment[:3]


@pytest.mark.skipif(not AUDIOSET.is_dir(), reason="AudioSet's lists are not here")
def test_the_real_lists_of_audioset():
    found = read_list(AUDIOSET / "eval_segments.csv")
    assert found.format == "audioset" and len(found.segments) == 20371 and set(found.clip_ids()) > {"--4gqARaEJE"}


def is_sound(found):
    """Whether what was read can be used without another look."""
    names = found.clip_ids()
    assert names and len(set(names)) == len(names) and all(map(is_safe, names)) and is_one_line(found.describe())
    for segment in found.segments:
        assert is_safe(segment.video) and 0 <= segment.start < segment.end
        assert isfinite(segment.start) and segment.part in ("", "train", "val", "test")
        assert all(map(is_one_line, segment.labels))


def damaged(name):
    text = LISTS[name][0]
    return json_or_bytes(json.loads(text)) if text.startswith(("{", "[")) else bytes_of(text.encode())


@pytest.mark.parametrize("name", LISTS)
def test_a_damaged_list_gives_a_result_or_one_sentence(tmp_path_factory, name):
    path = tmp_path_factory.mktemp("lists") / "list"

    @fuzzed(damaged(name), 200)
    def check(content):
        found = outcome(lambda: read_list(path), path, content)
        assert found is None or is_sound(found) is None

    check()


@pytest.mark.slow
@pytest.mark.parametrize("name", LISTS)
def test_ten_thousand_damaged_lists(tmp_path_factory, name):
    path = tmp_path_factory.mktemp("lists") / "list"

    @fuzzed(damaged(name), 10_000)
    def check(content):
        for read in (lambda: read_list(path), lambda: read_list(path, name), lambda: read_list(path, part="test")):
            found = outcome(read, path, content)
            assert found is None or is_sound(found) is None

    check()


@pytest.mark.parametrize("label", ["video", "name", "file", "class"])
@pytest.mark.parametrize("row", [f"{ONE}_000001.mp4,{{}}\n", f"{ONE},1,{{}},test\n"])
def test_a_first_row_whose_label_is_also_a_name_of_a_column_is_a_row(listed, row, label):
    found = read_list(listed(row.format(label) + row.format("dog").replace(ONE, TWO)))
    assert found.format == "vggsound" and [segment.labels for segment in found.segments] == [(label,), ("dog",)]


@pytest.mark.parametrize(
    "text",
    [
        f"{ONE}_30.0001_30.0002\n", f"id,start,end\n{ONE},1.0001,1.0002\n", f'{{"Flute": {{"{ONE}": [[0, 0.001]]}}}}',
        f"Flute&{ONE}&good&0.0001&0.0002\n",
    ],
)  # fmt: skip
def test_no_clip_lasts_less_than_a_millisecond(listed, text):
    assert any(words in refused(listed(text)) for words in ("before the end", "lists no clip", "fits no known list"))


def test_json_that_says_something_else_is_not_misread(listed):
    assert "fits no known list" in refused(listed(json.dumps({"train": [ONE], "test": [TWO]})))  # no instruments
    for label in (None, ["dog", "cat"], 3):
        assert "entry 1 has a class" in refused(listed(json.dumps([{"file": f"{ONE}_000030", "class": label}])))
