"""Datasets by lists: each clip in the list's part, benchmarks out of training, names as people have them on disk."""

import csv
import json
import random
from collections import Counter, defaultdict
from math import inf

import pytest
from helpers import make_clip, tone, write_json, write_sound

from data import train_val_split_small
from data.train_val_split_small import main
from dataset.making.lists.list_index import ListIndex
from dataset.making.lists.segments import Segment
from utils.errors import UserError

SUFFIXES = (".mp4", ".mkv", ".webm", ".wav", ".flac", ".txt")
SPLITS = ("train", "val", "test")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
A, B, C, D, E = "---g-f_I2yQ", "RUhOCu3LNXM", "0_8-g2rof7E", "dQw4w9WgXcQ", "abcDEF12345"


@pytest.fixture
def unchecked(monkeypatch):
    """Every clip passes the check, so that empty files do."""
    monkeypatch.setattr(
        train_val_split_small, "prepare_clips", lambda sources, p, o, known, *_: ({*sources, *known}, [])
    )


def fill(folder, *names):
    """Write a file of its own for each name; one without a suffix is a pair of mp4 and wav."""
    for name in names:
        for file in [name] if name.endswith(SUFFIXES) else [f"{name}.mp4", f"{name}.wav"]:
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file)
    return folder


def split(src, out, *words):
    """{split: {clip: labels}} of what the command makes."""
    main([str(src), str(out), "--workers", "1", *map(str, words)])
    return {name: json.loads((out / name / "vid2genre.json").read_text()) for name in SPLITS if (out / name).is_dir()}


def left_out(out):
    with open(out / "left_out.csv", encoding="utf-8", newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file) if row["id"]}


def write(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


# ------------------------------------------------------------------------------------------------- a thousand clips


def make_vggsound(folder, count, seed=0):
    """Rows of a made-up VGGSound (id, start, label, part), every third video with several cuts, and its files."""
    draw = random.Random(seed)
    rows = []
    while len(rows) < count:
        video, part = "".join(draw.choices(LETTERS, k=11)), "train" if draw.random() < 0.9 else "test"
        starts = draw.sample(range(0, 500, 10), draw.choice((1, 1, 3)))
        rows += [(video, start, f"label, number {draw.randrange(309)}", part) for start in starts]
    rows = rows[:count]
    names = [lambda v, s: f"{v}_{s:06d}", lambda v, s: f"{v}_{s}_{s + 10}", lambda v, s: f"{v}_{s}.000_{s + 10}.000",
             lambda v, s: f"{v}_{s * 1000}_{(s + 10) * 1000}"]  # fmt: skip
    clips = [names[k % 4](video, start) for k, (video, start, *_) in enumerate(rows)]
    fill(folder, *(f"class {k % 7}/{clip}" for k, clip in enumerate(clips)))
    with open(folder.parent / "vggsound.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return dict(zip(clips, rows, strict=True))


def test_a_thousand_clips_of_vggsound(tmp_path, unchecked, capsys):
    rows = make_vggsound(tmp_path / "src", 1000)
    videos = Counter(video for video, *_ in rows.values())
    banned = {row[0] for row in list(rows.values())[::25]} | {max(videos, key=lambda video: videos[video])}
    write_json(tmp_path / "vggss.json", [{"file": f"{video}_000000", "class": "x"} for video in sorted(banned)])
    words = ("--by_list", tmp_path / "vggsound.csv", "--exclude", tmp_path / "vggss.json")
    made = split(tmp_path / "src", tmp_path / "out", *words)

    where = {clip: part for part, clips in made.items() for clip in clips}
    assert sum(map(len, made.values())) == len(where)  # none is there twice
    out = left_out(tmp_path / "out")
    assert where.keys() | out.keys() == rows.keys() and not where.keys() & out.keys()  # none is lost
    for clip, (video, _, label, part) in rows.items():
        if part == "test":
            assert where[clip] == "test"
        elif video in banned:
            assert out[clip]["kind"] == "excluded" and "vggss.json" in out[clip]["reason"]
        else:
            assert where[clip] in ("train", "val")
        if clip in where:
            assert made[where[clip]][clip] == [label]
    sides = defaultdict(set)
    for clip, part in where.items():
        sides[rows[clip][0]].add(part)
    assert all(len(side) == 1 for side in sides.values())
    assert len(made["val"]) == pytest.approx(0.1 * (len(made["val"]) + len(made["train"])), abs=2)
    said = capsys.readouterr().out
    assert f"{len(out)} left out: {len(out)} excluded (listed in" in said
    assert "drawn from the list's train by video: val (0.1 of the clips); not used: --test" in said

    # The same command changes nothing; new clips of the list come to the side of their video, known ones stay.
    files = sorted(map(str, (tmp_path / "out").rglob("*")))
    assert split(tmp_path / "src", tmp_path / "out", *words) == made
    assert sorted(map(str, (tmp_path / "out").rglob("*"))) == files
    lone = next(clip for clip in made["val"] if videos[rows[clip][0]] > 1)
    others = [clip for clip in made["val"] if rows[clip][0] == rows[lone][0]]
    src = tmp_path / "later"
    hidden = set(others[1:]) | set(list(rows)[::3]) - {lone}
    for clip in rows:
        fill(src, *([] if clip in hidden else [clip]))
    first = split(src, tmp_path / "out2", *words)
    before = {clip: part for part, clips in first.items() for clip in clips}
    fill(src, *hidden)
    after = {c: part for part, clips in split(src, tmp_path / "out2", *words).items() for c in clips}
    assert after.keys() == where.keys() and before.items() <= after.items()
    sides = {(rows[clip][0], part) for clip, part in after.items()}
    assert len(sides) == len({video for video, _ in sides})


# ------------------------------------------------------------------------------------------------------------ names

ROWS = [
    Segment(A, 30, 40, ("one",), "train"),
    Segment(B, 0, 10, ("two",), "train"),
    Segment(B, 50, 60, ("three",), "train"),
    Segment(C, 0, inf, ("four",), "test"),
    Segment("my film", 0, inf, ("five",), "test"),
    Segment(D, 12.345, 20, ("six",), "train"),
]


@pytest.mark.parametrize(("name", "labels"), [
    (f"{A}_000030", "one"), (f"{A}_30_40", "one"), (f"{A}_30.000_40.000", "one"), (f"{A}_30000_40000", "one"),
    (A, "one"), (f"{A}_30", "one"), (f"A title [{A}]", "one"), (f"{A}_30.0_40.0", "one"), (f"{A}_32_38", "one"),
    (f"{A}_000031", None), (f"{A}_20_35", None), (f"{A}x", None), (A.lower(), None), ("other", None),
    (f"{B}_000050", "three"), (f"{B}_0_10", "two"), (B, "two three"), (f"{B}_000010", None),
    (C, "four"), (f"{C}_100_110", "four"), (f"{C}_000700", "four"), (f"{C}_100000_110000", "four"),
    ("my film", "five"), ("my film_30.000_40.000", "five"), ("my film_2", None), ("my film_30_40", None),
    (f"{D}_12.345_20.000", "six"), (f"{D}_12345_20000", "six"),
])  # fmt: skip
def test_a_name_on_disk_is_found_in_the_list(name, labels):
    match = ListIndex(ROWS).find(name)
    assert (match and " ".join(match.labels)) == labels


def test_a_cut_is_found_by_the_time_of_its_video_or_of_the_file_that_it_is_cut_from():
    index = ListIndex(ROWS)
    assert index.find(A, 30, 40).labels == ("one",) and index.find(A, 31, 36).labels == ("one",)
    assert index.find(A, 0, 10) is None
    assert index.find(f"{A}_000030", 0, 5).labels == ("one",) and index.find(C, 90, 95).labels == ("four",)


def test_files_that_say_too_little_are_left_out_with_the_reason(tmp_path, unchecked, capsys):
    rows = [f"{A},30,one,train", f"{B},0,two,train", f"{B},50,three,train", f"{C},1,x,train", f"{C},9,x,test",
            f"{D},5,y,test", f"{D},50,y,test"]  # fmt: skip
    lst = write(tmp_path / "vggsound.csv", *rows, f"{E},70,z,train")
    src = fill(tmp_path / "src", A, f"{A}_30_40.mkv", f"{B}.webm", C, D, "holiday")
    made = split(src, tmp_path / "out", "--by_list", lst, "--val", 0)
    assert made == {"train": {A: ["one"]}, "test": {D: ["y"]}}
    out = left_out(tmp_path / "out")
    assert {name: row["kind"] for name, row in out.items()} == {
        f"{A}_30_40": "same clip", B: "several clips", C: "several clips", "holiday": "not listed"}  # fmt: skip
    said = capsys.readouterr().out
    assert f"{B}: the list has 2 clips of this video with different labels" in said
    assert f"{C}: the list has 2 clips of this video, in test and train" in said
    assert "holiday: vggsound.csv does not name it" in said
    assert "not on disk: 5 of 8 of vggsound.csv (train 4, test 1)" in said


# ---------------------------------------------------------------------------------------------- parts and their draw


def test_one_list_for_each_part_as_ave_and_lvs_have_them(tmp_path, unchecked):
    head = "Category&VideoID&Quality&StartTime&EndTime"
    train = write(tmp_path / "trainSet.txt", head, f"bell&{A}&good&0&4", f"dog&{A}&good&3&9", f"bell&{B}&good&0&9")
    val, test = write(tmp_path / "v.txt", f"cat&{C}&good&0&1"), write(tmp_path / "t.txt", f"cat&{D}&good&0&1")
    words = ("--by_list", f"train={train}", f"test={test}", f"val={val}")
    assert split(fill(tmp_path / "src", A, B, C, D), tmp_path / "out", *words) == {
        "train": {A: ["bell", "dog"], B: ["bell"]}, "val": {C: ["cat"]}, "test": {D: ["cat"]}}  # fmt: skip
    # Lists of ids have no labels: a list of labels gives them.
    ids = write(tmp_path / "144k.txt", f"{A}_000030", f"{B}_000001"), write(tmp_path / "test.txt", f"{C}_000002")
    labels = write(tmp_path / "vggsound.csv", f"{A},30,one,train", f"{C},2,two,train", f"{B},1,three,test")
    words = ("--by_list", f"train={ids[0]}", f"test={ids[1]}", "--csv", labels, "--val", 0)
    src = fill(tmp_path / "vgg", f"{A}_000030", f"{B}_000001", f"{C}_000002")
    made = {"train": {f"{A}_000030": ["one"], f"{B}_000001": ["three"]}, "test": {f"{C}_000002": ["two"]}}
    assert split(src, tmp_path / "out2", *words) == made
    (tmp_path / "test.txt").write_text(f"{C}_000002\n{D}\n")
    with pytest.raises(UserError, match=r"made with other settings \(by_list\)"):
        split(src, tmp_path / "out2", *words)


def test_parts_that_the_list_lacks_are_drawn_by_video(tmp_path, unchecked, capsys):
    videos = [f"instrument{k}" for k in range(10)]  # ids, although they look like words with a number
    lst = write(tmp_path / "music.json", json.dumps({"videos": {"flute": videos}}))
    src = fill(tmp_path / "src", *(f"{video}_{start}_{start + 10}" for video in videos for start in (0, 10, 20)))
    made = split(src, tmp_path / "out", "--by_list", f"train={lst}", "--val", 0.2, "--test", 0.1)
    assert {part: len(clips) for part, clips in made.items()} == {"train": 21, "val": 6, "test": 3}
    assert len({(clip[:11], part) for part, clips in made.items() for clip in clips}) == 10
    assert "drawn from the list's train by video: val (0.2 of the clips), test (0.1 of the clips)" in (
        capsys.readouterr().out
    )


def test_a_list_that_tears_a_video_apart_is_followed_and_said(tmp_path, unchecked, capsys):
    lst = write(tmp_path / "l.csv", "id,start,end,label,split", f"{A},0,10,x,train", f"{A},10,20,y,test",
                f"{B},0,10,x,train", f"{C},0,5,z,")  # fmt: skip
    src = fill(tmp_path / "src", f"{A}_0_10", f"{A}_10_20", f"{B}_0_10", f"{C}_0_5")
    made = split(src, tmp_path / "out", "--by_list", lst, "--val", 0)
    assert made == {"train": {f"{A}_0_10": ["x"], f"{B}_0_10": ["x"]}, "test": {f"{A}_10_20": ["y"]}}
    said = capsys.readouterr().out
    assert f"warning: 1 video has clips in two parts of l.csv, as the list says; such as {A}" in said
    assert f"{C}_0_5: the list gives it no part" in said
    both = write(tmp_path / "train.txt", A, B), write(tmp_path / "test.txt", A, C)
    made = split(fill(tmp_path / "two", A, B, C), tmp_path / "out2", "--val", 0, "--by_list", f"train={both[0]}",
                 f"test={both[1]}")  # fmt: skip
    assert made == {"train": {B: []}, "test": {A: [], C: []}}
    assert "warning: 1 clip is in two of the lists: test goes before val" in capsys.readouterr().out


def test_cuts_of_whole_videos_take_their_part_and_label(tmp_path):
    src = tmp_path / "src"
    for k, name in enumerate((A, B, f"{C}_000030")):
        make_clip(src / "x", name, 2.4 + k / 10, aac=True)
    lst = write(tmp_path / "l.csv", "id,label,split", f"{A},one,train", f"{B},two,test")
    vgg = write(tmp_path / "vgg.csv", f"{C},30,three,train", f"{A},0,one,test")
    made = split(src, tmp_path / "out", "--by_list", lst, "--cut", 1, "--val", 0)
    assert made == {
        "train": {f"{A}_0.000_1.000": ["one"], f"{A}_1.000_2.000": ["one"]},
        "test": {f"{B}_0.000_1.000": ["two"], f"{B}_1.000_2.000": ["two"]},
    }
    assert {row["kind"] for name, row in left_out(tmp_path / "out").items() if name.startswith(f"{C}_000030_")} == {
        "not listed"
    }
    made = split(src, tmp_path / "out2", "--by_list", vgg, "--cut", 1, "--val", 0)
    assert sorted(made["train"]) == [f"{C}_000030_0.000_1.000", f"{C}_000030_1.000_2.000"]
    assert sorted(made["test"]) == [f"{A}_0.000_1.000", f"{A}_1.000_2.000"]


def test_a_moved_clip_keeps_its_part(tmp_path, unchecked):
    lst = write(tmp_path / "vggsound.csv", f"{A},30,one,train", f"{B},0,two,test", f"{C},5,three,train")
    src = fill(tmp_path / "src", f"{A}_000030", f"{B}_000000")
    words = ("--by_list", lst, "--by", "move", "--val", 0)
    split(src, tmp_path / "out", *words)
    assert not list(src.glob("*.mp4"))
    fill(src, f"{C}_5_15")
    assert split(src, tmp_path / "out", *words) == {
        "train": {f"{A}_000030": ["one"], f"{C}_5_15": ["three"]}, "test": {f"{B}_000000": ["two"]}}  # fmt: skip


# ------------------------------------------------------------------------------ exclude, sounds, labels of other lists


def test_a_benchmark_is_left_out_of_a_random_split_with_all_cuts(tmp_path, unchecked, capsys):
    names = [f"{video}_{start:06d}" for video in (A, B, C, D, E) for start in (0, 10)]
    src = fill(tmp_path / "src", *names, f"{A}-extra", f"title [{B}]", "mine")
    bench = write(tmp_path / "ids.txt", f"{A}_90", f"{B}_30000_40000", "mine")
    made = split(src, tmp_path / "out", "--exclude", bench)
    clips = {clip for of in made.values() for clip in of}
    assert clips == {name for name in names if name[:11] in (C, D, E)}
    out = {name for name, row in left_out(tmp_path / "out").items()}
    assert out == {*names, f"{A}-extra", f"title [{B}]", "mine"} - clips
    assert "7 excluded" in capsys.readouterr().out
    with pytest.raises(UserError, match="leaves out all 13 clips"):
        split(src, tmp_path / "out2", "--exclude", write(tmp_path / "all.txt", A, B, C, D, E, "mine"))


def test_sounds_of_another_folder_belong_to_the_videos_of_their_names(tmp_path, unchecked, capsys):
    src = fill(tmp_path / "src", "a.mp4", "b", "c.mp4", "d/e.mp4")
    fill(tmp_path / "wavs", "x/a.wav", "b.wav", "E.wav", "z.wav", "notes.txt")
    split(src, tmp_path / "out", "--audio", tmp_path / "wavs")
    wavs = {path.name: path.resolve() for path in (tmp_path / "out").glob("*/audio/*.wav")}
    names = {"a.wav": "x/a.wav", "b.wav": "b.wav", "e.wav": "E.wav"}
    assert wavs == {name: tmp_path / "wavs" / file for name, file in names.items()}
    assert "videos with a sound there: 3; with their own: 1; other sounds: 1" in capsys.readouterr().out
    fill(tmp_path / "wavs", "y/a.flac")
    with pytest.raises(UserError, match=r"two sounds of one name, x/a.wav and y/a.flac: remove or rename"):
        split(src, tmp_path / "out2", "--audio", tmp_path / "wavs")
    with pytest.raises(UserError, match="holds no sound"):
        split(src, tmp_path / "out2", "--audio", fill(tmp_path / "none", "a.txt"))


def test_the_sound_of_another_folder_is_what_is_checked(tmp_path):
    for name in ("a x", "b x", "c x"):
        make_clip(tmp_path / "src", name, 1.2, aac=True)
        write_sound(tmp_path / "wavs" / f"{name}.wav", tone(1.2, 8000), 8000)
    (tmp_path / "wavs" / "b x.wav").write_bytes(b"junk")
    made = split(tmp_path / "src", tmp_path / "out", "--audio", tmp_path / "wavs", "--val", 0)
    assert {clip for of in made.values() for clip in of} == {"a x", "c x"}


def test_labels_come_from_a_list_of_any_format_and_by_a_map(tmp_path, unchecked):
    lst = write(tmp_path / "vggsound.csv", f"{A},30,playing cello,train", f"{A},90,rain,train", f"{B},0,none,test")
    src = fill(tmp_path / "src", f"{A}_30_40", f"{A}_000090", B, C)
    made = split(src, tmp_path / "out", "--csv", lst, "--val", 0)
    assert made["train"] | made["test"] == {
        f"{A}_30_40": ["playing cello"], f"{A}_000090": ["rain"], B: ["none"], C: []}  # fmt: skip
    table = write(tmp_path / "map.csv", "label,mid", "playing cello,/m/01xqw", "none,")
    made = split(src, tmp_path / "out2", "--by_list", lst, "--val", 0, "--label_map", table, "--format", "vggsound")
    assert made == {"train": {f"{A}_30_40": ["/m/01xqw"], f"{A}_000090": ["rain"]}, "test": {B: ["none"]}}


@pytest.mark.parametrize(("lines", "words", "said"), [
    ([A, B], ["--by_list", "l"], r"l has no parts.*train=.*test="),
    ([f"{A},0,x,test"], ["--by_list", "train=l"], r"has parts of its own \(test\): give it without train="),
    ([f"{B},0,x,test"], ["--by_list", "l"], rf"gives none of the clips a part, such as {A}.*{B} from 0 s to 10 s"),
    ([A], ["--by_list", "train=l", "--format", "ave"], "line 1 is not"),
    ([A], ["--by_list", "train=m"], "can't be read"),
    ([A], ["--exclude", "m"], "can't be read"),
    ([A], ["--format", "ids"], "--format is the format of the list"),
    ([A], ["--by_list", "train=l", "--val", "1"], "leave some clips for training"),
    ([A], ["--label_map", "l"], "is not a label map"),
    ([A], ["--audio", "m"], "can't be listed"),
    ([A, B], ["--by_list", "train=l", "--csv", "l"], "l has no labels, as it is taken for ids: leave out --csv"),
])  # fmt: skip
def test_a_mistake_is_told_and_nothing_is_made(tmp_path, monkeypatch, lines, words, said):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "l", *lines)
    with pytest.raises(UserError, match=said) as error:
        main([str(fill(tmp_path / "src", A)), str(tmp_path / "out"), *words])
    assert not (tmp_path / "out").exists() and "\n" not in str(error.value)
