"""A net of an ONNX export, run by onnxruntime: it embeds as the net that was exported does."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evaluation.checkpoint_files import find_checkpoint
from evaluation.exporting.comparison import to_float
from evaluation.exporting.onnx_files import open_session, run_session
from evaluation.trained_net import TrainedNet, load_trained_net
from utils.errors import UserError
from utils.tensors import require_finite

FREE_SETTINGS = ("eval.batch_size",)  # that don't change what the files compute


@dataclass(frozen=True)
class OnnxNet(TrainedNet):
    """A `TrainedNet` whose frames and sounds are embedded by onnxruntime, on the CPU.

    Attributes:
        frames, sounds: sessions of frames.onnx and sounds.onnx.
    """

    frames: Any
    sounds: Any

    def embed_frames(self, frames: np.ndarray) -> Tensor:
        """Embed `frames`, as `TrainedNet.embed_frames`, of the side data.resize_size."""
        return self.embed_with_objects(frames)[0]

    def embed_with_objects(self, frames: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Embed `frames` and compute their object maps, as `TrainedNet.embed_with_objects`."""
        v, _, *objects = run_session(self.frames, {"frames": frames})
        return _checked(v), _checked(objects[0]) if objects else None

    def embed_sounds(self, sounds: np.ndarray) -> Tensor:
        """Embed `sounds`, as `TrainedNet.embed_sounds`."""
        return _checked(run_session(self.sounds, {"sounds": to_float(sounds)})[0])


def _checked(values: np.ndarray) -> Tensor:
    return require_finite(torch.from_numpy(values), "embeddings")


def load_onnx_net(source: str | Path, changes: dict[str, Any] | None = None) -> OnnxNet:
    """Load the net of an ONNX export, to be run by onnxruntime.

    Args:
        source: the folder that export.py wrote.
        changes: {dotted name of a setting: value}; those that the files don't depend on.

    Raises:
        UserError: it is no such folder, onnxruntime is missing or lacks the files' opset, or a setting can't change.
    """
    folder = find_checkpoint(source)
    if not folder.is_dir() or not (folder / "frames.onnx").is_file() or not (folder / "sounds.onnx").is_file():
        raise UserError(
            f"{source} is no ONNX export of a net that embeds: write one with python export.py --checkpoint {source} "
            "--to onnx --out DIR, and give DIR"
        )
    if fixed := [name for name in changes or {} if name not in FREE_SETTINGS]:
        raise UserError(f"{fixed[0]} is fixed in the files of {source}: remove it, or give it to export.py")
    net = load_trained_net(folder, changes)
    _ = net.embedding_net  # or a UserError
    frames, sounds = (open_session(folder / f"{name}.onnx") for name in ("frames", "sounds"))
    return OnnxNet(net.model.cpu(), net.config, net.content, net.path, frames, sounds)
