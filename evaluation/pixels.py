"""A PixelPlayer on a video of any length: what each pixel sounds like, and the sounds of chosen ones (SoP sec. 3.4).

The net hears pieces of mix.samples. They overlap by half and are cross-faded; a sound that is shorter than one piece
is heard with silence after it. What is heard at an instant is what the masks of its own frame's pixels leave of it.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np
import torch

from dataset.spectra import Spectra, row_places
from dataset.transforms import prepare_frames
from utils.engine import autocast

LOOKS = 8  # frames a second that are looked at (SoP sec. 4.1)
AROUND = 0.5  # a pixel's spectrum at an instant is that of the sound from so much before to so much after it, seconds


@dataclass(frozen=True)
class Pixels:
    """What the pixels of a video sound like, at M instants, on h x w places.

    Attributes:
        times: (M,) seconds. energies: (M, h, w) float32, of the sound that the pixel is given at that instant.
        spectra: (M, h, w, rows) float32, its power around that instant. mixtures: (M, rows), that of all sound.
    """

    times: np.ndarray
    energies: np.ndarray
    spectra: np.ndarray
    mixtures: np.ndarray


def pieces(samples, length):
    """First samples of the pieces that cover a sound, (P,) int: evenly spaced, overlapping by half or a little more."""
    if samples <= length:
        return np.zeros(1, int)
    return np.linspace(0, samples - length, ceil((samples - length) / (length / 2)) + 1).round().astype(int)


class Listener:
    """A net, and the sound that it shall take apart.

    Args:
        net: an `evaluation.net.Net` of a PixelPlayer. clip: an open `dataset.clips.OpenClip`.

    Attributes:
        wave: (samples,) float32 in -1..1 at the net's rate. seconds: of the video with its sound.
    """

    def __init__(self, net, clip):
        self.net, self.clip, self.mix, self.rate = net, clip, net.config.mix, net.config.data.sample_rate
        self.spectra = Spectra(self.mix)
        self.wave = torch.from_numpy(clip.whole_sound(self.rate)).float() / 32768
        self.seconds = len(self.wave) / self.rate
        self.starts = pieces(len(self.wave), self.mix.samples)

    def _look(self, times):
        """Features of the frames shown at ascending times, seconds: (M, K, h, w) float32."""
        data = self.net.config.data
        times = [min(max(time, 0.0), self.clip.shown_until) for time in times]
        frames = torch.from_numpy(self.clip.frames(times, data.stored_size)).to(self.net.device)
        with autocast(self.net.device, self.net.config.train.precision):
            return self.net.model.pixel_features(prepare_frames(frames, data.frame_size)).float()

    def _hear(self, start):
        """The piece that begins at a sample: its spectrum (bins, T) complex and its maps (K, rows, T)."""
        wave = self.wave[start : start + self.mix.samples]
        wave = torch.nn.functional.pad(wave, (0, self.mix.samples - len(wave))).to(self.net.device)
        spectrum = self.spectra.stft(wave[None])
        with autocast(self.net.device, self.net.config.train.precision):
            maps = self.net.model.sound_maps(self.spectra.net_input(spectrum))
        return spectrum[0], maps[0].float()

    @torch.no_grad()
    def pixels(self):
        """Look and listen at LOOKS instants a second: a `Pixels`."""
        times = np.arange(0, self.seconds, 1 / LOOKS)
        middles = self.starts + self.mix.samples / 2
        nearest = np.abs(times[:, None] * self.rate - middles).argmin(1)
        found = []
        for piece, start in enumerate(self.starts):
            mine = times[nearest == piece]
            if not len(mine):
                continue
            spectrum, maps = self._hear(start)
            magnitudes = self.spectra.rows(spectrum.abs()[None, None])[0, 0]  # (rows, T)
            for time, features in zip(mine, self._look(mine), strict=True):
                found.append(self._at(time - start / self.rate, features, maps, magnitudes))
        energies, spectra, mixtures = (torch.stack(part).cpu().numpy() for part in zip(*found, strict=True))
        return Pixels(times, energies, spectra, mixtures)

    def _at(self, time, features, maps, magnitudes):
        """(h, w) energies at `time`, seconds into a piece; (h, w, rows) spectra and (rows,) the mixture's around it."""

        def columns(reach):
            first, last = ((time + way * reach) * self.rate / self.mix.hop for way in (-1, 1))
            first = min(max(round(first), 0), magnitudes.shape[1] - 1)
            return slice(first, max(round(last), first) + 1)

        around, now = columns(AROUND), columns(0.5 / LOOKS)
        now = slice(now.start - around.start, now.stop - around.start)
        heard = magnitudes[:, around]
        # Rows lie closer where the frequencies are low: each stands for fewer bins there.
        places = row_places(self.mix.rows) if self.mix.rows else torch.linspace(0, 1, len(heard), dtype=torch.float64)
        share = torch.gradient(places)[0].float().to(heard.device)
        energies, spectra = [], []
        for masks in self.net.model.masks_at_pixels(features, maps[:, :, around]):
            power = (self._cut(masks) * heard) ** 2  # (few, w, rows, columns)
            energies.append(power[..., now].mean(-1) @ share)
            spectra.append(power.mean(-1))
        return torch.cat(energies), torch.cat(spectra), (heard**2).mean(-1)

    def _cut(self, masks):
        """Masks as they separate: binary ones are 0 or 1."""
        return (masks > 0.5).float() if self.mix.mask == "binary" else masks

    @torch.no_grad()
    def separated(self, places):
        """The sounds of places: list of N (x, y) in 0..1 -> (N, samples) float32, cross-faded from piece to piece."""
        length = self.mix.samples
        fade = 1 - (2 * (torch.arange(length) + 0.5) / length - 1).abs()  # (samples of a piece,), nowhere 0
        out, weight = torch.zeros(len(places), self.starts[-1] + length), torch.zeros(self.starts[-1] + length)
        for start in self.starts:
            spectrum, maps = self._hear(start)
            middle = (start + length / 2) / self.rate
            middle = min(middle, self.seconds / 2) if len(self.starts) == 1 else middle  # of what is no silence
            spread = (self.mix.frames - 1) / 2
            features = self._look([middle + (k - spread) * self.mix.frame_stride for k in range(self.mix.frames)])
            features = features.amax(0)  # (K, h, w), pooled over the frames as in training
            height, width = features.shape[1:]
            cells = [(min(int(y * height), height - 1), min(int(x * width), width - 1)) for x, y in places]
            chosen = torch.stack([features[:, row, column] for row, column in cells])  # (N, K)
            masks = torch.sigmoid(self.net.model.mask_logits(chosen[None], maps[None]))
            out[:, start : start + length] += fade * self.spectra.separated(masks, spectrum[None], length)[0].cpu()
            weight[start : start + length] += fade
        return (out / weight)[:, : len(self.wave)].numpy()
