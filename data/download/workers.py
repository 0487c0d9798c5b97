"""The threads of a download: each locks a segment, downloads and cuts it, and moves its clips into the split."""

import os
import queue
import random
import shutil
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import av
import soundfile
from yt_dlp import YoutubeDL

from data.download.failures import FAILURE_KINDS, FATAL_KINDS, Failure, failure_of
from data.download.fetch import DownloadedFiles, download_video, make_downloader
from data.download.folders import has_clip, try_clip_lock
from data.download.journal import Event, Journal
from data.download.plan import DownloadPlan
from data.download.settings import CLIP, DownloadSettings
from dataset.making.clips.cut import cut_clip
from dataset.making.clips.cut_plan import Cut, measure_recording
from dataset.making.lists.segments import Segment
from dataset.reading.clips import clip_files
from dataset.reading.container import is_truncated
from dataset.reading.errors import MediaError

MAX_FAILURES_IN_A_ROW = 50  # after so many failures that a retry might fix, the fault isn't in the clips
# A section is requested with this margin at each end, seconds: the frame shown at its start has an earlier time stamp.
# As much may be missing at its end: sites round the length of a video.
MARGIN = 0.5
TAKEN = "taken"  # outcome of a segment that another process works on, or has finished


class Outcome(NamedTuple):
    """What became of a segment.

    Attributes:
        failure: why it failed, or None.
        clips: that it was cut into.
        rest: seconds at its end that are in none of them.
    """

    failure: Failure | None
    clips: tuple[str, ...] = ()
    rest: float = 0.0


class Download(NamedTuple):
    """What was downloaded of a video.

    Attributes:
        files: its files.
        origin: time of the video at which they begin, seconds.
        is_section: whether they hold a section of the video only.
    """

    files: DownloadedFiles
    origin: float
    is_section: bool

    def expected(self, cut: Cut | Segment) -> float:
        """Compute the seconds of `cut` that the video has, as far as the site states its duration."""
        return min(cut.end, self.files.duration or cut.end) - cut.start


class Workers:
    """Threads that download the segments of a list.

    Args:
        out: folder of the split.
        plan: of the list.
        missing: names of the segments to download.
        folder: from `data.download.folders.work_folder`.
        journal: of the folder.
        settings: of the run.

    Attributes:
        results: queue of (segment, outcome): "done", a kind of failure, or `TAKEN`; (None, exception) of a thread that
            failed.
        stop: once it is set the threads end soon, and drop what they work on.
        reason: why they stopped by themselves, a sentence, or None.
    """

    def __init__(
        self,
        out: Path,
        plan: DownloadPlan,
        missing: Iterable[str],
        folder: Path,
        journal: Journal,
        settings: DownloadSettings,
    ) -> None:
        self.out, self.plan, self.folder, self.journal, self.settings = out, plan, folder, journal, settings
        self.results: queue.SimpleQueue[tuple[str, str] | tuple[None, BaseException]] = queue.SimpleQueue()
        self.stop = threading.Event()
        self.reason: str | None = None
        self._before = {name: journal.last.get(name) for name in missing}
        self._remaining, self._lock = iter(self._before), threading.Lock()
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
                        name = next(self._remaining, None)
                    if name is None:
                        return
                    outcome = self._process(downloader, name)
                    if outcome is None:
                        return
                    self.results.put((name, outcome))
                    if outcome != TAKEN and not self._is_too_short(name):  # else the site wasn't asked
                        self.stop.wait(self.settings.sleep * random.uniform(0.5, 1.5))
        except BaseException as error:
            self.stop.set()
            self.results.put((None, error))

    def _process(self, downloader: YoutubeDL, name: str) -> str | None:
        """Download one segment and record the outcome; None if the run was stopped."""
        segment = self.plan.segments[name]
        with try_clip_lock(self.out, name) as is_locked:
            self.journal.refresh()
            # Another process may have processed it since the list of segments was made.
            exists = self.plan.length is None and has_clip(self.out, name)
            if not is_locked or exists or self.journal.last.get(name) != self._before[name]:
                return TAKEN
            self._check_disk()
            if self.stop.is_set():
                return None
            (failure, clips, rest), tries = self._try(downloader, name)
            if failure and self.stop.is_set():
                return None
            event: Event = {
                "id": name, "video": segment.video, "start": segment.start,
                "end": None if segment.end == inf else segment.end, "tries": tries,
                "when": datetime.now(UTC).isoformat(timespec="seconds"),
                "class": failure.kind if failure else "done", "message": str(failure or ""),
            }  # fmt: skip
            if self.plan.length and not failure:
                event |= {"clips": list(clips), "rest": round(rest, 3)}
            self.journal.write(event)
            self._count(failure)
            return event["class"]

    def _is_too_short(self, name: str) -> bool:
        """Tell whether a segment is shorter than the clips that segments are cut into."""
        return self.plan.length is not None and not self.plan.length.fits(self.plan.segments[name])

    def _try(self, downloader: YoutubeDL, name: str) -> tuple[Outcome, int]:
        """Download one segment, with retries: what became of it, and the number of tries."""
        if self._is_too_short(name):
            segment = self.plan.segments[name]
            return Outcome(self._too_short(segment.end - segment.start)), 0
        # Not called by the id: yt-dlp expands variables in paths.
        work, retries = self.folder / f"clip-{threading.get_ident()}", self.settings.retries
        try:
            for tries in range(1, retries + 2):
                outcome = self._download_and_cut(downloader, name, work)
                if outcome.failure is None or outcome.failure.kind != "network" or tries > retries:
                    break
                if self.stop.wait(self.settings.backoff * 2 ** (tries - 1) * random.uniform(0.75, 1.25)):
                    break
            return outcome, tries
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _download_and_cut(self, downloader: YoutubeDL, name: str, work: Path) -> Outcome:
        """Download and cut one segment, and add its clips."""
        segment = self.plan.segments[name]
        is_cut = CLIP in self.settings.url  # the site has the clips themselves
        section, origin = None, segment.start if is_cut else 0.0
        if self.settings.mode == "section" and segment.end != inf and not is_cut:
            origin = max(segment.start - MARGIN, 0.0)
            section = (origin, segment.end + MARGIN)
        try:
            work.mkdir(exist_ok=True)
            address = self.settings.url.replace("{id}", quote(segment.video, safe=""))
            address = address.replace(CLIP, quote(name, safe=""))
            files = download_video(downloader, address, work, section)
        except (Failure, OSError) as error:
            return Outcome(failure_of(error))
        try:
            got = Download(files, origin, section is not None)
            end = measure_recording(files.video, files.sound) + origin if self.plan.length else inf
            cuts, rest = self.plan.cuts_of(name, end)
            missing = got.expected(segment) - max(end - segment.start, 0.0)
            if got.is_section and missing > MARGIN:
                raise Failure("network", f"{missing:.1f} s at the end were not downloaded")
            if not cuts:
                raise self._too_short(min(segment.end, end) - segment.start)
            return self._cut_all(cuts, rest, got, work)
        except Failure as failure:
            return Outcome(failure)
        except MediaError as error:
            # A file that lacks its end may seem to lack a stream: that says nothing about the video on the site.
            is_broken = is_truncated(files.video) or is_truncated(files.sound)
            kind = "damaged" if is_broken else "no audio" if error.kind == "no sound" else error.kind
            return Outcome(Failure(kind, f"{Path(error.path).name} {error.reason}"))
        except (OSError, av.FFmpegError, soundfile.LibsndfileError) as error:
            return Outcome(failure_of(error))

    def _too_short(self, seconds: float) -> Failure:
        assert self.plan.length
        return Failure("short", f"lasts {max(seconds, 0):.1f} s, less than --seconds {self.plan.length.seconds:g}")

    def _cut_all(self, cuts: list[Cut], rest: float, got: Download, work: Path) -> Outcome:
        """Cut what was downloaded into clips, and add each of them that is missing.

        Args:
            cuts: the clips, seconds of the video.
            rest: seconds that are in none of them.
            got: what was downloaded.
            work: folder for incomplete files.
        """
        mp4, wav = work / "clip.mp4", work / "clip.wav"
        made: list[Cut] = []
        for cut in cuts:
            if made and self.stop.is_set():
                raise Failure("other", "the run was stopped")
            if not self.plan.length or not has_clip(self.out, cut.clip):  # an interrupted run may have made some
                seconds = self._cut(cut, got, mp4, wav, is_first=not made)
                if seconds < got.expected(cut) - MARGIN and got.is_section:
                    # ffmpeg may mistake a broken connection for the end of the video.
                    expected = got.expected(cut)
                    raise Failure("network", f"only {seconds:.1f} s of {expected:.1f} s were downloaded")
                if self.plan.length and seconds < cut.end - cut.start - MARGIN:  # it ends before its header says
                    if not made:
                        raise self._too_short(seconds)
                    rest += cuts[-1].end - made[-1].end
                    break
                self._add(cut.clip, mp4, wav)
            made.append(cut)
        return Outcome(None, tuple(cut.clip for cut in made), rest)

    def _cut(self, cut: Cut, got: Download, mp4: Path, wav: Path, is_first: bool) -> float:
        """Write the files of a clip; returns its duration, seconds, 0 where nothing follows the first clip."""
        start, end, height, fps = cut.start - got.origin, cut.end - got.origin, self.settings.height, self.settings.fps
        try:
            return cut_clip(got.files.video, got.files.sound, start, end, mp4, wav, height, fps)
        except MediaError as error:
            if is_first or error.kind != "short":
                raise
            return 0.0

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
