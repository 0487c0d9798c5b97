"""Choosing clips on disk by class: a split that can be read, never one over something else."""

import json
from collections import Counter

import pytest
from helpers import write_json
from selection_lists import ROWS

from data import select_data_by_genre
from data.select_data_by_genre import main
from dataset.reading.clips import Clips
from utils.errors import UserError

BOX = {"time": 0.2, "box": [0, 0.1, 0.5, 1], "label": "/m/guitar", "sounding": True}


@pytest.fixture
def split(tmp_path):
    """A split with a clip for each of ROWS, whose files hold its name, and boxes of two of them."""
    folder = tmp_path / "set" / "train"
    for clip, _ in ROWS:
        for kind, suffix in (("video", ".mp4"), ("audio", ".wav")):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            (folder / kind / f"{clip}{suffix}").write_text(f"{kind} of {clip}")
    write_json(folder / "vid2genre.json", dict(ROWS))
    write_json(folder / "boxes.json", {"bbbbbbbbbbb": [BOX], "-zzzzzzzzzz": [BOX]})
    return folder


def tree(folder):
    """{path inside a folder: content} of all its files, through links."""
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def select_clips(infos, split, out, *words):
    """Run the command on clips."""
    options = ("--infos", infos, "--genres", infos / "genres.txt")
    main([str(word) for word in ("--clips", split, "--out", out, *options, *words)])


@pytest.mark.parametrize("by", [None, "link", "hardlink", "copy"])
def test_clips_are_put_into_a_split_that_can_be_read(infos, split, tmp_path, by, capsys):
    before, out = tree(split), tmp_path / "new" / "train"
    select_clips(infos, split, out, *(["--by", by] if by else []))
    clips = Clips(out.parent, "train")
    assert clips.ids == ["aaaaaaaaaaa", "bbbbbbbbbbb", "ddddddddddd"]
    assert clips.labels == [dict(ROWS)[clip] for clip in clips.ids] and clips.boxes == {"bbbbbbbbbbb": [BOX]}
    after = tree(out)
    assert len(after) == 3 * 2 + 2
    assert all(after[name] == before[name] for name in after if not name.endswith(".json"))
    for path in (out / "video").iterdir():
        same = path.samefile(split / "video" / path.name)
        assert (path.is_symlink(), same) == {"copy": (False, False), "hardlink": (False, True)}.get(by, (True, True))
    assert tree(split) == before
    assert "kept 3 of 5, with 3 of the 3 chosen classes\n       2  Guitar\n" in capsys.readouterr().out


@pytest.mark.parametrize("by", ["link", "hardlink", "copy"])
def test_a_selection_that_was_stopped_is_completed_and_a_complete_one_left_alone(
    infos, split, tmp_path, by, monkeypatch
):
    out, put, calls = tmp_path / "new", select_data_by_genre.add_file, []

    def stopping(*args):
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        put(*args)

    monkeypatch.setattr(select_data_by_genre, "add_file", stopping)
    with pytest.raises(KeyboardInterrupt):
        select_clips(infos, split, out, "--by", by)
    assert not (out / "vid2genre.json").exists() and len(tree(out)) == 3
    (out / "video" / ".aaaaaaaaaaa.mp4.123.tmp").touch()  # as a kill leaves it
    times = {path: path.lstat().st_mtime_ns for path in out.rglob("*.*")}
    select_clips(infos, split, out, "--by", by)
    assert Clips(out.parent, "new").ids == ["aaaaaaaaaaa", "bbbbbbbbbbb", "ddddddddddd"]
    assert all(path.lstat().st_mtime_ns == time for path, time in times.items())  # what was there was not made again
    whole = tree(out)
    select_clips(infos, split, out, "--by", by)
    assert tree(out) == whole


def test_a_folder_of_something_else_is_refused_and_stays_as_it_is(infos, split, tmp_path):
    out = tmp_path / "new"
    for name, text, reason in (
        ("vid2genre.json", '{"mine": []}', "vid2genre.json belongs to another selection"),
        ("vid2genre.json", "{", "is not valid JSON"),
        ("boxes.json", "{}", "boxes.json belongs to another selection"),
        ("video/mine.mp4", "x", "mine.mp4 is not part of this selection"),
        ("video/bbbbbbbbbbb.mp4", "x", "bbbbbbbbbbb.mp4 exists and is not a copy of"),
        ("audio/bbbbbbbbbbb.mp3", "x", "bbbbbbbbbbb.mp3 is not part of this selection"),
    ):
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        with pytest.raises(UserError, match=reason):
            select_clips(infos, split, out, "--by", "copy")
        assert path.read_text() == text
        path.unlink()
    select_clips(infos, split, out, "--by", "copy")
    with pytest.raises(UserError, match=r"exists and is not a link of .*choose another --out"):
        select_clips(infos, split, out, "--by", "link")


def test_the_source_itself_or_a_folder_inside_it_is_refused(infos, split, tmp_path):
    before = tree(split)
    (tmp_path / "alias").symlink_to(split)
    for out in (split, split / "new", tmp_path / "alias", split / ".." / "train", split / "video"):
        with pytest.raises(UserError, match=r"is --clips .* or inside it: choose a folder outside"):
            select_clips(infos, split, out)
    with pytest.raises(UserError, match="nowhere is not a folder"):
        select_clips(infos, tmp_path / "nowhere", tmp_path / "new")
    assert tree(split) == before and not (tmp_path / "new").exists()


def test_a_clip_that_lacks_a_file_is_left_out_and_told(infos, split, tmp_path, capsys):
    (split / "audio" / "ddddddddddd.wav").unlink()
    select_clips(infos, split, tmp_path / "new")
    assert Clips(tmp_path, "new").ids == ["aaaaaaaaaaa", "bbbbbbbbbbb"]
    assert f"1 clip; the first: {split} has no audio file of clip ddddddddddd\n" in capsys.readouterr().err


def test_ids_that_lead_out_of_the_folder_are_refused(infos, split, tmp_path):
    write_json(split / "vid2genre.json", {"../../escape": ["/m/guitar"], **dict(ROWS)})
    with pytest.raises(UserError, match=r"has an invalid format at '../../escape'"):
        select_clips(infos, split, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_links_that_the_disk_refuses_are_one_sentence(infos, split, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(select_data_by_genre.os, "link", refuse)
    with pytest.raises(UserError, match=r"--by hardlink .Invalid cross-device link.: .*choose another --by"):
        select_clips(infos, split, tmp_path / "new", "--by", "hardlink")
    assert not (tmp_path / "new" / "vid2genre.json").exists()


def test_a_limit_holds_for_clips_too(infos, split, tmp_path):
    select_clips(infos, split, tmp_path / "new", "--per_class", "1")
    kept = json.loads((tmp_path / "new" / "vid2genre.json").read_text())
    assert max(Counter(mid for mids in kept.values() for mid in mids if mid != "/m/speech").values()) == 1
