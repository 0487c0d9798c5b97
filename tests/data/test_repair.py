"""check_data --repair: corrected copies pass the check, the source stays as it was, what was done is listed."""

import csv
import hashlib
import json
import os

import numpy as np
import pytest
import soundfile
from helpers import MIDS, make_clip, numbered, read_number, tone, write_genres, write_json, write_sound, write_video

from data.check_data import main
from dataset.making.checks.clip_checks import check_clip
from dataset.reading.clip_reader import ClipReader
from utils.errors import UserError

RATE = 16000
SECONDS = 4.0


def music(seconds=SECONDS, rate=RATE, seed=0):
    """Notes of random pitch and length: (samples,) float."""
    rng = np.random.default_rng(seed)
    notes = [tone(rng.uniform(0.1, 0.4), rate, rng.uniform(100, 900), 0.4, 3) for _ in range(round(seconds * 10))]
    return np.concatenate(notes)[: round(seconds * rate)]


def faster(sound, factor):
    """Play a sound this much faster."""
    times = np.arange(int(len(sound) / factor)) * factor
    return np.interp(times, np.arange(len(sound)), sound)


def state(root):
    """Content, time and kind of everything below a folder."""
    return {
        path: (os.lstat(path).st_mtime_ns, path.is_symlink(), hashlib.sha256(path.read_bytes()).hexdigest())
        for path in root.rglob("*") if path.is_file()
    }  # fmt: skip


def run(root, target, *words):
    main([str(root), "--workers", "1", "--csv", str(root.parent / "c.csv"), "--html", str(root.parent / "c.html"),
          "--repair", str(target), *map(str, words)])  # fmt: skip


def repaired(target):
    with open(target / "repaired.csv", encoding="utf-8", newline="") as file:
        return {(row["split"], row["clip"]): row for row in csv.DictReader(file)}


def late(sound, seconds):
    count = round(abs(seconds) * RATE)
    return np.concatenate([np.zeros(count), sound]) if seconds > 0 else sound[count:]


def kept(folder, clip):
    return make_clip(folder, clip, SECONDS, sound=music(), aac=True)


def shifted(seconds):
    def make(folder, clip):
        write_sound(kept(folder, clip)[1], late(music(), seconds))

    return make


def drifting(fraction):
    def make(folder, clip):
        write_sound(kept(folder, clip)[1], late(faster(music(), 1 - fraction), 0.1))

    return make


def misstated(folder, clip):
    """48,000 Hz that are called 44,100 Hz."""
    _, wav = make_clip(folder, clip, SECONDS, sound=music(rate=48000), rate=48000, aac=True)
    soundfile.write(wav, music(rate=48000), 44100)


def without_wav(folder, clip):
    kept(folder, clip)[1].unlink()


def silent(folder, clip):
    write_sound(kept(folder, clip)[1], np.zeros(round(SECONDS * RATE)))


def matroska(folder, clip):
    mp4, _ = kept(folder, clip)
    write_video(mp4, [numbered(k) for k in range(100)], sound=music(), container="matroska")


def late_frames(folder, clip):
    mp4, _ = kept(folder, clip)
    write_video(mp4, [numbered(k) for k in range(75)], times=[1 + k / 25 for k in range(75)], sound=music())


def too_long(folder, clip):
    write_sound(kept(folder, clip)[1], np.concatenate([music(), music(seed=1)]))


CURED = {
    "late": (shifted(0.06), "moved the sound 60.0 ms earlier"),
    "very late": (shifted(0.9), "moved the sound 900.0 ms earlier"),
    "early": (shifted(-0.3), "moved the sound 300.0 ms later"),
    "a little late": (shifted(0.02), "moved the sound 20.0 ms earlier"),
    **{f"slower by {f}": (drifting(f), "faster") for f in (0.001, 0.003, 0.01, 0.04)},
    **{f"faster by {f}": (drifting(-f), "slower") for f in (0.001, 0.01)},
    "misstated": (misstated, "stated the sample rate of the wav as 48000 Hz, not 44100 Hz"),
    "without a wav": (without_wav, "took the sound of the video itself"),
    "silent": (silent, "took the sound of the video itself"),
    "matroska": (matroska, "copied the streams of the video into an mp4"),
    "late frames": (late_frames, "cut the first 1.00 s off"),
    "too long": (too_long, "cut 4.00 s off the end of the wav"),
}


@pytest.mark.parametrize("name", CURED)
def test_what_can_be_cured_passes_afterwards(tmp_path, name):
    make, done = CURED[name]
    make(tmp_path / "root" / "train", "a")
    write_genres(tmp_path / "root" / "train")
    before = state(tmp_path / "root")
    run(tmp_path / "root", tmp_path / "out")
    assert state(tmp_path / "root") == before
    row = repaired(tmp_path / "out")["train", "a"]
    assert row["repaired"] == "yes" and done in row["what"] and row["problem"]
    files = [tmp_path / "out" / "train" / half for half in ("video/a.mp4", "audio/a.wav")]
    found = check_clip("a", *files)
    assert (found.kind, found.message, found.cures) == ("ok", "", ())
    assert found.offset_ms == pytest.approx(0, abs=1)
    assert sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file()) == [
        "a.mp4", "a.wav", "repaired.csv", "vid2genre.json",
    ]  # fmt: skip
    shift = 1.0 if name == "late frames" else 0.0
    with ClipReader("a", *files) as clip:  # the content too is that of the source
        assert read_number(clip.frame(2.0, 48)) == 50
        heard, wanted = clip.sound(1.5, RATE) / 32768, late(music(), -shift)[RATE : 2 * RATE]
        assert np.corrcoef(heard, wanted)[0, 1] > 0.9


def test_only_what_can_be_cured_is_written_and_the_rest_is_named(tmp_path, capsys):
    split = tmp_path / "root" / "val"
    for clip in ("good", "short", "black", "late", "cut off"):
        kept(split, clip)
    shifted(0.06)(split, "late")
    make_clip(split, "short", 0.4)
    make_clip(split, "black", pictures=[np.zeros((48, 64, 3), np.uint8)] * 50)
    (split / "video" / "cut off.mp4").write_bytes((split / "video" / "cut off.mp4").read_bytes()[:-2000])
    write_genres(split)
    write_json(split / "boxes.json", {clip: [] for clip in ("good", "late")})
    run(tmp_path / "root", tmp_path / "out")
    rows = repaired(tmp_path / "out")
    assert {clip: row["repaired"] for (_, clip), row in rows.items()} == {"late": "yes", "short": "no", "cut off": "no"}
    assert "too short" in rows["val", "short"]["what"] or "shorter" in rows["val", "short"]["what"]
    assert json.loads((tmp_path / "out/val/vid2genre.json").read_text()) == {"late": [MIDS[0]]}
    assert json.loads((tmp_path / "out/val/boxes.json").read_text()) == {"late": []}
    out = capsys.readouterr().out
    assert "val/late repaired: moved" in out and "val/cut off not repaired: " in out
    assert f"1 of 3 clips repaired in {tmp_path / 'out'}" in out
    assert [path.name for path in (tmp_path / "out" / "val" / "video").iterdir()] == ["late.mp4"]


def test_boxes_keep_their_frames_when_the_start_is_cut_off(tmp_path):
    late_frames(tmp_path / "root" / "train", "a")
    write_genres(tmp_path / "root" / "train")
    box = {"box": [0.0, 0.0, 1.0, 1.0], "label": MIDS[0], "sounding": True}
    write_json(tmp_path / "root/train/boxes.json", {"a": [{**box, "time": time} for time in (0.5, 1.5, 3.0)]})
    run(tmp_path / "root", tmp_path / "out")
    boxes = json.loads((tmp_path / "out/train/boxes.json").read_text())
    assert [entry["time"] for entry in boxes["a"]] == pytest.approx([0.5, 2.0], abs=0.01)


@pytest.mark.parametrize("target", ["root", "root/train", "root/fixed", "root/train/video", "link"])
def test_nothing_is_repaired_into_the_dataset_itself(tmp_path, target):
    shifted(0.06)(tmp_path / "root" / "train", "a")
    write_genres(tmp_path / "root" / "train")
    (tmp_path / "link").symlink_to("root")
    before = state(tmp_path / "root")
    with pytest.raises(UserError, match="choose another folder with --repair"):
        run(tmp_path / "root", tmp_path / target)
    assert state(tmp_path / "root") == before


def test_a_second_run_keeps_what_is_there_and_a_foreign_file_is_never_replaced(tmp_path):
    for clip in ("a", "b"):
        shifted(0.06)(tmp_path / "root" / "train", clip)
    write_genres(tmp_path / "root" / "train")
    run(tmp_path / "root", tmp_path / "out")
    before = state(tmp_path / "out")
    run(tmp_path / "root", tmp_path / "out")
    assert state(tmp_path / "out") == before
    (tmp_path / "other/train/audio").mkdir(parents=True)
    (tmp_path / "other/train/audio/b.wav").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"b\.wav already exists: choose another folder"):
        run(tmp_path / "root", tmp_path / "other")
    assert {path.name for path in state(tmp_path / "other")} == {"b.wav"}
    assert (tmp_path / "other/train/audio/b.wav").read_bytes() == b"mine"


def test_a_dry_run_repairs_nothing(tmp_path, capsys):
    shifted(0.06)(tmp_path / "root" / "train", "a")
    write_genres(tmp_path / "root" / "train")
    run(tmp_path / "root", tmp_path / "out", "--dry_run")
    assert "would try to repair train/a: the wav is 60 ms late" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
