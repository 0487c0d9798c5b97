"""data.moments in training: several moments of a clip in a sample, from folders, shards and the cache."""

import numpy as np
import pytest
import torch
from helpers import make_clip, numbered, read_number, write_genres

from configs.schema import Augment, Config, Data, Model
from dataset.loading.loader import make_loader
from dataset.pairs import PairDataset
from dataset.reading.reader import open_split
from dataset.transforms.frames import PairTransform

CLIPS, SECONDS, RATE, FPS, STEP = 4, 4.0, 2000, 10, 0.2
SAMPLES = round(SECONDS * RATE)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Clips whose every picture and every sample tell the clip and the time."""
    root = tmp_path_factory.mktemp("sample_moments") / "clips"
    for clip in range(CLIPS):
        ramp = (np.arange(SAMPLES) + clip * SAMPLES - 30000).astype(np.int16)
        pictures = [numbered(64 * clip + k) for k in range(round(SECONDS * FPS))]
        make_clip(root / "train", f"{clip}", SECONDS, FPS, rate=RATE, pictures=pictures, sound=ramp)
    write_genres(root / "train")
    return root


@pytest.fixture(params=["folder", "shards", "cache"])
def pairs_of(request, root, make_shards):
    place = root
    if request.param == "shards":
        place = root.parent / "shards"
        if not place.exists():
            make_shards(root, place)

    def build(moments, seconds=1.0, **more):
        data = Data(root=str(place), seconds=seconds, sample_rate=RATE, resize_size=32, frame_size=32, frame_step=STEP)
        cache = 0.01 if request.param == "cache" else 0
        return PairDataset(open_split(data, "train"), 32, RATE, STEP, cache_gb=cache, moments=moments, **more)

    return build


@pytest.mark.parametrize(("moments", "seconds"), [(3, 1.0), (4, 2.5)])
def test_moments_are_evenly_spaced_and_each_has_its_own_sound(pairs_of, moments, seconds):
    pairs, again = pairs_of(moments, seconds), pairs_of(moments, seconds)
    firsts = set()
    times = [k * STEP for k in range(20) if seconds / 2 - 1e-6 <= k * STEP <= SECONDS - seconds / 2 + 1e-6]
    for epoch in range(8):
        for clip in range(CLIPS):
            sample = pairs[epoch, clip]
            assert sample["frame"].shape == (moments, 32, 32, 3)
            assert sample["sound"].shape == (moments, round(seconds * RATE))
            shown = [divmod(read_number(frame), 64) for frame in sample["frame"]]
            heard = [divmod(int(sound[0]) + 30000, SAMPLES) for sound in sample["sound"]]
            assert all(one[0] == clip for one in shown + heard)
            at = [picture / FPS for _, picture in shown]
            assert [first / RATE + seconds / 2 for _, first in heard] == pytest.approx(at, abs=1e-6)
            gaps = np.diff(at)  # whole steps, as equal as they can be
            assert np.abs(gaps - len(times) / moments * STEP).max() < STEP + 1e-6
            assert sample["time"] == pytest.approx(at[moments // 2])
            firsts.add(at[0])
            same = again[epoch, clip]
            assert np.array_equal(same["frame"], sample["frame"]) and np.array_equal(same["sound"], sample["sound"])
    assert len(firsts) > 1 or len(times) // moments < 2


def test_one_moment_is_the_sample_without_the_setting(pairs_of):
    one, plain = pairs_of(1), pairs_of(1, even=False)
    assert one[2, 1]["frame"].ndim == 3 and np.array_equal(one[2, 1]["sound"], plain[2, 1]["sound"])
    first = pairs_of(3)[2, 1]
    assert first["seed"] == one[2, 1]["seed"]


def test_too_many_moments_are_that_clips_error(pairs_of):
    error = pairs_of(30)[0, 2]
    assert "holds clip 2, which has 15 times for a frame with its sound, fewer than data.moments (30)" in error["error"]
    assert error["clip"] == "2"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_has_a_row_for_each_moment_with_its_own_augmentation(pairs_of, workers):
    (batch,) = make_loader(pairs_of(3), [[(0, k) for k in range(CLIPS)]], workers)
    assert batch["frames"].shape == (CLIPS, 3, 32, 32, 3) and batch["sounds"].shape == (CLIPS, 3, RATE)
    data = Data(frame_size=32, resize_size=32, sample_rate=RATE, moments=3)
    config = Config(data, model=Model(name="AVENet"), augment=Augment(gain=0.5, flip=False))
    plain, _ = PairTransform(config, train=False)(batch)
    for row in range(3 * CLIPS):  # the first moments of all clips, then the second ones
        moment, clip = divmod(row, CLIPS)
        alone = {"frames": batch["frames"][clip : clip + 1, moment], "sounds": batch["sounds"][clip : clip + 1, moment]}
        assert torch.equal(plain[row], PairTransform(config, train=False)(alone)[0][0])
    same = batch | {name: batch[name][:, :1].expand(-1, 3, *batch[name].shape[2:]) for name in ("frames", "sounds")}
    frames, sounds = PairTransform(config, train=True)(same)
    assert not torch.equal(frames[0], frames[CLIPS]) and not torch.equal(sounds[0], sounds[CLIPS])
    once = batch | {name: batch[name][:, 0] for name in ("frames", "sounds")}
    single, _ = PairTransform(config, train=True)(once)
    assert torch.equal(frames[:CLIPS], single)
