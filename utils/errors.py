"""The exceptions for users' mistakes and for what the machine lacks, and how scripts report them.

Imports the standard library only, so every room may use it.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from utils.streams import repair_streams, stop_on_signals
from utils.system_errors import TYPES, describe_machine_error

MEMORY_ADVICE = "lower --workers or --threads"  # of scripts without batches


class UserError(ValueError):
    """A mistake in a setting, a file or a dataset, which the user can fix.

    The message is one sentence that names the file or the setting, says what is wrong and what to do. Scripts print it
    without a traceback and exit with `exit_code`.
    """

    exit_code = 2


class MachineError(UserError):
    """What the machine lacks: disk space, memory, file descriptors. It is no fault of the files that are read."""

    exit_code = 1


@contextmanager
def exit_on_user_error(memory_advice: str = MEMORY_ADVICE, gpu_advice: str = "") -> Iterator[None]:
    """Run a script; exit with one sentence on a user's mistake or an error of the machine.

    The exit code is 2 for a mistake, 1 for the machine and for output that can't be written (silently if its reader has
    closed it), 130 on Ctrl-C, SIGTERM and SIGHUP.

    Args:
        memory_advice: what makes this script take less memory: "lower --train.batch_size".
        gpu_advice: what makes it take less of a GPU's memory; "" if no setting does.
    """
    repair_streams()
    sys.unraisablehook = _ignore_machine_error(sys.unraisablehook)
    threading.excepthook = _ignore_machine_error(threading.excepthook)
    try:
        with stop_on_signals(), translate_machine_errors(memory_advice, gpu_advice):
            yield
            flush_output()
    except UserError as error:
        _exit(error.exit_code, f"error: {error}")
    except BrokenPipeError:  # such as in `| head`
        _exit(1)
    except KeyboardInterrupt:
        _exit(130, "interrupted")
    except SystemExit as error:
        try:
            flush_output()  # of --help
        except MachineError as failure:
            _exit(failure.exit_code, f"error: {failure}")
        except BrokenPipeError:
            _exit(1)
        raise error


@contextmanager
def translate_machine_errors(memory_advice: str = MEMORY_ADVICE, gpu_advice: str = "") -> Iterator[None]:
    """Raise a MachineError in the place of an error of the machine; a broken pipe passes.

    Args:
        memory_advice, gpu_advice: see `exit_on_user_error`.
    """
    try:
        yield
    except (UserError, BrokenPipeError):
        raise
    except TYPES as error:
        is_output = error is getattr(sys.stdout, "error", None)
        described = describe_machine_error(error, memory_advice, gpu_advice)
        message = _describe_output_error(error) if is_output else described
        if message is None:
            raise
        raise MachineError(message) from error


def first_line(error: BaseException, length: int = 200) -> str:
    """Shorten another library's message to one line, without a full stop, to be quoted in a sentence.

    Args:
        error: what the library has raised.
        length: at most, characters.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:length].rstrip(".")


def flush_output() -> None:
    """Write what stdout has buffered.

    Raises:
        MachineError: it can't be written.
        BrokenPipeError: its reader has closed it.
    """
    error = getattr(sys.stdout, "error", None)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as failure:
        error = failure
    if error is not None:
        raise MachineError(_describe_output_error(error)) from error


def _describe_output_error(error: BaseException) -> str:
    return f"the output can't be written ({getattr(error, 'strerror', error)}): redirect it to another place"


def _ignore_machine_error(hook: Callable[[Any], object]) -> Callable[[Any], object]:
    """Wrap a `hook` for errors that nobody can catch: where memory is short, one sentence about it is enough."""

    def report(arguments: Any) -> None:
        if not (isinstance(arguments.exc_value, TYPES) and describe_machine_error(arguments.exc_value, "")):
            hook(arguments)

    return report


def _exit(code: int, message: str = "") -> None:
    """Print a `message` and exit with a `code`; stdout is given up if it can't be written."""
    if message:
        print(message, file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:  # or Python fails when it flushes the buffer at the end
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
