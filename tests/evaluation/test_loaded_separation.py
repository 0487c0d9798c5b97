"""`models.load` of a PixelPlayer: a video, or pictures with a sound, separated by places."""

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
from helpers import small_pixelplayer, tone, write_video

import models
import separate
from evaluation.loaded_nets import SeparationNet
from models.pixelplayer import PixelPlayer
from utils.errors import UserError

RED, GREY, BLUE, LOW, HIGH = (220, 30, 30), (120, 120, 120), (30, 30, 220), 150, 2600
LEFT, RIGHT = (0.1, 0.5), (0.9, 0.5)


class ColorNet(PixelPlayer):
    """Gives low frequencies to red locations, high ones to blue ones."""

    def pixel_features(self, frames):
        colors = F.avg_pool2d(frames, 16)  # (B, 3, h, w)
        difference = colors[:, 0] - colors[:, 2]
        return torch.stack([difference > 1, difference < -1], 1).to(frames.dtype)

    def sound_maps(self, spectrograms):
        high = torch.linspace(-30, 30, spectrograms.shape[2])[:, None].expand(spectrograms.shape[2:])
        return torch.stack([-high, high])[None].expand(len(spectrograms), -1, -1, -1).to(spectrograms.dtype)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return models.load(small_pixelplayer(tmp_path_factory.mktemp("net") / "best.pt", **{"model.num_channels": 2}))


@pytest.fixture
def net(loaded):
    """A net that separates red from blue, instead of a trained one."""
    model = ColorNet(2, 4, 4, 6).eval()
    torch.nn.init.constant_(model.synthesizer.bias, -8)  # grey locations get no sound
    held = loaded.net
    return SeparationNet(type(held)(model, held.config, held.content, held.path))


def picture(left=RED, right=BLUE):
    values = np.full((64, 128, 3), GREY, np.uint8)
    values[:, :32], values[:, 96:] = left, right
    return values


def mixture(rate, seconds=4.0):
    return tone(seconds, rate, LOW, 0.2) + tone(seconds, rate, HIGH, 0.2)


def level(sound, pitch, rate):
    """The amplitude of a tone in the middle of a sound."""
    part = np.asarray(sound)[rate // 4 : -rate // 4]
    return 2 * np.abs(np.mean(part * np.exp(-2j * np.pi * pitch / rate * np.arange(len(part)))))


@pytest.mark.parametrize("rate", [8000, 44100])
def test_places_of_a_picture_get_their_own_tones_at_the_rate_that_was_given(net, rate):
    found = net.separate(picture(), mixture(rate), rate, at=[RIGHT, LEFT])
    high, low = found.sounds
    assert found.sounds.shape == (2, 4 * rate) and found.rate == rate and found.at == [RIGHT, LEFT]
    assert level(low, LOW, rate) == pytest.approx(0.2, abs=0.02) and level(low, HIGH, rate) < 0.005
    assert level(high, HIGH, rate) == pytest.approx(0.2, abs=0.02) and level(high, LOW, rate) < 0.005


def test_the_video_gives_the_sounds_that_separate_writes(net, tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4", [picture()] * 40, 10, sound=mixture(16000))
    monkeypatch.setattr(separate, "load_trained_net", lambda path, changes: net.net)
    words = ["--checkpoint", "net.pt", "--video", str(tmp_path / "a.mp4"), "--out", str(tmp_path / "out")]
    separate.main([*words, "--rate", "16000", "--at", "0.9,0.5", "0.1,0.5"])
    found = net.separate(tmp_path / "a.mp4", at=(RIGHT, LEFT))
    assert found.rate == 16000
    for k in (0, 1):
        written, _ = soundfile.read(tmp_path / f"out/source_{k + 1}.wav")
        np.testing.assert_allclose(found.sounds[k], written, atol=2e-4)  # 16 bits


def test_without_places_the_loudest_of_each_cluster_is_found(net):
    found = net.separate([picture()] * 3, mixture(8000), 8000)
    assert sorted(x for x, _ in found.at) == pytest.approx([0.125, 0.875])
    with pytest.raises(UserError, match="gives no pixel of the video more than 1% of the sound"):
        net.separate(picture(GREY, GREY), mixture(8000), 8000)


def test_several_pictures_are_shown_one_after_the_other(net):
    """Red is on the left first, and on the right then: the left place has the low tone, then the high one."""
    found = net.separate([picture(), picture(BLUE, RED)], mixture(8000, 8.0), 8000, at=LEFT)
    first, second = found.sounds[0, :20000], found.sounds[0, -20000:]
    assert level(first, LOW, 8000) > 0.15 > 0.02 > level(first, HIGH, 8000)
    assert level(second, HIGH, 8000) > 0.15 > 0.02 > level(second, LOW, 8000)


def test_a_sound_of_its_own_for_a_video_and_float64(net, tmp_path):
    write_video(tmp_path / "a.mp4", [picture()] * 40, 10)
    soundfile.write(tmp_path / "a.wav", mixture(11025), 11025)
    by_file = net.separate(tmp_path / "a.mp4", tmp_path / "a.wav", at=LEFT)
    by_array = net.to(torch.float64).separate(tmp_path / "a.mp4", mixture(11025), 11025, at=LEFT)
    assert by_file.rate == by_array.rate == 11025
    torch.testing.assert_close(by_file.sounds, by_array.sounds, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((picture(),), "wave is missing: pictures need a sound"),
        ((picture(), mixture(8000)), "rate is missing"),
        ((picture(), mixture(8000), 0), "rate is 0, but must be"),
        ((picture(), mixture(8000) * np.nan, 8000), "holds samples that are not numbers"),
        ((picture(), np.zeros(9000), 8000), "the sound is silent from start to end: there is nothing to separate"),
        (([], mixture(8000), 8000), "there are no pictures"),
        ((picture(), mixture(8000), 8000, (1.2, 0.5)), r"at is \(1.2, 0.5\), but must be one or more \(x, y\) in 0..1"),
        ((picture(), mixture(8000), 8000, "left"), "at is 'left', but must be"),
        ((picture(), mixture(8000), 8000, []), r"at is \[\], but must be"),
        ((picture(), mixture(8000), 8000, None, 0), "sources is 0, but must be a whole number from 1 to 64"),
        ((picture(), mixture(8000), 8000, (0.1, 0.2, 0.3, 0.4)), r"at is \(0.1, 0.2, 0.3, 0.4\), but must be"),
        ((picture(), mixture(8000), 8000, LEFT, 2), "at gives the places, and sources asks to find some: leave out"),
        (("missing.mp4",), "missing.mp4"),
        (("a.mp4", np.zeros(9000), 8000), "^the sound is silent from start to end"),
        (("a.mp4", mixture(8000)[:4000], 8000), "^the sound lasts 0.50 s: beside a video give at least 1 s"),
    ],
)
def test_mistakes_are_one_sentence(net, arguments, message):
    with pytest.raises(UserError, match=message):
        net.separate(*arguments)


def test_an_untrained_net_separates_a_short_sound(loaded):
    found = loaded.separate(picture(), tone(0.5, 48000, 500), 48000, at=[(0.5, 0.5)])
    assert found.sounds.shape == (1, 24000) and torch.isfinite(found.sounds).all()
