"""embed.py: vectors of any folder, equal to eval.py's, also after interruptions."""

import csv
import shutil
import signal
import subprocess
import threading
import time

import numpy as np
import pytest
from helpers import make_clip, numbered, read_left_out, small_checkpoint, tone, write_sound, write_video
from kill_and_resume import REPOSITORY, command, one_thread
from PIL import Image

import embed
from collection import parts, storage
from dataset.loading.loader import collate, make_sample
from dataset.reading.audio import AudioReader
from dataset.reading.clip_reader import ClipReader
from dataset.transforms.frames import PairTransform
from evaluation import file_embedding
from evaluation.tasks.embeddings import embed_batches
from evaluation.trained_net import load_trained_net
from utils.errors import UserError


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return small_checkpoint(tmp_path_factory.mktemp("net") / "best.pt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two clips of the dataset format, a video with sound, one without, a sound, an image, and two damaged files."""
    root = tmp_path_factory.mktemp("media")
    for clip, pitch in (("one", 300), ("two", 700)):
        make_clip(root / "test", clip, seconds=2.0, fps=10, rate=8000, pitch=pitch)
    write_video(root / "own.mp4", [numbered(k) for k in range(30)], 10, sound=tone(3, 16000, 900), rate=16000)
    write_video(root / "deep" / "mute.mp4", [numbered(k + 99) for k in range(20)], 10)
    write_sound(root / "deep" / "song.wav", tone(3.2, 11025, 500, overtones=5), 11025)
    Image.fromarray(numbered(77, (96, 64))).save(root / "picture.jpg")
    (root / "bad.wav").write_bytes(b"RIFF....")
    (root / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    return root


def words(net, source, out, **more):
    more = {"checkpoint": net, "input": source, "out": out, **more}
    return [word for name, value in more.items() for word in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def whole(net, folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "emb"
    return out, embed.main(words(net, folder, out))


def test_each_second_of_a_file_has_a_row(whole):
    out, _ = whole
    rows = list(csv.DictReader((out.parent / "emb.csv").open()))
    found = [(row["file"], row["kind"], row["time"], row["frame"] + row["sound"]) for row in rows]
    song = [("deep/song.wav", "sound", f"{time:.3f}", "01") for time in (0.5, 1.5, 2.5)]
    assert found == [
        *(("deep/mute.mp4", "video", f"{time:.3f}", "10") for time in (0.5, 1.5)),
        *song,
        *(("own.mp4", "video", f"{time:.3f}", "11") for time in (0.5, 1.5, 2.5)),
        ("picture.jpg", "image", "0.000", "10"),
        *((f"test/video/{clip}.mp4", "video", f"{t:.3f}", "11") for clip in ("one", "two") for t in (0.5, 1.5)),
    ]
    got = storage.load_collection(f"{out}.npz")
    for vectors, there in ((got.frames, got.has_frame), (got.sounds, got.has_sound)):
        assert vectors.dtype == np.float32 and vectors.shape == (len(rows), 16)
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(there.astype(float), abs=1e-5)


def test_unreadable_files_are_listed_with_the_reason(whole):
    out, _ = whole
    skipped = read_left_out(out.parent / "emb_left_out.csv")
    assert sorted(skipped) == ["bad.jpg", "bad.wav"]
    assert "image" in skipped["bad.jpg"] and "opened" in skipped["bad.wav"]


def test_the_vectors_equal_those_of_eval_at_the_same_time(net, folder, whole):
    _, got = whole
    opened = load_trained_net(net)
    names = [got.about["files"][file][0] for file in got.files]
    for clip in ("one", "two"):
        rows = [row for row, name in enumerate(names) if name.endswith(f"{clip}.mp4")]
        with ClipReader(clip, folder / f"test/video/{clip}.mp4", folder / f"test/audio/{clip}.wav") as media:
            batch = collate([make_sample(media.frame(got.times[r], 36), media.sound(got.times[r], 8000)) for r in rows])
        v, a, *_ = embed_batches(opened.model, [batch], PairTransform(opened.config, train=False))
        for ours, theirs in ((got.frames, v), (got.sounds, a)):
            assert np.abs(ours[rows] - theirs.numpy()).max() < 1e-3  # bf16 where the processor has it
        assert np.abs(got.sounds[rows[0]] - v[0].numpy()).max() > 0.01


@pytest.fixture
def in_small_parts(monkeypatch):
    """A part for each batch, and batches of one moment: a part for each file."""
    monkeypatch.setattr(parts, "PART_SECONDS", 0.0)
    return {"eval.batch_size": 1}


def content(out):
    with np.load(f"{out}.npz") as arrays:
        return {name: arrays[name].tobytes() for name in arrays}, (out.parent / f"{out.name}.csv").read_text()


def test_interrupted_at_any_part_it_resumes_with_the_same_result(net, folder, tmp_path, monkeypatch, in_small_parts):
    embed.main(words(net, folder, tmp_path / "whole", **in_small_parts))
    usual, finished = file_embedding.embed_files, []

    def stops_after_two_files(*args):
        for count, group in enumerate(usual(*args)):
            if count == 2:
                raise KeyboardInterrupt
            finished.extend(name for name, *_ in group.about["files"])
            yield group

    monkeypatch.setattr(embed, "embed_files", stops_after_two_files)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            embed.main(words(net, folder, tmp_path / "parts", **in_small_parts))
        assert not (tmp_path / "parts.npz").exists()
    embed.main(words(net, folder, tmp_path / "parts", **in_small_parts))
    assert content(tmp_path / "parts") == content(tmp_path / "whole")
    assert len(finished) == len(set(finished)) == 8  # none twice
    assert not (tmp_path / "parts.parts").exists()


@pytest.mark.parametrize(
    "change",
    [{"hop": 0.5}, {"eval.flip_tta": "true"}, {"checkpoint": "other"}, {"input": "other"}, {"input": "other sound"}],
)
def test_parts_of_another_checkpoint_hop_setting_or_folder_are_refused(net, folder, tmp_path, monkeypatch, change):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(embed, "embed_files", stop)
    with pytest.raises(KeyboardInterrupt):
        embed.main(words(net, folder, tmp_path / "emb"))
    if "checkpoint" in change:
        change = {"checkpoint": small_checkpoint(tmp_path / "other.pt", seed=1)}
    if "input" in change:
        name = "new.wav" if change["input"] == "other" else "test/audio/one.wav"
        change = {"input": shutil.copytree(folder, tmp_path / "copy")}
        write_sound(tmp_path / "copy" / name, tone(2.5, 8000), 8000)
    with pytest.raises(UserError, match=r"another (checkpoint|hop|settings|input): choose another --out"):
        embed.main(words(net, folder, tmp_path / "emb") + words(net, folder, tmp_path / "emb", **change))


def test_a_folder_without_readable_files_is_an_error(net, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.wav").write_bytes(b"RIFF....")
    with pytest.raises(UserError, match="nothing could be embedded"):
        embed.main(words(net, tmp_path / "in", tmp_path / "emb"))
    assert "bad.wav" in read_left_out(tmp_path / "emb_left_out.csv")


def test_a_net_of_many_frames_is_refused(folder, tmp_path):
    net = small_checkpoint(tmp_path / "best.pt", **{"model.name": "AVENet_MF", "data.frames": 8, "data.cache_gb": 0})
    with pytest.raises(UserError, match="no vector of a single frame"):
        embed.main(words(net, folder, tmp_path / "emb"))


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "can't be read"), (b"no npz", "damaged or not a collection"), ("npy", "damaged or not a collection")],
)
def test_a_file_that_is_no_collection_is_refused(tmp_path, content, said):
    if content == "npy":
        np.savez(tmp_path / "x.npz", frames=np.zeros(3))
    elif content:
        (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(UserError, match=said):
        storage.load_collection(tmp_path / "x.npz")


def test_the_script_says_what_is_missing_without_a_traceback(script):
    done = script(command("embed.py", {}))
    assert done.returncode == 2 and done.stderr.startswith("error: --checkpoint is missing")


@pytest.mark.slow
def test_killed_at_random_moments_it_resumes_with_the_same_result(net, tmp_path):
    def write_videos(numbers):
        for k in numbers:
            sound = tone(60, 8000, 200 + 9 * k)
            write_video(tmp_path / "in" / f"{k}.mp4", [numbered(k)] * 600, 10, sound=sound, rate=8000)

    small = "import sys, collection.parts as c; c.PART_SECONDS = 0.3; import embed; embed.main(sys.argv[1:])"

    def run(out, seconds):
        arguments = ["python", "-c", small, *words(net, tmp_path / "in", out)]
        process = subprocess.Popen([command("")[0], *arguments[1:]], cwd=REPOSITORY, env=one_thread())
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return None

    random = np.random.default_rng(0)
    for numbers in (range(60), range(60, 100)):  # then again with new files
        write_videos(numbers)
        begin = time.monotonic()
        assert run(tmp_path / "whole", 300) == 0
        seconds, kills = time.monotonic() - begin, 0
        while run(tmp_path / "killed", random.uniform(0.3, 0.8) * seconds) is None:
            kills += 1
            assert kills < 20
        assert kills and content(tmp_path / "killed") == content(tmp_path / "whole")


# -------------------------------------------------------------------------------------------- short, hanging, in part


def test_short_sounds_are_named_with_their_cure_or_padded(net, tmp_path, capsys):
    write_sound(tmp_path / "in" / "short.wav", tone(0.3, 8000), 8000)
    write_sound(tmp_path / "in" / "song.wav", tone(2, 8000), 8000)
    write_video(tmp_path / "in" / "brief.mp4", [numbered(k) for k in range(8)], 10, sound=tone(0.7, 8000), rate=8000)
    embed.main(words(net, tmp_path / "in", tmp_path / "plain"))
    skipped = read_left_out(tmp_path / "plain_left_out.csv")
    assert skipped["short.wav"] == "holds 0.30 s of sound, less than 1 s: --pad embeds it"
    assert skipped["brief.mp4"].startswith("is embedded in part: it holds 0.") and len(skipped) == 2
    assert "1 left out, 1 embedded in part" in capsys.readouterr().err
    found = embed.main([*words(net, tmp_path / "in", tmp_path / "padded"), "--pad"])
    rows = list(csv.DictReader((tmp_path / "padded.csv").open()))
    assert [(row["file"], row["time"], row["sound"]) for row in rows] == [
        ("brief.mp4", "0.500", "1"),
        ("short.wav", "0.500", "1"),
        ("song.wav", "0.500", "1"),
        ("song.wav", "1.500", "1"),
    ]
    assert found.about["pad"] is True and read_left_out(tmp_path / "padded_left_out.csv") == {}


def test_a_file_whose_decoder_hangs_is_left_out_and_the_others_are_embedded(net, folder, tmp_path, monkeypatch):
    usual, over = file_embedding.iter_moments, threading.Event()

    def hangs(item, *args):
        if item.name == "own.mp4":
            over.wait(60)
        yield from usual(item, *args)

    monkeypatch.setattr(file_embedding, "iter_moments", hangs)
    found = embed.main([*words(net, folder, tmp_path / "emb"), "--threads", "1", "--time_limit", "1"])
    over.set()
    skipped = read_left_out(tmp_path / "emb_left_out.csv")
    assert skipped["own.mp4"] == "takes longer than 1 s to read: --time_limit raises this"
    assert len(np.unique(found.files)) == 5


def test_a_shortage_of_memory_is_no_fault_of_a_file(net, folder, tmp_path, monkeypatch):
    def short_of_memory(*_):
        raise MemoryError
        yield

    monkeypatch.setattr(file_embedding, "iter_moments", short_of_memory)
    with pytest.raises(MemoryError):
        embed.main(words(net, folder, tmp_path / "emb"))
    assert not (tmp_path / "emb_left_out.csv").exists()


def test_its_own_output_in_the_input_folder_is_not_listed(net, folder, tmp_path, monkeypatch):
    inside = shutil.copytree(folder, tmp_path / "in")

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(embed, "embed_files", stop)
    with pytest.raises(KeyboardInterrupt):
        embed.main(words(net, inside, inside / "emb"))
    monkeypatch.undo()
    embed.main(words(net, inside, inside / "emb"))
    assert sorted(read_left_out(inside / "emb_left_out.csv")) == ["bad.jpg", "bad.wav"]


# --------------------------------------------------------------------------------------------------------------- maps


def test_maps_are_the_local_embeddings_of_every_frame(folder, tmp_path, monkeypatch, in_small_parts, capsys):
    net = small_checkpoint(tmp_path / "best.pt", **{"model.name": "AVOLNet"})
    found = embed.main([*words(net, folder, tmp_path / "emb", **in_small_parts), "--maps"])
    size = (tmp_path / "emb_maps.npy").stat().st_size
    assert f"{size / 1e6:,.1f} MB of maps" in capsys.readouterr().out
    got = storage.load_collection(tmp_path / "emb.npz")
    assert isinstance(got.maps, np.memmap) and got.maps.dtype == np.float16
    assert len(got.maps) == got.has_frame.sum() and got.maps.shape[1:] == (16, 2, 2)
    means = np.asarray(got.maps, np.float32).mean((2, 3))
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    assert np.abs(means - got.frames[got.has_frame]).max() < 2e-3  # half precision
    opened = load_trained_net(net)
    row = int(np.flatnonzero(got.has_sound)[0])
    name, *_ = got.file_of(row)
    assert name == "deep/song.wav"
    with AudioReader("x", folder / name) as sound:
        a = opened.embed_sounds(sound.sound(got.times[row], 8000)[None])
    assert got.norms[row] == pytest.approx(a.norm().item(), rel=1e-2) and (got.norms[~got.has_sound] == 0).all()
    assert found.norms.tobytes() == got.norms.tobytes()
    (tmp_path / "emb_maps.npy").unlink()
    with pytest.raises(UserError, match=r"maps .*emb_maps\.npy can't be read"):
        storage.load_collection(tmp_path / "emb.npz")


def test_maps_of_a_net_without_any_are_refused(net, folder, tmp_path):
    with pytest.raises(UserError, match="AVENet, which has no localization maps: use a checkpoint of AVOLNet"):
        embed.main([*words(net, folder, tmp_path / "emb"), "--maps"])
    assert not (tmp_path / "emb.parts").exists()
