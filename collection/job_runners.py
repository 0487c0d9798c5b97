"""What runs the jobs of the page, each one job at a time: a search in a thread, work on videos in a process."""

from collections.abc import Callable
from typing import Any, Protocol

from collection.job import Job
from collection.job_process import JobProcess
from collection.query import RefusedUpload
from collection.sandbox import Cancelled, Sandbox
from collection.search_index import SearchIndex

QUERY_SECONDS = 10  # of a file to search for that are used


class Runner(Protocol):
    """Runs one job after the other, in the thread that calls it."""

    def run(self, job: Job) -> dict[str, Any]:
        """Run a job until it is done or no longer wanted.

        Args:
            job: whose state is "running".

        Returns:
            Its result, plain data for JSON.

        Raises:
            Cancelled: it is not wanted any more.
            RefusedUpload: its file can't be used.
            JobProcessEnded: the process that worked on it has ended.
        """

    def kill(self) -> None:
        """End what doesn't stop by itself."""

    def close(self) -> None:
        """End for good; nothing runs."""


class SearchRunner:
    """Decodes a file in the sandbox and searches a collection for it, in this process, which has the collection open.

    Args:
        sandbox: decodes.
        index: to search; usable from several threads.
    """

    def __init__(self, sandbox: Sandbox, index: SearchIndex) -> None:
        self._sandbox, self._index = sandbox, index

    def run(self, job: Job) -> dict[str, Any]:
        """Search for the upload of `job`, see `Runner`."""
        index = self._index
        job.note("reading the file")
        query = self._sandbox.read(job.upload, index.size, index.rate, QUERY_SECONDS, index.seconds, job.is_wanted)
        job.upload.unlink()
        result = index.search(query, progress=job.progress)
        job.map_source = index.map_source(query)
        return result

    def kill(self) -> None:
        """Do nothing: the sandbox ends its process, and a search looks often at whether it is still wanted."""

    def close(self) -> None:
        """Do nothing: the sandbox is closed by whoever made it."""


class VideoRunner:
    """Converts a video in the sandbox and has a process of its own work on it.

    Args:
        sandbox: converts.
        process: has loaded the nets.
        longest: gives the length of a video that is used, seconds.
    """

    def __init__(self, sandbox: Sandbox, process: JobProcess, longest: Callable[[], float]) -> None:
        self._sandbox, self._process, self._longest = sandbox, process, longest

    def run(self, job: Job) -> dict[str, Any]:
        """Do the task of `job`, see `Runner`."""
        is_cut = False
        if job.owner is None:
            job.note("reading the video")
            longest = self._longest()
            seconds = self._sandbox.convert(job.upload, job.folder, longest, job.is_wanted)
            job.upload.unlink()
            is_cut = seconds > longest - 1e-3
        request = {"task": job.task, "folder": str(job.folder), "options": job.options, "stop": str(job.stop_file)}
        answer = self._process.run(request, lambda message: job.note(**message))
        if not job.is_wanted():
            raise Cancelled
        if "error" in answer:
            raise RefusedUpload(400, answer["error"])
        return answer["result"] | {"cut": is_cut}

    def kill(self) -> None:
        """End the process; the next job gets a new one."""
        self._process.kill()

    def close(self) -> None:
        """End the process for good."""
        self._process.close()
