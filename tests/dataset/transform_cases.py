"""Settings, pictures, sounds and draws for the tests of transforms."""

import numpy as np
import torch
from helpers import FixedDraws

from configs import demo_AVENet
from configs.schema import Augment, Spectrogram
from dataset.random_stream import RandomStream, sample_seed
from dataset.transforms import frames as T

OFF = Augment(crop_min=1.0, crop_max=1.0, flip=False, brightness=0, saturation=0, gain=0)
PAPER = Spectrogram()
DEMO = demo_AVENet.config.spectrogram
EVERYTHING = dict(
    crop_min=0.7, crop_max=1.1, flip=True, brightness=0.3, saturation=0.4, rotation=10, stretch=0.2, contrast=0.3,
    channel_gain=0.15, grey=0.3, erase=0.25, gain=0.1, tilt=6, noise=0.02, pitch=0.05, freq_mask=0.15, time_mask=0.15,
    blend=0.3, mix=0.3, hue=0.2,
)  # fmt: skip
SOUND_ONLY = {"gain", "mix", "tilt", "noise", "pitch", "freq_mask", "time_mask"}


def frames_of(count=2, side=64, seed=0):
    """Smooth random pictures: (count, side, side, 3) uint8, none near black or white."""
    rough = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(seed)) * 100 + 70
    smooth = torch.nn.functional.interpolate(rough, size=(side, side), mode="bicubic")
    return smooth.clamp(0, 255).round().byte().permute(0, 2, 3, 1).contiguous()


def sounds_of(count=2, rate=16000, seed=0):
    """Noise under a slow envelope: (count, rate) int16."""
    rng = np.random.default_rng(seed)
    wave = rng.standard_normal((count, rate)) * np.linspace(0.02, 0.2, rate)
    return torch.from_numpy(np.clip(wave * 32768, -32768, 32767).astype(np.int16))


def always(share, count=2):
    """Draws that all fall at the same place between their bounds: 0 the lowest, 1 the highest."""
    return FixedDraws(share, count)


def seeds_of(count, seed=0):
    return torch.tensor([sample_seed(seed, 0, f"clip{k}") for k in range(count)])


def random_draws(count, seed=0):
    return RandomStream(seeds_of(count, seed))


def seen(frames, size=64, augment=None, draws=None):
    """Frames in 0..1 again, after `prepare_frames`: (B, 3, S, S)."""
    out = T.prepare_frames(frames, size, augment, draws)
    return out * torch.tensor(T.FRAME_STD)[:, None, None] + torch.tensor(T.FRAME_MEAN)[:, None, None]


def plain(frames):
    return frames.permute(0, 3, 1, 2).float() / 255


def batch_of(config, count=4, seed=0):
    return {
        "frames": frames_of(count, config.data.resize_size),
        "sounds": sounds_of(count, config.data.sample_rate),
        "seeds": seeds_of(count, seed),
    }
