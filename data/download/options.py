"""The command line of data/download_video_audio.py."""

import argparse
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data.download.failures import FAILURE_KINDS
from data.download.settings import CLIP
from dataset.making.lists.video_lists import FORMAT_HELP, PART_HELP
from utils.arguments import add_engine_options, at_least, worker_count
from utils.errors import UserError

YOUTUBE = "https://www.youtube.com/watch?v={id}"


def parse_arguments(argv: list[str] | None, description: str | None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: its words; None: those of this process.
        description: of the script.

    Raises:
        UserError: options that don't go together, and invalid addresses.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    _add_list_options(parser.add_argument)
    _add_download_options(parser.add_argument)
    args = parser.parse_args(argv)
    _check_options(args)
    return args


def _add_list_options(add: Callable[..., Any]) -> None:
    """Add what says which clips: `add` is a parser's add_argument."""
    csv = "list of videos, or of parts of them: AudioSet's segments,\nVGGSound's csv, ids, ..."
    add("--csv", required=True, metavar="FILE", help=csv)
    add("--format", metavar="NAME", help=FORMAT_HELP)
    add("--part", choices=("train", "val", "test"), help=PART_HELP)
    add("--out", type=Path, required=True, metavar="OUT", help="folder of the split, such as my_data/train")
    seconds = "cut whole videos, and parts of them that are longer, into\nclips of S seconds [each is one clip]"
    add("--seconds", type=at_least(1.0, float), metavar="S", help=seconds)
    every = "seconds from one clip's start to the next [as --seconds]"
    add("--every", type=at_least(0.1, float), metavar="S", help=every)
    times = "with AVE's lists: AudioSet's list, which says where in a video\nAVE's clips begin"
    add("--times", type=Path, metavar="FILE", help=times)
    label_map = "replace labels by AudioSet's classes, as in\ndata/label_maps/vggsound.csv [as they are]"
    add("--label_map", type=Path, metavar="FILE", help=label_map)
    part = "download part I of N of the list, I from 1; by video,\nwhatever else is in the list [1/1]"
    add("--shard", type=parse_shard, default=(1, 1), metavar="I/N", help=part)


def _add_download_options(add: Callable[..., Any]) -> None:
    """Add what says how to download: `add` is a parser's add_argument."""
    url = f"address of a video, {{id}} is its id; or of a clip that is\ncut already, {{clip}} is its name\n[{YOUTUBE}]"
    add("--url", default=YOUTUBE, help=url)
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
    add("--workers", type=worker_count, default=4, metavar="N", help="downloads at the same time on a machine [4]")
    add_engine_options(add)
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
    kinds = [*FAILURE_KINDS, "all"]
    retry = textwrap.fill(f"also retry what failed permanently: {', '.join(kinds)} [none]", 64)
    add("--retry", nargs="+", choices=kinds, default=[], metavar="KIND", help=retry)
    min_free = "stop when fewer GB are free on the disk [5]"
    add("--min_free", type=at_least(0, float), default=5, metavar="GB", help=min_free)


def parse_shard(text: str) -> tuple[int, int]:
    """Parse `text`, "I/N", to (I, N), 1 <= I <= N."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a part of a list: give I/N with 1 <= I <= N, such as 2/4")
    return int(match[1]), int(match[2])


def _check_options(args: argparse.Namespace) -> None:
    """Refuse options in `args` that don't go together, and invalid addresses."""
    if args.every and not args.seconds:
        raise UserError("--every is the time between clips that a video is cut into: give --seconds too")
    if not re.fullmatch(r"https?://\S+", args.url) or not ("{id}" in args.url or CLIP in args.url):
        raise UserError(
            f"--url {args.url!r} must be an http:// or https:// address with {{id}} for the id, or {CLIP} for the name"
        )
    if args.proxy is not None and not re.fullmatch(r"(https?|socks[45]a?h?)://\S+", args.proxy):
        raise UserError(f"--proxy {args.proxy!r} must be an address such as http://host:8080 or socks5://host:1080")
    if args.out.exists() and not args.out.is_dir():
        raise UserError(f"--out {args.out} is a file: give a folder, such as my_data/train")
