"""matplotlib for files alone. It is imported when something is drawn: it takes a second, and `--help` needs none."""

import os
import sys
import threading
from types import ModuleType

BACKEND = "MPLBACKEND"
_importing = threading.Lock()  # search.py draws in several threads


def load_matplotlib() -> ModuleType:
    """Import matplotlib and its figures, whatever backend is set: one of a notebook can't be imported elsewhere.

    The setting of the environment, which programs started later inherit, stays as it was.
    """
    with _importing:
        if "matplotlib.figure" in sys.modules:
            return sys.modules["matplotlib"]
        before = os.environ.get(BACKEND)
        os.environ[BACKEND] = "agg"
        try:
            import matplotlib.figure
        finally:
            if before is None:
                del os.environ[BACKEND]
            else:
                os.environ[BACKEND] = before
    return matplotlib
