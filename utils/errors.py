"""The exception for users' mistakes, and how scripts report it.

Imports the standard library only, so every room may use it.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """A mistake in a setting, a file or a dataset, which the user can fix.

    The message is one sentence that names the file or the setting, says what is wrong and what to do. Scripts print it
    without a traceback and exit with code 2.
    """


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Exit with code 2 and one sentence on a `UserError`, with code 130 on Ctrl-C, silently if the output is closed."""
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # such as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python fails when it flushes the buffer
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
