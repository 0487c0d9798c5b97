"""How the weights are moved: learning rates over a run, optimizers, and the running average of the weights."""

import math

import torch

from configs.schema import Config
from utils.muon import Muon


def learning_rate(train, progress):
    """The learning rate at a share `progress` (0..1) of the run.

    step: x0.94 every 16 epochs (OtS sec. 3.3). multistep: x0.1 at 40% and at 80% of the run (SoP: at epochs 40 and 80 of
    100). cosine: half a cosine to 0. All after a linear warm-up.
    """
    if progress < train.warmup:
        return train.lr * max(progress / train.warmup, 1e-3)
    if train.schedule == "cosine":
        return train.lr * (1 + math.cos(math.pi * min((progress - train.warmup) / (1 - train.warmup), 1))) / 2
    if train.schedule == "multistep":
        return train.lr * 0.1 ** sum(progress >= share for share in (0.4, 0.8))
    return train.lr * 0.94 ** int(progress * train.epochs / 16)


def uses_muon(config: Config) -> bool:
    """Decide whether Muon trains the convolutions of the net that a `config` describes.

    With train.optimizer "auto" it does if they start from scratch; its large steps would undo pretrained weights.
    """
    pretrained = config.model.init_from or config.model.vision_weights
    return config.train.optimizer == "muon" or (config.train.optimizer == "auto" and not pretrained)


def build_optimizers(config, groups, device):
    """The optimizers of a run: Adam (OtS sec. 3.3), SGD (SoP), or Muon for the convolutions and Adam for the rest.

    Args:
        config: a `Config`: its train, and model.init_from where train.optimizer is "auto".
        groups: dicts with "params" and "lr_scale". device: of the weights.

    Returns:
        list of optimizers, whose groups keep their "lr_scale".
    """
    train, convolutions = config.train, []
    fused = device.type in ("cuda", "cpu")
    if train.optimizer == "sgd":
        return [torch.optim.SGD(groups, train.lr, train.momentum, weight_decay=train.weight_decay, fused=fused)]
    if uses_muon(config):
        convolutions = [
            {
                **group,
                "params": [p for p in group["params"] if p.ndim > 3],
                "lr_scale": group["lr_scale"] * train.lr_muon,
            }
            for group in groups
        ]
        convolutions = [group for group in convolutions if group["params"]]
        groups = [{**group, "params": [p for p in group["params"] if p.ndim <= 3]} for group in groups]
    adam = torch.optim.Adam(groups, lr=train.lr, weight_decay=train.weight_decay, fused=fused)
    return [adam, Muon(convolutions)] if convolutions else [adam]


def update_ema(average, model, decay):
    """Move the running average of all weights and statistics a step of 1 - decay towards the model's."""
    for kept, new in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, 1 - decay)
        else:
            kept.copy_(new)
