"""Imported by each script before all else: if memory is too short for the libraries, one sentence says so."""

import resource
import sys
from pathlib import Path
from types import TracebackType

from utils.system_errors import TYPES, describe_machine_error

# Address space that Python takes with all libraries and a few threads, bytes: of a script in data/, of one with torch.
LIBRARIES, LIBRARIES_WITH_TORCH = 0.7e9, 4.2e9


def refuse_low_limit() -> None:
    """Exit if the address space is limited to less than the libraries take: OpenBLAS would wait for more for ever."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    needed = LIBRARIES if Path(sys.argv[0]).resolve().parent.name == "data" else LIBRARIES_WITH_TORCH
    if "torch" not in sys.modules and limit != resource.RLIM_INFINITY and limit < needed:
        print(
            f"error: the limit of the address space, {limit / 1e9:.1f} GB, is too low for the libraries: raise it with "
            f"`ulimit -v {needed / 1024:.0f}`",
            file=sys.stderr,
        )
        sys.exit(1)


def report_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an error that nobody has caught: one of the machine in a sentence, others as Python does.

    Args:
        kind: its type.
        error: what was raised.
        trace: where.
    """
    message = describe_machine_error(error, "end other programs") if isinstance(error, TYPES) else None
    if message is None:
        sys.__excepthook__(kind, error, trace)
    else:
        print(f"error: {message}", file=sys.stderr)


sys.excepthook = report_error
refuse_low_limit()
