"""An upload to search for: decoded into moments, and serialized to pass it between processes."""

import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from dataset.reading.audio import SOUND_SECONDS
from dataset.reading.errors import MediaError
from dataset.reading.moments import Moment
from dataset.reading.suffixes import MediaKind
from utils.errors import UserError


class RefusedUpload(UserError):
    """An upload that is not searched.

    Args:
        status: of HTTP: 400 (damaged), 413 (too large) or 415 (no image, audio or video).
        message: one sentence for the user.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def describe_media_error(error: MediaError, seconds: float) -> str:
    """Say in one sentence why a visitor's file can't be used, without settings, which a visitor doesn't know.

    Args:
        error: of the file.
        seconds: of sound that the net needs.
    """
    if error.kind == "short":
        return f"it is too short: the net needs {max(seconds, SOUND_SECONDS):g} s with sound: send a longer file"
    if error.kind == "silent":
        return "it is silent from start to end: send a file with a sound"
    return f"it {error.reason}"


@dataclass(frozen=True)
class Query:
    """A decoded upload.

    Attributes:
        kind: what the file is, by its content.
        moments: its seconds, at least one.
        preview: JPEG of the image, or of the middle moment's frame; None without frames.
    """

    kind: MediaKind
    moments: list[Moment]
    preview: bytes | None

    @property
    def middle(self) -> Moment:
        """The moment in the middle of the file."""
        return self.moments[len(self.moments) // 2]


def pack_query(query: Query, size: int, samples: int) -> bytes:
    """Serialize a query as an npz file, which holds no code.

    Args:
        query: its frames are (size, size, 3) uint8, its sounds (samples,) int16.
        size: side of the frames, pixels.
        samples: of a sound.
    """
    moments = query.moments
    frames = [np.zeros((size, size, 3), np.uint8) if m.frame is None else m.frame for m in moments]
    sounds = [np.zeros(samples, np.int16) if m.sound is None else m.sound for m in moments]
    return _pack(
        {"kind": query.kind, "moments": [(m.time, m.frame is not None, m.sound is not None) for m in moments]},
        frames=np.stack(frames),
        sounds=np.stack(sounds),
        preview=np.frombuffer(query.preview or b"", np.uint8),
    )


def pack_refusal(refusal: RefusedUpload) -> bytes:
    """Serialize the reason why an upload is refused; `refusal` is raised again by `unpack_query`."""
    return _pack({"refused": [refusal.status, str(refusal)]})


def _pack(about: dict[str, Any], **arrays: Any) -> bytes:
    np.savez(packed := io.BytesIO(), about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)
    return packed.getvalue()


def unpack_query(content: bytes) -> Query:
    """Read the `content` that `pack_query` or `pack_refusal` made.

    Raises:
        RefusedUpload: it holds a refusal.
    """
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        about = json.loads(arrays["about"].tobytes())
        if "refused" in about:
            raise RefusedUpload(*about["refused"])
        moments = [
            Moment(time, frame if has_frame else None, sound if has_sound else None)
            for (time, has_frame, has_sound), frame, sound in zip(
                about["moments"], arrays["frames"], arrays["sounds"], strict=True
            )
        ]
        return Query(about["kind"], moments, arrays["preview"].tobytes() or None)
