"""Long work of the page: a bounded queue of jobs, their progress, and results that are removed after a time.

A job belongs to one visitor: whoever doesn't know its id, a random one, can neither see nor cancel it.
"""

import json
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from collection.job_process import JobProcess, JobProcessEnded
from collection.query import RefusedUpload
from collection.sandbox import Cancelled, Sandbox
from collection.video_tasks import Task

State = Literal["waiting", "running", "done", "failed", "cancelled"]
TIDY_SECONDS = 1.0  # between two looks for jobs to end or to remove
STOP_SECONDS = 30.0  # that a worker gets to stop by itself: a new process would have to load its nets
BUSY = 503  # of HTTP: come back later


@dataclass(frozen=True)
class JobLimits:
    """Limits of the jobs.

    Attributes:
        longest: length of a video that is used, seconds; of a longer one its first part is.
        workers: processes, jobs that run at the same time.
        waiting: jobs that may wait for one.
        seconds: time that a job may take.
        absent: a job that its page hasn't asked about for so long is cancelled, seconds: the page was closed. Browsers
            let pages in the background ask once a minute.
        kept: results that nobody has looked at for so long are removed, seconds.
        finished: results that are kept at most.
    """

    longest: float = 60.0
    workers: int = 2
    waiting: int = 8
    seconds: float = 900.0
    absent: float = 90.0
    kept: float = 1800.0
    finished: int = 24


@dataclass(eq=False)
class Job:
    """A piece of work for one visitor.

    Attributes:
        task: what to do.
        folder: of the clip and the results.
        owner: the job whose clip it works on; None: it has its own folder and its upload in it.
        options: further arguments of the task.
        id: by which its visitor names it.
        state, stage, fraction: how far it is; fraction of the stage in 0..1.
        error: why it has failed, one sentence.
        result: once it is done.
        seen: when its page last asked about it, of time.monotonic().
        begun, ended: when it began to run, and when it was over.
    """

    task: Task
    folder: Path
    owner: "Job | None" = None
    options: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    state: State = "waiting"
    stage: str = ""
    fraction: float = 0.0
    error: str = ""
    result: dict[str, Any] | None = None
    seen: float = field(default_factory=time.monotonic)
    begun: float = 0.0
    ended: float = 0.0

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ("done", "failed", "cancelled")

    @property
    def stop_file(self) -> Path:
        """Exists once its worker shall stop."""
        return self.folder / f"{self.id}.stop"


class Jobs:
    """The jobs of all visitors; usable from several threads.

    Args:
        nets: {task: (checkpoint, settings to override)}: "where" needs an AVOL-Net, "apart" a PixelPlayer.
        sandbox: converts uploads.
        limits: of the jobs.
    """

    def __init__(
        self, nets: dict[Task, tuple[str, dict[str, Any]]], sandbox: Sandbox, limits: JobLimits = JobLimits()
    ) -> None:
        self.tasks, self.limits, self._sandbox = tuple(nets), limits, sandbox
        self._root = Path(tempfile.mkdtemp(prefix="objects_that_sound_"))
        self._jobs: dict[str, Job] = {}
        self._queue: deque[Job] = deque()
        self._running: dict[Job, JobProcess | None] = {}  # None while the upload is converted
        self._lock = threading.RLock()
        self._changed, self._closing = threading.Condition(self._lock), threading.Event()
        threads = max((os.cpu_count() or 1) // limits.workers, 1)
        self._workers = [JobProcess(json.dumps(nets), threads) for _ in range(limits.workers)]
        self._threads = [threading.Thread(target=self._work, args=(worker,), daemon=True) for worker in self._workers]
        self._threads.append(threading.Thread(target=self._tidy_up, daemon=True))
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Cancel all jobs, end the processes and remove all files."""
        self._closing.set()
        for job in list(self._jobs.values()):
            self._end(job, "cancelled")
        for worker in self._workers:
            worker.kill()
        with self._lock:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        for worker in self._workers:
            worker.close()
        shutil.rmtree(self._root, ignore_errors=True)

    # ------------------------------------------------------------------------------------------------- for visitors

    def submit(self, task: Task, save: Callable[[Path], object]) -> Job:
        """Add a job on an uploaded video.

        Args:
            task: what to do.
            save: writes the upload to a path.

        Raises:
            RefusedUpload: too many jobs wait, or `save` refuses the upload.
        """
        self._refuse_full()
        job = Job(task, Path(tempfile.mkdtemp(dir=self._root)))
        try:
            save(job.folder / "upload")
            self._enqueue(job)
        except BaseException:
            shutil.rmtree(job.folder, ignore_errors=True)
            raise
        return job

    def play_pixel(self, owner_id: str, x: float, y: float) -> Job:
        """Add a job that separates the sound of one pixel, or find it done.

        Args:
            owner_id: of the job that took the video apart.
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
        self._refuse_full()
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
            before = self._queue.index(job) if job in self._queue else 0
            about = {"job": job.id, "state": job.state, "stage": job.stage, "fraction": job.fraction}
            return about | {"before": before, "error": job.error, "result": job.result}

    def cancel(self, job_id: str) -> None:
        """Cancel the job of the id `job_id`; one that is over stays as it is."""
        self._end(self.find(job_id), "cancelled")

    # ---------------------------------------------------------------------------------------------------- in threads

    def _refuse_full(self) -> None:
        with self._lock:
            count = len(self._queue)
        if count >= self.limits.waiting:
            raise RefusedUpload(BUSY, f"{count} others are waiting already: try again in a few minutes")

    def _enqueue(self, job: Job) -> None:
        with self._changed:
            self._refuse_full()
            self._jobs[job.id] = job
            self._queue.append(job)
            self._changed.notify()

    def _end(self, job: Job, state: State, error: str = "") -> None:
        """End a job that is waiting or running."""
        with self._lock:
            if job.is_over:
                return
            if job.state == "waiting":
                self._queue.remove(job)
            job.state, job.error, job.ended = state, error, time.monotonic()
            if self._running.get(job):
                job.stop_file.touch()

    def _work(self, worker: JobProcess) -> None:
        """Run jobs on a worker until the server is closed."""
        while not self._closing.is_set():
            with self._changed:
                while not self._queue and not self._closing.is_set():
                    self._changed.wait()
                if self._closing.is_set():
                    return
                job = self._queue.popleft()
                job.state, job.begun = "running", time.monotonic()
                self._running[job] = None
            try:
                self._run(job, worker)
            except RefusedUpload as refusal:
                self._end(job, "failed", str(refusal))
            except Cancelled:
                pass
            except JobProcessEnded:
                self._end(job, "failed", "the process that worked on it has ended: send a shorter video, or try again")
            except Exception as error:  # a full disk, or a fault of ours: the next visitor is not to blame
                self._end(job, "failed", f"the server can't work on it ({type(error).__name__})")
            with self._lock:
                del self._running[job]

    def _run(self, job: Job, worker: JobProcess) -> None:
        """Run one job: convert its upload, and have the worker do its task."""
        is_cut = False
        if job.owner is None:
            job.stage = "reading the video"
            upload = job.folder / "upload"
            seconds = self._sandbox.convert(
                upload, job.folder, self.limits.longest, lambda: job.state == "running" and not self._closing.is_set()
            )
            upload.unlink()
            is_cut = seconds > self.limits.longest - 1e-3
        with self._lock:
            if job.is_over:
                raise Cancelled
            self._running[job] = worker

        def note(message: dict[str, Any]) -> None:
            job.stage, job.fraction = message["stage"], message["fraction"]

        request = {"task": job.task, "folder": str(job.folder), "options": job.options, "stop": str(job.stop_file)}
        try:
            answer = worker.run(request, note)
        finally:
            with self._lock:
                self._running[job] = None
                job.stop_file.unlink(missing_ok=True)
        with self._lock:
            if job.is_over:
                raise Cancelled
            if "error" in answer:
                job.state, job.error = "failed", answer["error"]
            else:
                job.state, job.result = "done", answer["result"] | {"cut": is_cut}

    def _tidy_up(self) -> None:
        """End and remove jobs when their time is over."""
        while not self._closing.wait(TIDY_SECONDS):
            now, limits = time.monotonic(), self.limits
            for job in list(self._jobs.values()):
                if job.state == "running" and now - job.begun > limits.seconds:
                    message = f"it takes more than {limits.seconds / 60:.3g} minutes: send a shorter video"
                    self._end(job, "failed", message)
                elif now - job.seen > limits.absent:
                    self._end(job, "cancelled")
            with self._lock:
                for job, worker in self._running.items():
                    if worker and job.is_over and now - job.ended > STOP_SECONDS:
                        worker.kill()
                over = [job for job in self._jobs.values() if job.is_over and job not in self._running]
                for job in over:
                    if job.owner is None and job.state != "done":
                        shutil.rmtree(job.folder, ignore_errors=True)  # its upload is of no use any more
                # Jobs on pixels are kept as long as the one whose clip they work on.
                owners = sorted((job for job in over if job.owner is None), key=lambda job: job.seen)
                for k, job in enumerate(owners):
                    if now - job.seen > limits.kept or len(owners) - k > limits.finished:
                        self._remove(job)

    def _remove(self, job: Job) -> None:
        """Forget a job, with those on its pixels, and remove its files."""
        for other in [other for other in self._jobs.values() if other is job or other.owner is job]:
            self._end(other, "cancelled")
            del self._jobs[other.id]
        shutil.rmtree(job.folder, ignore_errors=True)
