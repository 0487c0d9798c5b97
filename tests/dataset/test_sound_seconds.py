"""data.seconds: the length of the sound beside a frame, wherever it comes from; wavs are read and cut by hand."""

import dataclasses
import shutil

import numpy as np
import pytest
import soundfile
import torch
from helpers import make_clip, tone, write_genres, write_sound
from PIL import Image

from configs.schema import Config, Data, Spectrogram
from dataset.loading.loader import drop_unreadable, make_loader, make_skip_handler
from dataset.pairs import PairDataset, sample_times
from dataset.reading.benchmarks.benchmark import BenchmarkDataset
from dataset.reading.benchmarks.flickr import FlickrSoundNet
from dataset.reading.errors import MediaError
from dataset.reading.media_folder import MediaItem, sound_around
from dataset.reading.moments import iter_moments
from dataset.reading.reader import open_split
from dataset.transforms.sounds import prepare_sounds
from models.size import input_shapes
from utils.errors import UserError

RATE, LONG, CLIPS = 8000, 4.0, 3
LENGTHS = [0.25, 1.0, 2.5, LONG]


def noise(seconds, seed):
    """A sound no part of which is like another."""
    return np.random.default_rng(seed).integers(-9000, 9000, round(seconds * RATE)).astype(np.int16)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("seconds") / "clips"
    for k in range(CLIPS):
        make_clip(root / "train", f"{k}", LONG, 10, rate=RATE, sound=noise(LONG, k))
    write_genres(root / "train")
    return root


@pytest.fixture
def shards(root, make_shards):
    if not (root.parent / "shards").exists():
        make_shards(root, root.parent / "shards")
    return root.parent / "shards"


def settings(root, seconds, **more):
    return Data(
        root=str(root), seconds=seconds, sample_rate=RATE, frame_size=32, resize_size=32, frame_step=0.2, **more
    )


def pairs_of(root, seconds, misalignment=0.0, **more):
    data = settings(root, seconds)
    return PairDataset(open_split(data, "train"), 32, RATE, 0.2, misalignment, **more)


def cut_by_hand(root, clip, time, seconds):
    """The sound around a time: (samples,) int16."""
    wave, rate = soundfile.read(root / "train" / "audio" / f"{clip}.wav", dtype="int16")
    first = min(max(round(time * rate - seconds * rate / 2), 0), len(wave) - round(seconds * rate))
    return wave[first : first + round(seconds * rate)]


@pytest.mark.parametrize("seconds", LENGTHS)
@pytest.mark.parametrize("source", ["folder", "shards", "cache"])
def test_a_samples_sound_is_data_seconds_around_its_frame(root, shards, source, seconds):
    pairs = pairs_of(shards if source == "shards" else root, seconds, cache_gb=0.01 if source == "cache" else 0)
    for epoch in range(6):
        for k in range(CLIPS):
            sample = pairs[epoch, k]
            assert seconds / 2 - 1e-9 <= sample["time"] <= LONG - seconds / 2 + 1e-9
            assert np.array_equal(sample["sound"], cut_by_hand(root, k, sample["time"], seconds)), (epoch, k)
    (batch,) = make_loader(pairs, [[(0, k) for k in range(CLIPS)]], workers=1)
    assert batch["sounds"].shape == (CLIPS, round(seconds * RATE))


@pytest.mark.parametrize("cache_gb", [0, 0.01])
def test_a_misaligned_sound_stays_inside_the_clip(root, cache_gb):
    pairs, plain = (pairs_of(root, 2.5, offset, cache_gb=cache_gb, off_grid=True) for offset in (3.0, 0.0))
    moved = 0
    for epoch in range(8):
        sample, wave = pairs[epoch, 1], soundfile.read(root / "train" / "audio" / "1.wav", dtype="int16")[0]
        found = [np.array_equal(sample["sound"], wave[k : k + 20000]) for k in range(len(wave) - 20000 + 1)]
        assert sum(found) == 1 and sample["other_sound"].shape == (20000,)
        moved += not np.array_equal(sample["sound"], plain[epoch, 1]["sound"])
    assert moved > 4


def test_shards_and_folder_allow_the_same_times(root, shards):
    for seconds in (0.3, 1.0, 1.7, 3.9):
        for k in range(CLIPS):
            with open_split(settings(root, seconds), "train").open(k) as a, \
                    open_split(settings(shards, seconds), "train").open(k) as b:  # fmt: skip
                assert (a.first, a.last) == (b.first, b.last)
                assert sample_times(a.first, a.last, 0.04) == sample_times(b.first, b.last, 0.04)


@pytest.mark.parametrize("source", ["folder", "shards", "cache"])
def test_a_clip_shorter_than_data_seconds_is_that_clips_error(root, shards, source, tmp_path, make_shards):
    shutil.copytree(root, tmp_path / "clips")
    make_clip(tmp_path / "clips" / "train", "short", 2.0, 10, rate=RATE)
    write_genres(tmp_path / "clips" / "train")
    place = tmp_path / "clips"
    if source == "shards":
        make_shards(place, tmp_path / "shards")
        place = tmp_path / "shards"
    pairs = pairs_of(place, 2.5, cache_gb=0.01 if source == "cache" else 0)
    keys = [(0, k) for k in range(CLIPS + 1)]
    skipped = {}
    for on_error in ("stop", "skip"):
        batches = drop_unreadable(make_loader(pairs, [keys], 0), make_skip_handler(skipped, on_error))
        if on_error == "stop":
            with pytest.raises(UserError, match=r"short.*lasts 2\.00 s, shorter than data\.seconds \(2\.5\): fix"):
                next(batches)
        else:
            assert len(next(batches)["indices"]) == CLIPS and list(skipped) == ["short"]


def test_a_video_that_ends_before_the_middle_of_the_sound_is_an_error(tmp_path):
    make_clip(tmp_path / "train", "a", 1.2, 10, rate=RATE, sound=noise(4, 0))
    write_genres(tmp_path / "train")
    assert "error" not in pairs_of(tmp_path, 1.0)[0, 0]
    assert "1.20 s, too short for data.seconds (4) of sound around a frame" in pairs_of(tmp_path, 4.0)[0, 0]["error"]


@pytest.mark.parametrize(("hop", "seconds", "rate"), [(0.005, 1.0, 48000), (0.006, 2.3, 8000), (0.0156, 0.25, 16000)])
def test_a_net_is_told_the_columns_that_its_spectrograms_have(hop, seconds, rate):
    config = Config(Data(seconds=seconds, sample_rate=rate), Spectrogram(hop=hop, window=0.02, n_fft=1024))
    out = prepare_sounds(torch.ones(2, round(seconds * rate), dtype=torch.int16), rate, config.spectrogram)
    assert out.shape[1:] == input_shapes(config)[1] and abs(out.shape[3] - seconds / hop) <= 1


def test_the_middle_of_a_benchmarks_wav(tmp_path):
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "frames").mkdir()
    sides = "".join(f"<{side}>{at}</{side}>" for side, at in (("a", 9), ("b", 9), ("c", 99), ("d", 99)))
    (tmp_path / "Annotations" / "x.xml").write_text(f"<annotation><bbox>{sides}</bbox></annotation>")
    Image.new("RGB", (32, 32)).save(tmp_path / "frames" / "x.jpg")
    write_sound(tmp_path / "audio" / "x.wav", noise(3, 5), RATE)
    benchmark = FlickrSoundNet(tmp_path)
    for seconds in (1.0, 2.0):
        found = BenchmarkDataset(benchmark, 32, RATE, seconds)[0, 0]["sound"]
        half = round(seconds * RATE / 2)
        assert np.array_equal(found, noise(3, 5)[12000 - half : 12000 + half])
    error = BenchmarkDataset(benchmark, 32, RATE, 3.5)[0, 0]
    assert "lasts 3.00 s, shorter than data.seconds (3.5)" in error["error"]


# -------------------------------------------------------------------------------------------------- files of embed.py


@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.5, 3.7])
@pytest.mark.parametrize("hop", [1.0, 0.4])
@pytest.mark.parametrize("as_clip", [False, True])
def test_rows_stay_and_hear_data_seconds(tmp_path, seconds, hop, as_clip):
    write_sound(tmp_path / "x.wav", noise(7.7, 1), RATE)
    if as_clip:
        make_clip(tmp_path, "x", 7.7, 10, rate=RATE, sound=noise(7.7, 1))
    item = MediaItem("video/x.mp4", "video", "audio/x.wav", tmp_path)
    item = item if as_clip else MediaItem("x.wav", "sound", "x.wav", tmp_path)
    plain = [moment.time for moment in iter_moments(item, 32, RATE, hop)]
    found = list(iter_moments(item, 32, RATE, hop, seconds=seconds))
    assert [moment.time for moment in found] == plain and len(plain) >= 8
    for moment in found:
        count = round(seconds * RATE)
        first = min(max(round((moment.time - seconds / 2) * RATE), 0), round(7.7 * RATE) - count)
        assert np.array_equal(moment.sound, noise(7.7, 1)[first : first + count]), moment.time
        played = sound_around(item, moment.time, seconds)  # at 48 kHz, for the page
        assert abs(len(played) - 6 * count) <= 6
        assert np.corrcoef(played[::6][:count], moment.sound[: len(played[::6])])[0, 1] > 0.9


def test_a_file_shorter_than_data_seconds_needs_padding(tmp_path):
    write_sound(tmp_path / "x.wav", noise(2, 1), RATE)
    item = MediaItem("x.wav", "sound", "x.wav", tmp_path)
    with pytest.raises(MediaError, match=r"holds 2\.00 s of sound, less than 3 s \(data\.seconds\)"):
        list(iter_moments(item, 32, RATE, seconds=3.0))
    found = list(iter_moments(item, 32, RATE, pad=True, seconds=3.0))
    assert [moment.time for moment in found] == [0.5, 1.5]
    for moment in found:
        assert np.array_equal(moment.sound, np.append(noise(2, 1), np.zeros(RATE, np.int16)))
    write_sound(tmp_path / "x.wav", tone(0.6, RATE), RATE)
    with pytest.raises(MediaError, match=r"holds 0\.60 s of sound, less than 1 s"):
        list(iter_moments(item, 32, RATE, seconds=0.5))


def test_an_old_config_means_a_second():
    from utils.config import CONFIG_VERSION, from_dict, to_dict

    stored = to_dict(Config())
    del stored["data"]["seconds"]
    assert from_dict(stored, "best.pt", CONFIG_VERSION).data.seconds == 1.0
    player = dataclasses.replace(Config(), model=dataclasses.replace(Config().model, name="PixelPlayer"))
    assert "seconds" not in to_dict(player)["data"]
