"""Audio-visual correspondence samples: of each clip a frame and its sound; negatives come from the batch.

Everything random about a sample depends on (seed, epoch, clip id, name of the draw) alone, so that neither the number
of loader processes nor a restart nor a new augmentation changes a batch. Every second of sound in a batch serves in
its positive and, with equal weight, in negatives, so that how it was cut can't leak the label: this closes the
shortcut that OtS sec. 3.3 warns of.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, count, islice
from math import ceil, floor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dataset.loading.cache import CachedClip, ClipCache
from dataset.loading.loader import (
    Batch,
    BatchBuilder,
    Key,
    Sample,
    SampleDataset,
    SharedBatch,
    SharedMemoryPool,
    TensorSpec,
    make_sample,
)
from dataset.making.text import count_text
from dataset.random_stream import RandomStream, sample_seed
from dataset.reading.audio import sound_samples
from dataset.reading.errors import ClipError
from dataset.reading.flow import FlowCache
from dataset.reading.reader import ClipDataset, OpenClip
from dataset.reading.shards import ShardedClips
from dataset.shard_pairs import ShardPairs


class SampleDraw(NamedTuple):
    """The random numbers that choose a sample of a clip."""

    epoch: int
    seed: int  # of `sample_seed`
    fractions: Mapping[str, float]  # {name: number in 0..1}


class FrameAndSound(NamedTuple):
    """What a sample holds of its clip."""

    time: float  # of the frame, or of the middle moment, seconds
    frame: np.ndarray  # (S, S, 3) uint8, or (T, S, S, 3) for several frames or moments
    sound: np.ndarray  # (samples,) int16, or (T, samples) for several moments
    flow: np.ndarray | None = None  # (S, S, 2 * fields) int8


class PairDataset(SampleDataset):
    """A frame and its sound for each clip: `pairs[epoch, index]` is a sample, see `make_sample`.

    A clip that can't be read gives {"index", "clip", "error"} instead.

    Args:
        clips: of one split; `clips.seconds` is the length of a sample's sound.
        resize_size: height and width of the frames, pixels.
        sample_rate: of the sounds, Hz.
        frame_step: frames are sampled at multiples of this time, seconds.
        misalignment: largest random offset of the sound from its frame, seconds; the same for positives and negatives.
        seed: of all random numbers.
        cache_gb: memory for a cache of decoded clips, GB; 0 for none.
        annotated: sample clips with boxes of sounding objects at the annotated times; not with a cache.
        off_grid: samples also have "other_sound", which is cut at any time: the shortcut, see `avc_loss`.
        frames: consecutive frames of a sample, around its time; several not with a cache.
        flow: optical flow of the frame, or None; not with a cache.
        moments: times of a sample, evenly spaced over the clip, each with its frame and its sound (data.moments).
        even: take the middle of each of `moments` equal parts of a clip, for evaluation; else a random time, the same
            in each part.
    """

    draw_names: tuple[str, ...] = ("time", "misalignment", "off_grid_time")
    plain = True  # a sample is a frame, or one of each moment, and its sound: False of a subclass that has others

    def __init__(
        self,
        clips: ClipDataset,
        resize_size: int,
        sample_rate: int,
        frame_step: float,
        misalignment: float = 0.0,
        seed: int = 0,
        cache_gb: float = 0.0,
        annotated: bool = False,
        off_grid: bool = False,
        frames: int = 1,
        flow: FlowCache | None = None,
        moments: int = 1,
        even: bool = False,
    ) -> None:
        self.clips, self.size, self.rate, self.step = clips, resize_size, sample_rate, frame_step
        self.misalignment, self.seed, self.annotated, self.off_grid = misalignment, seed, annotated, off_grid
        self.frames, self.flow, self.moments, self.even = frames, flow, moments, even
        self.samples = sound_samples(clips.seconds, sample_rate)  # of a sample's sound
        self.cache = ClipCache(len(clips), cache_gb) if cache_gb > 0 else None

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: Key) -> Sample:
        return self._read_samples(key[1], self._draw([key]))[0]

    def load_batches(self, keys: list[Key], pool: SharedMemoryPool | None = None) -> list[Batch | SharedBatch]:
        """Load samples as batches, one for each epoch among the keys.

        Each clip is opened once, and its samples are decoded in one pass. If it can't be read at one of their times,
        it is left out of all these batches.

        Args:
            keys: (epoch, index) of each sample.
            pool: shared memory to write to, or None.
        """
        sizes = Counter(epoch for epoch, _ in keys)
        batches = {epoch: BatchBuilder(self.layout(size), pool) for epoch, size in sizes.items()}
        if reader := self._shard_pairs():
            self._read_batches(keys, batches, reader)
        else:
            draws: dict[int, list[SampleDraw]] = {}  # of each clip
            for (_, index), draw in zip(keys, self._draw(keys), strict=True):
                draws.setdefault(index, []).append(draw)
            for clip_draws, samples in zip(draws.values(), self._read_clips(draws), strict=True):
                for draw, sample in zip(clip_draws, samples, strict=True):
                    batches[draw.epoch].add(sample)
        return [batch.build() for batch in batches.values()]

    def _shard_pairs(self) -> ShardPairs | None:
        """Return what reads the samples of a batch at once: only plain ones, of shards on this machine, can be."""
        other = self.cache or self.annotated or self.off_grid or self.frames > 1 or self.flow
        clips = self.clips
        if not self.plain or other or not isinstance(clips, ShardedClips) or clips.parallel_reads > 1:
            return None
        is_native = clips.settings["rate"] == self.rate
        return ShardPairs(clips, self.size, self.step, self.moments) if is_native else None

    def _read_batches(self, keys: list[Key], batches: Mapping[int, BatchBuilder], reader: ShardPairs) -> None:
        """Read plain samples from shards into their batches, each where it belongs."""
        of_clip: dict[int, list[Key]] = {}
        for key in keys:
            of_clip.setdefault(key[1], []).append(key)
        keys = list(chain.from_iterable(of_clip.values()))
        free = {epoch: count() for epoch in batches}
        rows = [next(free[epoch]) for epoch, _ in keys]
        frames, sounds = (
            [places[epoch][row] for (epoch, _), row in zip(keys, rows, strict=True)]
            for places in ({epoch: batch.places[key] for epoch, batch in batches.items()} for key in ("frame", "sound"))
        )
        seeds, numbers = self._draw_numbers(keys)
        fractions = dict(zip(self.draw_names, numbers.T.double().numpy(), strict=True))
        times = np.full(len(keys), 0.5) if self.even else fractions["time"]
        offsets = (2 * fractions["misalignment"] - 1) * self.misalignment
        read = zip(keys, rows, seeds, reader.read([k for _, k in keys], times, offsets, frames, sounds), strict=True)
        for index, own in of_clip.items():
            samples = list(islice(read, len(own)))
            written = [(key[0], row, seed, time) for key, row, seed, time in samples if time is not None]
            if len(written) == len(own):
                for epoch, row, seed, time in written:
                    batches[epoch].add_written(row, seed, index, time)
                continue
            draws = self._draw(own)  # open the clip alone, which says what is wrong
            for draw, sample in zip(draws, self._read_samples(index, draws), strict=True):
                batches[draw.epoch].add(sample)

    def layout(self, count: int) -> list[TensorSpec]:
        """List the arrays of a batch of `count` samples."""
        square = (self.size, self.size)
        frame = (*square, 3) if self.frames == 1 else (self.frames, *square, 3)
        parts = () if self.moments == 1 else (self.moments,)
        specs = [
            TensorSpec("frame", (count, *parts, *frame), torch.uint8),
            TensorSpec("sound", (count, *parts, self.samples), torch.int16),
        ]
        if self.off_grid:
            specs.append(TensorSpec("other_sound", (count, self.samples), torch.int16))
        if self.flow:
            specs.append(TensorSpec("flow", (count, *square, 2 * self.flow.fields), torch.int8))
        return specs

    def _draw(self, keys: list[Key]) -> list[SampleDraw]:
        """Draw the random numbers of all samples at once."""
        seeds, numbers = self._draw_numbers(keys)
        return [
            SampleDraw(epoch, seed, dict(zip(self.draw_names, row, strict=True)))
            for (epoch, _), seed, row in zip(keys, seeds, numbers.tolist(), strict=True)
        ]

    def _draw_numbers(self, keys: list[Key]) -> tuple[list[int], Tensor]:
        """Draw the seed of each sample, and its random numbers by name, (samples, names) float32."""
        ids = self.clips.ids
        seeds = [sample_seed(self.seed, epoch, ids[index]) for epoch, index in keys]
        return seeds, RandomStream(torch.tensor(seeds, dtype=torch.int64)).uniform(*self.draw_names)

    def _read_clips(self, draws: dict[int, list[SampleDraw]]) -> Iterator[list[Sample]]:
        """Read the samples of each clip, several clips at the same time where that is faster."""
        if self.clips.parallel_reads == 1:
            yield from map(self._read_samples, draws, draws.values())
            return
        with ThreadPoolExecutor(self.clips.parallel_reads) as threads:
            yield from threads.map(self._read_samples, draws, draws.values())

    def _read_samples(self, index: int, draws: list[SampleDraw]) -> list[Sample]:
        """Read a clip's sample for each draw; all are errors if it can't be read."""
        try:
            samples = [
                make_sample(read.frame, read.sound, index, read.time, draw.seed, flow=read.flow)
                for draw, read in zip(draws, self._read(index, draws), strict=True)
            ]
            if self.off_grid:
                for sample, draw in zip(samples, draws, strict=True):
                    sample["other_sound"] = self._off_grid_sound(index, draw)
        except ClipError as error:
            return [{"index": index, "clip": error.clip, "error": str(error)} for _ in draws]
        return samples

    def _read(self, index: int, draws: list[SampleDraw]) -> list[FrameAndSound]:
        """Read a clip from the cache or from its files; both give the same."""
        cached = self.cache.get(index) if self.cache else None
        if cached is None:
            with self.clips.open(index) as clip:
                if not (self.cache and self.cache.worth_filling(index, self._whole_size(clip, index))):
                    return self._read_open(clip, index, draws)
                cached = self._decode_whole(clip, index)
            self.cache.put(index, *cached)
        return [self._read_cached(cached, index, draw) for draw in draws]

    def _times(self, clip: OpenClip, index: int) -> list[float]:
        """List the times at which the clip can be sampled, seconds."""
        if self.annotated:
            annotated = [time for time in self.clips.annotated_times(index) if clip.first <= time <= clip.last]
            if annotated:
                return annotated
        return sample_times(clip.first, clip.last, self.step)

    def _positions(self, draw: SampleDraw, clip: str, count: int) -> list[int]:
        """Choose among the `count` times of a clip: one in each of as many equal parts as a sample has moments."""
        if count < self.moments:
            reason = f"holds clip {clip}, which has {count_text(count, 'time')} for a frame with its sound, fewer than"
            hint = f"lower --data.moments, remove clip {clip}, or pass --data.on_error skip"
            raise ClipError(clip, "short", self.clips.folder, f"{reason} data.moments ({self.moments})", hint)
        fraction = 0.5 if self.even else draw.fractions["time"]
        return [int((part + fraction) / self.moments * count) for part in range(self.moments)]

    def _sound_offset(self, draw: SampleDraw) -> float:
        """The offset of the sound from its frame, seconds."""
        return (2 * draw.fractions["misalignment"] - 1) * self.misalignment

    def _read_open(self, clip: OpenClip, index: int, draws: list[SampleDraw]) -> list[FrameAndSound]:
        """Decode the samples of an open clip in one pass."""
        times = self._times(clip, index)
        chosen = [[times[k] for k in self._positions(draw, clip.clip, len(times))] for draw in draws]
        sounds = [
            [clip.sound(time + self._sound_offset(draw), self.rate) for time in moments]
            for moments, draw in zip(chosen, draws, strict=True)
        ]
        ascending = sorted({time for moments in chosen for time in moments})
        if self.frames == 1:
            frames = dict(zip(ascending, clip.frames(ascending, self.size), strict=True))
        else:
            frames = {time: clip.frame_stack(time, self.frames, self.size) for time in ascending}
        flows = [self.flow(clip, moments[0]) if self.flow else None for moments in chosen]
        return [
            self._join(moments, [frames[time] for time in moments], heard, flow)
            for moments, heard, flow in zip(chosen, sounds, flows, strict=True)
        ]

    def _join(
        self, times: list[float], frames: list[np.ndarray], sounds: list[np.ndarray], flow: np.ndarray | None = None
    ) -> FrameAndSound:
        """Join the moments of a sample."""
        if self.moments == 1:
            return FrameAndSound(times[0], frames[0], sounds[0], flow)
        return FrameAndSound(times[len(times) // 2], np.stack(frames), np.stack(sounds), flow)

    def _whole_size(self, clip: OpenClip, index: int) -> int:
        """Count the bytes of all that samples of an open clip can hold."""
        return len(self._times(clip, index)) * 3 * self.size**2 + 2 * clip.num_samples(self.rate)

    def _decode_whole(self, clip: OpenClip, index: int) -> CachedClip:
        """Decode all that samples of an open clip can hold."""
        times = self._times(clip, index)
        return CachedClip(times[0], clip.frames(times, self.size), clip.full_waveform(self.rate))

    def _read_cached(self, cached: CachedClip, index: int, draw: SampleDraw) -> FrameAndSound:
        """Read a sample of a clip in the cache."""
        positions = self._positions(draw, self.clips.ids[index], len(cached.frames))
        times = [cached.first + position * self.step for position in positions]
        sounds = [self._cut_sound(cached.sound, time, draw) for time in times]
        return self._join(times, [cached.frames[position] for position in positions], sounds)

    def _cut_sound(self, whole: np.ndarray, time: float, draw: SampleDraw) -> np.ndarray:
        """Cut the sound of a frame at a `time` from that of the whole clip, moved inside it at its ends."""
        start = round((time + self._sound_offset(draw) - self.clips.seconds / 2) * self.rate)
        start = min(max(start, 0), len(whole) - self.samples)
        return whole[start : start + self.samples]

    def _off_grid_sound(self, index: int, draw: SampleDraw) -> np.ndarray:
        """Read a sound at any time of the clip, not only around a frame: (samples,) int16."""
        with self.clips.open(index) as clip:
            time = clip.first + draw.fractions["off_grid_time"] * (clip.last - clip.first)
            return clip.sound(time, self.rate)


def sample_times(first: float, last: float, step: float) -> list[float]:
    """List the times at which a clip can be sampled.

    Args:
        first: earliest time, seconds.
        last: latest time, seconds.
        step: seconds.

    Returns:
        the multiples of `step` in first..last, ascending; [first] if there is none.
    """
    lowest, highest = ceil(first / step - 1e-6), floor(last / step + 1e-6)
    # Summed up as for a clip in the cache, so that both are the same to the last bit.
    return (lowest * step + np.arange(highest - lowest + 1) * step).tolist() or [first]
