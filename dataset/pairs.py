"""Audio-visual correspondence batches: a frame and its second of sound per clip; mismatches come from the batch.

Everything random about a sample is drawn from (seed, epoch, clip id, name of the change) alone, so neither the number of loader processes
nor a restart changes a batch. Every second of sound of a batch serves in its match and, with equal weight, in
mismatches: how it was cut can't give the answer away, which closes the shortcut that OtS sec. 3.3 warns of.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dataset.loading.cache import ClipCache
from dataset.loading.loader import BatchBuilder, make_sample
from dataset.reading.audio import SOUND_SECONDS
from dataset.reading.errors import ClipError


class RandomStream:
    """Random numbers of a batch of samples, drawn by name.

    A number depends on the seed of its sample and on its name alone. Neither the order of the draws nor the other
    samples of the batch nor the device changes it, and a new name leaves all other numbers as they were.

    Args:
        seeds: (B,) int64, of `sample_seed`.
    """

    def __init__(self, seeds: Tensor) -> None:
        self.seeds = seeds

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0, count: int | None = None) -> Tensor:
        """Draw uniformly distributed numbers in low..high.

        Args:
            name: of the augmentation, or what else the number is for.
            low, high: bounds.
            count: how many independent numbers for each sample; None for one.

        Returns:
            (B,) float32 on the seeds' device, (B, count) with `count`.
        """
        values = self.seeds ^ hash64(name)
        if count is not None:
            values = values[:, None] + GOLDEN_GAMMA * torch.arange(count, device=values.device)
        return low + (high - low) * hash_to_fraction(values)


# Constants of SplitMix64 (Steele et al., Fast Splittable Pseudorandom Number Generators, OOPSLA 2014), as signed numbers.
GOLDEN_GAMMA = 0x9E3779B97F4A7C15 - 2**64
MULTIPLIER_1, MULTIPLIER_2 = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64


def hash_to_fraction(values: Tensor) -> Tensor:
    """Scramble 64-bit integers to fractions: (...) int64 -> (...) float32, multiples of 2^-24 in [0, 1).

    These are the highest 24 bits of SplitMix64's output; its last step changes lower bits only and is left out.
    Integers wrap around alike on every device. The masks make a shift that fills up with the sign one that fills up
    with zeros.
    """
    values = (values ^ ((values >> 30) & (2**34 - 1))) * MULTIPLIER_1
    values = (values ^ ((values >> 27) & (2**37 - 1))) * MULTIPLIER_2
    return ((values >> 40) & (2**24 - 1)).float() * 2.0**-24


def hash64(text: str) -> int:
    """Hash a text to a signed 64-bit integer, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)


def sample_seed(seed: int, epoch: int, clip: str) -> int:
    """Derive a sample's seed, a signed 64-bit integer, from the run's seed, the epoch and the id of the clip."""
    return hash64(f"{seed} {epoch} {clip}")


class PairDataset(Dataset):
    """`pairs[epoch, index]`: one clip's frame and second of sound.

    Args:
        clips: a `Clips`.
        resize_size: side of the frame, pixels.
        sample_rate: of the sound, Hz.
        frame_step: frames are drawn from multiples of this time, seconds.
        misalignment: the sound is moved from its frame by up to this, seconds, matches and mismatches alike.
        seed: of all draws.
        cache_gb: memory for decoded clips, GB; 0 for none.
        annotated: a clip with boxes of sounding objects is looked at when they were drawn; not with a cache.
        off_grid: an item also has "other", a second of sound cut at any time: the shortcut, see `avc_loss`.
        frames: frames around the instant; flow: a `dataset.reading.flow.FlowCache`, or None. Several or flow: not with a cache.

    Returns of an item, a dict:
        frame: (resize_size, resize_size, 3) uint8 RGB. sound: (sample_rate,) int16. seed: of `sample_seed`.
        index: int. time: of the frame, seconds. A clip that can't be read gives {"index", "clip", "error"} instead.
        With several frames, frame is (frames, resize_size, resize_size, 3); with flow, there is also
        flow: (resize_size, resize_size, 2 * fields) int8, see `dataset.reading.flow`.
    """

    draw_names = ("time", "misalignment", "off_grid_time")

    def __init__(
        self, clips, resize_size, sample_rate, frame_step, misalignment=0.0, seed=0, cache_gb=0.0, annotated=False,
        off_grid=False, frames=1, flow=None,
    ):  # fmt: skip
        self.clips, self.size, self.rate, self.step = clips, resize_size, sample_rate, frame_step
        self.misalignment, self.seed, self.annotated, self.off_grid = misalignment, seed, annotated, off_grid
        self.frames, self.flow = frames, flow
        self.samples = sample_rate  # of a sample's sound
        self.cache = ClipCache(len(clips), cache_gb) if cache_gb > 0 else None

    def __len__(self):
        return len(self.clips)

    def __getitem__(self, key):
        epoch, index = key
        return self._visit(index, self._draw([(epoch, index)]))[0]

    def __getitems__(self, keys, ring=None):
        """Whole batches, one for each epoch among the keys.

        Each clip is opened once, and its samples of all epochs are decoded in one pass. If it can't be read at one of
        these instants, it is left out of all these batches.

        Args:
            keys: list of (epoch, index). ring: a `dataset.loading.loader.SharedMemoryPool` to write to, or None.

        Returns:
            list of dicts as of `collate`, in the order of the epochs: what `collate` gives for the same samples. Parts
            of the ring are `InRing`: the dict itself for the process that gets it.
        """
        visits, rows = {}, {}
        for (epoch, index), draws in zip(keys, self._draw(keys), strict=True):
            visits.setdefault(index, []).append((epoch, draws))
            rows[epoch] = rows.get(epoch, 0) + 1
        batches = {epoch: BatchBuilder(self.layout(count), ring) for epoch, count in rows.items()}
        at_once = getattr(self.clips, "reads_at_once", 1)
        with ThreadPoolExecutor(at_once) if at_once > 1 else nullcontext() as pool:
            asked = [[draws for _, draws in visit] for visit in visits.values()]
            visited = (pool.map if pool else map)(self._visit, visits, asked)
            for visit, samples in zip(visits.values(), visited, strict=True):
                for (epoch, _), sample in zip(visit, samples, strict=True):
                    batches[epoch].add(sample)
        return [batch.build() for batch in batches.values()]

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

    def _draw(self, keys):
        """What is random about reading samples: for each (epoch, index) its seed and its numbers in 0..1 by name."""
        seeds = [sample_seed(self.seed, epoch, self.clips.ids[index]) for epoch, index in keys]
        random = RandomStream(torch.tensor(seeds, dtype=torch.int64))
        columns = [random.uniform(name).tolist() for name in self.draw_names]
        return [{"seed": seed} | dict(zip(self.draw_names, row, strict=True)) for seed, *row in zip(seeds, *columns)]

    def _visit(self, index, draws):
        """The clip's sample for each of `draws`, or for each that it can't be read; a list of dicts."""
        try:
            found = [
                make_sample(sound=sound, index=index, time=time, seed=drawn["seed"], **sight)
                for drawn, (time, sight, sound) in zip(draws, self._read(index, draws), strict=True)
            ]
            if self.off_grid:
                for one, drawn in zip(found, draws, strict=True):
                    one["other"] = self._sound_anywhere(index, drawn["off_grid_time"])
        except ClipError as error:
            return [{"index": index, "clip": error.clip, "error": str(error)} for _ in draws]
        return found

    def _read(self, index, draws):
        """(time, {"frame"} and more, sound) for each of `draws`, from the cache or from disk; both give the same."""
        asked = [(d["time"], (2 * d["misalignment"] - 1) * self.misalignment) for d in draws]
        kept = self.cache.get(index) if self.cache else None
        if kept is None:
            with self.clips.open(index) as clip:
                times = sample_times(clip.first, clip.last, self.step)
                if self.annotated:
                    times = [t for t in self.clips.annotated_times(index) if clip.first <= t <= clip.last] or times
                if not (self.cache and self.cache.worth_filling(index)):
                    chosen = [times[int(share * len(times))] for share, _ in asked]
                    sounds = [clip.sound(t + shift, self.rate) for t, (_, shift) in zip(chosen, asked, strict=True)]
                    return list(zip(chosen, self._sights(clip, chosen), sounds, strict=True))
                kept = times[0], clip.frames(times, self.size), clip.full_waveform(self.rate)
                self.cache.put(index, *kept)
        first, frames, sound = kept
        found = []
        for share, shift in asked:
            position = int(share * len(frames))
            time = first + position * self.step
            start = min(max(round((time + shift - SOUND_SECONDS / 2) * self.rate), 0), len(sound) - self.rate)
            found.append((time, {"frame": frames[position]}, sound[start : start + self.rate]))
        return found

    def _sights(self, clip, times):
        """What is seen of an open clip at `times`: a list of {"frame"}, of {"frame", "flow"} with flow."""
        if self.frames == 1:
            order = sorted(range(len(times)), key=times.__getitem__)
            pictures = clip.frames([times[k] for k in order], self.size)  # in one pass
            frames = [pictures[place] for place in np.argsort(order)]
        else:
            frames = [clip.frame_stack(time, self.frames, self.size) for time in times]
        sights = [{"frame": frame} for frame in frames]
        if self.flow:
            sights = [sight | {"flow": self.flow(clip, time)} for sight, time in zip(sights, times, strict=True)]
        return sights

    def _sound_anywhere(self, index, share):
        """A second of sound at any time of the clip, not only around a frame: (rate,) int16."""
        with self.clips.open(index) as clip:
            return clip.sound(clip.first + share * (clip.last - clip.first), self.rate)


def sample_times(first, last, step):
    """The multiples of `step` in first..last, seconds; `first` alone if there is none. A list of floats.

    Frames are drawn from these, and their seconds of sound are cut around them, in matches and mismatches alike.
    """
    lowest, highest = int(np.ceil(first / step - 1e-6)), int(np.floor(last / step + 1e-6))
    # From the lowest on, in steps, as a clip in the cache counts them: the same to the last bit.
    return [lowest * step + k * step for k in range(highest - lowest + 1)] or [first]
