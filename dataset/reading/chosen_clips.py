"""Some clips of a split, in an order of their own."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from dataset.reading.clips import SplitClips
from dataset.reading.reader import ClipDataset, OpenClip
from dataset.reading.settings import DataSettings


class ChosenClips(SplitClips):
    """Some clips of a split: a `dataset.reading.reader.ClipDataset`, but that `ids` have the order of the choice.

    Args:
        clips: of the split, opened for a run.
        chosen: their indices, each once, at least one.
        skipped: those of `clips.skipped` that were chosen, too.
    """

    def __init__(self, clips: ClipDataset, chosen: Sequence[int], skipped: dict[str, str]) -> None:
        labels = {clips.ids[k]: clips.labels[k] for k in chosen}
        boxes = {clip: clips.boxes[clip] for clip in labels if clip in clips.boxes}
        super().__init__(clips.folder, labels, boxes, skipped)
        self.ids, self.labels = list(labels), list(labels.values())  # not sorted
        self.parallel_reads, self.seconds = clips.parallel_reads, clips.seconds
        self._clips, self._chosen = clips, list(chosen)

    @classmethod
    def recognizes(cls, root: Path | str) -> bool:
        """Recognize no `root`: it is made of a split that is open."""
        return False

    def check_settings(self, data: DataSettings) -> None:
        """Raise a `UserError` if a run's settings `data` ask for what the split doesn't hold."""
        self._clips.check_settings(data)

    def open(self, index: int) -> AbstractContextManager[OpenClip]:
        """Open the clip at `index` of the choice."""
        return self._clips.open(self._chosen[index])

    def version(self, index: int) -> str:
        """Identify the content of the clip at `index` of the choice."""
        return self._clips.version(self._chosen[index])
