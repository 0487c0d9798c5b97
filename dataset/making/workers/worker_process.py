"""A process that calls functions for its parent, and can be killed: decoders are C programs that may hang or crash.

It imports only what the functions need, not the program that started it. It is in a session of its own, so that Ctrl-C
and the end of a terminal reach the parent alone, which ends it.
"""

import atexit
import contextlib
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from utils.child_processes import end_with_parent
from utils.errors import UserError

START = (
    "import sys; sys.path[:] = {path!r}; from dataset.making.workers.worker_process import serve; serve({descriptor})"
)
END_SECONDS = 1.0  # that a process has to end by itself, when it is asked to


class Reply(NamedTuple):
    """What a process answers.

    Attributes:
        kind: "begin" (of a call), "at" (it begins to work on a part), "result" (the end of the call) or "error".
        value: None, (name of the part, limit in seconds), the result, or the exception.
    """

    kind: str
    value: Any


class WorkerProcess:
    """A process that waits for calls.

    Attributes:
        connection: its end of the pipe, to wait for.
    """

    def __init__(self) -> None:
        self.connection, theirs = Pipe()
        code = START.format(path=sys.path, descriptor=theirs.fileno())
        words = [sys.executable, "-c", code]
        self._process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True
        )
        theirs.close()

    def call(self, function: Callable[..., Any], calls: list[tuple]) -> None:
        """Let it call function(*arguments) for each of `calls`, and answer each with `Reply` objects.

        Args:
            function: can be pickled.
            calls: tuples of arguments, which can be pickled.
        """
        with contextlib.suppress(OSError):  # it has crashed: the next `read` finds out
            self.connection.send((os.getcwd(), sys.path, function, calls))

    def read(self) -> Reply | None:
        """Wait for its next answer; None if it has crashed."""
        try:
            return Reply(*self.connection.recv())
        except (EOFError, OSError):
            return None

    def end(self) -> int:
        """End it, whatever it does, and return its exit code; negative: the signal that ended it."""
        self.connection.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(0.1)
        self._process.terminate()  # lets it remove temporary files
        try:
            return self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


class _Pool:
    """The idle processes of this one. They are started in a thread that lives as long as it does."""

    def __init__(self) -> None:
        self.owner, self.idle = os.getpid(), list[WorkerProcess]()
        # The system ends a process with the thread that started it, see `end_with_parent`.
        self.starter = ThreadPoolExecutor(1)

    def end(self) -> None:
        if self.owner == os.getpid():
            while self.idle:
                self.idle.pop().end()


_pool: _Pool | None = None
_pool_lock = threading.Lock()


def borrow_worker() -> WorkerProcess:
    """Take an idle process, or start one; the caller gives it back by `return_worker`, or ends it."""
    global _pool
    with _pool_lock:
        if _pool is None or _pool.owner != os.getpid():  # a fork has neither our threads nor our children
            _pool = _Pool()
            atexit.register(_pool.end)
        if _pool.idle:
            return _pool.idle.pop()
        starter = _pool.starter
    return starter.submit(WorkerProcess).result()


def return_worker(worker: WorkerProcess) -> None:
    """Give a `worker` back that has answered all calls."""
    with _pool_lock:
        assert _pool is not None
        _pool.idle.append(worker)


_answer: Connection | None = None  # in a worker: where it answers


def begin_part(name: str, seconds: float) -> None:
    """Say in a worker which part of its call it begins, so that a loss is known to be this part's.

    Args:
        name: of the part.
        seconds: its time limit.
    """
    if _answer is not None:
        _answer.send(("at", (name, seconds)))


def serve(descriptor: int) -> None:
    """Answer the calls of the parent until it closes the pipe: what the process does.

    Args:
        descriptor: of the pipe.
    """
    global _answer
    import signal

    end_with_parent()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    _answer = connection = Connection(descriptor)
    with contextlib.suppress(EOFError, OSError):
        while True:
            folder, sys.path[:], function, calls = connection.recv()
            with contextlib.suppress(OSError):
                os.chdir(folder)
            for arguments in calls:
                for reply in _replies(function, arguments):
                    connection.send(reply)
    os._exit(0)


def _replies(function: Callable[..., Any], arguments: tuple) -> Iterator[tuple[str, Any]]:
    yield "begin", None
    try:
        result = function(*arguments)
        yield "result", result
    except UserError as error:
        yield "error", error
    except Exception as error:
        error.add_note(traceback.format_exc())
        yield "error", error
