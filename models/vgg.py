"""The VGG16-ImageNet baseline of retrieval (OtS sec. 4.2): what a net trained on labelled pictures makes of a frame."""

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import VGG16_Weights, vgg16

from models import imagenet
from utils.errors import UserError

URL = VGG16_Weights.IMAGENET1K_V1.url
FILE = URL.rpartition("/")[2]  # vgg16-397923af.pth, 528 MB; the digits are the beginning of its SHA-256


class VGG16Features(nn.Module):
    """A VGG16 up to its last hidden layer, fixed: its weights take no gradient, and no dropout is left.

    The last hidden layer is the second fully connected one after its ReLU ("fc7", 4096-D), the usual descriptor; we
    found no text of the paper that names its layer.

    Args:
        net: a torchvision VGG.
    """

    def __init__(self, net):
        super().__init__()
        self.features, self.avgpool = net.features, net.avgpool
        fc6, relu6, _, fc7, relu7, *_ = net.classifier
        self.hidden = nn.Sequential(fc6, relu6, fc7, relu7)
        self.requires_grad_(False)

    def embed_frames(self, frames):
        """(B, 3, S, S) frames, normalised by ImageNet's mean and deviation -> (B, 4096) unit vectors, float32.

        S is 32 or more; the net was trained with 224.
        """
        pooled = self.avgpool(self.features(frames)).flatten(1)  # (B, 512 * 7 * 7)
        return F.normalize(self.hidden(pooled).float(), dim=1)


class ReplacedFrames(nn.Module):
    """A net's sounds beside these frames: what `evaluation.tasks.embeddings.embed_batches` needs of a net.

    Args:
        frames: a `VGG16Features`. net: any net of `models`.
    """

    def __init__(self, frames, net):
        super().__init__()
        self.frames, self.net = frames, net
        self.embed_frames, self.embed_sounds = frames.embed_frames, net.embed_sounds

    def embed_with_flip(self, frames):
        """As of the nets of `models`: the mean over a frame and its mirror image, (B, 4096) unit vectors."""
        return F.normalize(self.embed_frames(frames) + self.embed_frames(frames.flip(-1)), dim=1)

    def vectors(self, v, a):
        """What retrieval compares: (B, 4096) and (B, D) unit vectors, which only a CCA makes comparable."""
        return v, F.normalize(a, dim=1)


def vgg16_features(weights):
    """The baseline with its ImageNet weights, in eval mode, on the CPU.

    Args:
        weights: a file of torchvision's VGG16 weights, or "imagenet": the file IMAGENET1K_V1 in torch's hub folder,
            downloaded to it (528 MB) if it isn't there.

    Returns:
        a `VGG16Features`.

    Raises:
        UserError: the file can't be downloaded, is missing, damaged, or of another net.
    """
    path, values = imagenet.read_weights("VGG16", URL, weights)
    with torch.device("meta"):  # no memory, and no seconds for random weights that are replaced at once
        net = vgg16(init_weights=False)
    try:
        net.load_state_dict(values, assign=True)
    except (RuntimeError, TypeError, AttributeError):  # other names or shapes; not even a dict
        raise UserError(f"{path} does not hold the weights of torchvision's VGG16: use its file {FILE}") from None
    return VGG16Features(net.float()).eval()
