"""What all nets of *Objects that Sound* share: how they are called, how they are trained, how their last layer starts.

One training step and one evaluation serve every net that answers these calls.
"""

import torch
from torch import nn

# AVE-Net's decision as it starts, logit = SLOPE (NEUTRAL - distance): see docs/starting_well.md.
SLOPE, NEUTRAL = 12.0, 1.2


class AVCNet(nn.Module):
    """A net that tells which frames and which seconds of sound belong together.

    A subclass defines `embed_frames`, `embed_sounds`, `pair_logits` and `start_from_data`, and names in `decision` its
    last layer, which turns what was compared into a logit.

        embed_frames(frames)        (B, 3, H, W) float  -> (B, ...); what the frames of other nets are: multiframe.py
        embed_sounds(spectrograms)  (B, 1, F, T) float  -> (B, ...)
        pair_logits(v, a)           (N, ...), (M, ...)  -> (N, M): log-odds that frame n and sound m belong together
        start_from_data(frames, spectrograms)              in training mode, on 100 clips or more, before the first step
    """

    decision = ""

    def forward(self, frames, spectrograms, gather=None):
        """Embed B clips once and score all pairs: -> v (B, ...), a (B, ...), logits (B, B); matches on the diagonal.

        With `gather`, a callable (B, ...) -> (M, ...) that adds the sounds of other processes: a (M, ...), logits
        (B, M).
        """
        v, a = self.embed_frames(frames), self.embed_sounds(spectrograms)
        a = gather(a) if gather else a
        return v, a, self.pair_logits(v, a)

    def embed_with_mirror(self, frames):
        """`embed_frames`, averaged over a frame and its mirror image: steadier on frames that training never saw."""
        return (self.embed_frames(frames) + self.embed_frames(self.mirrored(frames))) / 2

    def mirrored(self, frames):
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

    def slope(self):
        """By how much the logit grows the more alike the two are, a scalar tensor; None where the net doesn't say.

        Below 0, matches mean unlike: training has gone the wrong way.
        """
        return None

    def parameter_groups(self, lr_decision):
        """Optimizer groups: the last layer, a few numbers on which all depends, learns `lr_decision` times faster."""
        last = self.get_submodule(self.decision)
        body = [p for name, p in self.named_parameters() if not name.startswith(f"{self.decision}.")]
        return [
            {"params": body, "lr_scale": 1.0},
            {"params": list(last.parameters()), "lr_scale": lr_decision, "weight_decay": 0.0},
        ]

    def translate(self, weights):
        """Another net's weights {name: tensor} under the names and in the shapes of this one's, where they fit."""
        return weights


def max_pooled(features):
    """Global max pool of a feature map, in float32: (B, C, h, w), or (B, C, t, h, w) of several frames -> (B, C)."""
    return features.amax(dim=tuple(range(2, features.ndim))).float()


def distances(v, a):
    """Euclidean distances of unit vectors, in float32: (N, dim), (M, dim) -> (N, M), in 0..2.

    The floor keeps the square root's slope finite where two vectors are equal.
    """
    with torch.autocast(v.device.type, enabled=False):
        return (2 - 2 * v @ a.T).clamp(min=1e-8).sqrt()


@torch.no_grad()
def standardise(layer, outputs, deviation=1.0):
    """Shift and scale a linear or 1 x 1 convolution layer so that each output has mean 0 and this deviation.

    At a random start all embeddings point the same way, so no comparison tells anything: see docs/starting_well.md.

    Args:
        layer: the layer, changed in place. outputs: (N, D), what it gives for N inputs.
    """
    mean, spread = outputs.mean(0), outputs.std(0).clamp(min=1e-6) / deviation
    layer.weight.div_(spread.view(-1, *[1] * (layer.weight.dim() - 1)))
    layer.bias.sub_(mean).div_(spread)
