"""A trained net from its checkpoint: embed frames and sounds, score pairs, locate a sound in a frame.

It takes squares of pixels and sounds of the net's own rate and length, as the tasks of eval.py cut them.
`models.load` gives the same net for pictures and sounds of any size (`evaluation.loaded_nets`).
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dataset.transforms.frames import prepare_frames
from dataset.transforms.sounds import prepare_sounds
from evaluation.checkpoint_files import EXPORT_WEIGHTS, find_checkpoint, read_checkpoint
from models import build_net
from models.folding import fold_batch_norms
from models.interfaces import EmbeddingNet, FrameSoundEncoder, LocalizingNet, ObjectMapNet, SeparatingNet, device_of
from models.layers import to_float32
from models.object_maps import location_maps
from models.size import check_memory
from utils import checkpoint
from utils.config import Config, from_dict, old_frame_net, override
from utils.device import channels_last, gpu_problem, pick_device
from utils.errors import UserError
from utils.precision import autocast, resolve_precision
from utils.tensors import require_finite, to_host


@dataclass(frozen=True)
class TrainedNet:
    """A trained net in eval mode, on the GPU if there is one.

        net = load_trained_net("runs/demo_AVENet/best.pt")
        with Clips("data/demo", "test").open(0) as clip:  # dataset.reading.clips.Clips
            frame, sound = clip.frame(1.0, 256), clip.sound(1.0, net.config.data.sample_rate)
        v, a = net.embed_frames(frame[None]), net.embed_sounds(sound[None])
        print(net.correspondence(v, a))  # (1, 1): the probability that frame and sound belong to the same clip

    Attributes:
        model: the net.
        config: the settings of its run.
        content: its checkpoint.
        path: the checkpoint's file.
    """

    model: nn.Module
    config: Config
    content: dict[str, Any]
    path: str

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return device_of(self.model)

    @property
    def weights_file(self) -> Path:
        """The file that holds the weights: the checkpoint, or the one in a folder of export.py."""
        path = Path(self.path)
        return path / EXPORT_WEIGHTS if path.is_dir() else path

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights and of what the net gives: float32, or float64 after `model.double()`."""
        return next(self.model.parameters()).dtype

    def frame_vectors(self, v: Tensor) -> Tensor:
        """Get unit vectors for retrieval from embedded frames, as embed.py writes them.

        Args:
            v: (B, ...), of `embed_frames`.

        Returns:
            (B, D) on the CPU.
        """
        return self.encoder.frame_vectors(v)

    def sound_vectors(self, a: Tensor) -> Tensor:
        """Get unit vectors for retrieval from embedded sounds, as embed.py writes them.

        Args:
            a: (B, ...), of `embed_sounds`.

        Returns:
            (B, D) on the CPU.
        """
        return self.encoder.sound_vectors(a)

    def folded(self) -> "TrainedNet":
        """Fold batch norms into convolutions, for inference: .85 of the time of the demo's AVE-Net on a CPU, in fp32.

        Returns:
            a net whose outputs differ by rounding alone; itself in bf16 and fp16, in which rounding is visible.
        """
        if resolve_precision(self.device, self.config.train.precision) != "fp32":
            return self
        return replace(self, model=channels_last(fold_batch_norms(self.model)))

    @property
    def encoder(self) -> FrameSoundEncoder:
        """The model, as a net that embeds frames and sounds; a `UserError` if it doesn't."""
        if not isinstance(self.model, FrameSoundEncoder):
            raise self._unsuitable("embeds no frames and sounds", "AVENet, AVOLNet or L3Net")
        return self.model

    @property
    def embedding_net(self) -> EmbeddingNet:
        """The model, as a net that embeds frames and sounds and scores pairs; a `UserError` if it doesn't."""
        if not isinstance(self.model, EmbeddingNet):
            raise self._unsuitable("scores no pairs of frames and sounds", "AVENet, AVOLNet or L3Net")
        return self.model

    @property
    def localizing_net(self) -> LocalizingNet:
        """The model, as a net with localization maps; a `UserError` if it has none."""
        if not isinstance(self.model, LocalizingNet):
            raise self._unsuitable("has no localization maps", "AVOLNet")
        return self.model

    @property
    def separating_net(self) -> SeparatingNet:
        """The model, as a net that separates mixtures; a `UserError` if it doesn't."""
        if not isinstance(self.model, SeparatingNet):
            raise self._unsuitable("can't separate sounds", "PixelPlayer")
        return self.model

    def _unsuitable(self, problem: str, names: str) -> UserError:
        return UserError(f"{self.path} holds {self.config.model.name}, which {problem}: use a checkpoint of {names}")

    @torch.no_grad()
    def embed_frames(self, frames: np.ndarray) -> Tensor:
        """Embed B frames as eval.py does.

        Args:
            frames: (B, S, S, 3) uint8 RGB, the whole frame squeezed into a square of any side S; (B, T, S, S, 3) for a
                net of T frames. They are resized to data.frame_size; nets were trained on sides of data.resize_size.

        Returns:
            (B, ...) float32 on the CPU: (B, 128) unit vectors of an AVE-Net, (B, 128, h, w) of an AVOL-Net.

        Raises:
            UserError: the net embeds no frames and sounds, or also needs optical flow; or an embedding is not finite.
        """
        model, pixels = self.encoder, self._prepare(frames)
        embed = model.embed_with_flip if self.config.eval.flip_tta else model.embed_frames
        with autocast(self.device, self.config.train.precision):
            return require_finite(to_float32(embed(pixels)).cpu(), "embeddings")

    def _prepare(self, frames: np.ndarray) -> Tensor:
        """Normalize frames as the net takes them."""
        if self.config.data.flow != "none":
            raise self._unsuitable("needs optical flow with each frame", "AVENet, AVOLNet or L3Net")
        pixels = prepare_frames(
            torch.from_numpy(frames).to(self.device, non_blocking=True), self.config.data.frame_size
        )
        return pixels.to(self.dtype)

    @torch.no_grad()
    def embed_with_objects(self, frames: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Embed B frames, and compute their object maps if eval.object_weight is above 0.

        Args:
            frames: as for `embed_frames`.

        Returns:
            The embeddings of `embed_frames`, and (B, h, w) float32 on the CPU for `localize`, or None.

        Raises:
            UserError: as `embed_frames`.
        """
        if not isinstance(self.model, ObjectMapNet) or not self.config.eval.object_weight:
            return self.embed_frames(frames), None
        with autocast(self.device, self.config.train.precision):
            v, objects = self.model.embed_with_objects(self._prepare(frames), self.config.eval.flip_tta)
        v, objects = to_host(to_float32(v), to_float32(objects))
        return require_finite(v, "embeddings"), require_finite(objects, "embeddings")

    @torch.no_grad()
    def embed_sounds(self, sounds: np.ndarray) -> Tensor:
        """Embed B sounds as eval.py does.

        Args:
            sounds: (B, samples) int16 mono, of data.seconds each at data.sample_rate.

        Returns:
            (B, ...) float32 on the CPU: (B, 128) of an AVE-Net or AVOL-Net.

        Raises:
            UserError: the net embeds no frames and sounds, or an embedding is not finite.
        """
        model, rate = self.encoder, self.config.data.sample_rate
        spectrograms = prepare_sounds(
            torch.from_numpy(sounds).to(self.device, non_blocking=True), rate, self.config.spectrogram
        )
        with autocast(self.device, self.config.train.precision):
            return require_finite(to_float32(model.embed_sounds(spectrograms.to(self.dtype))).cpu(), "embeddings")

    @torch.no_grad()
    def correspondence(self, v: Tensor, a: Tensor) -> Tensor:
        """Compute the probability that each frame and each sound belong to the same clip.

        Args:
            v: (N, ...) embedded frames.
            a: (M, ...) embedded sounds.

        Returns:
            (N, M) float32 in 0..1, on the CPU.

        Raises:
            UserError: the net scores no pairs.
        """
        v, a = v.to(self.device, non_blocking=True), a.to(self.device, non_blocking=True)
        return torch.sigmoid(self.embedding_net.pair_logits(v, a)).cpu()

    def localize(self, v: Tensor, a: Tensor, objects: Tensor | None = None) -> Tensor:
        """Compute where in each frame its sound comes from (OtS sec. 5).

        Args:
            v: (N, D, h, w) embedded frames.
            a: (N, D) embedded sounds, one for each frame.
            objects: (N, h, w), of `embed_with_objects`, or None.

        Returns:
            (N, h, w) float32 in 0..1, on the CPU: the probability of each location; with `objects`, the mixed map.

        Raises:
            UserError: the net has no localization maps.
        """
        maps = self.location_maps(v, a, objects)
        return torch.sigmoid(maps) if objects is None or not self.config.eval.object_weight else maps

    def location_maps(self, v: Tensor, a: Tensor, objects: Tensor | None = None) -> Tensor:
        """Compute the map of each frame with its own sound as eval.py measures it.

        Args:
            v: (N, D, h, w) embedded frames.
            a: (N, D) embedded sounds, one for each frame.
            objects: (N, h, w), of `embed_with_objects`, to mix in with eval.object_weight; None for the plain map.

        Returns:
            (N, h, w) float32 on the CPU: logits; of mixed maps values in 0..1.

        Raises:
            UserError: the net has no localization maps.
        """
        return location_maps(self.localizing_net, v, a, objects, self.config.eval.object_weight)


def load_trained_net(path: str | Path, changes: dict[str, Any] | None = None) -> TrainedNet:
    """Load a trained net from a checkpoint: its settings, and the weights that are evaluated.

    Args:
        path: best.pt or last.pt of a run; its folder; a folder of export.py; or an https address with a hash, see
            `evaluation.checkpoint_files.find_checkpoint`.
        changes: {dotted name of a setting: value} that override the run's settings, e.g. {"data.root": "data/demo"}.

    Raises:
        UserError: the checkpoint is missing or damaged, its weights don't fit the settings, or the device can't
            compute in train.precision.
    """
    path = find_checkpoint(path)
    content = read_checkpoint(path)
    checkpoint.check_content(content, path)
    trained = from_dict(content.get("config"), path, content.get("config_version", 1))
    config = override(trained, changes or {})
    if note := old_frame_net(config, path):
        print(note, file=sys.stderr)
    if problem := gpu_problem():
        print(problem, file=sys.stderr)
    device = pick_device()
    torch.backends.cudnn.allow_tf32 = config.train.tf32
    resolve_precision(device, config.train.precision)
    try:
        check_memory(config, device)
    except UserError as error:
        raise UserError(f"checkpoint {path}: {error}") from None
    # How it compares was trained, and is part of the net whatever `changes` says of the loss.
    model = build_net(config.model, config.data.flow_fields, trained.train.similarity)
    checkpoint.load_weights(model, checkpoint.evaluated_weights(content), path)
    return TrainedNet(channels_last(model.to(device)).eval(), config, content, str(path))
