"""Map a function over clips in several processes that survive a crash of the decoder."""

import os
import signal
import threading
from collections import deque
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process


def map_in_processes(function, jobs, workers, together=1):
    """Call function(*job) for each job on several processes: yields (job, result) as they are done.

    A job that takes its process down with it, as a decoder that crashes does, has the result None.

    Args:
        together: jobs that a process is given at a time; where one is short, more keep the processes busy.
    """
    jobs = list(jobs)
    left = deque(jobs[k : k + together] for k in range(0, len(jobs), together))
    while left:
        running = {}
        with _start_pool(workers) as pool:
            try:
                while left or running:
                    while left and len(running) < 2 * workers:
                        some = left.popleft()
                        running[pool.submit(_call_each, function, some)] = some
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        results = future.result()
                        yield from zip(running.pop(future), results, strict=True)
            except BrokenProcessPool:
                pass
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        for job in (job for some in running.values() for job in some):  # one of these was it: a process for each
            with _start_pool(1) as pool:
                try:
                    result = pool.submit(function, *job).result()
                except BrokenProcessPool:
                    result = None
            yield job, result


def _call_each(function, jobs):
    return [function(*job) for job in jobs]


def _start_pool(workers):
    # Fresh processes: a decoder's state and locks don't survive a fork. Ctrl-C reaches every process: these, which
    # inherit that it is ignored, leave it to their parent.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _exit_with_parent)
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
    pool.submit(int)  # starts them
    signal.signal(signal.SIGINT, usual)
    return pool


def _exit_with_parent():
    """Where the parent is killed by SIGKILL, nothing else would end a process that waits for work."""
    threading.Thread(target=lambda: (parent_process().join(), os._exit(1)), daemon=True).start()
