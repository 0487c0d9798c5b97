"""Mix-and-separate samples: clips whose sounds are mixed, each with the frames by which its sound is separated again.

A sample is one clip: some frames and the sound around them. A batch of B clips becomes B mixtures on the device
(`dataset.transforms.mixtures.stack_sources`), so that no clip is mixed with itself. Labels are used only to choose the
fixed mixtures for evaluation, of clips of different classes (SoP sec. 4.2).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataset.loading.cache import CachedClip
from dataset.mixture_lists import MixtureList, read_mixtures
from dataset.pairs import FrameAndSound, PairDataset, SampleDraw
from dataset.reading.errors import ClipError
from dataset.reading.reader import ClipDataset, OpenClip
from dataset.reading.settings import DataSettings
from utils.errors import UserError

MIXTURES_PER_BATCH = 16  # that are separated together
MAX_ATTEMPTS = 50  # at swapping clips until none shares a class with its mixture, before mixtures are left out


class MixtureDataset(PairDataset):
    """Some frames of each clip and the sound around them: `mixtures[epoch, index]` is a sample, see `make_sample`.

    Its frame is (T, S, S, 3), or (S, S, 3) if mix.frames is 1; frames are mix.frame_stride seconds apart, and moved
    inside the clip where that is shorter. Its sound is (mix.samples,). A clip that can't be read or is too short gives
    {"index", "clip", "error"} instead.

    Args:
        clips: of one split.
        data: the settings `configs.schema.Data`.
        mix: the settings `configs.schema.Mix`.
        seed: of all random numbers.
        cache_gb: memory for a cache of decoded clips, GB; 0 for none, as with mix.frame_fit "crop".
        middle: take the middle of each clip, for evaluation; else a random part.
    """

    plain = False
    draw_names = ("mixture_start", "frame_time", "frame_position")

    def __init__(
        self,
        clips: ClipDataset,
        data: DataSettings,
        mix: Any,
        seed: int = 0,
        cache_gb: float = 0.0,
        middle: bool = False,
    ) -> None:
        super().__init__(
            clips, data.resize_size, data.sample_rate, data.frame_step, seed=seed, cache_gb=cache_gb, frames=mix.frames
        )
        self.samples, self.stride, self.middle = mix.samples, mix.frame_stride, middle
        self.crop = mix.frame_fit == "crop"
        assert not (self.crop and cache_gb), "the cache keeps squares, of which no other square can be cut"

    def _read_open(self, clip: OpenClip, index: int, draws: list[SampleDraw]) -> list[FrameAndSound]:
        available, num_frames = self._check_length(clip), self._num_frames(clip)
        samples = []
        for draw in draws:
            start, positions = self._choose(draw, available, num_frames)
            frames = clip.frames([k * self.step for k in positions], self.size, self._position(draw))
            samples.append(self._sample(positions, frames, clip.waveform(start, self.samples, self.rate)))
        return samples

    def _decode_whole(self, clip: OpenClip, index: int) -> CachedClip:
        self._check_length(clip)
        return super()._decode_whole(clip, index)

    def _times(self, clip: OpenClip, index: int) -> list[float]:
        return [k * self.step for k in range(self._num_frames(clip))]

    def _read_cached(self, cached: CachedClip, index: int, draw: SampleDraw) -> FrameAndSound:
        start, positions = self._choose(draw, len(cached.sound), len(cached.frames))
        return self._sample(positions, cached.frames[positions], cached.sound[start : start + self.samples])

    def _check_length(self, clip: OpenClip) -> int:
        """Count the samples of the clip's sound; raise a ClipError if a mixture needs more."""
        available = clip.num_samples(self.rate)
        if available >= self.samples:
            return available
        raise too_short(clip.clip, clip.audio_file, available, self.samples, self.rate)

    def _num_frames(self, clip: OpenClip) -> int:
        """Count the multiples of the frame step at which the clip shows a frame."""
        return int(clip.video_end / self.step + 1e-6) + 1

    def _choose(self, draw: SampleDraw, available: int, num_frames: int) -> tuple[int, list[int]]:
        """Choose a part of the sound and the frames within it.

        The time of the middle frame is random, as far as the other frames stay within the sound; else they are
        centered in it.

        Args:
            draw: the random numbers.
            available: samples of the clip's sound.
            num_frames: multiples of the frame step at which the clip shows a frame.

        Returns:
            the first sample of the sound; the times of the frames as multiples of the frame step.
        """
        start_fraction, time_fraction = (
            (0.5, 0.5) if self.middle else (draw.fractions["mixture_start"], draw.fractions["frame_time"])
        )
        start = round(start_fraction * (available - self.samples))
        length, span = self.samples / self.rate, (self.frames - 1) * self.stride  # seconds
        middle = start / self.rate + length / 2 + (time_fraction - 0.5) * max(length - span, 0.0)
        times = [middle - span / 2 + k * self.stride for k in range(self.frames)]
        return start, [min(max(round(time / self.step), 0), num_frames - 1) for time in times]

    def _position(self, draw: SampleDraw) -> float | None:
        """The position along the longer side of the square that is cut out of the frames; None for the whole frames."""
        if not self.crop:
            return None
        return 0.5 if self.middle else draw.fractions["frame_position"]

    def _sample(self, positions: list[int], frames: np.ndarray, sound: np.ndarray) -> FrameAndSound:
        time = positions[len(positions) // 2] * self.step
        return FrameAndSound(time, frames[0] if self.frames == 1 else frames, sound)


def too_short(clip: str, file: Path | str, available: int, samples: int, rate: int) -> ClipError:
    """Make the error for a clip whose sound is shorter than a mixture.

    Args:
        clip: its id.
        file: that holds its sound.
        available: samples of its sound.
        samples: of a mixture.
        rate: samples per second.
    """
    reason = f"has sound of {available / rate:.2f} s, shorter than a mixture of {samples / rate:.2f} s"
    hint = f"lower --mix.samples ({samples} at {rate} Hz), remove clip {clip}, or pass --data.on_error skip"
    return ClipError(clip, "short", file, reason, hint)


def fixed_mixtures(clips: ClipDataset, mix: Any) -> list[list[int]]:
    """List the mixtures that are evaluated, always the same for a split.

    They are those of the user's file mix.pairs, or drawn so that each clip is once in each of the N positions, with
    clips that share no class with it. Mixtures for which there are no such clips are left out.

    Args:
        clips: of the split.
        mix: the settings `configs.schema.Mix`.

    Returns:
        the indices of the N clips of each mixture.

    Raises:
        UserError: see `dataset.mixture_lists.read_mixtures`; or no clips of different classes exist.
    """
    return find_mixtures(clips, mix)[0]


def find_mixtures(clips: ClipDataset, mix: Any) -> tuple[list[list[int]], MixtureList | None]:
    """Get what `fixed_mixtures` lists, and the user's list that they come from, or None.

    Args:
        clips: of the split.
        mix: the settings `configs.schema.Mix`.

    Raises:
        UserError: as `fixed_mixtures`.
    """
    listed = read_mixtures(Path(mix.pairs), clips, mix.sources) if mix.pairs else None
    mixtures = listed.found if listed else _draw_mixtures(list(clips.labels), mix.sources)
    if not mixtures:
        raise UserError(
            f"{clips.folder} has no {mix.sources} clips of different classes, so separation can't be evaluated: check "
            "the classes in its vid2genre.json"
        )
    return mixtures, listed


def mixture_batches(mixtures: Sequence[list[int]], rank: int = 0, world_size: int = 1) -> list[list[list[int]]]:
    """Split mixtures into batches, and take those of one process.

    Args:
        mixtures: from `fixed_mixtures`.
        rank: number of the process.
        world_size: number of the processes that share them.

    Returns:
        lists of MIXTURES_PER_BATCH mixtures, every world_size-th from the rank-th on; the last of all has fewer.
    """
    starts = range(0, len(mixtures), MIXTURES_PER_BATCH)
    return [list(mixtures[k : k + MIXTURES_PER_BATCH]) for k in starts][rank::world_size]


def _draw_mixtures(labels: list[list[str]], sources: int) -> list[list[int]]:
    """Draw a permutation of the clips for each position, and swap clips until no mixture shares a class."""
    rng = np.random.default_rng(0)
    mixtures = [[int(k)] for k in rng.permutation(len(labels))]
    for _ in range(sources - 1):
        others = rng.permutation(len(labels)).tolist()
        for _ in range(MAX_ATTEMPTS):
            wrong = [
                k for k, mixture in enumerate(mixtures) if not _have_distinct_classes(labels, [*mixture, others[k]])
            ]
            for k in wrong:
                swap = int(rng.integers(len(others)))
                swapped = [*mixtures[k], others[swap]], [*mixtures[swap], others[k]]
                if all(_have_distinct_classes(labels, mixture) for mixture in swapped):
                    others[k], others[swap] = others[swap], others[k]
            if not wrong:
                break
        mixtures = [[*mixture, other] for mixture, other in zip(mixtures, others, strict=True)]
    return [mixture for mixture in mixtures if _have_distinct_classes(labels, mixture)]


def _have_distinct_classes(labels: list[list[str]], mixture: list[int]) -> bool:
    """Check that clips differ and no two share a class; a clip without labels may be of any class."""
    classes = [label for index in mixture for label in set(labels[index])]
    all_labeled = all(labels[index] for index in mixture)
    return all_labeled and len(set(mixture)) == len(mixture) and len(set(classes)) == len(classes)
