"""AVE-Net, one embedding for a frame and for a second of sound, and what all nets of *Objects that Sound* share.

`ConvEncoder` is the convolutional encoder of OtS fig. 2. `AVCNet` is the interface through which one training step and
one evaluation serve every net. `AVENet` is the net of OtS sec. 3.1.
"""

import torch
import torch.nn.functional as F
from torch import nn

# AVE-Net's decision as it starts, logit = SLOPE (NEUTRAL - distance): see docs/starting_well.md.
LOGIT_SCALE, NEUTRAL_DISTANCE = 12.0, 1.2


def conv_bn_relu(channels_in, channels_out, stride=1, dims=2):
    """3 x 3 (x 3) convolution, batch norm, ReLU (OtS sec. 3.1: every convolution is followed by both)."""
    conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dims == 2 else (nn.Conv3d, nn.BatchNorm3d)
    return nn.Sequential(
        conv(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),  # batch norm has the bias
        norm(channels_out),
        nn.ReLU(inplace=True),
    )


class ConvEncoder(nn.Sequential):
    """conv1_1 (stride 2) ... conv4_2 with 2 x 2 max pools between the four pairs (OtS fig. 2).

    Args:
        channels: 3 for a picture, 1 for a spectrogram.
        width: channels of the first pair; they double after each pool. 64 is the paper's.
        dims: 2; or 3 for several frames: kernels of 3 and pools of 2 in time too, while conv1_1 keeps every frame.
        levels: which of the pairs, each with the pool that follows it.

    Shapes:
        (B, channels, H, W) float -> (B, 8 * width, H / 16, W / 16), sides rounded up once and then down, e.g.
        (B, 3, 224, 224) -> (B, 512, 14, 14) and (B, 1, 257, 200) -> (B, 512, 16, 12).
        With dims 3: (B, channels, T, H, W) -> (B, 8 * width, T / 8, H / 16, W / 16), (B, 512, 3, 14, 14) of 25 frames.
    """

    def __init__(self, channels, width=64, dims=2, levels=(1, 2, 3, 4)):
        layers = {}
        halve = 2 if dims == 2 else (1, 2, 2)
        for level in levels:
            out = width * 2 ** (level - 1)
            layers[f"conv{level}_1"] = conv_bn_relu(channels, out, halve if level == 1 else 1, dims)
            layers[f"conv{level}_2"] = conv_bn_relu(out, out, dims=dims)
            if level < 4:
                layers[f"pool{level}"] = nn.MaxPool2d(2) if dims == 2 else nn.MaxPool3d(2)
            channels = out
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.channels = channels


class AVCNet(nn.Module):
    """A net that tells which frames and which seconds of sound belong together.

    A subclass defines `embed_frames`, `embed_sounds`, `pair_logits` and `data_dependent_init`, and names in `decision` its
    last layer, which turns what was compared into a logit.

        embed_frames(frames)        (B, 3, H, W) float  -> (B, ...); what the frames of other nets are: multiframe.py
        embed_sounds(spectrograms)  (B, 1, F, T) float  -> (B, ...)
        pair_logits(v, a)           (N, ...), (M, ...)  -> (N, M): log-odds that frame n and sound m belong together
        data_dependent_init(frames, spectrograms)              in training mode, on 100 clips or more, before the first step
    """

    logit_layer = ""

    def forward(self, frames, spectrograms, gather=None):
        """Embed B clips once and score all pairs: -> v (B, ...), a (B, ...), logits (B, B); matches on the diagonal.

        With `gather`, a callable (B, ...) -> (M, ...) that adds the sounds of other processes: a (M, ...), logits
        (B, M).
        """
        v, a = self.embed_frames(frames), self.embed_sounds(spectrograms)
        a = gather(a) if gather else a
        return v, a, self.pair_logits(v, a)

    def embed_with_flip(self, frames):
        """`embed_frames`, averaged over a frame and its mirror image: steadier on frames that training never saw."""
        return (self.embed_frames(frames) + self.embed_frames(self.flip_frames(frames))) / 2

    def flip_frames(self, frames):
        """Frames as `embed_frames` takes them, left and right exchanged."""
        return frames.flip(-1)

    def vectors(self, v, a):
        """What retrieval compares, by the smaller distance: (B, ...), (M, ...) -> (B, D), (M, D) unit vectors."""
        return self.frame_vectors(v), self.sound_vectors(a)

    def frame_vectors(self, v):
        """Of embedded frames alone: (B, ...) -> (B, D)."""
        return v

    def sound_vectors(self, a):
        """Of embedded sounds alone: (B, ...) -> (B, D)."""
        return a

    def logit_scale(self):
        """By how much the logit grows the more alike the two are, a scalar tensor; None where the net doesn't say.

        Below 0, matches mean unlike: training has gone the wrong way.
        """
        return None

    def parameter_groups(self, last_layer_lr_mult):
        """Optimizer groups: the last layer, a few numbers on which all depends, learns `last_layer_lr_mult` times faster."""
        last = self.get_submodule(self.logit_layer)
        body = [p for name, p in self.named_parameters() if not name.startswith(f"{self.logit_layer}.")]
        return [
            {"params": body, "lr_scale": 1.0},
            {"params": list(last.parameters()), "lr_scale": last_layer_lr_mult, "weight_decay": 0.0},
        ]

    def remap_state_dict(self, weights):
        """Another net's weights {name: tensor} under the names and in the shapes of this one's, where they fit."""
        return weights


class AVENet(AVCNet):
    """Two encoders, two 128-D unit vectors, and a decision that sees nothing but the distance between them.

    Each branch: `Encoder`, global max pool, fc1 (8 * width -> dim), ReLU, fc2 (dim -> dim), L2 norm. The Euclidean
    distance of the two, one number, goes through fc3 (1 -> 2) and a softmax.

    Args:
        width: channels of the first convolution; 64 is the paper's.
        dim: dimensions of the embedding; 128 is the paper's.
        dropout: share of the pooled features dropped in training; the paper uses none.
        vision: encoder of the frames, with an attribute `channels`; None for one frame's, `Encoder(3, width)`.
    """

    logit_layer = "fc3"

    def __init__(self, width=64, dim=128, dropout=0.0, vision=None):
        super().__init__()
        self.vision = ConvEncoder(3, width) if vision is None else vision
        self.vision_fc1 = nn.Linear(self.vision.channels, dim)
        self.vision_fc2 = nn.Linear(dim, dim)
        self.audio = ConvEncoder(1, width)
        self.audio_fc1 = nn.Linear(self.audio.channels, dim)
        self.audio_fc2 = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.fc3 = nn.Linear(1, 2)
        self._init_fc3()

    @torch.no_grad()
    def _init_fc3(self):
        """Start fc3 as logit = 12 (1.2 - d): steep, and with the sign that makes a small distance mean "match".

        The sign is the paper's (sec. 3.1); it isn't enforced later. Two unit vectors that have nothing to do with
        each other lie sqrt(2) apart. PyTorch's default start has a random sign and a slope around 0.6, which barely
        tells pairs apart: the loss stays at ln 2. See docs/starting_well.md.
        """
        half = LOGIT_SCALE / 2
        self.fc3.weight.copy_(torch.tensor([[half], [-half]]))
        self.fc3.bias.copy_(torch.tensor([-half * NEUTRAL_DISTANCE, half * NEUTRAL_DISTANCE]))

    def embed_frames(self, frames):
        """(B, 3, H, W) normalised frames -> (B, dim) unit vectors, float32."""
        return F.normalize(self._head(self.vision(frames), self.vision_fc1, self.vision_fc2), dim=1)

    def embed_with_flip(self, frames):
        """The mean of the two unit vectors, made one again: (B, dim)."""
        return F.normalize(super().embed_with_flip(frames), dim=1)

    def embed_sounds(self, spectrograms):
        """(B, 1, F, T) normalised log spectrograms -> (B, dim) unit vectors, float32."""
        return F.normalize(self._head(self.audio(spectrograms), self.audio_fc1, self.audio_fc2), dim=1)

    def _head(self, features, fc1, fc2):
        pooled = global_max_pool(features)  # (B, 8 * width)
        # The head is tiny and ends in differences of nearly equal numbers: keep it in float32 under autocast.
        with torch.autocast(pooled.device.type, enabled=False):
            return fc2(F.relu(fc1(self.dropout(pooled))))  # (B, dim)

    def pair_logits(self, v, a):
        """(N, dim), (M, dim) -> (N, M): log-odds that frame n and sound m belong together.

        The difference of fc3's two outputs: a sigmoid of it is the paper's two-way softmax.
        """
        return -self.logit_scale() * pairwise_distances(v, a) + (self.fc3.bias[1] - self.fc3.bias[0])

    def logit_scale(self):
        """By how much the logit grows as the distance shrinks, a scalar tensor."""
        return self.fc3.weight[0, 0] - self.fc3.weight[1, 0]

    @torch.no_grad()
    def data_dependent_init(self, frames, spectrograms):
        """Scale and shift each fc2 so that on these clips every output dimension has mean 0 and deviation 1.

        At a random start all embeddings point the same way (cosine 0.9 between different clips), so no distance
        tells anything. This spreads them over the sphere; the architecture is unchanged.

        Args:
            frames, spectrograms: about 100 clips or more, as in `forward`.
        """
        self.train()
        for encoder, fc1, fc2, inputs in (
            (self.vision, self.vision_fc1, self.vision_fc2, frames),
            (self.audio, self.audio_fc1, self.audio_fc2, spectrograms),
        ):
            standardize_outputs(fc2, fc2(F.relu(fc1(global_max_pool(encoder(inputs))))))


def global_max_pool(features):
    """Global max pool of a feature map, in float32: (B, C, h, w), or (B, C, t, h, w) of several frames -> (B, C)."""
    return features.amax(dim=tuple(range(2, features.ndim))).float()


def pairwise_distances(v, a):
    """Euclidean distances of unit vectors, in float32: (N, dim), (M, dim) -> (N, M), in 0..2.

    The floor keeps the square root's slope finite where two vectors are equal.
    """
    with torch.autocast(v.device.type, enabled=False):
        return (2 - 2 * v @ a.T).clamp(min=1e-8).sqrt()


def standardize_outputs(layer, outputs, deviation=1.0):
    """Shift and scale a linear or 1 x 1 convolution layer so that each output has mean 0 and this deviation.

    At a random start all embeddings point the same way, so no comparison tells anything: see docs/starting_well.md.

    Args:
        layer: the layer, changed in place. outputs: (N, D), what it gives for N inputs.
    """
    mean, spread = outputs.mean(0), outputs.std(0).clamp(min=1e-6) / deviation
    layer.weight.div_(spread.view(-1, *[1] * (layer.weight.dim() - 1)))
    layer.bias.sub_(mean).div_(spread)
