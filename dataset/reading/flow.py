"""Optical flow of the clips: computed once, when a clip is first read, and kept on disk.

    FOLDER/SPLIT/flow_METHOD_SIZE/ID.npz      about: what it was computed from and how; 0, 1, ...: one field each

Field k leads from the frame at k * 0.04 s to the next, as (size, size, 2) int8: u (to the right) and v (down) of each
pixel in steps of 20 / 127 pixel, at most 20. Eight bits per component are usual for two-stream nets (arXiv 1406.2199),
the bound of 20 pixels too (arXiv 1705.07750). A file that is damaged, or of another video, is computed again.
"""

import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from dataset.reading.errors import ClipError, MediaError
from dataset.reading.frame_reader import FRAME_INTERVAL
from dataset.reading.limits import size_of
from dataset.reading.reader import ClipDataset, OpenClip
from dataset.reading.settings import DataSettings
from utils.errors import UserError
from utils.files import atomic_write

MAX_FLOW = 20.0  # pixels; 127 steps
FORMAT_VERSION = 1  # of the files; increment it when flow is computed differently
# What reading a damaged file raises.
READ_ERRORS = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


def open_flow_cache(data: DataSettings, clips: ClipDataset) -> "FlowCache | None":
    """Open the optical flow that a run's settings ask for.

    Args:
        data: the run's settings, a `configs.schema.Data`.
        clips: the split.

    Returns:
        the flow of the split; None if the settings ask for none.

    Raises:
        UserError: see `FlowCache`.
    """
    if data.flow == "none":
        return None
    folder = Path(data.flow_dir or data.root) / clips.folder.name
    return FlowCache(data.flow, data.resize_size, data.flow_fields, folder)


class FlowCache:
    """The optical flow of a split's clips; `flow(clip, time)` is the flow around a time of an open clip.

    Args:
        method: "tvl1", "dis" or "farneback", OpenCV's with its default settings.
        size: side of the frames between which it is computed, pixels.
        fields: number of fields in a result, between one more frames.
        folder: where they are kept, in a folder flow_METHOD_SIZE.

    Returns of a call:
        (size, size, 2 * fields) int8: u and v of one field after the other. The middle one begins at the frame nearest
        to `time`; near the ends of the clip all are moved inside it.

    Raises:
        UserError: from the constructor, if OpenCV is missing or the folder can't be written.
        ClipError: from a call, if the clip can't be read or is too short, or its flow can't be written.
    """

    def __init__(self, method: str, size: int, fields: int, folder: Path) -> None:
        self.method, self.size, self.fields = method, size, fields
        self.folder = Path(folder) / f"flow_{method}_{size}"
        # Check now, and not in a loader process in the middle of a run, that all requirements are met.
        flow_estimator(method)
        probe = self.folder / ".probe"
        self._write(probe, "whether the folder can be written", [])
        probe.unlink(missing_ok=True)

    def __call__(self, clip: OpenClip, time: float) -> np.ndarray:
        count = int(clip.video_end / FRAME_INTERVAL + 1e-6)  # fields of the whole clip
        if count < self.fields:
            reason = f"is shorter than the {self.fields + 1} frames of data.flow_fields"
            raise ClipError(clip.clip, "short", clip.video_file, reason)
        start = min(max(round(time / FRAME_INTERVAL) - self.fields // 2, 0), count - self.fields)
        wanted = range(start, start + self.fields)
        path = self.folder / f"{clip.clip}.npz"
        source = f"{size_of(clip.video_file)} bytes"
        about = f"form {FORMAT_VERSION}, {self.method}, {self.size} px, every {FRAME_INTERVAL} s, {source}"
        fields = self._read(path, about, wanted)
        if fields is None:
            computed = self._compute(clip, count)
            try:
                self._write(path, about, computed)
            except MediaError as error:  # reaches the training process as the clip's own errors do
                raise error.for_clip(clip.clip) from None
            fields = [computed[k] for k in wanted]
        return np.concatenate(fields, axis=2)

    def _read(self, path: Path, about: str, wanted: range) -> list[np.ndarray] | None:
        """The fields with these numbers from a file, or None if there is none that can be used."""
        try:
            with np.load(path) as file:  # reads and unpacks only the entries that are accessed
                if str(file["about"]) != about:
                    return None
                fields = [file[str(k)] for k in wanted]
        except READ_ERRORS:
            return None
        are_valid = all(field.shape == (self.size, self.size, 2) and field.dtype == np.int8 for field in fields)
        return fields if are_valid else None

    def _compute(self, clip: OpenClip, count: int) -> list[np.ndarray]:
        """All fields of a clip: list of (size, size, 2) int8."""
        frames = clip.frames([k * FRAME_INTERVAL for k in range(count + 1)], self.size)
        cv2 = import_cv2()
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
        estimate = flow_estimator(self.method)
        return [quantize(estimate(grey[k], grey[k + 1])) for k in range(count)]

    def _write(self, path: Path, about: str, fields: list[np.ndarray]) -> None:
        """Write a file atomically: other processes may write it at the same time."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            arrays: dict[str, Any] = {str(k): field for k, field in enumerate(fields)}
            with atomic_write(path) as file:
                np.savez_compressed(file, about=about, **arrays)
        except OSError as error:
            reason, hint = f"can't be written ({error.strerror})", "free some space, or set another --data.flow_dir"
            raise MediaError("storage", self.folder, reason, hint) from None


def quantize(flow: np.ndarray) -> np.ndarray:
    """Convert `flow` from pixels, (H, W, 2) float32, to int8 in steps of MAX_FLOW / 127, clipped at +-MAX_FLOW."""
    return np.rint(np.clip(flow, -MAX_FLOW, MAX_FLOW) * (127 / MAX_FLOW)).astype(np.int8)


@cache
def import_cv2() -> ModuleType:
    """Import OpenCV, which only flow needs.

    Raises:
        UserError: it isn't installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise UserError(f"data.flow needs OpenCV ({error}): pip install opencv-contrib-python-headless") from None
    cv2.setNumThreads(1)  # loader processes share the cores
    return cv2


@cache
def flow_estimator(method: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Make a function that estimates the flow between two grey frames, (H, W) uint8: (H, W, 2) float32 in pixels.

    Args:
        method: "tvl1", "dis" or "farneback".

    Raises:
        UserError: OpenCV, or its module with that method, isn't installed.
    """
    cv2 = import_cv2()
    if method == "farneback":  # pyramid of halves, 3 levels, window 15, 3 iterations, neighborhood 5 with sigma 1.2
        return lambda one, two: cv2.calcOpticalFlowFarneback(one, two, None, 0.5, 3, 15, 3, 5, 1.2, 0)
    if method == "dis":
        estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    elif hasattr(cv2, "optflow"):
        estimator = cv2.optflow.DualTVL1OpticalFlow_create()
    else:
        raise UserError(
            "data.flow tvl1 needs OpenCV's contrib modules: pip install opencv-contrib-python-headless, or set "
            "--data.flow dis"
        )
    return lambda one, two: estimator.calc(one, two, None)
