"""Why a clip could not be downloaded: one table of kinds, and how errors of yt-dlp map to them."""

import errno
import http.client
import re
from collections.abc import Iterator
from typing import NamedTuple

from yt_dlp.networking.exceptions import TransportError
from yt_dlp.utils import ContentTooShortError, GeoRestrictedError


class FailureKind(NamedTuple):
    """A kind of failure: whether the next run tries such a clip again, and what the user can do."""

    is_retried: bool
    advice: str


FAILURE_KINDS = {
    "gone": FailureKind(False, "permanently removed from the site"),
    "private": FailureKind(
        False, "members or friends only: pass --cookies of an account that has access, then --retry private"
    ),
    "age-restricted": FailureKind(False, "pass --cookies of an adult's account, then --retry age-restricted"),
    "region": FailureKind(False, "not available in this country: pass a --proxy in another one, then --retry region"),
    "no audio": FailureKind(False, "the video has no sound"),
    "no picture": FailureKind(False, "the file has no video stream"),
    "short": FailureKind(
        False, "less than a second of frames and sound between start and end, or shorter than --seconds"
    ),
    "too large": FailureKind(False, "larger than this script downloads: pass --mode section --retry 'too large'"),
    "throttled": FailureKind(
        True, "the site wants fewer requests: wait an hour, then pass a longer --sleep or fewer --workers"
    ),
    "refused": FailureKind(True, "the site wants a login or another address: pass --cookies, or try another day"),
    "damaged": FailureKind(True, "the download can't be decoded; if a rerun doesn't help, the video itself is damaged"),
    "network": FailureKind(True, "the connection failed; a rerun tries again"),
    "disk": FailureKind(True, "free some space, or choose another disk for --out"),
    "other": FailureKind(
        True, "see the message; if there are many, update yt-dlp: pip install -U 'yt-dlp[default,deno]'"
    ),
}
FATAL_KINDS = ("throttled", "disk")  # they stop the run: all further clips would fail too

# Messages of the site, of yt-dlp and of ffmpeg: the first pattern that occurs decides. They come as text only.
MESSAGE_PATTERNS = (
    ("throttled", r"not a bot|rate.limited|captcha challenge|isn.t available, try again later|too many requests"),
    ("age-restricted", r"confirm your age|age.restricted|inappropriate for some users|age.verification"),
    ("private", r"private video|video is private|members.only|this channel.s members|join this channel"
                r"|requires payment|granted access"),
    ("region", r"in your country|in your (region|location)|from your location|geo.?restrict"),
    ("disk", r"no space left|quota exceeded"),
    ("gone", r"video unavailable|has been removed|no longer available|video is (unavailable|not available)"
             r"|isn.t available anymore|been terminated|does not exist|closed their|recording is not available"),
    ("refused", r"login details are needed|please sign in|sign in to|registered users"),
)  # fmt: skip
# Kinds by HTTP status code, if no message is more specific.
HTTP_STATUS = {
    401: "refused",
    403: "refused",
    404: "gone",
    408: "network",
    410: "gone",
    429: "throttled",
    451: "region",
}
# Also where ffmpeg, in section mode, gives up: a broken connection looks to it like a damaged file.
NETWORK_PATTERN = (
    r"timed out|connection (reset|refused|aborted|broken)|failed to resolve|name resolution|unreachable|bytes read"
    r"|did not get any data|content too short|downloaded \d+ bytes|ffmpeg exited|remote end closed|unexpected_eof"
)


class Failure(Exception):
    """A clip that could not be downloaded.

    Args:
        kind: a key of `FAILURE_KINDS`.
        message: what happened; it becomes one line.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(one_line(message))
        self.kind = kind


def one_line(text: object, max_length: int = 300) -> str:
    """Shorten a message from outside to one line of at most `max_length` characters.

    Args:
        text: the message, or any value. What yt-dlp adds for its own authors and users is removed.
        max_length: of the result.
    """
    text = re.split(r"; please report this issue|\(caused by|Use --cookies", str(text).removeprefix("ERROR: "))[0]
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(text.split())[:max_length]


def failure_of(error: BaseException) -> Failure:
    """Convert `error`, an exception of yt-dlp's or of the system's, to a `Failure`."""
    if isinstance(error, Failure):
        return error
    return Failure(_failure_kind(list(_causes(error))), str(error) or type(error).__name__)


def _failure_kind(errors: list[BaseException]) -> str:
    """Find the kind of an error, given with all its causes."""
    text = " ".join(dict.fromkeys(map(str, errors)))
    if any(isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT) for error in errors):
        return "disk"
    if any(isinstance(error, GeoRestrictedError) for error in errors):
        return "region"
    for kind, pattern in MESSAGE_PATTERNS:
        if re.search(pattern, text, re.IGNORECASE):
            return kind
    status = re.search(r"HTTP Error (\d{3})", text)
    if status:
        code = int(status[1])
        return "network" if code >= 500 else HTTP_STATUS.get(code, "other")
    network_errors = (TransportError, ContentTooShortError, TimeoutError, ConnectionError, http.client.HTTPException)
    is_network = any(isinstance(error, network_errors) for error in errors)
    return "network" if is_network or re.search(NETWORK_PATTERN, text, re.IGNORECASE) else "other"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and all that it was raised from; yt-dlp keeps some in attributes of its own."""
    waiting: list[object] = [error]
    visited = set()
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and id(cause) not in visited:
            visited.add(id(cause))
            yield cause
            exc_info = getattr(cause, "exc_info", None) or (None, None)
            waiting += [cause.__cause__, cause.__context__, getattr(cause, "cause", None), exc_info[1]]
