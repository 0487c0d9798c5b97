"""The nets for `torch.hub`, of a copy of this repository or by its name on GitHub.

    net = torch.hub.load("DIR", "load", checkpoint="best.pt", source="local")  # trained, see `models.load`
    net = torch.hub.load("DIR", "ave_net", source="local")                     # a torch.nn.Module, random weights

The nets by name have the sizes of the papers.
"""

from pathlib import Path
from typing import Any

import models
from models.avenet import AVENet
from models.avolnet import AVOLNet
from models.l3net import L3Net
from models.pixelplayer import PixelPlayer

dependencies = ["torch", "numpy", "scipy", "PIL", "av", "soundfile", "soxr", "fsspec", "upath", "tqdm"]


def load(checkpoint: str | Path) -> Any:
    """Load a trained net, with what it can do: see `models.load`.

    Args:
        checkpoint: best.pt of a run, the run's folder, a folder of export.py, or an https address with a hash.
    """
    return models.load(checkpoint)


def ave_net(**sizes: Any) -> AVENet:
    """Build AVE-Net without trained weights: frames (B, 3, 224, 224) and spectrograms (B, 1, 257, 200) (OtS sec. 3.1).

    Args:
        sizes: arguments of `models.avenet.AVENet`, such as width.
    """
    return AVENet(**sizes)


def avol_net(**sizes: Any) -> AVOLNet:
    """Build AVOL-Net without trained weights (OtS sec. 5.1).

    Args:
        sizes: arguments of `models.avolnet.AVOLNet`, such as width.
    """
    return AVOLNet(**sizes)


def l3_net(**sizes: Any) -> L3Net:
    """Build L3-Net without trained weights (L3, arXiv 1705.08168).

    Args:
        sizes: arguments of `models.l3net.L3Net`, such as width.
    """
    return L3Net(**sizes)


def pixelplayer(**sizes: Any) -> PixelPlayer:
    """Build PixelPlayer without trained weights (SoP sec. 3).

    Args:
        sizes: arguments of `models.pixelplayer.PixelPlayer`, such as num_channels.
    """
    return PixelPlayer(**sizes)
