"""Measure on some clips of a public benchmark: those of a list, or those whose class is audible and visible."""

import importlib
from pathlib import Path

from dataset.making.text import count_text
from dataset.reading.benchmarks.benchmark import Classes
from evaluation.tasks.clip_list import Choice, list_note, match_list, read_clip_list
from utils.errors import UserError

TABLE_HINT = "pip install vggsounder"


class BenchmarkChoice:
    """Chooses clips of a benchmark, and tells what it chose.

    Args:
        name: of the benchmark.
        folder: of the benchmark, for messages.
        ids: path of a list, see `read_clip_list`; of one that has parts, test is taken. None: all clips.
        audible_and_visible: take VGG-SS's clips whose class vggsounder's table calls audible and visible.

    Attributes:
        told: what `choose` chose.

    Raises:
        UserError: the table knows no other benchmark's clips.
    """

    def __init__(self, name: str, folder: Path | str, ids: str | None, audible_and_visible: bool) -> None:
        if audible_and_visible and name != "vggss":
            raise UserError("--audible_and_visible chooses clips of VGG-SS: add --benchmark vggss, or leave it out")
        self._folder, self._ids, self._audible_and_visible = folder, ids, audible_and_visible
        self.told = Choice({}, [])

    def choose(self, classes: Classes) -> list[str]:
        """Choose from the clips of a benchmark.

        Args:
            classes: {clip: the classes of its sounds}.

        Raises:
            UserError: the list or the table can't be read, or nothing is left.
        """
        clips = list(classes)
        if self._ids:
            clips, _, about = match_list(clips, (), self._folder, read_clip_list(Path(self._ids), "test"))
            self.told.values["ids"] = about
            self.told.notes.append(list_note(about))
        if self._audible_and_visible:
            clips = self._both({clip: classes[clip] for clip in clips})
        return clips

    def _both(self, classes: Classes) -> list[str]:
        """The clips whose class is audible and visible."""
        table = read_vggsounder()
        listed = [clip for clip in classes if clip in table]
        kept = [clip for clip in listed if any(table[clip].get(name) == "AV" for name in classes[clip])]
        if not kept:
            raise UserError(
                f"{self._folder} has no clip whose class vggsounder's table calls audible and visible: check that "
                "vggss.json has each clip's class"
            )
        counts = {"clips": len(classes), "listed": len(listed), "kept": len(kept)}
        self.told.values["audible_and_visible"] = counts
        self.told.notes.append(
            f"of {count_text(len(classes), 'clip')} {len(listed):,} are in vggsounder's table, and the annotated class "
            f"of {len(kept):,} is audible and visible: only these are measured"
        )
        return kept


def read_vggsounder() -> dict[str, dict[str, str]]:
    """Read the table of the package vggsounder: {clip of VGGSound: {class: "A", "V" or "AV"}}.

    As the package gives it, without the clips that have background music: 12,014 clips in version 1.0.

    Raises:
        UserError: the package is missing.
    """
    try:
        package = importlib.import_module("vggsounder")
    except ImportError:
        raise UserError(f"--audible_and_visible needs the table of the package vggsounder: {TABLE_HINT}") from None
    return {video.video_id: dict(zip(video.labels, video.modalities, strict=True)) for video in package.VGGSounder()}
