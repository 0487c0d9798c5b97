"""Download the clips of a segment file, one by one, over days if need be: ROOT/SPLIT/{video/ID.mp4, audio/ID.wav}.

    python data/download_video_audio.py --csv balanced.csv --out my_data/train

A clip is there whole or not at all, whatever stops the run; the same command goes on with what is left. Clips that
are gone for good are not asked for again. Several processes, and several machines with --shard, can share the work.
"""

import argparse
import os
import re
import shutil
import signal
import sys
import time
import zlib
from collections import Counter
from pathlib import Path

import _path  # noqa: F401
from tqdm import tqdm

from data.download.failures import KINDS
from data.download.fetch import find_ffmpeg, read_cookies
from data.download.state import Journal, clips_there, keep_in_step, labels_of, remove_halves, work_folder
from data.download.workers import Workers
from dataset.making.segments import clip_ids, read_segments
from utils.arguments import at_least
from utils.errors import UserError, exit_on_user_error

YOUTUBE = "https://www.youtube.com/watch?v={id}"
SHARE = 0.05  # of the time may go into rewriting vid2genre.json and failures.csv
TWO_TIMES = 0.002  # times that differ by more are two, seconds


def main(argv=None):
    """Read the command line, download what is left of the list, say how it went.

    Raises:
        UserError: a mistake in a setting, the list or the folder.
        SystemExit: 1 where the site or the disk said stop, 130 after Ctrl-C or SIGTERM.
    """
    args = parse(argv)
    check(args)
    segments = read_segments(args.csv)
    rows = in_shard(dict(zip(clip_ids(segments), segments, strict=True)), args.shard)
    cookies = read_cookies(args.cookies) if args.cookies else None
    labels_of(args.out)  # what is wrong with it is said before anything is downloaded
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with work_folder(args.out) as folder:
            download(args, rows, folder, cookies)
    finally:
        signal.signal(signal.SIGTERM, before)


def parse(argv):
    """The command line as a namespace."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__.replace("%", "%%"), formatter_class=form)
    add = parser.add_argument
    add("--csv", required=True, help="the segment file: AudioSet's own, or a selection")
    add("--out", type=Path, required=True, help="folder of the split, such as my_data/train")
    add("--url", default=YOUTUBE, help=f"address of a video, {{id}} is its YouTube id [{YOUTUBE}]".replace("%", "%%"))
    add(
        "--mode",
        choices=("full", "section"),
        default="full",
        help="full: the whole video in a small format, cut here; section: only the seconds needed, through ffmpeg, "
        "which sites slow down for long videos [full]",
    )
    add("--height", type=at_least(2), default=360, help="lines of the picture at most [360]")
    add("--fps", type=at_least(0), default=25, help="pictures a second; 0 keeps the source's [25]")
    add("--workers", type=at_least(1), default=4, help="downloads at a time [4]")
    add(
        "--sleep",
        type=at_least(0, float),
        default=5,
        help="seconds between a worker's downloads, half to one and a half times as long at random [5]",
    )
    add("--rate", type=at_least(0), default=0, help="KB/s of a worker at most, in full mode; 0: any [0]")
    add("--cookies", help="file of cookies in Netscape's form [none]; it is read, never written")
    add("--proxy", help="http://, https:// or socks5:// address of a proxy [the system's]")
    add("--retries", type=at_least(0), default=3, help="further tries after a failure of the network [3]")
    add(
        "--backoff", type=at_least(0, float), default=5, help="seconds before the first of them; then twice as long [5]"
    )
    add(
        "--timeout",
        type=at_least(0.1, float),
        default=20,
        help="seconds of silence until a connection is given up [20]",
    )
    add(
        "--shard",
        type=shard,
        default=(1, 1),
        metavar="i/n",
        help="the i-th of n shares of the list, i from 1 on; by video, whatever else is in the list [1/1]",
    )
    add(
        "--retry",
        nargs="+",
        choices=[*KINDS, "all"],
        default=[],
        metavar="CLASS",
        help=f"also try again what failed for good: {', '.join(KINDS)}, or all [none]",
    )
    add("--min_free", type=at_least(0, float), default=5, help="stop when fewer GB are free on the disk [5]")
    return parser.parse_args(argv)


def shard(text):
    """`i/n` as (i, n), 1 <= i <= n."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is no share of a list: i/n with 1 <= i <= n, such as 2/4")
    return int(found[1]), int(found[2])


def check(args):
    """Refuse addresses that would not do.

    Raises:
        UserError: which one, and why.
    """
    if not re.fullmatch(r"https?://\S+", args.url) or "{id}" not in args.url:
        raise UserError(f"--url {args.url!r} must be an http:// or https:// address with {{id}} in the id's place")
    if args.proxy is not None and not re.fullmatch(r"(https?|socks[45]a?h?)://\S+", args.proxy):
        raise UserError(f"--proxy {args.proxy!r} must be an address such as http://host:8080 or socks5://host:1080")
    if args.out.exists() and not args.out.is_dir():
        raise UserError(f"--out {args.out} is a file: name a folder, such as my_data/train")


def in_shard(rows, share):
    """The rows {id: Segment} of share (i, n), by a hash of the video: the same for a list that has grown."""
    i, n = share
    return {clip: segment for clip, segment in rows.items() if zlib.crc32(segment.video.encode()) % n == i - 1}


def download(args, rows, folder, cookies):
    """Do what is left of the rows {id: Segment} and report it.

    Raises:
        UserError, SystemExit: as `main`.
    """
    if args.mode == "section":
        find_ffmpeg(folder)
    journal = Journal(args.out)
    there = clips_there(args.out)[0]
    refuse_other_times(args, rows, there, journal)
    remove_halves(args.out, rows)
    keep_in_step(args.out, rows, journal)
    left = {clip: segment for clip, segment in rows.items() if clip not in there and wanted(clip, journal, args.retry)}
    print(f"{len(rows)} clips listed, {len(there & set(rows))} already there, {len(left)} to download", flush=True)
    workers = Workers(args.out, left, folder, journal, args, cookies)
    interrupted = False
    try:
        counts = follow(workers, len(left), lambda: keep_in_step(args.out, rows, journal))
    except KeyboardInterrupt:
        interrupted, counts = True, Counter()
        print("\nstopping: what is half done is dropped", file=sys.stderr, flush=True)
    workers.end()
    keep_in_step(args.out, rows, journal)
    report(args, rows, journal, counts["taken"])
    code = 130 if interrupted else 1 if workers.why else 0
    if code:
        why = "interrupted: the same command goes on from here" if interrupted else workers.why
        print(f"error: {why}" if code == 1 else why, file=sys.stderr, flush=True)
        if workers.alive():  # one hangs in the network, for as long as --timeout
            shutil.rmtree(folder, ignore_errors=True)
            os._exit(code)
        sys.exit(code)


def refuse_other_times(args, rows, there, journal):
    """Refuse a list that has other times for a clip that is there.

    Raises:
        UserError: names the clip.
    """
    for clip in sorted(there & set(rows)):
        made, asked = journal.last.get(clip, {}), rows[clip]
        times = [made.get("start"), made.get("end")]
        if made.get("class") != "done" or not all(isinstance(time, (int, float)) for time in times):
            continue  # not made by this script: there is nothing to compare with
        if max(abs(times[0] - asked.start), abs(times[1] - asked.end)) > TWO_TIMES:
            raise UserError(
                f"clip {clip} in {args.out} is of {times[0]:g} to {times[1]:g} s, and {args.csv} asks for "
                f"{asked.start:g} to {asked.end:g} s: take another --out, or remove the clip's mp4 and wav"
            )


def wanted(clip, journal, retry):
    """Whether a clip that isn't there is to be tried: it never was, or it is worth trying again, or `retry` says so."""
    kind = journal.last.get(clip, {}).get("class", "done")  # one that was done was removed since
    return kind == "done" or KINDS[kind].again or kind in retry or "all" in retry


def follow(workers, total, save):
    """Show how the workers get on until they are through: Counter of outcomes.

    Args:
        save: called with nothing as clips come, but for `SHARE` of the time at most.
    """
    counts, begun, due = Counter(), time.monotonic(), 0
    form = "{percentage:3.0f}%|{bar}| {n}/{total} [{elapsed}, {remaining} left{postfix}]"
    workers.start()
    pause = 0.1 if sys.stderr.isatty() else 60  # seconds; in a file every change would be another line
    with tqdm(total=total, bar_format=form, smoothing=0, mininterval=pause) as bar:
        while workers.alive() or not workers.results.empty():
            time.sleep(0.05)
            news = False
            while not workers.results.empty():
                clip, outcome = workers.results.get()
                if clip is None:
                    raise outcome
                counts[outcome] += 1
                news = True
                bar.update()
            if news:
                done, failed = counts["done"], sum(counts[kind] for kind in KINDS)
                pace = 3600 * done / (time.monotonic() - begun)
                bar.set_postfix_str(f"done {done}, failed {failed}, {pace:.0f} clips/h", refresh=False)
            if news and time.monotonic() >= due:
                started = time.monotonic()
                save()
                due = time.monotonic() + (time.monotonic() - started) * (1 / SHARE - 1)
    return counts


def report(args, rows, journal, taken):
    """Print what there is now, and what failed why and what to do about it."""
    there = clips_there(args.out)[0]
    print(f"{len(there & set(rows))} of {len(rows)} clips are there, in {args.out}")
    events = [event for clip, event in journal.last.items() if clip in rows and clip not in there]
    failed = Counter(event["class"] for event in events if event["class"] != "done")
    if taken:
        print(f"{taken} left to another process that works on this folder")
    for kind, number_of in failed.most_common():
        print(f"{number_of:6d} {kind}: {KINDS[kind].advice}")
    if failed:
        print(f"       each of them: {args.out / 'failures.csv'}")


if __name__ == "__main__":
    with exit_on_user_error():
        main()
