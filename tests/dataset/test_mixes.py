"""Mixtures: which clips, which stretch of sound, which frames; spectrograms, masks and back to sound."""

import json

import numpy as np
import pytest
import torch
from helpers import MIDS, make_clip, make_dataset, read_number, tone, write_genres
from scipy.signal import stft

from configs.schema import Config, Mix
from dataset.data_module import MixtureDataModule
from dataset.loading.loader import collate, make_loader
from dataset.loading.order import EpochBatchSampler
from dataset.mixes import MixtureDataset, fixed_mixtures
from dataset.reading.clips import Clips
from dataset.reading.errors import ClipError
from dataset.reading.reader import open_split
from dataset.transforms.mixtures import (
    MixtureSTFT,
    MixtureTransform,
    ideal_masks,
    linear_freq_positions,
    log_freq_positions,
    stack_sources,
)
from dataset.transforms.sounds import prepare_sounds
from utils.config import override
from utils.errors import UserError

RATE = 8000
SETTINGS = {
    "model.name": "PixelPlayer", "model.unet_depth": 4, "data.sample_rate": RATE, "data.resize_size": 36,
    "data.frame_size": 32, "data.frame_step": 0.2, "mix.samples": 8160 - 1, "mix.n_fft": 510, "mix.hop": 170,
    "mix.freq_bins": 64, "mix.frames": 1, "mix.frame_fit": "squeeze", "train.batch_size": 4, "train.workers": 0,
}  # fmt: skip


def config(root=None, **changes):
    where = {"data.root": str(root)} if root else {}
    return override(Config(), SETTINGS | where | {name.replace("__", "."): value for name, value in changes.items()})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("mixes") / "clips", train=10, val=8, test=6, boxes=False)


# --------------------------------------------------------------------------------------------------------- samples


@pytest.fixture
def ramp(tmp_path):
    """One clip of 4 s whose sound at sample k is k / 2, and whose picture at 10 frames a second is its number."""
    make_clip(tmp_path / "train", "ramp", 4.0, fps=10, rate=RATE, sound=np.arange(4 * RATE) / 2 / 32768)
    write_genres(tmp_path / "train")
    return tmp_path


@pytest.mark.parametrize("cache_gb", [0.0, 0.1])
def test_a_sample_is_a_stretch_of_sound_and_the_frames_within_it(ramp, cache_gb):
    settings = config(ramp, mix__frames=3, mix__frame_stride=0.4)
    mixes = MixtureDataset(Clips(ramp, "train"), settings.data, settings.mix, cache_gb=cache_gb)
    starts, middles = set(), set()
    for epoch in range(30):
        for _ in range(2):  # the second time from the cache
            found = mixes[epoch, 0]
        assert found["sound"].shape == (8159,) and found["frame"].shape == (3, 36, 36, 3)
        start = found["sound"][0] * 2 / RATE
        assert np.abs(np.diff(found["sound"].astype(int)) - 0.5).max() <= 0.5  # no gap
        shown = [read_number(frame) / 10 for frame in found["frame"]]
        assert np.diff(shown) == pytest.approx([0.4, 0.4], abs=0.21)  # on multiples of data.frame_step
        assert start - 0.11 <= shown[0] and shown[-1] <= start + 8159 / RATE + 0.11
        assert found["time"] == pytest.approx(shown[1])
        starts.add(round(start, 2)), middles.add(round(shown[1] - start, 1))
    assert min(starts) < 0.5 and max(starts) > 2.4 and len(middles) > 2


def test_the_middle_is_the_same_at_every_visit(ramp):
    settings = config(ramp)
    mixes = MixtureDataset(Clips(ramp, "train"), settings.data, settings.mix, middle=True)
    assert all((mixes[0, 0]["sound"] == mixes[epoch, 0]["sound"]).all() for epoch in range(5))
    assert mixes[0, 0]["sound"][0] == round((4 * RATE - 8159) / 2) / 2
    assert read_number(mixes[0, 0]["frame"]) == 20


def test_frames_that_reach_beyond_the_clip_are_moved_inside(ramp):
    settings = config(ramp, mix__frames=3, mix__frame_stride=3.0)
    frames = MixtureDataset(Clips(ramp, "train"), settings.data, settings.mix, middle=True)[0, 0]["frame"]
    assert [read_number(frame) for frame in frames] == [0, 20, 38]


def test_all_randomness_comes_from_seed_epoch_and_clip(data):
    settings = config(data)
    batches = {}
    for workers in (0, 2):
        data_of = MixtureDataModule(override(settings, {"train.workers": workers}), "cpu")
        source = data_of.train_batches(1, lambda *_: None)
        batches[workers] = [batch for batch, _ in zip(source, range(4), strict=False)]
    again = MixtureDataset(open_split(settings.data, "train"), settings.data, settings.mix, seed=0, cache_gb=0.01)
    order = list(zip(EpochBatchSampler(10, 4, 0, start=1), range(4), strict=False))
    batches["cache"] = [next(iter(make_loader(again, [keys], 0))) for keys, _ in order]
    for kind in (2, "cache"):
        for one, other in zip(batches[0], batches[kind], strict=True):
            assert all(torch.equal(one[name], other[name]) for name in ("frames", "sounds", "seeds", "indices"))


def test_shards_give_mixtures_of_the_same_clips(data, tmp_path, make_shards):
    make_shards(data, tmp_path / "shards")
    found = {}
    for root in (data, tmp_path / "shards"):
        settings = config(root)
        found[root] = MixtureDataset(open_split(settings.data, "train"), settings.data, settings.mix)[3, 7]
    one, other = found.values()
    assert (one["sound"] == other["sound"]).all() and one["time"] == other["time"]
    assert np.abs(one["frame"].astype(int) - other["frame"]).mean() < 4  # they are JPEGs there


def test_a_clip_that_is_too_short_is_named(tmp_path):
    for clip, seconds in (("long", 1.2), ("short", 1.01)):
        make_clip(tmp_path / "train", clip, seconds, rate=RATE)
    write_genres(tmp_path / "train")
    settings = config(tmp_path)
    mixes = MixtureDataset(Clips(tmp_path, "train"), settings.data, settings.mix)
    batch = next(iter(make_loader(mixes, [[(0, 0), (0, 1)]], 0)))
    assert batch["indices"].tolist() == [0]
    ((clip, message),) = batch["errors"]
    assert clip == "short" and "1.01 s, shorter than a mixture of 1.02 s" in message and "--mix.samples" in message


def test_a_clip_that_cannot_be_read_is_named(tmp_path):
    make_dataset(tmp_path, train=3, val=0, test=0)
    (tmp_path / "train/audio/train_0001.wav").write_bytes(b"RIFF")
    settings = config(tmp_path)
    batch = next(
        iter(make_loader(MixtureDataset(Clips(tmp_path, "train"), settings.data, settings.mix), [[(0, 0), (0, 1)]], 0))
    )
    assert batch["errors"][0][0] == "train_0001" and batch["indices"].tolist() == [0]


def test_volumes_vary_in_training_alone(data):
    settings = config(data)
    mixes = MixtureDataset(open_split(settings.data, "train"), settings.data, settings.mix)
    batch = collate([mixes[epoch, 0] for epoch in range(40)])
    frames, waves = MixtureTransform(settings, train=False)(batch)
    assert frames.shape == (40, 1, 3, 32, 32) and torch.equal(waves, batch["sounds"].float() / 32768)
    _, changed = MixtureTransform(settings, train=True)(batch)
    factors = (changed / waves).nanmedian(1).values
    assert 0.5 <= factors.min() < 0.65 and 1.35 < factors.max() <= 1.5


def test_a_step_in_half_precision_sees_the_same_pictures_and_sounds(data):
    settings = config(data)
    mixes = MixtureDataset(open_split(settings.data, "train"), settings.data, settings.mix)
    batch, see = collate([mixes[0, k] for k in range(4)]), MixtureTransform(settings, train=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = (*see(batch), see.avc_spectrograms(batch))
    assert all(map(torch.equal, found, (*see(batch), see.avc_spectrograms(batch))))


def test_ave_net_sees_the_unmixed_sounds_as_it_does_alone(data):
    settings = config(data)
    mixes = MixtureDataset(open_split(settings.data, "train"), settings.data, settings.mix)
    batch = collate([mixes[0, k] for k in range(4)])
    plain = prepare_sounds(batch["sounds"], settings.data.sample_rate, settings.spectrogram)
    assert torch.equal(MixtureTransform(settings, train=False).avc_spectrograms(batch), plain)
    assert not torch.equal(MixtureTransform(settings, train=True).avc_spectrograms(batch), plain)


# ----------------------------------------------------------------------------------------------------- the mixtures


def test_a_batch_is_mixed_in_a_ring():
    values = torch.arange(5)
    assert stack_sources(values, 3).tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 0], [4, 0, 1]]


class Split:
    """What `fixed_mixtures` asks of a split."""

    folder = "FOLDER"

    def __init__(self, labels, skipped=()):
        self.labels, self.ids = labels, [f"clip{k}" for k in range(len(labels))]
        self.skipped = dict.fromkeys(skipped, "it can't be read")


@pytest.mark.parametrize("sources", [2, 3])
def test_fixed_mixtures_are_of_different_classes_and_use_each_clip_as_often(sources):
    rng = np.random.default_rng(0)
    labels = [rng.choice(MIDS, rng.integers(1, 5 - sources), replace=False).tolist() for _ in range(60)]
    found = fixed_mixtures(Split(labels), Mix(sources=sources))
    assert len(found) >= 58
    for one in found:
        classes = [label for place in one for label in labels[place]]
        assert len(set(one)) == sources and len(set(classes)) == len(classes)
    counts = np.bincount(np.array(found).ravel(), minlength=60)
    assert counts.max() == sources and (counts == sources).sum() >= 60 - 2 * sources
    assert found == fixed_mixtures(Split(labels), Mix(sources=sources))


def test_a_class_that_is_in_most_clips_leaves_mixtures_out():
    found = fixed_mixtures(Split([["a"]] * 9 + [["b"]]), Mix())
    assert found and all(9 in one for one in found)
    with pytest.raises(UserError, match="FOLDER has no 2 clips of different classes"):
        fixed_mixtures(Split([["a"]] * 9), Mix())


def test_a_users_list_of_mixtures_is_taken_as_it_is(tmp_path):
    file = tmp_path / "pairs.json"
    file.write_text(json.dumps([["clip3", "clip0"], ["clip1", "clip2"], ["clip0", "gone"]]))
    split = Split([["a"]] * 4, skipped=["gone"])
    assert fixed_mixtures(split, Mix(pairs=str(file))) == [[3, 0], [1, 2]]  # the user's word, whatever the labels say


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('[["clip0", "clip9"]]', "clip9"),
        ('[["clip0", "clip0"]]', "clip0"),
        ('[["clip0"]]', "invalid format"),
        ('{"clip0": "clip1"}', "invalid format"),
        ("[1]", "invalid format"),
        ("[[", "not valid JSON"),
    ],
)
def test_a_users_list_that_is_wrong_is_refused_in_one_sentence(tmp_path, content, said):
    file = tmp_path / "pairs.json"
    file.write_text(content)
    with pytest.raises(UserError, match=said) as error:
        fixed_mixtures(Split([["a"]] * 4), Mix(pairs=str(file)))
    assert str(file) in str(error.value) and "\n" not in str(error.value)


PAIRS = "/flute/clip3.wav, /cello/clip0.wav\n/a/clip1.mp4,/b/clip2.mp3\n/flute/clip3.wav, /cello/clip0.wav\n"


@pytest.mark.parametrize("head", ["", "audio1, audio2\n", "\ufeff# of a paper\n", "\n1,2\n"])
def test_a_papers_csv_of_mixtures_is_taken_line_by_line(tmp_path, head, capsys):
    (tmp_path / "pairs.csv").write_text(head + PAIRS, encoding="utf-8")
    found = fixed_mixtures(Split([["a"]] * 4), Mix(pairs=str(tmp_path / "pairs.csv")))
    assert found == [[3, 0], [1, 2], [3, 0]] and capsys.readouterr().err == ""


def test_lines_of_clips_that_are_gone_are_counted_and_none_left_is_refused(tmp_path, capsys):
    file = tmp_path / "pairs.csv"
    file.write_text(PAIRS + "x/clip1.wav,x/lost.wav\n")
    assert len(fixed_mixtures(Split([["a"]] * 4), Mix(pairs=str(file)))) == 3
    assert f"1 of 4 mixtures of {file} (25%) are left out: FOLDER lacks 1 clip, such as lost" in capsys.readouterr().err
    with pytest.raises(UserError, match="no mixture of clips of FOLDER, which lacks 4 clips of 4 lines, such as clip1"):
        fixed_mixtures(Split([["a"]]), Mix(pairs=str(file)))


@pytest.mark.parametrize("line", ["a/clip0.wav", "clip0,clip0", "a/clip0.wav,a/clip1.wav,a/clip2.wav", "clip0,a/.."])
def test_a_line_that_is_no_mixture_is_named(tmp_path, line):
    (tmp_path / "pairs.csv").write_text(PAIRS + line)
    with pytest.raises(UserError, match=r"pairs.csv, line 4 is '.*', but must name 2 different clips"):
        fixed_mixtures(Split([["a"]] * 4), Mix(pairs=str(tmp_path / "pairs.csv")))


# ----------------------------------------------------------------------------------------------------- spectrograms


def test_the_spectrogram_is_scipys_and_turns_back_into_the_sound():
    mix = Mix(samples=8000, n_fft=512, hop=128)
    waves, spectra = torch.rand(2, 3, 8000) * 2 - 1, MixtureSTFT(mix)
    found = spectra.stft(waves)
    assert found.shape == (2, 3, 257, 63)
    wanted = stft(waves[1, 2].numpy(), nperseg=512, noverlap=384, padded=False)[2] * 256  # scipy scales by the window
    assert np.abs(found[1, 2].numpy() - wanted[:, :63]).max() < 1e-2
    assert torch.allclose(spectra.istft(found, 8000), waves, atol=1e-5)


@pytest.mark.parametrize(("n_fft", "hop", "samples"), [(512, 128, 8000), (510, 128, 7777), (1022, 300, 9001)])
def test_spectra_turn_into_the_waves_of_torch(n_fft, hop, samples):
    spectra = MixtureSTFT(Mix(samples=samples, n_fft=n_fft, hop=hop))
    masked = spectra.stft(torch.randn(2, 3, samples))
    masked = masked * torch.rand(masked.shape)
    window = torch.hann_window(n_fft)
    for length in (samples, samples - 100, samples + 700):
        expected = torch.istft(masked.flatten(0, 1), n_fft, hop, window=window, center=True, length=length)
        found = spectra.istft(masked, length)
        within = samples - n_fft  # at its very end torch divides by almost nothing
        assert found.shape == (2, 3, length)
        assert torch.allclose(found.flatten(0, 1)[:, :within], expected[:, :within], atol=1e-5)


def test_the_papers_spectrogram_is_512_by_256_and_256_by_256_in_rows():
    spectra = MixtureSTFT(Mix())
    found = spectra.stft(torch.rand(1, 65535))
    assert found.shape == (1, 512, 256) and spectra.net_input(found).shape == (1, 1, 256, 256)


def test_rows_lie_at_their_frequencies_and_masks_find_back():
    spectra = MixtureSTFT(Mix(n_fft=1022, freq_bins=256))
    bins = torch.linspace(0, 1, 512)[None, None, :, None].expand(1, 1, 512, 4)
    rows = spectra.to_log_freq(bins)[0, 0, :, 0]
    assert torch.allclose(rows, log_freq_positions(256).float(), atol=1e-5)
    assert rows[0] == 0 and rows[-1] == pytest.approx(1) and rows[128] == pytest.approx(0.18, abs=0.01)
    smooth = torch.sin(3 * bins)
    assert (spectra.to_linear_freq(spectra.to_log_freq(smooth)) - smooth).abs().max() < 1e-3
    assert torch.allclose(log_freq_positions(7)[[0, 3, 6]], (21 ** torch.tensor([0, 0.5, 1.0]).double() - 1) / 20)
    assert torch.allclose(linear_freq_positions(9)[[0, 8]], torch.tensor([0.0, 1.0]).double())
    linear = MixtureSTFT(Mix(freq_bins=0))
    assert linear.to_log_freq(bins) is bins and linear.to_linear_freq(bins) is bins


def test_ideal_masks_part_two_tones(tmp_path):
    low, high = (torch.from_numpy(tone(1.0, RATE, pitch)).float() for pitch in (300, 2000))
    truths = torch.stack([low, high])[None] / 2
    for mask in ("binary", "soft", "ratio"):
        spectra = MixtureSTFT(Mix(samples=RATE, n_fft=510, hop=128, freq_bins=128, mask=mask))
        sources = spectra.stft(truths)
        mixture = sources.sum(1)
        targets = spectra.targets(sources, mixture)
        assert targets.shape == (1, 2, 128, 63) and targets.min() >= 0
        assert set(targets.unique().tolist()) == {0.0, 1.0} if mask != "ratio" else targets.max() <= 5
        found = spectra.apply_masks(targets, mixture, RATE)
        off = (found - truths).square().sum(-1) / truths.square().sum(-1)
        assert found.shape == (1, 2, RATE) and off.max() < 0.02


def test_binary_masks_are_cut_at_a_half_and_soft_ones_are_not():
    mixture, masks = torch.randn(1, 256, 9, dtype=torch.complex64), torch.full((1, 1, 256, 9), 0.75)
    whole = {kind: MixtureSTFT(Mix(n_fft=510, freq_bins=0, mask=kind)) for kind in ("binary", "soft")}
    sounds = {kind: spectra.apply_masks(masks, mixture, 2000) for kind, spectra in whole.items()}
    assert torch.allclose(sounds["soft"], 0.75 * sounds["binary"], atol=1e-6)
    assert not whole["binary"].apply_masks(masks / 2, mixture, 2000).any()


def test_a_ratio_is_cut_where_sources_cancel_out():
    sources, mixture = torch.tensor([3.0, 3.0]).view(1, 2, 1, 1), torch.full((1, 1, 1, 1), 0.1)
    assert ideal_masks(sources, mixture, "ratio").tolist() == [[[[5.0]], [[5.0]]]]
    assert ideal_masks(0 * sources, 0 * mixture, "ratio").sum() == 0


def test_weights_grow_with_the_logarithm_of_the_mixture():
    spectra = MixtureSTFT(Mix(n_fft=510, freq_bins=0))
    mixture = torch.tensor([0.0, 1.0, 1e9]).view(1, 1, 3).to(torch.complex64).expand(1, 256, 3)
    assert spectra.weights(mixture)[0, 0, 0].tolist() == pytest.approx([1e-3, np.log(2), 10.0])
    linear = MixtureSTFT(Mix(n_fft=510, freq_bins=0, weights="linear")).weights(mixture / 1e8)
    assert linear[0, 0, 0].tolist() == pytest.approx([1e-3, 1e-3, 3.0])
    assert MixtureSTFT(Mix(n_fft=510, freq_bins=0, weights="none")).weights(mixture).unique().tolist() == [1.0]


def test_an_epoch_is_as_many_passes_as_the_setting_says(data):
    assert MixtureDataModule(config(data), "cpu").steps_per_epoch == 2
    assert MixtureDataModule(config(data, mix__repeats=5), "cpu").steps_per_epoch == 10


def test_silence_is_no_error_where_the_clip_has_sound(tmp_path):
    sound = np.concatenate([np.zeros(RATE * 2), tone(0.5, RATE)])
    make_clip(tmp_path / "train", "late", 2.5, rate=RATE, sound=sound)
    make_clip(tmp_path / "train", "never", 2.5, rate=RATE, sound=0 * sound)
    write_genres(tmp_path / "train")
    settings = config(tmp_path)
    mixes = MixtureDataset(Clips(tmp_path, "train"), settings.data, settings.mix, middle=True)
    assert not mixes[0, 0]["sound"].any()
    assert "silent" in mixes[0, 1]["error"]
    with pytest.raises(ClipError, match="silent"), mixes.clips.open(1) as clip:
        clip.waveform(0, 100, RATE)
