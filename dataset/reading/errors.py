"""Errors of media files and clips, each with the kind of the fault."""

from utils.errors import UserError


class ClipError(UserError):
    """A clip that can't be read. `clip` is its id."""

    def __init__(self, clip, message):
        super().__init__(message)
        self.clip = clip


def error_reason(error):
    """What a decoder's or the system's error says, without a full stop."""
    return (getattr(error, "strerror", None) or str(error)).strip(".")


class CutError(UserError):
    """A clip that can't be cut. `kind`: "damaged", "no picture", "no sound" or "short"."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


class MediaError(UserError):
    """A file that can't be read. The message is what is wrong with it, without its name: "is cut short"."""
