"""Start downloads from the test server and check what they leave."""

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from kill_and_resume import one_thread

from dataset.reading.clips import Clips

REPOSITORY = Path(__file__).parents[2]
MID = "/m/04rlf"


def names(count, prefix="vid"):
    """YouTube ids of tests."""
    return [f"{prefix}{k:0{11 - len(prefix)}d}" for k in range(count)]


def segment_file(folder, videos, start=0.0, end=2.0):
    """Write a segment file with one row for each id: its Path."""
    path = folder / "list.csv"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f'{video}, {start:.3f}, {end:.3f}, "{MID}"\n' for video in videos))
    return path


def words(listed, out, url, *more):
    """The script's words for a fast run."""
    fast = ["--sleep", 0, "--backoff", 0.01, "--timeout", 0.5, "--min_free", 0, "--fps", 10]
    return [str(word) for word in ["--csv", listed, "--out", out, "--url", url, *fast, *more]]


def started(*more):
    """The script as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "data/download_video_audio.py", *words(*more)], cwd=REPOSITORY, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def clips_on_disk(out):
    """(ids with an mp4, ids with a wav)."""
    return tuple({path.stem for path in (out / kind).glob("*")} for kind in ("video", "audio"))


def classes(out):
    """{id: class} from failures.csv."""
    with open(out / "failures.csv", newline="") as file:
        return {row["id"]: row["class"] for row in csv.DictReader(file)}


def labels(out):
    return json.loads((out / "vid2genre.json").read_text())


def check_whole(out, videos, tmp_path):
    """Both halves of each, decodable, and nothing else; labels in step; nothing left behind."""
    assert clips_on_disk(out) == (set(videos), set(videos))
    assert set(labels(out)) == set(videos)
    clips = Clips(out.parent, out.name)
    for index in range(len(clips)):
        with clips.open(index) as clip:
            clip.frame(clip.last, 32)
            clip.full_waveform(48000)
    assert not list((out / ".download" / "work").iterdir()) and not list((out / ".download" / "locks").iterdir())


def journal_lines(out):
    return (out / ".download" / "journal.jsonl").read_text().splitlines()


def wait_for(condition, seconds=30):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.02)


def run(*words):
    """Run a script as a user does; what it printed."""
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(command, cwd=REPOSITORY, env=one_thread(), text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
