"""What the rest of the repository asks of a net: a net that embeds, one that localizes, one that separates.

Tasks and scripts check `isinstance(net, LocalizingNet)` instead of looking for a method. A new net needs no base class:
it has these methods, or it does not take part in what needs them.
"""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn


class Gather(Protocol):
    """Collects the rows of all processes that train together, with gradients (`utils.distributed.Gather`).

    Attributes:
        first: the row of the result at which this process's own rows begin.
    """

    first: int

    def __call__(self, values: Tensor) -> Tensor:
        """(B, ...) of this process -> (M, ...) of all processes."""
        ...


class Encoder(Protocol):
    """A module that turns its inputs into a feature map.

    Attributes:
        channels: of the feature map.
    """

    channels: int

    def __call__(self, inputs: Tensor) -> Tensor:
        """(B, ...) float32 -> (B, channels, h, w), or (B, channels, t, h, w) for several frames."""
        ...


class Net(Protocol):
    """What `torch.nn.Module` gives every net."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """The weights."""
        ...

    def eval(self) -> nn.Module:
        """Switch to evaluation mode."""
        ...


@runtime_checkable
class FrameSoundEncoder(Net, Protocol):
    """Encoders of frames and sounds whose embeddings need not be comparable (a VGG16 beside a net's sounds)."""

    def embed_frames(self, frames: Tensor) -> Tensor:
        """(B, 3, H, W) float32, normalized -> (B, ...) float32."""
        ...

    def embed_with_flip(self, frames: Tensor) -> Tensor:
        """As `embed_frames`, averaged over each frame and its mirror image."""
        ...

    def embed_sounds(self, spectrograms: Tensor) -> Tensor:
        """(B, 1, F, T) float32, normalized log spectrograms -> (B, ...) float32."""
        ...

    def frame_vectors(self, v: Tensor) -> Tensor:
        """Embedded frames (B, ...) -> (B, D) unit vectors for retrieval."""
        ...

    def sound_vectors(self, a: Tensor) -> Tensor:
        """Embedded sounds (B, ...) -> (B, D) unit vectors for retrieval."""
        ...


@runtime_checkable
class EmbeddingNet(FrameSoundEncoder, Protocol):
    """A net that embeds frames and sounds and scores pairs of them (AVE-Net, AVOL-Net, L3-Net and their variants)."""

    def pair_logits(self, v: Tensor, a: Tensor) -> Tensor:
        """Embedded frames (N, ...) and sounds (M, ...) -> (N, M) log-odds that they correspond."""
        ...


@runtime_checkable
class LocalizingNet(EmbeddingNet, Protocol):
    """An embedding net that also says where in the frame a sound comes from (AVOL-Net)."""

    def location_logits(self, v: Tensor, a: Tensor) -> Tensor:
        """Embedded frames (N, D, h, w) and sounds (N, D) of N pairs -> (N, h, w) logits, one for each location."""
        ...


@runtime_checkable
class SeparatingNet(Net, Protocol):
    """A net that separates the sound of a mixture by the frames of its sources (PixelPlayer)."""

    def frame_features(self, frames: Tensor) -> Tensor:
        """(B, T, 3, H, W) frames of B clips -> (B, K) features in 0..1, pooled over locations and frames."""
        ...

    def pixel_features(self, frames: Tensor) -> Tensor:
        """(B, 3, H, W) frames -> (B, K, h, w) features in 0..1, one vector for each location."""
        ...

    def sound_maps(self, spectrograms: Tensor) -> Tensor:
        """(B, 1, F, T) log magnitudes of mixtures -> (B, K, F, T)."""
        ...

    def mask_logits(self, features: Tensor, maps: Tensor) -> Tensor:
        """Features (B, N, K) of N sources and the maps (B, K, F, T) of their mixture -> (B, N, F, T) mask logits."""
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
