"""The nets: plain `nn.Module`s with explicit arguments. They import torch, and the error for users' mistakes.

`models.interfaces` says what the rest of the repository asks of a net. Every net but PixelPlayer is an
`models.avenet.AVCNet`: one training step and one evaluation serve them all.
"""

from typing import Any

from models.avenet import AVCNet, AVENet
from models.avolnet import AVOLNet
from models.frame_encoders import FRAME_ENCODERS
from models.l3net import L3Net
from models.multiframe import AVENetMF, AVENetOF
from models.pixelplayer import PixelPlayer
from utils.errors import UserError

AVC_NETS: dict[str, type[AVENet] | type[AVOLNet] | type[L3Net]] = {
    "AVENet": AVENet, "AVENet_MF": AVENetMF, "AVENet_OF": AVENetOF, "AVOLNet": AVOLNet, "L3Net": L3Net,
}  # fmt: skip
MODELS = {**AVC_NETS, "PixelPlayer": PixelPlayer}


def build_net(config: Any, flow_fields: int = 10) -> AVCNet | PixelPlayer:
    """Build the net that a config describes, with random weights.

    Args:
        config: a `configs.schema.Model`.
        flow_fields: data.flow_fields, for AVENet_OF.

    Raises:
        UserError: there is no net of that name.
    """
    if config.name not in MODELS:
        raise UserError(f"there is no net {config.name!r}: model.name must be one of {', '.join(MODELS)}")
    if config.name == "PixelPlayer":
        sizes = (config.num_channels, config.width, config.sound_width, config.unet_depth)
        return PixelPlayer(*sizes, config.encoder, config.detail, config.unet_bias, config.unet_init)
    width, dim, dropout = config.width, config.dim, config.dropout
    if config.name == "AVENet_OF":
        return AVENetOF(width, dim, dropout, flow_fields, config.logit_scale)
    if config.name == "AVENet_MF":
        return AVENetMF(width, dim, dropout, config.logit_scale)
    vision = FRAME_ENCODERS[config.encoder](width)
    if config.name == "AVENet":
        return AVENet(width, dim, dropout, vision, config.logit_scale)
    return AVC_NETS[config.name](width, dim, dropout, vision=vision)
