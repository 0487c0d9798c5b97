"""AVE-Net, one embedding for frames and sounds, and what all nets of *Objects that Sound* share.

`ConvEncoder` is the convolutional encoder of OtS fig. 2. `AVCNet` is the base class through which one training step and
one evaluation serve every net. `AVENet` is the net of OtS sec. 3.1.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.contrast import Temperature
from models.interfaces import Encoder, Gather, PartlyFixed, gather_sounds
from models.layers import (
    global_max_pool,
    max_and_salient_mean,
    pairwise_distances,
    standardize_outputs,
    to_float32,
)

# AVE-Net's last layer starts as logit = LOGIT_SCALE (NEUTRAL_DISTANCE - distance): see docs/starting_well.md.
LOGIT_SCALE, NEUTRAL_DISTANCE = 12.0, 1.2


def conv_bn_relu(
    in_channels: int, out_channels: int, stride: int | tuple[int, ...] = 1, dims: int = 2
) -> nn.Sequential:
    """3 x 3 (x 3) convolution, batch norm, ReLU (OtS sec. 3.1: every convolution is followed by both).

    Args:
        in_channels, out_channels: of the convolution.
        stride: of the convolution, one number or one for each dimension.
        dims: 2 for images and spectrograms, 3 for several frames.
    """
    conv: Any = nn.Conv2d if dims == 2 else nn.Conv3d
    norm: Any = nn.BatchNorm2d if dims == 2 else nn.BatchNorm3d
    return nn.Sequential(
        conv(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),  # batch norm has the bias
        norm(out_channels),
        nn.ReLU(inplace=True),
    )


class ConvEncoder(nn.Sequential):
    """conv1_1 (stride 2) ... conv4_2 with 2 x 2 max pools between the four levels (OtS fig. 2).

    Args:
        in_channels: 3 for a frame, 1 for a spectrogram.
        width: channels of the first level; they double after each pool. The paper has 64.
        dims: 2; or 3 for several frames: kernels of 3 and pools of 2 over time too, while conv1_1 keeps every frame.
        levels: which of the four levels, each of two convolutions and the pool that follows them.

    Attributes:
        channels: of the output.

    Shapes:
        (B, in_channels, H, W) float -> (B, 8 * width, H / 16, W / 16), sides rounded up once and then down, e.g.
        (B, 3, 224, 224) -> (B, 512, 14, 14) and (B, 1, 257, 200) -> (B, 512, 16, 12).
        With dims 3: (B, in_channels, T, H, W) -> (B, 8 * width, T / 8, H / 16, W / 16), e.g. 25 frames of 224 x 224
        -> (B, 512, 3, 14, 14).
    """

    def __init__(
        self, in_channels: int, width: int = 64, dims: int = 2, levels: tuple[int, ...] = (1, 2, 3, 4)
    ) -> None:
        super().__init__()
        halve = 2 if dims == 2 else (1, 2, 2)
        for level in levels:
            out = width * 2 ** (level - 1)
            self.add_module(f"conv{level}_1", conv_bn_relu(in_channels, out, halve if level == 1 else 1, dims))
            self.add_module(f"conv{level}_2", conv_bn_relu(out, out, dims=dims))
            if level < 4:
                self.add_module(f"pool{level}", nn.MaxPool2d(2) if dims == 2 else nn.MaxPool3d(2))
            in_channels = out
        self.channels = out


class AVCNet(PartlyFixed):
    """A net for audio-visual correspondence: which frames and which seconds of sound belong to the same clip.

    A subclass defines `embed_frames`, `embed_sounds`, `pair_logits` and `data_dependent_init`, and sets `logit_layer`.

    Attributes:
        logit_layer: name of the last layer, which maps similarity to a logit.
        temperature: of InfoNCE, if it is learned (`learn_temperature`); else None.
        training_only_prefix: of the weights in a checkpoint that only training needs.
    """

    logit_layer = ""
    training_only_prefix = "temperature."

    def __init__(self) -> None:
        super().__init__()
        self.temperature: Temperature | None = None

    def frame_map(self, frames: Tensor) -> Tensor:
        """Encode `frames`, (B, 3, H, W); their feature map (B, C, h, w), if it was computed before, stays as it is."""
        encoder: Any = self.vision
        return frames if frames.shape[1] == encoder.channels else encoder(frames)

    def embed_frames(self, frames: Tensor) -> Tensor:
        """Embed normalized `frames`, (B, 3, H, W) float32 (models/multiframe.py: other shapes) -> (B, ...).

        Here and in every other method, frames may also be their feature maps, see `frame_map`.
        """
        raise NotImplementedError

    def embed_sounds(self, spectrograms: Tensor) -> Tensor:
        """Embed normalized log `spectrograms`, (B, 1, F, T) float32 -> (B, ...)."""
        raise NotImplementedError

    def pair_logits(self, v: Tensor, a: Tensor) -> Tensor:
        """Score all pairs of embedded frames `v` (N, ...) and sounds `a` (M, ...) -> (N, M) log-odds of a match."""
        raise NotImplementedError

    def data_dependent_init(self, frames: Tensor, spectrograms: Tensor) -> None:
        """Rescale the last layers so that the embeddings of 100 or more clips differ; call before the first step.

        Args:
            frames: (B, 3, H, W), as of `forward`.
            spectrograms: (B, 1, F, T), as of `forward`.
        """
        raise NotImplementedError

    def forward(
        self, frames: Tensor, spectrograms: Tensor, gather: Gather | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Embed B clips once and score all pairs.

        Args:
            frames: (B, 3, H, W) float32, normalized.
            spectrograms: (B, 1, F, T) float32, normalized. More rows than frames: sounds that belong to no frame.
            gather: adds the sounds of other processes, (B, ...) -> (M, ...); None for one process.

        Returns:
            v (B, ...), a (B, ...) and logits (B, B) with positives on the diagonal; with `gather`, a is (M, ...) and
            logits are (B, M). Sounds that belong to no frame come last.
        """
        v, a = self.embed_frames(frames), self.embed_sounds(spectrograms)
        a = gather_sounds(a, len(v), gather)
        return v, a, self.pair_logits(v, a)

    def forward_with_aux(
        self, frames: Tensor, spectrograms: Tensor, gather: Gather | None = None
    ) -> tuple[Tensor, ...]:
        """As `forward`, followed by the logits (B, B) of each auxiliary head; here there are none.

        Args:
            frames, spectrograms, gather: as of `forward`.
        """
        return self(frames, spectrograms, gather)

    def embed_with_flip(self, frames: Tensor) -> Tensor:
        """Average `embed_frames` over `frames` and their mirror images: more accurate on unseen frames."""
        return (self.embed_frames(frames) + self.embed_frames(self.flip_frames(frames))) / 2

    def flip_frames(self, frames: Tensor) -> Tensor:
        """Mirror `frames`, shaped as for `embed_frames`, left to right."""
        return frames.flip(-1)

    def frame_vectors(self, v: Tensor) -> Tensor:
        """Get unit vectors for retrieval from embedded frames `v`: (B, ...) -> (B, D)."""
        return v

    def sound_vectors(self, a: Tensor) -> Tensor:
        """Get unit vectors for retrieval from embedded sounds `a`: (B, ...) -> (B, D)."""
        return a

    def cosines(self, v: Tensor, a: Tensor) -> Tensor:
        """Compute the cosines of all frames' and sounds' vectors: `v` (N, ...), `a` (M, ...) -> (N, M) in -1..1."""
        with torch.autocast(v.device.type, enabled=False):
            return self.frame_vectors(v) @ self.sound_vectors(a).T

    def learn_temperature(self, start: float) -> None:
        """Let the net learn the temperature of InfoNCE, from `start` on; call before the optimizer is built."""
        self.temperature = Temperature(start).to(next(self.parameters()).device)

    def logit_scale(self) -> Tensor | None:
        """Get how much the logit grows with similarity, a scalar tensor; None if the net has no such number.

        Below 0, dissimilar pairs count as matches: training has gone the wrong way.
        """
        return None

    def parameter_groups(
        self,
        last_layer_lr_mult: float,
        last_layer_decay: bool = False,
        pretrained: Mapping[str, float] | None = None,
    ) -> list[dict[str, Any]]:
        """Group the parameters for the optimizer: the last layer, a few numbers on which all logits depend; the rest.

        Args:
            last_layer_lr_mult: learning-rate multiplier of the last layer.
            last_layer_decay: whether weight decay applies to the last layer too.
            pretrained: {name of a submodule with pretrained weights: its learning-rate multiplier}, each a group of
                its own; 0 leaves its parameters out.
        """
        last_group: dict[str, Any] = {
            "params": list(self.get_submodule(self.logit_layer).parameters()), "lr_scale": last_layer_lr_mult
        }  # fmt: skip
        if not last_layer_decay:
            last_group["weight_decay"] = 0.0
        parts = {f"{part}.": [*self.get_submodule(part).parameters()] for part in pretrained or {}}
        own = (f"{self.logit_layer}.", "temperature.", *parts)
        body = [p for name, p in self.named_parameters() if not name.startswith(own)]
        groups: list[dict[str, Any]] = [{"params": body, "lr_scale": 1.0}, last_group]
        if self.temperature:
            learned = [self.temperature.log_scale]
            groups.append({"params": learned, "lr_scale": last_layer_lr_mult, "weight_decay": 0.0})
        for params, scale in zip(parts.values(), (pretrained or {}).values(), strict=True):
            if scale:
                tuned = [weight for weight in params if weight.requires_grad]  # without frozen stages
                groups.append({"params": tuned, "lr_scale": scale, "pretrained": True})
        return groups

    def remap_state_dict(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rename and reshape the `weights` of another kind of net so that they fit this one where possible."""
        return weights


class AVENet(AVCNet):
    """Two encoders, two 128-D unit vectors, and a logit that depends on their distance alone (OtS sec. 3.1, fig. 2c).

    Each branch: `ConvEncoder`, global max pool, fc1 (8 * width -> dim), ReLU, fc2 (dim -> dim), L2 norm. The Euclidean
    distance of the two vectors, one number, goes through fc3 (1 -> 2) and a softmax.

    Args:
        width: channels of the first convolution; the paper has 64.
        dim: dimensions of the embedding; the paper has 128.
        dropout: fraction of the pooled features dropped in training; the paper uses none.
        vision: encoder of the frames; None for `ConvEncoder(3, width)`.
        logit_scale: how much the logit grows at first as the distance shrinks.
        audio: encoder of the spectrograms; None for `ConvEncoder(1, width)`.
        vision_pool: "max": the frame's features are pooled before fc1 (the paper); "local": fc1 sees each location, and
            fc2 the maximum and a weighted mean of the results (`models.layers.max_and_salient_mean`).
    """

    logit_layer = "fc3"

    def __init__(
        self,
        width: int = 64,
        dim: int = 128,
        dropout: float = 0.0,
        vision: Encoder | None = None,
        logit_scale: float = LOGIT_SCALE,
        audio: Encoder | None = None,
        vision_pool: str = "max",
    ) -> None:
        super().__init__()
        self.vision = ConvEncoder(3, width) if vision is None else vision
        self.vision_pool = vision_pool
        self.vision_fc1 = nn.Linear(self.vision.channels, dim)
        self.vision_fc2 = nn.Linear(2 * dim if vision_pool == "local" else dim, dim)
        self.audio = ConvEncoder(1, width) if audio is None else audio
        self.audio_fc1 = nn.Linear(self.audio.channels, dim)
        self.audio_fc2 = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.fc3 = nn.Linear(1, 2)
        self._init_fc3(logit_scale)

    @torch.no_grad()
    def _init_fc3(self, logit_scale: float) -> None:
        """Initialize fc3 as logit = logit_scale (1.2 - d), with the sign that makes a small distance a match.

        The sign is the paper's (sec. 3.1); training may change it. Unit vectors of unrelated clips are sqrt(2) apart.
        PyTorch's default has a random sign and a scale of about 0.7, which hardly separates pairs: the loss stays at
        ln 2. See docs/starting_well.md.
        """
        half = logit_scale / 2
        self.fc3.weight.copy_(torch.tensor([[half], [-half]]))
        self.fc3.bias.copy_(torch.tensor([-half * NEUTRAL_DISTANCE, half * NEUTRAL_DISTANCE]))

    def embed_frames(self, frames: Tensor) -> Tensor:
        """Embed normalized `frames`, (B, 3, H, W) float32 -> (B, dim) unit vectors, float32."""
        return F.normalize(self._project_frames(frames), dim=1)  # (B, dim)

    def embed_sounds(self, spectrograms: Tensor) -> Tensor:
        """Embed normalized log `spectrograms`, (B, 1, F, T) float32 -> (B, dim) unit vectors, float32."""
        return F.normalize(self._project_sounds(spectrograms), dim=1)  # (B, dim)

    def embed_with_flip(self, frames: Tensor) -> Tensor:
        """Average the embeddings of `frames` and of their mirror images, and normalize: (B, dim) unit vectors."""
        return F.normalize(super().embed_with_flip(frames), dim=1)

    def _project_frames(self, frames: Tensor) -> Tensor:
        """Embed frames, before the L2 norm: (B, dim) float32."""
        features = self.frame_map(frames)  # (B, 8 * width, h, w)
        if self.vision_pool == "max":
            return self._project(global_max_pool(features), self.vision_fc1, self.vision_fc2)
        with torch.autocast(features.device.type, enabled=False):
            locations = F.dropout2d(to_float32(features), self.dropout.p, self.training)
            weight = self.vision_fc1.weight[:, :, None, None]  # as a 1 x 1 convolution
            hidden = F.relu(F.conv2d(locations, weight, self.vision_fc1.bias))  # (B, dim, h, w)
            return self.vision_fc2(max_and_salient_mean(hidden, features))

    def _project_sounds(self, spectrograms: Tensor) -> Tensor:
        """Embed sounds, before the L2 norm: (B, dim) float32."""
        return self._project(global_max_pool(self.audio(spectrograms)), self.audio_fc1, self.audio_fc2)

    def _project(self, pooled: Tensor, fc1: nn.Linear, fc2: nn.Linear) -> Tensor:
        # The head is tiny, and what follows subtracts nearly equal numbers: keep it in float32 under autocast.
        with torch.autocast(pooled.device.type, enabled=False):
            return fc2(F.relu(fc1(self.dropout(pooled))))  # (B, dim)

    def pair_logits(self, v: Tensor, a: Tensor) -> Tensor:
        """Score all pairs of embedded frames `v` (N, dim) and sounds `a` (M, dim) -> (N, M) log-odds of a match.

        The log-odds are the difference of fc3's two outputs: their sigmoid is the paper's two-way softmax.
        """
        return -self.logit_scale() * pairwise_distances(v, a) + (self.fc3.bias[1] - self.fc3.bias[0])

    def logit_scale(self) -> Tensor:
        """Get how much the logit grows as the distance shrinks, a scalar tensor."""
        return self.fc3.weight[0, 0] - self.fc3.weight[1, 0]

    @torch.no_grad()
    def data_dependent_init(self, frames: Tensor, spectrograms: Tensor) -> None:
        """Scale and shift each fc2 so that on these clips every output dimension has mean 0 and standard deviation 1.

        With random weights all embeddings point the same way (cosine 0.9 between different clips), so distances carry
        no information. This distributes them over the sphere; the architecture is unchanged.

        Args:
            frames: (B, 3, H, W), as of `forward`, of about 100 clips or more.
            spectrograms: (B, 1, F, T) of the same clips.
        """
        self.train()
        standardize_outputs(self.vision_fc2, self._project_frames(frames))
        standardize_outputs(self.audio_fc2, self._project_sounds(spectrograms))
