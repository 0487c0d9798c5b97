"""Generate the demo dataset: two-second clips of twelve drawn and synthesized instruments.

    python data/make_demo_data.py                     # data/demo: 1500 train, 120 val and 200 test clips
    python data/make_demo_data.py --sheet sheet.png   # the same, plus a contact sheet

Nothing is downloaded. The same settings give the same files, whatever the number of processes. An interrupted run is
resumed by the same command.

    OUT/demo.json               the settings
    OUT/SPLIT/vid2genre.json    {ID: [mid]}, the class of the sounding object
    OUT/SPLIT/boxes.json        {ID: [{"time": s, "box": [x0, y0, x1, y1], "label": mid, "sounding": bool}]}
    OUT/SPLIT/video/ID.mp4      H.264 at 25 frames per second, AAC
    OUT/SPLIT/audio/ID.wav      mono, 16 bit; sample 0 is at time 0 of the video
    OUT/duets/                  pictures of two sounding instruments, for eval.py --benchmark is3
    OUT/masks/                  masks of sounding objects, for eval.py --benchmark avsbench_s4 and avsbench_ms3
"""

import argparse
import os
from pathlib import Path

import _path  # noqa: F401

from data.demo_clips import SIZES
from utils.arguments import answer_help, at_least, worker_count


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, default=Path("data/demo"), help="folder of the dataset [data/demo]")
    for split, clips in SIZES.items():
        add(f"--{split}", type=at_least(1), default=clips, metavar="N", help=f"number of {split} clips [{clips}]")
    add("--seed", type=at_least(0, most=2**32 - 1), default=0, help="seed of the random generator [0]")
    rates = (16000, 22050, 32000, 44100, 48000)
    add("--sample_rate", type=int, default=16000, choices=rates, help="sample rate of the sound, Hz [16000]")
    add("--workers", type=worker_count, default=os.cpu_count(), help="number of processes [all cores]")
    add("--sheet", type=Path, metavar="PNG", help="also write a contact sheet of the set to this file [none]")
    return parser.parse_args(argv)


if __name__ == "__main__":  # the libraries below take a second to import
    answer_help(lambda: parse_arguments(None))

import json
from typing import Any

import av
import numpy as np

from data.demo_clips.classes import CLASSES
from data.demo_clips.clip import SPLITS, DemoClip, make_clip
from data.demo_clips.contact_sheet import write_contact_sheet
from data.demo_clips.test_sets import are_test_sets_complete, describe_test_sets, make_test_sets
from dataset.making.workers.processes import Lost, map_in_processes
from dataset.reading.annotations import load_json
from utils.errors import UserError, exit_on_user_error
from utils.files import is_empty_folder, write_text
from utils.locks import lock_folder
from utils.progress_bar import progress_bar

VERSION = 1  # of the generator: raise it whenever the same settings no longer give the same clips


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, make the clips that are missing, report the size of the set."""
    args = parse_arguments(argv)
    settings = {name: getattr(args, name) for name in (*SPLITS, "seed", "sample_rate")} | {"version": VERSION}
    try:
        with lock_folder(args.out, "--out"):
            open_folder(args.out, settings)
            clips, test_sets = is_complete(args.out, settings), are_test_sets_complete(args.out, settings)
            if clips and test_sets:
                print(f"{args.out} is complete: nothing to do")
            remove_unfinished(args.out)
            if not clips:
                make_clips(args.out, settings, args.workers)
            if not test_sets:
                make_test_sets(args.out, settings, args.workers)
        report(args.out, settings)
        if args.sheet:
            write_contact_sheet(args.out, args.sheet)
            print(f"contact sheet: {args.sheet}")
    except (OSError, av.FFmpegError) as error:
        raise UserError(f"{error}: fix this, then repeat the command to resume") from None


def open_folder(root: Path, settings: dict[str, Any]) -> None:
    """Create the folders of the set and its demo.json.

    Args:
        root: folder of the dataset.
        settings: content of demo.json.

    Raises:
        UserError: the folder holds a set with other settings, or something else.
    """
    note = root / "demo.json"
    if note.exists():
        earlier = load_json(note, "the settings of a demo set")
        if earlier != settings:
            raise UserError(
                f"{root} holds a demo set with other settings ({earlier} instead of {settings}): choose another folder "
                "with --out, or delete this one"
            )
    elif root.exists() and not is_empty_folder(root):
        raise UserError(f"{root} is not empty and holds no demo set: choose a new or an empty folder with --out")
    for split in SPLITS:
        for kind in ("audio", "video"):
            (root / split / kind).mkdir(parents=True, exist_ok=True)
    if not note.exists():
        write_table(note, settings)


def is_complete(root: Path, settings: dict[str, Any]) -> bool:
    """Check that all clips of the set in `root` exist, as many as `settings` ask for, and its tables, written last."""
    for split in SPLITS:
        folder = root / split
        if not ((folder / "vid2genre.json").exists() and (folder / "boxes.json").exists()):
            return False
        ids = load_json(folder / "vid2genre.json", "id: [mid]")
        wavs, mp4s = set(os.listdir(folder / "audio")), set(os.listdir(folder / "video"))
        if len(ids) != settings[split] or not all(f"{clip}.wav" in wavs and f"{clip}.mp4" in mp4s for clip in ids):
            return False
    return True


def remove_unfinished(root: Path) -> None:
    """Remove the files in `root` that an interrupted run left half-written."""
    for stale in root.glob("**/.*.tmp"):
        stale.unlink()


def make_clips(root: Path, settings: dict[str, Any], workers: int) -> None:
    """Make the clips that are missing in `root`, with these settings, on `workers` processes; then write the tables."""
    jobs = []
    for number, split in enumerate(SPLITS):
        labels = np.arange(settings[split]) % len(CLASSES)
        # The fourth number distinguishes this generator from those of the clips.
        np.random.default_rng([settings["seed"], number, 0, 1]).shuffle(labels)
        constant = (root, settings["seed"], settings["sample_rate"])
        jobs += [(split, index, int(label), *constant) for index, label in enumerate(labels)]
    clips: dict[tuple, DemoClip] = {}
    with progress_bar(len(jobs), desc=str(root)) as bar:
        for job, clip in map_in_processes(make_clip, jobs, workers):
            if isinstance(clip, Lost):
                raise UserError(f"the process that made clip {job[1]} of {job[0]} was killed: repeat the command")
            clips[job] = clip
            bar.update()
    for split in SPLITS:
        of_split = [clips[job] for job in jobs if job[0] == split]
        write_table(root / split / "boxes.json", {clip.id: clip.boxes for clip in of_split})
        write_table(root / split / "vid2genre.json", {clip.id: [clip.mid] for clip in of_split})


def report(root: Path, settings: dict[str, Any]) -> None:
    """Print the size of the set of these settings in `root`, and two fractions that matter to localization."""
    counts, inside, silent = [], [], []
    for split in SPLITS:
        boxes = load_json(root / split / "boxes.json", "id: [box, ...]")
        counts.append(f"{len(boxes)} {split}")
        for entries in boxes.values():
            silent.append(any(not entry["sounding"] for entry in entries))
            for x0, y0, x1, y1 in (entry["box"] for entry in entries if entry["sounding"]):
                inside.append(x0 <= 0.5 <= x1 and y0 <= 0.5 <= y1)
    size = sum(entry.stat().st_size for entry in root.rglob("*") if entry.is_file()) / 1e6
    print(f"{root}: {', '.join(counts)} clips, {size:.1f} MB")
    print(f"the center of the frame is inside the sounding box in {np.mean(inside):.1%} of the labeled frames")
    print(f"a silent instrument is visible in {np.mean(silent):.1%} of the clips")
    print(describe_test_sets(settings))


def write_table(path: Path, value: Any) -> None:
    """Write `value` as JSON of one line to the file `path`: the same bytes for the same settings in every version."""
    write_text(path, json.dumps(value) + "\n")


if __name__ == "__main__":
    with exit_on_user_error():
        main()
