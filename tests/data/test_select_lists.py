"""Selecting from lists of every format: by the list's own labels or AudioSet's classes, and what is written."""

import io
import json
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.select_data_by_genre import main
from dataset.making.lists.list_formats import parse_name
from dataset.making.lists.segments import Segment
from dataset.making.lists.video_lists import read_list
from dataset.making.lists.write_list import write_list
from dataset.reading.names import normalize_name
from utils.errors import UserError

A, B, C, D = "---g-f_I2yQ", "RUhOCu3LNXM", "0_8-g2rof7E", "dQw4w9WgXcQ"
VGGSOUND = f'{A},30,Playing guitar,test\n{B},0,"dog barking, growling",train\n{C},5,playing bell,train\n' + (
    f"{A},30,wind noise,test\n"
)


def select(infos, content, *words, genres="Guitar"):
    """The list that the command writes, of one with this content."""
    source, out = infos / "in.txt", infos / "out.txt"
    source.write_text(content)
    (infos / "genres.txt").write_text(genres)
    out.unlink(missing_ok=True)
    options = ("--infos", infos, "--genres", infos / "genres.txt", "--out", out)
    main([str(word) for word in ("--csv", source, *options, *words)])
    return read_list(out)


# -------------------------------------------------------------------------------------------------------- the classes


@pytest.mark.parametrize(("genres", "words", "kept"), [
    ("playing GUITAR", (), [A]), ("dog barking,  growling\nplaying bell", (), [B, C]),
    ("wind noise", ("--match", "all"), []), ("wind noise\nplaying guitar", ("--match", "all"), [A]),
    ("playing bell\nplaying guitar", ("--part", "train"), [C]), ("playing bell", ("--format", "vggsound"), [C]),
])  # fmt: skip
def test_the_lists_own_labels_are_classes(infos, genres, words, kept):
    for name in ("ontology.json", "class_labels_indices.csv"):
        (infos / name).unlink()  # AudioSet's classes aren't needed
    if not kept:
        with pytest.raises(UserError, match=r"nothing in .* has the classes"):
            select(infos, VGGSOUND, *words, genres=genres)
        return
    found = select(infos, VGGSOUND, *words, genres=genres)
    assert found.format == "vggsound" and [segment.video for segment in found.segments] == kept


def test_a_label_map_makes_labels_audiosets_classes_and_rows_keep_their_own(infos):
    table = infos / "map.csv"
    table.write_text("label,mid\nplaying guitar,/m/acoustic\nplaying bell,/m/bell\nwind noise,\n")
    with pytest.raises(UserError, match="nothing in"):
        select(infos, VGGSOUND)
    found = select(infos, VGGSOUND, "--label_map", table)
    assert found.segments == [Segment(A, 30, 40, ("Playing guitar", "wind noise"), "test")]
    assert (infos / "out.txt").read_text() == f"{A},30,Playing guitar,test\n{A},30,wind noise,test\n"
    found = select(infos, VGGSOUND, "--label_map", table, genres="Bell\nwind noise")
    assert [segment.video for segment in found.segments] == [A, C]


def test_what_is_no_class_is_named_with_the_nearest_of_both_kinds(infos):
    with pytest.raises(UserError, match=r"'playing bel' is not a class of AudioSet, nor a label of .*'playing bell'$"):
        select(infos, VGGSOUND, genres="playing bel")
    (infos / "ontology.json").unlink()
    with pytest.raises(UserError, match=r"ontology.json is missing"):
        select(infos, VGGSOUND, genres="Guitar")


def test_other_formats_become_csv_with_a_header(infos):
    music = json.dumps({"videos": {"flute violin": [A], "cello": [B]}})
    assert select(infos, music, genres="violin").segments == [Segment(A, 0, inf, ("flute", "violin"))]
    assert (infos / "out.txt").read_text() == f"id,start,end,label,part\n{A},,,flute,\n{A},,,violin,\n"
    ave = f"Category&VideoID&Quality&StartTime&EndTime\nChurch bell&{A}&good&1&7\nCat&{B}&good&0&10\n"
    assert select(infos, ave, genres="cat").segments == [Segment(B, 0, 10, ("Cat",))]
    older = f"{A}_000030.mp4,singing\n{B}_000001.mp4,rain\n"
    select(infos, older, genres="rain")
    assert (infos / "out.txt").read_text() == f"{B}_000001.mp4,rain\n"


def test_options_of_lists_need_a_list(infos):
    with pytest.raises(UserError, match="are about a list"):
        main(["--clips", str(infos), "--out", str(infos / "x"), "--part", "train"])


# ----------------------------------------------------------------------------------------------------- written, read

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")) | st.sampled_from(' ,"#&='), max_size=12)
MIDS = st.lists(st.from_regex(r"/m/[a-z0-9_]{2,6}", fullmatch=True), min_size=1, max_size=3, unique=True).map(tuple)
YOUTUBE = st.from_regex(r"[A-Za-z0-9_-]{11}", fullmatch=True)
FREE = TEXT.map(str.strip).filter(bool).map(normalize_name)
ODD = ("#1 song", "song.mp4.mp4", f"{A}_30_40.wav.mp4", f"{A}_000030.webm.webm", "id", "a,b")
MILLISECONDS = st.integers(0, 900_000_000)


@st.composite
def plain_segments(draw):
    found = {}
    for _ in range(draw(st.integers(1, 6))):
        name = draw(YOUTUBE | TEXT | st.sampled_from(ODD))
        try:
            video = parse_name(name)[0]
        except ValueError:
            continue
        start, length = draw(MILLISECONDS), draw(st.integers(1, 10_000))
        times = draw(st.sampled_from([(0.0, inf), (round(start / 1000, 3), round((start + length) / 1000, 3))]))
        labels = draw(MIDS | st.lists(FREE, max_size=2, unique=True).map(tuple))
        part = draw(st.sampled_from(["", "train", "val", "test"]))
        found[video, *times] = Segment(video, *times, labels, part)
    return list(found.values())


@settings(max_examples=300, deadline=None)
@given(plain_segments())
def test_a_csv_with_a_header_says_what_it_was_made_of(tmp_path_factory, segments):
    if segments:
        check_round_trip(tmp_path_factory.getbasetemp() / "plain.csv", segments, "plain", "music")


LABELS = st.lists(FREE, min_size=1, max_size=2, unique=True)
CLIPS = st.tuples(YOUTUBE, st.integers(0, 999_000))


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(CLIPS, st.tuples(LABELS, st.sampled_from(["train", "test", ""])), min_size=1))
def test_vggsounds_form_says_what_it_was_made_of(tmp_path_factory, rows):
    segments = [Segment(video, float(start), start + 10.0, tuple(labels), part)
                for (video, start), (labels, part) in rows.items()]  # fmt: skip
    check_round_trip(tmp_path_factory.getbasetemp() / "vggsound.csv", segments, "vggsound", "vggsound", "vggsound")


def check_round_trip(path, segments, expected, source, format=None):
    text = io.StringIO()
    write_list(text, segments, source, "a note")
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    found = read_list(path, format)
    assert found.segments == segments and found.format == expected and not found.left_out
