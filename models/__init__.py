"""The nets: pure `nn.Module`s with explicit arguments. They import torch only (and the error for a name
that isn't there).

Every net answers the same four calls, so one training step and one evaluation serve them all:

    embed_frames(frames)        (B, 3, H, W) float          -> (B, dim)
    embed_sounds(spectrograms)  (B, 1, F, T) float          -> (B, dim)
    pair_logits(v, a)           (N, dim), (M, dim)          -> (N, M): logit that frame n and sound m belong together
    forward(frames, spectrograms)                           -> v (B, dim), a (B, dim), logits (B, B)
"""

from models.avenet import AVENet
from utils.errors import UserError

MODELS = {"AVENet": AVENet}


def build(config):
    """The net that a `configs.schema.Model` describes, with fresh weights.

    Raises:
        UserError: there is no net of that name.
    """
    if config.name not in MODELS:
        raise UserError(f"there is no net {config.name!r}: model.name must be one of {', '.join(MODELS)}")
    return MODELS[config.name](config.width, config.dim, config.dropout)
