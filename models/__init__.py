"""The nets: pure `nn.Module`s with explicit arguments. They import torch only (and the error for a name
that isn't there).

Every net but PixelPlayer answers the calls of `models.avenet.AVCNet`: one training step and one evaluation serve them all.
"""

from models.avenet import AVENet
from models.avolnet import AVOLNet
from models.l3net import L3Net
from models.multiframe import AVENetMF, AVENetOF
from models.pixelplayer import PixelPlayer
from utils.errors import UserError

MODELS = {
    "AVENet": AVENet, "AVENet_MF": AVENetMF, "AVENet_OF": AVENetOF, "AVOLNet": AVOLNet, "L3Net": L3Net,
    "PixelPlayer": PixelPlayer,
}  # fmt: skip


def build_net(config, flow_fields=10):
    """The net that a `configs.schema.Model` describes, with fresh weights.

    Args:
        config: a `Model`.
        flow_fields: of a sample, data.flow_fields; only a net that sees flow asks for it.

    Raises:
        UserError: there is no net of that name.
    """
    if config.name not in MODELS:
        raise UserError(f"there is no net {config.name!r}: model.name must be one of {', '.join(MODELS)}")
    if config.name == "PixelPlayer":
        sizes = (config.num_channels, config.width, config.sound_width, config.unet_depth)
        return PixelPlayer(*sizes, config.vision, config.detail)
    more = {"flow_fields": flow_fields} if config.name == "AVENet_OF" else {}
    return MODELS[config.name](config.width, config.dim, config.dropout, **more)
