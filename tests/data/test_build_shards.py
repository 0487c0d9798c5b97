"""Making shards: the same bytes however it is done, whole or not at all, and nothing of others is touched."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest
from helpers import make_clip, make_dataset, numbered, write_genres
from kill_and_resume import REPOSITORY, one_thread
from PIL import Image

from data import build_shards
from dataset.making.split_folders import find_splits
from dataset.reading.reader import open_clips
from dataset.reading.shard_format import read_manifest
from utils.errors import UserError

SCRIPT = [sys.executable, "data/build_shards.py"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("source") / "clips", train=7, val=3, test=0)


@pytest.fixture
def spoilt(tmp_path):
    """A dataset of six clips whose fourth can't be read."""
    for clip in "abcdef":
        make_clip(tmp_path / "clips" / "train", clip, 1.2)
    write_genres(tmp_path / "clips" / "train")
    (tmp_path / "clips/train/video/d.mp4").write_bytes(b"nothing")
    return tmp_path / "clips"


def run(*words):
    return subprocess.run([*SCRIPT, *map(str, words)], cwd=REPOSITORY, env=one_thread(), capture_output=True, text=True,
                          timeout=120)  # fmt: skip


def content(folder):
    """{relative path: bytes} of all files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def changes(folder):
    """{path: time of its last change}."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.tar")}


# ------------------------------------------------------------------------------------------------------- same bytes


def test_processes_and_a_rerun_change_no_byte(source, tmp_path, make_shards):
    make_shards(source, tmp_path / "one", rate=48000)
    done = run(source, tmp_path / "two", "--workers", 2, "--clips", 2)
    assert done.returncode == 0 and "train: 7 clips in 4 shards" in done.stdout, done.stderr
    first = content(tmp_path / "two")
    assert first == content(tmp_path / "one")
    assert not [name for name in first if ".tmp" in name or ".done" in name or "unfinished" in name]
    before = changes(tmp_path / "two")
    make_shards(source, tmp_path / "two", rate=48000)
    assert content(tmp_path / "two") == first and changes(tmp_path / "two") == before  # nothing was made again


def test_a_kill_at_any_time_loses_no_whole_shard_and_leaves_no_half(source, tmp_path, make_shards):
    make_shards(source, tmp_path / "whole", rate=48000, clips=1)
    target, kept = tmp_path / "shards", {}
    command = [*SCRIPT, str(source), str(target), "--workers", "2", "--clips", "1"]
    for wanted in (1, 4):
        process = subprocess.Popen(command, cwd=REPOSITORY, env=one_thread(), stderr=subprocess.DEVNULL, text=True)
        while len(list(target.glob("*/*.done"))) < wanted and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGSTOP)  # it would finish while its children are listed
        children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        with pytest.raises(UserError, match="unfinished"):
            open_clips(target, "train")
        deadline = time.monotonic() + 20
        while any(os.path.exists(f"/proc/{child}") for child in children) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(os.path.exists(f"/proc/{child}") for child in children)  # none waits for work for ever
        for done in target.glob("*/*.done"):
            tar = done.with_suffix(".tar")
            assert kept.setdefault(tar, tar.stat().st_mtime_ns) == tar.stat().st_mtime_ns
    (target / "train" / ".00001.tar.12345.tmp").write_bytes(b"half")  # as a kill in the middle of one leaves it
    make_shards(source, target, rate=48000, clips=1)
    assert content(target) == content(tmp_path / "whole")
    assert {tar: tar.stat().st_mtime_ns for tar in kept} == kept


def test_a_file_that_was_damaged_or_removed_is_made_again(source, tmp_path, make_shards, capsys):
    make_shards(source, tmp_path / "shards")
    first = content(tmp_path / "shards")
    assert build_shards.verify(tmp_path / "shards") == 12
    victim = tmp_path / "shards/train/00001.tar"
    victim.write_bytes(bytes(9) + victim.read_bytes()[9:])
    with pytest.raises(UserError, match=r"train/00001.tar: missing or damaged"):
        build_shards.main(["--verify", str(tmp_path / "shards")])
    victim.unlink()
    before = changes(tmp_path / "shards")
    make_shards(source, tmp_path / "shards")
    assert content(tmp_path / "shards") == first
    assert {path: when for path, when in changes(tmp_path / "shards").items() if path != victim} == before


# ------------------------------------------------------------------------------------------------ unreadable clips


def test_an_unreadable_clip_stops_it_by_name_and_once_it_is_gone_it_goes_on(spoilt, tmp_path, make_shards):
    target = tmp_path / "shards"
    with pytest.raises(UserError, match=r"video/d.mp4 .*fix or remove clip d, or pass --on_error skip"):
        make_shards(spoilt, target)
    assert not (target / "shards.json").exists() and not list(target.glob("*/.*"))
    before = changes(target)
    assert len(before) == 1  # of a and b; c was in the half one
    for half in ("video/d.mp4", "audio/d.wav"):
        (spoilt / "train" / half).unlink()
    write_genres(spoilt / "train")
    make_shards(spoilt, target)
    clips = open_clips(target, "train")
    assert clips.ids == list("abcef") and before.items() <= changes(target).items()


def test_what_changed_before_it_was_finished_is_made_again(spoilt, tmp_path, make_shards):
    target = tmp_path / "shards"
    with pytest.raises(UserError, match=r"d\.mp4"):
        make_shards(spoilt, target)
    make_clip(spoilt / "train", "a", 2.0)  # lies in the one shard that is whole
    make_clip(spoilt / "train", "d", 1.2)
    make_shards(spoilt, target)
    with open_clips(target, "train").open(0) as a, open_clips(target, "train").open(1) as b:
        assert (a.sound_seconds, b.sound_seconds) == (2.0, 1.2)


def test_with_skip_it_is_left_out_and_listed_and_later_told(spoilt, tmp_path, make_shards, capsys):
    target = tmp_path / "shards"
    (spoilt / "train/audio/e.wav").unlink()
    make_shards(spoilt, target, "skip")
    about = read_manifest(target)
    assert list(about["splits"]["train"][1]["skipped"]) == ["d"] and list(about["missing"]["train"]) == ["e"]
    listed = (target / "left_out.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[:3:2] for line in listed[1:]] == [["d", "unreadable"], ["e", "missing"]]
    with pytest.raises(UserError, match=r"lacks clip d .*d.mp4 .*--data.on_error skip"):
        open_clips(target, "train")
    clips = open_clips(target, "train", "skip")
    assert clips.ids == list("abcf") and list(clips.skipped) == ["d", "e"]
    (spoilt / "train/audio/e.wav").write_bytes((spoilt / "train/audio/f.wav").read_bytes())
    with pytest.raises(UserError, match="from other clips"):  # a finished one is never changed
        make_shards(spoilt, target, "skip")
    (spoilt / "train/audio/e.wav").unlink()
    make_shards(spoilt, target, "skip")
    with pytest.raises(UserError, match="clip e"):
        make_shards(spoilt, target)


# ------------------------------------------------------------------------------------------------------- refusals


def test_what_is_not_ours_is_left_alone(source, tmp_path, make_shards):
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something other than shards"):
        make_shards(source, other)
    with pytest.raises(UserError, match="holds something other than shards"):
        make_shards(source, source)
    make_shards(source, tmp_path / "shards")
    with pytest.raises(UserError, match=r"different settings \(size 256\)"):
        make_shards(source, tmp_path / "shards", size=128)
    with pytest.raises(UserError, match="holds shards already"):
        make_shards(tmp_path / "shards", tmp_path / "twice")
    with pytest.raises(UserError, match="holds shards: check the folder"):
        find_splits(tmp_path / "shards")
    with pytest.raises(UserError, match="holds no split"):
        make_shards(tmp_path / "nowhere", tmp_path / "twice")
    assert content(other) == {"thesis.txt": b"mine"} and not (tmp_path / "twice").exists()


@pytest.mark.parametrize("words", [["only_one"], [], ["a", "b", "--fps", "0"], ["a", "b", "--quality", "101"]])
def test_a_wrong_command_line_is_told(words, capsys):
    with pytest.raises(SystemExit) as end:
        build_shards.main(words)
    assert end.value.code == 2 and "Traceback" not in capsys.readouterr().err


def test_the_script_says_in_one_sentence_what_is_wrong(tmp_path):
    done = run(tmp_path / "nowhere", tmp_path / "shards")
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


# -------------------------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize(
    ("size", "options", "kept"),
    [
        ((320, 180), {"size": 90}, (160, 90)),
        ((180, 320), {"size": 90}, (90, 160)),
        ((64, 48), {"size": 256}, (64, 48)),
        ((320, 180), {"size": 90, "square": True}, (90, 90)),
        ((64, 48), {"size": 256, "square": True}, (48, 48)),
    ],
)
def test_the_short_side_is_shrunk_and_never_enlarged(tmp_path, make_shards, size, options, kept):
    pictures = [numbered(k, size) for k in range(10)]
    make_clip(tmp_path / "clips/train", "a", pictures=pictures, times=[k / 5 for k in range(10)])
    write_genres(tmp_path / "clips/train")
    make_shards(tmp_path / "clips", tmp_path / "shards", **options)
    with tarfile.open(tmp_path / "shards/train/00000.tar") as tar:
        pictures = [tar.extractfile(member).read() for member in tar if member.name.endswith(".jpg")]
        assert {(m.uid, m.gid, m.mtime) for m in tar.getmembers()} == {(0, 0, 0)}
    assert len(pictures) == 10 and {Image.open(io.BytesIO(picture)).size for picture in pictures} == {kept}


def test_a_frame_that_stays_is_kept_once_and_the_rate_is_the_settings(tmp_path, make_shards):
    times = [0, 0.9, 1.0, *np.arange(1.04, 2.0, 0.04).tolist()]
    make_clip(tmp_path / "clips/train", "a", times=times)
    write_genres(tmp_path / "clips/train")
    for fps, stamps in ((2.0, [0, 1.0, 1.48]), (10.0, [0, 0.9, 1.0, 1.08, 1.2, 1.28, 1.4, 1.48, 1.6, 1.68, 1.8, 1.88])):
        make_shards(tmp_path / "clips", tmp_path / f"{fps}", fps=fps)
        with open_clips(tmp_path / f"{fps}", "train").open(0) as clip:
            assert np.abs(clip.times - stamps).max() < 1e-4
        with tarfile.open(tmp_path / f"{fps}/train/00000.tar") as tar:
            about = json.load(tar.extractfile("0000000.json"))
        assert np.abs(np.array(about["times"]) - stamps).max() < 1e-4


def test_shards_of_clips_of_a_benchmark_are_told_of(spoilt, tmp_path, capsys):
    """As training on shards no longer sees the list beside the clips."""
    (spoilt / "benchmarks").mkdir()
    (spoilt / "benchmarks" / "mine.txt").write_text("a\nc\n")
    build_shards.main([str(spoilt), str(tmp_path / "shards"), "--workers", "1", "--on_error", "skip"])
    assert "warning: 2 clips of train are of videos in benchmarks/mine.txt, such as a: leave" in capsys.readouterr().err
