"""embed.py once more on the same folder: new and changed files alone are embedded, what is gone is dropped."""

import csv
import errno
import os
import shutil

import numpy as np
import pytest
from helpers import make_clip, read_left_out, small_checkpoint, tone, write_sound

import embed
from collection import arrays, joining, parts, storage
from evaluation import file_embedding
from evaluation.speed.growth import embed as growth
from utils.errors import UserError

RATE = 8000


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return small_checkpoint(tmp_path_factory.mktemp("net") / "best.pt", **{"model.name": "AVOLNet"})


@pytest.fixture
def folder(tmp_path):
    """A clip, two sounds, a damaged one and a text."""
    root = tmp_path / "in"
    make_clip(root, "clip", seconds=2.0, fps=10, rate=RATE, pitch=300)
    for name, pitch in (("b", 500), ("d", 700)):
        write_sound(root / f"{name}.wav", tone(2.2, RATE, pitch), RATE)
    (root / "bad.wav").write_bytes(b"RIFF....")
    (root / "notes.txt").write_text("x")
    return root


@pytest.fixture
def embedded(monkeypatch):
    """The names of the files that are embedded, in order."""
    usual, names = file_embedding.embed_files, []

    def listed(net, items, *rest):
        names.extend(item.name for item in items)
        return usual(net, items, *rest)

    monkeypatch.setattr(embed, "embed_files", listed)
    return names


def run(net, folder, name="emb", *more):
    return embed.main(["--checkpoint", str(net), "--input", str(folder), "--out", str(folder.parent / name), *more])


def write_new_sound(path, pitch, seconds=2.2):
    """Write a sound whose time of modification differs from that of an older one."""
    write_sound(path, tone(seconds, RATE, pitch), RATE)
    os.utime(path, ns=(1, 1))


def assert_as_if_embedded_at_once(net, folder, more=()):
    """The collection equals one that is embedded anew, but for the rounding of other batches."""
    again, anew = storage.load_collection(folder.parent / "emb.npz"), run(net, folder, "anew", *more)
    for name in ("has_frame", "has_sound", "times", "files"):
        assert np.array_equal(getattr(again, name), getattr(anew, name)), name
    for name in ("frames", "sounds", *(["norms", "maps"] if more else [])):
        np.testing.assert_allclose(getattr(again, name), getattr(anew, name), atol=2e-2 if name == "maps" else 1e-3)
    assert again.about["files"] == anew.about["files"]
    for end in (".csv", "_left_out.csv"):
        assert (folder.parent / f"emb{end}").read_text() == (folder.parent / f"anew{end}").read_text()
    assert not (folder.parent / "emb.parts").exists()


def content(folder):
    """All files of the collection."""
    return {path.name: path.read_bytes() for path in folder.parent.glob("emb*") if path.is_file()}


def test_of_an_unchanged_folder_nothing_is_embedded(net, folder, embedded, capsys):
    first = run(net, folder)
    before = content(folder)
    embedded.clear()
    found = run(net, folder)
    assert embedded == [] and content(folder) == before
    assert found.about == first.about and np.array_equal(found.sounds, first.sounds)
    assert "nothing is new" in (said := capsys.readouterr().out) and "4 files" in said and "6 rows" in said


@pytest.mark.parametrize("more", [(), ("--maps",)])
def test_new_and_changed_files_are_embedded_and_removed_ones_dropped(net, folder, embedded, capsys, more):
    run(net, folder, "emb", *more)
    embedded.clear()
    write_new_sound(folder / "a.wav", 900)  # before all others, between and behind them
    write_new_sound(folder / "c.wav", 1100)
    make_clip(folder, "zoo", seconds=2.0, fps=10, rate=RATE, pitch=400)
    write_new_sound(folder / "d.wav", 1300, 3.2)
    (folder / "b.wav").unlink()
    run(net, folder, "emb", *more)
    assert embedded == ["a.wav", "c.wav", "d.wav", "video/zoo.mp4"]
    assert "files: 3 new, 1 changed, 1 removed, 2 unchanged" in capsys.readouterr().out
    rows = list(csv.DictReader((folder.parent / "emb.csv").open()))
    assert [row["time"] for row in rows if row["file"] == "d.wav"] == ["0.500", "1.500", "2.500"]
    assert not [row for row in rows if row["file"] == "b.wav"]
    assert_as_if_embedded_at_once(net, folder, more)


def test_files_that_are_gone_are_dropped_though_nothing_is_embedded(net, folder, embedded, capsys):
    run(net, folder)
    embedded.clear()
    (folder / "d.wav").unlink()
    (folder / "bad.wav").unlink()
    run(net, folder)
    assert embedded == [] and "0 new, 0 changed, 2 removed, 2 unchanged" in capsys.readouterr().out
    assert_as_if_embedded_at_once(net, folder)


def test_a_clip_whose_sound_has_changed_is_embedded_again(net, folder, embedded):
    before = run(net, folder)
    embedded.clear()
    write_new_sound(folder / "audio" / "clip.wav", 2000, 2.0)
    found = run(net, folder)
    assert embedded == ["video/clip.mp4"]
    row = int(np.flatnonzero(found.has_frame)[0])
    assert np.abs(found.sounds[row] - before.sounds[row]).max() > 0.01


def test_a_file_that_was_left_out_is_tried_again_when_it_changes_or_its_permissions_do(net, folder, embedded):
    run(net, folder)
    embedded.clear()
    (folder / "bad.wav").chmod(0o600)
    run(net, folder)
    assert embedded == ["bad.wav"] and "bad.wav" in read_left_out(folder.parent / "emb_left_out.csv")
    write_new_sound(folder / "bad.wav", 800)
    run(net, folder)
    assert embedded == ["bad.wav"] * 2 and "bad.wav" not in read_left_out(folder.parent / "emb_left_out.csv")
    assert_as_if_embedded_at_once(net, folder)


def test_a_file_that_was_left_out_is_tried_again_with_another_time_limit_also_of_an_interrupted_run(
    net, folder, embedded, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(embed, "finish_collection", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(net, folder)
    embedded.clear()
    for limit in ("100", "200"):
        run(net, folder, "emb", "--time_limit", limit)
    assert embedded == ["bad.wav"] * 2


def test_a_new_file_of_no_known_suffix_is_listed_as_left_out_though_nothing_is_new(net, folder, embedded):
    run(net, folder)
    embedded.clear()
    (folder / "more.txt").write_text("x")
    run(net, folder)
    assert embedded == []
    assert sorted(read_left_out(folder.parent / "emb_left_out.csv")) == ["bad.wav", "more.txt", "notes.txt"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (["--hop", "0.5"], "hop"), (["--pad"], "pad"), (["--maps"], "maps"), (["--eval.flip_tta", "true"], "settings"),
        (["--checkpoint", "other"], "checkpoint"), (["--input", "other"], "input"),
    ],
)  # fmt: skip
def test_another_checkpoint_setting_or_folder_is_refused_and_changes_nothing(net, folder, embedded, change, word):
    run(net, folder)
    before = content(folder)
    if word == "checkpoint":
        small_checkpoint(folder.parent / "other", seed=1, **{"model.name": "AVOLNet"})
        change = ["--checkpoint", str(folder.parent / "other")]
    if word == "input":
        change = ["--input", str(shutil.copytree(folder, folder.parent / "copy"))]
    embedded.clear()
    with pytest.raises(UserError, match=rf"emb\.npz already exists with another {word}: choose another --out"):
        run(net, folder, "emb", *change)
    assert content(folder) == before and embedded == []


def test_the_advice_of_a_lack_of_memory_does_not_make_it_another_collection(net, folder, embedded):
    run(net, folder)
    write_new_sound(folder / "a.wav", 900)
    run(net, folder, "emb", "--eval.batch_size", "2")
    assert embedded[-1] == "a.wav"


def test_a_collection_of_an_earlier_version_loads_and_is_not_overwritten(net, folder, embedded):
    about = run(net, folder).about
    path = folder.parent / "emb.npz"
    with np.load(path) as stored:
        old = {name: stored[name] for name in stored if name != "stamps"}
    np.savez(path, **old)  # as it was written then
    loaded = storage.load_collection(path)
    assert np.array_equal(loaded.frames, old["frames"]) and loaded.about == about
    embedded.clear()
    with pytest.raises(UserError, match="from an earlier version, which did not note when files change"):
        run(net, folder)
    assert embedded == [] and storage.load_collection(path).about == about


# ------------------------------------------------------------------------------------- kills, full disks, damaged files


@pytest.mark.parametrize("step", range(5))
def test_killed_while_the_files_are_replaced_the_next_run_finishes_it(net, folder, monkeypatch, step):
    """SIGKILL leaves what os.replace has done so far; a search does not mix old files with new ones."""
    run(net, folder, "emb", "--maps")
    write_new_sound(folder / "a.wav", 900)
    usual, count = os.replace, 0

    def stops(source, target):
        nonlocal count
        if storage.FINISHED in str(source):
            if count == step:
                raise KeyboardInterrupt
            count += 1
        usual(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(joining.os, "replace", stops)
        if step < 4:
            with pytest.raises(KeyboardInterrupt):
                run(net, folder, "emb", "--maps")
            with pytest.raises(UserError, match=r"has not replaced all files of .*: run it again"):
                storage.load_collection(folder.parent / "emb.npz")
    run(net, folder, "emb", "--maps")
    assert_as_if_embedded_at_once(net, folder, ("--maps",))


def test_interrupted_while_it_embeds_new_files_it_resumes_also_when_files_change_meanwhile(
    net, folder, embedded, monkeypatch
):
    run(net, folder)
    monkeypatch.setattr(parts, "PART_SECONDS", 0.0)
    for name, pitch in (("a", 900), ("c", 1100), ("e", 1300)):
        write_new_sound(folder / f"{name}.wav", pitch)
    usual = embed.embed_files

    def stops(*args):
        for count, group in enumerate(usual(*args)):
            if count == 2:
                raise KeyboardInterrupt
            yield group

    with monkeypatch.context() as patch:
        patch.setattr(embed, "embed_files", stops)
        with pytest.raises(KeyboardInterrupt):
            run(net, folder, "emb", "--eval.batch_size", "1")
    write_new_sound(folder / "c.wav", 1500, 3.2)  # its part is of no use any more
    embedded.clear()
    run(net, folder, "emb", "--eval.batch_size", "1")
    assert embedded == ["c.wav", "e.wav"]
    assert_as_if_embedded_at_once(net, folder)


@pytest.mark.parametrize("place", ["part", "npz", "maps", "csv"])
def test_a_full_disk_is_one_sentence_keeps_the_old_files_and_the_work(net, folder, embedded, monkeypatch, place):
    run(net, folder, "emb", "--maps")
    before = content(folder)
    write_new_sound(folder / "a.wav", 900)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    module, name = {
        "part": (storage, "write_npz"), "npz": (joining, "write_npz"), "maps": (joining, "npy_header"),
        "csv": (joining, "write_csv"),
    }[place]  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(module, name, full)
        with pytest.raises(UserError, match=r"can't be written \(No space left.*free some disk space and rerun"):
            run(net, folder, "emb", "--maps")
    assert content(folder) == before and not list(folder.parent.rglob("*.tmp"))
    embedded.clear()
    run(net, folder, "emb", "--maps")
    assert embedded == (["a.wav"] if place == "part" else [])
    assert_as_if_embedded_at_once(net, folder, ("--maps",))


def test_a_damaged_part_is_embedded_again_and_a_damaged_collection_refused(net, folder, embedded, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(embed, "finish_collection", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(net, folder)
    (part,) = (folder.parent / "emb.parts").glob("*.npz")
    part.write_bytes(part.read_bytes()[:-200])
    embedded.clear()
    run(net, folder)
    assert len(embedded) == 4
    path = folder.parent / "emb.npz"
    found = bytearray(path.read_bytes())
    found[arrays.open_npz(path)["frames"].offset] ^= 255
    path.write_bytes(found)
    with pytest.raises(UserError, match="is damaged or not a collection"):
        storage.load_collection(path)


# --------------------------------------------------------------------------------------------------------------- size


def test_memory_of_a_join_is_that_of_the_names_not_of_the_rows():
    small, large = growth.measure(5_000), growth.measure(100_000)
    assert max(large["peak_mb"], large["add_peak_mb"]) < 40  # the vectors alone have 102 MB
    assert large["cpu_seconds"] < 60 * max(small["cpu_seconds"], 0.05)


def test_arrays_are_written_as_numpy_reads_them_and_can_be_mapped(tmp_path):
    rng = np.random.default_rng(0)
    wanted = {
        "v": rng.random((1000, 7), np.float32),
        "there": rng.random(13) < 0.5,
        "none": np.zeros((0, 3), np.float16),
    }
    chunks = {name: arrays.ArrayChunks(one.dtype, one.shape, np.array_split(one, 3)) for name, one in wanted.items()}
    with open(tmp_path / "x.npz", "wb") as file:
        arrays.write_npz(file, chunks)
    with np.load(tmp_path / "x.npz") as stored:
        assert set(stored) == set(wanted) and all(np.array_equal(stored[name], one) for name, one in wanted.items())
    found = arrays.open_npz(tmp_path / "x.npz")
    for name, one in wanted.items():
        mapped = found[name].map()
        assert found[name].offset % 64 == 0 and mapped.flags.aligned
        assert np.array_equal(mapped, one) and np.array_equal(found[name].read(), one)
        assert np.array_equal(np.concatenate([one[:0], *found[name].chunks(2, 5)]), one[2:5]) or not len(one)
