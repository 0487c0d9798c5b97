"""Audio-visual correspondence samples without reading clips: features of a frame, and its sound."""

import torch

from dataset.features.frozen import FrozenFeatures
from dataset.loading.loader import Sample, TensorSpec
from dataset.pairs import PairDataset, SampleDraw
from dataset.reading.reader import ClipDataset


class FeatureDataset(PairDataset):
    """A frame's features and its sound for each clip: `pairs[epoch, index]` is a sample.

    It has "features" (C, h, w) float16 in place of "frame", or (M, C, h, w) of several moments: those of a random view
    of a random one of the clip's frames. The sound is what `PairDataset` has for the same time.

    Args:
        clips: of one split.
        features: of these clips.
        sample_rate: of the sounds, Hz.
        misalignment: largest random offset of the sound from its frame, seconds.
        seed: of all random numbers.
        moments: frames of a sample, one of each of as many equal parts of the clip's frames (data.moments).
    """

    plain = False
    draw_names = ("time", "misalignment", "view")

    def __init__(
        self,
        clips: ClipDataset,
        features: FrozenFeatures,
        sample_rate: int,
        misalignment: float = 0.0,
        seed: int = 0,
        moments: int = 1,
    ) -> None:
        super().__init__(clips, 0, sample_rate, 0.0, misalignment=misalignment, seed=seed, moments=moments)
        self.features = features

    def layout(self, count: int) -> list[TensorSpec]:
        """List the arrays of a batch of `count` samples."""
        parts = () if self.moments == 1 else (self.moments,)
        return [
            TensorSpec("features", (count, *parts, *self.features.maps.shape[3:]), torch.float16),
            TensorSpec("sound", (count, *parts, self.samples), torch.int16),
        ]

    def _read_samples(self, index: int, draws: list[SampleDraw]) -> list[Sample]:
        clip = self.clips.ids[index]
        if clip not in self.features.rows:
            return [{"index": index, "clip": clip, "error": self.features.errors[clip]} for _ in draws]
        return [self._sample(index, self.features.rows[clip], draw) for draw in draws]

    def _sample(self, index: int, row: int, draw: SampleDraw) -> Sample:
        """Make the sample of a draw, of the clip at `index`, whose features are in a `row`."""
        views, all_times, sound = self.features.maps[row], self.features.times[row], self.features.sound(row)
        numbers = self._positions(draw, self.clips.ids[index], len(views))
        view = int(draw.fractions["view"] * views.shape[1])
        times = [float(all_times[number]) for number in numbers]
        sounds = [self._cut_sound(sound, time, draw) for time in times]
        several = self.moments > 1
        return {
            "index": index, "time": times[len(times) // 2], "seed": draw.seed,
            "features": views[numbers, view] if several else views[numbers[0], view],
            "sound": sounds if several else sounds[0],
        }  # fmt: skip
