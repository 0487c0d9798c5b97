"""Long work of the page: queues of jobs, their progress, and results that are removed after a time.

Each kind of work has a lane of its own, so that a short job, a search or a click, never waits for a long video.
"""

import json
import os
import shutil
import tempfile
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from collection.job import Job, State, Task
from collection.job_process import JobProcess, JobProcessEnded
from collection.job_runners import Runner, SearchRunner, VideoRunner
from collection.query import RefusedUpload
from collection.sandbox import Cancelled, Sandbox
from collection.search_index import SearchIndex
from collection.video_tasks import VideoTask

TIDY_SECONDS = 1.0  # between two looks for jobs to end or to remove
STOP_SECONDS = 30.0  # that a process gets to stop by itself: a new one would have to load its nets
BUSY = 503  # of HTTP: come back later


@dataclass(frozen=True)
class JobLimits:
    """Limits of the jobs.

    Attributes:
        longest: length of a video that is used, seconds; of a longer one its first part is.
        workers: processes that work on videos, one video each at a time.
        searches: searches that run at the same time.
        waiting: jobs of a lane that may wait.
        seconds: time that a job may take.
        absent: a job that its page hasn't asked about for so long is cancelled, seconds: the page was closed. Browsers
            let pages in the background ask once a minute.
        kept: results that nobody has looked at for so long are removed, seconds.
        finished: results of a lane that are kept at most.
    """

    longest: float = 60.0
    workers: int = 2
    searches: int = 4
    waiting: int = 8
    seconds: float = 900.0
    absent: float = 90.0
    kept: float = 1800.0
    finished: int = 24


@dataclass
class Lane:
    """A queue of jobs of the same kind, and what runs them.

    Attributes:
        tasks: of its jobs.
        runners: each runs one job at a time.
        queue: jobs that wait, the next one first.
    """

    tasks: tuple[Task, ...]
    runners: list[Runner]
    queue: deque[Job] = field(default_factory=deque)


class Jobs:
    """The jobs of all visitors; usable from several threads.

    Args:
        nets: {task: (checkpoint, settings to override)}: "where" needs an AVOL-Net, "apart" a PixelPlayer.
        sandbox: decodes uploads.
        limits: of the jobs.
        index: to search; None: there are no searches.
    """

    def __init__(
        self,
        nets: Mapping[VideoTask, tuple[str, dict[str, Any]]],
        sandbox: Sandbox,
        limits: JobLimits = JobLimits(),
        index: SearchIndex | None = None,
    ) -> None:
        self.tasks: tuple[Task, ...] = (*(("search",) if index else ()), *nets)  # in the order of the page's tabs
        self.limits = limits
        self._root = Path(tempfile.mkdtemp(prefix="objects_that_sound_"))
        self._jobs: dict[str, Job] = {}
        self._running: dict[Job, Runner] = {}
        self._lock = threading.RLock()
        self._changed, self._closing = threading.Condition(self._lock), threading.Event()
        self._lanes = self._open_lanes(nets, sandbox, index)
        self._threads = [threading.Thread(target=self._tidy_up, daemon=True)]
        for lane in self._lanes:
            for runner in lane.runners:
                self._threads.append(threading.Thread(target=self._work, args=(lane, runner), daemon=True))
        for thread in self._threads:
            thread.start()

    def _open_lanes(
        self, nets: Mapping[VideoTask, tuple[str, dict[str, Any]]], sandbox: Sandbox, index: SearchIndex | None
    ) -> list[Lane]:
        """Make the lanes of what the page offers, and start their processes."""
        limits, lanes = self.limits, []
        threads = max((os.cpu_count() or 1) // limits.workers, 1)

        def video_lane(tasks: tuple[Task, ...], loaded: Mapping[VideoTask, Any], count: int) -> Lane:
            processes = [JobProcess(json.dumps(dict(loaded)), threads) for _ in range(count)]
            return Lane(tasks, [VideoRunner(sandbox, process, lambda: self.limits.longest) for process in processes])

        if index:
            lanes.append(Lane(("search",), [SearchRunner(sandbox, index) for _ in range(limits.searches)]))
        if nets:
            lanes.append(video_lane(tuple(nets), nets, limits.workers))
        if "apart" in nets:
            lanes.append(video_lane(("pixel",), {"apart": nets["apart"]}, 1))
        return lanes

    def close(self) -> None:
        """Cancel all jobs, end the processes and remove all files."""
        self._closing.set()
        for job in list(self._jobs.values()):
            self._end(job, "cancelled")
        runners = [runner for lane in self._lanes for runner in lane.runners]
        for runner in runners:
            runner.kill()
        with self._lock:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        for runner in runners:
            runner.close()
        shutil.rmtree(self._root, ignore_errors=True)

    # ------------------------------------------------------------------------------------------------- for visitors

    def submit(self, task: Task, save: Callable[[Path], object]) -> Job:
        """Add a job on an uploaded file.

        Args:
            task: what to do.
            save: writes the upload to a path.

        Raises:
            RefusedUpload: too many jobs wait, or `save` refuses the upload.
        """
        self._refuse_full(task)
        job = Job(task, Path(tempfile.mkdtemp(dir=self._root)))
        try:
            save(job.upload)
            self._enqueue(job)
        except BaseException:
            shutil.rmtree(job.folder, ignore_errors=True)
            raise
        return job

    def play_pixel(self, owner_id: str, x: float, y: float) -> Job:
        """Add a job that separates the sound of one pixel, or find it done.

        Args:
            owner_id: of the job that separated the sounds of the video.
            x, y: of the pixel, 0..1 from the top left corner.

        Raises:
            LookupError: there is no such job, or it isn't done.
            RefusedUpload: too many jobs wait.
        """
        owner = self.find(owner_id)
        if owner.task != "apart" or owner.result is None:
            raise LookupError
        width, height = owner.result["grid"]
        column, row = min(int(x * width), width - 1), min(int(y * height), height - 1)
        name = f"pixel_{column}_{row}.wav"
        with self._lock:
            for job in self._jobs.values():
                if job.owner is owner and job.options["name"] == name and job.state not in ("failed", "cancelled"):
                    job.seen = time.monotonic()
                    return job
        location = (column + 0.5) / width, (row + 0.5) / height
        job = Job("pixel", owner.folder, owner, {"location": location, "name": name})
        self._enqueue(job)
        return job

    def find(self, job_id: str) -> Job:
        """Find the job of the id `job_id`, and note that its page is still open; a LookupError if there is none."""
        with self._lock:
            job = self._jobs[job_id]
            job.seen = time.monotonic()
            if job.owner:
                job.owner.seen = job.seen
            return job

    def describe(self, job_id: str) -> dict[str, Any]:
        """Say how far the job of the id `job_id` is: plain data for JSON."""
        with self._lock:
            job = self.find(job_id)
            queue = self._lane(job.task).queue
            before = queue.index(job) if job in queue else 0
            about = {"job": job.id, "state": job.state, "stage": job.stage, "fraction": job.fraction, "before": before}
            return about | {"status": job.status, "error": job.error, "result": job.result}

    def cancel(self, job_id: str) -> None:
        """Cancel the job of the id `job_id`; one that is over stays as it is."""
        self._end(self.find(job_id), "cancelled")

    # ---------------------------------------------------------------------------------------------------- in threads

    def _lane(self, task: Task) -> Lane:
        return next(lane for lane in self._lanes if task in lane.tasks)

    def _refuse_full(self, task: Task) -> None:
        with self._lock:
            lane = self._lane(task)
            idle = sum(runner not in self._running.values() for runner in lane.runners)  # and will take the next ones
            count = len(lane.queue) - idle
        if count >= self.limits.waiting:
            raise RefusedUpload(BUSY, f"{count} others are waiting already: try again in a few minutes")

    def _enqueue(self, job: Job) -> None:
        with self._changed:
            self._refuse_full(job.task)
            self._jobs[job.id] = job
            self._lane(job.task).queue.append(job)
            self._changed.notify_all()

    def _end(self, job: Job, state: State, error: str = "", status: int = 500) -> None:
        """End a job that is waiting or running."""
        with self._lock:
            if job.is_over:
                return
            if job.state == "waiting":
                self._lane(job.task).queue.remove(job)
            elif state != "done":
                job.stop_file.touch()
            job.state, job.error, job.ended = state, error, time.monotonic()
            job.status = status if error else job.status

    def _work(self, lane: Lane, runner: Runner) -> None:
        """Run jobs of a lane until the server is closed."""
        while not self._closing.is_set():
            with self._changed:
                while not lane.queue and not self._closing.is_set():
                    self._changed.wait()
                if self._closing.is_set():
                    return
                job = lane.queue.popleft()
                job.state, job.begun = "running", time.monotonic()
                self._running[job] = runner
            self._run(job, runner)
            with self._lock:
                del self._running[job]
                job.stop_file.unlink(missing_ok=True)

    def _run(self, job: Job, runner: Runner) -> None:
        """Run one job; whatever goes wrong, the next visitor is not to blame."""
        try:
            job.result = runner.run(job)
            self._end(job, "done")
        except RefusedUpload as refusal:
            self._end(job, "failed", str(refusal), refusal.status)
        except Cancelled:
            pass
        except JobProcessEnded:
            self._end(job, "failed", "the process that worked on it has ended: send a shorter video, or try again")
        except Exception as error:  # a full disk, or a fault of ours
            if not job.is_over:
                traceback.print_exception(error)  # on the server's terminal
            self._end(job, "failed", f"the server can't work on it ({type(error).__name__}): its terminal says more")

    def _tidy_up(self) -> None:
        """End and remove jobs when their time is over."""
        while not self._closing.wait(TIDY_SECONDS):
            now, limits = time.monotonic(), self.limits
            for job in list(self._jobs.values()):
                if job.state == "running" and now - job.begun > limits.seconds:
                    message = f"it takes more than {limits.seconds / 60:.3g} minutes: send a shorter file"
                    self._end(job, "failed", message, 413)
                elif now - job.seen > limits.absent:
                    self._end(job, "cancelled")
            with self._lock:
                for job, runner in self._running.items():
                    if job.is_over and now - job.ended > STOP_SECONDS:
                        runner.kill()
                for lane in self._lanes:
                    self._remove_old(lane, now)

    def _remove_old(self, lane: Lane, now: float) -> None:
        """Remove the files of a lane that nobody needs any more; `now` is the time."""
        over = [job for job in self._jobs.values() if job.task in lane.tasks and not job.owner and job.is_over]
        over = [job for job in over if job not in self._running]
        for job in over:
            if job.state != "done":
                shutil.rmtree(job.folder, ignore_errors=True)  # its upload is of no use any more
        # Jobs on pixels are kept as long as the one whose clip they work on.
        over.sort(key=lambda job: job.seen)
        for k, job in enumerate(over):
            if now - job.seen > self.limits.kept or len(over) - k > self.limits.finished:
                self._remove(job)

    def _remove(self, job: Job) -> None:
        """Forget a job, with those on its pixels, and remove its files."""
        for other in [other for other in self._jobs.values() if other is job or other.owner is job]:
            self._end(other, "cancelled")
            del self._jobs[other.id]
        shutil.rmtree(job.folder, ignore_errors=True)
