"""Parse the command line of a script: its own options, and settings by their dotted names (`--train.lr 1e-4`)."""

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import NoReturn, get_args

from configs.schema import NETS, TRAIN_SCRIPTS, Config
from utils.config import (
    DEFAULTS,
    Setting,
    check_name,
    list_settings,
    load_config,
    nearest_name,
    override,
    parse_settings,
)
from utils.errors import UserError

AddOptions = Callable[[argparse.ArgumentParser], None]


def parse_command_line(
    argv: Iterable[str] | None, description: str | None, add_options: AddOptions
) -> tuple[argparse.Namespace, dict[str, str]]:
    """Parse the command line of a script that takes its config from a checkpoint.

    Args:
        argv: words after the script's name; None: those of this process.
        description: first lines of `--help`.
        add_options: adds the script's own options to a parser.

    Returns:
        The script's own options, and the settings to override, {dotted name: text}, for `utils.config.override`.

    Raises:
        UserError: an unknown option or setting, a missing value or one of the wrong type.
    """
    parser = _Parser(description)
    add_options(parser)
    args, changes = _parse(parser, argv)
    if args.help:
        _print_help(parser, _settings_help("settings, with their defaults; a checkpoint has its own:", DEFAULTS))
    parse_settings(changes)
    return args, changes


def parse_train_command(
    argv: Iterable[str] | None, description: str | None, add_options: AddOptions, config_file: str, script: str
) -> tuple[argparse.Namespace, Config]:
    """Parse the command line of a training script, which has `--config FILE` too.

    Args:
        argv: words after the script's name; None: those of this process.
        description: first lines of `--help`.
        add_options: adds the script's own options to a parser.
        config_file: default of `--config`.
        script: the script's name, a value of `TRAIN_SCRIPTS`.

    Returns:
        The script's own options, and the `Config` of the file with the settings of the command line.

    Raises:
        UserError: as `parse_command_line` and `utils.config.load_config`; another script trains this net; or the
            command line gives a temperature to a loss that has none.
    """
    parser = _Parser(description)
    parser.add_argument("--config", default=config_file, metavar="FILE", help=f"Python config [{config_file}]")
    add_options(parser)
    args, changes = _parse(parser, argv)
    config = load_config(args.config)
    if args.help:
        own = list_settings(config)
        others = {name: setting for name, setting in DEFAULTS.items() if name not in own}
        _print_help(
            parser,
            _settings_help(f"settings of {config.model.name}:", own, mark_nets=False),
            _settings_help("settings of other nets:", others),
        )
    net = changes.get("model.name", config.model.name)
    if net in NETS and TRAIN_SCRIPTS[net] != script:
        choices = " or ".join(name for name in NETS if TRAIN_SCRIPTS[name] == script)
        raise UserError(f"{net} is trained by {TRAIN_SCRIPTS[net]}: run that script, or set --model.name {choices}")
    config = override(config, changes)
    # A config file may hold one, so that it works with every --train.loss; who gives it expects an effect.
    if "train.temperature" in changes and config.train.loss == "avc":
        raise UserError("train.temperature needs train.loss infonce or max_infonce: set one, or remove it")
    return args, config


class _Parser(argparse.ArgumentParser):
    def __init__(self, description: str | None) -> None:
        super().__init__(
            description=description, allow_abbrev=False, add_help=False, formatter_class=argparse.RawTextHelpFormatter
        )
        self.add_argument("-h", "--help", action="store_true", help="show this and exit")

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; --help lists the settings")

    def long_options(self) -> list[str]:
        """List the options that start with "--", without it."""
        return [text[2:] for action in self._actions for text in action.option_strings if text.startswith("--")]


def _parse(parser: _Parser, argv: Iterable[str] | None) -> tuple[argparse.Namespace, dict[str, str]]:
    """Separate the settings from the script's own options, and parse the options."""
    rest: list[str] = []
    changes: dict[str, str] = {}
    words = iter(sys.argv[1:] if argv is None else argv)
    # A setting's value is whatever follows its name, also if it starts with "-": only "--name" starts a new option.
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or "." not in name:
            rest.append(word)
            continue
        check_name(name)
        given = value if equals else next(words, None)
        if given is None or (given.startswith("--") and not equals):
            raise UserError(f"--{name} needs a value after it")
        changes[name] = given
    args, unknown = parser.parse_known_args(rest)
    if unknown and not unknown[0].startswith("--"):
        raise UserError(f"{unknown[0]!r} belongs to no option before it; --help lists the settings")
    if unknown:
        near = nearest_name(unknown[0].partition("=")[0].lstrip("-"), [*DEFAULTS, *parser.long_options()])
        raise UserError(f"there is no option {unknown[0]!r}; the nearest is '--{near}', and --help lists them all")
    return args, changes


def add_resume_option(parser: argparse.ArgumentParser) -> None:
    """Add `--resume` to the `parser` of a training script."""
    parser.add_argument("--resume", action="store_true", help="resume the run in train.run_dir")


def _settings_help(title: str, settings: Mapping[str, Setting], mark_nets: bool = True) -> str:
    """Describe settings with their values, and the nets that read them unless all do, under a title."""
    lines = [title]
    for name, setting in settings.items():
        choices = get_args(setting.kind)
        label = "|".join(choices) if choices else setting.kind.__name__
        nets = f" ({', '.join(setting.nets)})" if mark_nets and setting.nets != NETS else ""
        lines += [f"  --{name} {label} [{setting.value}]", f"        {setting.doc}{nets}"]
    return "\n".join(lines) + "\n"


def _print_help(parser: _Parser, *sections: str) -> NoReturn:
    print("\n".join([parser.format_help(), *sections]))
    raise SystemExit(0)
