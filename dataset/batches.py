"""From samples, one frame and one second of sound each, to a batch of tensors: stacked, or written as they come."""

import numpy as np
import torch

from dataset.ring import InRing, part

DRAWS = 44  # random numbers of a sample: two choose the instant, transforms.py uses the others


def sample(frame, sound, index=0, time=0.0, draws=None, **flow):
    """An item of `Pairs` from a frame (S, S, 3) uint8 and its second of sound (R,) int16, for `collate`."""
    draws = np.zeros(DRAWS, np.float32) if draws is None else draws
    return {"index": index, "time": time, "frame": frame, "sound": sound, "draws": draws, **flow}


def collate(samples):
    """Stack samples into one batch.

    Returns:
        dict: frames (B, S, S, 3) uint8, sounds (B, R) int16, draws (B, DRAWS) float32, indices (B,) int64,
        times (B,) float64, and `errors`: list of (clip id, message) of those that could not be read. Where the samples
        have another second of sound, sounds are (2 B, R): those of the frames, then the others. Several frames are
        (B, T, S, S, 3); flows (B, S, S, 2 * fields) int8 are there if the samples have them.
    """
    good = [sample for sample in samples if "error" not in sample]
    batch = _small_parts(good)
    batch["errors"] = [(sample["clip"], sample["error"]) for sample in samples if "error" in sample]
    kinds = [("frame", "frames"), ("sound", "sounds")]
    kinds += [("flow", "flows")] if good and "flow" in good[0] else []
    for key, name in kinds:
        batch[name] = torch.from_numpy(np.stack([s[key] for s in good])) if good else torch.empty(0)
    if good and "other" in good[0]:
        batch["sounds"] = torch.cat([batch["sounds"], torch.from_numpy(np.stack([s["other"] for s in good]))])
    return batch


def _small_parts(good):
    """The draws, indices and times of readable samples, for a batch."""
    return {
        "draws": torch.from_numpy(np.stack([s["draws"] for s in good])) if good else torch.empty(0),
        "indices": torch.tensor([s["index"] for s in good], dtype=torch.int64),
        "times": torch.tensor([s["time"] for s in good], dtype=torch.float64),
    }


class Batch:
    """A batch that is filled sample by sample, its large parts in one piece of memory each.

    That lies in a slot of the ring, if there is one and a slot is free.

    Args:
        layout: of `Pairs.layout`. ring: a `Ring`, or None.
    """

    def __init__(self, layout, ring):
        size = sum(aligned(shape, dtype) for _, _, shape, dtype in layout)
        self.ring, self.slot = ring, ring.take(size) if ring else None
        flat, offset = None if self.slot is None else torch.from_numpy(ring.memory[self.slot]), 0
        self.parts = {}
        for key, name, shape, dtype in layout:
            empty = torch.empty(shape, dtype=dtype) if flat is None else part(flat, offset, shape, dtype)
            self.parts[key] = name, empty
            offset += aligned(shape, dtype)
        self.good, self.errors = [], []

    def add(self, sample):
        """Take a sample of `Pairs`; of one that can't be read, its error."""
        if "error" in sample:
            self.errors.append((sample["clip"], sample["error"]))
            return
        for key, (_, tensor) in self.parts.items():
            tensor.numpy()[len(self.good)] = sample.pop(key)
        self.good.append(sample)

    def finished(self):
        """The batch as `collate` gives it, or an `InRing` of it."""
        batch = collate([{"clip": clip, "error": error} for clip, error in self.errors])
        if self.good:
            batch |= _small_parts(self.good) | {name: rows[: len(self.good)] for name, rows in self.parts.values()}
        if "others" in batch:
            batch["sounds"] = torch.cat([batch["sounds"], batch.pop("others")])
        return batch if self.slot is None else InRing(self.ring, self.slot, batch)


def aligned(shape, dtype):
    """Bytes that a tensor takes in a slot: a multiple of 64, so that the next one begins on a whole number of any."""
    return -(-int(np.prod(shape)) * dtype.itemsize // 64) * 64
