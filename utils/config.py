"""Load a config file, override settings by their dotted names, and turn a `Config` into plain data and back."""

import dataclasses
import difflib
import importlib.util
import math
import numbers
import traceback
import typing
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from configs.renames import (
    CONFIG_VERSION,
    OLD_NETS,
    RENAMED_VALUES,
    add_missing,
    new_names,
    removed_value,
    rename_settings,
)
from configs.rules import config_errors
from configs.schema import NETS, Config
from utils.errors import UserError
from utils.files import regular_size

Value = bool | int | float | str
MAX_CONFIG_FILE = 1_000_000  # bytes; a larger one is something else


class Setting(NamedTuple):
    """A setting of a config."""

    value: Value
    kind: Any  # the declared type: bool, int, float, str or a Literal of strings
    doc: str
    nets: tuple[str, ...]  # that read it


class ChangedSetting(NamedTuple):
    """A setting that differs from its default."""

    name: str
    value: Value
    default: Value
    doc: str


# -------------------------------------------------------------------------------------------------------- listing


def all_settings(config: Config) -> dict[str, Setting]:
    """List every setting of a `config` by its dotted name, also those that its net doesn't read."""
    settings = {}
    for section in dataclasses.fields(config):
        values = getattr(config, section.name)
        for field in dataclasses.fields(values):
            setting = Setting(getattr(values, field.name), field.type, field.metadata["doc"], field.metadata["nets"])
            settings[f"{section.name}.{field.name}"] = setting
    return settings


def list_settings(config: Config) -> dict[str, Setting]:
    """List the settings of a `config` that its net reads, by their dotted names."""
    return {name: setting for name, setting in all_settings(config).items() if config.model.name in setting.nets}


def changed_settings(config: Config) -> list[ChangedSetting]:
    """List the settings of a `config` that its net reads and that differ from their defaults."""
    return [
        ChangedSetting(name, setting.value, DEFAULTS[name].value, setting.doc)
        for name, setting in list_settings(config).items()
        if setting.value != DEFAULTS[name].value
    ]


DEFAULTS = all_settings(Config())

# ------------------------------------------------------------------------------------------------------- override


def override(config: Config, changes: Mapping[str, Any]) -> Config:
    """Change settings by their dotted names.

    Args:
        config: the settings to start from.
        changes: {dotted name: value}; a value is of the setting's type, or text that is parsed as that type.

    Returns:
        A new, validated `Config`.

    Raises:
        UserError: an unknown name, a value of the wrong type or out of its range, a setting that the net doesn't read.
    """
    config = _replace(config, parse_settings(changes))
    _validate(config, changes)
    return config


def parse_settings(changes: Mapping[str, Any]) -> dict[str, Value]:
    """Check the names of settings, and check or parse their values as the declared types.

    Args:
        changes: {dotted name: value or its text}.

    Returns:
        {dotted name: value}.

    Raises:
        UserError: an unknown name (with the most similar one, or the new one), or a value of the wrong type.
    """
    for name in changes:
        check_name(name)
    return {name: _parse_value(name, value, DEFAULTS[name].kind) for name, value in changes.items()}


def check_name(name: str) -> None:
    """Raise a `UserError` if no setting has this dotted `name`, with its new or the most similar name."""
    new = new_names(name)
    if new:
        choices = new if len(new) == 1 else [f"{one} ({_join(DEFAULTS[one].nets)})" for one in new]
        raise UserError(f"{name} was renamed to {' or '.join(choices)}")
    if name not in DEFAULTS:
        raise UserError(
            f"there is no setting {_brief(name)}; the nearest is {nearest_name(name, DEFAULTS)!r}, and --help lists "
            "them all"
        )


def nearest_name(name: str, known: Iterable[str]) -> str:
    """Find the most similar of the `known` dotted names to `name`, which may lack its section."""
    names = list(known)
    full = {one.partition(".")[2] or one: one for one in reversed(names)} | {one: one for one in names}
    return full[difflib.get_close_matches(name[:100], full, n=1, cutoff=0)[0]]


def _replace(config: Config, values: Mapping[str, Value]) -> Config:
    sections: dict[str, Any] = {
        section: dataclasses.replace(getattr(config, section), **keys) for section, keys in _by_section(values).items()
    }
    return dataclasses.replace(config, **sections)


def _by_section(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Convert {section.name: value} to {section: {name: value}}."""
    sections: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        section, key = name.split(".")
        sections.setdefault(section, {})[key] = value
    return sections


def _validate(config: Config, given: Collection[str]) -> None:
    """Raise a `UserError` with everything that is wrong: first of all, settings of other nets, `given` or changed."""
    mistakes = _foreign_errors(config, given) or config_errors(config)
    if mistakes:
        raise UserError("; ".join(mistakes))


def _foreign_errors(config: Config, given: Collection[str]) -> list[str]:
    """List settings that the net doesn't read, if `given` or not the default; one sentence for each group of nets."""
    net = config.model.name
    foreign: dict[tuple[str, ...], list[str]] = {}
    for name, setting in all_settings(config).items():
        if net not in setting.nets and (name in given or setting.value != DEFAULTS[name].value):
            foreign.setdefault(setting.nets, []).append(name)
    errors = []
    for nets, names in foreign.items():
        are, them = ("is a setting", "it") if len(names) == 1 else ("are settings", "them")
        other = nets[0] if len(nets) == 1 else "to another net"
        errors.append(
            f"{_join(names)} {are} of {_join(nets)}, not of {net}: remove {them}, or set --model.name {other}"
        )
    return errors


def _join(names: Collection[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _parse_value(name: str, value: Any, kind: Any) -> Value:
    """Check or parse a `value` as `kind`: bool, int, float, str or a Literal of strings."""
    if typing.get_origin(kind) is typing.Literal:
        if isinstance(value, str) and value in typing.get_args(kind):
            return value
        new = RENAMED_VALUES.get((name, value)) if isinstance(value, str) else None
        hint = f"; {value!r} was renamed to {new!r}" if new else ""
        raise UserError(f"{name} is {_brief(value)}, but must be one of {', '.join(typing.get_args(kind))}{hint}")
    if kind is bool and isinstance(value, str) and value.lower() in ("true", "false", "1", "0", "yes", "no"):
        return value.lower() in ("true", "1", "yes")
    if kind in (int, float) and isinstance(value, (str, numbers.Real)) and not isinstance(value, bool):
        try:
            number = kind(value)
            if (kind is int or math.isfinite(number)) and (isinstance(value, str) or number == value):
                return number
        except (ValueError, OverflowError):
            pass
    if kind in (str, bool) and type(value) is kind:
        return value
    wanted = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[kind]
    raise UserError(f"{name} is {_brief(value)}, but must be {wanted}")


def _brief(value: Any) -> str:
    """Show a value in a message: on one line, cut where it is long."""
    try:
        text = " ".join(repr(value).split())
    except (
        Exception
    ) as error:  # a number of more digits than Python prints; an object of a config file may raise anything
        return f"a value that can't be shown ({type(error).__name__})"
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"


# ---------------------------------------------------------------------------------------------------------- files


def load_config(path: str | Path) -> Config:
    """Load the `Config` that a config file builds under the name `config`.

    Args:
        path: a Python file.

    Raises:
        UserError: no such file, an error in it, no `config` in it, or settings that are wrong.
    """
    path = Path(path)
    try:
        size = regular_size(path)
    except OSError as error:
        reason = "" if isinstance(error, FileNotFoundError) else f" ({error.strerror})"
        raise UserError(f"there is no config file {path}; the shipped ones are in configs/{reason}") from None
    spec = importlib.util.spec_from_file_location(f"config_file_{path.stem}", path)
    if spec is None or spec.loader is None or size > MAX_CONFIG_FILE:
        raise UserError(f"config file {path} must be a Python file, NAME.py, of at most {MAX_CONFIG_FILE // 1000} KB")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the file is the user's, and may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"config file {path} fails with {reason}{_error_line(error, path)}") from error
    config = getattr(module, "config", None)
    if not isinstance(config, Config):
        raise UserError(f"config file {path} must set `config` to a configs.schema.Config")
    for section in dataclasses.fields(Config):
        if type(getattr(config, section.name)) is not type(section.default):
            value = _brief(getattr(config, section.name))
            raise UserError(
                f"config file {path}: {section.name} is {value}, but must be {type(section.default).__name__}(...)"
            )
    values = {name: setting.value for name, setting in all_settings(config).items()}
    try:
        config = _replace(config, parse_settings(values))  # an int where a float is declared becomes one
        _validate(config, given=())
    except UserError as error:
        raise UserError(f"config file {path}: {error}") from None
    return config


def _error_line(error: BaseException, path: Path) -> str:
    """Say in which line of the file `path` an error was raised, " (line N)"; nothing if it was elsewhere."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f" (line {lines[-1]})" if lines else ""


# -------------------------------------------------------------------------------------------------------- storage


def to_dict(config: Config) -> dict[str, dict[str, Value]]:
    """Convert a `config` to {section: {name: value}}, as a run and a checkpoint store it: only what its net reads."""
    return _by_section({name: setting.value for name, setting in list_settings(config).items()})


def from_dict(stored: Any, source: str | Path = "the stored config", version: int = CONFIG_VERSION) -> Config:
    """Build a validated `Config` from what `to_dict` of this or an older version returned.

    Renamed settings get their new names, missing ones what that version did or their defaults. Settings that the net
    doesn't read, which version 1 stored too, are left out.

    Args:
        stored: {section: {name: value}}.
        source: the file that holds it, for error messages.
        version: `CONFIG_VERSION` of the code that wrote it.

    Raises:
        UserError: an unknown setting, or a value of the wrong type or out of its range.
    """
    if not isinstance(stored, dict) or not all(isinstance(section, dict) for section in stored.values()):
        raise UserError(f"{source} holds no stored config, a table of sections: use a file that this project wrote")
    values = {f"{section}.{key}": value for section, keys in stored.items() for key, value in keys.items()}
    net = values.get("model.name", Config().model.name)
    values = add_missing(translate_stored(values, net), net, version)
    unknown = [name for name in values if name not in DEFAULTS]
    if unknown:
        raise UserError(
            f"{source} was written with config version {version}, and this code, of config version {CONFIG_VERSION}, "
            f"has no setting {_brief(unknown[0])}: use the code that wrote the file, or add the new name of the "
            "setting to configs/renames.py"
        )
    if removed := removed_value(values):
        raise UserError(f"{source} holds {removed}: train it again, or use the code that wrote the file")
    try:
        return override(Config(), values)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None


def old_frame_net(config: Config, source: str | Path) -> str:
    """Say that a net has the ResNet-18 of config version 3 and older.

    Args:
        config: its settings.
        source: the checkpoint that holds it.

    Returns:
        one sentence; "" if it has another frame net.
    """
    if config.model.encoder != "resnet18_v3":
        return ""
    return (
        f"{source} has the frame net of config version 3 and older (model.vision resnet18_v3): its ResNet-18 is "
        "dilated in one convolution more than the published one"
    )


def translate_stored(values: Mapping[str, Any], net: str) -> dict[str, Any]:
    """Translate stored settings, maybe of an older version: give their new names, drop those the net doesn't read.

    Args:
        values: {dotted name: value}.
        net: name of the net.

    Returns:
        {dotted name: value}; names that nobody knows stay as they are.
    """
    values = {name: value for name, value in values.items() if net in OLD_NETS.get(name, (net,))}
    return {
        name: value
        for name, value in rename_settings(values).items()
        if name not in DEFAULTS or net in DEFAULTS[name].nets or net not in NETS
    }
