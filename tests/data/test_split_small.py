"""From a flat folder of videos to a dataset: every clip once, no video on both sides, nothing of the user's harmed."""

import json
import shutil
import subprocess
import sys
from collections import Counter

import av
import numpy as np
import pytest
import soundfile
from helpers import MIDS, make_clip, numbered, read_number, tone, write_json, write_sound, write_video
from kill_and_resume import REPOSITORY, one_thread

from data.train_val_split_small import main
from dataset.making.assign_splits import assign_splits
from dataset.making.import_clip import import_clip
from dataset.making.segments import youtube_id
from dataset.reading.clips import Clips
from utils.errors import UserError

SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}
CUTS = [f"video{k:06d}_{c}.000_{c + 10}.000" for k in range(60) for c in range(1 + 3 * (k % 4 == 0))]


def run(*words):
    """Run data/train_val_split_small.py as a user does."""
    command = [sys.executable, "data/train_val_split_small.py", *map(str, words)]
    done = subprocess.run(command, cwd=REPOSITORY, env=one_thread(), text=True, capture_output=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def files_of(root):
    """{name: (content, whether it is a link)} of all files."""
    found = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    return {name: (path.read_bytes(), path.is_symlink()) for name, path in found.items()}


def flat(folder, *clips, wavs=True):
    """Short clips in a flat folder."""
    for clip in clips:
        for path in make_clip(folder / "parts", clip, 1.2, aac=True):
            if wavs or path.suffix == ".mp4":
                path.rename(folder / path.name)
    return folder


# ------------------------------------------------------------------------------------------------------ the division


@pytest.mark.parametrize("seed", range(5))
def test_the_shares_are_kept_and_cuts_of_one_video_stay_together(seed):
    where = assign_splits(CUTS, SHARES, seed)
    assert set(where) == set(CUTS) and where == assign_splits(CUTS[::-1], SHARES, seed)
    counts = Counter(where.values())
    assert all(abs(counts[split] - share * len(CUTS)) <= 4 for split, share in SHARES.items())
    sides = {}
    for clip, split in where.items():
        sides.setdefault(youtube_id(clip), set()).add(split)
    assert all(len(side) == 1 for side in sides.values())
    assert where != assign_splits(CUTS, SHARES, seed + 1)


def test_what_comes_later_moves_no_clip_and_follows_its_video():
    first = assign_splits(CUTS[:50], SHARES, 0)
    later = assign_splits(CUTS[10:], SHARES, 0, first)
    assert later.items() >= first.items() and set(later) == set(CUTS)
    assert later == assign_splits(CUTS[10:], SHARES, 0, later)
    one = assign_splits(["abcdefghijk_1"], SHARES, 0, {"abcdefghijk_2": "test"})
    assert one == {"abcdefghijk_1": "test", "abcdefghijk_2": "test"}


@pytest.mark.parametrize(("count", "filled"), [(1, 1), (2, 1), (3, 3), (5, 3)])
def test_a_handful_of_videos_fills_each_split_if_it_can(count, filled):
    where = assign_splits([f"clip{k}" for k in range(count)], SHARES, 0)
    assert len(set(where.values())) == filled and "train" in where.values()


# --------------------------------------------------------------------------------------------------------- one clip


def test_a_missing_sound_is_taken_from_the_video_at_its_own_time(tmp_path):
    """Pictures that start at 0.4 s: a sound that is taken to begin with them would be late by just that."""
    times = [0.4 + k / 25 for k in range(50)]
    mp4, _ = make_clip(tmp_path, "a", 2.4, times=times, click_at=times[30], b_frames=2, aac=True, rate=44100)
    for kind in ("video", "audio"):
        (tmp_path / "out" / kind).mkdir(parents=True)
    assert import_clip("a", mp4, None, tmp_path / "out", "link") == ""
    sound, rate = soundfile.read(tmp_path / "out" / "audio" / "a.wav")
    assert rate == 48000 and np.argmax(np.abs(sound) > 0.4) / rate == pytest.approx(times[30], abs=2e-3)
    assert (tmp_path / "out" / "video" / "a.mp4").resolve() == mp4


@pytest.mark.parametrize("by", ["copy", "move"])
def test_a_stop_between_the_two_halves_loses_no_sound(tmp_path, by):
    """The user's own wav, moved by the first run, is not replaced by one taken from the video."""
    src, out = flat(tmp_path / "src", "a"), tmp_path / "out"
    for kind in ("video", "audio"):
        (out / kind).mkdir(parents=True)
    own = (src / "a.wav").read_bytes()
    (src / "a.wav").rename(out / "audio" / "a.wav")
    assert import_clip("a", src / "a.mp4", None, out, by) == ""
    assert (out / "audio" / "a.wav").read_bytes() == own and (out / "video" / "a.mp4").exists()


# ------------------------------------------------------------------------------------------------------- the script

ODD = ("-i", "spa ce", "quo'te\"s; $(x)", "über %d 火", "a.b..c", "<img src=x onerror=alert(1)>")
NO_CLIPS = ("back\\slash.mp4", "line\nend.mp4", "junk.mp4", "mute.mp4", "half.mp4")


def test_a_messy_folder_becomes_a_dataset(tmp_path):
    src, out = flat(tmp_path / "src", *ODD, "abcdefghijk_1.000_2.000", "abcdefghijk_5.000_6.000"), tmp_path / "out"
    flat(src, "no wav", wavs=False)
    write_video(src / "matroska.mkv", [numbered(k) for k in range(40)], sound=tone(1.6, 16000), container="matroska")
    for name in NO_CLIPS:
        (src / name).write_bytes(b"junk")
    write_video(src / "mute.mp4", [numbered(k) for k in range(40)])
    (src / "half.mp4").write_bytes((src / "no wav.mp4").read_bytes()[:-500])
    (src / ".hidden.mp4").write_bytes(b"junk")
    (src / "notes.txt").write_text("not a video")
    shutil.rmtree(src / "parts")
    write_json(src / "vid2genre.json", {"-i": [MIDS[0]], "spa ce": [MIDS[1], MIDS[2]], "elsewhere": []})
    before = files_of(src)

    done = run(src, out)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 6 and lines[-1] == f"{out}: train 8, val 1, test 1 clips; 5 left out, and untouched in {src}"
    left_out = {line.split(": ")[1]: line.split(": ", 2)[2] for line in lines[:-1]}
    assert set(left_out) == {ascii(name) if "\n" in name else name for name in NO_CLIPS}
    assert "no audio stream" in left_out["mute.mp4"] and "can't be opened" in left_out["junk.mp4"]
    assert files_of(src) == before

    clips, labels = [], {}
    for split in SHARES:
        data = Clips(out, split)
        clips += data.ids
        labels |= dict(zip(data.ids, data.labels, strict=True))
        for index, _ in enumerate(data.ids):
            with data.open(index) as clip:
                assert read_number(clip.frame(0.6, 32)) == 15 and clip.sound(0.6, 16000).any()
    wanted = [*ODD, "abcdefghijk_1.000_2.000", "abcdefghijk_5.000_6.000", "no wav", "matroska"]
    assert sorted(clips) == sorted(wanted)
    assert labels == {clip: [] for clip in wanted} | {"-i": [MIDS[0]], "spa ce": [MIDS[1], MIDS[2]]}
    links = {name for name, (_, is_link) in files_of(out).items() if is_link}
    assert len(links) == 2 * 8 + 1  # not the sound of "no wav", and neither half of "matroska"
    with av.open(str(next(out.glob("*/video/matroska.mp4")))) as file:
        assert file.streams.video[0].codec.name == "h264"

    first = files_of(out)
    again = run(src, out)
    assert again.stdout == done.stdout and files_of(out) == first
    other = run(src, out, "--seed", 1)
    assert other.returncode == 2 and "other settings" in other.stderr and files_of(out) == first


def test_moving_takes_each_file_once_and_goes_on_after_a_stop(tmp_path):
    src, out = flat(tmp_path / "src", *(f"clip {k}" for k in range(6))), tmp_path / "out"
    (src / "bad.mp4").write_bytes(b"junk")
    write_json(src / "vid2genre.json", {f"clip {k}": [MIDS[k]] for k in range(6)})
    before = {name: content for name, (content, _) in files_of(src).items() if name.startswith("clip")}
    words = (src, out, "--by", "move", "--workers", 1)
    assert run(*words).returncode == 0
    after = {name.rpartition("/")[2]: found for name, found in files_of(out).items() if name.count("/") == 2}
    assert after == {name: (content, False) for name, content in before.items()}
    assert sorted(files_of(src)) == ["bad.mp4", "vid2genre.json"]
    # As if it had been stopped before it moved one of them: the same command moves it, to the place it had.
    late = next(out.glob("*/video/clip 3.mp4"))
    late.rename(src / late.name)
    listed = json.loads((late.parent.parent / "vid2genre.json").read_text())
    assert run(*words).returncode == 0
    assert late.is_file() and json.loads((late.parent.parent / "vid2genre.json").read_text()) == listed


def test_labels_come_from_a_segment_file_by_cut_or_by_video(tmp_path):
    from data.train_val_split_small import make_label_lookup

    (tmp_path / "a.csv").write_text(
        'abcdefghijk, 1.000, 2.000, "/m/aa"\nabcdefghijk, 5.000, 6.000, "/m/bb"\n-bcdefghijk, 0, 10, "/m/cc,/m/dd"\n'
    )
    labels = make_label_lookup(tmp_path, tmp_path / "a.csv")
    assert labels("abcdefghijk_5.000_6.000") == ["/m/bb"] and labels("abcdefghijk-x") == ["/m/aa", "/m/bb"]
    assert labels("-bcdefghijk") == ["/m/cc", "/m/dd"] and labels("other") == []


def test_boxes_go_with_their_clips(tmp_path):
    src, out = flat(tmp_path / "src", *(f"clip{k}" for k in range(5))), tmp_path / "out"
    (src / "bad.mp4").write_bytes(b"junk")
    boxes = {name: [{"time": 0.5, "box": [0, 0, 0.5, k / 10], "label": MIDS[0], "sounding": True}]
             for k, name in enumerate(["clip0", "clip1", "clip3", "clip4", "bad"])}  # fmt: skip
    write_json(src / "boxes.json", boxes)
    assert run(src, out, "--workers", 1).returncode == 0
    found = {}
    for split in SHARES:
        clips = Clips(out, split)
        found |= clips.boxes
        assert set(clips.boxes) == set(clips.ids) - {"clip2"}
    assert found == {name: of for name, of in boxes.items() if name != "bad"}


@pytest.mark.parametrize(("make", "words", "said"), [
    (lambda src, out: None, (), "there is no folder"),
    (lambda src, out: src.mkdir(), (), "holds no video"),
    (lambda src, out: [write_sound(src / "a.mp4", tone(1, 8000)), write_sound(src / "a.mkv", tone(1, 8000))], (),
     "holds a.mp4 and a.mkv"),
    (lambda src, out: [write_sound(src / "a.mp4", tone(1, 8000)), write_sound(out / "x", tone(1, 8000))], (),
     "not empty and was not made by this script"),
    (lambda src, out: [write_sound(src / "a.mp4", tone(1, 8000)), write_json(out / "split.json", [])], (),
     "other settings"),
    (lambda src, out: write_sound(src / "a.mp4", tone(1, 8000)), ("--val", "0.7", "--test", "0.4"),
     "must be fractions"),
    (lambda src, out: write_json(src / "vid2genre.json", {"../x": []}), (), "has an invalid format"),
    (lambda src, out: [write_sound(src / "a.mp4", tone(1, 8000)), write_json(src / "boxes.json", {"a": [{}]})], (),
     "boxes.json has an invalid format at 'a'"),
])  # fmt: skip
def test_a_mistake_is_told_and_nothing_is_written(tmp_path, make, words, said):
    make(tmp_path / "src", tmp_path / "out")
    before = files_of(tmp_path)
    with pytest.raises(UserError, match=said):
        main([str(tmp_path / "src"), str(tmp_path / "out"), *words])
    assert files_of(tmp_path) == before
