"""The VGG16-ImageNet baseline of retrieval (OtS sec. 4.2): frames embedded by a net trained on labelled images."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import VGG, VGG16_Weights, vgg16

from models import imagenet
from models.interfaces import FrameSoundEncoder
from models.layers import to_float32

URL = VGG16_Weights.IMAGENET1K_V1.url
FILE = URL.rpartition("/")[2]  # vgg16-397923af.pth, 528 MB; the digits are the beginning of its SHA-256


class VGG16Features(nn.Module):
    """A fixed VGG16 up to its last hidden layer: no gradients, no dropout.

    The last hidden layer is the second fully connected one after its ReLU ("fc7", 4096-D), the usual descriptor; the
    paper's text doesn't name its layer.

    Args:
        net: torchvision's VGG16.
    """

    def __init__(self, net: VGG) -> None:
        super().__init__()
        self.features, self.avgpool = net.features, net.avgpool
        fc6, relu6, _, fc7, relu7, *_ = net.classifier
        self.hidden = nn.Sequential(fc6, relu6, fc7, relu7)
        self.requires_grad_(False)

    def embed_frames(self, frames: Tensor) -> Tensor:
        """Embed `frames`, (B, 3, S, S) normalized by ImageNet's statistics, S at least 32 -> (B, 4096) unit vectors.

        The net was trained with S = 224.
        """
        pooled = self.avgpool(self.features(frames)).flatten(1)  # (B, 512 * 7 * 7)
        return F.normalize(to_float32(self.hidden(pooled)), dim=1)


class ReplacedFrames(nn.Module):
    """A net whose frames are embedded by VGG16: the two embeddings are not comparable without a CCA.

    Args:
        frames: embeds the frames.
        net: embeds the sounds.
    """

    def __init__(self, frames: VGG16Features, net: FrameSoundEncoder) -> None:
        super().__init__()
        self.frames, self.net = frames, net

    def embed_frames(self, frames: Tensor) -> Tensor:
        """Embed `frames`, (B, 3, S, S) -> (B, 4096) unit vectors."""
        return self.frames.embed_frames(frames)

    def embed_sounds(self, spectrograms: Tensor) -> Tensor:
        """Embed `spectrograms`, (B, 1, F, T), by the net -> (B, ...)."""
        return self.net.embed_sounds(spectrograms)

    def embed_with_flip(self, frames: Tensor) -> Tensor:
        """Average the embeddings of `frames` and of their mirror images, and normalize: (B, 4096) unit vectors."""
        return F.normalize(self.embed_frames(frames) + self.embed_frames(frames.flip(-1)), dim=1)

    def frame_vectors(self, v: Tensor) -> Tensor:
        """Get unit vectors for retrieval from embedded frames `v`, which are unit vectors already: (B, 4096)."""
        return v

    def sound_vectors(self, a: Tensor) -> Tensor:
        """Normalize embedded sounds `a`: (B, D) -> (B, D)."""
        return F.normalize(a, dim=1)


def vgg16_features(weights: str) -> VGG16Features:
    """Load the baseline with ImageNet weights, in eval mode, on the CPU.

    Args:
        weights: path of torchvision's file of VGG16 weights, or "imagenet": torch's hub folder, where the file
            IMAGENET1K_V1 (528 MB) is downloaded if missing.

    Raises:
        UserError: the file can't be downloaded, is missing, damaged, or of another net.
    """
    path, values = imagenet.read_weights("VGG16", URL, weights)
    with torch.device("meta"):  # no memory and no time for random weights, which are replaced at once
        net = vgg16(init_weights=False)
    net.load_state_dict(imagenet.select_weights(values, net.state_dict(), path, "VGG16", URL), assign=True)
    return VGG16Features(net.float()).eval()
