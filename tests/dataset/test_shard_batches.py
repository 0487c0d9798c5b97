"""Batches of shards are read at once, each frame and sound where it belongs: the same samples as clip by clip."""

import os

import numpy as np
import pytest
import simplejpeg
import torch
from helpers import make_clip, write_genres

from configs.schema import Data, Mix
from dataset.loading.loader import collate, make_loader
from dataset.mixes import MixtureDataset
from dataset.pairs import PairDataset
from dataset.reading import shard_index, shards
from dataset.reading.shards import ShardedClips

RATE = 8000
LENGTHS = {"a": 3.0, "b": 1.0, "c": 2.2, "d": 2.6, "e": 3.0, "f": 1.5}  # of the clips, seconds


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Clips of noise, one of which begins with silence."""
    root, noise = tmp_path_factory.mktemp("source"), np.random.default_rng(0)
    for clip, seconds in LENGTHS.items():
        sound = 0.3 * noise.standard_normal(round(seconds * RATE))
        sound[: RATE * (clip == "d")] = 0
        pictures = [noise.integers(0, 256, (64, 96, 3), np.uint8) for _ in range(round(10 * seconds))]
        make_clip(root / "train", clip, fps=10, rate=RATE, size=(96, 64), pictures=pictures, sound=sound)
    write_genres(root / "train", {clip: [f"/m/{clip}"] for clip in LENGTHS})
    return root


@pytest.fixture
def split(source, tmp_path, make_shards):
    """Opens shards of two clips each, built with some options."""

    def build(**options):
        make_shards(source, tmp_path / "shards", **{"size": 48} | options)
        return ShardedClips(tmp_path / "shards", "train")

    return build


def same(one, other):
    assert one.keys() == other.keys() and one["errors"] == other["errors"]
    return all(torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype
               for name in one if torch.is_tensor(one[name]))  # fmt: skip


KEYS = [(epoch, index) for epoch in (3, 4, 5) for index in (4, 0, 3, 5, 2, 1)]


OPTIONS = [
    {}, {"misalignment": 0.5, "seed": 7}, {"moments": 2}, {"moments": 2, "even": True}, {"size": 24}, {"size": 40},
    {"rate": 4000}, {"step": 0.4}, {"step": 5.0}, {"off_grid": True},
]  # fmt: skip


@pytest.mark.parametrize(("square", "seconds"), [(True, 1.0), (False, 1.8)])  # two of the clips are shorter
def test_a_batch_is_its_samples_read_one_by_one(split, square, seconds):
    clips = split(square=square)
    clips.seconds = seconds
    for options in OPTIONS:
        settings = {"resize_size": options.get("size", 48), "sample_rate": options.get("rate", RATE)}
        more = {name: value for name, value in options.items() if name not in ("size", "rate", "step")}
        pairs = PairDataset(clips, **settings, frame_step=options.get("step", 0.2), **more)
        batches = pairs.load_batches(KEYS)
        for epoch, batch in zip((3, 4, 5), batches, strict=True):
            alone = collate([pairs[key] for key in KEYS if key[0] == epoch])
            assert same(batch, alone), options
        unread = 1 if options.get("moments") else 0  # one second has one time
        assert len(batches[0]["errors"]) == (unread if seconds == 1 else 2), options
    (shared,) = make_loader(pairs, [KEYS[:6]], workers=1)
    assert same(shared, batches[0])


def test_the_same_sample_twice_and_clips_in_turn(split):
    pairs = PairDataset(split(square=True), 48, RATE, 0.2)
    keys = [(0, 1), (0, 2), (1, 1), (0, 1), (1, 2)]
    for epoch, batch in enumerate(pairs.load_batches(keys)):
        in_order = sorted((key for key in keys if key[0] == epoch), key=lambda key: key[1])
        assert same(batch, collate([pairs[key] for key in in_order]))


def test_damage_leaves_out_its_clip_alone(split):
    clips = split(square=True)
    with clips.open(0) as clip:
        place, tar = int(clip._frames["block"][3]) * 512, clip.video_file
    with open(tar, "r+b") as file:
        file.seek(place)
        file.write(bytes(40))
    os.truncate(clips.index.tar(1), clips.index.tar(1).stat().st_size // 2)
    index = clips.index.tar(2).with_suffix(".index")
    index.write_bytes(bytes(8) + index.read_bytes()[8:])
    pairs = PairDataset(clips, 48, RATE, 0.2, seed=1)
    keys = [(epoch, index) for epoch in range(8) for index in range(6)]
    found = [clip for batch in pairs.load_batches(keys) for clip, _ in batch["errors"]]
    assert found.count("a") == found.count("e") == found.count("f") == 8  # at one time of the eight, and always
    for batch in pairs.load_batches(keys[:6]):
        assert same(batch, collate([pairs[key] for key in keys[:6]]))
    messages = dict(error for batch in pairs.load_batches(keys) for error in batch["errors"])
    assert "00000.tar is damaged" in messages["a"] and "00001.tar is truncated: " in messages["d"]
    assert all("remove this file and repeat" in message for message in messages.values())


def test_each_frame_is_decoded_once_into_its_place(split, monkeypatch):
    calls = []

    class Counted:
        @staticmethod
        def decode_jpeg(*args, buffer=None, **more):
            calls.append(buffer)
            return simplejpeg.decode_jpeg(*args, buffer=buffer, **more)

    pairs = PairDataset(split(square=True), 48, RATE, 0.2)
    monkeypatch.setattr(shards, "simplejpeg", Counted)
    (batch,) = pairs.load_batches([(0, index) for index in range(6)])
    frames = batch["frames"].numpy()
    assert len(calls) == 6 and all(np.shares_memory(call, frame) for call, frame in zip(calls, frames, strict=True))


def test_mixtures_of_shards_are_read_one_by_one_as_before(split):
    mix = Mix(samples=RATE // 2, frames=2, frame_stride=0.2)
    mixtures = MixtureDataset(split(), Data(resize_size=48, sample_rate=RATE, frame_step=0.2), mix, seed=1)
    keys = [(0, index) for index in range(6)]
    (batch,) = mixtures.load_batches(keys)
    assert not batch["errors"] and same(batch, collate([mixtures[key] for key in keys]))


# ----------------------------------------------------------------------------------------------- many shards


@pytest.fixture
def reads(monkeypatch):
    """The indexes that this process reads, by name, in order."""
    names = []

    def read(path, sha256, read_index=shard_index.read_index):
        names.append(path.name)
        return read_index(path, sha256)

    monkeypatch.setattr(shard_index, "read_index", read)
    return names


@pytest.mark.parametrize("most_open", [1, 100])
def test_an_index_is_read_once_however_few_shards_are_open(split, monkeypatch, reads, most_open):
    monkeypatch.setattr(shards, "MAX_OPEN", most_open)
    pairs = PairDataset(split(clips=1), 48, RATE, 0.2)
    for epoch in range(4):
        keys = [(epoch, int(index)) for index in np.random.default_rng(epoch).permutation(6)]
        assert not pairs.load_batches(keys)[0]["errors"]
        for index in range(6):
            with pairs.clips.open(index) as clip:
                clip.frame(0.5, 32)
    assert sorted(reads) == [f"{number:05d}.index" for number in range(6)]


def test_what_a_worker_reads_of_an_index_all_processes_have(split, reads):
    pairs = PairDataset(split(clips=1), 48, RATE, 0.2)
    keys = [[(0, index) for index in range(6)]]
    (batch,) = make_loader(pairs, keys, workers=1)
    assert not reads  # here
    assert same(batch, pairs.load_batches(keys[0])[0]) and not reads


def test_an_index_takes_few_bytes(split):
    index = split().index
    kept = index.frames.nbytes + index._clips.nbytes
    on_disk = sum(path.stat().st_size for path in index.tar(0).parent.glob("*.index"))
    for number in range(6):
        index.find(number // 2, number % 2)
    used = np.count_nonzero(index.times) * 8  # clips at the same rate share theirs
    assert kept + used < 0.7 * on_disk
