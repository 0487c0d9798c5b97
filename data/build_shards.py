"""Make shards of a dataset: a fast copy in a few large files, which --data.root accepts in the folder's place.

    python data/build_shards.py data/mine data/mine_shards            # SRC/{train,val,test} -> DST
    python data/build_shards.py data/mine data/mine_shards --square   # pictures as the nets see them
    python data/build_shards.py --verify data/mine_shards             # every file against its sha256

The defaults: 5 frames a second, short side 256, JPEG quality 90, 48 kHz, 16 bits. `dataset/reading/shards.py` says what lies in
DST. All cores work, a shard each; the number of processes changes no byte. Stopped half-way, even by SIGKILL, the same
command keeps the shards that are whole and goes on. Nothing of SRC is ever changed.
"""

import argparse
import hashlib
import json
import os
import sys
from math import ceil
from pathlib import Path

import _path  # noqa: F401
from tqdm import tqdm

from dataset.making.processes import map_in_processes
from dataset.making.shard_writer import build_shard, sha256
from dataset.reading.clips import Clips
from dataset.reading.shard_format import (
    MANIFEST,
    REBUILD_HINT,
    UNFINISHED_MANIFEST,
    VERSION,
    is_shards,
    is_valid_entry,
    read_manifest,
    shard_files,
)
from utils.arguments import at_least
from utils.errors import UserError, exit_on_user_error
from utils.files import write_json, write_text

TABLES = ("vid2genre.json", "boxes.json")


# ----------------------------------------------------------------------------------------------------- all shards


def open_source(source, on_error):
    """{split: Clips} of a dataset folder."""
    if is_shards(source):
        raise UserError(f"{source} holds shards already: name the folder that they were made from")
    names = [path.parent.name for path in sorted(source.glob("*/vid2genre.json"))]
    if not names:
        raise UserError(f"{source} holds no split: a dataset is SRC/SPLIT/{{vid2genre.json,video/ID.mp4,audio/ID.wav}}")
    return {name: Clips(source, name, on_error) for name in names}


def plan(clips, settings):
    """The jobs of a split, see `build_shard`: which clip goes where follows from the clips and the settings alone."""
    jobs = []
    for name, first in enumerate(range(0, len(clips), settings["clips"])):
        rows = []
        for index in range(first, min(first + settings["clips"], len(clips))):
            clip = clips.ids[index]
            halves = clips.folder / "video" / f"{clip}.mp4", clips.folder / "audio" / f"{clip}.wav"
            times = sorted({box["time"] for box in clips.boxes.get(clip, ())})
            rows.append([clip, clips.labels[index], times, *(half.stat().st_size for half in halves)])
        seal = hashlib.sha256(json.dumps([first, rows, settings]).encode()).hexdigest()
        jobs.append({"name": f"{name:05d}", "first": first, "clips": rows, "source": seal})
    return jobs


def begin(target, settings):
    """Open DST: ({split: [entry of a shard, ...]} of earlier, whether it was finished); completes the settings.

    Raises:
        UserError: it holds something else, or shards of other settings.
    """
    finished = (target / MANIFEST).exists() and not (target / UNFINISHED_MANIFEST).exists()
    if is_shards(target):
        about = read_manifest(target, MANIFEST if finished else UNFINISHED_MANIFEST)
        settings["clips"] = settings["clips"] or about["settings"]["clips"]
        if about["settings"] != settings:
            other = ", ".join(f"{key} {value}" for key, value in about["settings"].items() if value != settings[key])
            raise UserError(f"{target} holds shards of other settings ({other}): name another DST, or take the same")
        known = about["splits"]
    elif target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} holds something else than shards: name another DST, or an empty folder")
    else:
        known = {}
    for path in target.glob("*/*.done"):
        try:
            entry = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        known.setdefault(path.parent.name, []).append(entry)
    return known, finished


def is_whole(folder, entry, on_error):
    """Whether a shard of earlier can stay."""
    if not is_valid_entry(entry) or (on_error == "stop" and entry["skipped"]):
        return False
    return all(path.is_file() and path.stat().st_size == size for path, size in shard_files(folder, entry))


def build(source, target, settings, workers, on_error):
    """Make the shards of all splits of a dataset folder that are not there yet; see the top of this file.

    Returns:
        {split: [entry in shards.json, ...]}.

    Raises:
        UserError: SRC can't be read, a clip can't (on_error "stop"), DST holds something else or can't be written.
    """
    sources = open_source(source, on_error)
    known, finished = begin(target, settings)
    # At least 64 shards while they hold 8 clips or more: enough for all cores to end at about the same time.
    settings["clips"] = settings["clips"] or min(128, max(8, ceil(sum(map(len, sources.values())) / 64)))
    jobs = {(split, job["name"]): job for split, clips in sources.items() for job in plan(clips, settings)}
    kept = {(split, entry["name"]): entry for split in known for entry in known[split]
            if is_whole(target / split, entry, on_error)}  # fmt: skip
    kept = {key: entry for key, entry in kept.items() if key in jobs and entry.get("source") == jobs[key]["source"]}
    if finished:
        refuse_other(known, jobs, source, target, on_error)
    about = {"version": VERSION, "settings": settings, "splits": by_split(kept, sources)}
    about["missing"] = {split: clips.skipped for split, clips in sources.items() if clips.skipped}
    if not finished or len(kept) < len(jobs):
        lay_out(source, target, sources, about)
        left = [(key, job) for key, job in jobs.items() if key not in kept]
        make(left, kept, source, target, settings, workers, on_error)
        about["splits"] = by_split(kept, sources)
        finish(target, about)
    return about["splits"]


def by_split(entries, splits):
    """{(split, name): entry} -> {split: [entry, ...]}, in order."""
    return {split: [entries[key] for key in sorted(entries) if key[0] == split] for split in splits}


def refuse_other(known, jobs, source, target, on_error):
    """Finished shards are of these very clips, or they are left alone; files that went missing are made again."""
    entries = [entry for split in known.values() for entry in split]
    if sorted(entry.get("source", "") for entry in entries) != sorted(job["source"] for job in jobs.values()):
        raise UserError(f"{target} holds shards of other clips than {source} has now: name another DST, or remove it")
    for clip, why in ((clip, why) for entry in entries for clip, why in entry["skipped"].items()):
        if on_error == "stop":
            raise UserError(f"{target} was made without clip {clip} ({why}): repeat with --on_error skip")


def lay_out(source, target, sources, about):
    """Make DST's folders, with copies of the tables, and take away the drafts of a run that was killed."""
    try:
        target.mkdir(parents=True, exist_ok=True)
        write_json(target / UNFINISHED_MANIFEST, about)
        for split in sources:
            (target / split).mkdir(exist_ok=True)
            for draft in (target / split).glob(".*.tmp"):
                draft.unlink()
            for name in TABLES:
                if (source / split / name).exists():
                    write_text(target / split / name, (source / split / name).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{target} can't be written ({error}): name another DST") from None


def make(jobs, kept, source, target, settings, workers, on_error):
    """Make the shards of `jobs`, [((split, name), job), ...], and put their entries into `kept`; shows a bar."""
    done = sum(len(entry["ids"]) + len(entry["skipped"]) for entry in kept.values())
    total = done + sum(len(job["clips"]) for _, job in jobs)
    calls = [(source / split, target / split, job, settings, on_error) for (split, _), job in jobs]
    pause = 0.1 if sys.stderr.isatty() else 20  # seconds; in a file every change would be another line
    with tqdm(total=total, initial=done, unit="clip", mininterval=pause, smoothing=0) as bar:
        for call, entry in map_in_processes(build_shard, calls, workers):
            job = call[2]
            if entry is None:
                ids = job["clips"][0][0], job["clips"][-1][0]
                raise UserError(
                    f"the decoder crashes on one of the clips {ids[0]} to {ids[1]} of {call[0]}: "
                    f"`python data/check_data.py {source}` finds out which; remove it"
                )
            if isinstance(entry, str):
                raise UserError(entry)
            kept[call[1].name, job["name"]] = entry
            bar.update(len(job["clips"]))


def finish(target, about):
    """Write shards.json; take away what was needed on the way there, and shards that no clip is in any more."""
    try:
        write_json(target / MANIFEST, about)
        (target / UNFINISHED_MANIFEST).unlink()
        for split, entries in about["splits"].items():
            names = {entry["name"] for entry in entries}
            for path in (target / split).glob("[0-9]*.*"):
                if path.suffix == ".done" or path.stem not in names:
                    path.unlink()
    except OSError as error:
        raise UserError(f"{target} can't be written ({error}): put that right and repeat the command") from None


# ------------------------------------------------------------------------------------------------------------- main


def verify(target):
    """Read all files of shards and hold them against their sha256; returns how many.

    Raises:
        UserError: names each file that is missing or damaged.
    """
    about, bad, count = read_manifest(target), [], 0
    for split, shard in tqdm([(name, shard) for name, shards in about["splits"].items() for shard in shards]):
        for path, size in shard_files(target / split, shard):
            count += 1
            wrong = not path.is_file() or path.stat().st_size != size
            if wrong or sha256(path) != shard[f"{path.suffix[1:]}_sha256"]:
                bad.append(str(path))
    if bad:
        raise UserError(f"{', '.join(bad)}: missing or damaged: {REBUILD_HINT}")
    return count


def above_0(kind):
    """An argparse type: a number above 0."""

    def parse(text):
        if not 0 < kind(text) < 1e6:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return kind(text)

    parse.__name__ = kind.__name__
    return parse


def main(argv=None):
    """Read the command line; make shards, or verify them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", nargs="?", type=Path, metavar="SRC", help="dataset folder")
    parser.add_argument("target", nargs="?", type=Path, metavar="DST", help="folder for the shards")
    parser.add_argument("--fps", type=above_0(float), default=5.0, help="frames a second that are kept [5]")
    parser.add_argument(
        "--size", type=at_least(16), default=256, help="short side of the pictures, never enlarged [256]"
    )
    parser.add_argument("--square", action="store_true", help="squeeze pictures into squares, as the nets see them")
    parser.add_argument("--quality", type=at_least(1), default=90, help="of the JPEGs, 1 to 100 [90]")
    parser.add_argument("--rate", type=at_least(1000), default=48000, help="of the sound, Hz [48000]")
    parser.add_argument("--clips", type=at_least(1), help="clips in a shard [128, fewer for less than 8,192 clips]")
    parser.add_argument("--on_error", choices=("stop", "skip"), default="stop", help="at a clip that can't be read")
    parser.add_argument("--workers", type=at_least(1), default=os.cpu_count(), help="processes [all cores]")
    parser.add_argument("--verify", type=Path, metavar="DST", help="check shards, make none")
    args = parser.parse_args(argv)
    if args.verify:
        print(f"{verify(args.verify)} files of {args.verify} are as they were written")
        return
    if args.target is None:
        parser.error("SRC and DST are needed, or --verify DST")
    if args.quality > 100:
        parser.error("argument --quality: at most 100")
    settings = {key: getattr(args, key) for key in ("fps", "size", "square", "quality", "rate", "clips")}
    made = build(args.source, args.target, settings, args.workers, args.on_error)
    for split, entries in made.items():
        size = sum(entry["tar_bytes"] + entry["index_bytes"] for entry in entries) / 1e9
        clips, out = (sum(len(entry[key]) for entry in entries) for key in ("ids", "skipped"))
        left_out = f", {out} left out" if out else ""
        print(f"{split}: {clips} clips in {len(entries)} shards, {size:.2f} GB{left_out}")
    print(f"next: --data.root {args.target}, with a --data.frame_step of {1 / args.fps:g} or a multiple of it")


if __name__ == "__main__":
    with exit_on_user_error():
        main()
