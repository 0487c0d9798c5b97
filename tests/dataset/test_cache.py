"""The cache of decoded clips: it changes nothing but the time, holds what fits, and is shared by all processes."""

from itertools import islice

import numpy as np
import pytest
from helpers import make_clip, tone, write_genres

from dataset.loading.cache import ClipCache
from dataset.loading.loader import make_loader
from dataset.loading.order import EpochBatchSampler
from dataset.pairs import PairDataset
from dataset.reading.clips import Clips

CLIPS, SIZE, RATE, STEP = 8, 32, 4000, 0.1
# 0.5 .. 1.5 s in steps of 0.1 s, and 2 s of sound.
BYTES = 11 * SIZE * SIZE * 3 + 2 * 2 * RATE


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for clip in range(CLIPS):
        sound = tone(2, RATE, rng.uniform(100, 900)) + 0.1 * rng.standard_normal(2 * RATE)
        make_clip(tmp_path / "train", f"c{clip}", rate=RATE, sound=sound)
    write_genres(tmp_path / "train")
    return tmp_path


def samples(pairs, epochs=3):
    return [pairs[epoch, index] for epoch in range(epochs) for index in range(CLIPS)]


def equal(ours, theirs):
    """Whether two lists of samples are the same to the last bit."""
    return all(
        a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)
        for a, b in zip(ours, theirs, strict=True)
    )


# 1 / 7: its multiples are no round numbers. 3: none lies within the clip, so the first time alone counts.
@pytest.mark.parametrize("step", [STEP, 0.04, 1 / 7, 0.7, 3.0])
@pytest.mark.parametrize("rate", [RATE, 3000, 11025])
def test_samples_are_the_same_with_and_without_a_cache(root, rate, step):
    options = dict(resize_size=SIZE, sample_rate=rate, frame_step=step, misalignment=0.3, seed=1)
    plain = samples(PairDataset(Clips(root, "train"), **options))
    cached = PairDataset(Clips(root, "train"), **options, cache_gb=0.1)
    assert equal(samples(cached), plain)
    for kind in ("video", "audio"):  # from now on everything comes from memory
        (root / "train" / kind).rename(root / kind)
    assert equal(samples(cached), plain)
    assert all("error" not in sample for sample in plain)


def test_clips_beyond_its_size_are_read_from_disk_and_are_the_same(root):
    options = dict(resize_size=SIZE, sample_rate=RATE, frame_step=STEP, misalignment=0.3)
    plain = samples(PairDataset(Clips(root, "train"), **options))
    cached = PairDataset(Clips(root, "train"), **options, cache_gb=3.5 * BYTES / 1e9)
    assert equal(samples(cached), plain)
    assert [cached.cache.get(clip) is not None for clip in range(CLIPS)] == [True] * 3 + [False] * 5
    assert not any(cached.cache.worth_filling(clip, 1) for clip in range(CLIPS))  # not decoded whole once more
    assert equal(samples(cached), plain)
    (root / "train" / "video").rename(root / "video")
    assert ["error" in sample for sample in samples(cached, 1)] == [False] * 3 + [True] * 5


def test_a_clip_that_is_larger_than_the_cache_is_never_decoded_whole(root, monkeypatch):
    options = dict(resize_size=SIZE, sample_rate=RATE, frame_step=STEP)
    plain = samples(PairDataset(Clips(root, "train"), **options))
    cached = PairDataset(Clips(root, "train"), **options, cache_gb=0.9 * BYTES / 1e9)
    monkeypatch.setattr(PairDataset, "_decode_whole", None)
    assert equal(samples(cached), plain)


def test_what_one_process_decodes_all_others_see(root):
    options = dict(resize_size=SIZE, sample_rate=RATE, frame_step=STEP, misalignment=0.3)
    plain = samples(PairDataset(Clips(root, "train"), **options), 1)
    pairs = PairDataset(Clips(root, "train"), **options, cache_gb=0.1)
    list(islice(make_loader(pairs, EpochBatchSampler(CLIPS, 2, seed=0), workers=2), CLIPS // 2))
    assert all(pairs.cache.get(clip) is not None for clip in range(CLIPS))
    for kind in ("video", "audio"):
        (root / "train" / kind).rename(root / kind)
    assert equal(samples(pairs, 1), plain)


def test_it_returns_what_was_put_in_and_fills_to_the_last_byte():
    """Clips of odd sizes side by side: none may reach into another."""
    rng = np.random.default_rng(0)
    sizes = [(1, 5, 3), (2, 3, 7), (3, 1, 1), (1, 7, 4)]  # frames, side, samples
    clips = [
        (0.1 * k, rng.integers(0, 256, (n, side, side, 3), np.uint8), rng.integers(-9, 9, samples).astype(np.int16))
        for k, (n, side, samples) in enumerate(sizes)
    ]
    room = sum(frames.nbytes + sound.nbytes + (frames.nbytes + sound.nbytes) % 2 for _, frames, sound in clips)
    for spare, last_fits in ((0, True), (-2, False)):
        cache = ClipCache(5, (room + spare) / 1e9)
        assert all(cache.get(k) is None and cache.worth_filling(k, 1) for k in range(5))
        for k, clip in enumerate(clips):
            cache.put(k, *clip)
            assert not cache.worth_filling(k, 1)
        for k, (first, frames, sound) in enumerate(clips[: 4 if last_fits else 3]):
            found = cache.get(k)
            assert found[0] == first and np.array_equal(found[1], frames) and np.array_equal(found[2], sound)
        assert (cache.get(3) is not None) == last_fits
        assert cache.get(4) is None and not cache.worth_filling(4, room + 1)
