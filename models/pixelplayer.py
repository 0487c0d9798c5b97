"""The Sound of Pixels (SoP, arXiv 1804.03160): which part of a mixture each picture, and each of its pixels, plays."""

import torch
import torch.nn.functional as F
from torch import nn

from models.avenet import AVENet, ConvEncoder, standardize_outputs
from models.resnet import DilatedResNet18

FEATURE_STD = 2.0  # of the features before their sigmoid, at the start from data


class PixelPlayer(nn.Module):
    """A frame net, a sound net and a synthesizer that joins them to masks (SoP sec. 3).

    The mask of a picture is sigmoid(sum_k frame_k scale_k sound_k + bias), with the K features of the picture and the K
    maps of the mixture. The same with the features of a single pixel gives the part that this pixel plays.

    Args:
        maps: K. width: channels of the frame net's first convolution; 64 is a ResNet-18.
        sound_width: maps after the sound net's first level. levels: how often it halves rows and columns.
        vision: "resnet18", the paper's; "convnet": the convolutions of AVE-Net's vision.
        detail: whether the sound net's last level sees the spectrogram itself, see `UNet`.

    Attributes:
        match: None, or in training an AVE-Net, see `add_avc_branch`.
    """

    training_only_prefix = "match."  # weights of a checkpoint that parting sounds doesn't need

    def __init__(self, maps=32, width=64, sound_width=64, levels=7, vision="resnet18", detail=False):
        super().__init__()
        self.frames = FrameNet(maps, width, vision)
        self.sounds = UNet(maps, sound_width, levels, detail)
        self.synthesizer = Synthesizer(maps)
        self.match = None

    def add_avc_branch(self, width, dim):
        """Add an AVE-Net whose pictures are the frame net's features: not the paper's, for a start from scratch.

        The masks of randomly drawn nets are the better for being alike, so it takes long until the first of them
        follows its picture. Which whole sound goes with which picture is learned in minutes, and masks follow from
        there (docs/starting_well.md).

        Args:
            width: of its convolutions for sounds. dim: of its embedding.
        """
        given = nn.Identity()
        given.channels = self.frames.channels
        self.match = AVENet(width, dim, vision=given)

    def forward(self, frames, spectrograms):
        """Logits of the masks of N pictures for each mixture, which may be the pictures of any clips.

        Args:
            frames: (B, N, T, 3, H, W) float32, T frames of each of N clips, normalised.
            spectrograms: (B, 1, rows, columns) float32, log magnitudes of the mixtures.

        Returns:
            (B, N, rows, columns) float32 logits.
        """
        features = self.frame_features(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return self.mask_logits(features, self.sound_maps(spectrograms))

    def frame_features(self, frames):
        """The features of clips: (B, T, 3, H, W) -> (B, K) in 0..1, pooled over all places and frames."""
        return self.pooled_features(self.frames.backbone_features(frames))

    def pooled_features(self, seen):
        """The same, from what the frame net's convolutions made of the frames: (B, C, T, h, w) -> (B, K)."""
        return torch.sigmoid(self.frames.pooled(seen))

    def pixel_features(self, frames):
        """The features of each place of one moment: (B, 3, H, W) -> (B, K, H / 16, W / 16) in 0..1."""
        return torch.sigmoid(self.frames.maps(frames).float())

    def sound_maps(self, spectrograms):
        """(B, 1, rows, columns) log magnitudes -> (B, K, rows, columns); both multiples of 2^levels."""
        return self.sounds(spectrograms).float()

    def mask_logits(self, features, maps):
        """(B, N, K) features of N pictures or pixels, (B, K, F, T) maps of their mixture -> (B, N, F, T) logits."""
        return self.synthesizer(features, maps)

    @torch.no_grad()
    def masks_at_pixels(self, features, maps, rows=4):
        """The masks of every place of one picture, some rows of places at a time: they are h w times the spectrogram.

        Args:
            features: (K, h, w), of `pixel_features`; of several frames, their maximum.
            maps: (K, F, T), of `sound_maps`.
            rows: of places that are in memory at a time.

        Yields:
            (up to `rows`, w, F, T) masks in 0..1, from the top row to the last one.
        """
        for part in features.split(rows, dim=1):  # (K, rows, w)
            flat = part.flatten(1).T  # (rows w, K)
            logits = self.mask_logits(flat[None], maps[None])[0]
            yield torch.sigmoid(logits).unflatten(0, part.shape[1:])

    @torch.no_grad()
    def data_dependent_init(self, frames, spectrograms, sounds=None):
        """Scale and shift the last layers so that pictures differ in their features from the first step on.

        The features of randomly drawn weights are nearly the same for all pictures; which of two sounds belongs to
        which is then learned late or never (docs/starting_well.md). In training mode, before the first step.

        Args:
            frames: (B, T, 3, H, W), spectrograms: (B, 1, rows, columns), of some dozen clips or more.
            sounds: (B, 1, F, T), what `match` sees of them; None to leave it as it is.
        """
        seen = self.frames.backbone_features(frames)
        standardize_outputs(self.frames.head, self.frames.pooled(seen), FEATURE_STD)
        maps = self.sounds(spectrograms).float().transpose(0, 1).flatten(1)  # (K, places)
        standardize_outputs(self.sounds.up[-1][-1], maps.T)
        if sounds is not None:
            self.match.data_dependent_init(seen, sounds)

    def parameter_groups(self, lr_vision, last_layer_lr_mult):
        """Optimizer groups: the frame net learns `lr_vision` times as fast as the rest, match's last layer
        `last_layer_lr_mult` times.
        """
        groups = [
            {"params": [*self.sounds.parameters(), *self.synthesizer.parameters()], "lr_scale": 1.0},
            {"params": list(self.frames.parameters()), "lr_scale": lr_vision},
        ]
        return groups + (self.match.parameter_groups(last_layer_lr_mult) if self.match else [])

    def remap_state_dict(self, weights):
        """AVE-Net's weights for this net: the plain frame net has its convolutions for pictures, match all the rest."""
        if not any(name.startswith("vision.") for name in weights):
            return weights
        return {f"frames.body.{name.removeprefix('vision.')}" if name.startswith("vision.") else f"match.{name}": value
                for name, value in weights.items()}  # fmt: skip


class FrameNet(nn.Module):
    """A dilated ResNet-18 and a 3 x 3 convolution to K maps, max-pooled over space and time (SoP sec. 3.1)."""

    def __init__(self, maps, width, vision):
        super().__init__()
        self.channels = 8 * width
        self.body = DilatedResNet18(width) if vision == "resnet18" else ConvEncoder(3, width)
        self.head = nn.Conv2d(self.channels, maps, 3, padding=1)

    def maps(self, frames):
        """(B, 3, H, W) -> (B, K, H / 16, W / 16)."""
        return self.head(self.body(frames))

    def backbone_features(self, frames):
        """What the convolutions make of T frames: (B, T, 3, H, W) -> (B, C, T, H / 16, W / 16)."""
        return self.body(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]).transpose(1, 2)

    def pooled(self, seen):
        """(B, C, T, h, w) of `seen` -> (B, K): the maximum of the maps over all frames and places, float32."""
        count = seen.shape[2]
        maps = self.head(seen.transpose(1, 2).flatten(0, 1)).unflatten(0, (-1, count))  # (B, T, K, h, w)
        return maps.amax((1, 3, 4)).float()


class UNet(nn.Module):
    """The sound net: `levels` halvings and as many doublings, each fed with what the halving saw (SoP sec. 3.1).

    Down: 4 x 4 convolutions of stride 2, leaky ReLU. Up: bilinear to twice the size, 3 x 3 convolution. Batch norm
    after each but the first, the deepest and the last; and of the spectrogram itself. As the paper's public code has
    it; the paper says no more than "U-Net".

    Args:
        maps: K. width: maps after the first level, doubled until 8 times as many. levels: 2 or more.
        detail: the last level sees the spectrogram itself too, and has another layer: not the paper's, for spectrograms
            so small that neighbouring rows are different partials, which half their size doesn't show.
    """

    def __init__(self, maps, width, levels, detail=False):
        super().__init__()
        widths = [width * min(2**k, 8) for k in range(levels)]
        self.norm = nn.BatchNorm2d(1)
        self.down = nn.ModuleList()
        for k, (before, after) in enumerate(zip([1, *widths[:-1]], widths, strict=True)):
            normed = 0 < k < levels - 1
            layers = [nn.Conv2d(before, after, 4, 2, 1, bias=not normed)]
            self.down.append(nn.Sequential(*layers, *([nn.BatchNorm2d(after)] if normed else [])))
        self.up = nn.ModuleList()
        for k in reversed(range(levels)):
            into = widths[k] * (1 if k == levels - 1 else 2)  # but for the deepest, beside what the halving saw
            out = widths[k - 1] if k else maps
            if k == 0 and detail:
                layers = [nn.Conv2d(into + 1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
                layers += [nn.Conv2d(width, maps, 1)]
            else:
                layers = [nn.Conv2d(into, out, 3, padding=1, bias=k == 0)] + ([nn.BatchNorm2d(out)] if k else [])
            self.up.append(nn.Sequential(*layers))
        self.detail = detail

    def encode(self, spectrograms):
        """(B, 1, F, T) -> list: that, normed; what each level makes of it, (B, width, F / 2, T / 2) and so on."""
        seen = [self.norm(spectrograms)]
        for k, layer in enumerate(self.down):
            seen.append(layer(F.leaky_relu(seen[-1], 0.2) if k else seen[-1]))
        return seen

    def forward(self, spectrograms):
        """(B, 1, F, T) -> (B, K, F, T)."""
        seen = self.encode(spectrograms)
        x = seen.pop()
        for k, layer in enumerate(self.up):
            x = x if k == 0 else torch.cat([x, seen.pop()], 1)
            x = F.interpolate(F.relu(x), scale_factor=2, mode="bilinear", align_corners=True)
            if self.detail and k == len(self.up) - 1:
                x = torch.cat([x, seen.pop()], 1)
            x = layer(x)
        return x


class Synthesizer(nn.Module):
    """sum_k feature_k scale_k map_k + bias: K + 1 numbers (SoP sec. 3.1)."""

    def __init__(self, maps):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(maps))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, features, maps):
        """(B, N, K), (B, K, F, T) -> (B, N, F, T) logits, in float32."""
        with torch.autocast(maps.device.type, enabled=False):  # logits of many summands
            return ((features * self.scale) @ maps.flatten(2)).unflatten(2, maps.shape[2:]) + self.bias
