"""Audio-visual correspondence batches: a frame and its second of sound per clip; mismatches come from the batch.

Everything random about a sample is drawn from (seed, epoch, index) alone, so neither the number of loader processes
nor a restart changes a batch. Every second of sound of a batch serves in its match and, with equal weight, in
mismatches: how it was cut can't give the answer away, which closes the shortcut that OtS sec. 3.3 warns of.
"""

import atexit
import multiprocessing
import signal

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from dataset.cache import ClipCache
from dataset.clips import SECOND, ClipError
from utils.errors import UserError

DRAWS = 44  # random numbers of a sample: two choose the instant, transforms.py uses the others


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
        self.cache = ClipCache(len(clips), cache_gb) if cache_gb > 0 else None

    def __len__(self):
        return len(self.clips)

    def __getitem__(self, key):
        epoch, index = key
        random = np.random.default_rng((self.seed, epoch, index))
        draws = random.random(DRAWS, np.float32)
        shift = (2 * float(draws[1]) - 1) * self.misalignment
        other = random.random() if self.off_grid else None
        try:
            time, sight, sound = self._read(index, float(draws[0]), shift)
            found = sample(sound=sound, index=index, time=time, draws=draws, **sight)
            if other is not None:
                found["other"] = self._sound_anywhere(index, other)
        except ClipError as error:
            return {"index": index, "clip": error.clip, "error": str(error)}
        return found

    def _read(self, index, share, shift):
        """One sample from the cache or from disk; both give the same."""
        kept = self.cache.get(index) if self.cache else None
        if kept is None:
            with self.clips.open(index) as clip:
                times = instants(clip.first, clip.last, self.step)
                if self.annotated:
                    times = [t for t in self.clips.annotated(index) if clip.first <= t <= clip.last] or times
                if not (self.cache and self.cache.worth_filling(index)):
                    time = times[int(share * len(times))]
                    return time, self._sight(clip, time), clip.sound(time + shift, self.rate)
                kept = times[0], clip.frames(times, self.size), clip.whole_sound(self.rate)
                self.cache.put(index, *kept)
        first, frames, sound = kept
        position = int(share * len(frames))
        time = first + position * self.step
        start = min(max(round((time + shift - SECOND / 2) * self.rate), 0), len(sound) - self.rate)
        return time, {"frame": frames[position]}, sound[start : start + self.rate]

    def _sight(self, clip, time):
        """What is seen of an open clip at `time`: {"frame"}, {"frame", "flow"} with flow."""
        frame = clip.frame(time, self.size) if self.frames == 1 else clip.moving(time, self.frames, self.size)
        return {"frame": frame, "flow": self.flow(clip, time)} if self.flow else {"frame": frame}

    def _sound_anywhere(self, index, share):
        """A second of sound at any time of the clip, not only around a frame: (rate,) int16."""
        with self.clips.open(index) as clip:
            return clip.sound(clip.first + share * (clip.last - clip.first), self.rate)


def sample(frame, sound, index=0, time=0.0, draws=None, **flow):
    """An item of `Pairs` from a frame (S, S, 3) uint8 and its second of sound (R,) int16, for `collate`."""
    draws = np.zeros(DRAWS, np.float32) if draws is None else draws
    return {"index": index, "time": time, "frame": frame, "sound": sound, "draws": draws, **flow}


def instants(first, last, step):
    """The multiples of `step` in first..last, seconds; `first` alone if there is none. A list of floats.

    Frames are drawn from these, and their seconds of sound are cut around them, in matches and mismatches alike.
    """
    lowest, highest = int(np.ceil(first / step - 1e-6)), int(np.floor(last / step + 1e-6))
    # From the lowest on, in steps, as a clip in the cache counts them: the same to the last bit.
    return [lowest * step + k * step for k in range(highest - lowest + 1)] or [first]


class EpochBatches(Sampler):
    """Endless batches of (epoch, index): every epoch in a new order, without the few clips that don't fill a batch.

    Args:
        clips: number of clips. batch_size: clips in a batch. seed: of the order.
        multiple: an epoch holds a multiple of this many batches.
        start: batch to begin with; a resumed run sees exactly the batches that it would have seen.
        share: (r, n): of each batch the r-th of n equal parts, one after the other; n divides batch_size.
    """

    def __init__(self, clips, batch_size, seed, multiple=1, start=0, share=(0, 1)):
        self.clips, self.batch_size, self.seed, self.multiple, self.start = clips, batch_size, seed, multiple, start
        self.share = share
        self.per_epoch = clips // (batch_size * multiple) * multiple

    def starting_at(self, start):
        """The same batches, beginning with number `start`."""
        return EpochBatches(self.clips, self.batch_size, self.seed, self.multiple, start, self.share)

    def __iter__(self):
        epoch, position = divmod(self.start, self.per_epoch)
        part, parts = self.share
        size = self.batch_size // parts
        while True:
            order = np.random.default_rng((self.seed, epoch)).permutation(self.clips).tolist()
            for k in range(position, self.per_epoch):
                begin = k * self.batch_size + part * size
                yield [(epoch, index) for index in order[begin : begin + size]]
            epoch, position = epoch + 1, 0


def in_order(clips, batch_size):
    """Every clip once, in order, as lists of (epoch 0, index): for evaluation."""
    return [[(0, i) for i in range(k, min(k + batch_size, clips))] for k in range(0, clips, batch_size)]


def collate(samples):
    """Stack samples into one batch.

    Returns:
        dict: frames (B, S, S, 3) uint8, sounds (B, R) int16, draws (B, DRAWS) float32, indices (B,) int64,
        times (B,) float64, and `errors`: list of (clip id, message) of those that could not be read. Where the samples
        have another second of sound, sounds are (2 B, R): those of the frames, then the others. Several frames are
        (B, T, S, S, 3); flows (B, S, S, 2 * fields) int8 are there if the samples have them.
    """
    good = [sample for sample in samples if "error" not in sample]
    batch = {"errors": [(sample["clip"], sample["error"]) for sample in samples if "error" in sample]}
    kinds = [("frame", "frames"), ("sound", "sounds"), ("draws", "draws")]
    kinds += [("flow", "flows")] if good and "flow" in good[0] else []
    for key, name in kinds:
        batch[name] = torch.from_numpy(np.stack([s[key] for s in good])) if good else torch.empty(0)
    if good and "other" in good[0]:
        batch["sounds"] = torch.cat([batch["sounds"], torch.from_numpy(np.stack([s["other"] for s in good]))])
    batch["indices"] = torch.tensor([s["index"] for s in good], dtype=torch.int64)
    batch["times"] = torch.tensor([s["time"] for s in good], dtype=torch.float64)
    return batch


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


def loader(pairs, batches, workers, device="cpu"):
    """A DataLoader over `pairs` in the order of `batches`, with pinned memory where the device is a GPU."""
    return DataLoader(
        pairs,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=torch.device(device).type == "cuda",
        worker_init_fn=_start_worker,
        multiprocessing_context="fork" if workers else None,  # the cache is inherited, not pickled
        prefetch_factor=4 if workers else None,
        persistent_workers=bool(workers),
    )
