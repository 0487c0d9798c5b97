"""Why a clip could not be had: one table of classes, and the way from an error of yt-dlp's to its class."""

import errno
import http.client
import re
from typing import NamedTuple

from yt_dlp.networking.exceptions import TransportError
from yt_dlp.utils import ContentTooShortError, GeoRestrictedError


class Kind(NamedTuple):
    """A class of failures: whether the next run tries such a clip again, and what the user can do."""

    again: bool
    advice: str


KINDS = {
    "gone": Kind(False, "removed from the site, for good"),
    "private": Kind(False, "members or friends only: --cookies of an account that may see it, then --retry private"),
    "age-restricted": Kind(False, "--cookies of a grown-up's account, then --retry age-restricted"),
    "region": Kind(False, "not shown in this country: --proxy in another one, then --retry region"),
    "no audio": Kind(False, "the video has no sound"),
    "no picture": Kind(False, "there is sound only"),
    "short": Kind(False, "less than a second of picture and sound between the times asked for"),
    "too large": Kind(False, "larger than this script takes: --mode section --retry 'too large'"),
    "throttled": Kind(True, "the site wants fewer requests: wait an hour, then a longer --sleep or fewer --workers"),
    "refused": Kind(True, "the site wants a login or another address: --cookies, or another day"),
    "damaged": Kind(True, "what came can't be decoded; if it stays so, the video itself is broken"),
    "network": Kind(True, "the connection failed; a rerun tries again"),
    "disk": Kind(True, "make room, or choose another disk for --out"),
    "other": Kind(True, "see the message; if many are so, update yt-dlp: pip install -U 'yt-dlp[default,deno]'"),
}
STOPPING = ("throttled", "disk")  # every further clip would meet the same, and asking on makes it worse

# Words of the site, of yt-dlp and of ffmpeg, in the order in which they are looked for: the first found decides.
WORDS = (
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
# The codes of HTTP, where no words tell more.
STATUS = {401: "refused", 403: "refused", 404: "gone", 408: "network", 410: "gone", 429: "throttled", 451: "region"}
# Also where ffmpeg, in section mode, gives up: a connection that breaks off looks to it like a damaged file.
BROKEN = (
    r"timed out|connection (reset|refused|aborted|broken)|failed to resolve|name resolution|unreachable|bytes read"
    r"|did not get any data|content too short|downloaded \d+ bytes|ffmpeg exited|remote end closed|unexpected_eof"
)


class Failure(Exception):
    """A clip that could not be had. `kind`: a key of `KINDS`; the text is one line."""

    def __init__(self, kind, message):
        super().__init__(plain(message))
        self.kind = kind


def plain(text, most=300):
    """A message from outside as one line of at most `most` characters, without what is meant for yt-dlp's authors."""
    text = re.split(r"; please report this issue|\(caused by|Use --cookies", str(text).removeprefix("ERROR: "))[0]
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(text.split())[:most]


def failure_of(error):
    """The `Failure` that an exception of yt-dlp's, or of the system's, means."""
    if isinstance(error, Failure):
        return error
    chain = list(_chain(error))
    text = " ".join(dict.fromkeys(str(one) for one in chain))
    return Failure(_kind(chain, text), str(error) or type(error).__name__)


def _kind(chain, text):
    if any(isinstance(one, OSError) and one.errno in (errno.ENOSPC, errno.EDQUOT) for one in chain):
        return "disk"
    if any(isinstance(one, GeoRestrictedError) for one in chain):
        return "region"
    for kind, words in WORDS:
        if re.search(words, text, re.IGNORECASE):
            return kind
    status = re.search(r"HTTP Error (\d{3})", text)
    if status:
        code = int(status[1])
        return "network" if code >= 500 else STATUS.get(code, "other")
    broken = (TransportError, ContentTooShortError, TimeoutError, ConnectionError, http.client.HTTPException)
    if any(isinstance(one, broken) for one in chain) or re.search(BROKEN, text, re.IGNORECASE):
        return "network"
    return "other"


def _chain(error):
    """An exception and all that it was raised from; yt-dlp keeps some in attributes of its own."""
    waiting, seen = [error], set()
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            held = getattr(one, "exc_info", None) or (None, None)
            waiting += [one.__cause__, one.__context__, getattr(one, "cause", None), held[1]]
