"""matplotlib for files alone. It is imported when something is drawn: it takes a second, and `--help` needs none."""

import os
from types import ModuleType


def load_matplotlib() -> ModuleType:
    """Import matplotlib and its figures, whatever backend is set: one of a notebook can't be imported elsewhere."""
    os.environ["MPLBACKEND"] = "agg"
    import matplotlib.figure

    return matplotlib
