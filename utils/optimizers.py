"""Learning-rate schedules, optimizers, and the running average of the weights."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from configs.schema import Config, Train
from utils.errors import UserError
from utils.files import StrPath
from utils.muon import Muon
from utils.tensors import tensor_problem

# {optimizer: names of what it keeps for each weight}
STATE_NAMES: dict[type[torch.optim.Optimizer], set[str]] = {
    torch.optim.Adam: {"step", "exp_avg", "exp_avg_sq"}, torch.optim.SGD: {"momentum_buffer"}, Muon: {"momentum"},
}  # fmt: skip


def learning_rate(train: Train, progress: float) -> float:
    """Compute the learning rate at a point of the run.

    step: x0.94 every 16 epochs (OtS sec. 3.3). multistep: x0.1 at 40% and at 80% of the run (SoP: at epochs 40 and 80
    of 100). cosine: half a cosine to 0. All after a linear warm-up.

    Args:
        train: settings train.lr, .schedule, .warmup and .epochs.
        progress: fraction of the run that is done, 0..1.
    """
    if progress < train.warmup:
        return train.lr * max(progress / train.warmup, 1e-3)
    if train.schedule == "cosine":
        return train.lr * (1 + math.cos(math.pi * min((progress - train.warmup) / (1 - train.warmup), 1))) / 2
    if train.schedule == "multistep":
        return train.lr * 0.1 ** sum(progress >= milestone for milestone in (0.4, 0.8))
    return train.lr * 0.94 ** int(progress * train.epochs / 16)


def uses_muon(config: Config) -> bool:
    """Decide whether Muon trains the convolutions of the net that a `config` describes.

    With train.optimizer "auto" it does if they start from scratch; its large steps would undo pretrained weights.
    """
    train = config.train
    return train.optimizer == "muon" or (train.optimizer == "auto" and not config.model.init_from)


def build_optimizers(
    config: Config, param_groups: list[dict[str, Any]], device: torch.device
) -> list[torch.optim.Optimizer]:
    """Build the optimizers of a run: Adam (OtS sec. 3.3), SGD (SoP), or Muon for convolutions and Adam for the rest.

    Args:
        config: settings train.optimizer, .lr and so on.
        param_groups: dicts with "params" and "lr_scale", a multiplier of train.lr; "pretrained" where Muon must not
            train them.
        device: of the weights.

    Returns:
        optimizers, whose groups keep their "lr_scale".
    """
    train, fused = config.train, device.type in ("cuda", "cpu")
    if train.optimizer == "sgd":
        return [torch.optim.SGD(param_groups, train.lr, train.momentum, weight_decay=train.weight_decay, fused=fused)]
    convolutions = []
    if uses_muon(config):
        others = []
        for group in param_groups:
            params = [] if group.get("pretrained") else [p for p in group["params"] if p.ndim > 3]
            if params:
                convolutions.append({**group, "params": params, "lr_scale": group["lr_scale"] * train.lr_muon})
            chosen = set(params)
            others.append({**group, "params": [p for p in group["params"] if p not in chosen]})
        param_groups = others
    adam = torch.optim.Adam(param_groups, lr=train.lr, weight_decay=train.weight_decay, fused=fused)
    return [adam, Muon(convolutions)] if convolutions else [adam]


def restore_optimizers(optimizers: list[torch.optim.Optimizer], states: list[dict[str, Any]], path: StrPath) -> None:
    """Load the state of a run's optimizers. Rates and decays stay those of the settings.

    Args:
        optimizers: of `build_optimizers`.
        states: what their `state_dict` returned, of a checkpoint.
        path: of the checkpoint, for messages.

    Raises:
        UserError: the states are damaged, or of another net.
    """
    if len(states) != len(optimizers):
        raise UserError(f"checkpoint {path} is damaged: it has {len(states)} optimizers, not {len(optimizers)}")
    for optimizer, stored in zip(optimizers, states, strict=True):
        own, state = optimizer.state_dict()["param_groups"], stored.get("state")
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        if not isinstance(state, dict) or not all(
            type(index) is int and 0 <= index < len(weights) and _is_state(optimizer, weights[index], values)
            for index, values in state.items()
        ):
            raise UserError(
                f"checkpoint {path} is damaged: the state of its optimizer {type(optimizer).__name__} doesn't fit the "
                "net; start another run from it with --model.init_from"
            )
        optimizer.load_state_dict({"state": state, "param_groups": own})


def _is_state(optimizer: torch.optim.Optimizer, weight: Tensor, values: Any) -> bool:
    """Whether an optimizer can have these `values` as its state of a weight."""
    if not isinstance(values, dict) or values.keys() != STATE_NAMES[type(optimizer)]:
        return False
    return all(
        (value is None and name == "momentum_buffer")
        or (
            not tensor_problem(value)
            and value.shape == (torch.Size() if name == "step" else weight.shape)
            and bool(torch.isfinite(value).all())
        )
        for name, value in values.items()
    )


class EmaPairs(NamedTuple):
    """Weights and batch norm statistics of a net, each beside its moving average; see `pair_with_average`.

    Attributes:
        floats: (averages, the net's own), as many of both.
        counts: the same of integers, counts of batches.
    """

    floats: tuple[list[Tensor], list[Tensor]]
    counts: tuple[list[Tensor], list[Tensor]]


def pair_with_average(ema_model: nn.Module, model: nn.Module) -> EmaPairs:
    """List what changes in training, of a net and of the copy that holds its moving average.

    Args:
        ema_model: the copy.
        model: the net that is trained. A part that it never changes, a frozen encoder in evaluation mode, is left out.
    """
    fixed = []
    for name in getattr(model, "fixed_statistics", ()):
        if not any(weight.requires_grad for weight in model.get_submodule(name).parameters()):
            fixed.append(f"{name}.")
    own = model.state_dict()
    found: dict[bool, tuple[list[Tensor], list[Tensor]]] = {True: ([], []), False: ([], [])}
    for name, average in ema_model.state_dict().items():
        if not name.startswith(tuple(fixed)):
            averages, values = found[average.is_floating_point()]
            averages.append(average)
            values.append(own[name])
    return EmaPairs(found[True], found[False])


def update_ema(pairs: EmaPairs, decay: float) -> None:
    """Update the exponential moving average of weights and batch norm statistics, in place.

    Args:
        pairs: of `pair_with_average`. Averages move a step of 1 - decay towards the net; counts of batches are copied.
        decay: in 0..1.
    """
    if pairs.floats[0]:
        torch._foreach_lerp_(*pairs.floats, 1 - decay)
    if pairs.counts[0]:
        torch._foreach_copy_(*pairs.counts)
