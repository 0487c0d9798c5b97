"""Checkpoints: dicts of tensors and plain data, written atomically, loaded without running code.

Both files of a run, last.pt (to resume) and best.pt (to use), hold:

    format          FORMAT
    model           state_dict of the net
    ema             state_dict of the running average of the weights (train.ema), or None; if there is one, it is what
                    is evaluated: `evaluated_weights`
    config          the run's settings, {section: {setting: value}}
    config_version  version of their names, see configs/renames.py
    step            updates of the weights so far
    metrics         of the last validation, {name: number}, and its step; {} before the first one

last.pt also holds what resuming needs:

    optimizer        list of state_dicts, one for each optimizer
    seconds          training time so far
    best, highest    metrics of best.pt; the highest value so far of the measure that chooses it
    sums, summed     of each training metric since the last line of the log: its sum, and the number of batches in it
    last_validation  seconds that the last validation took
"""

import io
import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from utils.errors import UserError
from utils.files import StrPath, atomic_write

FORMAT = 1


def save(path: StrPath, content: dict[str, Any]) -> None:
    """Write a checkpoint atomically, flushed to disk.

    Args:
        path: an older file is replaced.
        content: dict of tensors, numbers, strings, and dicts or lists of them.

    Raises:
        UserError: the file can't be written.
    """
    packed = io.BytesIO()  # in memory first: on a full disk torch's own writer hides the system's error
    torch.save({"format": FORMAT, **content}, packed)
    try:
        with atomic_write(path, sync=True) as file:
            file.write(packed.getbuffer())
    except OSError as error:
        raise UserError(f"checkpoint {path} can't be written ({error.strerror}): free some disk space") from error


def load(path: StrPath, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Read a checkpoint of `save`; a pickle that holds more than plain data is refused, not run.

    Args:
        path: of the file.
        device: of the tensors.

    Returns:
        the dict that was saved.

    Raises:
        UserError: the file is missing, damaged, of another project, or holds code.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}; training writes best.pt and last.pt into its run directory")
    try:
        with warnings.catch_warnings():  # about a foreign pickle's protocol: the errors below say enough
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights" in str(error).lower() and "GLOBAL" in str(error):  # torch has no other sign of it
            raise UserError(
                f"checkpoint {path} holds code, not plain data, and was not loaded: use one that this project wrote"
            ) from None
        raise UserError(f"checkpoint {path} is damaged or no checkpoint: use another one") from None
    except Exception as error:  # damage raises many types, down to IndexError
        raise UserError(
            f"checkpoint {path} is damaged or no checkpoint ({type(error).__name__}): use another one"
        ) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"checkpoint {path} was not written by this project: it lacks format {FORMAT}")
    return content


def load_weights(model: nn.Module, weights: dict[str, Tensor], path: StrPath) -> None:
    """Load all weights of a net, strictly; those with the net's `training_only_prefix` may be surplus.

    Args:
        model: the net.
        weights: {name: tensor}, of a checkpoint.
        path: of the checkpoint, for messages.

    Raises:
        UserError: the weights are of another net or another width.
    """
    own, optional = model.state_dict(), getattr(model, "training_only_prefix", ())
    weights = {name: value for name, value in weights.items() if name in own or not name.startswith(optional)}
    wrong = [name for name in own if name not in weights or weights[name].shape != own[name].shape]
    wrong += [name for name in weights if name not in own]
    if wrong:
        raise UserError(
            f"checkpoint {path} is of another net: {len(wrong)} weights don't fit {type(model).__name__}, the first is "
            f"{wrong[0]}; set model.name and model.width as in its run"
        )
    model.load_state_dict(weights)


def init_from(model: Any, path: StrPath) -> list[str]:
    """Initialize a net with another net's weights where names and shapes match (`--model.init_from`).

    Args:
        model: the net; its `remap_state_dict` translates the names of other nets.
        path: of the checkpoint; its evaluated weights are taken.

    Returns:
        the names of the weights that were taken, sorted.

    Raises:
        UserError: no weight fits.
    """
    own, other = model.state_dict(), model.remap_state_dict(evaluated_weights(load(path)))
    taken = {name: value for name, value in other.items() if name in own and own[name].shape == value.shape}
    if not taken:
        raise UserError(f"no weight of checkpoint {path} fits {type(model).__name__}: check model.name and model.width")
    own.update(taken)
    model.load_state_dict(own)
    return sorted(taken)


def describe_taken(model: nn.Module, taken: list[str], path: StrPath) -> str:
    """Say which weights of a net another net's checkpoint gave, and which it did not.

    Args:
        model: the net.
        taken: names of the weights that `init_from` took.
        path: of the checkpoint.

    Returns:
        one sentence, with the net's modules and their numbers of weights.
    """
    own = list(model.state_dict())
    left = [name for name in own if name not in set(taken)]
    sentence = f"{len(taken)} of {len(own)} weights taken from {path}: {_count_by_module(taken)}"
    if not left:
        return sentence
    return f"{sentence}; not taken, as it has none of their name and shape: {_count_by_module(left)}"


def _count_by_module(names: list[str]) -> str:
    """Count weights by the module that holds them, as "vision (36), fc1 (2)"; parts of PixelPlayer by two names."""
    counts: dict[str, int] = {}
    for name in names:
        parts = name.split(".")[:-1]
        module = ".".join(parts[: 2 if parts[:1] in (["frames"], ["match"]) else 1]) or name
        counts[module] = counts.get(module, 0) + 1
    return ", ".join(f"{module} ({count})" for module, count in counts.items())


def evaluated_weights(content: dict[str, Any]) -> dict[str, Tensor]:
    """Get the weights to evaluate from a checkpoint's `content`: the running average if there is one."""
    return content.get("ema") or content["model"]
