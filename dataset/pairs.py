"""Audio-visual correspondence batches: a frame and its second of sound per clip; mismatches come from the batch.

Everything random about a sample is drawn from (seed, epoch, index) alone, so neither the number of loader processes
nor a restart changes a batch. Every second of sound of a batch serves in its match and, with equal weight, in
mismatches: how it was cut can't give the answer away, which closes the shortcut that OtS sec. 3.3 warns of.
"""

import atexit
import math
import multiprocessing
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from dataset.batches import DRAWS, Batch, aligned, collate, sample
from dataset.cache import ClipCache
from dataset.clips import SECOND, ClipError
from dataset.ring import Ring
from utils.errors import UserError


class Pairs(Dataset):
    """`pairs[epoch, index]`: one clip's frame and second of sound.

    Args:
        clips: a `Clips`.
        stored_size: side of the frame, pixels.
        sample_rate: of the sound, Hz.
        frame_step: frames are drawn from multiples of this time, seconds.
        misalignment: the sound is moved from its frame by up to this, seconds, matches and mismatches alike.
        seed: of all draws.
        cache_gb: memory for decoded clips, GB; 0 for none.
        annotated: a clip with boxes of sounding objects is looked at when they were drawn; not with a cache.
        off_grid: an item also has "other", a second of sound cut at any time: the shortcut, see `avc_loss`.
        frames: frames around the instant; flow: a `dataset.flow.Flow`, or None. Several or flow: not with a cache.

    Returns of an item, a dict:
        frame: (stored_size, stored_size, 3) uint8 RGB. sound: (sample_rate,) int16. draws: (DRAWS,) float32 in 0..1.
        index: int. time: of the frame, seconds. A clip that can't be read gives {"index", "clip", "error"} instead.
        With several frames, frame is (frames, stored_size, stored_size, 3); with flow, there is also
        flow: (stored_size, stored_size, 2 * fields) int8, see `dataset.flow`.
    """

    def __init__(
        self, clips, stored_size, sample_rate, frame_step, misalignment=0.0, seed=0, cache_gb=0.0, annotated=False,
        off_grid=False, frames=1, flow=None,
    ):  # fmt: skip
        self.clips, self.size, self.rate, self.step = clips, stored_size, sample_rate, frame_step
        self.misalignment, self.seed, self.annotated, self.off_grid = misalignment, seed, annotated, off_grid
        self.frames, self.flow = frames, flow
        self.samples = sample_rate  # of a sample's sound
        self.cache = ClipCache(len(clips), cache_gb) if cache_gb > 0 else None

    def __len__(self):
        return len(self.clips)

    def __getitem__(self, key):
        epoch, index = key
        return self._visit(index, [epoch])[0]

    def __getitems__(self, keys, ring=None):
        """Whole batches, one for each epoch among the keys.

        Each clip is opened once, and its samples of all epochs are decoded in one pass. If it can't be read at one of
        these instants, it is left out of all these batches.

        Args:
            keys: list of (epoch, index). ring: a `dataset.ring.Ring` to write to, or None.

        Returns:
            list of dicts as of `collate`, in the order of the epochs: what `collate` gives for the same samples. Parts
            of the ring are `InRing`: the dict itself for the process that gets it.
        """
        visits, rows = {}, {}
        for epoch, index in keys:
            visits.setdefault(index, []).append(epoch)
            rows[epoch] = rows.get(epoch, 0) + 1
        batches = {epoch: Batch(self.layout(count), ring) for epoch, count in rows.items()}
        at_once = getattr(self.clips, "reads_at_once", 1)
        with ThreadPoolExecutor(at_once) if at_once > 1 else nullcontext() as pool:
            visited = (pool.map if pool else map)(self._visit, visits, visits.values())
            for epochs, found in zip(visits.values(), visited, strict=True):
                for epoch, sample_found in zip(epochs, found, strict=True):
                    batches[epoch].add(sample_found)
        return [batch.finished() for batch in batches.values()]

    def layout(self, count):
        """The large parts of a batch of `count` samples: list of (key of a sample, name, shape, dtype)."""
        square = (self.size, self.size)
        frame = (*square, 3) if self.frames == 1 else (self.frames, *square, 3)
        parts = [
            ("frame", "frames", (count, *frame), torch.uint8),
            ("sound", "sounds", (count, self.samples), torch.int16),
        ]
        if self.off_grid:
            parts.append(("other", "others", (count, self.samples), torch.int16))
        if self.flow:
            parts.append(("flow", "flows", (count, *square, 2 * self.flow.fields), torch.int8))
        return parts

    def _visit(self, index, epochs):
        """The clip's sample of each epoch, or for each that it can't be read; a list of dicts."""
        randoms = [np.random.default_rng((self.seed, epoch, index)) for epoch in epochs]
        draws = [random.random(DRAWS, np.float32) for random in randoms]
        others = [random.random() if self.off_grid else None for random in randoms]
        try:
            found = [
                sample(sound=sound, index=index, time=time, draws=drawn, **sight)
                for drawn, (time, sight, sound) in zip(draws, self._read(index, draws), strict=True)
            ]
            for one, other in zip(found, others, strict=True):
                if other is not None:
                    one["other"] = self._sound_anywhere(index, other)
        except ClipError as error:
            return [{"index": index, "clip": error.clip, "error": str(error)} for _ in epochs]
        return found

    def _read(self, index, draws):
        """(time, {"frame"} and more, sound) for each of `draws`, from the cache or from disk; both give the same.

        The first two numbers choose the instant among all, and how far its sound is moved.
        """
        asked = [(float(d[0]), (2 * float(d[1]) - 1) * self.misalignment) for d in draws]
        kept = self.cache.get(index) if self.cache else None
        if kept is None:
            with self.clips.open(index) as clip:
                times = instants(clip.first, clip.last, self.step)
                if self.annotated:
                    times = [t for t in self.clips.annotated(index) if clip.first <= t <= clip.last] or times
                if not (self.cache and self.cache.worth_filling(index)):
                    chosen = [times[int(share * len(times))] for share, _ in asked]
                    sounds = [clip.sound(t + shift, self.rate) for t, (_, shift) in zip(chosen, asked, strict=True)]
                    return list(zip(chosen, self._sights(clip, chosen), sounds, strict=True))
                kept = times[0], clip.frames(times, self.size), clip.whole_sound(self.rate)
                self.cache.put(index, *kept)
        first, frames, sound = kept
        found = []
        for share, shift in asked:
            position = int(share * len(frames))
            time = first + position * self.step
            start = min(max(round((time + shift - SECOND / 2) * self.rate), 0), len(sound) - self.rate)
            found.append((time, {"frame": frames[position]}, sound[start : start + self.rate]))
        return found

    def _sights(self, clip, times):
        """What is seen of an open clip at `times`: a list of {"frame"}, of {"frame", "flow"} with flow."""
        if self.frames == 1:
            order = sorted(range(len(times)), key=times.__getitem__)
            pictures = clip.frames([times[k] for k in order], self.size)  # in one pass
            frames = [pictures[place] for place in np.argsort(order)]
        else:
            frames = [clip.moving(time, self.frames, self.size) for time in times]
        sights = [{"frame": frame} for frame in frames]
        if self.flow:
            sights = [sight | {"flow": self.flow(clip, time)} for sight, time in zip(sights, times, strict=True)]
        return sights

    def _sound_anywhere(self, index, share):
        """A second of sound at any time of the clip, not only around a frame: (rate,) int16."""
        with self.clips.open(index) as clip:
            return clip.sound(clip.first + share * (clip.last - clip.first), self.rate)


def instants(first, last, step):
    """The multiples of `step` in first..last, seconds; `first` alone if there is none. A list of floats.

    Frames are drawn from these, and their seconds of sound are cut around them, in matches and mismatches alike.
    """
    lowest, highest = int(np.ceil(first / step - 1e-6)), int(np.floor(last / step + 1e-6))
    # From the lowest on, in steps, as a clip in the cache counts them: the same to the last bit.
    return [lowest * step + k * step for k in range(highest - lowest + 1)] or [first]


class EpochBatches(Sampler):
    """Endless batches of clips: every epoch in a new order, without the few clips that don't fill a batch.

    With several samples a visit, K, the clips of a batch are visited once for K batches in a row, each of other
    instants, sounds and changes of these same clips; two samples of one clip never meet in a batch, where they would
    be a false mismatch. An epoch is then K samples of every clip. What it costs: K updates in a row learn from the
    same clips, and a clip meets the same others K times, so that an epoch has the mismatches between clips of an
    ordinary one, not of K. Averaging the K batches in one update (train.accumulate) takes the first away.

    Args:
        clips: number of clips. batch_size: clips in a batch. seed: of the order.
        multiple: an epoch holds a multiple of this many batches.
        start: batch to begin with; a resumed run sees exactly the batches that it would have seen.
        share: (r, n): of each batch the r-th of n equal parts, one after the other; n divides batch_size.
        samples_per_visit: K.

    Yields:
        list of (number, index), the keys of the batches of one visit for `Pairs`, batch by batch: as many
        keys with the same number as this share of a batch has. Numbers count the samples of a clip through all epochs.
    """

    def __init__(self, clips, batch_size, seed, multiple=1, start=0, share=(0, 1), samples_per_visit=1):
        self.clips, self.batch_size, self.seed, self.multiple, self.start = clips, batch_size, seed, multiple, start
        self.share, self.samples_per_visit = share, samples_per_visit
        multiple //= math.gcd(multiple, samples_per_visit)
        self.visits = clips // (batch_size * multiple) * multiple
        self.per_epoch = self.visits * samples_per_visit

    def starting_at(self, start):
        """The same batches, beginning with number `start`."""
        again = (self.clips, self.batch_size, self.seed, self.multiple, start, self.share, self.samples_per_visit)
        return EpochBatches(*again)

    def __iter__(self):
        epoch, position = divmod(self.start, self.per_epoch)
        visit, first = divmod(position, self.samples_per_visit)
        part, parts = self.share
        size = self.batch_size // parts
        while True:
            order = np.random.default_rng((self.seed, epoch)).permutation(self.clips).tolist()
            for k in range(visit, self.visits):
                begin = k * self.batch_size + part * size
                clips = order[begin : begin + size]
                numbers = range(epoch * self.samples_per_visit + first, (epoch + 1) * self.samples_per_visit)
                yield [(number, index) for number in numbers for index in clips]
                first = 0
            epoch, visit = epoch + 1, 0


def in_order(clips, batch_size):
    """Every clip once, in order, as lists of (epoch 0, index): for evaluation."""
    return [[(0, i) for i in range(k, min(k + batch_size, clips))] for k in range(0, clips, batch_size)]


def readable(batches, skipped, smallest=1):
    """Pass batches on, taking note of clips that can't be read.

    Args:
        batches: iterable of collated batches.
        skipped: callable (clip id, message) that raises or takes note.
        smallest: readable clips that a batch must have.

    Raises:
        UserError: a batch has fewer readable clips.
    """
    for batch in batches:
        for clip, message in batch["errors"]:
            skipped(clip, message)
        count = len(batch["indices"])
        if count < smallest:
            raise UserError(f"a batch needs {smallest} readable clips and has {count}: {batch['errors'][0][1]}")
        yield batch


def _start_worker(_):
    for stop in (signal.SIGINT, signal.SIGTERM):  # the training process answers, and ends its loaders afterwards
        signal.signal(stop, signal.SIG_IGN)
    torch.set_num_threads(1)


@atexit.register
def _end_workers():
    """A script that fails ends its loaders too: they ignore SIGTERM, which Python sends them and then waits."""
    workers = multiprocessing.active_children()
    if workers:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would call it an error
    for worker in workers:
        worker.kill()


class _Fetched(Dataset):
    """What a loader process fetches at a time: a list of batches; those of `Pairs` by way of the ring, if any."""

    def __init__(self, pairs, ring):
        self.pairs, self.ring = pairs, ring

    def __len__(self):
        return len(self.pairs)

    def __getitems__(self, keys):
        if isinstance(self.pairs, Pairs):
            return self.pairs.__getitems__(keys, self.ring)
        return [collate([self.pairs[key] for key in keys])]


class _Loader(DataLoader):
    """One batch after the other, however many are fetched at a time."""

    def __iter__(self):
        for fetched in super().__iter__():
            yield from fetched


def loader(pairs, batches, workers, device="cpu"):
    """Batches of `pairs`, as `collate` gives them, in the order of `batches`.

    Args:
        pairs: a `Pairs`, or a dataset with samples like its. batches: an `EpochBatches`, or lists of (epoch, index).
        workers: processes; any number gives the same batches. With none, this process loads.
        device: of the net; for a GPU, batches are pinned.

    Returns:
        an iterable, for any number of passes. A batch is the caller's, as long as it is kept.
    """
    visit = getattr(batches, "samples_per_visit", 1)
    ahead = 4 if visit == 1 else 2  # visits that a process is ahead
    ring = None
    if workers and isinstance(pairs, Pairs):
        count = max(Counter(epoch for epoch, _ in next(iter(batches), [])).values(), default=0)  # clips in a batch
        size = sum(aligned(shape, dtype) for _, _, shape, dtype in pairs.layout(count))
        ring = Ring((workers * ahead + 2) * visit, size)
    return _Loader(
        _Fetched(pairs, ring),
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=torch.device(device).type == "cuda",
        worker_init_fn=_start_worker,
        multiprocessing_context="fork" if workers else None,  # the cache is inherited, not pickled
        prefetch_factor=ahead if workers else None,
        persistent_workers=bool(workers),
    )


def _as_it_is(batches):
    return batches
