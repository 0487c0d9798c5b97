"""Checkpoints: plain dicts of tensors and numbers, written whole or not at all, loaded without running code."""

import io
import os
import pickle
import warnings
from pathlib import Path

import torch

from utils.errors import UserError

FORMAT = 1


def save(path, content):
    """Write a checkpoint: to a temporary file, flushed to disk, renamed. A reader never sees half of one.

    Args:
        path: where it goes; an older one is replaced.
        content: dict of tensors, numbers, strings and dicts or lists of them.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    packed = io.BytesIO()  # packed in memory first: on a full disk torch's own writer hides the system's error
    torch.save({"format": FORMAT, **content}, packed)
    try:
        with open(temporary, "wb") as file:
            file.write(packed.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"checkpoint {path} can't be written ({error.strerror}): free some disk space") from error
    finally:
        temporary.unlink(missing_ok=True)


def load(path, device="cpu"):
    """Read a checkpoint of `save`. A pickle that holds anything but plain data is refused and not run.

    Returns:
        the dict that was saved.

    Raises:
        UserError: no such file, a damaged or foreign one, or one that holds code.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}; training writes best.pt and last.pt into its run directory")
    try:
        with warnings.catch_warnings():  # of a foreign pickle's protocol; what follows says enough
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights" in str(error).lower() and "GLOBAL" in str(error):
            raise UserError(
                f"checkpoint {path} holds code, not plain data, and was not loaded: use one that this project wrote"
            ) from None
        raise UserError(f"checkpoint {path} is damaged or no checkpoint: use another one") from None
    except Exception as error:  # damage shows in many ways, down to IndexError
        raise UserError(
            f"checkpoint {path} is damaged or no checkpoint ({type(error).__name__}): use another one"
        ) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"checkpoint {path} was not written by this project: it lacks format {FORMAT}")
    return content


def load_weights(model, weights, path):
    """Load all of a net's weights, or say which don't fit. Those that only training needs may be too many.

    Raises:
        UserError: the checkpoint is of another net or another width.
    """
    own, aside = model.state_dict(), getattr(model, "training_only_prefix", ())
    weights = {name: value for name, value in weights.items() if name in own or not name.startswith(aside)}
    wrong = [name for name in own if name not in weights or weights[name].shape != own[name].shape]
    wrong += [name for name in weights if name not in own]
    if wrong:
        raise UserError(
            f"checkpoint {path} is of another net: {len(wrong)} weights don't fit {type(model).__name__}, the first is "
            f"{wrong[0]}; set model.name and model.width as they were in its run"
        )
    model.load_state_dict(weights)


def init_from(model, path):
    """Start from another net's weights where names and shapes match (`--model.init_from`).

    The net may know the weights under other names: `model.remap_state_dict`.

    Returns:
        list of the names that were taken.

    Raises:
        UserError: nothing matches.
    """
    own, other = model.state_dict(), model.remap_state_dict(evaluated_weights(load(path)))
    taken = {name: value for name, value in other.items() if name in own and own[name].shape == value.shape}
    if not taken:
        raise UserError(f"no weight of checkpoint {path} fits {type(model).__name__}: check model.name and model.width")
    own.update(taken)
    model.load_state_dict(own)
    return sorted(taken)


def evaluated_weights(content):
    """The weights that a checkpoint is evaluated with: the running average where there is one."""
    return content.get("ema") or content["model"]
