"""Random numbers by name: uniform, independent, the same in any batch, and none changes when another is added."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import make_clip, write_genres

from configs.schema import Augment, Spectrogram
from dataset.mixes import MixtureDataset
from dataset.pairs import PairDataset
from dataset.random_stream import RandomStream, hash_to_fraction, sample_seed
from dataset.reading.clips import Clips
from dataset.transforms.frames import prepare_frames
from dataset.transforms.sounds import prepare_sounds

COUNT = 2**14
OFF = Augment(crop_min=1.0, crop_max=1.0, flip=False, brightness=0, saturation=0, gain=0)
ALL = dict(
    crop_min=0.7, crop_max=1.1, flip=True, brightness=0.3, saturation=0.4, rotation=10, stretch=0.2, contrast=0.3,
    channel_gain=0.15, grey=0.3, erase=0.25, gain=0.1, tilt=6, noise=0.02, pitch=0.05, freq_mask=0.15, time_mask=0.15,
    blend=0.3, mix=0.3, hue=0.2,
)  # fmt: skip


def seeds(count=COUNT, seed=0, epoch=0):
    return torch.tensor([sample_seed(seed, epoch, f"clip{k:05d}") for k in range(count)])


def samples_of_numbers():
    """Columns of (COUNT,) numbers that must be independent: of several names, seeds, epochs and neighboring clips."""
    stream = RandomStream(seeds())
    columns = {name: stream.uniform(name) for name in ("flip", "crop_x", "crop_y", "hue", "a", "b")}
    names = ("tilt", "bend", "time_mask_start_1", "time_mask_start_2")
    columns |= dict(zip(names, stream.uniform(*names).unbind(1), strict=True))
    columns["next epoch"] = RandomStream(seeds(epoch=1)).uniform("flip")
    columns["other seed"] = RandomStream(seeds(seed=1)).uniform("flip")
    columns["next clip"] = columns["flip"].roll(1)
    return {name: column.double().numpy() for name, column in columns.items()}


@pytest.mark.parametrize(
    ("seed", "of", "flip", "crop_x"),
    [
        (3561498492991836895, (0, 0, "clip"), 1538396, 3962153),
        (-5311323170008783083, (3, 41, "-a_B9 ü"), 7603710, 11936458),
    ],
)
def test_numbers_are_these_on_every_machine(seed, of, flip, crop_x):
    assert sample_seed(*of) == seed
    stream = RandomStream(torch.tensor([seed]))
    assert (stream.uniform("flip") * 2**24).tolist() == [flip]
    assert (stream.uniform("crop_x", "flip") * 2**24).tolist() == [[crop_x, flip]]


def test_fractions_are_the_highest_bits_of_splitmix64():
    """The first outputs for the seed 1234567, as its authors' code gives them."""
    outputs = [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
    ]  # fmt: skip
    states = 1234567 + (0x9E3779B97F4A7C15 - 2**64) * torch.arange(1, 6)
    assert (hash_to_fraction(states) * 2**24).tolist() == [output >> 40 for output in outputs]


def test_numbers_are_uniform():
    for name, column in samples_of_numbers().items():
        assert column.min() >= 0 and column.max() < 1, name
        counts = np.histogram(column, 64, (0, 1))[0]
        chi2 = ((counts - COUNT / 64) ** 2).sum() / (COUNT / 64)  # mean 63, standard deviation 11.2
        assert 63 - 5 * 11.2 < chi2 < 63 + 5 * 11.2, name
        assert abs(column.mean() - 0.5) < 5 * (1 / 12 / COUNT) ** 0.5, name
        assert abs(column.var() - 1 / 12) < 5 * (1 / 180 / COUNT) ** 0.5, name


def test_numbers_of_different_names_seeds_epochs_and_clips_are_independent():
    for (name, one), (other_name, other) in itertools.combinations(samples_of_numbers().items(), 2):
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / COUNT**0.5, (name, other_name)
        counts = np.histogram2d(one, other, 16, [(0, 1), (0, 1)])[0]
        chi2 = ((counts - COUNT / 256) ** 2).sum() / (COUNT / 256)  # mean 255, standard deviation 22.6
        assert chi2 < 255 + 5 * 22.6, (name, other_name)


def test_numbers_do_not_depend_on_the_batch():
    every = seeds(100)
    whole = RandomStream(every).uniform("gain", low=-1)
    several = RandomStream(every).uniform("mix", "gain", "tilt", low=-1)
    assert torch.equal(whole, several[:, 1])
    for rows in ([17], [3, 99, 4], list(range(50)), list(range(99, -1, -1)), [5, 5]):
        part = RandomStream(every[rows])
        assert torch.equal(part.uniform("gain", low=-1), whole[rows])
        assert torch.equal(part.uniform("mix", "gain", "tilt", low=-1), several[rows])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_numbers_are_the_same_on_a_gpu():
    on_gpu = RandomStream(seeds().cuda()).uniform("mix", "gain", "tilt", low=-1)
    assert torch.equal(on_gpu.cpu(), RandomStream(seeds()).uniform("mix", "gain", "tilt", low=-1))


def test_bounds_are_those_asked_for():
    numbers = RandomStream(seeds()).uniform("crop_size", low=0.6, high=1.25)
    assert 0.6 <= numbers.min() < 0.602 and 1.248 < numbers.max() <= 1.25 and numbers.dtype == torch.float32


# ------------------------------------------------------------------------------------------------- as augmentation


class Recorded(RandomStream):
    """Keeps the numbers that were drawn, in 0..1, under their names."""

    def __init__(self, seeds):
        super().__init__(seeds)
        self.drawn = {}

    def uniform(self, *names, low=0.0, high=1.0):
        for name in names:
            assert name not in self.drawn, f"{name} is drawn twice: these changes would be tied together"
            self.drawn[name] = super().uniform(name)
        return super().uniform(*names, low=low, high=high)


def drawn_by(augment):
    stream, generator = Recorded(seeds(6)), torch.Generator().manual_seed(0)
    prepare_frames(torch.randint(0, 256, (6, 32, 32, 3), dtype=torch.uint8, generator=generator), 24, augment, stream)
    sounds = torch.randint(-9000, 9000, (6, 4000), dtype=torch.int16, generator=generator)
    prepare_sounds(sounds, 4000, Spectrogram(n_fft=128), augment, stream)
    return stream.drawn


def test_each_number_has_a_name_of_its_own():
    names = set(drawn_by(replace(OFF, **ALL)))
    assert {"crop_size", "flip", "hue", "erase_size", "blend", "gain", "mix", "tilt", "time_mask_start_1"} <= names
    for dataset in (PairDataset, MixtureDataset):
        assert not names & {*dataset.draw_names, "volume"}


@pytest.mark.parametrize("name", sorted(set(ALL) - {"crop_min", "crop_max"}))
def test_another_augmentation_changes_no_number_of_the_others(name):
    whole, without = drawn_by(replace(OFF, **ALL)), drawn_by(replace(OFF, **(ALL | {name: 0})))
    assert set(without) <= set(whole)
    assert all(torch.equal(whole[key], numbers) for key, numbers in without.items())


def test_another_clip_in_a_split_changes_no_sample_of_the_others(tmp_path):
    for clip in ("b", "c", "d"):
        make_clip(tmp_path / "train", clip, 2.0, 10, rate=2000)
    write_genres(tmp_path / "train")
    before = PairDataset(Clips(tmp_path, "train"), 32, 2000, 0.1, misalignment=0.3)
    three = [before[epoch, k] for epoch in range(4) for k in range(3)]
    make_clip(tmp_path / "train", "a", 2.0, 10, rate=2000)
    write_genres(tmp_path / "train")
    after = PairDataset(Clips(tmp_path, "train"), 32, 2000, 0.1, misalignment=0.3)
    four = [after[epoch, k] for epoch in range(4) for k in range(1, 4)]
    for one, other in zip(three, four, strict=True):
        assert one["index"] + 1 == other["index"] and one["time"] == other["time"] and one["seed"] == other["seed"]
        assert np.array_equal(one["frame"], other["frame"]) and np.array_equal(one["sound"], other["sound"])
    assert len({sample["time"] for sample in three}) > 3


def test_a_sample_is_the_same_in_any_batch(tmp_path):
    for clip in ("a", "b", "c", "d"):
        make_clip(tmp_path / "train", clip, 2.0, 10, rate=2000)
    write_genres(tmp_path / "train")
    pairs = PairDataset(Clips(tmp_path, "train"), 32, 2000, 0.1, misalignment=0.3, off_grid=True)
    for rows in ([2], [2, 0], [3, 1, 2], [0, 1, 2, 3]):
        (batch,) = pairs.load_batches([(5, row) for row in rows])
        k, alone = rows.index(2), pairs[5, 2]
        assert batch["seeds"][k] == alone["seed"] and batch["times"][k] == alone["time"]
        assert np.array_equal(batch["frames"][k], alone["frame"])
        assert np.array_equal(batch["sounds"][k], alone["sound"])
        assert np.array_equal(batch["sounds"][len(rows) + k], alone["other_sound"])
