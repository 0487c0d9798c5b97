"""Lists that name whole videos, several mids in a cell, and clips whose names tell seconds."""

from types import SimpleNamespace

import pytest

from dataset.making.lists.clip_labels import ClipLabels
from dataset.making.lists.segments import Segment
from dataset.making.lists.video_lists import read_list
from dataset.mixture_lists import read_mixtures
from utils.errors import UserError

A, B, C = "dQw4w9WgXcQ", "aaaaaaaaaaa", "bbbbbbbbbbb"


def split(*ids):
    return SimpleNamespace(ids=list(ids), skipped={}, folder="data/test")


def test_published_pairs_of_videos_match_their_cut_clips(tmp_path):
    (tmp_path / "pairs.csv").write_text(f"/flute/{A}.wav,/cello/{B}.wav\n/flute/{B}.wav,/cello/{C}.wav\n")
    cut = split(f"{A}_30.000_36.000", f"{B}_000040", C)
    assert read_mixtures(tmp_path / "pairs.csv", cut, 2).found == [[0, 1], [1, 2]]


def test_a_video_of_several_clips_is_none_of_them(tmp_path):
    (tmp_path / "pairs.csv").write_text(f"{A}.wav,{B}.wav\n")
    with pytest.raises(UserError, match=f"which lacks 1 clip of 1 line, such as {A}"):
        read_mixtures(tmp_path / "pairs.csv", split(f"{A}_30.000_36.000", f"{A}_40.000_46.000", B), 2)


@pytest.mark.parametrize("joint", [",", "|", ";", " | "])
def test_several_mids_in_a_cell_are_several_labels(joint, tmp_path):
    (tmp_path / "list.csv").write_text(f'id,label\n{A},"/m/018j2{joint}/m/05r5c"\n{B},"piano | solo"\n')
    first, second = read_list(tmp_path / "list.csv").segments
    assert first.labels == ("/m/018j2", "/m/05r5c") and second.labels == ("piano | solo",)


def test_a_clip_of_other_seconds_has_none_of_a_rows_labels():
    labels = ClipLabels({}, [Segment(A, 50.0, 60.0, ("/m/018j2",)), Segment(B, 0.0, 10.0, ("/m/05r5c",))])
    assert labels.of(f"{A}_000030", None) == [] and labels.of(f"{A}_000050", None) == ["/m/018j2"]
    assert labels.of(f"{B}_title", None) == ["/m/05r5c"]  # no seconds in the name: all rows of the video
