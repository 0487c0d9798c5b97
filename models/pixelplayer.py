"""PixelPlayer, the net of The Sound of Pixels (SoP, arXiv 1804.03160): the sound of each source, and of each pixel."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.avenet import AVENet
from models.interfaces import Encoder, PartlyFixed
from models.layers import standardize_outputs, to_float32
from models.resnet import DilatedResNet18

FEATURE_STD = 2.0  # standard deviation of the features before their sigmoid, after data-dependent initialization


class PixelPlayer(PartlyFixed):
    """A frame net, a sound net and a synthesizer that combines them to masks (SoP sec. 3).

    The mask of a source is sigmoid(sum_k feature_k scale_k map_k + bias), with the K features of the source's frames
    and the K maps of the mixture. With the features of a single pixel it is the mask of that pixel's sound.

    Args:
        num_channels: K.
        width: channels of the frame net's first convolution; ResNet-18 has 64.
        sound_width: channels of the sound net's first level.
        unet_depth: levels of the sound net; each halves both sides of the spectrogram.
        vision: encoder of the frames; None for a dilated ResNet-18 of `width` (SoP).
        detail, unet_bias, unet_init: of the sound net, see `UNet`.
        embedding: dimensions of the AVC branch's embedding if the features of a frame are computed from that
            (call `add_avc_branch` then); 0: from the encoder's map (SoP).

    Attributes:
        match: None, or an AVE-Net that learns with this net, see `add_avc_branch`.
        training_only_prefix: of the weights in a checkpoint that separation doesn't need.
    """

    training_only_prefix = "match."

    def __init__(
        self, num_channels: int = 32, width: int = 64, sound_width: int = 64, unet_depth: int = 7,
        vision: Encoder | None = None, detail: bool = False, unet_bias: bool = False, unet_init: str = "small",
        embedding: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.embedding = embedding
        self.frames = FrameNet(num_channels, width, vision, embedding)
        self.sounds = UNet(num_channels, sound_width, unet_depth, detail, unet_bias, unet_init)
        self.synthesizer = Synthesizer(num_channels)
        self.match: AVENet | None = None

    def add_avc_branch(self, width: int, dim: int, dropout: float = 0.0, pool: str = "max") -> None:
        """Add an AVE-Net on the frame net's features, to train from scratch; the paper has none.

        Masks of untrained nets are best when they are equal for all sources, so it takes long until one depends on its
        frames. Which sound, unmixed, belongs to which frame is learned in minutes, and the masks follow
        (docs/starting_well.md).

        Args:
            width: channels of its audio encoder's first convolution.
            dim: dimensions of its embedding.
            dropout: fraction of its pooled features dropped in training.
            pool: how it pools the frame's feature map, see `AVENet`.
        """
        self.match = AVENet(width, dim, dropout, FrameNetFeatures(self.frames.channels), vision_pool=pool)

    def forward(self, frames: Tensor, spectrograms: Tensor) -> Tensor:
        """Compute the mask logits of N clips' frames for each mixture; the frames may be of any clips.

        Args:
            frames: (B, N, T, 3, H, W) float32, T normalized frames of each of N clips.
            spectrograms: (B, 1, F, T) float32, log magnitudes of the mixtures.

        Returns:
            (B, N, F, T) float32 logits.
        """
        features = self.frame_features(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])  # (B, N, K)
        return self.mask_logits(features, self.sound_maps(spectrograms))

    def frame_features(self, frames: Tensor) -> Tensor:
        """Compute the features of clips from `frames`, (B, T, 3, H, W) -> (B, K) in 0..1."""
        return self.pooled_features(self.frames.backbone_features(frames))

    def pooled_features(self, features: Tensor) -> Tensor:
        """Compute the features of clips from backbone `features`, (B, C, T, h, w) -> (B, K) in 0..1."""
        return torch.sigmoid(self._feature_logits(features))

    def _feature_logits(self, features: Tensor) -> Tensor:
        """Compute the features before their sigmoid: (B, C, T, h, w) -> (B, K) float32."""
        return self._from_embedding(features.flatten(2, 3)) if self.embedding else self.frames.pooled(features)

    def _from_embedding(self, features: Tensor) -> Tensor:
        """Compute the features before their sigmoid from the AVC branch's embedding: (B, C, h, w) -> (B, K) float32."""
        assert self.match is not None, "add_avc_branch"
        vectors = self.match.embed_frames(features) * self.embedding**0.5  # components of about 1
        return to_float32(self.frames.head(vectors[:, :, None, None])[:, :, 0, 0])

    def pixel_features(self, frames: Tensor) -> Tensor:
        """Compute the features of each location of `frames`, (B, 3, H, W) -> (B, K, H / 16, W / 16) in 0..1."""
        if not self.embedding:
            return torch.sigmoid(to_float32(self.frames(frames)))
        features = self.frames.body(frames)  # (B, C, h, w), each location of which is embedded as a frame
        locations = features.permute(0, 2, 3, 1).flatten(0, 2)[:, :, None, None]  # (B * h * w, C, 1, 1)
        maps = self._from_embedding(locations).unflatten(0, (len(features), *features.shape[2:]))
        return torch.sigmoid(maps.permute(0, 3, 1, 2))

    def sound_maps(self, spectrograms: Tensor) -> Tensor:
        """Compute the K maps of `spectrograms`, (B, 1, F, T) log magnitudes -> (B, K, F, T).

        F and T must be multiples of 2^depth.
        """
        return to_float32(self.sounds(spectrograms))

    def mask_logits(self, features: Tensor, maps: Tensor) -> Tensor:
        """Combine `features` (B, N, K) of N sources or pixels with `maps` (B, K, F, T) to logits (B, N, F, T)."""
        return self.synthesizer(features, maps)

    @torch.no_grad()
    def masks_at_pixels(self, features: Tensor, maps: Tensor, rows: int = 4) -> Iterator[Tensor]:
        """Yield the masks of every location of one frame in parts: together they are h * w times the spectrogram.

        Args:
            features: (K, h, w), of `pixel_features`; of several frames, their maximum.
            maps: (K, F, T), of `sound_maps`.
            rows: rows of locations in memory at a time.

        Yields:
            (up to `rows`, w, F, T) masks in 0..1, from top to bottom.
        """
        for part in features.split(rows, dim=1):  # (K, rows, w)
            flat = part.flatten(1).T  # (rows * w, K)
            logits = self.mask_logits(flat[None], maps[None])[0]  # (rows * w, F, T)
            yield torch.sigmoid(logits).unflatten(0, part.shape[1:])

    @torch.no_grad()
    def data_dependent_init(self, frames: Tensor, spectrograms: Tensor, sounds: Tensor | None = None) -> None:
        """Scale and shift the last layers so that features differ between clips from the first step on.

        With random weights all clips have nearly the same features; which of two sounds belongs to which clip is then
        learned late or never (docs/starting_well.md). Call in training mode before the first step.

        Args:
            frames: (B, T, 3, H, W) of some dozen clips or more.
            spectrograms: (B, 1, F, T) of the same clips, log magnitudes.
            sounds: (B, 1, F', T'), the inputs of `match` for the same clips; None to leave it unchanged.
        """
        features = self.frames.backbone_features(frames)  # (B, C, T, h, w)
        if sounds is not None and self.match is not None:
            self.match.data_dependent_init(features.flatten(2, 3), sounds)
        standardize_outputs(self.frames.head, self._feature_logits(features), FEATURE_STD)
        maps = self.sound_maps(spectrograms).transpose(0, 1).flatten(1)  # (K, B * F * T)
        standardize_outputs(self.sounds.last_layer, maps.T)

    def parameter_groups(
        self, lr_vision: float | None, lr_vision_head: float, last_layer_lr_mult: float
    ) -> list[dict[str, Any]]:
        """Group the parameters for the optimizer.

        Args:
            lr_vision: learning-rate multiplier of the frame net's encoder if it has pretrained weights, 0 to leave it
                out; None: it learns from scratch, as the rest.
            lr_vision_head: learning-rate multiplier of the frame net's last layer.
            last_layer_lr_mult: learning-rate multiplier of the last layer of `match`.
        """
        head = list(self.frames.head.parameters())
        body = list(self.frames.parameters())[: -len(head)]
        groups: list[dict[str, Any]] = [
            {"params": [*self.sounds.parameters(), *self.synthesizer.parameters()], "lr_scale": 1.0}
        ]
        if lr_vision is None:
            groups.append({"params": body, "lr_scale": 1.0})
        elif lr_vision:
            tuned = [weight for weight in body if weight.requires_grad]  # without frozen stages
            groups.append({"params": tuned, "lr_scale": lr_vision, "pretrained": True})
        groups.append({"params": head, "lr_scale": lr_vision_head})
        return groups + (self.match.parameter_groups(last_layer_lr_mult) if self.match else [])

    def remap_state_dict(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Convert AVE-Net's `weights`: its vision encoder becomes the "convnet" frame net, all others go to `match`."""
        if not any(name.startswith("vision.") for name in weights):
            return weights
        return {f"frames.body.{name.removeprefix('vision.')}" if name.startswith("vision.") else f"match.{name}": value
                for name, value in weights.items()}  # fmt: skip


class FrameNet(nn.Module):
    """A dilated ResNet-18 and a 3 x 3 convolution to K maps, max-pooled over space and time (SoP sec. 3.1).

    Args:
        num_channels: K.
        width: channels of the first convolution.
        vision: encoder of the frames; None for a dilated ResNet-18.
        embedding: dimensions of the vectors that the last layer takes in place of the encoder's map; 0: it takes that.
    """

    def __init__(self, num_channels: int, width: int, vision: Encoder | None = None, embedding: int = 0) -> None:
        super().__init__()
        self.body = DilatedResNet18(width) if vision is None else vision
        self.channels = self.body.channels
        inputs, size = (embedding, 1) if embedding else (self.channels, 3)
        self.head = nn.Conv2d(inputs, num_channels, size, padding=size // 2)

    def forward(self, frames: Tensor) -> Tensor:
        """Compute K maps of `frames`, (B, 3, H, W) -> (B, K, H / 16, W / 16)."""
        return self.head(self.body(frames))

    def backbone_features(self, frames: Tensor) -> Tensor:
        """Encode T `frames` of each clip, (B, T, 3, H, W) -> (B, C, T, H / 16, W / 16).

        Their feature maps (B, T, C, h, w), if they were computed before, stay as they are.
        """
        if frames.shape[2] != self.channels:
            frames = self.body(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return frames.transpose(1, 2)

    def pooled(self, features: Tensor) -> Tensor:
        """Max-pool the K maps of backbone `features` over frames and locations: (B, C, T, h, w) -> (B, K), float32."""
        count = features.shape[2]
        maps = self.head(features.transpose(1, 2).flatten(0, 1)).unflatten(0, (-1, count))  # (B, T, K, h, w)
        return to_float32(maps.amax((1, 3, 4)))


class FrameNetFeatures(nn.Identity):
    """The encoder of an AVE-Net whose frames are the frame net's features already.

    Args:
        channels: of these features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels: int = channels


class UNet(nn.Module):
    """The sound net: `depth` halvings and as many doublings with skip connections between them (SoP sec. 3.1).

    Down: 4 x 4 convolutions of stride 2, leaky ReLU. Up: bilinear upsampling by 2, 3 x 3 convolution. Batch norm of
    the spectrogram, and after each convolution but the first, the deepest and the last. As in the paper's public code;
    the paper says only "U-Net".

    Args:
        num_channels: K, of the output.
        width: channels of the first level; they double up to 8 times as many.
        depth: levels, 2 or more.
        detail: the last level also sees the spectrogram itself, and has another layer. Not the paper's: for small
            spectrograms, whose neighbouring rows are different partials, which half the resolution doesn't resolve.
        bias: of the first and the deepest convolution, which no batch norm follows; in the public code they have none.
        init: "small": the random weights of the public code, see `_init_small`; "default": PyTorch's.
    """

    def __init__(
        self,
        num_channels: int,
        width: int,
        depth: int,
        detail: bool = False,
        bias: bool = False,
        init: str = "small",
    ) -> None:
        super().__init__()
        widths = [width * min(2**k, 8) for k in range(depth)]
        self.norm = nn.BatchNorm2d(1)
        self.down = nn.ModuleList()
        for k, (before, after) in enumerate(zip([1, *widths[:-1]], widths, strict=True)):
            normed = 0 < k < depth - 1
            conv = nn.Conv2d(before, after, 4, 2, 1, bias=bias and not normed)
            self.down.append(nn.Sequential(conv, nn.BatchNorm2d(after)) if normed else nn.Sequential(conv))
        self.up = nn.ModuleList()
        for k in reversed(range(depth)):
            before = widths[k] * (1 if k == depth - 1 else 2)  # all but the deepest also get the skip connection
            if k:
                conv = nn.Conv2d(before, widths[k - 1], 3, padding=1, bias=False)
                self.up.append(nn.Sequential(conv, nn.BatchNorm2d(widths[k - 1])))
            elif detail:
                conv = nn.Conv2d(before + 1, width, 3, padding=1, bias=False)
                last = nn.Conv2d(width, num_channels, 1)
                self.up.append(nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU(), last))
            else:
                self.up.append(nn.Sequential(nn.Conv2d(before, num_channels, 3, padding=1)))
        self.detail = detail
        if init == "small":
            self._init_small()

    @torch.no_grad()
    def _init_small(self) -> None:
        """Draw convolutions from N(0, 0.001) and scales of batch norm from N(1, 0.02), as the paper's public code."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.normal_(0, 0.001)
            elif isinstance(layer, nn.BatchNorm2d):
                layer.weight.normal_(1, 0.02)

    @property
    def last_layer(self) -> nn.Conv2d:
        """The convolution that gives the K maps."""
        (*_, layer) = self.up[-1].children()
        assert isinstance(layer, nn.Conv2d)
        return layer

    def encode(self, spectrograms: Tensor) -> list[Tensor]:
        """Apply the halvings to `spectrograms`, (B, 1, F, T) -> [normalized input, (B, width, F / 2, T / 2), ...]."""
        levels = [self.norm(spectrograms)]
        for k, layer in enumerate(self.down):
            levels.append(layer(F.leaky_relu(levels[-1], 0.2) if k else levels[-1]))
        return levels

    def forward(self, spectrograms: Tensor) -> Tensor:
        """Compute the maps of `spectrograms`, (B, 1, F, T) log magnitudes -> (B, K, F, T)."""
        levels = self.encode(spectrograms)
        x = levels.pop()
        for k, layer in enumerate(self.up):
            x = x if k == 0 else torch.cat([x, levels.pop()], 1)
            x = F.interpolate(F.relu(x), scale_factor=2, mode="bilinear", align_corners=True)
            if self.detail and k == len(self.up) - 1:
                x = torch.cat([x, levels.pop()], 1)
            x = layer(x)
        return x


class Synthesizer(nn.Module):
    """sum_k feature_k scale_k map_k + bias: K + 1 parameters (SoP sec. 3.1).

    Args:
        num_channels: K.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor, maps: Tensor) -> Tensor:
        """Combine `features` (B, N, K) with `maps` (B, K, F, T) to logits (B, N, F, T), in float32."""
        with torch.autocast(maps.device.type, enabled=False):  # sums of many terms
            return ((features * self.scale) @ maps.flatten(2)).unflatten(2, maps.shape[2:]) + self.bias
