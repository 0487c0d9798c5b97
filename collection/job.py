"""One piece of work of the page for one visitor: what it is, how far it is, and what came out."""

import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from collection.sandbox import Cancelled
from collection.search_index import MapSource
from collection.video_tasks import VideoTask

Task = VideoTask | Literal["search"]
State = Literal["waiting", "running", "done", "failed", "cancelled"]


@dataclass(eq=False)
class Job:
    """A piece of work for one visitor. Whoever doesn't know its id, a random one, can neither see nor cancel it.

    Attributes:
        task: what to do.
        folder: of the clip and the results.
        owner: the job whose clip it works on; None: it has its own folder and its upload in it.
        options: further arguments of the task.
        id: by which its visitor names it.
        state, stage, fraction: how far it is; fraction of the stage in 0..1.
        status, error: why it has failed: a status of HTTP, and one sentence.
        result: once it is done, plain data for JSON.
        map_source: of a search, once it is done: what its maps are drawn from; None where there are none.
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
    status: int = 200
    error: str = ""
    result: dict[str, Any] | None = None
    map_source: MapSource | None = None
    seen: float = field(default_factory=time.monotonic)
    begun: float = 0.0
    ended: float = 0.0

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ("done", "failed", "cancelled")

    @property
    def upload(self) -> Path:
        """Where its visitor's file is stored, never under the name that the visitor gave it."""
        return self.folder / "upload"

    @property
    def stop_file(self) -> Path:
        """Exists once it is not wanted any more while a process works on it."""
        return self.folder / f"{self.id}.stop"

    def is_wanted(self) -> bool:
        """Whether it still runs: it was neither cancelled nor has it failed."""
        return self.state == "running"

    def note(self, stage: str, fraction: float = 0.0) -> None:
        """Note how far it is.

        Args:
            stage: what is done now.
            fraction: of this stage, 0..1; 0 also where nobody knows.
        """
        self.stage, self.fraction = stage, fraction

    def progress(self, items: Any, stage: str) -> Iterable[Any]:
        """Pass items on and note how many are done: a `utils.progress_bar.Progress`.

        Args:
            items: of a known number.
            stage: what is done with them.

        Raises:
            Cancelled: the job is not wanted any more.
        """
        for done, item in enumerate(items):
            if not self.is_wanted():
                raise Cancelled
            self.note(stage, done / len(items))
            yield item
