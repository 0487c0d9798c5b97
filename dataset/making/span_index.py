"""Find a clip by its name in a list, or a row of a list among clips: YTID, YTID_000030 and YTID_30.000_40.000."""

from collections.abc import Iterable
from math import inf

from dataset.making.list_formats import parse_name

Span = tuple[str, float, float]  # a video and the seconds of it; 0 and infinity are all of it


def span_of(name: str) -> Span:
    """Parse the name of a clip, `name`, as `parse_name` does; one that it can't be is a whole video of that name."""
    try:
        return parse_name(name)
    except ValueError:
        return name, 0.0, inf


class SpanIndex:
    """Finds parts of videos among others.

    Args:
        spans: (video, start, end) of each.
    """

    def __init__(self, spans: Iterable[Span]) -> None:
        self._exact: dict[Span, int] = {}
        self._of_video: dict[str, list[int]] = {}
        self._spans = list(spans)
        for number, span in enumerate(self._spans):
            self._exact.setdefault(span, number)
            self._of_video.setdefault(span[0], []).append(number)

    def find(self, span: Span) -> int | None:
        """Find the number of a part of a video; None if it isn't there, or is one of several.

        The same seconds are found first. A name without seconds stands for the only part of its video that there is.

        Args:
            span: (video, start, end).
        """
        if span in self._exact:
            return self._exact[span]
        whole = (span[0], 0.0, inf)
        if span == whole:
            same_video = self.of_video(span[0])
            return same_video[0] if len(same_video) == 1 else None
        return self._exact.get(whole)

    def of_video(self, video: str) -> list[int]:
        """List the numbers of all parts of a `video`."""
        return self._of_video.get(video, [])
