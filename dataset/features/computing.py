"""Compute the features of a frozen encoder: decode the clips, encode each frame in several views, write arrays."""

import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from dataset.loading.loader import Batch, Key, Sample, SampleDataset, SkipHandler, collate, make_loader
from dataset.loading.order import sequential_batches
from dataset.loading.shared_memory import SharedBatch
from dataset.pairs import sample_times
from dataset.random_stream import RandomStream, hash64
from dataset.reading.errors import ClipError
from dataset.reading.reader import ClipDataset
from dataset.transforms.frames import prepare_frames
from utils import distributed
from utils.errors import UserError
from utils.memory import explain_gpu_memory
from utils.progress_bar import progress_bar

FRAMES_AT_ONCE, IMAGES_AT_ONCE = 16, 64  # that are decoded, each for all of its views; that the encoder gets at most
ADVICE = "free some space, set another --data.features_dir, or --data.feature_views 0 to keep no features"


class FrameEncoder(Protocol):
    """An encoder of frames that training doesn't change.

    Attributes:
        about: {"encoder": its name, "weights": a hash of them, ...}: what its features depend on.
    """

    about: dict[str, Any]

    def __call__(self, frames: Tensor) -> Tensor:
        """Encode normalized `frames`, (B, 3, S, S) float32 -> (B, C, h, w)."""
        ...


def view_names(config: Any) -> list[str]:
    """List the views of a frame: plain, mirrored if augment.flip allows it, and augmented ones.

    Args:
        config: a `configs.schema.Config`.
    """
    fixed = ["plain", "mirrored"] if config.augment.flip else ["plain"]
    count = config.data.feature_views
    return [*fixed[:count], *["augmented"] * (count - len(fixed))]


def make_views(frames: Tensor, names: list[str], config: Any) -> Tensor:
    """Prepare each frame for the encoder in several views.

    Args:
        frames: (B, S, S, 3) uint8.
        names: of the B frames, from which the random numbers of their augmentation are drawn.
        config: a `configs.schema.Config`.

    Returns:
        (B, K, 3, data.frame_size, data.frame_size) float32; the first view is what evaluation sees.
    """
    augment, size = dataclasses.replace(config.augment, blend=0.0), config.data.frame_size
    with torch.autocast(frames.device.type, enabled=False):  # bf16 would round colors visibly
        plain = prepare_frames(frames, size)
        views = []
        for number, kind in enumerate(view_names(config)):
            if kind == "augmented":
                seeds = torch.tensor([hash64(f"{name} {number}") for name in names], device=frames.device)
                views.append(prepare_frames(frames, size, augment, RandomStream(seeds)))
            else:
                views.append(plain.flip(-1) if kind == "mirrored" else plain)
    return torch.stack(views, 1)


class _WholeClips(SampleDataset):
    """The F frames of each clip that features are computed of, and its whole sound."""

    def __init__(self, clips: ClipDataset, data: Any) -> None:
        self.clips, self.data = clips, data

    def __len__(self) -> int:
        return len(self.clips)

    def load_batches(self, keys: list[Key], pool: Any = None) -> list[Batch | SharedBatch]:
        """Load the clips of the `keys` as one batch, whose sounds are a list; `pool` is not used."""
        samples = [self[key] for key in keys]
        sounds = [sample.pop("whole") for sample in samples if "whole" in sample]
        times = [sample.pop("frame_times") for sample in samples if "frame_times" in sample]
        return [collate(samples) | {"sounds": sounds, "frame_times": times}]

    def __getitem__(self, key: Key) -> Sample:
        index, data = key[1], self.data
        try:
            with self.clips.open(index) as clip:
                possible = sample_times(clip.first, clip.last, data.frame_step)
                count = data.feature_frames
                times = [possible[int((part + 0.5) / count * len(possible))] for part in range(count)]
                frames, sound = clip.frames(times, data.resize_size), clip.full_waveform(data.sample_rate)
        except ClipError as error:
            return {"index": index, "clip": error.clip, "error": str(error)}
        empty = np.empty(0, np.int16)
        return {
            "index": index, "time": times[0], "seed": 0, "frame": frames, "sound": empty, "whole": sound,
            "frame_times": times,
        }  # fmt: skip


class _GrowingArray:
    """A .npy file to which rows are added: its header is written again at the end."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "wb")  # noqa: SIM115 - `close` closes it
        self._header, self._count = dict[str, Any](), 0

    def add(self, rows: np.ndarray) -> None:
        """Add `rows`, (n, ...), all with the same type and shape."""
        if not self._header:
            descr = np.lib.format.dtype_to_descr(rows.dtype)
            self._header = {"descr": descr, "fortran_order": False, "shape": (0, *rows.shape[1:])}
            np.lib.format.write_array_header_1_0(self._file, self._header)
        self._file.write(np.ascontiguousarray(rows).data)
        self._count += len(rows)

    def close(self) -> None:
        """Write the number of rows, and everything to disk."""
        self._file.seek(0)  # numpy leaves room in the header for any number of rows
        self._header["shape"] = (self._count, *self._header["shape"][1:])
        np.lib.format.write_array_header_1_0(self._file, self._header)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


def write_features(
    folder: Path,
    config: Any,
    clips: ClipDataset,
    encoder: FrameEncoder,
    device: torch.device | str,
    on_skip: SkipHandler,
) -> dict[str, str]:
    """Compute the features of all clips, and write the arrays of `dataset.features.frozen`.

    Args:
        folder: to write to.
        config: a `configs.schema.Config`.
        clips: the split.
        encoder: of the frames.
        device: on which it runs.
        on_skip: called with the id and the error message of each clip that can't be read.

    Returns:
        {clip id: message} of these.

    Raises:
        UserError: no clip can be read, the disk has too little space, or a number is too large.
        OSError: the arrays can't be written.
    """
    files = {name: _GrowingArray(folder / f"{name}.npy") for name in ("features", "times", "sounds", "ends")}
    errors, end = dict[str, str](), 0
    batches, images = _decode(config, clips, device), images_at_once(config, device)
    advice = f"lower --train.batch_size below {images}: it takes no more frames at a time"
    with progress_bar(len(clips), desc="frames' features") as bar:
        for batch in batches:
            for clip, message in batch["errors"]:
                on_skip(clip, message)
                errors[clip] = message
            if len(batch["indices"]):
                names = [clips.ids[index] for index in batch["indices"].tolist()]
                with explain_gpu_memory("a batch of frames for the frozen encoder", advice):
                    features = _encode(batch["frames"].to(device), names, config, encoder, images)
                sounds = np.concatenate(batch["sounds"])
                ends = end + np.cumsum([len(sound) for sound in batch["sounds"]])
                if not end:
                    _check_space(folder, (features.nbytes + sounds.nbytes) * len(clips) / len(features))
                values = (features, np.array(batch["frame_times"]), sounds, ends)
                for file, rows in zip(files.values(), values, strict=True):
                    file.add(rows)
                end = int(ends[-1])
            bar.update(len(batch["indices"]) + len(batch["errors"]))
            distributed.broadcast_object(None)  # the other processes wait for no longer than a batch
    if not end:
        raise UserError(f"no clip of {clips.folder} can be read: {next(iter(errors.values()))}")
    for file in files.values():
        file.close()
    return errors


def _decode(config: Any, clips: ClipDataset, device: torch.device | str) -> Iterator[Batch]:
    """Decode the clips in the loader's processes: batches of about FRAMES_AT_ONCE frames (B, F, S, S, 3)."""
    order = sequential_batches(len(clips), max(1, FRAMES_AT_ONCE // config.data.feature_frames))
    return iter(make_loader(_WholeClips(clips, config.data), order, config.train.workers, device))


def images_at_once(config: Any, device: torch.device | str) -> int:
    """Decide how many images the encoder gets at a time; on a GPU no more than a training step has clips.

    Args:
        config: a `configs.schema.Config`.
        device: on which it runs.
    """
    if torch.device(device).type == "cpu":
        return IMAGES_AT_ONCE
    return min(IMAGES_AT_ONCE, max(config.train.batch_size // distributed.world_size(), 1))


@torch.no_grad()
def _encode(frames: Tensor, clips: list[str], config: Any, encoder: FrameEncoder, images: int) -> np.ndarray:
    """Encode all views of frames (B, F, S, S, 3), some `images` at a time: (B, F, K, C, h, w) float16."""
    count = frames.shape[1]
    parts = []
    for start in range(0, count, FRAMES_AT_ONCE):  # of a clip with many frames
        part = frames[:, start : start + FRAMES_AT_ONCE]
        names = [f"{clip} {start + number}" for clip in clips for number in range(part.shape[1])]
        views = make_views(part.flatten(0, 1), names, config)  # (b, K, 3, s, s)
        pixels = views.flatten(0, 1).contiguous(memory_format=torch.channels_last)  # twice as fast on a CPU
        maps = (
            torch.cat([encoder(some) for some in pixels.split(images)])
            .half()
            .unflatten(0, (len(clips), part.shape[1], views.shape[1]))
        )
        parts.append(maps.cpu().numpy())
    features = np.concatenate(parts, 1)
    if not np.isfinite(features).all():
        raise UserError(
            f"features of {encoder.about['encoder']} are too large for 16 bits: set --data.feature_views 0 to compute "
            "them in each step"
        )
    return features


def _check_space(folder: Path, need: float) -> None:
    """Raise a UserError if the disk has less space than the `need`, bytes."""
    free = shutil.disk_usage(folder).free
    if free < need:
        raise UserError(
            f"the features in {folder.parent} need {need / 1e9:,.2f} GB, and {free / 1e9:,.2f} GB are free: lower "
            f"--data.feature_frames or --data.feature_views, {ADVICE}"
        )
