"""The nets: plain `nn.Module`s with explicit arguments. They import torch, and the error for users' mistakes.

`load` gives a trained one, for pictures and sounds as a program holds them. `models.interfaces` says what the rest of
the repository asks of a net. Every net but PixelPlayer is a `models.avenet.AVCNet`: one training step and one
evaluation serve them all.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.avenet import AVCNet, AVENet
from models.avolnet import AVOLNet
from models.encoders import build_sound_encoder, build_vision_encoder
from models.l3net import L3Net
from models.multiframe import AVENetMF, AVENetOF
from models.pixelplayer import PixelPlayer
from utils.errors import UserError

AVC_NETS: dict[str, type[AVENet] | type[AVOLNet] | type[L3Net]] = {
    "AVENet": AVENet, "AVENet_MF": AVENetMF, "AVENet_OF": AVENetOF, "AVOLNet": AVOLNet, "L3Net": L3Net,
}  # fmt: skip
MODELS = {**AVC_NETS, "PixelPlayer": PixelPlayer}


def build_net(config: Any, flow_fields: int = 10, similarity: str = "dot") -> AVCNet | PixelPlayer:
    """Build the net that a config describes, with random weights.

    Args:
        config: a `configs.schema.Model`.
        flow_fields: data.flow_fields, for AVENet_OF.
        similarity: of `configs.schema.Train.similarity`, for AVOLNet: "dot" or "cosine".

    Raises:
        UserError: there is no net or encoder of that name, or the encoder doesn't offer the stride.
    """
    if config.name not in MODELS:
        raise UserError(f"there is no net {config.name!r}: model.name must be one of {', '.join(MODELS)}")
    if config.name == "PixelPlayer":
        sizes = (config.num_channels, config.width, config.sound_width, config.unet_depth)
        unet = (config.detail, config.unet_bias, config.unet_init)
        if config.features_from == "map":
            return PixelPlayer(*sizes, build_vision_encoder(config), *unet)
        net = PixelPlayer(*sizes, build_vision_encoder(config), *unet, embedding=config.dim)
        net.add_avc_branch(config.width, config.dim, config.dropout, config.pool)
        return net
    width, dim, dropout = config.width, config.dim, config.dropout
    if config.name == "AVENet_OF":
        return AVENetOF(width, dim, dropout, flow_fields, config.logit_scale)
    if config.name == "AVENet_MF":
        return AVENetMF(width, dim, dropout, config.logit_scale)
    vision, audio = build_vision_encoder(config), build_sound_encoder(config)
    if config.name == "AVENet":
        return AVENet(width, dim, dropout, vision, config.logit_scale, audio, config.pool)
    if config.name == "AVOLNet":
        return AVOLNet(width, dim, dropout, vision, similarity, audio, config.mean_weight)
    return L3Net(width, dim, dropout, vision, audio)


def load(source: str | Path, changes: Mapping[str, Any] | None = None) -> Any:
    """Load a trained net, with the weights that are evaluated, on the GPU if there is one.

        net = models.load("runs/demo_VOLNet/best.pt")
        v = net.embed_frames("dog.jpg")  # (1, 128): also arrays, tensors, images of Pillow, lists of them
        a = net.embed_sounds(wave, 44100)  # (1, 128)
        maps = net.localize("dog.jpg", wave, 44100)  # [(height, width)]

    Args:
        source: best.pt or last.pt of a run, the run's folder, a folder of export.py, or
            "https://HOST/best.pt#sha256=HASH", which is downloaded once.
        changes: {dotted name of a setting: value} that override the run's settings, as {"train.precision": "fp32"}.

    Returns:
        a net that has the methods for what it can do: of `evaluation.loaded_nets`, a `PairNet` (embed_frames,
        embed_sounds, correspondence), a `MapNet` (and localize), a `SeparationNet` (separate) or a `SoundNet`.

    Raises:
        UserError: there is no such net, or it can't be used.
    """
    from evaluation.loaded_nets import load_net  # here alone: whoever takes a net without its weights needs torch only

    return load_net(source, changes)
