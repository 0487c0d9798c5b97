"""check_data tells of stills, constant sounds, duplicates and leaks, or refuses them, and lists what is missing."""

import csv
import shutil

import numpy as np
import pytest
from helpers import make_clip, numbered, tone, write_genres, write_json

from data.check_data import main
from dataset.making.split_folders import find_splits
from utils.errors import UserError

IDS = [f"{letter * 11}" for letter in "ABCDEFGH"]


def wave(seed, seconds=2.4, rate=16000):
    """A sound that changes, another one for each seed."""
    notes = np.random.default_rng(seed).uniform(100, 900, round(seconds * 10))
    return np.concatenate([tone(0.1, rate, pitch, 0.1 + pitch / 3000) for pitch in notes])


def add(folder, clip, seed, still=False, constant=False):
    sound = tone(2.4, 16000, 200 + 10 * seed) if constant else wave(seed)
    pictures = [numbered(seed if still else 60 * seed + k) for k in range(60)]
    return make_clip(folder, clip, 2.4, pictures=pictures, sound=sound, aac=True)


def copy(root, clip, to):
    for kind, suffix in (("video", "mp4"), ("audio", "wav")):
        target = root / to.split("/")[0] / kind
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / clip.split("/")[0] / kind / f"{clip.split('/')[1]}.{suffix}",
                    target / f"{to.split('/')[1]}.{suffix}")  # fmt: skip


@pytest.fixture
def root(tmp_path):
    """train: A, a still B, a constant C, D as in test, E and F the same; test: G, which is train's D."""
    root = tmp_path / "set"
    for seed, clip in enumerate(IDS[:5]):
        add(root / "train", clip, seed, still=clip == IDS[1], constant=clip == IDS[2])
    copy(root, f"train/{IDS[4]}", f"train/{IDS[5]}")
    copy(root, f"train/{IDS[3]}", f"test/{IDS[6]}")
    write_genres(root / "train"), write_genres(root / "test")
    return root


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def kinds_of(root):
    return {f"{row['split']}/{row['clip'][0]}": (row["kind"], row["found"]) for row in rows_of(root / "check.csv")}


def test_what_is_found_is_told_and_the_clips_stay_ok(root, capsys):
    main([str(root), "--workers", "1", "--move_bad", str(root.parent / "bad")])
    told = capsys.readouterr()
    assert kinds_of(root) == {
        "train/A": ("ok", ""), "train/B": ("ok", "still"), "train/C": ("ok", "constant sound"),
        "train/D": ("ok", "duplicate"), "train/E": ("ok", ""), "train/F": ("ok", "duplicate"), "test/G": ("ok", ""),
    }  # fmt: skip
    assert "\n1 still, 1 constant sound, 2 duplicate: see the column found of " in told.out
    assert told.out.splitlines()[-1] == "7 of 7 clips are ok" and not (root.parent / "bad" / "train").exists()
    assert told.err.count("files of the same content") == 1 and "in files that differ" not in told.err
    messages = {row["clip"]: row["message"] for row in rows_of(root / "check.csv")}
    assert messages[IDS[3]] == f"the same picture and sound as test/{IDS[6]}"
    assert messages[IDS[5]] == f"the same picture and sound as train/{IDS[4]}"
    page = (root / "check.html").read_text(encoding="utf-8")
    assert "ok, but still <small>1" in page and "ok, but duplicate <small>2" in page
    assert page.count("data:image/jpeg") == 2  # of the still and of the constant sound


def test_what_is_to_be_refused_is_refused_and_moved(root, capsys):
    bad = root.parent / "bad"
    main([str(root), "--workers", "1", "--refuse", "still", "constant", "duplicate", "--move_bad", str(bad)])
    kinds = {clip: kind for clip, (kind, _) in kinds_of(root).items()}
    assert kinds == {
        "train/A": "ok", "train/B": "still", "train/C": "constant sound", "train/D": "duplicate", "train/E": "ok",
        "train/F": "duplicate", "test/G": "ok",
    }  # fmt: skip
    assert capsys.readouterr().out.splitlines()[-1] == f"3 of 7 clips are ok; 4 were moved to {bad}"
    left = {split.name: split.ids for split in find_splits(root)}
    assert left == {"train": [IDS[0], IDS[4]], "test": [IDS[6]]}
    assert sorted(path.stem for path in (bad / "train" / "video").iterdir()) == [IDS[k] for k in (1, 2, 3, 5)]


def test_one_kind_is_refused_and_the_others_are_told_of(root):
    main([str(root), "--workers", "1", "--refuse", "still"])
    assert {clip: kind for clip, (kind, _) in kinds_of(root).items() if kind != "ok"} == {"train/B": "still"}


def test_a_duplicate_in_another_container_is_found_and_leaks(tmp_path, capsys):
    """The same pictures and samples, other bytes: no comparison of files finds it."""
    add(tmp_path / "train", IDS[0], 0), add(tmp_path / "val", IDS[1], 1)
    copy(tmp_path, f"train/{IDS[0]}", f"val/{IDS[2]}")
    for path in (tmp_path / "val" / "video" / f"{IDS[2]}.mp4", tmp_path / "val" / "audio" / f"{IDS[2]}.wav"):
        # A box that players ignore at the end, and a chunk of text.
        extra = b"\0\0\0\x10free12345678" if path.suffix == ".mp4" else b"LIST\x04\0\0\0abcd"
        path.write_bytes(path.read_bytes() + extra)
    write_genres(tmp_path / "train"), write_genres(tmp_path / "val")
    main([str(tmp_path), "--workers", "1"])
    assert kinds_of(tmp_path) == {"train/A": ("ok", "duplicate"), "val/B": ("ok", ""), "val/C": ("ok", "")}
    error = capsys.readouterr().err
    assert (
        f"1 clip of train has the same picture and sound as clips of val in files that differ, such as train/{IDS[0]}"
        in error
    )


def test_the_copy_that_is_listed_is_kept(tmp_path):
    add(tmp_path / "train", IDS[0], 0)
    copy(tmp_path, f"train/{IDS[0]}", f"test/{IDS[1]}")
    write_genres(tmp_path / "train"), write_genres(tmp_path / "test", {})
    main([str(tmp_path), "--workers", "1", "--refuse", "duplicate"])
    assert kinds_of(tmp_path) == {"train/A": ("ok", ""), "test/B": ("unlisted", "duplicate")}


# ---------------------------------------------------------------------------------------------------- lists


def test_train_clips_of_benchmarks_are_warned_of(root, tmp_path, capsys):
    write_json(root / "vggss.json", [{"file": f"{clip}_000030", "class": "x", "bbox": []} for clip in IDS[2:4]])
    (root / "benchmarks").mkdir()
    (root / "benchmarks" / "README.md").write_text("not a list")
    (root / "benchmarks" / "mine.csv").write_text(f"{IDS[6]}\n{IDS[7]}\n")  # in test, and nowhere
    (tmp_path / "more.csv").write_text(f"{IDS[0]},0,first,train\n{IDS[1]},0,second,test\n")
    main([str(root), "--workers", "1", "--exclude", str(tmp_path / "more.csv")])
    warned = [line for line in capsys.readouterr().err.splitlines() if "--exclude" in line]
    advice = "leave them out with data/train_val_split_small.py --exclude"
    assert warned == [
        f"warning: 2 clips of train are of videos in {root / 'vggss.json'}, such as {IDS[2]}: {advice}",
        f"warning: 1 clip of train is of a video in {tmp_path / 'more.csv'}, such as {IDS[1]}: {advice}",
    ]


def test_what_a_list_has_and_the_dataset_lacks_is_listed(tmp_path, capsys):
    names = [f"{IDS[0]}_000030", f"{IDS[1]}_30_40", f"{IDS[2]}_30.000_40.000", IDS[3], f"{IDS[4]}_31_41"]
    for seed, name in enumerate(names):
        add(tmp_path / "set" / "test", name, seed)
    (tmp_path / "set" / "test" / "audio" / f"{names[1]}.wav").unlink()
    write_genres(tmp_path / "set" / "test")
    rows = [f'{clip},30,"playing violin, fiddle",test\n' for clip in IDS[:6]] + [f"{IDS[6]},1,dog barking,train\n"]
    (tmp_path / "vgg.csv").write_text("".join(rows))
    words = [str(tmp_path / "set"), "--workers", "1", "--csv", str(tmp_path / "check.csv")]
    main([*words, "--list", str(tmp_path / "vgg.csv"), "--part", "test"])
    out = capsys.readouterr().out
    assert f"{tmp_path / 'vgg.csv'}: VGGSound, 6 clips" in out
    assert f"3 of 6 clips of {tmp_path / 'vgg.csv'} are here and ok, 3 missing" in out
    assert [(row["id"], row["reason"]) for row in rows_of(tmp_path / "missing.csv")] == [
        (f"{IDS[1]}_000030", f"test/{names[1]} is refused, missing: the wav is missing"),
        (f"{IDS[4]}_000030", "no clip has this name"),
        (f"{IDS[5]}_000030", "no clip has this name"),
    ]


def test_cuts_of_a_whole_video_are_the_video_and_a_video_of_several_clips_is_not_clear(tmp_path, capsys):
    for seed, name in enumerate((f"{IDS[0]}_0.000_2.000", IDS[1])):
        add(tmp_path / "set" / "train", name, seed)
    write_genres(tmp_path / "set" / "train")
    (tmp_path / "whole.txt").write_text(f"{IDS[0]}\n")
    (tmp_path / "two.csv").write_text(f"{IDS[1]},10,dog barking,train\n{IDS[1]},50,cat purring,train\n")
    for name, said in (("whole.txt", "1 of 1 clip of"), ("two.csv", "0 of 2 clips of")):
        main([str(tmp_path / "set"), "--workers", "1", "--list", str(tmp_path / name)])
        assert said in capsys.readouterr().out
    reasons = {row["reason"] for row in rows_of(tmp_path / "set" / "missing.csv")}
    assert reasons == {f"train/{IDS[1]} may be any of 2 clips of this video"}


@pytest.mark.parametrize(("words", "said"), [
    (["--list", "{0}/nothing.csv"], "nothing.csv can't be read"),
    (["--exclude", "{0}/nothing.csv"], "nothing.csv can't be read"),
    (["--part", "test"], "--part is of a list: give it with --list FILE"),
    (["--format", "vggsound"], "--format is of a list: give it with --list FILE"),
])  # fmt: skip
def test_a_wrong_list_is_one_sentence_before_any_clip_is_read(tmp_path, words, said):
    add(tmp_path / "train", IDS[0], 0)
    write_genres(tmp_path / "train")
    with pytest.raises(UserError, match=said):
        main([str(tmp_path), *(word.format(tmp_path) for word in words)])
    assert not (tmp_path / "check.csv").exists()


def test_a_broken_list_beside_the_data_is_one_sentence(tmp_path):
    add(tmp_path / "train", IDS[0], 0)
    write_genres(tmp_path / "train")
    (tmp_path / "vggss.json").write_text("{")
    with pytest.raises(UserError, match=r"vggss\.json is not valid JSON"):
        main([str(tmp_path)])
