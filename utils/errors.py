"""The one exception that means "the user can mend this", and how scripts report it.

It imports the standard library only, so every room may use it.
"""

import os
import sys
from contextlib import contextmanager


class UserError(ValueError):
    """A mistake in a setting, a file or a dataset.

    The message is one sentence that names the file or the setting, says what is wrong and what to do. Scripts print
    it without a traceback and exit with code 2.
    """


@contextmanager
def exit_on_user_error():
    """Turn a `UserError` into its sentence on stderr and exit code 2, and Ctrl-C into exit code 130.

    Where the reader of our output has gone (`| head`), stop without a word.
    """
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is buffered has nowhere to go
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
