"""Which clips are one recording: names judged together, regular expressions, lists."""

import random
import string
import unicodedata

import pytest
from helpers import write_json

from dataset.making.splits.recordings import find_youtube_ids, group_by_name, group_by_option, recording_of
from utils.errors import UserError

ALPHABET = string.ascii_letters + string.digits + "-_"


def groups(names, parts=3):
    """The names as sets, one for each recording."""
    of = group_by_name({name: name for name in names}, parts).of
    assert set(of) == set(names)
    return {frozenset(name for name in names if of[name] == recording) for recording in of.values()}


def sets(*words):
    return {frozenset(word.split("|")) for word in words}


def numbered_names(head, numbers, form="_{:02d}"):
    return [head + form.format(k) for k in numbers]


@pytest.mark.parametrize("name", [
    "IMG_0001", "img_0001", "IMG_E1234", "DSC_0042", "_DSC0042", "DSCN0001", "DSCF1234", "MVI_1234", "MOV_0001",
    "P1010123", "C0001", "MAH01234", "00012", "PXL_20210101_123456789", "VID_20190503_120001", "20190503_120001",
    "2019-05-03 12.00.01", "2019-05-03T12-00-01", "2019-05-03", "2019-05-03 12.30", "2019-05-03_12_30_01", "03.05.2019", "WhatsApp Video 2019-05-03 at 12.00.01",  # noqa: E501
    "Screen Recording 2021-05-05 at 10.11.12", "2019", "12", "my video", "A", "_01", "(2)",
])  # fmt: skip
def test_what_a_camera_counts_and_dates_belong_to_the_name(name):
    assert recording_of(name) == name.lower()
    for cut in ("_1", "_30.000_40.000", " (2)", "-part3", "_take_04"):
        assert recording_of(name + cut) == name.lower()


@pytest.mark.parametrize(("name", "recording"), [
    ("guitar_solo_01", "guitar_solo"), ("piano_take_3", "piano"), ("clip12", "clip"), ("name (2)", "name"),
    ("song #3", "song"), ("my-video-4", "my-video"), ("Größe 3", "größe"), ("film_30_40", "film"),
    ("film_000030", "film"), ("film_00.01.30", "film"), ("film_1m30s", "film"), ("film_1500ms", "film"),
    ("v_ApplyEyeMakeup_g01_c02", "v_applyeyemakeup_g01"), ("show1_cam2", "show1_cam"), ("a.b..c", "a.b..c"),
    ("concert 2019-05-03_7", "concert 2019-05-03"),
    ("concert 2019-05-03_10_15", "concert 2019-05-03"), ("concert 2019-05-03_000130", "concert 2019-05-03"), ("001_002", "001"), ("lesson.part2", "lesson"),  # noqa: E501
    ("GOPR0042", "GoPro 0042"), ("GP010042", "GoPro 0042"), ("GX020042_10", "GoPro 0042"),
])  # fmt: skip
def test_a_recording_is_the_name_before_its_last_numbers(name, recording):
    assert recording_of(name) == recording


def test_youtube_ids_are_known_whatever_follows_them():
    names = ["dQw4w9WgXcQ", "dQw4w9WgXcQ_30", "dQw4w9WgXcQ_30.000_40.000", "aB3-efGhi_k_000030", "aB3-efGhi_k_000040",
             "zzzzzzzzzzz_1", "zzzzzzzzzzz_2", "My Title [Xy-zW9876_5]_1", "My Title [Xy-zW9876_5].f137"]  # fmt: skip
    assert groups(names) == sets("|".join(names[:3]), "|".join(names[3:5]), "|".join(names[5:7]), "|".join(names[7:]))
    assert "YouTube" in group_by_name({name: name for name in names}, 3).by


def test_random_ids_are_taken_for_ids_and_words_are_not():
    draw = random.Random(0)
    ids = {"".join(draw.choices(ALPHABET, k=11)) for _ in range(2000)}
    assert find_youtube_ids(f"{name}_{k}" for name in ids for k in (10, 20)) == ids
    assert find_youtube_ids(f"{name}_30_40" for name in list(ids)[:3]) == set(list(ids)[:3])
    words = ["instruments", "guitar_solo", "Guitar-Solo", "video000012", "PianoSonata", "IMG_0001234", "2019-05-03_"]
    assert find_youtube_ids(f"{word}_{k}" for word in words for k in (1, 2)) == set()


def test_one_numbered_name_alone_numbers_recordings():
    for names in (
        numbered_names("instruments", range(1, 21), "_{:04d}"),
        numbered_names("clip", range(20), "{}"),
        numbered_names("clip", range(20), "{}") + ["intro"],
        numbered_names("Übung", range(5), " ({})"),
        [f"film_{k}_{k + 10}" for k in range(0, 100, 10)],
    ):
        assert groups(names) == sets(*names)
        found = group_by_name({name: name for name in names}, 3)
        assert "differ by a number only" in found.describe() and "--group" in found.describe()


def test_several_numbered_names_are_a_recording_each():
    names = [*numbered_names("guitar_solo", (1, 2)), *numbered_names("piano", (1, 2, 3)), "Piano_4", "drums"]
    assert groups(names) == sets("guitar_solo_01|guitar_solo_02", "piano_01|piano_02|piano_03|Piano_4", "drums")
    text = group_by_name({name: name for name in names}, 3).describe()
    assert text.startswith("7 clips of 3 recordings") and "the 4 clips Piano_4, piano_01, ... are one" in text


def test_the_last_number_counts_alone_where_all_would_leave_too_few():
    speakers = [f"speaker_{a:02d}_{b:02d}" for a in range(1, 5) for b in range(1, 4)]
    assert groups(speakers) == sets(*("|".join(speakers[k : k + 3]) for k in range(0, 12, 3)))
    # The starts and ends of cuts are no such numbers: the clips of a film stay together, and there are too few films.
    films = [f"{film}_{k}_{k + 10}" for film in ("one", "two") for k in range(0, 100, 10)]
    assert groups(films) == sets("|".join(films[:10]), "|".join(films[10:]))
    clocks = [f"{film}_00_{k:02d}_00" for film in ("one", "two") for k in range(10)]
    assert groups(clocks) == sets("|".join(clocks[:10]), "|".join(clocks[10:]))


def test_a_rule_of_an_earlier_run_is_kept():
    names = {name: name for name in numbered_names("instruments", range(9))}
    assert group_by_name(names, 3, "all numbers").count == 1
    assert group_by_name(names, 3).rule == "whole name"


def test_spellings_of_unicode_and_case_make_no_difference():
    names = [unicodedata.normalize("NFD", "Größe_1"), unicodedata.normalize("NFC", "größe_2"), "x_1", "X_2", "y"]
    assert groups(names) == sets("|".join(names[:2]), "x_1|X_2", "y")


def test_no_name_is_lost_and_the_order_is_none():
    draw = random.Random(1)
    names = {"".join(draw.choices("ab01_-. ()", k=draw.randrange(1, 12))) for _ in range(500)}
    first = group_by_name({name: name for name in sorted(names)}, 3)
    again = group_by_name({name: name for name in sorted(names, reverse=True)}, 3)
    assert first.of == again.of and first.rule == again.rule and set(first.of) == names and all(first.of.values())
    assert group_by_name({}, 3).describe().startswith("0 clips of 0 recordings")


# -------------------------------------------------------------------------------------------------------------- --group


def test_a_regular_expression_names_the_recording_by_its_group_or_as_a_whole():
    clips = ["a_cam1_01", "a_cam2_01", "b_cam1_01"]
    assert group_by_option(clips, r"^(\w)_").of == dict(zip(clips, "aab", strict=True))
    assert group_by_option(clips, r"cam\d").of == dict(zip(clips, ("cam1", "cam2", "cam1"), strict=True))
    assert group_by_option(clips, ".*").of == {clip: clip for clip in clips}
    assert group_by_option(clips, ".*").describe() == "3 clips of 3 recordings, by --group .*"


def test_a_list_names_the_recording_of_each_clip(tmp_path):
    table = {"a": "one", unicodedata.normalize("NFD", "ä"): "one", "c": "two"}
    write_json(tmp_path / "a.json", table)
    (tmp_path / "a.csv").write_text("\ufeffid,recording\n" + "".join(f"{k}, {v}\n" for k, v in table.items()))
    for name in ("a.json", "a.csv"):
        assert group_by_option(["a", "ä", "c"], str(tmp_path / name)).of == {"a": "one", "ä": "one", "c": "two"}


@pytest.mark.parametrize(("name", "content", "said"), [
    ("a.csv", None, "can't be read"),
    ("a.csv", "a,x\nb\n", "invalid row"),
    ("a.csv", "a,x\n", r"doesn't list 1 of 2 clips \(b\)"),
    ("a.json", '{"a": 1}', "invalid format"),
    ("a.json", "[]", "invalid format"),
    ("a.json", "{", "not valid JSON"),
    (r"^(a)", None, r"doesn't match 1 of 2 clips \(b\)"),
    ("x*", None, r"doesn't match 2 of 2 clips \(a, b\)"),
    ("(", None, "neither a file nor a regular expression"),
])  # fmt: skip
def test_a_group_that_does_not_fit_is_told(tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_text(content)
    option = str(tmp_path / name) if name.startswith("a.") else name
    with pytest.raises(UserError, match=said):
        group_by_option(["a", "b"], option)
