"""Build shards of a dataset: a copy in a few large files that loads faster; --data.root takes it like the folder.

    python data/build_shards.py data/mine data/mine_shards            # SRC/{train,val,test} -> DST
    python data/build_shards.py data/mine data/mine_shards --square   # frames resized to squares, as the nets use them
    python data/build_shards.py downloaded_tars data/mine_shards      # from WebDataset's tars, as video2dataset writes
    python data/build_shards.py --verify data/mine_shards             # compare every file with its SHA-256

SRC is a dataset, or SRC/{train,val,test}/*.tar with KEY.mp4 and KEY.json, or KEY.jpg and KEY.wav (or SRC/*.tar: see
--split). What can't become a clip is listed in DST/left_out.csv. The complete clips of a truncated tar are kept.
dataset/reading/shards.py describes the files in DST. The number of processes changes no byte. The same command resumes
a run that was interrupted, even by SIGKILL, and keeps complete shards. SRC is never changed.
"""

import argparse
import csv
import sys
from pathlib import Path

import _path  # noqa: F401
from tqdm import tqdm

from dataset.making.left_out import FILE_NAME, LeftOut, describe_left_out
from dataset.making.shards.shard_folder import (
    EarlierShards,
    ShardKey,
    finish_folder,
    kept_entries,
    open_source,
    plan_shards,
    prepare_folder,
    read_earlier_shards,
    shard_size,
    unread_clips,
)
from dataset.making.shards.shard_writer import ShardJob, ShardSettings, build_shard, file_sha256
from dataset.making.shards.tar_folder import SPLITS, TarClips
from dataset.making.splits.benchmark_leaks import find_benchmark_leaks, find_benchmark_lists
from dataset.making.text import count_text
from dataset.making.workers.clip_map import Workers, map_clips, read_workers
from dataset.making.workers.processes import Lost
from dataset.reading.errors import OnError
from dataset.reading.limits import TIME_LIMIT, TIME_LIMIT_HELP
from dataset.reading.shard_format import (
    REBUILD_HINT,
    VERSION,
    Manifest,
    ShardEntry,
    read_manifest,
    shard_files,
)
from utils.arguments import add_worker_options, at_least
from utils.errors import UserError, exit_on_user_error
from utils.locks import lock_folder
from utils.progress_bar import progress_bar


def main(argv: list[str] | None = None) -> None:
    """Parse the command line; build shards, or verify them."""
    args = parse_arguments(argv)
    if args.verify:
        print(f"intact: {count_text(verify(args.verify), 'file')} of {args.verify}")
        return
    settings = ShardSettings(
        fps=args.fps, size=args.size, square=args.square, quality=args.quality, rate=args.rate, clips=args.clips or 0
    )
    workers = read_workers(args)
    splits = build(args.source, args.target, settings, workers, args.on_error, args.time_limit, args.split, args.csv)
    for split, entries in splits.items():
        size = sum(entry["tar_bytes"] + entry["index_bytes"] for entry in entries) / 1e9
        clips = sum(len(entry["ids"]) for entry in entries)
        print(f"{split}: {count_text(clips, 'clip')} in {count_text(len(entries), 'shard')}, {size:.2f} GB")
    with open(args.target / FILE_NAME, encoding="utf-8", newline="") as file:
        print(describe_left_out((LeftOut(*row) for row in list(csv.reader(file))[1:]), args.target / FILE_NAME))
    if missing := [split for split in ("train", "val") if split not in splits]:
        print(f"training also needs {' and '.join(missing)}: put the tars into SRC/train and SRC/val before you build")
    print(f"next: --data.root {args.target}, with a --data.frame_step of {1 / args.fps:g} or a multiple of it")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("source", nargs="?", type=Path, metavar="SRC", help="dataset folder")
    add("target", nargs="?", type=Path, metavar="DST", help="folder for the shards")
    add("--fps", type=at_least(0.001, float, 1000), default=5.0, metavar="N", help="frames kept per second [5]")
    size = "short side of the frames, pixels; never enlarged [256]"
    add("--size", type=at_least(16, most=8192), default=256, metavar="N", help=size)
    add("--square", action="store_true", help="resize frames to squares, as the nets use them [keep the shape]")
    add("--quality", type=at_least(1, most=100), default=90, metavar="N", help="JPEG quality, 1 to 100 [90]")
    add(
        "--rate",
        type=at_least(1000, most=192_000),
        default=48000,
        metavar="HZ",
        help="sample rate of the sound, Hz [48000]",
    )
    clips = "clips per shard [128; fewer if there are less than 8192 clips]"
    add("--clips", type=at_least(1), metavar="N", help=clips)
    on_error = "at a clip that can't be read: stop, or skip it and list it\nin DST/left_out.csv [stop; skip for tars]"
    add("--on_error", choices=("stop", "skip"), help=on_error)
    add("--split", choices=SPLITS, help="split of the tars of SRC itself [train]")
    add("--csv", type=Path, metavar="LIST", help="list of videos with the labels of the clips in tars [their json's]")
    add_worker_options(add)
    add("--time_limit", type=at_least(1, float), default=TIME_LIMIT, metavar="S", help=TIME_LIMIT_HELP)
    add("--verify", type=Path, metavar="DST", help="verify shards instead of building them")
    args = parser.parse_args(argv)
    if args.target is None and not args.verify:
        parser.error("SRC and DST are needed, or --verify DST")
    return args


def build(
    source: Path,
    target: Path,
    settings: ShardSettings,
    workers: Workers,
    on_error: OnError | None,
    time_limit: float = TIME_LIMIT,
    split: str | None = None,
    video_list: Path | None = None,
) -> dict[str, list[ShardEntry]]:
    """Build the shards of all splits of a dataset folder, or of a folder of tars, that are missing.

    Args:
        source: SRC.
        target: DST.
        settings: of the shards; clips=0 chooses the number of clips per shard.
        workers: where shards are built.
        on_error: "stop" or "skip", at a clip that can't be read; None: skip in tars, where nobody can fix it.
        time_limit: for reading a clip, see `reading_limit`.
        split, video_list: as of `dataset.making.shards.shard_folder.open_source`.

    Returns:
        {split: entries of its shards}, as in shards.json.

    Raises:
        UserError: SRC or, with "stop", a clip can't be read; DST holds something else, can't be written, or another
            process builds it.
    """
    splits = open_source(source, on_error, split, video_list)
    # Here, as SRC's lists of benchmarks don't go into the shards, and training looks for them beside its clips.
    if "train" in splits:
        for leak in find_benchmark_leaks(splits["train"].ids, find_benchmark_lists(source)):
            print(f"warning: {leak}", file=sys.stderr)
    from_tars = any(isinstance(clips, TarClips) for clips in splits.values())
    on_error = on_error or ("skip" if from_tars else "stop")
    with lock_folder(target, "DST"):
        earlier = read_earlier_shards(target)
        settings = complete_settings(settings, earlier, target, sum(map(len, splits.values())))
        jobs = {(split, job.name): job for split, clips in splits.items() for job in plan_shards(clips, settings)}
        entries = kept_entries(target, earlier.entries, jobs, on_error)
        if earlier.is_finished:
            refuse_other_clips(earlier, jobs, source, target, on_error)
        manifest: Manifest = {
            "version": VERSION,
            "settings": dict(settings),
            "splits": by_split(entries, list(splits)),
            "missing": {split: clips.skipped for split, clips in splits.items() if clips.skipped},
        }
        if not earlier.is_finished or len(entries) < len(jobs):
            prepare_folder(source, target, list(splits), manifest)
            sources = {split: clips.folder for split, clips in splits.items()}
            build_missing(jobs, entries, sources, target, settings, workers, on_error, time_limit)
            manifest["splits"] = by_split(entries, list(splits))
            finish_folder(target, manifest, splits)
        return manifest["splits"]


def complete_settings(settings: ShardSettings, earlier: EarlierShards, target: Path, num_clips: int) -> ShardSettings:
    """Choose the number of clips per shard where `settings` leave it open.

    Args:
        settings: of the command line.
        earlier: shards in `target`: settings that differ from theirs are refused.
        target: DST.
        num_clips: in the dataset.
    """
    clips = settings["clips"] or (earlier.settings["clips"] if earlier.settings else shard_size(num_clips))
    settings = ShardSettings(**{**settings, "clips": clips})
    if earlier.settings and earlier.settings != settings:
        requested = dict(settings)
        differing = ", ".join(f"{key} {value}" for key, value in earlier.settings.items() if value != requested[key])
        raise UserError(
            f"{target} was built with different settings ({differing}): choose another DST, or rerun with the same ones"
        )
    return settings


def refuse_other_clips(
    earlier: EarlierShards, jobs: dict[ShardKey, ShardJob], source: Path, target: Path, on_error: OnError
) -> None:
    """Refuse finished shards that were built from other clips: they are never changed. Missing files are built again.

    Args:
        earlier: the finished shards.
        jobs: all shards that there should be.
        source: SRC.
        target: DST.
        on_error: "stop" refuses shards that lack a clip.
    """
    entries = earlier.entries.values()
    if sorted(entry.get("source", "") for entry in entries) != sorted(job.source for job in jobs.values()):
        raise UserError(f"{target} was built from other clips than are in {source}: choose another DST, or remove it")
    skipped = {clip: reason for entry in entries for clip, reason in unread_clips(entry).items()}
    if skipped and on_error == "stop":
        clip, reason = next(iter(skipped.items()))
        raise UserError(f"{target} was built without clip {clip} ({reason}): repeat with --on_error skip")


def build_missing(
    jobs: dict[ShardKey, ShardJob],
    entries: dict[ShardKey, ShardEntry],
    sources: dict[str, Path],
    target: Path,
    settings: ShardSettings,
    workers: Workers,
    on_error: OnError,
    time_limit: float,
) -> None:
    """Build the shards that have no entry yet; show a progress bar.

    Args:
        jobs: all shards.
        entries: of complete shards; those that are built are added.
        sources: {split: its folder in SRC}.
        target: DST.
        settings: of the shards.
        workers: where shards are built.
        on_error: "stop" or "skip".
        time_limit: for reading a clip, see `reading_limit`.
    """
    missing = [key for key in jobs if key not in entries]
    calls = [(sources[key[0]], target / key[0], jobs[key], settings, on_error, time_limit) for key in missing]
    total, done = (sum(len(jobs[key].clips) for key in keys) for keys in (jobs, entries))
    with progress_bar(total, initial=done, smoothing=0) as bar:
        while calls:
            again = []
            for call, entry in map_clips(build_shard, calls, workers):
                folder, job = call[1], call[2]
                if isinstance(entry, Lost):
                    if entry.part in job.lost or not entry.part:
                        raise UserError(
                            f"the process that built shard {job.name} in {folder} ended: repeat the command"
                        )
                    # Its process is gone: the shard is built again without the clip, or with its error.
                    job = job._replace(lost={**job.lost, entry.part: entry.reason})
                    again.append((*call[:2], job, *call[3:]))
                else:
                    entries[folder.name, job.name] = entry
                    bar.update(len(job.clips))
            calls = again


def by_split(entries: dict[ShardKey, ShardEntry], splits: list[str]) -> dict[str, list[ShardEntry]]:
    """Arrange `entries` as shards.json does: sorted lists for each of `splits`."""
    return {split: [entries[key] for key in sorted(entries) if key[0] == split] for split in splits}


def verify(target: Path) -> int:
    """Compare all files of the shards in `target` with their SHA-256, and return how many there are.

    Raises:
        UserError: names each file that is missing or damaged.
    """
    bad, count = [], 0
    shards = [(split, shard) for split, shards in read_manifest(target)["splits"].items() for shard in shards]
    for split, shard in tqdm(shards, unit="shard"):
        checksums = shard["tar_sha256"], shard["index_sha256"]
        for (path, size), checksum in zip(shard_files(target / split, shard), checksums, strict=True):
            count += 1
            is_intact = path.is_file() and path.stat().st_size == size and file_sha256(path) == checksum
            bad += [] if is_intact else [str(path)]
    if bad:
        raise UserError(f"{', '.join(bad)}: missing or damaged: {REBUILD_HINT}")
    return count


if __name__ == "__main__":
    with exit_on_user_error():
        main()
