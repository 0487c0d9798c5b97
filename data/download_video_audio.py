"""Download the clips of a segment file, over days if need be: OUT/{video/ID.mp4, audio/ID.wav}.

    python data/download_video_audio.py --csv balanced.csv --out my_data/train

A clip exists only when it is complete, however the run ends; the same command resumes. Clips that are permanently gone
are not requested again. Several processes, and several machines with --shard, can share the work. OUT/failures.csv
lists what failed and why, OUT/vid2genre.json the labels of the clips that exist.
"""

import argparse
import os
import re
import shutil
import signal
import sys
import textwrap
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import _path  # noqa: F401

from data.download.failures import FAILURE_KINDS
from data.download.fetch import find_ffmpeg, read_cookies
from data.download.folders import list_clips, remove_lone_wavs, work_folder
from data.download.journal import Journal, read_labels, update_tables
from data.download.settings import DownloadSettings
from data.download.workers import TAKEN, Workers
from dataset.making.segments import Segment, clip_ids, read_segments
from dataset.making.text import count_text
from utils.arguments import at_least, worker_count
from utils.errors import UserError, exit_on_user_error
from utils.progress_bar import progress_bar

YOUTUBE = "https://www.youtube.com/watch?v={id}"
MAX_SAVING = 0.05  # fraction of the time that may go into rewriting vid2genre.json and failures.csv
TIME_TOLERANCE = 0.002  # times that differ by more are different, seconds


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, download what is missing, report how it went.

    Raises:
        UserError: a mistake in a setting, the list or the folder.
        SystemExit: 1 where the site or the disk stopped the run, 130 after Ctrl-C or SIGTERM.
    """
    args = parse_arguments(argv)
    check_settings(args)
    listed = read_segments(args.csv)
    segments = in_shard(dict(zip(clip_ids(listed), listed, strict=True)), args.shard)
    settings = DownloadSettings(
        url=args.url, mode=args.mode, height=args.height, fps=args.fps, workers=args.workers, sleep=args.sleep,
        rate=args.rate, cookies=read_cookies(args.cookies) if args.cookies else None, proxy=args.proxy,
        retries=args.retries, backoff=args.backoff, timeout=args.timeout, min_free=args.min_free,
    )  # fmt: skip
    read_labels(args.out)  # an invalid file is refused before anything is downloaded
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with work_folder(args.out) as folder:
            download(args, settings, segments, folder)
    finally:
        signal.signal(signal.SIGTERM, before)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("--csv", required=True, metavar="FILE", help="segment file: AudioSet's own, or a selection")
    add("--out", type=Path, required=True, metavar="OUT", help="folder of the split, such as my_data/train")
    add("--url", default=YOUTUBE, help=f"address of a video; {{id}} is its YouTube id\n[{YOUTUBE}]")
    mode = (
        "full: download whole videos in a small format and cut them;\nsection: only the seconds needed, through "
        "ffmpeg, which sites\nslow down for long videos [full]"
    )
    add("--mode", choices=("full", "section"), default="full", help=mode)
    add(
        "--height",
        type=at_least(2, most=8192),
        default=360,
        metavar="N",
        help="largest height of the frames, pixels [360]",
    )
    add(
        "--fps",
        type=at_least(0, most=1000),
        default=25,
        metavar="N",
        help="frames per second; 0 keeps the source's times [25]",
    )
    add("--workers", type=worker_count, default=4, metavar="N", help="downloads at the same time [4]")
    sleep = "mean pause between a worker's downloads, seconds; random,\nhalf to one and a half times as long [5]"
    add("--sleep", type=at_least(0, float, 86_400), default=5, metavar="S", help=sleep)
    rate = "largest rate of a worker, KB/s, in full mode; 0 for any [0]"
    add("--rate", type=at_least(0), default=0, metavar="N", help=rate)
    cookies = "file of cookies in Netscape's format; it is only read [none]"
    add("--cookies", metavar="FILE", help=cookies)
    add("--proxy", metavar="URL", help="http://, https:// or socks5:// address of a proxy [the system's]")
    add(
        "--retries",
        type=at_least(0, most=1000),
        default=3,
        metavar="N",
        help="further tries after a failure of the network [3]",
    )
    backoff = "pause before the first further try, seconds; it doubles [5]"
    add("--backoff", type=at_least(0, float, 86_400), default=5, metavar="S", help=backoff)
    timeout = "seconds without data until a connection is given up [20]"
    add("--timeout", type=at_least(0.1, float, 86_400), default=20, metavar="S", help=timeout)
    part = "download part I of N of the list, I from 1; by video,\nwhatever else is in the list [1/1]"
    add("--shard", type=parse_shard, default=(1, 1), metavar="I/N", help=part)
    kinds = [*FAILURE_KINDS, "all"]
    retry = textwrap.fill(f"also retry what failed permanently: {', '.join(kinds)} [none]", 64)
    add("--retry", nargs="+", choices=kinds, default=[], metavar="KIND", help=retry)
    min_free = "stop when fewer GB are free on the disk [5]"
    add("--min_free", type=at_least(0, float), default=5, metavar="GB", help=min_free)
    return parser.parse_args(argv)


def parse_shard(text: str) -> tuple[int, int]:
    """Parse `text`, "I/N", to (I, N), 1 <= I <= N."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a part of a list: give I/N with 1 <= I <= N, such as 2/4")
    return int(match[1]), int(match[2])


def check_settings(args: argparse.Namespace) -> None:
    """Refuse invalid addresses in `args`, the command line.

    Raises:
        UserError: which one, and why.
    """
    if not re.fullmatch(r"https?://\S+", args.url) or "{id}" not in args.url:
        raise UserError(f"--url {args.url!r} must be an http:// or https:// address with {{id}} for the id")
    if args.proxy is not None and not re.fullmatch(r"(https?|socks[45]a?h?)://\S+", args.proxy):
        raise UserError(f"--proxy {args.proxy!r} must be an address such as http://host:8080 or socks5://host:1080")
    if args.out.exists() and not args.out.is_dir():
        raise UserError(f"--out {args.out} is a file: give a folder, such as my_data/train")


def in_shard(segments: dict[str, Segment], shard: tuple[int, int]) -> dict[str, Segment]:
    """Select the segments of one part of a list, by a hash of the video: it stays the same when the list grows.

    Args:
        segments: {clip: its segment}.
        shard: (i, n), part i of n, from 1.
    """
    i, n = shard
    return {clip: segment for clip, segment in segments.items() if zlib.crc32(segment.video.encode()) % n == i - 1}


def download(args: argparse.Namespace, settings: DownloadSettings, segments: dict[str, Segment], folder: Path) -> None:
    """Download what is missing and report it.

    Args:
        args: the command line.
        settings: of the workers.
        segments: {clip: its segment} of the list.
        folder: for temporary files.

    Raises:
        UserError, SystemExit: as `main`.
    """
    if args.mode == "section":
        find_ffmpeg(folder)
    journal = Journal(args.out)
    complete = list_clips(args.out).complete
    refuse_other_times(args, segments, complete, journal)
    remove_lone_wavs(args.out, segments)
    update_tables(args.out, segments, journal)
    missing = {
        clip: segment
        for clip, segment in segments.items()
        if clip not in complete and is_wanted(journal.kind(clip), args.retry)
    }
    existing = len(complete & set(segments))
    print(f"{count_text(len(segments), 'clip')} listed, {existing} exist, {len(missing)} to download", flush=True)
    workers = Workers(args.out, missing, folder, journal, settings)
    is_interrupted = False
    counts: Counter[str] = Counter()
    try:
        run_workers(workers, len(missing), counts, lambda: update_tables(args.out, segments, journal))
    except KeyboardInterrupt:
        is_interrupted = True
        print("\nstopping: incomplete clips are dropped", file=sys.stderr, flush=True)
    workers.end()
    update_tables(args.out, segments, journal)
    report(args.out, segments, journal, counts[TAKEN])
    if is_interrupted or workers.reason:
        reason = "interrupted: the same command resumes" if is_interrupted else f"error: {workers.reason}"
        print(reason, file=sys.stderr, flush=True)
        exit_with(130 if is_interrupted else 1, workers, folder)


def exit_with(code: int, workers: Workers, folder: Path) -> None:
    """Exit with this `code`, at once if one of the `workers` still waits for the network; then `folder` is removed."""
    if workers.are_alive():
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(code)
    sys.exit(code)


def refuse_other_times(
    args: argparse.Namespace, segments: dict[str, Segment], complete: set[str], journal: Journal
) -> None:
    """Refuse a list that has other times for a clip that exists.

    Args:
        args: the command line.
        segments: {clip: its segment} of the list.
        complete: ids of clips that exist.
        journal: knows the times of these.

    Raises:
        UserError: names the clip.
    """
    for clip in sorted(complete & set(segments)):
        event, listed = journal.last.get(clip, {}), segments[clip]
        start, end = event.get("start"), event.get("end")
        if event.get("class") != "done" or not isinstance(start, (int, float)) or not isinstance(end, (int, float)):
            continue  # not made by this script: there is nothing to compare with
        if max(abs(start - listed.start), abs(end - listed.end)) > TIME_TOLERANCE:
            raise UserError(
                f"clip {clip} in {args.out} is of {start:g} to {end:g} s, and {args.csv} asks for "
                f"{listed.start:g} to {listed.end:g} s: choose another --out, or remove the clip's mp4 and wav"
            )


def is_wanted(kind: str, retry: list[str]) -> bool:
    """Decide whether a missing clip is downloaded.

    Args:
        kind: of its last failure; "done" if it never failed.
        retry: kinds of failures to retry, or "all".
    """
    return kind == "done" or FAILURE_KINDS[kind].is_retried or kind in retry or "all" in retry


def run_workers(workers: Workers, total: int, counts: Counter[str], save: Callable[[], None]) -> None:
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
            bar.set_postfix_str(f"done {counts['done']}, failed {failed}, {speed:.0f} clips/h", refresh=False)
            if time.monotonic() >= next_save:
                started = time.monotonic()
                save()
                next_save = time.monotonic() + (time.monotonic() - started) * (1 / MAX_SAVING - 1)


def report(out: Path, segments: dict[str, Segment], journal: Journal, taken: int) -> None:
    """Print how many clips exist now, what failed, why, and what to do about it.

    Args:
        out: folder of the split.
        segments: {clip: its segment} of the list.
        journal: of the folder.
        taken: number of clips that another process works on.
    """
    complete = list_clips(out).complete
    print(f"{len(complete & set(segments))} of {count_text(len(segments), 'clip')} exist in {out}")
    events = [event for clip, event in journal.last.items() if clip in segments and clip not in complete]
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
