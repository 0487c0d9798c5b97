"""Mix-and-separate: clips whose sounds are added up, each with the pictures that tell which part of it is whose.

A sample is one clip: some frames and the sound around them. A batch of B clips becomes B mixtures on the device
(`dataset.transforms.mixtures.stack_sources`), so no clip is mixed with itself. Labels serve for nothing but the fixed mixtures that are
measured: of clips of different classes (SoP sec. 4.2).
"""

from pathlib import Path

import numpy as np

from dataset.pairs import PairDataset
from dataset.reading.annotations import load_json
from dataset.reading.errors import ClipError
from utils.errors import UserError

MAX_ATTEMPTS = 50  # at finding partners of other classes, before mixtures are left out


class MixtureDataset(PairDataset):
    """`mixes[epoch, index]`: one clip's frames and the sound around them.

    Args:
        clips: a `Clips` or `Shards`. data, mix: sections of a `Config`.
        seed: of all draws. cache_gb: memory for decoded clips, GB; 0 for none.
        middle: always the middle of the clip, for evaluation; else it lies anywhere in it.

    Returns of an item, a dict:
        frame: (T, S, S, 3) uint8 RGB, (S, S, 3) if mix.frames is 1; as far apart as mix.frame_stride says, moved
            inside the clip where that is shorter. sound: (mix.samples,) int16. seed, index, time, or the error of a
            clip that can't be read or is too short: as of `Pairs`.
    """

    draw_names = ("mixture_start", "frame_time")

    def __init__(self, clips, data, mix, seed=0, cache_gb=0.0, middle=False):
        super().__init__(
            clips, data.resize_size, data.sample_rate, data.frame_step, seed=seed, cache_gb=cache_gb, frames=mix.frames
        )
        self.samples, self.stride, self.middle = mix.samples, mix.frame_stride, middle

    def _read(self, index, draws):
        """(time, {"frame"}, sound) for each of `draws`, which choose the sound and its frames."""
        asked = [(0.5, 0.5) if self.middle else (d["mixture_start"], d["frame_time"]) for d in draws]
        kept = self.cache.get(index) if self.cache else None
        if kept is None:
            with self.clips.open(index) as clip:
                available = clip.num_samples(self.rate)
                if available < self.samples:
                    raise self._too_short(clip, available)
                count = int(clip.shown_until / self.step + 1e-6) + 1  # multiples of the step at which there's a frame
                if not (self.cache and self.cache.worth_filling(index)):
                    found = []
                    for share, place in asked:
                        start, steps = self._choose(share, place, available, count)
                        frames = clip.frames([k * self.step for k in steps], self.size)
                        found.append(self._sample(start, steps, frames, clip.waveform(start, self.samples, self.rate)))
                    return found
                kept = 0.0, clip.frames([k * self.step for k in range(count)], self.size), clip.full_waveform(self.rate)
                self.cache.put(index, *kept)
        _, frames, sound = kept
        found = []
        for share, place in asked:
            start, steps = self._choose(share, place, len(sound), len(frames))
            found.append(self._sample(start, steps, frames[steps], sound[start : start + self.samples]))
        return found

    def _choose(self, share, place, available, count):
        """The first sample of the sound, and the frames' numbers in steps: the middle one anywhere in that sound.

        Unless that would move the others out of it: then as near to its middle as it can.
        """
        start = round(share * (available - self.samples))
        length, span = self.samples / self.rate, (self.frames - 1) * self.stride
        middle = start / self.rate + length / 2 + (place - 0.5) * max(length - span, 0.0)
        times = [middle - span / 2 + k * self.stride for k in range(self.frames)]
        return start, [min(max(round(time / self.step), 0), count - 1) for time in times]

    def _sample(self, start, steps, frames, sound):
        frames = frames[0] if self.frames == 1 else frames
        return steps[len(steps) // 2] * self.step, {"frame": frames}, sound

    def _too_short(self, clip, available):
        has, needs = available / self.rate, self.samples / self.rate
        hint = f"lower --mix.samples ({self.samples} at {self.rate} Hz), remove clip {clip.clip}, or pass --data.on_error skip"
        reason = f"has sound of {has:.2f} s, shorter than a mixture of {needs:.2f} s"
        return ClipError(clip.clip, "short", clip.audio_file, reason, hint)


def fixed_mixtures(clips, mix):
    """The clips of each mixture that is measured, always the same for a split: list of lists of N places in it.

    From the user's file mix.pairs, or drawn: each clip once in each of the N positions, with clips that share no
    class with it; where such partners can't be found for all, some mixtures are left out.

    Args:
        clips: a `Clips` or `Shards`. mix: a `configs.schema.Mix`.

    Raises:
        UserError: a file that is not of our form or names clips that the split doesn't have; or no mixture of
            different classes exists.
    """
    found = _read_mixtures(mix.pairs, clips, mix.sources) if mix.pairs else _draw_mixtures(clips.labels, mix.sources)
    if not found:
        raise UserError(
            f"{clips.folder} has no {mix.sources} clips of different classes: nothing to separate can be measured "
            "(its vid2genre.json tells the classes)"
        )
    return found


def _draw_mixtures(labels, sources):
    """Each clip is once a mixture's first; the others are permutations, mended until they share no class."""
    rng = np.random.default_rng(0)
    mixtures = [[int(k)] for k in rng.permutation(len(labels))]
    for _ in range(sources - 1):
        others = rng.permutation(len(labels)).tolist()
        for _ in range(MAX_ATTEMPTS):
            wrong = [k for k, one in enumerate(mixtures) if not _have_distinct_classes(labels, [*one, others[k]])]
            for k in wrong:
                swap = int(rng.integers(len(others)))
                after = (others[swap], mixtures[k]), (others[k], mixtures[swap])
                if all(_have_distinct_classes(labels, [*one, other]) for other, one in after):
                    others[k], others[swap] = others[swap], others[k]
            if not wrong:
                break
        mixtures = [[*one, other] for one, other in zip(mixtures, others, strict=True)]
    return [one for one in mixtures if _have_distinct_classes(labels, one)]


def _have_distinct_classes(labels, places):
    """Whether clips are different ones and no two share a class; one without labels may be of any class."""
    classes = [label for place in places for label in set(labels[place])]
    return len(set(places)) == len(places) and len(set(classes)) == len(classes) and all(labels[p] for p in places)


def _read_mixtures(path, clips, sources):
    """The mixtures of a user's file, as places in the split."""
    form = f"[[id, id], ...], lists of {sources} different clips"
    content, place = load_json(Path(path), form), {clip: k for k, clip in enumerate(clips.ids)}
    content = content if isinstance(content, list) else [None]
    for one in content:
        ids = one if isinstance(one, list) and all(isinstance(clip, str) for clip in one) else []
        if len(set(ids)) != sources or len(ids) != sources:
            raise UserError(f"{path} is not of our form at {str(one)[:80]!r}: it must hold {form} (mix.sources)")
        for clip in ids:
            if clip not in place and clip not in clips.skipped:
                raise UserError(f"{path} names clip {clip}, which {clips.folder} doesn't have: mend mix.pairs")
    return [[place[clip] for clip in one] for one in content if all(clip in place for clip in one)]
