"""A PixelPlayer on a video of any length: what each pixel sounds like, and the sounds of chosen ones (SoP fig. 5, 6).

The net hears pieces of mix.samples. They overlap by half and are cross-faded; a sound that is shorter than one piece
is heard with silence after it. What is heard at an instant is what the masks of its own frame's pixels leave of it.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from dataset.transforms.frames import prepare_frames
from dataset.transforms.mixtures import MixtureSTFT
from utils.engine import autocast

FRAMES_PER_SECOND = 8  # frames a second that are looked at (SoP sec. 4.1)
NUM_REFERENCE = 64  # instants of the sound on which pixels are compared with one another
POOL_CELLS = (16, 4)  # rows and columns to which a pixel's part of them is averaged


@dataclass(frozen=True)
class PixelSounds:
    """What the pixels of a video sound like, at M instants, on h x w places.

    Attributes:
        times: (M,) seconds. energies: (M, h, w) float32, of the sound that the pixel is given at that instant.
        spectra: (M, h, w, D) float32, powers of what it would be given of the whole video's sound, in few numbers.
        mixture: (D,), those of the sound itself.
    """

    times: np.ndarray
    energies: np.ndarray
    spectra: np.ndarray
    mixture: np.ndarray


def chunk_starts(samples, length):
    """First samples of the pieces that cover a sound, (P,) int: evenly spaced, overlapping by half or a little more."""
    if samples <= length:
        return np.zeros(1, int)
    return np.linspace(0, samples - length, ceil((samples - length) / (length / 2)) + 1).round().astype(int)


def pool_cells(powers):
    """Means over neighbouring rows and columns: (A, B, rows, columns) -> (A, B, D), D the product of CELLS."""
    return F.adaptive_avg_pool2d(powers, POOL_CELLS).flatten(2)


class PixelSeparator:
    """A net, and the sound that it shall take apart.

    Args:
        net: an `evaluation.trained_net.TrainedNet` of a PixelPlayer. clip: an open `dataset.reading.clip_reader.ClipReader`.

    Attributes:
        wave: (samples,) float32 in -1..1 at the net's rate. seconds: of the video with its sound.
    """

    def __init__(self, net, clip):
        self.net, self.clip, self.mix, self.rate = net, clip, net.config.mix, net.config.data.sample_rate
        self.spectra = MixtureSTFT(self.mix)
        self.wave = torch.from_numpy(clip.full_waveform(self.rate)).float() / 32768
        self.seconds = len(self.wave) / self.rate
        self.starts = chunk_starts(len(self.wave), self.mix.samples)

    def _look(self, times):
        """Features of the frames shown at ascending times, seconds: (M, K, h, w) float32."""
        data = self.net.config.data
        times = [min(max(time, 0.0), self.clip.video_end) for time in times]
        frames = torch.from_numpy(self.clip.frames(times, data.resize_size)).to(self.net.device)
        with autocast(self.net.device, self.net.config.train.precision):
            return self.net.model.pixel_features(prepare_frames(frames, data.frame_size)).float()

    def _hear(self, start):
        """The piece that begins at a sample: its spectrum (bins, T) complex, maps and powers (K or none, rows, T).

        A row's power is that of the bins on which its mask acts, so that none is lost between two rows.
        """
        wave = self.wave[start : start + self.mix.samples]
        wave = F.pad(wave, (0, self.mix.samples - len(wave))).to(self.net.device)
        spectrum = self.spectra.stft(wave[None])
        with autocast(self.net.device, self.net.config.train.precision):
            maps = self.net.model.sound_maps(self.spectra.net_input(spectrum))
        rows = torch.eye(maps.shape[2], device=maps.device)
        share = self.spectra.to_linear_freq(rows[None, None])[0, 0]  # (bins, rows): which row's mask acts on a bin
        return spectrum[0], maps[0].float(), share.T @ spectrum[0].abs() ** 2

    def _reference(self):
        """Instants of the whole sound on which pixels are compared: maps (K, rows, R), powers (rows, R)."""
        chosen = self.starts[np.unique(np.linspace(0, len(self.starts) - 1, NUM_REFERENCE).round().astype(int))]
        maps, powers = [], []
        for start in chosen:
            _, heard, loud = self._hear(start)
            columns = loud.sum(0).argsort(descending=True)[: loud.shape[1] // 2].sort().values  # no silence
            columns = columns[np.linspace(0, len(columns) - 1, ceil(NUM_REFERENCE / len(chosen))).round().astype(int)]
            maps.append(heard[..., columns])
            powers.append(loud[:, columns])
        return torch.cat(maps, -1), torch.cat(powers, -1)

    @torch.no_grad()
    def pixels(self):
        """Look and listen at LOOKS instants a second: a `Pixels`."""
        times = np.arange(0, self.seconds, 1 / FRAMES_PER_SECOND)
        nearest = np.abs(times[:, None] * self.rate - (self.starts + self.mix.samples / 2)).argmin(1)
        reference, found = self._reference(), []
        for piece, start in enumerate(tqdm(self.starts, "listening", unit=" pieces", disable=None)):
            mine = times[nearest == piece]
            if len(mine):
                _, maps, powers = self._hear(start)
                for time, features in zip(mine, self._look(mine), strict=True):
                    energies = self._energies(time - start / self.rate, features, maps, powers)
                    found.append((energies, self._spectra(features, *reference)))
        energies, spectra = (torch.stack(part).cpu().numpy() for part in zip(*found, strict=True))
        return PixelSounds(times, energies, spectra, pool_cells(reference[1][None, None])[0, 0].cpu().numpy())

    def _energies(self, time, features, maps, powers):
        """What each place is given at `time`, seconds into a piece: (K, h, w), (K, rows, T), (rows, T) -> (h, w)."""
        first, last = ((time + way / FRAMES_PER_SECOND / 2) * self.rate / self.mix.hop for way in (-1, 1))
        first = min(max(round(first), 0), powers.shape[1] - 1)
        now = slice(first, max(round(last), first) + 1)
        given = self._given(features, maps[..., now], powers[:, now])
        return torch.cat([part.sum(2).mean(-1) for part in given])

    def _spectra(self, features, maps, powers):
        """What each place would be given of a sound: (K, h, w), (K, rows, R), (rows, R) -> (h, w, D) powers."""
        return torch.cat([pool_cells(part) for part in self._given(features, maps, powers)])

    def _given(self, features, maps, powers):
        """Yield what each place is given, some rows of places at a time: (few, w, rows, columns) powers."""
        for masks in self.net.model.masks_at_pixels(features, maps):
            yield ((masks > 0.5).float() if self.mix.mask == "binary" else masks**2) * powers

    @torch.no_grad()
    def separated(self, places):
        """The sounds of places: list of N (x, y) in 0..1 -> (N, samples) float32, cross-faded from piece to piece."""
        length = self.mix.samples
        fade = 1 - (2 * (torch.arange(length) + 0.5) / length - 1).abs()  # (samples of a piece,), nowhere 0
        out, weight = torch.zeros(len(places), self.starts[-1] + length), torch.zeros(self.starts[-1] + length)
        for start in tqdm(self.starts, "separating", unit=" pieces", disable=None):
            spectrum, maps, _ = self._hear(start)
            middle = (start + length / 2) / self.rate
            middle = min(middle, self.seconds / 2) if len(self.starts) == 1 else middle  # of what is no silence
            spread = (self.mix.frames - 1) / 2
            features = self._look([middle + (k - spread) * self.mix.frame_stride for k in range(self.mix.frames)])
            features = features.amax(0)  # (K, h, w), pooled over the frames as in training
            height, width = features.shape[1:]
            cells = [(min(int(y * height), height - 1), min(int(x * width), width - 1)) for x, y in places]
            chosen = torch.stack([features[:, row, column] for row, column in cells])  # (N, K)
            masks = torch.sigmoid(self.net.model.mask_logits(chosen[None], maps[None]))
            out[:, start : start + length] += fade * self.spectra.apply_masks(masks, spectrum[None], length)[0].cpu()
            weight[start : start + length] += fade
        return (out / weight)[:, : len(self.wave)].numpy()
