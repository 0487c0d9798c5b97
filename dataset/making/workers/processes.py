"""Map a function over clips in several processes, and survive decoders that crash or hang."""

import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from math import inf
from multiprocessing.connection import wait
from typing import Any, Literal, NamedTuple, TypeVar

from dataset.making.workers.worker_process import borrow_worker, return_worker

START_LIMIT = 300.0  # of a process to start and to begin its next job, seconds

Job = TypeVar("Job", bound=tuple)
Result = TypeVar("Result")


LossKind = Literal["damaged", "time limit"]


class Lost(NamedTuple):
    """What came of a call whose process crashed, or took too long and was killed.

    Attributes:
        kind: "damaged" or "time limit".
        reason: what is wrong with what it read, for people: "takes longer than 60 s to read".
        part: what the call was working on, as it said by `begin_part`; "" if it didn't.
    """

    kind: LossKind
    reason: str
    part: str = ""


def map_in_processes(
    function: Callable[..., Result],
    jobs: Iterable[Job],
    workers: int,
    chunk_size: int = 1,
    time_limit: Callable[[Job], float] = lambda job: inf,
) -> Iterator[tuple[Job, Result | Lost]]:
    """Call function(*job) for each job in several processes, in any order.

    Args:
        function: can be pickled. Its exceptions are raised here and end the iteration.
        jobs: tuples of arguments, which can be pickled; each is asked for when a process is free for it.
        workers: number of processes.
        chunk_size: jobs that are sent to a process at a time; more than 1 keeps processes busy where a job is short.
        time_limit: of a job, seconds; a function that begins parts has a limit for each, see `begin_part`.

    Yields:
        (job, result) when it is done. The result is `Lost` if its process crashed, or was killed at the time limit.
    """
    remaining = iter(jobs)
    crews: list[_Crew] = []
    try:
        while True:
            while len(crews) < workers and (chunk := deque(islice(remaining, chunk_size))):
                crews.append(_Crew(function, chunk, time_limit))
            if not crews:
                return
            for crew in _wait_for_any(crews):
                yield from crew.advance()
                if not crew.jobs:
                    crews.remove(crew)
                    return_worker(crew.worker)
    finally:  # also when the caller stops, or is interrupted
        for crew in crews:
            crew.worker.end()


class _Crew:
    """A process and the jobs that it has to do, in their order.

    Attributes:
        worker: the process.
        jobs: of which the first is being done.
        deadline: until when, by `time.monotonic`.
    """

    def __init__(self, function: Callable[..., Any], jobs: deque[Any], time_limit: Callable[[Any], float]) -> None:
        self._function, self._time_limit = function, time_limit
        self._was_killed = False  # the process of the first job, once
        self.jobs = jobs
        self._start()

    def _start(self) -> None:
        self.worker = borrow_worker()
        self.worker.call(self._function, list(self.jobs))
        self._begin_part("", START_LIMIT)

    def _begin_part(self, name: str, seconds: float) -> None:
        self._part, self._seconds, self.deadline = name, seconds, time.monotonic() + seconds

    def advance(self) -> Iterator[tuple[Any, Any]]:
        """Take the answer that has come, or give the first job up if it is late; yield (job, result) if it ends."""
        if not self.worker.connection.poll():
            if time.monotonic() >= self.deadline:
                yield self._give_up("time limit", f"takes longer than {self._seconds:.0f} s to read")
            return
        reply = self.worker.read()
        if reply is None:
            code = self.worker.end()
            if code == -signal.SIGKILL and not self._was_killed:
                self._was_killed = True  # perhaps by the system, as memory ran out: others may have ended by now
                self._start()
            else:
                yield self._give_up("damaged", "the decoder crashes on it")
        elif reply.kind == "begin":
            self._begin_part("", self._time_limit(self.jobs[0]))
        elif reply.kind == "at":
            self._begin_part(*reply.value)
        elif reply.kind == "error":
            raise reply.value
        else:
            yield self._end_job(reply.value)

    def _give_up(self, kind: LossKind, reason: str) -> tuple[Any, Lost]:
        self.worker.end()
        ended = self._end_job(Lost(kind, reason, self._part))
        self._start()
        return ended

    def _end_job(self, result: Any) -> tuple[Any, Any]:
        job = self.jobs.popleft()
        self._was_killed = False
        self._begin_part("", START_LIMIT)
        return job, result


def _wait_for_any(crews: list[_Crew]) -> list[_Crew]:
    """Wait until a process has answered or is late: those that have or are."""
    seconds = min(crew.deadline for crew in crews) - time.monotonic()
    ready = wait([crew.worker.connection for crew in crews], None if seconds == inf else max(seconds, 0.0))
    return [crew for crew in crews if crew.worker.connection in ready or time.monotonic() >= crew.deadline]
