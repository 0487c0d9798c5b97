"""Standard streams and signals of a script, whatever it was started from.

Imports the standard library only, so every room may use it.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TextIO

STREAMS = ("stdin", "stdout", "stderr")  # of descriptors 0, 1, 2


def repair_streams() -> None:
    """Make stdin, stdout and stderr usable if they are closed or can't show every character.

    Closed ones are opened to /dev/null: else the next file that is opened, such as a checkpoint, takes the place of
    stderr, and messages of C libraries go into it. Characters that a stream can't show are escaped. What can't be
    written to stderr, such as to a terminal that is gone, is lost: nothing is left to report it to.
    """
    for number, name in enumerate(STREAMS):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r+" if number == 0 else "w", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # tests replace them
            stream.reconfigure(errors="backslashreplace")
    if not isinstance(sys.stdout, OutputStream):
        sys.stdout = OutputStream(sys.stdout)  # type: ignore[assignment]
    if not isinstance(sys.stderr, OutputStream):
        sys.stderr = OutputStream(sys.stderr, is_patient=True)  # type: ignore[assignment]


class OutputStream:
    """A text stream that remembers an error of writing, which argparse passes over.

    Args:
        stream: what is written to.
        is_patient: raise no error.

    Attributes:
        error: the first one, or None.
    """

    def __init__(self, stream: TextIO, is_patient: bool = False) -> None:
        self.error: OSError | None = None
        self._stream, self._is_patient = stream, is_patient

    def write(self, text: str) -> int:
        """Write `text`; returns its length."""
        with self._remember_error():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        with self._remember_error():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _remember_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = self.error or error
            if not self._is_patient:
                raise


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM and SIGHUP too, once, so that a script cleans up as on Ctrl-C.

    A signal that is ignored or handled otherwise stays so, such as SIGHUP below `nohup`.
    """
    raised: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        if not raised:  # both may arrive, or one twice: the cleaning goes on
            raised.append(number)
            raise KeyboardInterrupt

    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    for number in numbers:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            if signal.getsignal(number) is stop:
                signal.signal(number, signal.SIG_DFL)
