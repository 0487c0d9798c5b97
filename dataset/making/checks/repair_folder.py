"""Repair clips of a dataset into another dataset folder, DIR/SPLIT/..., with labels and boxes, and DIR/repaired.csv.

The source is only read. No clip in DIR is replaced; a run that was interrupted is completed by the same command.
"""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dataset.making.checks.clip_checks import CheckResult
from dataset.making.checks.repair import Repair, is_curable
from dataset.making.split_folders import TABLES, SplitFolder
from dataset.making.text import escape_surrogates, printable
from dataset.reading.annotations import load_json
from dataset.reading.clips import clip_files
from utils.errors import UserError
from utils.files import write_json, write_text

REPAIRED_LIST = "repaired.csv"
COLUMNS = ("split", "clip", "problem", "repaired", "what")


class RepairJob(NamedTuple):
    """The arguments of `repair_clip`."""

    clip: str
    mp4: Path
    wav: Path
    result: CheckResult
    mp4_target: Path
    wav_target: Path

    @property
    def split(self) -> str:
        """Name of its split."""
        return self.mp4_target.parent.parent.name


def plan_repairs(
    splits: Sequence[SplitFolder], results: Mapping[tuple[str, str], CheckResult], target: Path, option: str
) -> list[RepairJob]:
    """List the clips to repair, those that an earlier run repaired left out.

    Args:
        splits: of the dataset.
        results: {(split, clip): result of checking it}.
        target: folder to write to.
        option: of the command line, which names `target`, for messages.

    Raises:
        UserError: a file that this command did not write is in the way.
    """
    done = {(row["split"], row["clip"]) for row in _read_list(target, option) if row["repaired"] == "yes"}
    jobs = []
    for split in splits:
        for clip in split.ids:
            result = results[split.name, clip]
            if not is_curable(result):
                continue
            files = clip_files(target / split.name, clip)
            existing = [path for path in files if os.path.lexists(path)]
            if len(existing) == 2 and (escape_surrogates(split.name), escape_surrogates(clip)) in done:
                continue
            if existing:
                raise UserError(f"{printable(str(existing[0]))} already exists: choose another folder with {option}")
            jobs.append(RepairJob(clip, *clip_files(split.folder, clip), result, *files))
    return jobs


def refuse_target_in_source(root: Path, splits: Sequence[SplitFolder], target: Path, option: str) -> None:
    """Refuse to write into the dataset itself.

    Args:
        root: the dataset.
        splits: its splits.
        target: folder to write to.
        option: names it on the command line.

    Raises:
        UserError: `target`, or the folder of a split in it, is the dataset, one of its splits, or in it.
    """
    real = target.resolve()
    sources = [root.resolve(), *(split.folder.resolve() for split in splits)]
    folders = [real, *((real / split.name).resolve() for split in splits)]
    if any(folder.is_relative_to(source) for folder in folders for source in sources):
        raise UserError(f"{target} is the dataset {root} or a folder in it: choose another folder with {option}")


def make_folders(jobs: Sequence[RepairJob]) -> None:
    """Create the folders that `jobs` write to, and remove what a killed run left half-written.

    Raises:
        OSError: they can't be written.
    """
    for folder in {path.parent for job in jobs for path in (job.mp4_target, job.wav_target)}:
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob(".*.tmp"):
            stale.unlink()


def record_repair(split: SplitFolder, job: RepairJob, repair: Repair, target: Path, option: str) -> None:
    """Write the entries of a repaired clip to the tables of its split, and what was done to it to repaired.csv.

    Args:
        split: of the source.
        job: what was to do.
        repair: what became of it.
        target: the folder.
        option: names it on the command line.

    Raises:
        OSError: it can't be written.
        UserError: a table there has another entry for the clip.
    """
    for name in TABLES if repair.steps else ():
        _add_entry(split.folder / name, target / split.name / name, repair, option)
    problem = job.result.message or "the wav is longer than the video"
    what = "; ".join(repair.steps) or repair.reason
    values = (split.name, job.clip, problem, "yes" if repair.steps else "no", what)
    row = dict(zip(COLUMNS, map(escape_surrogates, values), strict=True))
    rows = {(row["split"], row["clip"]): row for row in _read_list(target, option)}
    rows[row["split"], row["clip"]] = row
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows.values())
    write_text(target / REPAIRED_LIST, out.getvalue())


def _add_entry(source: Path, target: Path, repair: Repair, option: str) -> None:
    """Add the entry of a clip to a table; the times of boxes count from the clip's new start."""
    here, there = (load_json(path, "id: entry") if path.exists() else {} for path in (source, target))
    if not isinstance(there, dict):
        raise UserError(f"{target} is not a table: choose another folder with {option}")
    if repair.clip not in here and source.name != TABLES[0]:  # a clip without labels is listed all the same
        return
    entry = _shift_times(here.get(repair.clip, []), repair.start)
    if there.get(repair.clip, entry) != entry:
        raise UserError(f"{target} has another entry for clip {repair.clip}: choose another folder with {option}")
    write_json(target, there | {repair.clip: entry})


def _shift_times(entry: Any, start: float) -> Any:
    """The entry of a table of a clip that begins `start` seconds later: boxes before that are gone."""
    if not start or not all(isinstance(box, dict) for box in entry):
        return entry
    return [{**box, "time": box["time"] - start} for box in entry if box["time"] >= start]


def _read_list(target: Path, option: str) -> list[dict[str, str]]:
    """Read the rows of an earlier repaired.csv; none if there is no such file."""
    path = target / REPAIRED_LIST
    if not path.exists():
        return []
    try:
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")), strict=True)
        rows = list(reader)
    except (OSError, ValueError, csv.Error):
        rows, reader = [], None
    if reader is None or tuple(reader.fieldnames or ()) != COLUMNS:
        raise UserError(f"{path} is not a list of repaired clips: choose another folder with {option}")
    return rows
