"""What the rest of the repository asks of a net: a net that embeds, one that localizes, one that separates.

Tasks and scripts check `isinstance(net, LocalizingNet)` instead of looking for a method. A new net needs no base class:
it has these methods, or it does not take part in what needs them.
"""

from collections.abc import Iterator
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn


class Gather(Protocol):
    """Collects the rows of all processes that train together, with gradients (`utils.distributed.Gather`).

    Attributes:
        first: the row of the result at which this process's own rows begin.
    """

    first: int

    def __call__(self, values: Tensor) -> Tensor:
        """Gather `values`: (B, ...) of this process -> (M, ...) of all processes."""
        ...


def gather_sounds(a: Tensor, count: int, gather: Gather | None) -> Tensor:
    """Add the sounds of other processes; sounds that belong to no frame stay in this process, and come last.

    Args:
        a: (count + K, ...), embedded sounds.
        count: of this process's frames, to which the first sounds belong.
        gather: (B, ...) -> (M, ...), or None for one process.

    Returns:
        (M + K, ...).
    """
    return torch.cat([gather(a[:count]), a[count:]]) if gather else a


class Encoder(Protocol):
    """A module that turns its inputs into a feature map.

    Attributes:
        channels: of the feature map.
    """

    channels: int

    def __call__(self, inputs: Tensor) -> Tensor:
        """Encode `inputs`: (B, ...) float32 -> (B, channels, h, w), or (B, channels, t, h, w) for several frames."""
        ...


class PartlyFixed(nn.Module):
    """A net of which some submodules stay in evaluation mode in training: pretrained encoders keep their statistics.

    Attributes:
        fixed_statistics: their names.
    """

    fixed_statistics: tuple[str, ...] = ()

    def train(self, mode: bool = True) -> Self:
        """Switch to training `mode`, but for the submodules in `fixed_statistics`."""
        super().train(mode)
        for name in self.fixed_statistics:
            self.get_submodule(name).eval()
        return self


class Net(Protocol):
    """What `torch.nn.Module` gives every net."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """List the weights."""
        ...

    def eval(self) -> nn.Module:
        """Switch to evaluation mode."""
        ...


@runtime_checkable
class FrameSoundEncoder(Net, Protocol):
    """Encoders of frames and sounds whose embeddings need not be comparable (a VGG16 beside a net's sounds)."""

    def embed_frames(self, frames: Tensor) -> Tensor:
        """Embed normalized `frames`, (B, 3, H, W) float32 -> (B, ...) float32."""
        ...

    def embed_with_flip(self, frames: Tensor) -> Tensor:
        """Average `embed_frames` over `frames` and their mirror images."""
        ...

    def embed_sounds(self, spectrograms: Tensor) -> Tensor:
        """Embed normalized log `spectrograms`, (B, 1, F, T) float32 -> (B, ...) float32."""
        ...

    def frame_vectors(self, v: Tensor) -> Tensor:
        """Get unit vectors for retrieval from embedded frames `v`: (B, ...) -> (B, D)."""
        ...

    def sound_vectors(self, a: Tensor) -> Tensor:
        """Get unit vectors for retrieval from embedded sounds `a`: (B, ...) -> (B, D)."""
        ...


@runtime_checkable
class EmbeddingNet(FrameSoundEncoder, Protocol):
    """A net that embeds frames and sounds and scores pairs of them (AVE-Net, AVOL-Net, L3-Net and their variants)."""

    def pair_logits(self, v: Tensor, a: Tensor) -> Tensor:
        """Score all pairs of embedded frames `v` (N, ...) and sounds `a` (M, ...) -> (N, M) log-odds of a match."""
        ...


@runtime_checkable
class LocalizingNet(EmbeddingNet, Protocol):
    """An embedding net that also says where in the frame a sound comes from (AVOL-Net)."""

    def location_logits(self, v: Tensor, a: Tensor) -> Tensor:
        """Score each location of N frames with N sounds: `v` (N, D, h, w), `a` (N, D) -> (N, h, w) logits."""
        ...


@runtime_checkable
class ObjectMapNet(LocalizingNet, Protocol):
    """A localizing net that also says what is striking in a frame without its sound (AVOL-Net)."""

    def embed_with_objects(self, frames: Tensor, flip: bool = False) -> tuple[Tensor, Tensor]:
        """Embed `frames`, averaged over their mirror images with `flip` -> (B, D, h, w), object maps (B, h, w)."""
        ...


@runtime_checkable
class SeparatingNet(Net, Protocol):
    """A net that separates the sound of a mixture by the frames of its sources (PixelPlayer)."""

    def frame_features(self, frames: Tensor) -> Tensor:
        """Compute features of B clips from `frames`, (B, T, 3, H, W) -> (B, K) in 0..1."""
        ...

    def pixel_features(self, frames: Tensor) -> Tensor:
        """Compute features of each location of `frames`, (B, 3, H, W) -> (B, K, h, w) in 0..1."""
        ...

    def sound_maps(self, spectrograms: Tensor) -> Tensor:
        """Compute the K maps of mixtures from `spectrograms`, (B, 1, F, T) log magnitudes -> (B, K, F, T)."""
        ...

    def mask_logits(self, features: Tensor, maps: Tensor) -> Tensor:
        """Combine `features` (B, N, K) of N sources with the `maps` (B, K, F, T) of their mixture -> (B, N, F, T)."""
        ...

    def masks_at_pixels(self, features: Tensor, maps: Tensor, rows: int = 4) -> Iterator[Tensor]:
        """Yield the masks (up to `rows`, w, F, T) of every location of a frame, `rows` rows of locations at a time.

        Args:
            features: (K, h, w), of `pixel_features`.
            maps: (K, F, T), of `sound_maps`.
            rows: rows of locations in memory at a time.
        """
        ...


def device_of(net: Net) -> torch.device:
    """Get the device of the weights of `net`."""
    return next(net.parameters()).device
