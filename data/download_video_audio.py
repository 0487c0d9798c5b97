"""Download the clips of a list, over days if need be: OUT/{video/ID.mp4, audio/ID.wav}.

    python data/download_video_audio.py --csv balanced.csv --out my_data/train
    python data/download_video_audio.py --csv vggsound.csv --part train --out my_data/train
    python data/download_video_audio.py --csv MUSIC_solo_videos.json --seconds 6 --out my_data/train

A clip exists only when it is complete, however the run ends; the same command resumes. Clips that are permanently gone
are not requested again. Several processes, and several machines with --shard, can share the work. OUT/failures.csv
lists what failed and why, OUT/vid2genre.json the labels of the clips that exist.
"""

import argparse
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import _path  # noqa: F401

from data.download.cluster_workers import ClusterWorkers
from data.download.failures import FAILURE_KINDS
from data.download.fetch import find_ffmpeg, read_cookies
from data.download.folders import list_clips, remove_locks, remove_lone_wavs, work_folder
from data.download.journal import Journal
from data.download.lists import make_plan, place_ave, refuse_other_ids
from data.download.options import parse_arguments
from data.download.plan import CutLength, DownloadPlan
from data.download.resuming import refuse_other_cuts, refuse_other_times
from data.download.settings import DownloadSettings
from data.download.tables import read_labels, update_tables
from data.download.workers import TAKEN, Workers
from dataset.making.lists.label_maps import map_labels, read_label_map
from dataset.making.lists.video_lists import read_list
from dataset.making.text import count_text
from dataset.making.workers.clip_map import read_engine
from dataset.making.workers.ray_cluster import RayCluster
from utils.errors import exit_on_user_error
from utils.progress_bar import progress_bar

AnyWorkers = Workers | ClusterWorkers
MAX_SAVING = 0.05  # fraction of the time that may go into rewriting vid2genre.json and failures.csv


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, download what is missing, report how it went.

    Raises:
        UserError: a mistake in a setting, the list or the folder.
        SystemExit: 1 where the site or the disk stopped the run, 130 after Ctrl-C or SIGTERM.
    """
    args = parse_arguments(argv, __doc__)
    plan = read_plan(args)
    cluster = read_engine(args, is_one_each=True)
    settings = DownloadSettings(
        url=args.url, mode=args.mode, height=args.height, fps=args.fps, workers=args.workers, sleep=args.sleep,
        rate=args.rate, cookies=read_cookies(args.cookies) if args.cookies else None, proxy=args.proxy,
        retries=args.retries, backoff=args.backoff, timeout=args.timeout, min_free=args.min_free,
    )  # fmt: skip
    read_labels(args.out)  # an invalid file is refused before anything is downloaded
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with work_folder(args.out) as folder:
            download(args, settings, plan, folder, cluster)
    finally:
        signal.signal(signal.SIGTERM, before)


def read_plan(args: argparse.Namespace) -> DownloadPlan:
    """Read the list that `args`, the command line, names, and say what it was taken for.

    Raises:
        UserError: the list, or an option that doesn't go with it.
    """
    listed = read_list(args.csv, args.format, args.part)
    print(listed.describe(), flush=True)
    refuse_other_ids(listed, args.url)
    listed = place_ave(listed, args.times, args.url)
    if args.label_map:
        table = read_label_map(args.label_map)
        listed = listed._replace(segments=[s._replace(labels=map_labels(s.labels, table)) for s in listed.segments])
    length = CutLength(args.seconds, args.every or args.seconds) if args.seconds else None
    return make_plan(listed, args.shard, length)


def download(
    args: argparse.Namespace, settings: DownloadSettings, plan: DownloadPlan, folder: Path, cluster: RayCluster | None
) -> None:
    """Download what is missing and report it.

    Args:
        args: the command line.
        settings: of the workers.
        plan: of the list.
        folder: for temporary files.
        cluster: whose machines download; None: this machine.

    Raises:
        UserError, SystemExit: as `main`.
    """
    if args.mode == "section":
        find_ffmpeg(folder)
    journal = Journal(args.out)
    on_disk = list_clips(args.out).complete
    refuse_other_cuts(args.out, plan, on_disk)
    refuse_other_times(args.out, args.csv, plan, on_disk, journal)
    remove_lone_wavs(args.out, plan.sources_of)
    complete = plan.complete(journal.last, on_disk)
    remove_locks(args.out, complete)
    update_tables(args.out, plan, journal)
    missing = [name for name in plan.segments if name not in complete and is_wanted(journal.kind(name), args.retry)]
    print(
        f"{count_text(len(plan.segments), plan.noun)} listed, {len(complete)} exist, {len(missing)} to download",
        flush=True,
    )
    workers: AnyWorkers = (
        ClusterWorkers(args.out, plan, missing, journal, settings, cluster)
        if cluster
        else Workers(args.out, plan, missing, folder, journal, settings)
    )
    is_interrupted = False
    counts: Counter[str] = Counter()
    try:
        run_workers(workers, len(missing), counts, lambda: update_tables(args.out, plan, journal))
    except KeyboardInterrupt:
        is_interrupted = True
        print("\nstopping: incomplete clips are dropped", file=sys.stderr, flush=True)
    workers.end()
    update_tables(args.out, plan, journal)
    report(args.out, plan, journal, counts[TAKEN])
    if is_interrupted or workers.reason:
        reason = "interrupted: the same command resumes" if is_interrupted else f"error: {workers.reason}"
        print(reason, file=sys.stderr, flush=True)
        exit_with(130 if is_interrupted else 1, workers, folder)


def exit_with(code: int, workers: AnyWorkers, folder: Path) -> None:
    """Exit with this `code`, at once if one of the `workers` still waits for the network; then `folder` is removed."""
    if workers.are_alive():
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(code)
    sys.exit(code)


def is_wanted(kind: str, retry: list[str]) -> bool:
    """Decide whether a missing clip is downloaded.

    Args:
        kind: of its last failure; "done" if it never failed.
        retry: kinds of failures to retry, or "all".
    """
    return kind == "done" or FAILURE_KINDS[kind].is_retried or kind in retry or "all" in retry


def run_workers(workers: AnyWorkers, total: int, counts: Counter[str], save: Callable[[], None]) -> None:
    """Run workers to the end and show their progress.

    Args:
        workers: not yet started.
        total: number of clips.
        counts: of the outcomes; filled.
        save: called from time to time, for at most `MAX_SAVING` of the time.
    """
    begin, next_save = time.monotonic(), 0.0
    bar_format = "{percentage:3.0f}%|{bar}| {n}/{total} [{elapsed}, {remaining} left{postfix}]"
    workers.start()
    with progress_bar(total, log_interval=60, bar_format=bar_format, smoothing=0) as bar:
        while workers.are_alive() or not workers.results.empty():
            time.sleep(0.05)
            if workers.results.empty():
                continue
            while not workers.results.empty():
                _, outcome = workers.results.get()
                if isinstance(outcome, BaseException):
                    raise outcome
                counts[outcome] += 1
                bar.update()
            failed = sum(counts[kind] for kind in FAILURE_KINDS)
            speed = 3600 * counts["done"] / (time.monotonic() - begin)
            bar.set_postfix_str(
                f"done {counts['done']}, failed {failed}, {speed:.0f} {workers.plan.noun}s/h", refresh=False
            )
            if time.monotonic() >= next_save:
                started = time.monotonic()
                save()
                next_save = time.monotonic() + (time.monotonic() - started) * (1 / MAX_SAVING - 1)


def report(out: Path, plan: DownloadPlan, journal: Journal, taken: int) -> None:
    """Print how much exists now, what failed, why, and what to do about it.

    Args:
        out: folder of the split.
        plan: of the list.
        journal: of the folder.
        taken: number of segments that another process works on.
    """
    on_disk = list_clips(out).complete
    complete = plan.complete(journal.last, on_disk)
    print(f"{len(complete)} of {count_text(len(plan.segments), plan.noun)} exist in {out}")
    if plan.length:
        clips = count_text(sum(bool(plan.sources_of(clip)) for clip in on_disk), "clip")
        rest = sum(journal.last[name].get("rest", 0.0) for name in complete)
        print(f"{clips} of {plan.length.seconds:g} s exist; {rest:,.0f} s at the ends of segments are in none")
    events = [event for name, event in journal.last.items() if name in plan.segments and name not in complete]
    failed = Counter(event["class"] for event in events if event["class"] != "done")
    if taken:
        print(f"{taken} left to another process that works on this folder")
    for kind, count in failed.most_common():
        print(f"{count:6d} {kind}: {FAILURE_KINDS[kind].advice}")
    if failed:
        print(f"       each of them: {out / 'failures.csv'}")


if __name__ == "__main__":
    with exit_on_user_error():
        main()
