"""Noise in mixtures: a clip of another dataset, which isn't asked for (CLIPSep, arXiv 2212.07065)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dataset.loading.loader import drop_unreadable, make_loader, make_skip_handler
from dataset.mixes import MixtureDataset
from dataset.pairs import FrameAndSound, SampleDraw
from dataset.reading.reader import ClipDataset, OpenClip, open_clips
from utils.config import Config
from utils.errors import UserError


class MixtureNoise(NamedTuple):
    """P mixtures, and the noise of each.

    Attributes:
        mixtures: those whose noise could be read, N indices of clips each.
        indices: P indices of the clips that are their noise, in the other dataset.
        ids: P ids of those clips.
        waves: (P, mix.samples) float32 in -1..1.
    """

    mixtures: list[list[int]]
    indices: list[int]
    ids: list[str]
    waves: Tensor


class MixtureSounds(MixtureDataset):
    """The middle of each clip's sound, as long as a mixture; its frame is one black pixel.

    Args:
        clips: of one split.
        data: the settings `configs.schema.Data`.
        mix: the settings `configs.schema.Mix`.
    """

    def __init__(self, clips: ClipDataset, data: Any, mix: Any) -> None:
        super().__init__(clips, data, mix, middle=True)
        self.size = self.frames = 1

    def _read_open(self, clip: OpenClip, index: int, draws: list[SampleDraw]) -> list[FrameAndSound]:
        start = round((self._check_length(clip) - self.samples) / 2)
        frame, sound = np.zeros((1, 1, 3), np.uint8), clip.waveform(start, self.samples, self.rate)
        return [FrameAndSound(start / self.rate, frame, sound) for _ in draws]


def read_noise(
    config: Config, clips: ClipDataset, split: str, mixtures: Sequence[list[int]], skipped: dict[str, str]
) -> MixtureNoise:
    """Read the noise of mixtures from mix.noise_root: for each a clip that shares no class with it, always the same.

    Args:
        config: of the net.
        clips: of the mixtures.
        split: its name; the noise is of the same.
        mixtures: indices of the clips of each.
        skipped: gets {FOLDER/ID: reason} of the noise that can't be read, with data.on_error skip.

    Raises:
        UserError: mix.noise_root is no other dataset, or all of its clips share a class with a mixture.
    """
    root, data = config.mix.noise_root, config.data
    if Path(root).resolve() == Path(data.root).resolve():
        raise UserError(f"mix.noise_root is {root}, as data.root: give another dataset")
    noise = open_clips(root, split, data.on_error)
    skipped |= {f"{noise.folder}/{clip}": reason for clip, reason in noise.skipped.items()}
    classes = [{label for index in mixture for label in clips.labels[index]} for mixture in mixtures]
    drawn = draw_noise(classes, noise)
    wanted = sorted(set(drawn))
    order = [[(0, index) for index in wanted[k : k + 64]] for k in range(0, len(wanted), 64)]
    on_skip = make_skip_handler(unreadable := dict[str, str](), data.on_error)
    waves: dict[int, Tensor] = {}
    loader = make_loader(MixtureSounds(noise, data, config.mix), order, config.train.workers)
    for batch in drop_unreadable(loader, on_skip, min_clips=0):
        sounds = batch["sounds"].float() / 32768
        waves |= dict(zip(batch["indices"].tolist(), sounds, strict=True))
    skipped |= {f"{noise.folder}/{clip}": reason for clip, reason in unreadable.items()}
    kept = [k for k, index in enumerate(drawn) if index in waves]
    stacked = torch.stack([waves[drawn[k]] for k in kept]) if kept else torch.empty(0, config.mix.samples)
    indices = [drawn[k] for k in kept]
    return MixtureNoise([mixtures[k] for k in kept], indices, [noise.ids[index] for index in indices], stacked)


def draw_noise(classes: Sequence[set[str]], noise: ClipDataset) -> list[int]:
    """Draw a clip of another dataset for each mixture, each clip about as often.

    Args:
        classes: labels of the clips of each mixture.
        noise: the other dataset.

    Returns:
        the index of a clip for each mixture that has none of its classes.

    Raises:
        UserError: a mixture shares a class with all of them.
    """
    order, drawn = np.random.default_rng(0).permutation(len(noise)).tolist(), []
    for k, own in enumerate(classes):
        later = (order[(k + step) % len(order)] for step in range(len(order)))
        index = next((index for index in later if not own & set(noise.labels[index])), None)
        if index is None:
            raise UserError(
                f"{noise.folder} has no clip without the classes {', '.join(sorted(own))} of a mixture: give a dataset "
                "of other classes with --mix.noise_root"
            )
        drawn.append(index)
    return drawn
