"""Sounds without frames, as mirrors of AudioSet are: embedded and probed, and sent there by what needs frames."""

import csv
import json
import tarfile

import numpy as np
import pytest
import soundfile
from helpers import make_clip, small_checkpoint, tone, write_genres, write_json

import embed
import eval as evaluation
from collection.storage import load_collection
from data import build_shards
from dataset.reading.reader import open_clips
from utils.errors import UserError

SENT = "holds sounds alone, and a clip needs frames: embed.py and eval.py --probe_folder take"


@pytest.fixture
def sounds(tmp_path):
    """A folder of sounds of three formats, each with its json, in two folders of classes."""
    for kind, name in enumerate(("low", "high")):
        (tmp_path / "sounds" / name).mkdir(parents=True)
        for k in range(6):
            suffix = ("wav", "flac", "mp3")[k % 3]
            wave = tone(2.3, 16000, (200, 2000)[kind] + 10 * k)
            soundfile.write(tmp_path / f"sounds/{name}/{name}{k}.{suffix}", wave, 16000)
            write_json(tmp_path / f"sounds/{name}/{name}{k}.json", {"labels": [name]})
    return tmp_path / "sounds"


def test_they_are_embedded_without_frames_and_probed(sounds, tmp_path, capsys):
    checkpoint = str(small_checkpoint(tmp_path / "best.pt"))
    embed.main(["--checkpoint", checkpoint, "--input", str(sounds), "--out", str(tmp_path / "emb")])
    found = load_collection(f"{tmp_path / 'emb'}.npz")
    assert len(found.times) == 24 and found.has_sound.all() and not found.has_frame.any() and not found.frames.any()
    assert np.linalg.norm(found.sounds, axis=1) == pytest.approx(np.ones(24), abs=1e-5)
    with open(tmp_path / "emb.csv", newline="") as file:
        assert {(row["kind"], row["frame"], row["sound"]) for row in csv.DictReader(file)} == {("sound", "0", "1")}
    evaluation.main(["--checkpoint", checkpoint, "--probe_folder", str(sounds), "--out", str(tmp_path / "probe")])
    measures = json.loads((tmp_path / "probe/metrics.json").read_text())["probe"]
    assert measures["audio"]["files"] == 12 and "vision" not in measures


@pytest.mark.parametrize("place", ["", "train", "train/audio", "train/low"])
def test_as_a_dataset_they_are_refused_in_one_sentence(tmp_path, place):
    root = tmp_path / "data"
    (root / place).mkdir(parents=True)
    soundfile.write(root / place / "a.flac", tone(2.0, 16000), 16000)
    if place:
        write_json(root / "train/vid2genre.json", {"a": []})
    for refused in (
        lambda: open_clips(root, "train"),
        lambda: build_shards.main([str(root), str(tmp_path / "shards")]),
    ):
        with pytest.raises(UserError, match=SENT) as error:
            refused()
        assert "\n" not in str(error.value)


def test_a_dataset_that_lacks_a_video_is_told_as_before(tmp_path):
    make_clip(tmp_path / "train", "a", 1.2)
    soundfile.write(tmp_path / "train/audio/b.wav", tone(2.0, 16000), 16000)
    write_genres(tmp_path / "train", {"a": [], "b": []})
    with pytest.raises(UserError, match="no video file of clip b"):
        open_clips(tmp_path, "train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="has no split 'train'"):
        open_clips(tmp_path / "empty", "train")


def test_tars_are_no_dataset_and_embed_wants_them_unpacked(tmp_path, sounds):
    (tmp_path / "tars/train").mkdir(parents=True)
    with tarfile.open(tmp_path / "tars/train/0.tar", "w") as tar:
        tar.add(sounds / "low/low0.wav", "low0.wav")
    with pytest.raises(UserError, match=r"holds tars, which are read as shards only: `python data/build_shards.py"):
        open_clips(tmp_path / "tars", "train")
    checkpoint = str(small_checkpoint(tmp_path / "best.pt"))
    with pytest.raises(UserError, match="unpack its tars first"):
        embed.main(["--checkpoint", checkpoint, "--input", str(tmp_path / "tars"), "--out", str(tmp_path / "emb")])
