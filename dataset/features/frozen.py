"""Feature maps of a frozen encoder of frames: computed once and kept on disk, so that training reads no clips.

    FOLDER/SPLIT/features_ENCODER_KEY/about.json    all that the numbers depend on, of which KEY is a hash; the clips
                                     /features.npy  (clips, F, K, C, h, w) float16: K views of F frames of each clip
                                     /times.npy     (clips, F) float64: of the frames, seconds
                                     /sounds.npy    int16: the clips' whole sounds, one after the other
                                     /ends.npy      (clips,) int64: where each of them ends, samples

Clips that could not be read have no rows; about.json lists them. The folder gets its name when it is complete.
"""

import json
import os
import shutil
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataset.features.computing import ADVICE, FrameEncoder, view_names, write_features
from dataset.loading.loader import SkipHandler
from dataset.reading.reader import ClipDataset
from dataset.reading.remote import is_url
from utils import distributed
from utils.errors import UserError
from utils.files import write_json
from utils.locks import lock_output

FORMAT_VERSION = 1  # of the files; increment it when the numbers are computed differently
# Settings of the augmentation that don't change a single frame.
NOT_OF_FRAMES = ("blend", "ramp", "gain", "mix", "tilt", "noise", "pitch", "freq_mask", "time_mask")


class FrozenFeatures:
    """The features of a split's clips, and their sounds, as memory maps.

    Args:
        folder: that holds them.

    Attributes:
        about: content of about.json.
        maps: (clips, F, K, C, h, w) float16.
        times: (clips, F) float64, seconds.
        rows: {clip id: row}.
        errors: {clip id: message} of the clips that could not be read.

    Raises:
        OSError, ValueError, KeyError: the folder is missing or not complete.
    """

    def __init__(self, folder: Path) -> None:
        self.about: dict[str, Any] = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        self.errors: dict[str, str] = dict(self.about["errors"])
        clips = [clip for clip in self.about["clips"] if clip not in self.errors]
        self.rows = {clip: row for row, clip in enumerate(clips)}
        self.maps, self.times, self._sounds, self._ends = (
            np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("features", "times", "sounds", "ends")
        )
        count, kinds = len(self.rows), [a.dtype.str for a in (self.maps, self.times, self._sounds, self._ends)]
        forms = (self.maps.ndim, self.maps.shape[:2], self._sounds.ndim, self._ends.shape)
        if kinds != ["<f2", "<f8", "<i2", "<i8"] or forms != (6, self.times.shape, 1, (count,)):
            raise ValueError("arrays of another form")
        if len(self.maps) != count or (count and len(self._sounds) != self._ends[-1]):
            raise ValueError("arrays of different numbers of clips")

    def sound(self, row: int) -> np.ndarray:
        """Get the whole sound of the clip in a `row`: (samples,) int16."""
        return self._sounds[self._ends[row - 1] if row else 0 : self._ends[row]]


def open_features(
    config: Any,
    clips: ClipDataset,
    encoder: FrameEncoder,
    device: torch.device | str,
    log: Callable[[str], None],
    on_skip: SkipHandler,
) -> FrozenFeatures:
    """Open the features of a split, computed before or now; of several processes the first one computes them.

    Args:
        config: a `configs.schema.Config`.
        clips: the split.
        encoder: of the frames; it runs in the autocast that is active.
        device: of the encoder.
        log: prints a line.
        on_skip: called with the id and the error message of each clip that can't be read.

    Raises:
        UserError: they can't be written, or the disk has no space for them; or from `on_skip`.
    """
    if is_url(config.data.features_dir or config.data.root):
        raise UserError(
            f"frozen features can't be kept at {config.data.features_dir or config.data.root}: set "
            "--data.features_dir to a local folder, or --data.feature_views 0 to keep none"
        )
    if distributed.rank():
        while (folder := distributed.broadcast_object(None)) is None:  # while process 0 computes
            pass
        if features := _open_complete(folder, {}):
            return features
        raise UserError(
            f"{folder}, which process 0 has made, can't be read by process {distributed.rank()}: set "
            "--data.features_dir to a folder that all machines share"
        )
    about = describe_features(config, clips, encoder, torch.device(device))
    key = blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=6).hexdigest()
    name = f"features_{about['encoder'].replace('/', '_')[:80]}_{key}"
    folder = _base_folder(config, clips, log) / clips.folder.name / name
    started, features = time.monotonic(), _open_complete(folder, about)
    if features:
        log(f"frames' features: read from {folder}")
    else:
        with lock_output(folder, "--data.features_dir"):
            _compute(folder, about, config, clips, encoder, device, on_skip)
        features = FrozenFeatures(folder)
        log(f"frames' features: {folder} (computed in {time.monotonic() - started:.0f} s)")
    for clip, message in features.errors.items():
        on_skip(clip, message)
    distributed.broadcast_object(folder)
    return features


def _base_folder(config: Any, clips: ClipDataset, log: Callable[[str], None]) -> Path:
    """Choose where features are kept: data.features_dir, else the dataset, or the run if that can't be written."""
    if config.data.features_dir:
        return Path(config.data.features_dir)
    if os.access(clips.folder, os.W_OK):
        return Path(config.data.root)
    log(f"frames' features: {clips.folder} can't be written, so they are kept in the run directory")
    return Path(config.train.run_dir) / "features"


def describe_features(config: Any, clips: ClipDataset, encoder: FrameEncoder, device: torch.device) -> dict[str, Any]:
    """List all that the features of a split depend on, as JSON.

    Args:
        config: a `configs.schema.Config`.
        clips: the split.
        encoder: of the frames.
        device: on which it runs.
    """
    data, views = config.data, view_names(config)
    names = ("frame_size", "resize_size", "frame_step", "seconds", "sample_rate", "feature_frames")
    augment = {name: value for name, value in vars(config.augment).items() if name not in NOT_OF_FRAMES}
    bf16 = torch.is_autocast_enabled(device.type)
    return {
        "format": FORMAT_VERSION,
        **encoder.about,
        "precision": str(torch.get_autocast_dtype(device.type)) if bf16 else "torch.float32",
        **{name: getattr(data, name) for name in names},
        "views": views,
        "augment": augment if "augmented" in views else {},
        "clips": {clip: clips.version(index) for index, clip in enumerate(clips.ids)},
    }


def _open_complete(folder: Path, about: dict[str, Any]) -> FrozenFeatures | None:
    """Open the features in a folder; None if it is missing or damaged, or not about what `about` says."""
    try:
        features = FrozenFeatures(folder)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return features if features.about | about == features.about else None


def _compute(
    folder: Path,
    about: dict[str, Any],
    config: Any,
    clips: ClipDataset,
    encoder: FrameEncoder,
    device: torch.device | str,
    on_skip: SkipHandler,
) -> None:
    """Compute the features of all clips, and rename their folder when they are complete."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # of a computation that was killed
    try:
        if _open_complete(folder, about):  # another process has computed them meanwhile
            return
        temporary.mkdir()
        errors = write_features(temporary, config, clips, encoder, device, on_skip)
        write_json(temporary / "about.json", about | {"errors": errors})
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
    except OSError as error:
        raise UserError(f"{folder} can't be written ({error.strerror}): {ADVICE}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # a full disk needs the space
