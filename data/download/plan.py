"""What a download makes of a list: the clips of each of its segments, and their labels."""

import re
from collections import defaultdict
from collections.abc import Container, Mapping, Set
from math import inf
from typing import NamedTuple

from data.download.journal import Event
from dataset.making.clips.cut_plan import MAX_SHORTAGE, Cut, plan_cuts
from dataset.making.lists.segments import Segment

TIME_TOLERANCE = 0.002  # times that differ by more are different, seconds
CUT_NAME = re.compile(r"(.+)_([0-9]+\.[0-9]{3})_([0-9]+\.[0-9]{3})", re.DOTALL)  # as `plan_cuts` names clips


class CutLength(NamedTuple):
    """How segments are cut into clips.

    Attributes:
        seconds: length of a clip.
        every: from the start of a clip to that of the next, seconds.
    """

    seconds: float
    every: float

    def fits(self, segment: Segment) -> bool:
        """Tell whether a `segment` is long enough for a clip."""
        return segment.end - segment.start + MAX_SHORTAGE >= self.seconds

    def divides(self, segment: Segment) -> bool:
        """Tell whether a `segment` is longer than a clip."""
        return segment.end - segment.start > self.seconds + TIME_TOLERANCE


class DownloadPlan:
    """The segments to download, and the clips that they become: one each, or several of the same length.

    Args:
        segments: {name: segment}; without `length` the name is that of its clip.
        length: cuts each segment into clips VIDEO_START_END; None: each segment is a clip.

    Attributes:
        noun: what messages call a segment.
    """

    def __init__(self, segments: Mapping[str, Segment], length: CutLength | None = None) -> None:
        self.segments, self.length = segments, length
        self.noun = "segment" if length else "clip"
        self._of_video: dict[str, list[str]] = defaultdict(list)
        if length:
            for name, segment in segments.items():
                self._of_video[segment.video].append(name)

    def cuts_of(self, name: str, seconds: float) -> tuple[list[Cut], float]:
        """Plan the clips of the segment `name`.

        Args:
            name: of the segment.
            seconds: how long its video lasts.

        Returns:
            (clips, seconds at the end of the segment that are in none of them). The end of a single clip may be
            infinite.
        """
        segment = self.segments[name]
        if self.length is None:
            return [Cut(name, segment.start, segment.end)], 0.0
        end = min(segment.end, seconds)
        return plan_cuts(segment.video, end, *self.length, segment.start)

    def sources_of(self, clip: str) -> list[str]:
        """Name the segments that a `clip` belongs to; none if it isn't a clip of this plan."""
        if self.length is None:
            return [clip] if clip in self.segments else []
        match = CUT_NAME.fullmatch(clip)
        if not match or match[1] not in self._of_video:
            return []
        start, end = float(match[2]), float(match[3])
        if abs(end - start - self.length.seconds) > TIME_TOLERANCE:
            return []
        names = self._of_video[match[1]]
        return [name for name in names if _contains(self.segments[name], start, end)]

    def labels_of(self, clip: str) -> list[str] | None:
        """Collect the labels of a `clip`; None if it isn't a clip of this plan."""
        sources = self.sources_of(clip)
        if not sources:
            return None
        return list(dict.fromkeys(label for name in sources for label in self.segments[name].labels))

    def is_complete(self, name: str, event: Event | None, on_disk: Container[str]) -> bool:
        """Tell whether all clips of a segment exist.

        Args:
            name: of the segment.
            event: its last event in the journal.
            on_disk: clips that exist.
        """
        if self.length is None:
            return name in on_disk
        clips = event.get("clips") if event and event["class"] == "done" else None
        return bool(clips) and all(clip in on_disk for clip in clips or ())

    def complete(self, events: Mapping[str, Event], on_disk: Set[str]) -> set[str]:
        """Collect the names of the segments of which all clips exist.

        Args:
            events: {name: its last event in the journal}.
            on_disk: clips that exist.
        """
        if self.length is None:
            return set(self.segments.keys() & on_disk)
        return {name for name in self.segments if self.is_complete(name, events.get(name), on_disk)}


def _contains(segment: Segment, start: float, end: float) -> bool:
    return segment.start - TIME_TOLERANCE <= start and end <= segment.end + MAX_SHORTAGE + TIME_TOLERANCE


def describe_times(start: float, end: float) -> str:
    """Describe the seconds from `start` to `end`, which may be infinite."""
    return f"{start:g} s to the end" if end == inf else f"{start:g} to {end:g} s"
