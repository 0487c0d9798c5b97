"""embed.py: vectors of any folder, equal to eval.py's, also after interruptions."""

import csv
import json
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from helpers import make_clip, numbered, small_checkpoint, tone, write_sound, write_video
from kill_and_resume import REPOSITORY, command, one_thread
from PIL import Image

import embed
from collection import parts, storage
from dataset.loading.loader import collate, make_sample
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
    skipped = json.loads((out.parent / "emb_skipped.json").read_text())
    assert list(skipped) == ["bad.jpg", "bad.wav"]
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
    monkeypatch.setattr(parts, "PART_FILES", 2)


def content(out):
    with np.load(f"{out}.npz") as arrays:
        return {name: arrays[name].tobytes() for name in arrays}, (out.parent / f"{out.name}.csv").read_text()


def test_interrupted_at_any_part_it_resumes_with_the_same_result(net, folder, tmp_path, monkeypatch, in_small_parts):
    embed.main(words(net, folder, tmp_path / "whole"))
    usual, calls = file_embedding.embed_files, []

    def stops_at_every_second(*args):
        calls.append(len(args[1]))
        if len(calls) % 2 == 0:
            raise KeyboardInterrupt
        return usual(*args)

    monkeypatch.setattr(embed, "embed_files", stops_at_every_second)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            embed.main(words(net, folder, tmp_path / "parts"))
        assert not (tmp_path / "parts.npz").exists()
    embed.main(words(net, folder, tmp_path / "parts"))
    assert calls == [2] * 7 and content(tmp_path / "parts") == content(tmp_path / "whole")  # of 8 files, none twice
    assert not (tmp_path / "parts.parts").exists()


@pytest.mark.parametrize(
    "change", [{"hop": 0.5}, {"eval.flip_tta": "true"}, {"checkpoint": "other"}, {"input": "other"}]
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
        change = {"input": shutil.copytree(folder, tmp_path / "copy")}
        write_sound(tmp_path / "copy" / "new.wav", tone(1, 8000), 8000)
    with pytest.raises(UserError, match=r"another (checkpoint|hop|settings|input): choose another --out"):
        embed.main(words(net, folder, tmp_path / "emb") + words(net, folder, tmp_path / "emb", **change))


def test_a_finished_embedding_is_not_overwritten(net, folder, whole):
    out, _ = whole
    before = content(out)
    with pytest.raises(UserError, match="already exists"):
        embed.main(words(net, folder, out))
    assert content(out) == before


def test_a_folder_without_readable_files_is_an_error(net, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.wav").write_bytes(b"RIFF....")
    with pytest.raises(UserError, match="nothing could be embedded"):
        embed.main(words(net, tmp_path / "in", tmp_path / "emb"))
    assert "bad.wav" in json.loads((tmp_path / "emb_skipped.json").read_text())


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
    for k in range(60):
        write_video(tmp_path / "in" / f"{k}.mp4", [numbered(k)] * 600, 10, sound=tone(60, 8000, 200 + 9 * k), rate=8000)
    small = "import sys, collection.parts as c; c.PART_FILES = 3; import embed; embed.main(sys.argv[1:])"

    def run(out, seconds):
        arguments = ["python", "-c", small, *words(net, tmp_path / "in", out)]
        process = subprocess.Popen([command("")[0], *arguments[1:]], cwd=REPOSITORY, env=one_thread())
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return None

    begin = time.monotonic()
    assert run(tmp_path / "whole", 300) == 0
    seconds, random, kills = time.monotonic() - begin, np.random.default_rng(0), 0
    while run(tmp_path / "killed", random.uniform(0.3, 0.8) * seconds) is None:
        kills += 1
        assert kills < 20
    assert kills and content(tmp_path / "killed") == content(tmp_path / "whole")
