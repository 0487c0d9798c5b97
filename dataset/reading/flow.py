"""Optical flow of the clips: computed once, at a clip's first visit, and kept on disk.

    FOLDER/SPLIT/flow_METHOD_SIZE/ID.npz      about: what it was computed from and how; 0, 1, ...: one field each

Field k leads from the frame at k * 0.04 s to the next, as (size, size, 2) int8: u (to the right) and v (down) of each
pixel in steps of 20 / 127 pixel, at most 20. Eight bits a component are usual for two-stream nets (arXiv 1406.2199),
the bound of 20 pixels too (arXiv 1705.07750). A file that is damaged, or of another video, is computed anew.
"""

import os
import zipfile
import zlib
from functools import cache
from pathlib import Path

import numpy as np

from dataset.reading.clip_reader import FRAME_INTERVAL
from dataset.reading.errors import ClipError, MediaError
from utils.errors import UserError

MAX_FLOW = 20.0  # pixels; 127 steps
FORMAT_VERSION = 1  # of the files; a change of how flow is computed counts it up
READ_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
)  # what reading such a file raises


def open_flow_cache(data, clips):
    """The `Flow` of a split that a `configs.schema.Data` asks for, or None."""
    if data.flow == "none":
        return None
    return FlowCache(
        data.flow, data.resize_size, data.flow_fields, Path(data.flow_dir or data.root) / clips.folder.name
    )


class FlowCache:
    """`flow(clip, time)`: the flow around an instant of an `OpenClip`.

    Args:
        method: "tvl1", "dis" or "farneback", OpenCV's with its own settings.
        size: side of the pictures between which it is computed, pixels.
        fields: how many, between as many frames and one.
        folder: where they are kept, in a folder flow_METHOD_SIZE.

    Returns of a call:
        (size, size, 2 * fields) int8: u and v of each field in turn. Of the fields, the middle one begins at the frame
        nearest to `time`; near the ends of the clip they are moved inside it as a whole.

    Raises:
        UserError: at once, if OpenCV is missing or the folder can't be written.
        ClipError: in a call, if the clip can't be read or is too short, or its flow can't be kept.
    """

    def __init__(self, method, size, fields, folder):
        self.method, self.size, self.fields = method, size, fields
        self.folder = Path(folder) / f"flow_{method}_{size}"
        # Now, and not in a loader process in the middle of a run: is all there that is needed?
        flow_estimator(method)
        self._keep(self.folder / ".probe", "whether the folder can be written", [])
        (self.folder / ".probe").unlink(missing_ok=True)

    def __call__(self, clip, time):
        count = int(clip.shown_until / FRAME_INTERVAL + 1e-6)  # fields of the whole clip
        if count < self.fields:
            reason = f"is shorter than the {self.fields + 1} frames of its flow"
            raise ClipError(clip.clip, "short", clip.video_file, reason)
        start = min(max(round(time / FRAME_INTERVAL) - self.fields // 2, 0), count - self.fields)
        wanted = range(start, start + self.fields)
        path = self.folder / f"{clip.clip}.npz"
        about = f"form {FORMAT_VERSION}, {self.method}, {self.size} px, every {FRAME_INTERVAL} s, {clip.video_file.stat().st_size} bytes"
        fields = self._kept(path, about, wanted)
        if fields is None:
            everything = self._computed(clip, count)
            try:
                self._keep(path, about, everything)
            except MediaError as error:  # reaches the training process as the clip's own errors do
                raise ClipError(clip.clip, error.kind, error.path, error.reason, error.hint) from None
            fields = [everything[k] for k in wanted]
        return np.concatenate(fields, axis=2)

    def _kept(self, path, about, wanted):
        """The fields with these numbers from a file, or None if there is none that can be used."""
        try:
            with np.load(path) as file:  # reads and unpacks what is asked for alone
                fields = [file[str(k)] for k in wanted] if str(file["about"]) == about else []
        except READ_ERRORS:
            return None
        right = [field.shape == (self.size, self.size, 2) and field.dtype == np.int8 for field in fields]
        return fields if right and all(right) else None

    def _computed(self, clip, count):
        """All fields of a clip: list of (size, size, 2) int8."""
        pictures = clip.frames([k * FRAME_INTERVAL for k in range(count + 1)], self.size)
        grey = [import_cv2().cvtColor(picture, import_cv2().COLOR_RGB2GRAY) for picture in pictures]
        between = flow_estimator(self.method)
        return [quantize(between(grey[k], grey[k + 1])) for k in range(count)]

    def _keep(self, path, about, fields):
        """Write a file whole or not at all, whoever else writes it at the same time."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                np.savez_compressed(file, about=about, **{str(k): field for k, field in enumerate(fields)})
            os.replace(temporary, path)
        except OSError as error:
            reason, hint = f"can't be written ({error.strerror})", "free some space, or set another --data.flow_dir"
            raise MediaError("storage", self.folder, reason, hint) from None
        finally:
            if temporary.parent.is_dir():
                temporary.unlink(missing_ok=True)


def quantize(flow):
    """(H, W, 2) float32 in pixels -> int8 in steps of BOUND / 127, cut off at +-BOUND."""
    return np.rint(np.clip(flow, -MAX_FLOW, MAX_FLOW) * (127 / MAX_FLOW)).astype(np.int8)


@cache
def import_cv2():
    """OpenCV, which only flow needs."""
    try:
        import cv2
    except ImportError as error:
        raise UserError(
            f"data.flow needs OpenCV ({error}): pip install opencv-contrib-python-headless, or set --data.flow none"
        ) from None
    cv2.setNumThreads(1)  # loader processes share the cores
    return cv2


@cache
def flow_estimator(method):
    """A function of two grey pictures, (H, W) uint8 -> flow from one to the other, (H, W, 2) float32 in pixels."""
    if method == "farneback":  # pyramid of halves, 3 levels, window 15, 3 rounds, neighbourhood 5 with deviation 1.2
        return lambda one, two: import_cv2().calcOpticalFlowFarneback(one, two, None, 0.5, 3, 15, 3, 5, 1.2, 0)
    if method == "dis":
        found = import_cv2().DISOpticalFlow_create(import_cv2().DISOPTICAL_FLOW_PRESET_MEDIUM)
    elif hasattr(import_cv2(), "optflow"):
        found = import_cv2().optflow.DualTVL1OpticalFlow_create()
    else:
        raise UserError("data.flow tvl1 needs OpenCV's contrib modules: pip install opencv-contrib-python-headless")
    return lambda one, two: found.calc(one, two, None)
