"""The threads of a download: each claims a clip, has it fetched and cut, and puts it in its place."""

import os
import queue
import random
import shutil
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import av
import soundfile

from data.download.failures import KINDS, STOPPING, Failure, failure_of
from data.download.fetch import downloader, fetch
from data.download.state import claimed, files_of, is_there
from dataset.making.cut import cut_clip
from dataset.reading.clip_reader import is_truncated
from dataset.reading.errors import MediaError

IN_A_ROW = 50  # so many clips one after the other that can't be had, but might be: then it is not the clips
# So much more than the section is asked for, seconds: the picture that is shown at its start comes before it. It may
# lack as much at its end: sites round the length of a video.
MARGIN = 0.5


class Workers:
    """Threads that work off a list of clips.

    Args:
        out: Path of the split. rows: {id: Segment} to do. folder: of `work_folder`. journal: `Journal`.
        args: the script's settings. cookies: text or None.

    Attributes:
        results: queue of (clip, outcome): "done", a class of failures, or "taken": another process has or had it; or
            (None, exception) where a worker broke down.
        stop: Event; once it is set the threads end soon, and what they were at is dropped.
        why: the sentence that says why they stopped by themselves, or None.
    """

    def __init__(self, out, rows, folder, journal, args, cookies=None):
        self.out, self.folder, self.journal, self.args, self.cookies = out, folder, journal, args, cookies
        self.results, self.stop, self.why = queue.SimpleQueue(), threading.Event(), None
        self._before = {clip: journal.last.get(clip) for clip in rows}
        self._rows, self._lock, self._failed = iter(rows.items()), threading.Lock(), 0
        self._placing = threading.Lock()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(args.workers)]

    def start(self):
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def alive(self):
        """Whether any thread is still at work."""
        return any(thread.is_alive() for thread in self._threads)

    def end(self, seconds=6):
        """Stop, wait for the threads, but no longer than `seconds`: from then on nothing is put in place any more."""
        self.stop.set()
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0))
        self._placing.acquire()

    def _work(self):
        try:
            with downloader(self.stop, self.args.height, self.args.rate, self.args.timeout, self.args.retries,
                            self.cookies, self.args.proxy) as ydl:  # fmt: skip
                while not self.stop.is_set():
                    with self._lock:
                        clip, segment = next(self._rows, (None, None))
                    if clip is None:
                        return
                    outcome = self._one(ydl, clip, segment)
                    self.results.put((clip, outcome))
                    if outcome != "taken":
                        self.stop.wait(self.args.sleep * random.uniform(0.5, 1.5))
        except BaseException as error:
            self.stop.set()
            self.results.put((None, error))

    def _one(self, ydl, clip, segment):
        """Have one clip, or say why not: the outcome, see `results`; None where the run was stopped."""
        with claimed(self.out, clip) as mine:
            self.journal.refresh()
            # Another process may have been at it since the list was looked through.
            if not mine or is_there(self.out, clip) or self.journal.last.get(clip) != self._before[clip]:
                return "taken"
            self._check_disk()
            if self.stop.is_set():
                return None
            failure, tries = self._try(ydl, clip, segment)
            if failure and self.stop.is_set():
                return None
            event = {"id": clip, "video": segment.video, "start": segment.start, "end": segment.end, "tries": tries}
            event |= {"when": datetime.now(UTC).isoformat(timespec="seconds")}
            event |= {"class": failure.kind if failure else "done", "message": str(failure or "")}
            self.journal.write(event)
            self._count(failure)
            return event["class"]

    def _try(self, ydl, clip, segment):
        """(None or the Failure, number of tries)."""
        work = self.folder / clip
        try:
            for tried in range(1, self.args.retries + 2):
                failure = self._fetch_and_cut(ydl, clip, segment, work)
                if failure is None or failure.kind != "network" or tried > self.args.retries:
                    break
                if self.stop.wait(self.args.backoff * 2 ** (tried - 1) * random.uniform(0.75, 1.25)):
                    break
            return failure, tried
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _fetch_and_cut(self, ydl, clip, segment, work):
        """None where the clip is in its place, or the Failure."""
        mp4, wav = work / "clip.mp4", work / "clip.wav"
        asked, zero = None, 0.0  # the section asked for, and the video's time at which its files begin
        if self.args.mode == "section":
            zero = max(segment.start - MARGIN, 0.0)
            asked = (zero, segment.end + MARGIN)
        try:
            work.mkdir(exist_ok=True)
            picture, sound, lasts = fetch(ydl, self.args.url.replace("{id}", segment.video), work, asked)
            start, end = segment.start - zero, segment.end - zero
            seconds = cut_clip(picture, sound, start, end, mp4, wav, self.args.height, self.args.fps)
            whole = min(segment.end, lasts or segment.end) - segment.start
            if asked and seconds < whole - MARGIN:
                # ffmpeg may take a connection that breaks off for the end of the video.
                raise Failure("network", f"only {seconds:.1f} s of {whole:.1f} s came")
            self._place(clip, mp4, wav)
        except MediaError as error:
            # A file that lacks its end may seem to lack a stream: that is no verdict on the video.
            broken = any(is_truncated(file) for file in (picture, sound))
            kind = "damaged" if broken else {"no sound": "no audio"}.get(error.kind, error.kind)
            return Failure(kind, f"{Path(error.path).name} {error.reason}")
        except (Failure, OSError, av.FFmpegError, soundfile.LibsndfileError) as error:
            return failure_of(error)
        return None

    def _place(self, clip, mp4, wav):
        """Put a clip that is whole in its place; it is there as soon as the second half, the mp4, is."""
        for file in (mp4, wav):
            with open(file, "rb") as written:
                os.fsync(written.fileno())
        with self._placing:
            in_place = files_of(self.out, clip)
            os.replace(wav, in_place[1])
            os.replace(mp4, in_place[0])

    def _check_disk(self):
        free = shutil.disk_usage(self.out).free / 1e9
        if free < self.args.min_free:
            self._end(f"only {free:.1f} GB are free where {self.out} lies, less than --min_free "
                      f"{self.args.min_free:g}: make room, then run the same command again")  # fmt: skip

    def _count(self, failure):
        if failure and failure.kind in STOPPING:
            self._end(f"stopped by {failure.kind!r} ({failure}): {KINDS[failure.kind].advice}, "
                      "then run the same command again")  # fmt: skip
        with self._lock:
            self._failed = self._failed + 1 if failure and KINDS[failure.kind].again else 0
            if self._failed >= IN_A_ROW:
                self._end(f"nothing came through for {IN_A_ROW} clips in a row (the last: {failure.kind}, {failure}): "
                          "see that the network and the site work, then run the same command again")  # fmt: skip

    def _end(self, sentence):
        self.why = self.why or sentence
        self.stop.set()
