"""Load a config file, apply command-line overrides, and turn a `Config` into plain data and back."""

import argparse
import dataclasses
import difflib
import importlib.util
import math
import typing
from pathlib import Path

from configs.rules import config_errors
from configs.schema import Config
from utils.errors import UserError


def list_settings(config):
    """Every setting of a config as {dotted name: (value, type, documentation)}."""
    found = {}
    for section in dataclasses.fields(config):
        values = getattr(config, section.name)
        for field in dataclasses.fields(values):
            name = f"{section.name}.{field.name}"
            found[name] = (getattr(values, field.name), field.type, field.metadata["doc"])
    return found


def changed_settings(config):
    """The settings that differ from the defaults: list of (dotted name, value, default, documentation)."""
    default, found = list_settings(Config()), list_settings(config)
    return [(n, value, default[n][0], doc) for n, (value, _, doc) in found.items() if value != default[n][0]]


def to_dict(config):
    """A `Config` as nested dicts of plain numbers and strings, as it is stored in a run and in a checkpoint."""
    return dataclasses.asdict(config)


def from_dict(plain):
    """Build a validated `Config` from `to_dict`'s form; a missing setting takes its default.

    Raises:
        UserError: an unknown setting, a wrong type or a value out of its range.
    """
    if not isinstance(plain, dict) or not all(isinstance(section, dict) for section in plain.values()):
        raise UserError("the stored config is not a table of sections; the file was not written by this project")
    return override(
        Config(), {f"{section}.{key}": value for section, keys in plain.items() for key, value in keys.items()}
    )


def override(config, changes):
    """Change settings by their dotted names.

    Args:
        config: a `Config`.
        changes: {dotted name: value}; a value is of the setting's type, or text that is parsed as that type.

    Returns:
        A new, validated `Config`.

    Raises:
        UserError: an unknown name (with the nearest right one), a wrong type or a value out of its range.
    """
    known = list_settings(config)
    sections = {}
    for name, value in changes.items():
        if name not in known:
            raise UserError(
                f"there is no setting {name!r}; the nearest is {_nearest(name, known)!r}, and --help lists them all"
            )
        section, key = name.split(".")
        sections.setdefault(section, {})[key] = _typed(name, value, known[name][1])
    for section, values in sections.items():
        config = dataclasses.replace(config, **{section: dataclasses.replace(getattr(config, section), **values)})
    mistakes = config_errors(config)
    if mistakes:
        raise UserError("; ".join(mistakes))
    return config


def _nearest(name, known):
    """The known name that is most like `name`, which may lack its section."""
    whole = {full.partition(".")[2] or full: full for full in reversed(list(known))} | {full: full for full in known}
    return whole[difflib.get_close_matches(name, whole, n=1, cutoff=0)[0]]


def _typed(name, value, kind):
    """`value`, checked or parsed as `kind` (bool, int, float, str or a Literal of strings)."""
    if typing.get_origin(kind) is typing.Literal:
        if value not in typing.get_args(kind):
            raise UserError(f"{name} is {value!r}, but must be one of {', '.join(typing.get_args(kind))}")
        return value
    if kind is bool and isinstance(value, str) and value.lower() in ("true", "false", "1", "0", "yes", "no"):
        return value.lower() in ("true", "1", "yes")
    if kind in (int, float) and not isinstance(value, bool):
        try:
            number = kind(value)
            if math.isfinite(number) and (isinstance(value, str) or number == value):
                return number
        except (TypeError, ValueError, OverflowError):
            pass
    if kind in (str, bool) and type(value) is kind:
        return value
    wanted = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[kind]
    raise UserError(f"{name} is {value!r}, but must be {wanted}")


def load_config(path):
    """The `Config` that a config file builds under the name `config`.

    Raises:
        UserError: no such file, an error in it, or no `config` in it.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no config file {path}; the shipped ones are in configs/")
    spec = importlib.util.spec_from_file_location(f"config_file_{path.stem}", path)
    if spec is None:
        raise UserError(f"config file {path} must be a Python file, NAME.py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's own file raises is the user's to mend
        raise UserError(f"config file {path} fails with {type(error).__name__}: {error}") from error
    config = getattr(module, "config", None)
    if not isinstance(config, Config):
        raise UserError(f"config file {path} must set `config` to a configs.schema.Config")
    return from_dict(to_dict(config))


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UserError(f"{message}; --help lists the settings")


def parse_command_line(argv, description, options, config_file=None):
    """Read a script's command line: its own options, and overrides of settings by their dotted names.

    Args:
        argv: list of str, the words after the script's name.
        description: first lines of `--help`.
        options: callable that adds the script's own options to an argparse parser.
        config_file: default of `--config`; None for a script that takes its config from a checkpoint.

    Returns:
        (namespace, config, changes): the script's own options; the `Config` of the file with the overrides
        (None without a config file); the overrides as {dotted name: text}.

    Raises:
        UserError: an unknown option or setting, a value missing or of the wrong type.
    """
    parser = _Parser(
        description=description, allow_abbrev=False, add_help=False, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("-h", "--help", action="store_true", help="show this and exit")
    if config_file:
        parser.add_argument("--config", default=config_file, metavar="FILE", help=f"Python config [{config_file}]")
    options(parser)
    # A setting's value is whatever follows its name, also if it starts with "-": only "--name" starts a new option.
    known, rest, changes = list_settings(Config()), [], {}
    words = iter(argv)
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and "." in name:
            if name not in known:
                override(Config(), {name: ""})  # raises with the nearest right name
            value = value if equals else next(words, None)
            if value is None or (value.startswith("--") and not equals):
                raise UserError(f"--{name} needs a value after it")
            changes[name] = value
        else:
            rest.append(word)
    args, strange = parser.parse_known_args(rest)
    if strange and not strange[0].startswith("--"):
        raise UserError(f"{strange[0]!r} belongs to no option before it; --help lists the settings")
    if strange:
        own = [text[2:] for action in parser._actions for text in action.option_strings if text.startswith("--")]
        near = _nearest(strange[0].partition("=")[0].lstrip("-"), [*known, *own])
        raise UserError(f"there is no option {strange[0]!r}; the nearest is '--{near}', and --help lists them all")
    if args.help:
        print(parser.format_help() + _settings_help(load_config(args.config) if config_file else Config()))
        raise SystemExit(0)
    config = override(load_config(args.config), changes) if config_file else None
    if not config_file:
        for name, value in changes.items():
            _typed(name, value, known[name][1])
    return args, config, changes


def _settings_help(config):
    """The settings with their values and documentation, one line or two each."""
    lines = ["\nsettings:"]
    for name, (value, kind, doc) in list_settings(config).items():
        choice = typing.get_args(kind)
        label = "|".join(choice) if choice else kind.__name__
        lines.append(f"  --{name} {label} [{value}]\n        {doc}")
    return "\n".join(lines)
