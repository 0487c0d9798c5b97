"""Shards of WebDataset's tars that others made: the same samples as of the folder, and nothing is lost unsaid."""

import io
import json
import tarfile

import numpy as np
import pytest
from helpers import MIDS, make_clip, read_left_out, tone, write_genres, write_sound

from data import build_shards
from dataset.reading.media import read_audio
from dataset.reading.reader import open_clips
from dataset.reading.wav import write_wav
from utils.errors import UserError

SETTINGS = ["--rate", "8000", "--workers", "1", "--clips", "2"]


def add(tar, name, content, **about):
    """Add a file to an open tar."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in about.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(content))


def write_tar(path, files):
    """Write a tar of {name: bytes}, or of [(name, bytes)] where a name occurs twice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files.items() if isinstance(files, dict) else files:
            add(tar, name, content)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A folder of four clips, whose wavs are the tracks of their videos."""
    folder = tmp_path_factory.mktemp("clips")
    for k, clip in enumerate("abcd"):
        mp4, wav = make_clip(folder / "train", clip, 1.4, fps=10, pitch=300 + 90 * k, aac=True)
        write_wav(wav, read_audio(mp4))
    write_genres(folder / "train", {"a": [MIDS[0]], "b": [MIDS[1], MIDS[2]], "c": ["flute"], "d": []})
    return folder


def videos(folder):
    """{id: bytes of its mp4}."""
    return {path.stem: path.read_bytes() for path in sorted((folder / "train/video").glob("*.mp4"))}


def video2dataset(folder):
    """The files of a tar as video2dataset writes it: numbers as keys, ids and labels in the json."""
    labels = json.loads((folder / "train/vid2genre.json").read_text())
    files = {}
    for k, (clip, content) in enumerate(videos(folder).items()):
        about = {"videoid": clip, "key": f"{k:09d}", "url": f"https://example.org/{clip}", "status": "success"}
        about["labels"] = ",".join(labels[clip]) if k % 2 else labels[clip]
        files |= {f"{k:09d}.json": json.dumps(about).encode(), f"{k:09d}.mp4": content, f"{k:09d}.txt": b"a caption"}
    return files


def assert_same(folder, shards):
    """Compare what two datasets give for each clip, frames and sounds to the last bit."""
    one, other = open_clips(folder, "train"), open_clips(shards, "train")
    assert one.ids == other.ids and one.labels == other.labels
    for k in range(len(one)):
        with one.open(k) as first, other.open(k) as second:
            assert (first.last, first.video_end) == (second.last, second.video_end)
            assert np.array_equal(first.full_waveform(8000), second.full_waveform(8000))
            assert np.array_equal(first.frames([0, 0.4, 1.0], 64), second.frames([0, 0.4, 1.0], 64))


def build(source, target, *words):
    build_shards.main([str(source), str(target), *SETTINGS, *map(str, words)])


def test_samples_are_those_of_the_folder(clips, tmp_path, capsys):
    files = video2dataset(clips)
    names = sorted(files)
    for k in range(2):
        write_tar(tmp_path / f"tars/train/{k:05d}.tar", {name: files[name] for name in names[6 * k : 6 * k + 6]})
    build(clips, tmp_path / "of_folder")
    build(tmp_path / "tars", tmp_path / "of_tars")
    assert "4 clips in 2 tars" in capsys.readouterr().out
    assert_same(tmp_path / "of_folder", tmp_path / "of_tars")
    assert read_left_out(tmp_path / "of_tars/left_out.csv") == {}
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "of_tars").rglob("*.tar")}
    build(tmp_path / "tars", tmp_path / "of_tars")  # nothing is built again
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "of_tars").rglob("*.tar")} == before
