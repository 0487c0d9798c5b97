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
    scaler           state of the loss's scale in fp16; {} in other precisions, missing in older versions
"""

import io
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from configs.renames import CONFIG_VERSION
from utils.errors import UserError
from utils.files import StrPath, atomic_write
from utils.tensors import check_finite, check_tensors, fits, load_tensors, tensor_problem

FORMAT = 1
MAX_STEPS = 10**12  # or seconds that a checkpoint can be from: more are damage


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
        the dict that was saved, see `check_content`.

    Raises:
        UserError: the file is missing, damaged, of another project or a newer version, or holds code.
    """
    try:
        content = load_tensors(path, "checkpoint", "use another one", device)
    except OSError as error:
        reason = "" if isinstance(error, FileNotFoundError) else f" ({error.strerror})"
        raise UserError(
            f"there is no checkpoint {path}{reason}; training writes best.pt and last.pt into its run directory"
        ) from None
    check_versions(content, path)
    return content


def check_versions(content: Any, path: StrPath) -> None:
    """Check that a file was written by this project, and by a version that this code knows.

    Args:
        content: what the file holds; of a checkpoint its "format" and "config_version" are read.
        path: of the file, for messages.

    Raises:
        UserError: it was written by something else, or a newer version.
    """
    number = content.get("format") if isinstance(content, dict) else None
    if type(number) is not int or number < FORMAT:
        raise UserError(f"checkpoint {path} was not written by this project: it lacks format {FORMAT}")
    version = content.get("config_version", 1)
    if type(version) is not int or version < 1:
        raise UserError(f"checkpoint {path} is damaged: it has no valid config_version; use another one")
    if number > FORMAT or version > CONFIG_VERSION:
        raise UserError(
            f"checkpoint {path} was written by a newer version of this repository (format {number}, config version "
            f"{version}; this code knows {FORMAT} and {CONFIG_VERSION}): update the repository"
        )


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _is_table(value: object, is_valid: Callable[[object], bool]) -> bool:
    return isinstance(value, dict) and all(isinstance(k, str) and is_valid(one) for k, one in value.items())


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_STEPS


def _is_duration(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= MAX_STEPS


def _is_scalar(value: object) -> bool:
    return not tensor_problem(value) and isinstance(value, Tensor) and value.ndim == 0


Form = Mapping[str, Callable[[Any], bool]]  # {key of a checkpoint: whether its value is what training writes}
FORM: Form = {
    "model": lambda value: isinstance(value, dict),
    "ema": lambda value: value is None or isinstance(value, dict),
    "config": lambda value: isinstance(value, dict),
    "step": _is_count,
    "metrics": lambda value: value is None or _is_table(value, _is_number),
}
RESUME_FORM: Form = {
    "metrics": lambda value: _is_table(value, _is_number),
    "optimizer": lambda value: isinstance(value, list) and all(isinstance(state, dict) for state in value),
    "seconds": _is_duration,
    "best": lambda value: _is_table(value, _is_number),
    "highest": _is_number,
    "sums": lambda value: _is_table(value, _is_scalar),
    "summed": lambda value: _is_count(value) or _is_table(value, _is_count),
    "last_validation": _is_duration,
    "scaler": lambda value: value is None or _is_table(value, _is_number),  # None: of older versions
}


def check_content(content: Mapping[str, Any], path: StrPath, form: Form = FORM) -> None:
    """Check that a checkpoint has what using it needs, each of its type; tensors are checked where they are loaded.

    Args:
        content: of `load`.
        path: of the checkpoint, for messages.
        form: what it needs: FORM to use it, RESUME_FORM to resume from it.

    Raises:
        UserError: a key is missing, or its value is of another type.
    """
    for key, is_valid in form.items():
        if not is_valid(content.get(key)):
            problem = "is not what training writes" if key in content else "is missing"
            raise UserError(f"checkpoint {path} is damaged: its {key} {problem}; use another one")


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
    weights = check_tensors(weights, f"checkpoint {path}")
    weights = {name: value for name, value in weights.items() if name in own or not name.startswith(optional)}
    wrong = [name for name in own if name not in weights or not fits(weights[name], own[name])]
    wrong += [name for name in weights if name not in own]
    if wrong:
        count = "1 weight doesn't" if len(wrong) == 1 else f"{len(wrong)} weights don't"
        origin = _origin(model, wrong[0])
        advice = f"that is a layer of {origin}: install the version of timm that the run had, or s" if origin else "s"
        raise UserError(
            f"checkpoint {path} is of another net: {count} fit {type(model).__name__}, the first is "
            f"{wrong[0][:100]}; {advice}et model.name, model.width and the encoders as in its run"
        )
    check_finite(weights, f"checkpoint {path}")
    model.load_state_dict(weights)


def _origin(model: nn.Module, name: str) -> str:
    """Say what library's net a weight's `name` belongs to, of the modules that have an "origin"; else ""."""
    modules = dict(model.named_modules())
    parts = name.split(".")
    owners = (modules.get(".".join(parts[:count])) for count in range(1, len(parts)))
    return next((str(origin) for owner in owners if (origin := getattr(owner, "origin", ""))), "")


def init_from(model: Any, path: StrPath) -> list[str]:
    """Initialize a net with another net's weights where names and shapes match (`--model.init_from`).

    Args:
        model: the net; its `remap_state_dict` translates the names of other nets.
        path: of the checkpoint; its evaluated weights are taken.

    Returns:
        the names of the weights that were taken, sorted.

    Raises:
        UserError: the checkpoint can't be loaded or is damaged, or no weight fits.
    """
    content = load(path)
    check_content(content, path)
    weights = check_tensors(evaluated_weights(content), f"checkpoint {path}")
    own, other = model.state_dict(), model.remap_state_dict(weights)
    taken = {name: value for name, value in other.items() if name in own and fits(value, own[name])}
    if not taken:
        raise UserError(f"no weight of checkpoint {path} fits {type(model).__name__}: check model.name and model.width")
    check_finite(taken, f"checkpoint {path}")
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
