"""Which clips make which batch: in training in a new order every epoch, in evaluation one after the other."""

import math

import numpy as np
from torch.utils.data import Sampler


class EpochBatchSampler(Sampler):
    """Endless batches of clips: every epoch in a new order, without the few clips that don't fill a batch.

    With several samples a visit, K, the clips of a batch are visited once for K batches in a row, each of other
    instants, sounds and changes of these same clips; two samples of one clip never meet in a batch, where they would
    be a false mismatch. An epoch is then K samples of every clip. What it costs: K updates in a row learn from the
    same clips, and a clip meets the same others K times, so that an epoch has the mismatches between clips of an
    ordinary one, not of K. Averaging the K batches in one update (train.grad_accum_steps) takes the first away.

    Args:
        clips: number of clips. batch_size: clips in a batch. seed: of the order.
        multiple: an epoch holds a multiple of this many batches.
        start: batch to begin with; a resumed run sees exactly the batches that it would have seen.
        share: (r, n): of each batch the r-th of n equal parts, one after the other; n divides batch_size.
        samples_per_decode: K.

    Yields:
        list of (number, index), the keys of the batches of one visit for `Pairs`, batch by batch: as many
        keys with the same number as this share of a batch has. Numbers count the samples of a clip through all epochs.
    """

    def __init__(self, clips, batch_size, seed, multiple=1, start=0, share=(0, 1), samples_per_decode=1):
        self.clips, self.batch_size, self.seed, self.multiple, self.start = clips, batch_size, seed, multiple, start
        self.share, self.samples_per_decode = share, samples_per_decode
        multiple //= math.gcd(multiple, samples_per_decode)
        self.visits = clips // (batch_size * multiple) * multiple
        self.per_epoch = self.visits * samples_per_decode

    def starting_at(self, start):
        """The same batches, beginning with number `start`."""
        again = (self.clips, self.batch_size, self.seed, self.multiple, start, self.share, self.samples_per_decode)
        return EpochBatchSampler(*again)

    def __iter__(self):
        epoch, position = divmod(self.start, self.per_epoch)
        visit, first = divmod(position, self.samples_per_decode)
        part, parts = self.share
        size = self.batch_size // parts
        while True:
            order = np.random.default_rng((self.seed, epoch)).permutation(self.clips).tolist()
            for k in range(visit, self.visits):
                begin = k * self.batch_size + part * size
                clips = order[begin : begin + size]
                numbers = range(epoch * self.samples_per_decode + first, (epoch + 1) * self.samples_per_decode)
                yield [(number, index) for number in numbers for index in clips]
                first = 0
            epoch, visit = epoch + 1, 0


def sequential_batches(clips, batch_size):
    """Every clip once, in order, as lists of (epoch 0, index): for evaluation."""
    return [[(0, i) for i in range(k, min(k + batch_size, clips))] for k in range(0, clips, batch_size)]
