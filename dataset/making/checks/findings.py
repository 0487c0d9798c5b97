"""What is found in clips that could be trained on: it is reported, and refused only where the user asks for it."""

from typing import NamedTuple

MESSAGES = {
    "still": "the picture never changes",
    "constant sound": "the sound never changes: a steady tone, hum or noise",
    "duplicate": "the same picture and sound as",  # and which clip
}
FINDING_KINDS = tuple(MESSAGES)


class Finding(NamedTuple):
    """Something found in a clip.

    Attributes:
        kind: one of `FINDING_KINDS`.
        message: for people.
    """

    kind: str
    message: str
