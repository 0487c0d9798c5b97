"""Mixtures from kept features of frames: which features, and which part of the sound."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from configs.schema import Config, Mix
from dataset.features.mixes import MixtureFeatureDataset
from dataset.loading.loader import collate
from dataset.transforms.mixtures import MixtureTransform
from utils.config import override

RATE, FRAMES, VIEWS, SAMPLES = 100, 4, 3, 120
TIMES = np.array([0.6, 1.2, 1.8, 2.4])  # of the frames of each clip, seconds
SOUND = np.arange(3 * RATE, dtype=np.int16)  # each sample is its number


def dataset(frames=1, samples=SAMPLES, seed=0):
    """Two clips whose features say clip, frame and view in their three channels."""
    maps = np.zeros((2, FRAMES, VIEWS, 3, 2, 2), np.float16)
    for clip, frame, view in np.ndindex(maps.shape[:3]):
        maps[clip, frame, view] = np.array([clip, frame, view])[:, None, None]
    features = SimpleNamespace(
        maps=maps, times=np.stack([TIMES, TIMES]), rows={"a": 0, "b": 1}, errors={"c": "damaged"},
        sound=lambda row: SOUND + 1000 * row,
    )  # fmt: skip
    clips = SimpleNamespace(ids=["a", "b", "c"], folder="clips/train", seconds=1.0, parallel_reads=1)
    return MixtureFeatureDataset(clips, features, RATE, Mix(samples=samples, frames=frames), seed)


def test_the_sound_lies_around_the_frame_and_within_the_clip():
    mixtures, starts, seen = dataset(), {}, set()
    for epoch in range(400):
        sample = mixtures[epoch, 1]
        clip, frame, view = (int(value) for value in sample["features"][:, 0, 0])
        assert clip == 1 and sample["time"] == TIMES[frame] and sample["features"].shape == (3, 2, 2)
        start = int(sample["sound"][0]) - 1000
        assert np.array_equal(sample["sound"], 1000 + SOUND[start : start + SAMPLES])
        assert start <= round(TIMES[frame] * RATE) <= start + SAMPLES
        starts.setdefault(frame, set()).add(start)
        seen.add((frame, view))
    assert len(seen) == FRAMES * VIEWS
    assert all(max(some) - min(some) > 40 for some in starts.values())  # any part that holds the frame


def test_several_frames_are_one_of_each_part_in_the_same_view():
    for epoch in range(50):
        sample = dataset(frames=2)[epoch, 0]
        first, second = sample["features"][:, 1, 0, 0]
        assert sample["features"].shape == (2, 3, 2, 2) and first < 2 <= second
        assert len(set(sample["features"][:, 2, 0, 0])) == 1 and sample["sound"].shape == (SAMPLES,)


def test_a_clip_that_is_too_short_or_was_left_out_is_an_error_and_no_sample():
    message = dataset(samples=500)[0, 0]["error"]
    assert "has sound of 3.00 s, shorter than a mixture of 5.00 s" in message and "--data.on_error skip" in message
    assert dataset()[0, 2]["error"] == "damaged"


@pytest.mark.parametrize("frames", [1, 2])
def test_batches_go_through_the_transform_as_frames_do(frames):
    mixtures = dataset(frames=frames)
    batch = mixtures.load_batches([(0, 0), (0, 1)])[0]
    one = collate([mixtures[0, 0], mixtures[0, 1]])
    assert torch.equal(batch["features"], one["features"]) and torch.equal(batch["sounds"], one["sounds"])
    config = override(Config(), {"model.name": "PixelPlayer", "mix.volume": 0.5, "mix.clip": False})
    features, waves = MixtureTransform(config, train=True)(batch)
    assert features.shape == (2, frames, 3, 2, 2) and torch.equal(
        features.flatten(), batch["features"].float().flatten()
    )
    volumes = waves[:, -1] * 32768 / batch["sounds"][:, -1]
    assert waves.shape == (2, SAMPLES) and ((volumes >= 0.5) & (volumes <= 1.5)).all() and volumes[0] != volumes[1]
