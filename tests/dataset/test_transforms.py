"""Changes of whole samples: seeds decide them, batches and threads don't, and each setting changes its own half."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from transform_cases import (
    DEMO,
    EVERYTHING,
    OFF,
    PAPER,
    SOUND_ONLY,
    always,
    batch_of,
    frames_of,
    plain,
    seeds_of,
    seen,
    sounds_of,
)

import dataset.transforms.sounds as sounds_module
from configs import demo_AVENet
from configs.schema import Augment, Config, Data, Spectrogram
from dataset.transforms import frames as T
from dataset.transforms import sounds as S


@pytest.mark.parametrize("train", [True, False])
def test_shapes_of_the_papers_and_the_demos_settings(train):
    frames, sounds = T.PairTransform(Config(), train)(batch_of(Config()))
    assert frames.shape == (4, 3, 224, 224) and sounds.shape == (4, 1, 257, 200)
    config = demo_AVENet.config
    frames, sounds = T.PairTransform(config, train)(batch_of(config))
    size, bands = config.data.frame_size, config.spectrogram.n_mels
    assert frames.shape == (4, 3, size, size)
    assert sounds.shape == (4, 1, bands, round(1 / config.spectrogram.hop))
    assert frames.dtype == sounds.dtype == torch.float32


def test_augmentation_with_everything_off_changes_nothing():
    frames, sounds = frames_of(), sounds_of()
    for share in (0.0, 0.3, 0.999):
        assert torch.allclose(seen(frames, 64, OFF, always(share)), plain(frames), atol=1e-5)
        for spec in (PAPER, DEMO):
            ours = S.prepare_sounds(sounds, 16000, spec, OFF, always(share))
            assert torch.equal(ours, S.prepare_sounds(sounds, 16000, spec))


def small(**changes):
    """A small config with these augmentations alone."""
    return Config(
        data=Data(frame_size=48, resize_size=64, sample_rate=8000),
        spectrogram=Spectrogram(window=0.032, hop=0.02, n_fft=256),
        augment=replace(OFF, **changes),
    )


def test_seeds_decide_everything():
    """Same seeds, same picture, whatever the global generator does; other seeds, another; in evaluation none matter."""
    config = small(**EVERYTHING)
    see, plainly = T.PairTransform(config, train=True), T.PairTransform(config, train=False)
    batch = batch_of(config)
    other = batch | {"seeds": seeds_of(4, seed=1)}
    torch.manual_seed(1)
    ours = see(batch)
    torch.manual_seed(2)
    for first, again, different in zip(ours, see(batch), see(other), strict=True):
        assert torch.equal(first, again)
        assert all(not torch.allclose(a, b, atol=1e-2) for a, b in zip(first, different, strict=True))
    for one, two in zip(plainly(batch), plainly(other), strict=True):
        assert torch.equal(one, two)


def test_each_change_has_draws_of_its_own():
    """One draw for several changes would tie them together: bright pictures would always be red, say."""
    config = small(channel_gain=0.2, brightness=0.2)
    out = T.PairTransform(config, train=True)(batch_of(config, count=16))[0]
    off = T.PairTransform(small(), train=True)(batch_of(config, count=16))[0]
    mean, std = torch.tensor(T.FRAME_MEAN)[:, None, None], torch.tensor(T.FRAME_STD)[:, None, None]
    gains = ((out * std + mean) / (off * std + mean))[:, :, 24, 24]  # (16, 3)
    assert np.abs(np.corrcoef(gains.T) - np.eye(3)).max() < 0.9
    assert (gains.amax(1) - gains.amin(1)).median() > 0.05


def test_all_changes_together_stay_finite():
    assert {field.name for field in fields(Augment)} == {*EVERYTHING, "ramp"}  # a new setting belongs into these tests
    config = small(**EVERYTHING)
    frames, sounds = T.PairTransform(config, train=True)(batch_of(config))
    assert torch.isfinite(frames).all() and torch.isfinite(sounds).all()


def test_augmentation_grows_from_nothing_to_its_full_strength():
    config = small(**(EVERYTHING | {"flip": False, "ramp": 0.5}))
    see, batch = T.PairTransform(config, train=True), batch_of(config)
    nothing = T.PairTransform(small(), train=True)(batch)
    full = T.PairTransform(small(**(EVERYTHING | {"flip": False})), train=True)(batch)
    at = {progress: see(batch | {"progress": progress}) for progress in (0.0, 0.25, 0.5, 0.9, 1.0)}
    for k in range(2):
        assert torch.allclose(at[0.0][k], nothing[k], atol=1e-5)
        assert all(torch.allclose(at[progress][k], full[k]) for progress in (0.5, 0.9, 1.0))
        between = (at[0.25][k] - nothing[k]).abs().mean(), (full[k] - nothing[k]).abs().mean()
        assert 0.1 * between[1] < between[0] < 0.9 * between[1]


def test_a_sample_does_not_depend_on_its_batch():
    """But for the changes that bring in another clip."""
    config = small(**(EVERYTHING | {"blend": 0, "mix": 0}))
    see, batch = T.PairTransform(config, train=True), batch_of(config)
    together = see(batch)
    for k in range(4):
        alone = see({key: value[k : k + 1] for key, value in batch.items()})
        assert all(torch.allclose(a[0], b[k], atol=1e-4) for a, b in zip(alone, together, strict=True))


def test_threads_are_as_many_as_before():
    before, inside = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        sounds_module.apply_in_chunks(lambda x: inside.append(torch.get_num_threads()) or x, torch.zeros(3, 2))
        with pytest.raises(ZeroDivisionError):
            sounds_module.apply_in_chunks(lambda x: x / (1 // 0), torch.zeros(3, 2))
        assert inside == [1] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("kind", ["one frame", "several frames", "flow", "other sounds"])
def test_how_many_samples_are_changed_at_a_time_makes_no_difference(kind, monkeypatch):
    """Also of the changes that bring in another clip, which may be one that is changed before or after."""
    config = small(**EVERYTHING)
    batch = batch_of(config, count=7)
    if kind == "several frames":
        batch["frames"] = torch.stack([frames_of(7, 64, seed) for seed in range(3)], 1)
    if kind == "flow":
        batch["flows"] = frames_of(7, 64).char().repeat(1, 1, 1, 2)[..., :4]
    if kind == "other sounds":
        batch["sounds"] = torch.cat([batch["sounds"], sounds_of(7, 8000, 1)])
    for train in (True, False):
        found = []
        for count in (1, 3, 100):
            monkeypatch.setattr(sounds_module, "CHUNK_BYTES", count * 4 * batch["frames"][0].numel())
            found.append(T.PairTransform(config, train)(batch))
        for frames, sounds in found[:2]:
            torch.testing.assert_close(frames, found[2][0], atol=1e-5, rtol=0)
            torch.testing.assert_close(sounds, found[2][1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", sorted(set(EVERYTHING) - {"crop_max"}))
def test_every_setting_does_something_to_its_own_half_only(name):
    """An option that never takes effect, or reaches into the other modality, is a bug that no loss curve shows."""
    changes = {key: EVERYTHING[key] for key in ((name, "crop_max") if name == "crop_min" else (name,))}
    config = small(**changes)
    batch = batch_of(config, count=16)
    frames, sounds = T.PairTransform(config, train=True)(batch)
    frames_off, sounds_off = T.PairTransform(small(), train=True)(batch)
    changed = ((frames - frames_off).abs().amax((1, 2, 3)) > 1e-3, (sounds - sounds_off).abs().amax((1, 2, 3)) > 1e-3)
    assert bool(changed[0].any()) == (name not in SOUND_ONLY)
    assert bool(changed[1].any()) == (name in SOUND_ONLY)


@pytest.mark.parametrize("config", [Config(), demo_AVENet.config], ids=["paper", "demo"])
@pytest.mark.parametrize("train", [True, False])
def test_bf16_autocast_costs_the_input_no_precision(config, train):
    """Training calls the transform under autocast; log power in half precision would be off by more than a unit."""
    see, batch = T.PairTransform(config, train), batch_of(config)
    frames, sounds = see(batch)
    with torch.autocast("cpu", torch.bfloat16):
        frames_16, sounds_16 = see(batch)
    assert sounds_16.dtype == torch.float32 and (sounds_16 - sounds).abs().max() < 1e-3
    assert frames_16.dtype == torch.float32 and (frames_16 - frames).abs().max() < 1e-3
