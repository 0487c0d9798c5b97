"""Map a function over clips on a Ray cluster: the machines share a file system, this repository and its packages.

Each call is made in a child process of a Ray worker, as on one machine, so that a decoder that crashes or hangs costs
its clip only. If a machine dies, Ray makes its calls again on another one.
"""

import logging
import os
import pickle
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from dataset.making.workers.processes import Job, Lost, Result, map_in_processes
from utils.errors import UserError, first_line

WAIT_SECONDS = 1.0  # for a result, before the size of the cluster is asked for again: machines come and go
CONNECT_SECONDS = 10.0  # for a connection to the head of a cluster
TASKS_PER_CORE = 2  # sent to the cluster at a time: none waits for this process


class RayCluster:
    """A connection to a Ray cluster that runs already.

    Args:
        address: of its head, "HOST:PORT"; "auto" for the cluster that this machine is part of.
        workers: number of calls at a time; None: all cores of the cluster are at work.
        is_one_each: make one call at a time on each machine, whatever `workers` is.
        cores: that a call uses, or as many as the smallest machine has; in a cluster with GPUs a call uses one too.

    Raises:
        UserError: Ray is missing, or there is no such cluster.
    """

    def __init__(
        self, address: str = "auto", workers: int | None = None, is_one_each: bool = False, cores: int | None = None
    ) -> None:
        try:
            import ray
        except ImportError:
            raise UserError("--engine ray needs Ray: pip install ray, on all machines of the cluster") from None
        self._ray, self._workers, self._is_one_each = ray, workers, is_one_each
        self._cores, self._is_stopped = cores, threading.Event()
        is_main = threading.current_thread() is threading.main_thread()
        before = signal.getsignal(signal.SIGTERM)
        try:
            if address != "auto":  # Ray tries for minutes
                host, _, port = address.rpartition(":")
                socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
            ray.init(address, ignore_reinit_error=True, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError, OverflowError) as error:
            raise UserError(
                f"--engine ray can't use the cluster at --address {address} ({first_line(error)}): start one by "
                "`ray start --head`"
            ) from None
        finally:
            if is_main:  # Ray ends the process at once on SIGTERM
                signal.signal(signal.SIGTERM, before)

    def stop(self) -> None:
        """End what `map` does, from another thread: within about a second no call is made any more."""
        self._is_stopped.set()

    def map(
        self,
        function: Callable[..., Result],
        jobs: Iterable[Job],
        chunk_size: int,
        time_limit: Callable[[Job], float],
    ) -> Iterator[tuple[Job, Result | Lost]]:
        """Call function(*job) for each job.

        Args:
            function, jobs, chunk_size, time_limit: as of `clip_map.map_clips`.

        Yields:
            (job, result), as `clip_map.map_clips`.
        """
        needs = self._needs()
        options: dict[str, Any] = {"num_cpus": needs["CPU"], "num_gpus": needs.get("GPU", 0)}
        run = self._ray.remote(max_retries=-1, scheduling_strategy="SPREAD", **options)(_task())
        setting = self._ray.put((os.getcwd(), sys.path, self._pickle((function, time_limit))))
        remaining = iter(jobs)
        running: dict[Any, tuple[Job, ...]] = {}
        asked, most = -WAIT_SECONDS, 0
        try:
            while not self._is_stopped.is_set():
                if time.monotonic() >= asked + WAIT_SECONDS:
                    asked, most = time.monotonic(), self._most_tasks(needs)
                while len(running) < most and (chunk := tuple(islice(remaining, chunk_size))):
                    running[run.remote(setting, self._pickle(chunk))] = chunk
                if not running:
                    return
                for task in self._finished(list(running)):
                    results, error = _read(self._get(task))
                    yield from zip(running.pop(task), results, strict=error is None)
                    if error is not None:
                        raise error
        finally:  # also when the caller stops, or is interrupted
            for task in running:
                self._ray.cancel(task, force=True)

    def _most_tasks(self, needs: dict[str, int]) -> int:
        """Count the tasks that the cluster gets at a time, each of which `needs` this; its machines may change."""
        if self._is_one_each:
            return sum(node["Alive"] for node in self._ray.nodes())
        there = self._ray.cluster_resources()
        at_a_time = min(there.get(name, 0) // count for name, count in needs.items())
        return self._workers or max(TASKS_PER_CORE * int(at_a_time), 1)

    def _needs(self) -> dict[str, int]:
        """Say what a call occupies of its machine: {resource: how many}, by Ray's names."""
        if self._cores is None:
            return {"CPU": 1}
        machines = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        smallest = int(min(machine.get("CPU", 1) for machine in machines))
        gpus = {"GPU": 1} if any("GPU" in machine for machine in machines) else {}
        return {"CPU": max(min(self._cores, smallest), 1), **gpus}

    def _finished(self, tasks: list[Any]) -> list[Any]:
        """Wait for some of the `tasks`: those that have ended, perhaps none."""
        self._ray.wait(tasks, timeout=WAIT_SECONDS)
        return self._ray.wait(tasks, num_returns=len(tasks), timeout=0)[0]

    def _get(self, task: Any) -> bytes | str:
        try:
            return self._ray.get(task)
        except self._ray.exceptions.RayError as error:  # not of a machine that died: Ray has tried again
            reason = first_line(error)
            raise UserError(f"the Ray cluster has failed ({reason}): repeat the command, which resumes") from None

    def _pickle(self, value: Any) -> bytes:
        """Pickle a `value` with the functions of the script, which the machines can't import."""
        return self._ray.cloudpickle.dumps(value)


def _read(reply: bytes | str) -> tuple[list[Any], Exception | None]:
    """Read the reply of a task: results, and the exception that ended it."""
    if isinstance(reply, str):
        raise UserError(
            f"{reply} of the Ray cluster has no folder {os.getcwd()}, or not this repository at {sys.path[0]}: all "
            "machines need the repository and the data at the same paths"
        )
    results, error = pickle.loads(reply)
    return results, error


def _task() -> Callable[[tuple[str, list[str], bytes], bytes], bytes | str]:
    """Make the function that Ray calls, which is sent as it stands: no machine can import anything before it runs."""

    def run(setting: tuple[str, list[str], bytes], jobs: bytes) -> bytes | str:
        import os
        import sys

        folder, sys.path[:], call = setting
        try:
            os.chdir(folder)
            from dataset.making.workers.ray_cluster import call_all
        except (OSError, ImportError):
            return os.uname().nodename
        return call_all(call, jobs)

    return run


def call_all(call: bytes, jobs: bytes) -> bytes:
    """Make calls in a child process, on a machine of the cluster.

    Args:
        call: function and time limit, pickled.
        jobs: arguments of each call, pickled.

    Returns:
        The results up to the first exception, and the exception or None, pickled.
    """
    results: list[Any] = []
    try:
        function, time_limit = pickle.loads(call)
        chunk = pickle.loads(jobs)
        results += (result for _, result in map_in_processes(function, chunk, 1, len(chunk), time_limit))
    except Exception as error:
        return pickle.dumps((results, error))
    return pickle.dumps((results, None))
