"""The options of train_val_split_small.py: recordings, cuts, class folders, a dry run; and what it refuses."""

import csv
import errno
import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers import MIDS, make_clip, numbered, read_number, tone, write_json, write_sound, write_video

from data.train_val_split_small import main
from dataset.making.clips import import_clip, link_files
from dataset.reading.clip_reader import ClipReader
from dataset.reading.clips import Clips, clip_files
from utils.errors import UserError

SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """One short mp4 with its own sound, bytes."""
    mp4, _ = make_clip(tmp_path_factory.mktemp("clip"), "a", 1.2, aac=True)
    return mp4.read_bytes()


def fill(folder, clip, *names):
    """Write different files of a clip."""
    for k, name in enumerate(names):
        path = folder / (name if "." in name else f"{name}.mp4")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(clip + (8 + k).to_bytes(4, "big") + b"free" + bytes(k))
    return folder


def split(src, out, *words):
    main([str(src), str(out), "--workers", "1", *map(str, words)])
    return {name: set(Clips(out, name).ids) for name in SPLITS if (out / name).is_dir()}


def tables(out, name):
    found = {}
    for path in out.glob(f"*/{name}"):
        found |= json.loads(path.read_text())
    return found


def rows(out):
    with open(out / "left_out.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def everything(root):
    return {path.relative_to(root).as_posix() for path in root.rglob("*")}


# ----------------------------------------------------------------------------------------------------------- recordings


def test_clips_of_a_recording_are_on_one_side_by_name_by_expression_and_by_list(tmp_path, clip, capsys):
    names = [f"{song}_{k}" for song in ("one", "two", "three", "four") for k in (1, 2)]
    src = fill(tmp_path / "src", clip, *names)
    sides = split(src, tmp_path / "a")
    assert "8 clips of 4 recordings" in capsys.readouterr().out
    assert all(
        {name[:-2] for name in side} & {n[:-2] for n in names if n not in side} == set() for side in sides.values()
    )
    sides = split(src, tmp_path / "b", "--group", r"_(\d)", "--test", 0)
    assert {frozenset(name[-1] for name in side) for side in sides.values()} == {frozenset("1"), frozenset("2")}
    write_json(tmp_path / "g.json", {name: name[0] for name in names})
    sides = split(src, tmp_path / "c", "--group", tmp_path / "g.json")
    assert sorted(map(len, sides.values())) == [2, 2, 4]  # one, four; two and three


def test_one_numbered_name_is_split_and_said(tmp_path, clip, capsys):
    sides = split(fill(tmp_path / "src", clip, *(f"instruments_{k:04d}" for k in range(10))), tmp_path / "out")
    assert {name: len(side) for name, side in sides.items()} == {"train": 8, "val": 1, "test": 1}
    said = capsys.readouterr().out
    assert "differ by a number only" in said and "--group" in said
    assert "val has 1 clip and test has 1 clip: an accuracy measured there has a standard error of up to ±0.50" in said


def test_an_empty_split_is_refused_before_the_check_and_after_it(tmp_path, clip):
    src = fill(tmp_path / "src", clip, "dog_1", "dog_2", "cat_1", "cat_2")
    with pytest.raises(UserError, match=r"4 clips of 2 recordings.*too few for train, val, test.*--group"):
        main([str(src), str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
    for name in ("dog_1", "dog_2"):
        (src / f"{name}.mp4").write_bytes(b"junk")
    fill(src, clip, "cow")
    with pytest.raises(UserError, match="that passed the check are too few"):
        main([str(src), str(tmp_path / "out"), "--workers", "1"])
    assert {row["id"] for row in rows(tmp_path / "out")} == {"dog_1", "dog_2"}
    # Other settings are no mistake as long as no clip has a split.
    sides = split(src, tmp_path / "out", "--test", 0)
    assert set(sides) == {"train", "val"} and set.union(*sides.values()) == {"cat_1", "cat_2", "cow"}


def test_the_shares_are_those_of_the_clips_that_pass(tmp_path, clip):
    src = fill(tmp_path / "src", clip, *(f"good {k} x" for k in range(10)))
    for k in range(30):
        (src / f"bad {k} x.mp4").write_bytes(b"junk")
    sides = split(src, tmp_path / "out")
    assert {name: len(side) for name, side in sides.items()} == {"train": 8, "val": 1, "test": 1}
    assert len(rows(tmp_path / "out")) == 30


# ----------------------------------------------------------------------------------------------------- files and labels


def test_names_in_both_spellings_of_unicode_are_one_name(tmp_path, clip):
    names = [unicodedata.normalize("NFD", name) for name in ("Größe", "café", "Übung", "한국")]
    src = fill(tmp_path / "src", clip, *names)
    labels = {unicodedata.normalize("NFC", name): [MIDS[k]] for k, name in enumerate(names)}
    write_json(src / "vid2genre.json", labels)
    write_sound(src / (unicodedata.normalize("NFC", "Größe") + ".WAV"), tone(1.2, 8000, 440), 8000)
    split(src, tmp_path / "out")
    assert tables(tmp_path / "out", "vid2genre.json") == labels
    wav = next((tmp_path / "out").glob("*/audio/Gr*.wav"))
    assert soundfile.info(wav).samplerate == 8000
    # A dataset whose files are decomposed, as after a copy by macOS.
    for path in list((tmp_path / "out").glob("*/*/*.*")):
        path.rename(path.with_name(unicodedata.normalize("NFD", path.name)))
    for name in SPLITS:
        clips = Clips(tmp_path / "out", name)
        assert set(clips.ids) <= set(labels)
        with clips.open(0) as reader:
            assert reader.sound(0.6, 8000).any()
    assert clip_files(tmp_path, names[0])[0].parent == tmp_path / "video"


def test_every_name_that_is_there_twice_is_listed(tmp_path, clip):
    src = fill(tmp_path / "src", clip, "a.mp4", "sub/a.mov", "b.mp4", "B.MKV", "c", "d/c", "e",
               unicodedata.normalize("NFC", "ä"), unicodedata.normalize("NFD", "ä"))  # fmt: skip
    with pytest.raises(UserError) as refused:
        main([str(src), str(tmp_path / "out")])
    said = str(refused.value)
    assert "4 names more than once" in said and "a.mp4 and sub/a.mov" in said and "B.MKV and b.mp4" in said
    assert "c.mp4 and d/c.mp4" in said and "--labels folders" in said and "\n" not in said
    assert not (tmp_path / "out").exists()


def test_folders_give_labels_by_their_name_and_tell_equal_names_apart(tmp_path, clip, capsys):
    names = [
        "Acoustic guitar/1",
        "Acoustic guitar/x",
        "mallet_percussion/deep/1",
        "a class of mine/2",
        "loose",
        "violin/v",
    ]
    src = fill(tmp_path / "src", clip, *(f"{name}.mp4" for name in names))
    sides = split(src, tmp_path / "out", "--labels", "folders")
    found = tables(tmp_path / "out", "vid2genre.json")
    assert (
        set(found)
        == {"Acoustic guitar_1", "x", "mallet_percussion_deep_1", "2", "loose", "v"}
        == set.union(*sides.values())
    )
    assert found["Acoustic guitar_1"] == found["x"] == ["/m/042v_gx"]
    assert found["mallet_percussion_deep_1"] == ["/m/0j45pbj"] and found["loose"] == []
    assert found["2"] == ["a class of mine"] and found["v"] == ["/m/07y_7"]
    assert "6 clips of 6 recordings" in capsys.readouterr().out  # the files called 1 are two


def test_linked_folders_and_files_count_once(tmp_path, clip):
    src = fill(tmp_path / "src", clip, "a", "b/b", "b/c", "b/d")
    elsewhere = fill(tmp_path / "elsewhere", clip, "e", "f", "g", "h", "i")
    (src / "again").symlink_to(src / "b")
    (src / "b" / "loop").symlink_to("../..")
    (src / "far").symlink_to(elsewhere)
    os.link(src / "a.mp4", src / "z.mp4")
    (src / "y.mp4").symlink_to("a.mp4")
    sides = split(src, src / "out")  # the output inside of the source
    assert set.union(*sides.values()) == set("abcdefghi")
    assert sum(map(len, sides.values())) == 9
    kinds = {Path(row["file"]).name: row["kind"] for row in rows(src / "out")}
    assert kinds["z.mp4"] == kinds["y.mp4"] == "same file" and kinds["again"] == "not a file"
    again = split(src, src / "out")
    assert again == sides


# ----------------------------------------------------------------------------------------------------------------- cuts


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Four films of 7.3 s whose frames count and whose sound has another pitch each second."""
    folder = tmp_path_factory.mktemp("films")
    sound = np.concatenate([tone(1, 16000, 300 * (k + 1)) for k in range(8)])[: round(7.3 * 16000)]
    pictures = [numbered(k) for k in range(73)]
    for k, name in enumerate(("one.mp4", "two.mkv", "three.mp4", "four.mp4")):
        write_video(folder / name, pictures[: 73 if k < 3 else 9], fps=10, sound=sound if k < 3 else sound[:14400],
                    container="matroska" if k == 1 else "mp4")  # fmt: skip
    boxes = [{"time": 2.5, "box": [0, 0, 1, 1], "label": MIDS[0], "sounding": True}]
    write_json(folder / "boxes.json", {"one": boxes})
    write_json(folder / "vid2genre.json", {"one": [MIDS[0]], "two_2.000_4.000": [MIDS[1]]})
    return folder


def pitch_at(reader, time):
    sound = reader.sound(time, 16000)[4000:12000].astype(float)
    return np.argmax(np.abs(np.fft.rfft(sound))) * 2


def test_films_are_cut_into_clips_with_their_own_frames_and_sound(tmp_path, films, capsys):
    sides = split(films, tmp_path / "out", "--cut", 2)
    assert "9 clips of 3 recordings" in capsys.readouterr().out
    cuts = [f"{name}_{k}.000_{k + 2}.000" for name in ("one", "two", "three") for k in (0, 2, 4)]
    assert set.union(*sides.values()) == set(cuts)
    assert sorted({clip.split("_")[0] for clip in side} for side in sides.values()) and all(
        len({clip.split("_")[0] for clip in side}) == 1 for side in sides.values()
    )
    for name in SPLITS:
        clips = Clips(tmp_path / "out", name)
        for index, clip in enumerate(clips.ids):
            start = float(clip.split("_")[1])
            with clips.open(index) as reader:
                assert isinstance(reader, ClipReader) and reader.sound_seconds == pytest.approx(2, abs=1e-3)
                assert read_number(reader.frame(0.55, 32)) == round(10 * start) + 5
                assert pitch_at(reader, 0.5) == pytest.approx(300 * (start + 1), abs=4)
    left = {row["id"]: (row["kind"], row["reason"]) for row in rows(tmp_path / "out") if row["id"]}
    assert left["four"] == ("short", "lasts 0.90 s, less than a clip of 2 s")
    assert (
        left["one"][0] == "end of a recording"
        and "1.3" in left["one"][1]
        and set(left) == {*["one", "two", "three", "four"]}
    )
    boxes = tables(tmp_path / "out", "boxes.json")
    assert boxes == {"one_2.000_4.000": [{"time": 0.5, "box": [0, 0, 1, 1], "label": MIDS[0], "sounding": True}]}
    labels = tables(tmp_path / "out", "vid2genre.json")
    assert {clip: mids for clip, mids in labels.items() if mids} == {
        **{clip: [MIDS[0]] for clip in cuts[:3]}, "two_2.000_4.000": [MIDS[1]]
    }  # fmt: skip
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.mp4")}
    assert split(films, tmp_path / "out", "--cut", 2) == sides
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.mp4")}


def test_cuts_may_overlap_or_leave_gaps(tmp_path, films):
    starts = {
        clip.split("_")[1]
        for side in split(films, tmp_path / "a", "--cut", 3, "--every", 1.5).values()
        for clip in side
    }
    assert starts == {"0.000", "1.500", "3.000"}
    starts = {
        clip.split("_")[1] for side in split(films, tmp_path / "b", "--cut", 1, "--every", 5).values() for clip in side
    }
    assert starts == {"0.000", "5.000"}
    for words, said in ((["--every", 2], "give --cut too"), (["--cut", 2, "--by", "move"], "nothing to move")):
        with pytest.raises(UserError, match=said):
            split(films, tmp_path / "c", *words)


# -------------------------------------------------------------------------------------------------- writing, or failing


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(tmp_path, clip, capsys):
    src = fill(tmp_path / "src", clip, *(f"clip {k} x" for k in range(10)), "notes.txt")
    before = everything(tmp_path)
    main([str(src), str(tmp_path / "out"), "--dry_run"])
    said = capsys.readouterr().out
    assert everything(tmp_path) == before
    assert "train: 8 clips" in said and "val: 1 clip" in said and "notes.txt" in said and "nothing was written" in said
    planned = {
        line.split(":")[0]: line.split(": ")[2]
        for line in said.splitlines()
        if " clip" in line and line[:3] in "val tes"
    }
    sides = split(src, tmp_path / "out")
    assert all(sides[name] == {clip} for name, clip in planned.items())


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_where_no_links_can_be_made_copying_is_named_at_once(tmp_path, clip, monkeypatch, number):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    src = fill(tmp_path / "src", clip, "a", "b", "c")
    monkeypatch.setattr(Path, "symlink_to", refuse)
    monkeypatch.setattr(import_clip, "check_clip", lambda *_: pytest.fail("checked before"))
    with pytest.raises(UserError, match=r"links can't be made in .*add --by copy"):
        main([str(src), str(tmp_path / "out")])
    monkeypatch.undo()
    assert split(src, tmp_path / "out", "--by", "copy")["val"]


def test_a_full_disk_stops_the_command_and_is_no_fault_of_a_clip(tmp_path, clip, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    src = fill(tmp_path / "src", clip, "a", "b", "c")
    monkeypatch.setattr(link_files.shutil, "copy2", full)
    with pytest.raises(UserError, match=r"out/.* can't be written \(No space left on device\)"):
        main([str(src), str(tmp_path / "out"), "--by", "copy", "--workers", "1"])
    assert not list((tmp_path / "out").glob("*/video/*.mp4"))
    monkeypatch.undo()
    assert set.union(*split(src, tmp_path / "out", "--by", "copy").values()) == set("abc")
    assert rows(tmp_path / "out") == []
    monkeypatch.setattr(import_clip, "write_wav", full)
    with pytest.raises(UserError, match="can't be written"):
        import_clip.prepare_clip(import_clip.ClipSource("a", "a", src / "a.mp4", None), tmp_path / "out" / "x")
