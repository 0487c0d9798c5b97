"""A trained net out of its checkpoint, ready to be used."""

from dataclasses import dataclass

import torch

from models import build_net
from utils import checkpoint
from utils.config import from_dict, override
from utils.engine import channels_last, pick_device


@dataclass(frozen=True)
class TrainedNet:
    """A trained net: the `model` in eval mode on its `device`, the `config` of its run, its checkpoint's `content`."""

    model: torch.nn.Module
    config: object
    content: dict
    path: str

    @property
    def device(self):
        """Where the model's weights are."""
        return next(self.model.parameters()).device


def load_trained_net(path, changes=None):
    """Rebuild the net of a checkpoint from the settings that lie in it, with the weights that are evaluated.

    Args:
        path: best.pt or last.pt of a run.
        changes: {dotted name of a setting: value} that override the run's, as `utils.config.parse_command_line` gives them.

    Returns:
        a `Net`, on the GPU if there is one.

    Raises:
        UserError: no such checkpoint, a damaged one, or settings that don't fit its weights.
    """
    content = checkpoint.load(path)
    config = override(from_dict(content.get("config")), changes or {})
    model = build_net(config.model, config.data.flow_fields)
    checkpoint.load_weights(model, checkpoint.evaluated_weights(content), path)
    return TrainedNet(channels_last(model.to(pick_device())).eval(), config, content, str(path))
