"""Map a function over clips: on the processes of this machine, or on the machines of a Ray cluster.

A command passes on where the work is done, and doesn't know which of the two it is.
"""

import argparse
import os
from collections.abc import Callable, Iterable, Iterator
from math import inf

from dataset.making.workers.processes import Job, Lost, Result, map_in_processes
from dataset.making.workers.ray_cluster import RayCluster
from utils.errors import UserError

Workers = int | RayCluster  # where the work is done: a number of processes of this machine, or a cluster


def read_workers(args: argparse.Namespace) -> Workers:
    """Read where the work is done; a cluster is connected to.

    Args:
        args: a command line with the options of `utils.arguments.add_worker_options`.

    Raises:
        UserError: as `read_engine`.
    """
    return read_engine(args, args.workers) or args.workers or os.cpu_count() or 1


def read_engine(
    args: argparse.Namespace, workers: int | None = None, is_one_each: bool = False, cores: int | None = None
) -> RayCluster | None:
    """Connect to the cluster that a command line asks for, if it does.

    Args:
        args: a command line with the options of `utils.arguments.add_engine_options`.
        workers, is_one_each, cores: as of `RayCluster`.

    Raises:
        UserError: the options don't go together, Ray is missing, or there is no such cluster.
    """
    if args.engine == "ray":
        return RayCluster(args.address or "auto", workers, is_one_each, cores)
    if args.address is not None:
        raise UserError("--address is of a Ray cluster: give it with --engine ray")
    return None


def map_clips(
    function: Callable[..., Result],
    jobs: Iterable[Job],
    workers: Workers,
    chunk_size: int = 1,
    time_limit: Callable[[Job], float] = lambda job: inf,
) -> Iterator[tuple[Job, Result | Lost]]:
    """Call function(*job) for each job, in any order.

    Args:
        function: can be pickled. A call may be repeated, where a machine of a cluster dies. Exceptions are raised here
            and end the iteration.
        jobs: tuples of arguments, which can be pickled.
        workers: where the calls are made.
        chunk_size: jobs that are sent to a process at a time; more than 1 keeps processes busy where a job is short.
        time_limit: of a job, seconds; a function that begins parts has a limit for each, see
            `worker_process.begin_part`.

    Yields:
        (job, result) when it is done. The result is `Lost` if its process crashed, or was killed at the time limit.
    """
    if isinstance(workers, RayCluster):
        return workers.map(function, jobs, chunk_size, time_limit)
    return map_in_processes(function, jobs, workers, chunk_size, time_limit)
