"""A process that works on visitors' videos, one after the other, for collection/jobs.py.

    python -m collection.job_worker '{"where": ["vol/best.pt", {}], "apart": ["pixelplayer/best.pt", {}]}'

where {} are settings to override.
Reads a job from each line of stdin, and writes lines about it to stdout: how far it is, then its result or its error.
"""

import json
import os
import sys
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from collection.query import describe_media_error
from collection.video_tasks import run_task
from dataset.reading.errors import MediaError
from evaluation.trained_net import TrainedNet, load_trained_net
from utils.errors import UserError
from utils.memory import disable_malloc_trim, reserve_blas_buffers

MESSAGE_SECONDS = 0.2  # between two messages about progress


def describe_error(error: Exception, seconds: float) -> str:
    """Say in one sentence why a video can't be used.

    Args:
        error: may name files that its visitor doesn't know.
        seconds: of sound that the net needs.
    """
    if isinstance(error, MediaError):
        return describe_media_error(error, seconds)
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MemoryError):
        return "it takes too much memory: send a shorter video"
    traceback.print_exception(error)  # on the server's terminal
    return f"it can't be processed ({type(error).__name__}): the server's terminal says more"


class Stopped(Exception):
    """A job that is not wanted any more."""


class Channel:
    """Writes messages to the process that started this one.

    Args:
        descriptor: file descriptor to write to.
    """

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "w", buffering=1)
        self._last = 0.0
        self.stop_file = ""  # of the job: it is to stop once this exists

    def send(self, **message: Any) -> None:
        """Send a `message`, plain data."""
        self._file.write(json.dumps(message) + "\n")

    def progress(self, items: Any, stage: str) -> Iterable[Any]:
        """Pass items on and send how many are done: a `utils.progress_bar.Progress`.

        Args:
            items: of a known number.
            stage: what is done with them.

        Raises:
            Stopped: the job is not wanted any more.
        """
        for done, item in enumerate(items):
            if not done or time.monotonic() - self._last > MESSAGE_SECONDS:
                if os.path.exists(self.stop_file):
                    raise Stopped
                self.send(stage=stage, fraction=done / len(items))
                self._last = time.monotonic()
            yield item


def main(argument: str) -> None:
    """Load the nets that the JSON `argument` names, and work until stdin is closed."""
    channel = Channel(os.dup(1))
    os.dup2(2, 1)  # whatever else is printed is no message
    disable_malloc_trim()
    reserve_blas_buffers()
    nets: dict[str, TrainedNet] = {
        task: load_trained_net(path, settings) for task, (path, settings) in json.loads(argument).items()
    }
    for line in sys.stdin:
        job = json.loads(line)
        channel.stop_file = job["stop"]
        net = nets["where" if job["task"] == "where" else "apart"]
        try:
            result = run_task(net, job["task"], Path(job["folder"]), channel.progress, job["options"])
        except Stopped:
            channel.send(error="stopped")
        except Exception as error:  # one video must not end the process that others wait for
            channel.send(error=describe_error(error, net.config.data.seconds))
        else:
            channel.send(result=result)


if __name__ == "__main__":
    main(sys.argv[1])
