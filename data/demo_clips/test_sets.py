"""Test sets of the demo, in the layouts of public benchmarks: duets (IS3's) and masks (AVSBench's).

Both are drawn and synthesized as the clips are, from seeds of their own, and grow with the test split.
"""

import json
from pathlib import Path
from typing import Any

from data.demo_clips import duets, masked_clips
from data.demo_clips.classes import WORDS
from dataset.making.text import count_text
from dataset.making.workers.processes import Lost, map_in_processes
from utils.errors import UserError
from utils.files import write_text
from utils.progress_bar import progress_bar

DUETS_SHARE = 0.3  # pictures of duets for each clip of the test split
MASKED_SHARE = 0.04  # clips with masks, in each part, for each clip of the test split
PARTS = tuple(masked_clips.STREAMS)


def set_sizes(settings: dict[str, Any]) -> dict[str, int]:
    """Compute the number of pictures of duets and of clips of "s4" and "ms3" for the demo's `settings`: at least 1."""
    shares = {"duets": DUETS_SHARE} | dict.fromkeys(PARTS, MASKED_SHARE)
    return {name: max(round(share * settings["test"]), 1) for name, share in shares.items()}


def are_test_sets_complete(root: Path, settings: dict[str, Any]) -> bool:
    """Check that all files of the test sets in `root` exist, as many as `settings` ask for, and the tables."""
    sizes = set_sizes(settings)
    files = [path for k in range(sizes["duets"]) for three in duets.duet_files(root, k) for path in three]
    clips = [masked_clips.masked_files(root, part, k) for part in PARTS for k in range(sizes[part])]
    return all(path.exists() for path in (*_tables(root).values(), *files)) and all(clip.exist() for clip in clips)


def make_test_sets(root: Path, settings: dict[str, Any], workers: int) -> None:
    """Make what is missing of the test sets in `root`, on `workers` processes; then write the tables.

    Args:
        root: folder of the demo set.
        settings: its demo.json.
        workers: number of processes.

    Raises:
        UserError: a process was killed.
    """
    for kind in ("images", "audio_wav", "gt_segmentation"):
        (root / duets.FOLDER / kind).mkdir(parents=True, exist_ok=True)
    sizes, constant = set_sizes(settings), (root, settings["seed"], settings["sample_rate"])
    jobs = [(name, k, *constant) for name, size in sizes.items() for k in range(size)]
    entries: dict[int, list[dict[str, Any]]] = {}
    with progress_bar(len(jobs), desc=f"{root}: test sets") as bar:
        for job, made in map_in_processes(_make, jobs, workers):
            if isinstance(made, Lost):
                raise UserError(f"the process that made {job[0]} {job[1]} was killed: repeat the command")
            if job[0] == "duets":
                entries[job[1]] = made
            bar.update()
    tables = _tables(root)
    write_text(tables["duets"], json.dumps([entry for k in sorted(entries) for entry in entries[k]]) + "\n")
    for part in PARTS:
        write_text(tables[part], _csv(part, sizes[part]))


def describe_test_sets(settings: dict[str, Any]) -> str:
    """Say in one line what the test sets for the demo's `settings` hold."""
    sizes = set_sizes(settings)
    frames = " and ".join(f"{masked_clips.FRAMES * sizes[part]} frames of {part.upper()}" for part in PARTS)
    pictures = count_text(sizes["duets"], "picture")
    return f"test sets: {pictures} of two sounding instruments in duets/, {frames} in masks/"


def _make(name: str, index: int, root: Path, seed: int, rate: int) -> list[dict[str, Any]]:
    """Make one picture of the duets, or one clip of the part `name`; return the entries of the duets' table."""
    if name == "duets":
        return duets.make_duet(index, root, seed, rate)
    masked_clips.make_masked_clip(name, index, root, seed, rate)
    return []


def _tables(root: Path) -> dict[str, Path]:
    """The table of each set, written last."""
    masks = root / masked_clips.FOLDER
    return {
        "duets": root / duets.FOLDER / duets.TABLE,
        "s4": masks / "Single-source" / "s4_meta_data.csv",
        "ms3": masks / "Multi-sources" / "ms3_meta_data.csv",
    }


def _csv(part: str, size: int) -> str:
    """The table of a part of AVSBench."""
    if part == "ms3":
        rows = ["video_id,split", *(f"{masked_clips.masked_name(part, k)},test" for k in range(size))]
    else:
        words = [WORDS[masked_clips.masked_labels(part, k)[0]] for k in range(size)]
        names = [masked_clips.masked_name(part, k) for k in range(size)]
        rows = [
            "name,label,category,split",
            *(f"{name},{k},{word},test" for k, (name, word) in enumerate(zip(names, words, strict=True))),
        ]
    return "\n".join(rows) + "\n"
