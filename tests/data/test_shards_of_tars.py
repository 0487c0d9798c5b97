"""Shards of WebDataset's tars that others made: the same samples as of the folder, and nothing is lost unsaid."""

import csv
import gzip
import io
import json
import tarfile

import hanging
import numpy as np
import pytest
import soundfile
from helpers import MIDS, make_clip, numbered, read_left_out, tone, write_genres
from PIL import Image

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


def test_pictures_with_sounds_are_clips_too(tmp_path):
    files = {}
    for k, (clip, picture, sound) in enumerate((("a", "png", "wav"), ("b", "webp", "flac"), ("c", "jpg", "mp3"))):
        content = io.BytesIO()
        Image.fromarray(numbered(k, (64, 48))).save(content, {"jpg": "JPEG"}.get(picture, picture))
        files[f"{clip}.{picture}"] = content.getvalue()
        soundfile.write(tmp_path / f"{clip}.{sound}", tone(1.5, 8000, 300 + k), 8000)
        files[f"{clip}.{sound}"] = (tmp_path / f"{clip}.{sound}").read_bytes()
    folder = tmp_path / "folder/train"
    for name in ("a.png", "b.webp", "a.wav", "b.flac"):  # a folder takes no mp3
        path = folder / ("audio" if name.endswith(("wav", "flac")) else "frames") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[name])
    write_tar(tmp_path / "tars/0.tar", files)
    build(tmp_path / "folder", tmp_path / "of_folder")
    build(tmp_path / "tars", tmp_path / "of_tars")
    assert open_clips(tmp_path / "of_tars", "train").ids == ["a", "b", "c"]
    write_tar(tmp_path / "two/0.tar", {name: content for name, content in files.items() if name[0] != "c"})
    build(tmp_path / "two", tmp_path / "of_two")
    assert_same(tmp_path / "of_folder", tmp_path / "of_two")


def test_what_can_not_become_a_clip_is_listed_with_its_reason(clips, tmp_path, films, capsys):
    mp4 = videos(clips)["a"]
    path = tmp_path / "tars/00.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w") as tar:
        add(tar, "sub/good.mp4", mp4)
        add(tar, "good2.mp4", mp4)
        add(tar, "good2.mkv", mp4)
        add(tar, "good2.txt", b"a caption")
        add(tar, "good2.json", b'{"labels": "/m/04rlf"}')
        add(tar, "mute.mp4", films["silent"])
        add(tar, "damaged.mp4", mp4[: len(mp4) // 2])
        add(tar, "alone.wav", films["sound"])
        add(tar, "picture.jpg", b"x")
        add(tar, "only.json", b"{}")
        add(tar, "table.mp4", mp4)
        add(tar, "table.json", b"[1]")
        add(tar, "../../outside.mp4", mp4)
        add(tar, "/etc/passwd.mp4", mp4)
        add(tar, "good2.mp4", mp4)
        add(tar, "empty.mp4", b"")
        add(tar, "._good.mp4", b"resource fork")
        add(tar, "link.mp4", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(tar, "device.mp4", b"", type=tarfile.CHRTYPE)
    write_tar(tmp_path / "tars/01.tar", {"x.mp4": mp4, "x.json": b'{"videoid": "good"}'})
    build(tmp_path / "tars", tmp_path / "shards")
    assert open_clips(tmp_path / "shards", "train").ids == ["good", "good2"]  # without data.on_error skip
    assert open_clips(tmp_path / "shards", "train").labels == [[], ["/m/04rlf"]]
    found = {key.removeprefix(f"{tmp_path}/tars/"): kind for key, kind in kinds(tmp_path / "shards").items()}
    assert found == {
        "00.tar: mute.mp4": "no sound", "00.tar: damaged.mp4": "damaged", "00.tar: alone": "no picture",
        "00.tar: picture": "no sound", "00.tar: only": "missing", "00.tar: table": "damaged",
        "00.tar: ../../outside.mp4": "unsafe name", "00.tar: /etc/passwd.mp4": "unsafe name",
        "00.tar: good2.mp4": "duplicate", "00.tar: good2.mkv": "unused",
        "00.tar: empty": "damaged", "00.tar: ._good.mp4": "hidden",
        "00.tar: link.mp4": "no file", "00.tar: device.mp4": "no file", "01.tar: x": "duplicate",
    }  # fmt: skip
    assert "15 left out" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shards", "tars"]
    assert not list((tmp_path / "shards").rglob("*.tmp"))
    with pytest.raises(UserError, match=r"00.tar: damaged.mp4 .*: leave out --on_error stop"):
        build(tmp_path / "tars", tmp_path / "strict", "--on_error", "stop")
    with pytest.raises(UserError, match=r"built without clip (damaged|mute)"):
        build(tmp_path / "tars", tmp_path / "shards", "--on_error", "stop")


def kinds(shards):
    with open(shards / "left_out.csv", encoding="utf-8", newline="") as file:
        return {row["file"]: row["kind"] for row in csv.DictReader(file)}


@pytest.mark.parametrize("damage", ["cut", "header", "end", "second"])
def test_the_whole_clips_of_a_damaged_tar_are_kept_and_it_is_named(clips, tmp_path, damage, capsys):
    path = tmp_path / "tars/00.tar"
    write_tar(path, video2dataset(clips))
    content = path.read_bytes()
    with tarfile.open(path) as tar:
        begin = tar.getmembers()[6].offset  # of the third clip's files
    path.write_bytes({
        "cut": content[: begin + 2000],
        "header": content[:begin] + b"\xff" * 512 + content[begin + 512 :],
        "end": content[:begin],
        "second": content + content,
    }[damage])  # fmt: skip
    build(tmp_path / "tars", tmp_path / "shards")
    kept = {"cut": "ab", "header": "a", "end": "a", "second": "abc"}  # the last one before the damage may lack files
    assert open_clips(tmp_path / "shards", "train").ids == list(kept[damage])
    assert f"warning: {path} is damaged or truncated at byte" in capsys.readouterr().err
    assert kinds(tmp_path / "shards")[str(path)] == "damaged"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"not a tar" * 200, "00.tar is not a tar, and the tars of .* hold no clip besides"),
        (gzip.compress(b"x" * 3000), "00.tar is compressed: unpack it to a .tar first"),
        (b"", "00.tar is empty"),
        (bytes(10240), "the tars of .* hold no clip"),
    ],
    ids=["no tar", "compressed", "empty", "zeros"],  # compressed bytes hold the time: each worker would name it anew
)
def test_a_tar_without_clips_is_refused_in_one_sentence(tmp_path, content, said):
    (tmp_path / "00.tar").write_bytes(content)
    with pytest.raises(UserError, match=said) as error:
        build(tmp_path, tmp_path / "shards")
    assert "\n" not in str(error.value) and not (tmp_path / "shards").exists()


@pytest.mark.parametrize("packed", ["train/1.tar.gz", "val/1.tgz", "1.tar.zst"])
def test_a_compressed_tar_beside_others_is_refused(clips, tmp_path, packed):
    for split in ("train", "val"):
        write_tar(tmp_path / split / "0.tar", video2dataset(clips))
        (tmp_path / split / "0.tar.idx").write_text("0")  # an index is none
    (tmp_path / packed).write_bytes(gzip.compress(b"x"))
    with pytest.raises(UserError, match=f"{packed} is compressed: unpack"):
        build(tmp_path, tmp_path / "shards")


def test_sounds_alone_are_sent_to_what_takes_them(tmp_path, films):
    write_tar(tmp_path / "0.tar", {"a.flac": films["sound"], "a.json": b"{}", "b.wav": films["sound"]})
    with pytest.raises(UserError, match=r"hold sounds alone, and a clip needs frames: embed.py and eval.py"):
        build(tmp_path, tmp_path / "shards")


def test_splits_are_folders_or_named(clips, tmp_path, capsys):
    files = video2dataset(clips)
    write_tar(tmp_path / "flat/0.tar", files)
    build(tmp_path / "flat", tmp_path / "shards", "--split", "val")
    assert open_clips(tmp_path / "shards", "val").ids == list("abcd")
    write_tar(tmp_path / "flat/test/0.tar", files)
    with pytest.raises(UserError, match=r"tars lie in .*flat and in .*flat/test: move them all"):
        build(tmp_path / "flat", tmp_path / "other")
    write_tar(tmp_path / "split/train/0.tar", files)
    with pytest.raises(UserError, match=r"splits as folders \(train\): leave out --split val"):
        build(tmp_path / "split", tmp_path / "other", "--split", "val")
    write_tar(tmp_path / "split/test/0.tar", {"a.mp4": files["000000000.mp4"]})
    build(tmp_path / "split", tmp_path / "two")
    assert "warning: test and train share 1 clip, such as a" in capsys.readouterr().err
    write_tar(tmp_path / "split/mine/0.tar", files)
    with pytest.raises(UserError, match=r"split/mine holds tars, but is no split"):
        build(tmp_path / "split", tmp_path / "other")
    with pytest.raises(UserError, match="is a dataset, which has its splits and labels: leave out --csv"):
        build(clips, tmp_path / "other", "--csv", "list.csv")


def test_ids_are_of_the_video_and_labels_of_the_list(clips, tmp_path, capsys):
    mp4, video = videos(clips)["a"], "abcdefghijk"
    about = {
        "0": {"videoID": video, "clips": [["00:00:30.000", "00:00:40.000"]], "labels": ["its own"]},
        "1": {"video_id": video, "clips": [[40, 50.5]]},
        "2": {"id": "../up", "url": "https://www.youtube.com/watch?v=lmnopqrstuv"},
        "3": {"id": 5, "label": "a label, with a comma"},
    }
    files = {f"{k}.json": json.dumps(value).encode() for k, value in about.items()}
    write_tar(tmp_path / "0.tar", files | {f"{k}.mp4": mp4 for k in about})
    (tmp_path / "list.csv").write_text(f"{video},30,listed,train\nlmnopqrstuv,7,by its address,train\n")
    build(tmp_path, tmp_path / "shards", "--csv", tmp_path / "list.csv")
    found = open_clips(tmp_path / "shards", "train")
    assert dict(zip(found.ids, found.labels, strict=True)) == {
        f"{video}_30.000_40.000": ["listed"], f"{video}_40.000_50.500": [], "2": ["by its address"],
        "3": ["a label, with a comma"],
    }  # fmt: skip
    assert "VGGSound" in capsys.readouterr().out


def test_a_clip_that_hangs_is_left_out_and_the_others_are_stored(clips, tmp_path, monkeypatch):
    monkeypatch.setattr(build_shards, "build_shard", hanging.build)
    mp4 = videos(clips)["a"]
    write_tar(tmp_path / "tars/0.tar", {f"{name}.mp4": mp4 for name in ("a", hanging.NAME, "z")})
    build(tmp_path / "tars", tmp_path / "shards", "--time_limit", "2")
    assert open_clips(tmp_path / "shards", "train").ids == sorted(("a", "z"))
    (row,) = kinds(tmp_path / "shards").items()
    assert row == (f"{tmp_path}/tars/0.tar: {hanging.NAME}.mp4", "time limit")
    assert not list((tmp_path / "shards").rglob("*.tmp"))
