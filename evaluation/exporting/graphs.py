"""A trained net as modules with plain inputs and outputs: pixels and samples in, everything between inside.

Each graph is one file of an export. All of them take a batch of any size.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dataset.transforms.frames import FRAME_MEAN, FRAME_STD
from dataset.transforms.sounds import mel_filterbank
from evaluation.exporting.spectrograms import LogSpectrogram, MixtureTransformSTFT
from evaluation.trained_net import TrainedNet
from models.folding import fold_batch_norms
from models.interfaces import EmbeddingNet, LocalizingNet, ObjectMapNet, SeparatingNet
from models.object_maps import mix_maps
from utils.errors import UserError


class Pixels(nn.Module):
    """Squares of pixels to the input of the encoders, as `dataset.transforms.frames.prepare_frames`.

    Args:
        given: side of the squares, pixels.
        size: side of the net's frames, pixels.
    """

    resize: Tensor | None
    mean: Tensor
    std: Tensor

    def __init__(self, given: int, size: int) -> None:
        super().__init__()
        eye = torch.eye(given, dtype=torch.float64)[None, None]
        rows = F.interpolate(eye, (size, given), mode="bilinear", antialias=True)[0, 0]  # few runtimes can antialias
        self.register_buffer("resize", rows.float() if size != given else None, persistent=False)
        self.register_buffer("mean", torch.tensor(FRAME_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(FRAME_STD)[:, None, None], persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Normalize `frames`, (B, S, S, 3) uint8 or (B, T, S, S, 3) -> (B, 3, s, s) or (B, 3, T, s, s) float32."""
        pixels = frames.float().movedim(-1, -3) / 255  # (..., 3, S, S)
        if self.resize is not None:
            pixels = self.resize @ pixels @ self.resize.T
        pixels = (pixels - self.mean) / self.std
        return pixels.transpose(1, 2) if pixels.ndim == 5 else pixels


class FrameGraph(nn.Module):
    """Pixels to embeddings.

    Args:
        net: embeds frames.
        model: its nets.
    """

    def __init__(self, net: TrainedNet, model: Any) -> None:
        super().__init__()
        data, evaluation = net.config.data, net.config.eval
        self.pixels, self.model = Pixels(data.resize_size, data.frame_size), model
        self.flip = evaluation.flip_tta
        self.objects = isinstance(model, ObjectMapNet) and bool(evaluation.object_weight)

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Embed `frames`, (B, S, S, 3) uint8 -> embeddings (B, ...), vectors (B, D), maybe object maps (B, h, w)."""
        pixels = self.pixels(frames)
        if self.objects:
            v, objects = self.model.embed_with_objects(pixels, self.flip)
            return v, self.model.frame_vectors(v), objects
        v = self.model.embed_with_flip(pixels) if self.flip else self.model.embed_frames(pixels)
        return v, self.model.frame_vectors(v)


class SoundGraph(nn.Module):
    """Samples to embeddings.

    Args:
        net: embeds sounds.
        model: its nets.
    """

    def __init__(self, net: TrainedNet, model: Any) -> None:
        super().__init__()
        data, spec = net.config.data, net.config.spectrogram
        filters = mel_filterbank(spec.n_mels, spec.n_fft, data.sample_rate) if spec.n_mels else None
        self.spectrogram = LogSpectrogram(samples_of(net), data.sample_rate, spec, filters)
        self.model = model

    def forward(self, sounds: Tensor) -> tuple[Tensor, Tensor]:
        """Embed `sounds`, (B, samples) float32 in -1..1 -> embeddings (B, ...), vectors (B, D)."""
        a = self.model.embed_sounds(self.spectrogram(sounds))
        return a, self.model.sound_vectors(a)


class ScoreGraph(nn.Module):
    """The probability that frames and sounds belong together.

    Args:
        model: scores pairs.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor, sounds: Tensor) -> Tensor:
        """Score all pairs of the embeddings of `frames` (N, ...) and `sounds` (M, ...) -> (N, M) in 0..1."""
        return torch.sigmoid(self.model.pair_logits(frames, sounds))


class MapGraph(nn.Module):
    """Where in each frame its sound comes from.

    Args:
        model: has maps.
        weight: eval.object_weight.
    """

    def __init__(self, model: Any, weight: float) -> None:
        super().__init__()
        self.model, self.weight = model, weight

    def forward(self, frames: Tensor, sounds: Tensor, objects: Tensor | None = None) -> Tensor:
        """Compute the maps of N embeddings.

        Args:
            frames: (N, D, h, w).
            sounds: (N, D).
            objects: (N, h, w) object maps, where eval.object_weight mixes them in.

        Returns:
            (N, h, w) in 0..1.
        """
        logits = self.model.location_logits(frames, sounds)
        return torch.sigmoid(logits) if objects is None else mix_maps(logits, objects, self.weight)


class PixelGraph(nn.Module):
    """Pixels to PixelPlayer's features of each location.

    Args:
        net: separates.
        model: its nets.
    """

    def __init__(self, net: TrainedNet, model: Any) -> None:
        super().__init__()
        self.pixels, self.model = Pixels(net.config.data.resize_size, net.config.data.frame_size), model

    def forward(self, frames: Tensor) -> Tensor:
        """Compute features of `frames`, (B, S, S, 3) uint8 -> (B, K, h, w)."""
        return self.model.pixel_features(self.pixels(frames))


class MixtureGraph(nn.Module):
    """Samples to the maps of PixelPlayer's sound net.

    Args:
        net: separates.
        model: its nets.
    """

    def __init__(self, net: TrainedNet, model: Any) -> None:
        super().__init__()
        self.stft, self.model = MixtureTransformSTFT(net.config.mix), model

    def forward(self, sounds: Tensor) -> Tensor:
        """Compute maps of `sounds`, (B, samples) float32 in -1..1 -> (B, K, F, T)."""
        return self.model.sound_maps(self.stft.net_input(*self.stft.transform(sounds)))


class MaskGraph(nn.Module):
    """The masks of N places in a frame, and what they leave of the sound.

    Args:
        net: separates.
        model: its nets.
    """

    def __init__(self, net: TrainedNet, model: Any) -> None:
        super().__init__()
        self.stft, self.model = MixtureTransformSTFT(net.config.mix), model

    def forward(self, features: Tensor, maps: Tensor, sounds: Tensor) -> tuple[Tensor, Tensor]:
        """Separate mixtures.

        Args:
            features: (B, N, K), of N locations.
            maps: (B, K, F, T), of the mixtures.
            sounds: (B, samples), the mixtures.

        Returns:
            masks (B, N, F, T) in 0..1, and the separated sounds (B, N, samples).
        """
        masks = torch.sigmoid(self.model.mask_logits(features, maps))
        return masks, self.stft.separate(masks, *self.stft.transform(sounds))


@dataclass(frozen=True)
class Graph:
    """A module that is written to a file.

    Attributes:
        module: in eval mode.
        inputs: {name: example with 2 rows}, whose dimensions of `dynamic` may have any size.
        dynamic: {name of an input: {dimension: its name}}.
        outputs: their names.
        about: what it computes, for people.
    """

    module: nn.Module
    inputs: Mapping[str, Tensor]
    dynamic: Mapping[str, Mapping[int, str]]
    outputs: tuple[str, ...]
    about: str


def samples_of(net: TrainedNet) -> int:
    """Count the samples of a sound that `net` embeds or separates."""
    data = net.config.data
    return net.config.mix.samples if isinstance(net.model, SeparatingNet) else round(data.seconds * data.sample_rate)


@torch.no_grad()
def build_graphs(net: TrainedNet) -> dict[str, Graph]:
    """Build the graphs of what a net can do.

    Args:
        net: on the CPU, in float32.

    Returns:
        {name of the file, without its suffix: graph}.

    Raises:
        UserError: the net takes optical flow, which no graph can compute.
    """
    model, data = fold_batch_norms(net.model), net.config.data
    if data.flow != "none":
        raise UserError(
            f"{net.path} holds {net.config.model.name}, which takes optical flow: a method of OpenCV, which can't be "
            "exported; export a net of frames alone, or take --to safetensors"
        )
    side, stack = data.resize_size, (data.frames,) if data.frames > 1 else ()
    frames = torch.randint(0, 256, (2, *stack, side, side, 3), dtype=torch.uint8)
    sounds = torch.rand(2, samples_of(net)) - 0.5
    if isinstance(net.model, SeparatingNet):
        return _separation_graphs(net, model, frames, sounds)
    assert isinstance(net.model, EmbeddingNet)
    graphs = {}
    seen, heard = FrameGraph(net, model).eval(), SoundGraph(net, model).eval()
    shown = ("embeddings", "vectors", "objects")[: 3 if seen.objects else 2]
    about = f"pixels, the whole picture squeezed into a square of {side}, to embeddings and unit vectors for search"
    graphs["frames"] = Graph(seen, {"frames": frames}, {"frames": {0: "batch"}}, shown, about)
    about = f"{samples_of(net)} samples at {data.sample_rate} Hz, mono, -1..1, to embeddings and unit vectors"
    graphs["sounds"] = Graph(heard, {"sounds": sounds}, {"sounds": {0: "batch"}}, ("embeddings", "vectors"), about)
    (v, _, *objects), (a, _) = seen(frames), heard(sounds)
    several = {"frames": {0: "frames"}, "sounds": {0: "sounds"}}
    about = "embeddings of N frames and M sounds to the probabilities (N, M) that they belong together"
    three = {"frames": torch.cat([v, v[:1]]), "sounds": a}
    graphs["scores"] = Graph(ScoreGraph(model).eval(), three, several, ("correspondence",), about)
    if isinstance(net.model, LocalizingNet):
        inputs = {"frames": v, "sounds": a} | ({"objects": objects[0]} if objects else {})
        about = "embeddings of N frames and their N sounds to maps (N, h, w): where the sound comes from, 0..1"
        maps = MapGraph(model, net.config.eval.object_weight).eval()
        graphs["maps"] = Graph(maps, inputs, {name: {0: "batch"} for name in inputs}, ("maps",), about)
    return graphs


def _separation_graphs(net: TrainedNet, model: Any, frames: Tensor, sounds: Tensor) -> dict[str, Graph]:
    """The graphs of a PixelPlayer."""
    seen, heard = PixelGraph(net, model).eval(), MixtureGraph(net, model).eval()
    data, batch = net.config.data, {0: "batch"}
    about = f"pixels, the whole picture squeezed into a square of {data.resize_size}, to features (B, K, h, w)"
    graphs = {"frames": Graph(seen, {"frames": frames}, {"frames": batch}, ("features",), about)}
    about = f"{samples_of(net)} samples at {data.sample_rate} Hz, mono, -1..1, to the sound net's maps (B, K, F, T)"
    graphs["sounds"] = Graph(heard, {"sounds": sounds}, {"sounds": batch}, ("maps",), about)
    features = seen(frames)[:, :, :3, 0].transpose(1, 2).contiguous()  # of 3 locations
    inputs = {"features": features, "maps": heard(sounds), "sounds": sounds}
    dynamic = {"features": {0: "batch", 1: "places"}, "maps": batch, "sounds": batch}
    about = "features (B, N, K) of N locations, and a mixture's maps and samples, to masks and separated sounds"
    graphs["masks"] = Graph(MaskGraph(net, model).eval(), inputs, dynamic, ("masks", "separated"), about)
    return graphs
