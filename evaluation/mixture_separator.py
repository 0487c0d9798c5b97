"""Separate fixed mixtures of clips with a PixelPlayer, and with ideal masks as a ceiling (SoP sec. 4)."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dataset.loading.loader import Batch
from dataset.mixes import MIXTURES_PER_BATCH
from dataset.transforms.mixtures import MixtureSTFT, MixtureTransform, ideal_masks
from models.interfaces import SeparatingNet, device_of
from utils.config import Config
from utils.device import to_device
from utils.precision import autocast
from utils.tensors import to_host


class SeparatedMixtures(NamedTuple):
    """B mixtures of N sources: sounds (float32, on the CPU) and what the net works on.

    Attributes:
        truths: (B, N, samples), the sources; with noise (B, N + 1, samples), the noise last.
        mixture: (B, samples), their sum.
        estimates: (B, N, samples), the net's.
        swapped: (B, N, samples), the estimates with each frame's given to the next source.
        ideal_binary: (B, N, samples), of ideal binary masks.
        ideal_ratio: (B, N, samples), of ideal ratio masks.
        spectrogram: (B, 1, F, T) log magnitude of the mixture.
        weights: (B, 1, F, T), how much each frequency and time counts in the loss.
        logits: (B, N, F, T), of the masks, see `softmax_logits` where eval.softmax_masks is set.
        targets: (B, N, F, T), the masks to predict.
    """

    truths: Tensor
    mixture: Tensor
    estimates: Tensor
    swapped: Tensor
    ideal_binary: Tensor
    ideal_ratio: Tensor
    spectrogram: Tensor
    weights: Tensor
    logits: Tensor
    targets: Tensor

    def split(self) -> "Iterator[SeparatedMixture]":
        """Yield each of the B mixtures."""
        for arrays in zip(*(tensor.numpy() for tensor in self), strict=True):
            yield SeparatedMixture(*arrays)


class SeparatedMixture(NamedTuple):
    """One mixture of N sources, with the attributes of `SeparatedMixtures` as arrays without B."""

    truths: np.ndarray
    mixture: np.ndarray
    estimates: np.ndarray
    swapped: np.ndarray
    ideal_binary: np.ndarray
    ideal_ratio: np.ndarray
    spectrogram: np.ndarray
    weights: np.ndarray
    logits: np.ndarray
    targets: np.ndarray


class ClipFeatures(NamedTuple):
    """The frame features and sounds of the M readable clips of a split.

    Attributes:
        features: (M, K) float32 on the net's device, pooled over locations and frames.
        waves: (M, samples) int16, in a temporary file, of which a batch of mixtures at a time is read: 3.4 GB for
            26,000 clips of the published length.
        row: {index of a clip in its split: its row}.
    """

    features: Tensor
    waves: np.ndarray
    row: dict[int, int]

    def readable(self, mixtures: Iterable[list[int]]) -> list[list[int]]:
        """Filter `mixtures`, lists of indices of clips: those whose clips could all be read."""
        return [mixture for mixture in mixtures if all(index in self.row for index in mixture)]


@torch.no_grad()
def extract_clip_features(model: SeparatingNet, config: Config, batches: Iterable[Batch]) -> ClipFeatures:
    """Compute the frame features of every clip once, however many mixtures it is in.

    Args:
        model: the net, in eval mode.
        config: its settings.
        batches: of a `dataset.mixes.MixtureDataset`.
    """
    device, transform = device_of(model), MixtureTransform(config, train=False)
    features: list[Tensor] = []
    row: dict[int, int] = {}
    with tempfile.TemporaryFile() as file:  # the mapping keeps it until the features are gone
        for batch in batches:
            if not len(batch["indices"]):
                continue
            file.write(batch["sounds"].numpy().tobytes())
            frames, _ = transform(to_device(batch, device))
            with autocast(device, config.train.precision):
                pooled = model.frame_features(frames)
                if config.eval.flip_tta:
                    pooled = (pooled + model.frame_features(frames.flip(-1))) / 2
            features.append(pooled)
            for index in batch["indices"].tolist():
                row[index] = len(row)
        if not features:
            return ClipFeatures(torch.empty(0), np.empty((0, 0), np.int16), row)
        file.flush()
        waves = np.memmap(file, np.int16, "r").reshape(len(row), -1)
    return ClipFeatures(torch.cat(features), waves, row)


def softmax_logits(logits: Tensor) -> Tensor:
    """Turn the logits of masks of their own into those of masks that add up to 1 in each bin.

    Args:
        logits: (B, N, F, T) of N sources that are all there is in a mixture, N at least 2.

    Returns:
        (B, N, F, T), whose sigmoid is the softmax of `logits` over the sources.
    """
    count = logits.shape[1]
    others = [logits[:, [k for k in range(count) if k != own]].logsumexp(1) for own in range(count)]
    return logits - torch.stack(others, 1)


@torch.no_grad()
def separate_mixtures(
    model: SeparatingNet,
    config: Config,
    clips: ClipFeatures,
    mixtures: Sequence[list[int]],
    noise: Tensor | None = None,
) -> Iterator[SeparatedMixtures]:
    """Separate mixtures, some at a time.

    Args:
        model: the net, in eval mode.
        config: its settings.
        clips: of the split.
        mixtures: N indices of readable clips for each.
        noise: (mixtures, samples) float32 in -1..1, a sound that is in each mixture too and isn't asked for, on any
            device; None for mixtures of the N sounds alone. Each sound is divided by the number of sounds.

    Yields:
        MIXTURES_PER_BATCH mixtures, in order.
    """
    stft, samples = MixtureSTFT(config.mix), config.mix.samples
    for start in range(0, len(mixtures), MIXTURES_PER_BATCH):
        part = mixtures[start : start + MIXTURES_PER_BATCH]
        listed, device = np.array([[clips.row[index] for index in mixture] for mixture in part]), clips.features.device
        waves = torch.from_numpy(clips.waves[listed]).to(device, non_blocking=True).float() / 32768
        rows = torch.from_numpy(listed).to(device, non_blocking=True)
        if noise is not None:
            added = noise[start : start + MIXTURES_PER_BATCH, None].to(waves.device, non_blocking=True)
            waves = torch.cat([waves, added], 1)
        truths = waves / waves.shape[1]
        sources = stft.stft(truths)  # (B, N, bins, columns), with noise (B, N + 1, bins, columns)
        mixture = sources.sum(1)
        asked = sources[:, : rows.shape[1]]
        spectrogram = stft.net_input(mixture)
        with autocast(spectrogram.device, config.train.precision):
            maps = model.sound_maps(spectrogram)
        logits = model.mask_logits(clips.features[rows], maps)
        if config.eval.softmax_masks:
            logits = softmax_logits(logits)
        masks = [stft.bin_masks(torch.sigmoid(logits))]
        masks += [ideal_masks(asked.abs(), mixture.abs()[:, None], kind) for kind in ("binary", "ratio")]
        # Together, as each inverse STFT waits for the device.
        waves = stft.istft(torch.cat(masks, 1) * mixture[:, None], samples)
        estimates, ideal_binary, ideal_ratio = waves.split(rows.shape[1], 1)
        separated = SeparatedMixtures(
            truths=truths,
            mixture=truths.sum(1),
            estimates=estimates,
            swapped=estimates.roll(1, 1),
            ideal_binary=ideal_binary,
            ideal_ratio=ideal_ratio,
            spectrogram=spectrogram,
            weights=stft.weights(mixture),
            logits=logits,
            targets=stft.targets(asked, mixture),
        )
        yield SeparatedMixtures(*to_host(*separated))
