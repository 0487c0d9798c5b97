"""From a flat folder of videos to a dataset: every clip once, no video on both sides, nothing of the user's harmed."""

import csv
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from helpers import MIDS, make_clip, numbered, read_number, tone, write_json, write_sound, write_video
from kill_and_resume import REPOSITORY, one_thread

from data.train_val_split_small import main
from dataset.making.clips.import_clip import ClipSource, place_clip, prepare_clip, target_files
from dataset.making.clips.prepared_clips import PreparedClips
from dataset.making.lists.clip_labels import read_labels
from dataset.making.lists.segments import youtube_id
from dataset.making.lists.video_lists import read_list
from dataset.making.splits.assign_splits import assign_splits
from dataset.making.splits.recordings import group_by_name
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


def assign(clips, seed=0, known=None, shares=SHARES):
    clips = {*clips, *(known or {})}
    return assign_splits(group_by_name({clip: clip for clip in clips}, len(shares)).of, shares, seed, known)


@pytest.mark.parametrize("seed", range(5))
def test_the_shares_are_kept_and_cuts_of_one_video_stay_together(seed):
    where = assign(CUTS, seed)
    assert set(where) == set(CUTS) and where == assign(CUTS[::-1], seed)
    counts = Counter(where.values())
    assert all(abs(counts[split] - share * len(CUTS)) <= 4 for split, share in SHARES.items())
    sides = {}
    for clip, split in where.items():
        sides.setdefault(youtube_id(clip), set()).add(split)
    assert all(len(side) == 1 for side in sides.values())
    assert where != assign(CUTS, seed + 1)


def test_what_comes_later_moves_no_clip_and_follows_its_video():
    first = assign(CUTS[:50])
    later = assign(CUTS[10:], 0, first)
    assert later.items() >= first.items() and set(later) == set(CUTS)
    assert later == assign(CUTS[10:], 0, later)
    one = assign(["abCdefghijk_1"], 0, {"abCdefghijk_2": "test"})
    assert one == {"abCdefghijk_1": "test", "abCdefghijk_2": "test"}


def test_a_few_more_clips_change_the_split_of_a_few_others_only():
    few = assign([f"recording {k:03d} x" for k in range(200)])
    more = assign([f"recording {k:03d} x" for k in range(220)])
    assert sum(few[clip] != more[clip] for clip in few) <= 10


@pytest.mark.parametrize(("count", "filled"), [(1, 1), (2, 1), (3, 3), (5, 3)])
def test_a_handful_of_videos_fills_each_split_if_it_can(count, filled):
    where = assign([f"clip{k}" for k in range(count)])
    assert len(set(where.values())) == filled and "train" in where.values()


def test_one_large_recording_goes_to_train_and_the_others_fill_the_rest():
    recordings = {f"film_{k}": "film" for k in range(100)} | {"b": "b", "c": "c", "d": "d"}
    where = assign_splits(recordings, SHARES, 0)
    assert {where[f"film_{k}"] for k in range(100)} == {"train"}
    assert {"val", "test"} <= {where[clip] for clip in "bcd"}


# --------------------------------------------------------------------------------------------------------- one clip


def import_clip(clip, mp4, wav, out, by):
    """Prepare a clip and put it into the folder of a split."""
    moved = target_files(out, clip)[1]
    source = ClipSource(clip, clip, mp4, wav)
    prepared = PreparedClips(out)
    result = prepare_clip(source, prepared.folder, moved if moved.exists() else None)
    place_clip(source, prepared.folder, out, by)
    return result


def test_a_missing_sound_is_taken_from_the_video_at_its_own_time(tmp_path):
    """Pictures that start at 0.4 s: a sound that is taken to begin with them would be late by just that."""
    times = [0.4 + k / 25 for k in range(50)]
    mp4, _ = make_clip(tmp_path, "a", 2.4, times=times, click_at=times[30], b_frames=2, aac=True, rate=44100)
    for kind in ("video", "audio"):
        (tmp_path / "out" / kind).mkdir(parents=True)
    assert import_clip("a", mp4, None, tmp_path / "out", "link") == ("ok", "")
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
    assert import_clip("a", src / "a.mp4", None, out, by) == ("ok", "")
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
    assert f"{out}: train 8, val 1, test 1 clips" in done.stdout
    assert "vid2genre.json names 1 clip that is no video of" in done.stdout
    with open(out / "left_out.csv", encoding="utf-8", newline="") as file:
        left_out = {Path(row["file"]).name: row for row in csv.DictReader(file)}
    assert set(left_out) == {*NO_CLIPS, ".hidden.mp4", "notes.txt"}
    kinds = {name: row["kind"] for name, row in left_out.items()}
    assert kinds == {
        "back\\slash.mp4": "name", "line\nend.mp4": "name", "junk.mp4": "damaged", "mute.mp4": "no sound",
        "half.mp4": "damaged", ".hidden.mp4": "hidden", "notes.txt": "unknown suffix",
    }  # fmt: skip
    assert left_out["junk.mp4"]["id"] == "junk" and left_out["notes.txt"]["id"] == ""
    assert "7 left out:" in done.stdout and "line?end.mp4" in done.stdout
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
    (tmp_path / "a.csv").write_text(
        'abcdefghijk, 1.000, 2.000, "/m/aa"\nabcdefghijk, 5.000, 6.000, "/m/bb"\n-bcdefghijk, 0, 10, "/m/cc,/m/dd"\n'
    )
    labels = read_labels(tmp_path, read_list(tmp_path / "a.csv").segments)
    assert labels.of("abcdefghijk_5.000_6.000", None) == ["/m/bb"]
    assert labels.of("abcdefghijk-x", None) == ["/m/aa", "/m/bb"]
    assert labels.of("-bcdefghijk", None) == ["/m/cc", "/m/dd"] and labels.of("other", None) == []


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
     "a.mkv and a.mp4; rename"),
    (lambda src, out: [write_sound(src / "a.mp4", tone(1, 8000)), write_sound(out / "x", tone(1, 8000))], (),
     "not empty and was not made by this script"),
    (lambda src, out: [write_sound(src / "a.mp4", tone(1, 8000)), write_json(out / "split.json", [])], (),
     "is damaged"),
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
