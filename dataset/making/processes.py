"""Map a function over clips in several processes, and survive a decoder that crashes."""

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, TypeVar

from utils.child_processes import end_with_parent

Job = TypeVar("Job", bound=tuple)
Result = TypeVar("Result")


def map_in_processes(
    function: Callable[..., Result], jobs: Iterable[Job], workers: int, chunk_size: int = 1
) -> Iterator[tuple[Job, Result | None]]:
    """Call function(*job) for each job in a pool of processes, in any order.

    Args:
        function: can be pickled. Its exceptions are raised here and end the iteration.
        jobs: tuples of arguments, which can be pickled.
        workers: number of processes.
        chunk_size: jobs that are sent to a process at a time; more than 1 keeps processes busy where a job is short.

    Yields:
        (job, result) when it is done. The result is None if its process was killed, by a crash in a decoder or
        by the system when memory ran out.
    """
    jobs = list(jobs)
    chunks = deque(jobs[k : k + chunk_size] for k in range(0, len(jobs), chunk_size))
    while chunks:
        running: dict[Future, list[Job]] = {}
        with _start_pool(workers) as pool:
            try:
                while chunks or running:
                    while chunks and len(running) < 2 * workers:
                        chunk = chunks.popleft()
                        running[pool.submit(_call_each, function, chunk)] = chunk
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        results = future.result()
                        yield from zip(running.pop(future), results, strict=True)
            except BrokenProcessPool:
                pass
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        # One of the jobs that were running killed its process: repeat each of them in a process of its own.
        for job in (job for chunk in running.values() for job in chunk):
            yield job, _call_alone(function, job)


def _call_each(function: Callable[..., Result], jobs: list[Job]) -> list[Result]:
    return [function(*job) for job in jobs]


def _call_alone(function: Callable[..., Result], job: tuple) -> Result | None:
    with _start_pool(1) as pool:
        try:
            return pool.submit(function, *job).result()
        except BrokenProcessPool:
            return None


def _start_pool(workers: int) -> ProcessPoolExecutor:
    # Spawned processes: a decoder's state and locks don't survive a fork. Ctrl-C reaches every process of the
    # terminal, and so does the end of the terminal: these inherit that they are ignored and leave them to their parent.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), end_with_parent)
    usual: dict[int, Any] = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGHUP)}
    try:
        pool.submit(int)  # starts them
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
    return pool
