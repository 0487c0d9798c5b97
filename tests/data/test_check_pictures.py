"""The data commands on frames and sounds: check_data.py finds what is wrong and moves it; those for videos say so."""

import csv
import json
import re

import numpy as np
import pytest
from helpers import MIDS, numbered, read_left_out, tone, write_genres, write_json, write_sound
from PIL import Image

from data import check_data, select_data_by_genre, train_val_split_small
from dataset.reading.reader import open_clips
from utils.errors import UserError

RATE = 8000


def write_picture(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def clip(folder, name, pixels=None, seconds=2.0, frames=0):
    """Write a clip: one picture, or a folder of `frames`."""
    pictures = [numbered(k + 1) if pixels is None else pixels for k in range(max(frames, 1))]
    for k, picture in enumerate(pictures, 1):
        write_picture(folder / "frames" / (f"{name}/{k:06d}.png" if frames else f"{name}.png"), picture)
    write_sound(folder / "audio" / f"{name}.wav", tone(seconds, RATE, 200 + 50 * len(name)), RATE)


@pytest.fixture
def root(tmp_path):
    """Two good clips, and one of each fault."""
    folder = tmp_path / "set" / "train"
    clip(folder, "good")
    clip(folder, "film", frames=16)
    clip(folder, "black", 0 * numbered(0))
    clip(folder, "brief", seconds=0.6)
    clip(folder, "silent")
    write_sound(folder / "audio" / "silent.wav", 0 * tone(2, RATE), RATE)
    clip(folder, "cut")
    whole = (folder / "frames" / "cut.png").read_bytes()
    (folder / "frames" / "cut.png").write_bytes(whole[: len(whole) // 2])
    clip(folder, "gap", frames=16)
    (folder / "frames" / "gap" / "000005.png").unlink()
    clip(folder, "late", frames=16)
    (folder / "frames" / "late" / "000016.png").write_bytes(b"no picture")
    clip(folder, "deaf")
    (folder / "audio" / "deaf.wav").unlink()
    clip(folder, "blind")
    (folder / "frames" / "blind.png").unlink()
    (folder / "frames" / "Thumbs.db").write_bytes(b"x")
    write_json(tmp_path / "set" / "frames.json", {"rate": 8})
    return tmp_path / "set"


KINDS = {
    "good": "ok", "film": "ok", "black": "black", "brief": "short", "silent": "silent", "cut": "damaged",
    "gap": "damaged", "late": "damaged", "deaf": "missing", "blind": "missing",
}  # fmt: skip


def check(root, *words):
    check_data.main([str(root), "--workers", "1", *map(str, words)])
    with open(root / "check.csv", newline="", encoding="utf-8") as file:
        return {row["clip"]: row for row in csv.DictReader(file)}


def test_each_fault_has_its_verdict(root):
    rows = check(root)
    assert {name: row["kind"] for name, row in rows.items()} == KINDS
    assert rows["gap"]["message"].startswith("the folder of frames lacks frame 5")
    assert rows["late"]["message"].startswith("000016.png can't be read as an image")
    assert rows["cut"]["message"].startswith("the picture can't be read as an image")
    assert rows["brief"]["message"].startswith("the wav lasts 0.60 s")
    assert rows["black"]["message"] == "the picture shows nothing but black"
    assert float(rows["film"]["seconds"]) == pytest.approx(2, abs=0.01) and not rows["film"]["offset_ms"]
    reasons = read_left_out(root / "left_out.csv")
    assert reasons[str(root / "train" / "frames" / "Thumbs.db")].startswith("files are frames/ID.jpg")


def test_a_rate_that_does_not_fit_the_sounds_is_noted(root):
    write_json(root / "frames.json", {"rate": 25})
    row = check(root)["film"]
    assert row["kind"] == "ok" and "is the rate in frames.json right?" in row["message"]


def test_clips_that_a_table_leaves_out_are_unlisted(root):
    write_genres(root / "train", {"good": [MIDS[0]]})
    rows = check(root)
    assert rows["film"]["kind"] == "unlisted" and rows["good"]["kind"] == "ok"


def test_a_sound_that_is_not_read_exactly_is_a_verdict(root, capsys):
    (root / "train" / "audio" / "good.wav").rename(root / "train" / "audio" / "good.mp3")
    row = check(root)["good"]
    assert row["kind"] == "no sound" and "a format of sound" in row["message"]
    assert re.search(r"no sound +1\n", capsys.readouterr().out) and "no sound" in (root / "check.html").read_text()


def test_refused_clips_move_with_all_their_frames(root, tmp_path):
    write_genres(root / "train", {name: [MIDS[0]] for name in KINDS})
    files = sorted(path.read_bytes() for path in root.rglob("*.png"))
    check(root, "--move_bad", tmp_path / "bad")
    moved = tmp_path / "bad" / "train"
    assert len(list((moved / "frames" / "gap").iterdir())) == 15 and (moved / "audio" / "gap.wav").exists()
    assert not (root / "train" / "frames" / "gap").exists()
    assert sorted(path.read_bytes() for path in tmp_path.rglob("*.png")) == files  # nothing is lost
    clips = open_clips(root, "train")  # what remains can be trained on
    assert clips.ids == ["film", "good"]
    assert json.loads((moved / "vid2genre.json").read_text()).keys() == KINDS.keys() - {"film", "good"}
    assert set(check(root)) == {"film", "good"}


def test_the_rate_of_frames_moves_with_them(root, tmp_path):
    write_json(root / "frames.json", {"rate": 8, "gaps": False})
    check(root, "--move_bad", tmp_path / "bad")
    assert check(tmp_path / "bad")["gap"]["kind"] == "damaged"  # and asks for nothing
    clip(root / "train", "more", frames=3)
    write_json(root / "frames.json", {"rate": 16})
    with pytest.raises(UserError, match="bad/train holds frames at another rate"):
        check(root, "--move_bad", tmp_path / "bad")
    assert (root / "train" / "frames" / "more").exists()


def test_without_a_rate_one_sentence_says_how_to_give_it(root):
    (root / "frames.json").unlink()
    with pytest.raises(UserError, match=r'write \{"rate": 8\}, with your own number, to .*set/frames\.json'):
        check(root)


def test_commands_for_videos_say_so(root, infos, tmp_path):
    with pytest.raises(UserError, match="holds frames and sounds without videos, and --repair is for videos"):
        check(root, "--repair", tmp_path / "out")
    for source in (root, root / "train"):
        with pytest.raises(UserError, match="holds frames and sounds, and only videos can be split here"):
            train_val_split_small.main([str(source), str(tmp_path / "out")])
    words = {"--clips": root / "train", "--infos": infos, "--genres": infos / "genres.txt", "--out": tmp_path / "out"}
    with pytest.raises(UserError, match="holds frames and sounds, and only videos can be selected"):
        select_data_by_genre.main([str(word) for item in words.items() for word in item])
    assert not (tmp_path / "out").exists()


def test_equal_pictures_and_sounds_in_two_splits_are_named(root, capsys):
    for split in ("train", "val"):
        write_picture(root / split / "frames" / "same.png", np.full((40, 40, 3), 90, np.uint8))
        write_sound(root / split / "audio" / "same.wav", tone(2, RATE, 777), RATE)
    check(root)
    assert "of train and of val have files of the same content" in capsys.readouterr().err


def test_a_clip_of_one_picture_is_meant_to_be_still_and_one_of_equal_frames_is_told_of(root):
    clip(root / "train", "equal", numbered(3), frames=16)
    rows = check(root)
    found = {name: rows[name]["found"] for name in ("good", "film", "equal")}
    assert found == {"good": "constant sound", "film": "constant sound", "equal": "still; constant sound"}
