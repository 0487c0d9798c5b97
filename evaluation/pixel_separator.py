"""Separate the sound of a video of any length by its pixels, with a PixelPlayer (SoP fig. 5, 6).

The net takes segments of mix.samples. They overlap by half and are cross-faded; a shorter sound is padded with silence.
At each moment, a pixel of the frame shown then is given the part of the sound that its mask keeps.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dataset.reading.audio import INT16_SCALE
from dataset.transforms.frames import prepare_frames
from dataset.transforms.mixtures import MixtureSTFT
from evaluation.measures.clustering import MIN_ENERGY, PixelClusters, loudest_locations, order_clusters
from evaluation.separation_clip import SoundingClip
from evaluation.trained_net import TrainedNet
from utils.errors import UserError
from utils.precision import autocast
from utils.progress_bar import Progress, show_stage

FRAMES_PER_SECOND = 8  # moments per second at which pixels are analyzed (SoP sec. 4.1)
NUM_REFERENCE = 64  # spectrogram columns of the whole sound on which pixels are compared
FITTED_SEGMENTS = 32  # of a longer sound, this many segments decide what the clusters of pixels are
POOL_CELLS = (16, 4)  # frequencies and times to which the power of a pixel is averaged for the comparison


@dataclass(frozen=True)
class PixelSounds:
    """What the pixels of a video sound like at M moments, on a grid of h x w locations.

    Attributes:
        times: (M,) seconds.
        energies: (M, h, w) float32, energy of the sound that a pixel is given at that moment.
        labels: (M, h, w) int16, its cluster, see `evaluation.measures.clustering.order_clusters`.
    """

    times: np.ndarray
    energies: np.ndarray
    labels: np.ndarray


class PixelMoment(NamedTuple):
    """What the pixels of a video sound like at one moment.

    Attributes:
        number: of the moment, 0 and up.
        energies: (h, w) float32, energy of the sound that a pixel is given then.
        spectra: (h, w, D) float32, powers of what the pixel would be given of the whole sound, at D pooled
            frequencies and times.
    """

    number: int
    energies: np.ndarray
    spectra: np.ndarray


class Reference(NamedTuple):
    """Some columns of the whole sound, on which pixels are compared: (K, F, R) maps and (F, R) powers."""

    maps: Tensor
    powers: Tensor


class SegmentMaps(NamedTuple):
    """A segment of the sound on the net's device.

    Attributes:
        spectrum: (bins, T) complex64.
        maps: (K, F, T) float32, of the sound net.
        powers: (F, T) float32: for each row of a mask the power of the bins that it acts on; no power is lost.
    """

    spectrum: Tensor
    maps: Tensor
    powers: Tensor


def chunk_starts(samples: int, length: int) -> np.ndarray:
    """Place the segments that cover a sound evenly, overlapping by half or slightly more.

    Args:
        samples: of the sound.
        length: of a segment, samples.

    Returns:
        (P,) int, the first sample of each segment.
    """
    if samples <= length:
        return np.zeros(1, int)
    return np.linspace(0, samples - length, ceil((samples - length) / (length / 2)) + 1).round().astype(int)


def choose_locations(pixels: PixelSounds, net: str, video: str) -> list[tuple[float, float]]:
    """Choose the loudest location of each cluster of pixels.

    Args:
        pixels: of `PixelSeparator.analyze_pixels`.
        net: the checkpoint, for messages.
        video: what is separated, for messages.

    Returns:
        (x, y) in 0..1 for each cluster.

    Raises:
        UserError: the net gives no pixel a sound.
    """
    if locations := loudest_locations(pixels.labels, pixels.energies):
        return locations
    raise UserError(
        f"{net} gives no pixel of {video} more than {MIN_ENERGY:.0%} of the sound: train it longer, or give locations "
        "(--at)"
    )


def pool_cells(powers: Tensor) -> Tensor:
    """Average `powers` over neighboring frequencies and times: (A, B, F, T) -> (A, B, D), D cells of POOL_CELLS."""
    return F.adaptive_avg_pool2d(powers, POOL_CELLS).flatten(2)


class PixelSeparator:
    """A PixelPlayer and a video whose sound it separates.

    Args:
        net: a PixelPlayer.
        clip: the video, open, or pictures and a sound.
        progress: shows how far it is.

    Attributes:
        rate: of the sound, Hz.
        samples: number of samples of the sound, rounded up.
        seconds: length of the sound.
    """

    def __init__(self, net: TrainedNet, clip: SoundingClip, progress: Progress = show_stage) -> None:
        self.net, self.model, self.clip, self._progress = net, net.separating_net, clip, progress
        self.mix, self.rate = net.config.mix, net.config.data.sample_rate
        self.stft = MixtureSTFT(self.mix)
        self.samples = -(-clip.native_samples * self.rate // clip.native_rate)
        self.seconds = clip.sound_seconds
        self.starts = chunk_starts(self.samples, self.mix.samples)
        self._times = np.arange(0, self.seconds, 1 / FRAMES_PER_SECOND)  # of the moments
        centers = self.starts + self.mix.samples / 2
        # Of each moment, the segment with the nearest center.
        self._segment_of = np.searchsorted((centers[1:] + centers[:-1]) / 2, self._times * self.rate, "left")

    @torch.no_grad()
    def analyze_pixels(self, clusters: int) -> PixelSounds:
        """Compute what each pixel sounds like at FRAMES_PER_SECOND moments per second, and cluster the pixels by it.

        Args:
            clusters: largest number of clusters.
        """
        reference = self._reference()
        mixture = pool_cells(reference.powers[None, None])[0, 0].cpu().numpy()
        spaced = np.linspace(0, len(self.starts) - 1, FITTED_SEGMENTS)
        fitted = list(self._analyze_segments(np.unique(spaced.round().astype(int)), reference))
        pixels = PixelClusters(np.stack([moment.spectra for moment in fitted]), mixture, clusters)
        energies = np.zeros((len(self._times), *fitted[0].energies.shape), np.float32)
        labels = np.zeros(energies.shape, np.int16)
        is_whole = len(fitted) == len(self._times)
        for moment in fitted if is_whole else self._analyze_segments(np.arange(len(self.starts)), reference):
            energies[moment.number], labels[moment.number] = moment.energies, pixels.assign(moment.spectra)
        return PixelSounds(self._times, energies, order_clusters(labels, energies))

    def _analyze_segments(self, segments: np.ndarray, reference: Reference) -> Iterator[PixelMoment]:
        """Analyze the moments of some segments, in order."""
        for k in self._progress(segments, "analyzing"):
            numbers = np.flatnonzero(self._segment_of == k)
            if not len(numbers):
                continue
            segment, times = self._segment(int(self.starts[k])), self._times[numbers]
            for number, time, features in zip(numbers.tolist(), times, self._frame_features(times), strict=True):
                energies = self._energies(time - self.starts[k] / self.rate, features, segment)
                parts = self._masked_powers(features, *reference)
                spectra = torch.cat([pool_cells(part) for part in parts])
                yield PixelMoment(number, energies.cpu().numpy(), spectra.cpu().numpy())

    @torch.no_grad()
    def separate(self, locations: Sequence[tuple[float, float]]) -> Iterator[np.ndarray]:
        """Separate the sounds of locations, cross-faded from segment to segment.

        Args:
            locations: N (x, y) in 0..1 from the top left corner.

        Yields:
            (n, 1 + N) float32 in -1..1: the next samples of the mixture and of each source; `samples` in all.
        """
        length = self.mix.samples
        fade = 1 - (2 * (torch.arange(length) + 0.5) / length - 1).abs()  # (samples of a segment,), nowhere 0
        sums, weights = torch.zeros(1 + len(locations), length), torch.zeros(length)
        ends = [*self.starts[1:].tolist(), self.samples]
        for start, end in zip(self._progress(self.starts, "separating"), ends, strict=True):
            segment, features = self._segment(start), self._segment_features(start)
            height, width = features.shape[1:]
            cells = [(min(int(y * height), height - 1), min(int(x * width), width - 1)) for x, y in locations]
            chosen = torch.stack([features[:, row, column] for row, column in cells])  # (N, K)
            masks = torch.sigmoid(self.model.mask_logits(chosen[None], segment.maps[None]))
            part = self.stft.apply_masks(masks, segment.spectrum[None], length)[0].cpu()
            sums += fade * torch.cat([self._wave(start)[None], part])
            weights += fade
            count = end - int(start)  # of samples that no later segment reaches
            yield (sums[:, :count] / weights[:count]).T.numpy()
            sums, weights = F.pad(sums[:, count:], (0, count)), F.pad(weights[count:], (0, count))

    def _frame_features(self, times: Sequence[float] | np.ndarray) -> Tensor:
        """Features of the frames shown at ascending times, seconds: (M, K, h, w) float32."""
        data = self.net.config.data
        shown = [min(max(time, 0.0), self.clip.video_end) for time in times]
        frames = torch.from_numpy(self.clip.frames(shown, data.resize_size)).to(self.net.device)
        pixels = prepare_frames(frames, data.frame_size).to(self.net.dtype)
        with autocast(self.net.device, self.net.config.train.precision):
            return self.model.pixel_features(pixels).to(self.net.dtype)

    def _segment_features(self, start: int) -> Tensor:
        """Features of the frames in the middle of a segment, max-pooled over them as in training: (K, h, w)."""
        middle = (start + self.mix.samples / 2) / self.rate
        if len(self.starts) == 1:
            middle = min(middle, self.seconds / 2)  # the segment may be padded with silence
        offsets = [k - (self.mix.frames - 1) / 2 for k in range(self.mix.frames)]
        return self._frame_features([middle + offset * self.mix.frame_stride for offset in offsets]).amax(0)

    def _wave(self, start: int) -> Tensor:
        """The samples of the segment that begins at sample `start`, padded with silence: (mix.samples,) float32."""
        count = min(self.mix.samples, self.samples - int(start))
        wave = torch.from_numpy(self.clip.waveform(int(start), count, self.rate)).float() / INT16_SCALE
        return F.pad(wave, (0, self.mix.samples - count))

    def _segment(self, start: int) -> SegmentMaps:
        """The segment that begins at sample `start`."""
        spectrum = self.stft.stft(self._wave(start).to(self.net.device)[None])
        with autocast(self.net.device, self.net.config.train.precision):
            maps = self.model.sound_maps(self.stft.net_input(spectrum).to(self.net.dtype))
        rows = torch.eye(maps.shape[2], device=maps.device)
        row_to_bin = self.stft.to_linear_freq(rows[None, None])[0, 0]  # (bins, F): which row of a mask acts on a bin
        return SegmentMaps(spectrum[0], maps[0].to(self.net.dtype), row_to_bin.T @ spectrum[0].abs() ** 2)

    def _reference(self) -> Reference:
        """NUM_REFERENCE columns of the whole sound, the loud half only."""
        chosen = self.starts[np.unique(np.linspace(0, len(self.starts) - 1, NUM_REFERENCE).round().astype(int))]
        maps, powers = [], []
        for start in chosen:
            segment = self._segment(start)
            loudness = segment.powers.sum(0)
            columns = loudness.argsort(descending=True)[: len(loudness) // 2].sort().values
            columns = columns[np.linspace(0, len(columns) - 1, ceil(NUM_REFERENCE / len(chosen))).round().astype(int)]
            maps.append(segment.maps[..., columns])
            powers.append(segment.powers[:, columns])
        return Reference(torch.cat(maps, -1), torch.cat(powers, -1))

    def _energies(self, time: float, features: Tensor, segment: SegmentMaps) -> Tensor:
        """The energy that each location is given at `time`, seconds into a segment: features (K, h, w) -> (h, w)."""
        first, last = ((time + side / FRAMES_PER_SECOND / 2) * self.rate / self.mix.hop for side in (-1, 1))
        start = min(max(round(first), 0), segment.powers.shape[1] - 1)
        now = slice(start, max(round(last), start) + 1)
        parts = self._masked_powers(features, segment.maps[..., now], segment.powers[:, now])
        return torch.cat([part.sum(2).mean(-1) for part in parts])

    def _masked_powers(self, features: Tensor, maps: Tensor, powers: Tensor) -> Iterator[Tensor]:
        """Yield the powers that each location is given, some rows of locations at a time: (rows, w, F, T)."""
        for masks in self.model.masks_at_pixels(features, maps):
            yield ((masks > 0.5).float() if self.mix.mask == "binary" else masks**2) * powers
