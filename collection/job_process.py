"""A process of collection/job_worker.py, and what it says about its job."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from collection.sandbox import REPOSITORY


class JobProcessEnded(Exception):
    """The process has ended: it was killed, or could not load its nets."""


class JobProcess:
    """A process of collection/job_worker.py, which is started again when it has ended.

    Args:
        argument: of its command line.
        threads: that it computes with, unless OMP_NUM_THREADS says otherwise.
    """

    def __init__(self, argument: str, threads: int) -> None:
        self._argument, self._environment = argument, {"OMP_NUM_THREADS": str(threads)} | dict(os.environ)
        self._process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "collection.job_worker", self._argument],
            cwd=REPOSITORY,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the server
        )

    def kill(self) -> None:
        """End the process; the next job gets a new one."""
        self._process.kill()

    def close(self) -> None:
        """End the process for good."""
        self._process.kill()
        self._process.communicate()

    def run(self, request: dict[str, Any], on_message: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Run a job.

        Args:
            request: the job, for collection/job_worker.py.
            on_message: called with each message about how far it is.

        Returns:
            The last message, with its "result" or "error".

        Raises:
            JobProcessEnded: the process has ended before that.
        """
        if self._process.poll() is not None:
            self.close()
            self._process = self._start()
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            for line in self._process.stdout:
                message = json.loads(line)
                if "stage" not in message:
                    return message
                on_message(message)
        except OSError:
            pass
        self.close()
        self._process = self._start()
        raise JobProcessEnded
