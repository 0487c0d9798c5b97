"""Errors of media files and clips, each with the kind of the fault.

Code decides by `error.kind`, never by the text: the text is for people and may be reworded.
"""

import errno
from pathlib import Path
from typing import Literal

import av

from utils.errors import UserError
from utils.system_errors import is_shortage

MediaErrorKind = Literal[
    "missing",  # there is no such file, or it isn't in the dataset
    "damaged",  # it can't be decoded, or only in part
    "no picture",
    "no sound",
    "short",  # less than a second of sound or than data.seconds, or too few frames or times
    "silent",  # digitally silent from start to end
    "too large",  # more pixels than are read
    "time limit",  # reading it takes longer than the time limit
    "storage",  # the disk or the server fails to read or write it
]

# libav's own words are for its developers ("Generic error in an external library").
DECODER_ERRORS: dict[type[BaseException], str] = {
    av.error.InvalidDataError: "its data is not valid",
    av.error.EOFError: "it ends too early",
    av.error.ArgumentError: "its format is not valid, or is not one that is read",
    av.error.DecoderNotFoundError: "there is no decoder for its format",
    av.error.DemuxerNotFoundError: "its format is unknown",
    av.error.PatchWelcomeError: "it uses a feature that can't be decoded",
    av.error.NotImplementedError: "it uses a feature that can't be decoded",
    av.error.ProtocolNotFoundError: "it refers to another file or address",
    av.error.BufferTooSmallError: "its data is not valid",
    av.error.OverflowError: "it holds a number that is too large",
    av.error.BugError: "the decoder fails on it",
    av.error.ExternalError: "the decoder fails on it",
    av.error.UnknownError: "the decoder fails on it",
    av.error.UndefinedError: "the decoder fails on it",
    av.error.BlockingIOError: "the decoder fails on it",
}

PROBE_BYTES = 2**28  # where so much memory is free, a file that can't be read for lack of it is damaged

OnError = Literal["stop", "skip"]  # what to do with a clip that can't be read: raise its error, or leave it out


class MediaError(UserError):
    """A media file that can't be used.

    Args:
        kind: what is wrong, for code.
        path: the file, or the folder or URL.
        reason: what is wrong, for people, without the file's name: "is truncated".
        hint: what to do about it; may be empty.
    """

    def __init__(self, kind: MediaErrorKind, path: Path | str, reason: str, hint: str = "") -> None:
        super().__init__(kind, path, reason, hint)  # all of them: an exception is pickled by its arguments
        self.kind: MediaErrorKind = kind
        self.path, self.reason, self.hint = path, reason, hint

    @property
    def problem(self) -> str:
        """The error without its hint."""
        return f"{self.path} {self.reason}"

    def __str__(self) -> str:
        return f"{self.problem}: {self.hint}" if self.hint else self.problem

    def for_clip(self, clip: str) -> "ClipError":
        """The same error as one of a `clip`, given by its id: only these are skipped in training."""
        return ClipError(clip, self.kind, self.path, self.reason, self.hint)


class ClipError(MediaError):
    """A clip that can't be read.

    Args:
        clip: its id.
        kind, path, reason: see `MediaError`.
        hint: what to do; by default to fix, remove or skip the clip.
    """

    def __init__(self, clip: str, kind: MediaErrorKind, path: Path | str, reason: str, hint: str = "") -> None:
        super().__init__(kind, path, reason, hint or f"fix or remove clip {clip}, or pass --data.on_error skip")
        self.args = (clip, kind, path, reason, self.hint)
        self.clip = clip


def has_memory() -> bool:
    """Check whether PROBE_BYTES of memory can be had."""
    try:
        return len(bytearray(PROBE_BYTES)) > 0
    except MemoryError:
        return False


def error_reason(error: BaseException) -> str:
    """Describe a decoder's or the system's error, without the file's name and without a full stop.

    Args:
        error: that a file met.

    Raises:
        BaseException: `error` itself, if memory or file descriptors are short: that is no fault of the file.
    """
    if isinstance(error, av.error.MemoryError) and has_memory():
        return "it asks for more memory than there is"  # by an absurd number in its header
    if is_shortage(error):
        raise error
    if isinstance(error, av.FFmpegError) and error.errno == errno.EPERM:  # what libav answers where it can't seek
        return "none of its frames can be found by its time: it has no key frame"
    return DECODER_ERRORS.get(type(error)) or (getattr(error, "strerror", None) or str(error)).strip(".")


def image_error_reason(error: BaseException) -> str:
    """Describe an error of Pillow, whose texts end with the file's name in quotes; `error` is raised as a shortage."""
    if is_shortage(error):
        raise error
    return getattr(error, "strerror", None) or str(error).partition("'")[0].strip()
