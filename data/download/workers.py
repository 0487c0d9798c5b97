"""The threads of a download: each locks a clip, downloads and cuts it, and moves it into the split."""

import os
import queue
import random
import shutil
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import av
import soundfile
from yt_dlp import YoutubeDL

from data.download.failures import FAILURE_KINDS, FATAL_KINDS, Failure, failure_of
from data.download.fetch import download_video, make_downloader
from data.download.folders import has_clip, try_clip_lock
from data.download.journal import Event, Journal
from data.download.settings import DownloadSettings
from dataset.making.cut import cut_clip
from dataset.making.segments import Segment
from dataset.reading.clips import clip_files
from dataset.reading.container import is_truncated
from dataset.reading.errors import MediaError

MAX_FAILURES_IN_A_ROW = 50  # after so many failures that a retry might fix, the fault isn't in the clips
# A section is requested with this margin at each end, seconds: the frame shown at its start has an earlier time stamp.
# As much may be missing at its end: sites round the length of a video.
MARGIN = 0.5
TAKEN = "taken"  # outcome of a clip that another process works on, or has finished


class Workers:
    """Threads that download a list of clips.

    Args:
        out: folder of the split.
        segments: {clip: its segment} to download.
        folder: from `data.download.folders.work_folder`.
        journal: of the folder.
        settings: of the run.

    Attributes:
        results: queue of (clip, outcome): "done", a kind of failure, or `TAKEN`; (None, exception) of a thread that
            failed.
        stop: once it is set the threads end soon, and drop what they work on.
        reason: why they stopped by themselves, a sentence, or None.
    """

    def __init__(
        self,
        out: Path,
        segments: Mapping[str, Segment],
        folder: Path,
        journal: Journal,
        settings: DownloadSettings,
    ) -> None:
        self.out, self.folder, self.journal, self.settings = out, folder, journal, settings
        self.results: queue.SimpleQueue[tuple[str, str] | tuple[None, BaseException]] = queue.SimpleQueue()
        self.stop = threading.Event()
        self.reason: str | None = None
        self._before = {clip: journal.last.get(clip) for clip in segments}
        self._remaining, self._lock = iter(segments.items()), threading.Lock()
        self._failures_in_a_row = 0
        self._move_lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(settings.workers)]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def are_alive(self) -> bool:
        """Check whether any thread is still running."""
        return any(thread.is_alive() for thread in self._threads)

    def end(self, seconds: float = 6.0) -> None:
        """Stop the threads and wait for them for at most `seconds`; from then on no clip is added any more."""
        self.stop.set()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))
        self._move_lock.acquire()

    def _run(self) -> None:
        try:
            with make_downloader(self.stop, self.settings) as downloader:
                while not self.stop.is_set():
                    with self._lock:
                        clip, segment = next(self._remaining, (None, None))
                    if clip is None or segment is None:
                        return
                    outcome = self._process(downloader, clip, segment)
                    if outcome is None:
                        return
                    self.results.put((clip, outcome))
                    if outcome != TAKEN:
                        self.stop.wait(self.settings.sleep * random.uniform(0.5, 1.5))
        except BaseException as error:
            self.stop.set()
            self.results.put((None, error))

    def _process(self, downloader: YoutubeDL, clip: str, segment: Segment) -> str | None:
        """Download one clip and record the outcome; None if the run was stopped."""
        with try_clip_lock(self.out, clip) as is_locked:
            self.journal.refresh()
            # Another process may have processed it since the list of clips was made.
            if not is_locked or has_clip(self.out, clip) or self.journal.last.get(clip) != self._before[clip]:
                return TAKEN
            self._check_disk()
            if self.stop.is_set():
                return None
            failure, tries = self._try(downloader, clip, segment)
            if failure and self.stop.is_set():
                return None
            event: Event = {
                "id": clip, "video": segment.video, "start": segment.start, "end": segment.end, "tries": tries,
                "when": datetime.now(UTC).isoformat(timespec="seconds"),
                "class": failure.kind if failure else "done", "message": str(failure or ""),
            }  # fmt: skip
            self.journal.write(event)
            self._count(failure)
            return event["class"]

    def _try(self, downloader: YoutubeDL, clip: str, segment: Segment) -> tuple[Failure | None, int]:
        """Download one clip, with retries: its failure, if any, and the number of tries."""
        work, retries = self.folder / clip, self.settings.retries
        try:
            for tries in range(1, retries + 2):
                failure = self._download_and_cut(downloader, clip, segment, work)
                if failure is None or failure.kind != "network" or tries > retries:
                    break
                if self.stop.wait(self.settings.backoff * 2 ** (tries - 1) * random.uniform(0.75, 1.25)):
                    break
            return failure, tries
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _download_and_cut(self, downloader: YoutubeDL, clip: str, segment: Segment, work: Path) -> Failure | None:
        """Download, cut and add one clip; returns why it failed, or None."""
        mp4, wav = work / "clip.mp4", work / "clip.wav"
        section, origin = None, 0.0  # `origin`: time of the video at which the downloaded files begin
        if self.settings.mode == "section":
            origin = max(segment.start - MARGIN, 0.0)
            section = (origin, segment.end + MARGIN)
        try:
            work.mkdir(exist_ok=True)
            files = download_video(downloader, self.settings.url.replace("{id}", segment.video), work, section)
        except (Failure, OSError) as error:
            return failure_of(error)
        try:
            start, end = segment.start - origin, segment.end - origin
            height, fps = self.settings.height, self.settings.fps
            seconds = cut_clip(files.video, files.sound, start, end, mp4, wav, height, fps)
            expected = min(segment.end, files.duration or segment.end) - segment.start
            if section and seconds < expected - MARGIN:
                # ffmpeg may mistake a broken connection for the end of the video.
                return Failure("network", f"only {seconds:.1f} s of {expected:.1f} s were downloaded")
            self._add(clip, mp4, wav)
        except MediaError as error:
            # A file that lacks its end may seem to lack a stream: that says nothing about the video on the site.
            is_broken = is_truncated(files.video) or is_truncated(files.sound)
            kind = "damaged" if is_broken else "no audio" if error.kind == "no sound" else error.kind
            return Failure(kind, f"{Path(error.path).name} {error.reason}")
        except (OSError, av.FFmpegError, soundfile.LibsndfileError) as error:
            return failure_of(error)
        return None

    def _add(self, clip: str, mp4: Path, wav: Path) -> None:
        """Move the files of a complete clip into the split. The clip exists once its mp4, moved last, does."""
        for file in (mp4, wav):
            with open(file, "rb") as written:
                os.fsync(written.fileno())
        with self._move_lock:
            mp4_target, wav_target = clip_files(self.out, clip)
            os.replace(wav, wav_target)
            os.replace(mp4, mp4_target)

    def _check_disk(self) -> None:
        free, min_free = shutil.disk_usage(self.out).free / 1e9, self.settings.min_free
        if free < min_free:
            self._stop_because(
                f"only {free:.1f} GB are free on the disk of {self.out}, less than --min_free {min_free:g}: free some "
                "space, then repeat the command"
            )

    def _count(self, failure: Failure | None) -> None:
        """Count failures in a row, and stop the run where all further clips would fail."""
        if failure and failure.kind in FATAL_KINDS:
            advice = FAILURE_KINDS[failure.kind].advice
            self._stop_because(f"stopped by {failure.kind!r} ({failure}): {advice}, then repeat the command")
        with self._lock:
            is_counted = failure and FAILURE_KINDS[failure.kind].is_retried
            self._failures_in_a_row = self._failures_in_a_row + 1 if is_counted else 0
            if failure and self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
                self._stop_because(
                    f"{MAX_FAILURES_IN_A_ROW} clips in a row failed (the last: {failure.kind}, {failure}): make sure "
                    "that the network and the site work, then repeat the command"
                )

    def _stop_because(self, reason: str) -> None:
        self.reason = self.reason or reason
        self.stop.set()
