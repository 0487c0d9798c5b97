"""AudioSet's lists: every row of the real ones is read, and a row that isn't of their form is named."""

import io
from pathlib import Path

import pytest

from dataset.making.lists.segments import (
    Segment,
    clip_ids,
    iter_segments,
    read_class_labels,
    write_segments,
    youtube_id,
)
from dataset.making.lists.video_lists import read_list
from utils.errors import UserError

AUDIOSET = Path(__file__).parents[3] / "shared" / "audioset"
needs_lists = pytest.mark.skipif(not AUDIOSET.is_dir(), reason="AudioSet's lists are not here")
GOOD = '--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_"\n'
SEGMENT = Segment("--4gqARaEJE", 0.0, 10.0, ("/m/068hy", "/m/07q6cd_"))


def read_segments(path):
    """The segments of AudioSet's list `path`."""
    return read_list(path, "audioset").segments


@pytest.fixture
def listed(tmp_path):
    """A callable: text -> path of a segment file that holds it."""

    def write(text):
        path = tmp_path / "list.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


# ------------------------------------------------------------------------------------------------------- real lists


@needs_lists
@pytest.mark.parametrize(("name", "rows"), [("eval_segments.csv", 20371), ("balanced_train_segments.csv", 22160)])
def test_a_real_list_is_read_to_its_last_row(name, rows):
    segments = read_segments(AUDIOSET / name)
    assert len(segments) == len(set(segments)) == len(set(clip_ids(segments))) == rows
    assert list(iter_segments(AUDIOSET / name)) == segments
    assert len({label for segment in segments for label in segment.labels}) == 527


@needs_lists
def test_the_odd_rows_of_the_real_eval_list():
    segments = read_segments(AUDIOSET / "eval_segments.csv")
    assert sum(segment.video.startswith("-") for segment in segments) == 392
    assert sum(round(segment.end - segment.start, 3) < 10 for segment in segments) == 361
    assert sum(segment.start % 1 > 0 or segment.end % 1 > 0 for segment in segments) == 3
    assert segments[0] == Segment("--4gqARaEJE", 0.0, 10.0, ("/m/068hy", "/m/07q6cd_", "/m/0bt9lr", "/m/0jbk"))


@needs_lists
def test_a_real_list_written_and_read_again_is_the_same(listed):
    segments = read_segments(AUDIOSET / "eval_segments.csv")
    text = io.StringIO()
    write_segments(text, segments, "a copy")
    assert read_segments(listed(text.getvalue())) == segments


@needs_lists
def test_the_real_names_of_the_classes():
    names = read_class_labels(AUDIOSET / "class_labels_indices.csv")
    assert len(names) == 527
    assert names["/m/05zppz"] == "Male speech, man speaking"  # a comma within quotes


# ------------------------------------------------------------------------------------------------------------- forms


FORMS = {
    "the official one": "# Segments csv created\n# num_ytids=1\n# YTID, start_seconds\n" + GOOD,
    "without spaces": '--4gqARaEJE,0,10,"/m/068hy,/m/07q6cd_"\n',
    "without a line end": GOOD.strip(),
    "Windows' line ends": GOOD.replace("\n", "\r\n"),
    "a byte order mark": "\ufeff" + GOOD,
    "a byte order mark before a comment": "\ufeff# YTID\n" + GOOD,
    "empty lines": "\n\n" + GOOD + "  \n\n",
    "a quote in a comment": '# a list, "of mine\n' + GOOD,
    "a mid that comes twice": GOOD.replace("/m/068hy,", "/m/068hy,/m/068hy, "),
    "a row that comes twice": GOOD + GOOD,
    "times to the microsecond": GOOD.replace("10.000", "9.9999996"),
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_every_form_of_the_lists_is_read(listed, text):
    assert read_segments(listed(text)) == [SEGMENT]


def test_a_file_without_a_quote_around_one_mid(listed):
    assert read_segments(listed("--ZhevVpy1s,50,60,/m/012xff\n")) == [
        Segment("--ZhevVpy1s", 50.0, 60.0, ("/m/012xff",))
    ]


def test_rows_of_one_cut_that_differ_in_labels_are_one(listed):
    """Else two clips would have one name, and the labels of one of them would be lost."""
    other = GOOD.replace("/m/068hy", "/m/0jbk")
    assert read_segments(listed(GOOD + other)) == [Segment(*SEGMENT[:3], ("/m/068hy", "/m/07q6cd_", "/m/0jbk"))]


WRONG = {
    "too few cells": ("--4gqARaEJE, 0.000, 10.000\n", "it has 3 cells"),
    "labels without quotes": ("--4gqARaEJE, 0, 10, /m/068hy,/m/07q6cd_\n", "it has 5 cells"),
    "an id that leaves the folder": (GOOD.replace("--4gqARaEJE", "../../../ab"), r"'../../../ab' is not a YouTube"),
    "an absolute path": (GOOD.replace("--4gqARaEJE", "/etc/passwd"), "'/etc/passwd' is not a YouTube id"),
    "a short id": (GOOD.replace("--4gqARaEJE", "abc"), "'abc' is not a YouTube id"),
    "an address": (GOOD.replace("--4gqARaEJE", "https://youtu.be/x"), "is not a YouTube id"),
    "HTML in the id": (GOOD.replace("--4gqARaEJE", "<b>abcd</b>"), "'<b>abcd</b>' is not a YouTube id"),
    "a newline in the id": ('"--4gqARaEJE\nx", 0, 10, "/m/1"\n', r"'--4gqARaEJE\\nx' is not a YouTube id"),
    "an id of other letters": (GOOD.replace("--4gqARaEJE", "--4gqARaEJ\u00e9"), "is not a YouTube id"),
    "words for times": (GOOD.replace("0.000", "start", 1), "the times must be seconds"),
    "a negative time": (GOOD.replace("0.000", "-1", 1), "the times must be seconds"),
    "not a number": (GOOD.replace("10.000", "nan"), "the times must be seconds"),
    "infinite": (GOOD.replace("10.000", "inf"), "the times must be seconds"),
    "years": (GOOD.replace("10.000", "99999999"), "the times must be seconds"),
    "python's own numbers": (GOOD.replace("10.000", "1_0"), "the times must be seconds"),
    "digits of another script": (GOOD.replace("10.000", "\u0661\u0660"), "the times must be seconds"),
    "an end before the start": (GOOD.replace("0.000", "10.0", 1), "start must lie before the end"),
    "a name for a label": (GOOD.replace("/m/068hy", "Speech"), "'Speech' is not an AudioSet mid"),
    "a path for a label": (GOOD.replace("/m/068hy", "/m/../x"), "'/m/../x' is not an AudioSet mid"),
    "no label": (GOOD.replace("/m/068hy,/m/07q6cd_", ""), "'' is not an AudioSet mid"),
}


@pytest.mark.parametrize(("row", "reason"), WRONG.values(), ids=WRONG)
def test_a_row_of_another_form_is_named(listed, row, reason):
    path = listed("# YTID\n" + GOOD.replace("--4", "--5") + row)
    with pytest.raises(UserError, match=reason) as caught:
        read_segments(path)
    message = str(caught.value)
    line = 4 if "\n" in row.strip() else 3
    assert message.startswith(f"{path}, line {line} is not `YTID, start, end") and "\n" not in message


def test_a_file_that_is_no_list_is_refused(listed, tmp_path):
    for content, reason in (
        ("", "has no rows"),
        ("# YTID\n", "has no rows"),
        (b"\x1f\x8b\x08\xff", "is not a text file in UTF-8"),
        ("a" * 200_000, "line 1 is not csv"),
        ("<!DOCTYPE html>\n<html>", "line 1 is not `YTID"),
    ):
        with pytest.raises(UserError, match=reason):
            read_segments(listed(content))
    with pytest.raises(UserError, match=r"can't be read .No such file"):
        read_segments(tmp_path / "nowhere.csv")


def test_rows_come_one_by_one(listed):
    """Two million rows are counted without keeping them: a bad one is met only when its turn comes."""
    rows = iter_segments(listed(GOOD + "bad\n"))
    assert next(rows) == SEGMENT
    with pytest.raises(UserError, match="line 2"):
        next(rows)


# -------------------------------------------------------------------------------------------------- names and writing


def test_what_is_written_is_audiosets_own_form():
    text = io.StringIO()
    segments = [SEGMENT, Segment("-aaaaaaaaaa", 1.5, 9.25, ("/m/068hy",))]
    write_segments(text, segments, "chosen\nfrom \x1b[31m \udc80")
    assert text.getvalue() == (
        "# chosen?from ?[31m ?\n# num_ytids=2, num_segs=2, num_unique_labels=2, num_positive_labels=3\n"
        "# YTID, start_seconds, end_seconds, positive_labels\n"
        '--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_"\n-aaaaaaaaaa, 1.500, 9.250, "/m/068hy"\n'
    )


def test_clips_of_one_video_have_names_of_their_own_and_lead_back_to_it():
    cuts = [(v, s, s + 10.0, ("/m/1",)) for v, s in (("-aaaaaaaaaa", 0.0), ("bbbbbbbbbbb", 5.5), ("-aaaaaaaaaa", 30.0))]
    names = clip_ids([Segment(*cut) for cut in cuts])
    assert names == ["-aaaaaaaaaa_0.000_10.000", "bbbbbbbbbbb", "-aaaaaaaaaa_30.000_40.000"]
    assert [youtube_id(name) for name in names] == [cut[0] for cut in cuts]
    assert youtube_id("my own video") == "my own video" and youtube_id("twelve_chars") == "twelve_chars"
    assert youtube_id("___________") == "___________" and youtube_id("a_b") == "a_b"


def test_names_of_classes_of_another_form_are_refused(listed):
    head = "index,mid,display_name\n"
    assert read_class_labels(listed(head + '0,/m/1,"A, b"\n1,/t/2,C\n')) == {"/m/1": "A, b", "/t/2": "C"}
    for text, reason in (
        ("", "its first line must be index,mid,display_name"),
        ("mid,index\n", "its first line must be"),
        (head + "0,/m/1\n", "line 2 is not"),
        (head + "0,/m/1,A,b\n", "line 2 is not"),
        (head + "0,../x,A\n", "line 2 is not"),
        (head + '0,/m/1,"A\nb"\n', "line 3 is not"),
        (head + "0,/m/1,\x1b[31m\n", "line 2 is not"),
        (head + "0,/m/1,A\n1,/m/1,B\n", "line 3 names /m/1 again"),
    ):
        with pytest.raises(UserError, match=reason) as caught:
            read_class_labels(listed(text))
        assert str(caught.value).isprintable()
