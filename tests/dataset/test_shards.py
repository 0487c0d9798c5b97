"""Reading shards: the folder's own frames and sounds, the same samples, and one clear sentence for what is wrong."""

import json
import os
import re
import shutil
import tarfile

import numpy as np
import pytest
import torch
from helpers import make_clip, make_dataset, numbered, read_number, write_genres, write_json
from kill_and_resume import SMALL, command, train_command
from PIL import Image

from configs.schema import Data
from dataset.loading.loader import collate, make_loader
from dataset.pairs import PairDataset, sample_times
from dataset.reading.clips import Clips
from dataset.reading.errors import ClipError
from dataset.reading.reader import open_clips, open_split
from dataset.reading.shards import ShardedClips
from utils.errors import UserError

RATE = 8000
BOXED = "x" * 251  # has annotated times, off the step
UNEVEN = [0.0, *np.cumsum(np.random.default_rng(0).choice([1 / 60, 1 / 30, 1 / 12, 0.3], 26)).tolist()]
CLIPS = {  # ids that a container might trip over, and rhythms
    "-dash": dict(b_frames=3),
    "a.b.c": dict(times=UNEVEN, b_frames=2),
    "späť 音": dict(times=[0.7 + k / 25 for k in range(50)]),
    BOXED: dict(size=(48, 64)),
    "z.jpg": dict(times=[0, 1.3, 1.9, 2.0, 2.4], size=(320, 180)),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A split of clips that show their frames' numbers and sound a ramp of noise."""
    root = tmp_path_factory.mktemp("source")
    noise = np.random.default_rng(0)
    for clip, how in CLIPS.items():
        size = how.get("size", (64, 48))
        pictures = [numbered(k, size) for k in range(len(how.get("times", range(60))))]
        sound = 0.2 * noise.standard_normal(round(2.4 * RATE))
        make_clip(root / "train", clip, rate=RATE, pictures=pictures, sound=sound, **how)
    write_genres(root / "train", {clip: ["/m/07y_7", clip[:5]] for clip in CLIPS})
    box = {"box": [0, 0, 1, 1], "label": "/m/07y_7"}
    boxes = [box | {"time": 0.64, "sounding": True}, box | {"time": 1.17, "sounding": False}]
    write_json(root / "train" / "boxes.json", {BOXED: boxes})
    return root


@pytest.fixture
def shards(source, tmp_path, make_shards):
    make_shards(source, tmp_path / "shards")
    return tmp_path / "shards"


def both(source, shards):
    """Each clip opened from the folder and from the shards: (place, one, other)."""
    one, other = Clips(source, "train"), open_clips(shards, "train")
    for index in range(len(one)):
        with one.open(index) as a, other.open(index) as b:
            yield index, a, b


# ------------------------------------------------------------------------------------------------------- the same


def test_a_split_has_the_same_clips_labels_and_boxes(source, shards):
    one, other = Clips(source, "train"), open_clips(shards, "train")
    assert isinstance(other, ShardedClips) and isinstance(open_clips(source, "train"), Clips)
    assert other.ids == one.ids == sorted(CLIPS) and other.labels == one.labels and other.boxes == one.boxes
    assert len(other) == len(CLIPS) and other.skipped == {} and other.folder.name == "train"
    index = other.ids.index(BOXED)
    assert other.annotated_times(index) == [0.64] and len(other.boxes_at(index, 1.17)) == 1


def test_at_multiples_of_the_step_and_where_annotated_the_frame_is_the_videos(source, shards):
    for index, one, other in both(source, shards):
        assert (other.first, other.last, other.video_end) == (one.first, one.last, one.video_end)
        assert other.sound_seconds == one.sound_seconds
        times = sorted([*sample_times(0, one.video_end, 0.2), *[0.64, 1.17] * (one.clip == BOXED)])
        theirs, ours = one.frames(times, 96), other.frames(times, 96)
        assert ours.shape == theirs.shape and ours.dtype == np.uint8
        for k, time in enumerate(times):
            assert read_number(ours[k]) == read_number(theirs[k]), (one.clip, time)
        assert np.array_equal(ours[3], other.frame(times[3], 96)), index


def test_between_them_it_is_the_kept_frame_before(source, shards):
    for _, one, other in both(source, shards):
        for time in np.random.default_rng(1).uniform(0.7, 2.3, 10):
            seen = read_number(other.frame(time, 64))
            # Of an even rhythm the one of the last tick; else a later one may have been kept, for the next tick.
            assert read_number(one.frame(int(time * 5) / 5, 64)) <= seen <= read_number(one.frame(time, 64))
            assert seen % 5 == 0 or one.clip != "-dash"
        assert other.times[0] == (0.7 if one.clip.startswith("sp") else 0)


@pytest.mark.parametrize(
    ("options", "from_video", "from_truth"),
    [({}, 3.0, 5.5), ({"square": True}, 3.0, 5.5), ({"quality": 20}, 5.5, 6.5)],
)
def test_pictures_differ_from_the_videos_by_jpeg_noise_only(tmp_path, make_shards, options, from_video, from_truth):
    """Mean errors in grey levels of 256: at the size that is kept; far below it a resized mp4 itself is less exact."""
    y, x = np.mgrid[0:180, 0:320]
    picture = np.stack([127 + 80 * np.sin(x / a + y / b) for a, b in ((40, 30), (25, 60), (70, 20))], 2)
    picture = (picture + 30 * (x // 2 % 2)[..., None]).astype(np.uint8)  # stripes that a mean makes even
    make_clip(tmp_path / "set" / "train", "a", fps=5, size=(320, 180), pictures=[picture] * 10)
    write_genres(tmp_path / "set" / "train")
    make_shards(tmp_path / "set", tmp_path / "shards", size=128, **options)
    for _, one, other in both(tmp_path / "set", tmp_path / "shards"):
        for size in (128, 100, 64, 32):  # at the last two the decoder itself shrinks
            frames = one.frame(1.0, size).astype(int), other.frame(1.0, size).astype(int)
            truth = np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BOX), int)
            assert np.abs(frames[1] - truth).mean() < from_truth, size
            assert np.abs(frames[1] - frames[0]).mean() < from_video or size < 128


def test_sounds_are_the_folders_to_the_sample_and_resampled_as_there(source, shards):
    for _, one, other in both(source, shards):
        for time in (-1, 0.5, 0.77, 1.234, one.last, 9):
            assert np.array_equal(one.sound(time, RATE), other.sound(time, RATE))
            for rate in (6000, 16000):
                ours, theirs = other.sound(time, rate), one.sound(time, rate)
                assert ours.dtype == np.int16 and np.abs(ours.astype(int) - theirs).max() <= 1
        assert np.array_equal(one.full_waveform(RATE), other.full_waveform(RATE))


def test_samples_batches_and_the_cache_are_the_folders(source, shards):
    settings = dict(resize_size=64, sample_rate=RATE, frame_step=0.2, misalignment=0.3, seed=3, annotated=True)
    keys = [(epoch, index) for epoch in range(3) for index in range(len(CLIPS))]
    theirs = PairDataset(Clips(source, "train"), **settings)
    ours, kept = (PairDataset(ShardedClips(shards, "train"), **settings, **more) for more in ({}, {"cache_gb": 0.1}))
    for key in keys:
        one, other = theirs[key], ours[key]
        assert "error" not in other and one["time"] == other["time"]
        assert np.array_equal(one["sound"], other["sound"]) and read_number(one["frame"]) == read_number(other["frame"])
        if ours.clips.ids[key[1]] != BOXED:  # the cache knows no annotated times
            cached = kept[key]
            assert np.array_equal(cached["frame"], other["frame"]) and np.array_equal(cached["sound"], other["sound"])
    batches = [[(epoch, index) for index in range(4)] for epoch in range(2)]
    alone = [collate([ours[key] for key in batch]) for batch in batches]
    for one, other in zip(alone, make_loader(ours, batches, 1), strict=True):  # a process of its own
        assert all(torch.equal(one[name], other[name]) for name in ("frames", "sounds", "seeds", "times"))


# ----------------------------------------------------------------------------------------------------- for others


def test_others_read_plain_tars_in_webdatasets_layout(source, shards):
    samples = {}
    for path in sorted((shards / "train").glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                # WebDataset's rule: up to the first dot is the key, behind it the kind.
                key, kind = re.fullmatch(r"((?:.*/|)[^.]+)[.]([^/]*)", member.name).groups()
                assert not samples.get(key) or key == list(samples)[-1]  # all of a clip in a row
                samples.setdefault(key, {})[kind] = tar.extractfile(member).read()
    assert [json.loads(sample["json"])["id"] for sample in samples.values()] == sorted(CLIPS)
    for sample, (_, one, other) in zip(samples.values(), both(source, shards), strict=True):
        about = json.loads(sample["json"])
        assert about["times"] == other.times.tolist() and about["labels"] == ["/m/07y_7", about["id"][:5]]
        assert len(sample) == 2 + len(about["times"]) and sample["000.jpg"][:2] == b"\xff\xd8"
        assert np.array_equal(np.frombuffer(sample["wav"][44:], "<i2"), one.full_waveform(RATE))


# ------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"frames": 9}, "need every frame"),
        ({"flow": "dis"}, "need every frame"),
        ({"frame_step": 0.04}, "set --data.frame_step 0.2"),
        ({"frame_step": 0.3}, "set --data.frame_step 0.2"),
        ({"resize_size": 257}, "--size 257"),
        ({"sample_rate": 16000}, "--rate 16000"),
    ],
)
def test_settings_that_ask_for_more_are_refused(source, shards, change, said):
    fitting = {"root": str(shards), "frame_step": 0.4, "resize_size": 256, "sample_rate": RATE}
    assert len(open_split(Data(**fitting), "train")) == len(CLIPS)
    with pytest.raises(UserError, match=said):
        open_split(Data(**fitting | change), "train")
    open_split(Data(**fitting | change | {"root": str(source)}), "train")  # the folder can


def test_frames_in_a_row_are_refused(shards):
    with ShardedClips(shards, "train").open(0) as clip, pytest.raises(UserError, match="too few frames"):
        clip.frame_stack(1.0, 9, 32)


def changed(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("ruin", "said"),
    [
        (lambda root: os.truncate(root / "train/00001.tar", 9000), "00001.tar is missing or doesn't have"),
        (lambda root: (root / "train/00001.tar").unlink(), "00001.tar is missing"),
        (lambda root: (root / "train/00000.index").write_bytes(b""), "00000.index"),
        (lambda root: (root / "shards.json").write_text("{"), "not valid JSON"),
        (lambda root: (root / "shards.json").write_text("[]"), "not of version"),
        (lambda root: changed(root / "shards.json", lambda about: about.update(version=2)), "not of version 1"),
        (lambda root: changed(root / "shards.json", lambda about: about.pop("splits")), "is damaged"),
        (lambda root: changed(root / "shards.json", lambda about: about["settings"].pop("fps")), "is damaged"),
        (lambda root: changed(root / "shards.json", lambda about: about["splits"].update(train=[{}])), "is damaged"),
        (lambda root: (root / "unfinished.json").write_text("{}"), "are unfinished"),
        (lambda root: shutil.rmtree(root / "train"), "no split 'train'"),
        (lambda root: (root / "train/vid2genre.json").unlink(), "vid2genre.json is missing"),
    ],
)  # fmt: skip
def test_shards_that_are_not_as_written_are_refused_by_name(shards, ruin, said):
    ruin(shards)
    with pytest.raises(UserError, match=said):
        open_clips(shards, "train", "skip")


def test_damage_of_the_same_size_is_named_when_it_is_met(shards):
    index, tar = shards / "train/00000.index", shards / "train/00001.tar"
    index.write_bytes(bytes([index.read_bytes()[0] ^ 1]) + index.read_bytes()[1:])
    content = bytearray(tar.read_bytes())
    place = content.find(b"\xff\xd8\xff")
    content[place : place + 300] = bytes(300)
    tar.write_bytes(content)
    clips = ShardedClips(shards, "train")
    with pytest.raises(ClipError, match=r"00000.index is damaged .*remove this file and repeat"), clips.open(0):
        pass
    with clips.open(2) as clip, pytest.raises(ClipError, match=r"00001.tar is damaged .*remove this file and repeat"):
        clip.frame(0, 64)
    found = PairDataset(clips, 64, RATE, 0.2)[0, 0]  # as other unreadable clips reach the training process
    assert "00000.index" in found["error"] and found["clip"] == clips.ids[0]


def test_a_clip_that_is_listed_and_not_in_the_shards_is_missed(shards):
    changed(shards / "train/vid2genre.json", lambda genres: (genres.update(new=[]), genres.pop("-dash")))
    with pytest.raises(ClipError, match=r"lacks clip new .*--data.on_error skip"):
        open_clips(shards, "train")
    clips = open_clips(shards, "train", "skip")
    assert list(clips.skipped) == ["new"] and clips.ids == sorted(set(CLIPS) - {"-dash"})
    with clips.open(0) as clip, ShardedClips.open(clips, 1) as other:  # the others are still themselves
        assert clip.clip == "a.b.c" and len(clip.times) != len(other.times)


# ------------------------------------------------------------------------------------------------------- a whole run


def test_training_and_evaluation_take_shards_as_they_take_the_folder(tmp_path, make_shards, script):
    root, shards = make_dataset(tmp_path / "clips", train=8, val=4, test=6), tmp_path / "shards"
    make_shards(root, shards)
    settings = SMALL | {"train.epochs": 2, "train.workers": 1, "train.log_every": 1, "data.cache_gb": 0}
    done = script(train_command(shards, tmp_path / "run", settings))
    assert done.returncode == 0, done.stderr
    metrics = {}
    for data in (root, shards):
        places = {"checkpoint": tmp_path / "run/best.pt", "data.root": data, "out": tmp_path / f"eval_{data.name}"}
        done = script(command("eval.py", places))
        assert done.returncode == 0, done.stderr
        metrics[data.name] = json.loads((places["out"] / "metrics.json").read_text())
    one, other = metrics["clips"], metrics["shards"]
    assert one.keys() == other.keys() and one["clips"] == other["clips"] == 6 and "avc" in one and "retrieval" in one
    assert abs(one["avc"]["auc"] - other["avc"]["auc"]) < 0.15  # the same net, pictures that differ by JPEG noise
    assert abs(one["avc"]["loss"] - other["avc"]["loss"]) < 0.02


def test_a_run_that_does_not_fit_stops_in_one_sentence(tmp_path, make_shards, script):
    root = make_dataset(tmp_path / "clips", train=4, val=2, test=0)
    make_shards(root, tmp_path / "shards")
    settings = SMALL | {"data.frame_step": 0.04, "train.workers": 0}
    done = script(train_command(tmp_path / "shards", tmp_path / "run", settings))
    assert done.returncode == 2 and "--data.frame_step 0.2" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and not (tmp_path / "run").exists()
