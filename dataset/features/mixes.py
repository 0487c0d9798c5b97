"""Mix-and-separate samples without reading clips: features of a clip's frames, and the sound around them."""

from typing import Any

from dataset.features.frozen import FrozenFeatures
from dataset.features.pairs import FeatureDataset
from dataset.loading.loader import Sample, TensorSpec
from dataset.mixes import too_short
from dataset.pairs import SampleDraw
from dataset.reading.reader import ClipDataset


class MixtureFeatureDataset(FeatureDataset):
    """The features of a clip's frames and the sound around them: `mixtures[epoch, index]` is a sample.

    It has "features" (C, h, w) float16 in place of "frame", or (T, C, h, w) with mix.frames T: those of a random view
    of random ones of the clip's frames, one in each of T equal parts. The sound is what lies around the middle one.

    Args:
        clips: of one split.
        features: of these clips.
        sample_rate: of the sounds, Hz.
        mix: the settings `configs.schema.Mix`.
        seed: of all random numbers.
    """

    draw_names = ("time", "mixture_start", "view")

    def __init__(self, clips: ClipDataset, features: FrozenFeatures, sample_rate: int, mix: Any, seed: int = 0) -> None:
        super().__init__(clips, features, sample_rate, seed=seed, moments=mix.frames)
        self.samples = mix.samples

    def layout(self, count: int) -> list[TensorSpec]:
        """List the arrays of a batch of `count` samples."""
        features, sound = super().layout(count)
        return [features, sound._replace(shape=(count, self.samples))]

    def _sample(self, index: int, row: int, draw: SampleDraw) -> Sample:
        views, all_times, sound = self.features.maps[row], self.features.times[row], self.features.sound(row)
        clip = self.clips.ids[index]
        if len(sound) < self.samples:
            error = too_short(clip, self.clips.folder, len(sound), self.samples, self.rate)
            return {"index": index, "clip": clip, "error": str(error)}
        numbers = self._positions(draw, clip, len(views))
        time = float(all_times[numbers[len(numbers) // 2]])
        first = min(max(round(time * self.rate) - self.samples, 0), len(sound) - self.samples)
        last = min(max(round(time * self.rate), first), len(sound) - self.samples)
        start = first + round(draw.fractions["mixture_start"] * (last - first))
        chosen = views[:, int(draw.fractions["view"] * views.shape[1])]
        return {
            "index": index, "time": time, "seed": draw.seed,
            "features": chosen[numbers] if self.moments > 1 else chosen[numbers[0]],
            "sound": sound[start : start + self.samples],
        }  # fmt: skip
