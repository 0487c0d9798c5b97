"""Samplers of batches of clips: a new random order in every training epoch, sequential order in evaluation."""

import copy
import math
from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class EpochBatchSampler(Sampler[list[tuple[int, int]]]):
    """Endless training batches: a new order in every epoch, without the few clips that don't fill a batch.

    With K = samples_per_decode > 1, the clips of a batch are decoded once for K batches in a row, each with other
    frames, sounds and augmentation of these same clips. Two samples of a clip are never in one batch, where they would
    be a false negative. An epoch is then K samples of every clip. The cost: K updates in a row learn from the same
    clips, which train.grad_accum_steps K avoids; and a clip is paired with the same clips K times, so that an epoch has
    as many different negatives as an ordinary epoch, not K times as many.

    Args:
        clips: number of clips in the split.
        batch_size: clips of a batch, of all processes together.
        seed: of the order.
        multiple: an epoch holds a multiple of this many batches.
        start: number of the first batch; a resumed run gets the batches that it would have got.
        rank: number of this process; its keys are the rank-th of `world_size` equal parts of each batch.
        world_size: number of processes; divides `batch_size`.
        samples_per_decode: K.

    Attributes:
        per_epoch: batches of an epoch.

    Yields:
        keys of the batches that are decoded together, list of (epoch, index), batch by batch: the keys of a batch have
        the same epoch, which counts the samples of a clip.
    """

    def __init__(
        self,
        clips: int,
        batch_size: int,
        seed: int,
        multiple: int = 1,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
        samples_per_decode: int = 1,
    ) -> None:
        self.clips, self.batch_size, self.seed, self.multiple, self.start = clips, batch_size, seed, multiple, start
        self.rank, self.world_size, self.samples_per_decode = rank, world_size, samples_per_decode
        multiple //= math.gcd(multiple, samples_per_decode)
        self.fetches = clips // (batch_size * multiple) * multiple  # of an epoch, K batches each
        self.per_epoch = self.fetches * samples_per_decode

    def starting_at(self, start: int) -> "EpochBatchSampler":
        """Return the same batches, from batch number `start` on."""
        same = copy.copy(self)
        same.start = start
        return same

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        k = self.samples_per_decode
        epoch, batch = divmod(self.start, self.per_epoch)
        first_fetch, first_sample = divmod(batch, k)
        size = self.batch_size // self.world_size
        while True:
            order = np.random.default_rng((self.seed, epoch)).permutation(self.clips).tolist()
            for fetch in range(first_fetch, self.fetches):
                begin = fetch * self.batch_size + self.rank * size
                clips = order[begin : begin + size]
                yield [(epoch * k + sample, index) for sample in range(first_sample, k) for index in clips]
                first_sample = 0
            epoch, first_fetch = epoch + 1, 0


def sequential_batches(clips: int, batch_size: int) -> list[list[tuple[int, int]]]:
    """List evaluation batches: every clip once, in order, as lists of keys (epoch 0, index).

    Args:
        clips: number of clips in the split.
        batch_size: clips of a batch; the last has fewer.
    """
    return [[(0, i) for i in range(k, min(k + batch_size, clips))] for k in range(0, clips, batch_size)]
