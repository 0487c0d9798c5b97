"""A download on the machines of a Ray cluster: each gets some segments at a time, and downloads them in threads."""

import queue
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from data.download.fetch import find_ffmpeg
from data.download.folders import work_folder
from data.download.journal import Event, Journal
from data.download.plan import DownloadPlan
from data.download.settings import DownloadSettings
from data.download.workers import MAX_FAILURES_IN_A_ROW, TAKEN, Workers
from dataset.making.workers.clip_map import map_clips
from dataset.making.workers.processes import Lost
from dataset.making.workers.ray_cluster import RayCluster

PART_SEGMENTS = MAX_FAILURES_IN_A_ROW + 14  # so that a machine notices a site that refuses everything


class ClusterWorkers:
    """Downloads the segments of a list on the machines of a cluster; to a script it is like `Workers`.

    Args:
        out: folder of the split, which all machines share.
        plan: of the list.
        missing: names of the segments to download.
        journal: of the folder.
        settings: of the run; its workers are those of each machine.
        cluster: with as many calls at a time as machines.

    Attributes:
        results, reason: as of `Workers`.
    """

    def __init__(
        self,
        out: Path,
        plan: DownloadPlan,
        missing: Iterable[str],
        journal: Journal,
        settings: DownloadSettings,
        cluster: RayCluster,
    ) -> None:
        self.results: queue.SimpleQueue[tuple[str, str] | tuple[None, BaseException]] = queue.SimpleQueue()
        self.plan = plan
        self.reason: str | None = None
        self._cluster, self._journal = cluster, journal
        names = list(missing)
        parts = [names[k : k + PART_SEGMENTS] for k in range(0, len(names), PART_SEGMENTS)]
        self._jobs = [
            (
                out.absolute(), DownloadPlan({name: plan.segments[name] for name in part}, plan.length),
                {name: journal.last[name] for name in part if name in journal.last}, journal.position, settings,
            )
            for part in parts
        ]  # fmt: skip
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Start the downloads."""
        self._thread.start()

    def are_alive(self) -> bool:
        """Check whether any machine is still at work."""
        return self._thread.is_alive()

    def end(self, seconds: float = 6.0) -> None:
        """Stop the machines, and wait for at most `seconds`; what they work on is dropped."""
        self._cluster.stop()
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            for _, found in map_clips(download_part, self._jobs, self._cluster):
                if isinstance(found, Lost):
                    self.reason = "a process that downloads has crashed: repeat the command"
                    return
                outcomes, self.reason = found
                self._journal.refresh()
                for outcome in outcomes:
                    self.results.put(outcome)
                if self.reason is not None:
                    return
        except BaseException as error:
            self.results.put((None, error))


def download_part(
    out: Path, plan: DownloadPlan, last: dict[str, Event], position: int, settings: DownloadSettings
) -> tuple[list[tuple[str, str]], str | None]:
    """Download some segments of a list on this machine.

    Args:
        out: folder of the split.
        plan: of these segments.
        last: their last events, of the first `position` bytes of the journal.
        position: bytes.
        settings: of the run.

    Returns:
        (segment, outcome) of each, see `Workers.results`; and why all further ones would fail, or None.
    """
    with work_folder(out) as folder:
        if settings.mode == "section":
            find_ffmpeg(folder)
        journal = Journal(out, last, position)
        workers = Workers(out, plan, plan.segments, folder, journal, settings)
        workers.start()
        while workers.are_alive():
            time.sleep(0.05)
        workers.end()
    outcomes = []
    while not workers.results.empty():
        found = workers.results.get()
        if found[0] is None:
            raise found[1]
        name, outcome = found
        # What a machine that died meanwhile has finished is in the journal.
        has_ended = outcome == TAKEN and journal.last.get(name) not in (None, last.get(name))
        outcomes.append((name, journal.kind(name) if has_ended else outcome))
    return outcomes, workers.reason
