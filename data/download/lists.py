"""Read the list of a download, and refuse what its videos can't be asked for by."""

import re
import zlib
from collections import Counter
from collections.abc import Mapping
from math import inf
from pathlib import Path

from data.download.plan import CutLength, DownloadPlan
from dataset.making.lists.segments import YOUTUBE_ID, Segment
from dataset.making.lists.video_lists import VideoList, read_list
from dataset.making.text import count_text, printable
from utils.errors import UserError

YOUTUBE_URL = re.compile(
    r"https?://([^/?#]*@)?([\w-]+\.)*(youtube(-nocookie)?\.com|youtu\.be)([:/?#]|$)", re.IGNORECASE
)


def make_plan(listed: VideoList, shard: tuple[int, int], length: CutLength | None) -> DownloadPlan:
    """Plan the download of a list, or of a part of it.

    Args:
        listed: the list.
        shard: (i, n): part i of n, from 1.
        length: of the clips that segments are cut into; None: each is a clip.

    Raises:
        UserError: none of the segments is longer than such a clip.
    """
    if length and not any(map(length.divides, listed.segments)):
        raise UserError(
            f"--seconds {length.seconds:g} cuts whole videos and longer parts of them, and {listed.path} lists "
            "none: leave it out, or give a smaller one"
        )
    segments = dict(zip(listed.clip_ids(), listed.segments, strict=True))
    return DownloadPlan(in_shard(segments, shard), length)


def in_shard(segments: Mapping[str, Segment], shard: tuple[int, int]) -> dict[str, Segment]:
    """Select the segments of one part of a list, by a hash of the video: it stays the same when the list grows.

    Args:
        segments: {clip: its segment}.
        shard: (i, n), part i of n, from 1.
    """
    i, n = shard
    return {clip: segment for clip, segment in segments.items() if zlib.crc32(segment.video.encode()) % n == i - 1}


def is_youtube(url: str) -> bool:
    """Tell whether a `url` is YouTube's."""
    return YOUTUBE_URL.match(url) is not None


def refuse_other_ids(listed: VideoList, url: str) -> None:
    """Refuse a list of videos that aren't YouTube's, if they would be asked for at YouTube.

    Args:
        listed: the list.
        url: address of a video, with {id}.

    Raises:
        UserError: how many there are, and the first.
    """
    if not is_youtube(url):
        return
    others = [segment.video for segment in listed.segments if not YOUTUBE_ID.fullmatch(segment.video)]
    if others:
        count, all_of_them = count_text(len(others), "id"), f"of {len(listed.segments):,}"
        raise UserError(
            f"{listed.path} has {count} {all_of_them} that YouTube's can't be (11 letters, digits, - or _), the first "
            f"{printable(others[0])[:60]!r}: give the address of their site, with {{id}}, as --url"
        )


def place_ave(listed: VideoList, times: Path | None, url: str) -> VideoList:
    """Find the seconds of the video that a list of AVE means: its times count within AVE's own clips of 10 s.

    Args:
        listed: any list; only AVE's is changed.
        times: list of the segments, AudioSet's, that AVE's clips are; None if the site serves AVE's own clips.
        url: address of a video, with {id}.

    Raises:
        UserError: YouTube's clock is needed and `times` is missing, or it goes with no list but AVE's or says nothing.
    """
    if listed.format != "ave":
        if times:
            raise UserError(f"--times goes with AVE's lists only, and {listed.path} is none: leave it out")
        return listed
    if times is None:
        if is_youtube(url):
            raise UserError(
                f"{listed.path} has times within AVE's own clips, not within YouTube's videos: give AudioSet's list as "
                "--times, which says where the clips begin, or --url of a site that has AVE's own clips"
            )
        return listed
    begins = _read_begins(times)
    segments = [
        segment._replace(
            start=round(begins[segment.video] + segment.start, 3), end=round(begins[segment.video] + segment.end, 3)
        )
        for segment in listed.segments
        if segment.video in begins
    ]
    lost = len(listed.segments) - len(segments)
    if not segments:
        raise UserError(f"{times} has none of the videos of {listed.path}: give AudioSet's list that AVE comes from")
    if lost:
        first = next(segment.video for segment in listed.segments if segment.video not in begins)
        print(f"{count_text(lost, 'clip')} left out, as {times} doesn't say where they begin; the first: {first}")
    return listed._replace(segments=segments)


def _read_begins(times: Path) -> dict[str, float]:
    """{video: where its segment begins, seconds}; without videos that have several."""
    read = read_list(times)
    if read.format == "ave" or any(segment.end == inf for segment in read.segments):
        raise UserError(
            f"{times} doesn't say where in a video its clips begin: give AudioSet's segment list as --times"
        )
    cuts = Counter(segment.video for segment in read.segments)
    return {segment.video: segment.start for segment in read.segments if cuts[segment.video] == 1}
