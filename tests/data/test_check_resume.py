"""An interrupted check resumes where it was: nothing is read twice, and the reports are those of one run."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc

import pytest
from helpers import MIDS, make_clip, write_genres
from kill_and_resume import REPOSITORY, one_thread

from data import check_data
from data.checking import kept_results
from dataset.making.checks.clip_checks import CheckResult, check_clip
from dataset.making.split_folders import SplitFolder
from dataset.making.workers.processes import Lost
from utils.errors import UserError

NAME = "check.results.jsonl"


@pytest.fixture
def root(tmp_path):
    """A dataset with an ok clip, one in two splits, a silent one, and one whose wav is missing."""
    for split, clips in {"train": ("a", "b", "silent"), "test": ("a", "lone")}.items():
        for clip in clips:
            make_clip(tmp_path / split, clip, aac=True)
    make_clip(tmp_path / "train", "silent", sound=[0.0] * 32000)
    (tmp_path / "test" / "audio" / "lone.wav").unlink()
    for split in ("train", "test"):
        write_genres(tmp_path / split)
    return tmp_path


@pytest.fixture
def read(monkeypatch):
    """The names of the clips that are read, in this process."""
    names = []

    def in_turn(function, jobs, workers, **options):
        for job in jobs:
            names.append(f"{job[1].parts[-3]}/{job[0]}")
            yield job, check_clip(*job)

    monkeypatch.setattr(check_data, "map_clips", in_turn)
    return names


def reports(root):
    """What a check wrote, without how long it took."""
    page = re.sub(r"Checked in \d+ s", "", (root / "check.html").read_text())
    return (root / "check.csv").read_bytes(), (root / "left_out.csv").read_bytes(), page


def test_results_are_kept_and_the_reports_are_the_same(root, read):
    check_data.main([str(root)])
    first, all_clips = reports(root), [*read]
    assert sorted(all_clips) == ["test/a", "test/lone", "train/a", "train/b", "train/silent"]
    read.clear()
    check_data.main([str(root)])
    assert read == [] and reports(root) == first

    lines = (root / NAME).read_bytes().splitlines(keepends=True)
    for end in (b"", lines[3][:30], lines[3][:-1], b"\x00" * 40, b'{"split": 3}\n', b"[]\n", b"{}\n"):
        (root / NAME).write_bytes(b"".join(lines[:3]) + end)  # killed while it wrote the third result
        read.clear()
        check_data.main([str(root)])
        assert read == all_clips[2:] and reports(root) == first
        assert (root / NAME).read_bytes().splitlines(keepends=True) == lines


def test_changed_new_and_repaired_files_are_read_again(root, read):
    check_data.main([str(root)])
    wav, old = root / "train" / "audio" / "b.wav", os.stat(root / "train" / "audio" / "b.wav")
    content = bytearray(wav.read_bytes())
    content[44:] = bytes(len(content) - 44)
    wav.write_bytes(content)
    os.utime(wav, ns=(old.st_atime_ns, old.st_mtime_ns))  # silent now, of the same size and time
    shutil.copy(root / "test" / "audio" / "a.wav", root / "test" / "audio" / "lone.wav")
    make_clip(root / "train", "new")
    read.clear()
    check_data.main([str(root)])
    assert sorted(read) == ["test/lone", "train/b", "train/new"]
    assert b"train,b,silent" in (root / "check.csv").read_bytes()
    assert b"test,lone,ok" in (root / "check.csv").read_bytes()
    (root / NAME).unlink()
    again = reports(root)
    check_data.main([str(root)])
    assert reports(root) == again


def test_what_was_listed_since_is_no_longer_unlisted(root, read):
    write_genres(root / "train", {"a": [MIDS[0]], "silent": [MIDS[0]]})
    check_data.main([str(root)])
    assert b"train,b,unlisted" in (root / "check.csv").read_bytes()
    write_genres(root / "train")
    read.clear()
    check_data.main([str(root)])
    assert read == [] and b"train,b,ok" in (root / "check.csv").read_bytes()


def test_results_of_another_version_of_the_check_are_not_used(root, read, monkeypatch):
    check_data.main([str(root)])
    monkeypatch.setattr(kept_results, "HEADER", {"version": -1})
    read.clear()
    check_data.main([str(root)])
    assert len(read) == 5


def test_a_clip_that_took_too_long_is_tried_again_with_another_limit_only(root, monkeypatch):
    tried = []

    def hang(function, jobs, workers, **options):
        for job in jobs:
            tried.append(job[0])
            yield job, Lost("time limit", "takes longer than 60 s to read")

    monkeypatch.setattr(check_data, "map_clips", hang)
    for limit, count in (("60", 5), ("60", 0), ("90", 5)):
        tried.clear()
        check_data.main([str(root), "--time_limit", limit])
        assert len(tried) == count


def test_a_place_that_can_not_be_written_is_named_before_clips_are_read(root, read):
    (root / NAME).mkdir()
    with pytest.raises(UserError, match=rf"{NAME} can't be written \(Is a directory\): fix this"):
        check_data.main([str(root)])
    assert not read


def test_results_lie_in_the_file_and_not_in_memory(tmp_path):
    clips = [f"clip{k:05d}" for k in range(3000)]
    splits = [SplitFolder(tmp_path / "train", "train", {clip: [] for clip in clips}, clips)]
    with kept_results.keep_results(tmp_path / NAME, 60, splits) as kept:
        for k, clip in enumerate(clips):
            kept.add("train", CheckResult(clip, "ok", f"note {k}", digest=f"{k % 2999:064x}"), [[k]], is_lost=False)
    tracemalloc.start()
    try:
        with kept_results.keep_results(tmp_path / NAME, 60, splits) as kept:
            used = tracemalloc.get_traced_memory()[0]
            assert kept["train", "clip00007"].message == "note 7"
            assert kept.has("train", "clip00007", lambda: [[7]]) and not kept.has("train", "clip00007", lambda: [[8]])
            assert [clip for _, clip in kept.with_equal_digests()] == ["clip00000", "clip02999"]
    finally:
        tracemalloc.stop()
    assert used < 60 * len(clips)  # bytes; a result as an object takes over a thousand


@pytest.mark.slow
def test_kills_lose_nothing(tmp_path):
    files = make_clip(tmp_path / "train", "a", aac=True)
    for k in range(150):
        for path in files:
            shutil.copy(path, path.with_stem(f"c{k}"))
    write_genres(tmp_path / "train")
    command = [sys.executable, "data/check_data.py", str(tmp_path), "--workers", "2"]
    kept = tmp_path / NAME
    for count in (20, 70, 120):
        process = subprocess.Popen(command, cwd=REPOSITORY, env=one_thread(), stderr=subprocess.DEVNULL)
        while not kept.exists() or kept.read_bytes().count(b"\n") < count:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        before = kept.read_bytes()
    done = subprocess.run(command, cwd=REPOSITORY, env=one_thread(), text=True, capture_output=True, check=True)
    assert kept.read_bytes().startswith(before[: before.rfind(b"\n") + 1])
    assert kept.read_bytes().count(b"\n") == 152
    assert "151 of 151 clips are ok" in done.stdout
    resumed = reports(tmp_path)
    kept.unlink()
    subprocess.run(command, cwd=REPOSITORY, env=one_thread(), check=True, capture_output=True)
    assert reports(tmp_path) == resumed
