"""Moving refused clips away: nothing is replaced, nothing is lost, and what moved can be put back."""

import csv
import errno
import json
import os
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from helpers import MIDS, make_clip, write_genres, write_sound

from data.check_data import main
from dataset.making.checks import move_files
from dataset.making.checks.move_files import move_file
from utils.errors import UserError

OTHER_DISK = Path("/dev/shm")


def contents(*roots):
    """How often each content occurs among the clips' files below these folders; a link counts by its own name."""
    paths = [path for root in roots for path in root.rglob("*") if path.suffix in (".mp4", ".wav")]
    return Counter(path.read_bytes() for path in paths if path.is_file())


def silence(folder, clip):
    write_sound(folder / "audio" / f"{clip}.wav", np.zeros(32000))


def make_split(folder, clips=("a", "b"), silent=("b",)):
    for k, clip in enumerate(clips):
        make_clip(folder, clip, pitch=300.0 + 40 * k + len(str(folder)))
    for clip in silent:
        silence(folder, clip)
    write_genres(folder)
    return folder


def check(root, *words):
    main([str(root), "--workers", "1", "--csv", str(root.parent / "c.csv"), "--html", str(root.parent / "c.html"),
          *map(str, words)])  # fmt: skip


def moved_rows(folder):
    with open(folder / "moved.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_splits_that_are_links_to_folders_of_one_name_keep_their_names(tmp_path):
    """As in a dataset whose splits lie on two disks; only val's clip is bad, and train's has the same name."""
    for disk, silent in (("disk1", ()), ("disk2", ("b",))):
        make_split(tmp_path / disk / "clips", silent=silent)
    (tmp_path / "root").mkdir()
    for split, disk in (("train", "disk1"), ("val", "disk2")):
        (tmp_path / "root" / split).symlink_to(f"../{disk}/clips")
    before = contents(tmp_path)
    check(tmp_path / "root", "--move_bad", tmp_path / "bad")
    assert contents(tmp_path / "disk1", tmp_path / "disk2", tmp_path / "bad") == before
    assert sorted(str(p.relative_to(tmp_path / "bad")) for p in (tmp_path / "bad").rglob("*.*")) == [
        "moved.csv", "val/audio/b.wav", "val/vid2genre.json", "val/video/b.mp4",
    ]  # fmt: skip
    assert contents(tmp_path / "disk1").total() == 4


def test_two_names_of_one_folder_move_once(tmp_path):
    make_split(tmp_path / "clips")
    (tmp_path / "root").mkdir()
    for split in ("train", "val"):
        (tmp_path / "root" / split).symlink_to("../clips")
    before = contents(tmp_path / "clips")
    check(tmp_path / "root", "--move_bad", tmp_path / "bad")
    assert contents(tmp_path / "clips", tmp_path / "bad") == before and (tmp_path / "bad/train/video/b.mp4").exists()
    assert json.loads((tmp_path / "clips" / "vid2genre.json").read_text()) == {"a": [MIDS[0]]}


def test_a_file_that_a_good_clip_needs_too_stays(tmp_path, capsys):
    """val takes its videos from train's folder; only train lacks the sound."""
    make_split(tmp_path / "root" / "train", silent=())
    val = tmp_path / "root" / "val"
    (val / "audio").mkdir(parents=True)
    (val / "video").symlink_to("../train/video")
    for wav in (tmp_path / "root/train/audio").iterdir():
        os.link(wav, val / "audio" / wav.name)
    write_genres(val)
    (tmp_path / "root/train/audio/b.wav").unlink()
    check(tmp_path / "root", "--move_bad", tmp_path / "bad")
    assert (val / "video" / "b.mp4").exists() and "stays" in capsys.readouterr().out


def test_the_list_puts_everything_back(tmp_path):
    root = tmp_path / "root"
    make_split(root / "train", ("a", "b", "ä ' \"x, y"), ("b", "ä ' \"x, y"))
    before = {path: path.read_bytes() for path in root.rglob("*") if path.suffix in (".mp4", ".wav")}
    check(root, "--move_bad", tmp_path / "bad")
    rows = moved_rows(tmp_path / "bad")
    assert len(rows) == 4 and {row["reason"] for row in rows} == {"the wav is silent from start to end"}
    for row in rows:
        os.rename(row["to"], row["from"])
    assert {path: path.read_bytes() for path in root.rglob("*") if path.suffix in (".mp4", ".wav")} == before
    labels = json.loads((tmp_path / "bad/train/vid2genre.json").read_text())
    assert labels == {clip: [MIDS[0]] for clip in ("b", "ä ' \"x, y")}


def test_a_dry_run_says_what_would_move_and_changes_nothing(tmp_path, capsys):
    root = tmp_path / "root"
    make_split(root / "train")
    before = {path: os.lstat(path).st_mtime_ns for path in root.rglob("*")}
    check(root, "--move_bad", tmp_path / "bad", "--dry_run")
    out = capsys.readouterr().out
    assert f"would move {root}/train/audio/b.wav to {tmp_path}/bad/train/audio/b.wav: the wav is silent" in out
    assert "1 would be moved" in out and not (tmp_path / "bad").exists()
    assert {path: os.lstat(path).st_mtime_ns for path in root.rglob("*")} == before


@pytest.mark.parametrize("half", ["audio/b.wav", "video/b.mp4"])
def test_a_file_in_the_way_stops_the_move_before_it_begins(tmp_path, half):
    root = tmp_path / "root"
    make_split(root / "train")
    for content in (b"another", (root / "train" / half).read_bytes()):  # of the same content too: it is not ours
        target = tmp_path / "bad" / "train" / half
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        before = contents(tmp_path)
        with pytest.raises(UserError, match="already exists: choose another folder with --move_bad"):
            check(root, "--move_bad", tmp_path / "bad")
        assert contents(tmp_path) == before and target.read_bytes() == content


@pytest.mark.parametrize("target", ["root", "root/train/.."])
def test_a_move_to_the_dataset_itself_is_refused(tmp_path, target):
    make_split(tmp_path / "root" / "train")
    before = contents(tmp_path)
    with pytest.raises(UserError, match="already exists"):
        check(tmp_path / "root", "--move_bad", tmp_path / target)
    assert contents(tmp_path) == before


def test_clips_that_are_links_still_lead_to_their_files(tmp_path):
    source, root = make_split(tmp_path / "source"), tmp_path / "a" / "b" / "root"
    for half in ("video/b.mp4", "audio/b.wav"):
        (root / "train" / half).parent.mkdir(parents=True)
        (root / "train" / half).symlink_to(os.path.relpath(source / half, (root / "train" / half).parent))
    write_genres(root / "train")
    check(root, "--move_bad", tmp_path / "bad")
    for half in ("video/b.mp4", "audio/b.wav"):
        moved = tmp_path / "bad" / "train" / half
        assert moved.is_symlink() and moved.samefile(source / half) and not os.path.lexists(root / "train" / half)


@pytest.mark.skipif(not OTHER_DISK.is_dir(), reason="needs a second file system")
@pytest.mark.parametrize("has_links", [True, False])
def test_a_move_to_another_disk(tmp_path, monkeypatch, has_links):
    root = tmp_path / "root"
    make_split(root / "train")
    if not has_links:
        monkeypatch.setattr(move_files.os, "link", lambda *_: refuse(errno.EPERM))
    with tempfile.TemporaryDirectory(dir=OTHER_DISK) as folder:
        before = contents(tmp_path)
        check(root, "--move_bad", Path(folder) / "bad")
        assert contents(tmp_path, Path(folder)) == before and len(contents(Path(folder))) == 2
        assert not [*Path(folder).rglob("*.tmp")]


def refuse(code):
    raise OSError(code, os.strerror(code))


@pytest.mark.parametrize("fails", ["link", "unlink", "mkdir"])
def test_what_the_disk_refuses_leaves_every_file_in_one_place(tmp_path, monkeypatch, fails):
    """The second file can't be moved; afterwards the same command completes the move."""
    root = tmp_path / "root"
    make_split(root / "train")
    before, calls = contents(root), []

    def refuse_second(*words, **options):
        calls.append(words)
        if len(calls) == 2:
            refuse(errno.EROFS)
        return real(*words, **options)

    owner, name = {"link": (move_files.os, "link"), "unlink": (Path, "unlink"), "mkdir": (Path, "mkdir")}[fails]
    real = getattr(owner, name)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, refuse_second)
        with pytest.raises(UserError, match=r"repeat the command|can't be written"):
            check(root, "--move_bad", tmp_path / "bad")
    assert contents(root, tmp_path / "bad") == before
    check(root, "--move_bad", tmp_path / "bad")
    assert contents(root, tmp_path / "bad") == before and contents(tmp_path / "bad").total() == 2
    assert [row["to"] for row in moved_rows(tmp_path / "bad")] == [
        str(tmp_path / "bad/train" / half) for half in ("video/b.mp4", "audio/b.wav")
    ]


def test_a_move_that_was_killed_between_its_two_names_is_completed(tmp_path):
    root = tmp_path / "root"
    make_split(root / "train", ("a", "b"), ("a", "b"))
    before = contents(root)
    check(root, "--move_bad", tmp_path / "bad")
    for half in ("video/b.mp4", "audio/b.wav"):  # as after a kill: both names, and entries in both tables
        os.link(tmp_path / "bad/train" / half, root / "train" / half)
    write_genres(root / "train")
    check(root, "--move_bad", tmp_path / "bad")
    assert contents(root, tmp_path / "bad") == before and not contents(root)
    assert len(moved_rows(tmp_path / "bad")) == 4


def test_a_file_is_never_moved_over_another(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    with pytest.raises(FileExistsError):
        move_file(one, two)
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        move_file(one, tmp_path / "link")
    with pytest.raises(FileExistsError):
        move_file(tmp_path / "link", two)
    assert (one.read_bytes(), two.read_bytes()) == (b"1", b"2")
