"""Find what a list says about a file by the file's name, in any of the spellings that people's folders have.

dQw4w9WgXcQ  TITLE [dQw4w9WgXcQ]             all of a video, or the only clip of it
dQw4w9WgXcQ_000030  dQw4w9WgXcQ_30           from 30 s on, as VGGSound names its clips
dQw4w9WgXcQ_30_40  dQw4w9WgXcQ_30.000_40.000
dQw4w9WgXcQ_30000_40000                      milliseconds
my film_30.000_40.000                        cut by this repository
any other                                    the id of a list
"""

import re
from collections.abc import Iterable, Iterator
from math import inf
from typing import Literal, NamedTuple

from dataset.making.lists.list_formats import VGGSOUND_SECONDS
from dataset.making.lists.segments import YOUTUBE_ID, Segment
from dataset.making.lists.video_lists import VideoList
from dataset.making.splits.recordings import ID_IN_BRACKETS
from dataset.reading.names import normalize_name

TOLERANCE = 0.002  # times in names and lists are rounded to milliseconds, seconds
FROM = re.compile(rf"({YOUTUBE_ID.pattern})_(\d{{1,6}})")
FROM_TO = re.compile(rf"({YOUTUBE_ID.pattern})_(\d{{1,9}}(?:\.\d{{1,9}})?)_(\d{{1,9}}(?:\.\d{{1,9}})?)")
OWN_CUT = re.compile(r"(.+)_(\d{1,9}\.\d{3})_(\d{1,9}\.\d{3})", re.DOTALL)


class Match(NamedTuple):
    """The rows of a list that speak of a file.

    Attributes:
        video: its id in the list.
        segments: the rows, at least one.
        how: "clip": they have the file's seconds; "inside": the file's seconds lie in theirs; "video": the file's name
            tells no seconds, and these are all clips of its video.
    """

    video: str
    segments: tuple[Segment, ...]
    how: Literal["clip", "inside", "video"]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of all rows, each once."""
        if len(self.segments) == 1:
            return self.segments[0].labels
        return tuple(dict.fromkeys(label for segment in self.segments for label in segment.labels))


class ListIndex:
    """The rows of lists by their video.

    Args:
        segments: the rows.
    """

    def __init__(self, segments: Iterable[Segment]) -> None:
        self._of_video: dict[str, tuple[Segment, ...]] = {}
        for segment in segments:
            self._of_video[segment.video] = (*self._of_video.get(segment.video, ()), segment)

    def of_video(self, video: str) -> tuple[Segment, ...]:
        """List the rows of a `video`, () if there is none."""
        return self._of_video.get(video, ())

    def find(self, name: str, start: float = 0.0, end: float = inf) -> Match | None:
        """Find the rows that speak of a file, or of some seconds that are cut out of it; None if there are none.

        Args:
            name: of the file, without its suffix.
            start: of the cut, seconds on the file's clock.
            end: of the cut, seconds; infinity: there is no cut.
        """
        near: Match | None = None
        for video, first, last in read_name(name):
            rows = self._of_video.get(video)
            if rows is None:
                continue
            if last == inf:  # the file is all of the video, so their clocks are the same
                first, last = start, end
            exact = tuple([row for row in rows if row.start == first and (last is None or last == row.end)])
            if exact:
                return Match(video, exact, "clip")
            if near is not None:
                continue
            until = first + VGGSOUND_SECONDS if last is None else last
            inside = tuple([row for row in rows if _holds(row, first, until)])
            if inside:
                near = Match(video, inside, "inside")
            elif last == inf:
                near = Match(video, rows, "video")
        return near


def read_name(name: str) -> Iterator[tuple[str, float, float | None]]:
    """Read a file's `name`, without its suffix, in each way that it can be meant.

    Yields:
        (video, start, end), seconds; an end of infinity: the name tells no seconds; None: it tells the start only.
    """
    name = normalize_name(name)
    yield name, 0.0, inf
    if match := FROM_TO.fullmatch(name):
        start, end = float(match[2]), float(match[3])
        if start < end:
            yield match[1], start, end
            if start.is_integer() and end.is_integer():
                yield match[1], round(start / 1000, 3), round(end / 1000, 3)
    elif match := FROM.fullmatch(name):
        yield match[1], float(match[2]), None
    elif (match := OWN_CUT.fullmatch(name)) and float(match[2]) < float(match[3]):
        yield match[1], float(match[2]), float(match[3])
    for match in ID_IN_BRACKETS.finditer(name):
        yield match[1], 0.0, inf


def videos_of(name: str) -> list[str]:
    """List the ids of videos that a file of this `name`, without its suffix, can be a clip of, however it is cut."""
    head = name[:11] if name[11:12] in ("", "_", "-", ".") else name  # whatever follows a YouTube id
    if "[" in name or "." in name:
        return [head, *(video for video, _, _ in read_name(name))]
    return [head, normalize_name(name)]


def listed_videos(segments: Iterable[Segment]) -> set[str]:
    """List the videos of which `segments` of a list may be clips: rows such as YTID_30 name their video too."""
    return {video for name in {segment.video for segment in segments} for video, _, _ in read_name(name)}


def clips_on_disk(video_list: VideoList) -> list[Segment]:
    """List the clips of a `video_list` as files hold them: AVE's times are of events within its clips.

    So a row of AVE stands for a whole file, YTID.mp4.
    """
    if video_list.format != "ave":
        return video_list.segments
    labels: dict[str, tuple[str, ...]] = {}
    for row in video_list.segments:
        labels[row.video] = tuple(dict.fromkeys(labels.get(row.video, ()) + row.labels))
    return [Segment(video, 0.0, inf, of) for video, of in labels.items()]


def _holds(row: Segment, start: float, end: float) -> bool:
    return row.start <= start + TOLERANCE and end <= row.end + TOLERANCE
