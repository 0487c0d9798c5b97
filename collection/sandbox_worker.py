"""The process behind collection/sandbox.py: decodes each file in a forked child with limited time and memory.

    python -m collection.sandbox_worker MAX_MEMORY MAX_SECONDS     # one request per line of stdin, replies on stdout

The child is forked from a process that has imported all decoders and does nothing else.
"""

import io
import json
import os
import resource
import signal
import sys
from itertools import islice
from math import ceil
from pathlib import Path

from PIL import Image

from collection.query import Query, RefusedUpload, pack_query, pack_refusal
from collection.sandbox import REPLY_HEADER
from dataset.reading.audio import SOUND_SECONDS, sound_samples
from dataset.reading.errors import MediaError
from dataset.reading.images import open_image, resize_square
from dataset.reading.media_folder import MediaItem, detect_kind, frame_image
from dataset.reading.moments import Moment, iter_moments

PREVIEW_SIDE = 480  # longest side of the preview, pixels
JPEG_QUALITY = 88


def read_upload(path: Path, size: int, rate: int, count: int, seconds: float = SOUND_SECONDS) -> Query:
    """Decode the first `count` seconds of a file.

    Args:
        path: of the file; its content decides what it is.
        size: side of the frames, pixels.
        rate: of the sounds, Hz.
        count: moments to read at most.
        seconds: length of the sound of a moment.

    Raises:
        RefusedUpload: it is not an image, audio or video, is damaged or too large.
    """
    try:
        item = MediaItem(path.name, detect_kind(path), path.name, path.parent)
    except MediaError as error:
        if error.kind == "too large":
            raise RefusedUpload(413, f"it {error.reason}") from None
        raise RefusedUpload(415, "it is not an image, audio or video file that can be read") from None
    try:
        moments, preview = _decode(item, size, rate, count, seconds)
        return Query(item.kind, moments, _jpeg(preview) if preview else None)
    except MemoryError:
        raise RefusedUpload(413, "it takes too much memory to decode: send a smaller file") from None
    except MediaError as error:
        raise RefusedUpload(413 if error.kind == "too large" else 400, f"it {error.reason}") from None
    except Exception as error:  # decoders fail in many ways; none of them may stop the server
        raise RefusedUpload(400, f"it can't be read ({type(error).__name__})") from None


def _decode(
    item: MediaItem, size: int, rate: int, count: int, seconds: float
) -> tuple[list[Moment], Image.Image | None]:
    """Moments of a file, and the image or the frame of the middle one; None where it has no frame."""
    if item.kind == "image":
        image = open_image(item.path)
        return [Moment(0.0, resize_square(image, size), None)], image
    moments = list(islice(iter_moments(item, size, rate, seconds=seconds), count))
    middle = moments[len(moments) // 2]
    return moments, frame_image(item, middle.time, PREVIEW_SIDE) if middle.frame is not None else None


def _jpeg(image: Image.Image) -> bytes:
    image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    image.save(out := io.BytesIO(), "JPEG", quality=JPEG_QUALITY)
    return out.getvalue()


def limit_process(max_memory: int, max_seconds: float) -> None:
    """Limit this process to `max_memory` bytes and `max_seconds`, wall-clock and CPU; it can write no file."""
    signal.setitimer(signal.ITIMER_REAL, max_seconds)
    limits = {
        resource.RLIMIT_AS: max_memory,
        resource.RLIMIT_CPU: ceil(max_seconds),
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))


def reply_in_child(line: bytes, pipe: int, max_memory: int, max_seconds: float) -> None:
    """Decode one file in this forked process, write the packed query into a pipe and exit.

    Args:
        line: JSON of the arguments of `read_upload`.
        pipe: file descriptor to write to.
        max_memory: bytes.
        max_seconds: wall-clock and CPU time.
    """
    try:
        limit_process(max_memory, max_seconds)
        path, size, rate, count, seconds = json.loads(line)
        try:
            query = read_upload(Path(path), size, rate, count, seconds)
            reply = pack_query(query, size, sound_samples(seconds, rate))
        except RefusedUpload as refusal:
            reply = pack_refusal(refusal)
        with open(pipe, "wb") as file:
            file.write(reply)
        os._exit(0)
    finally:
        os._exit(1)


def main(max_memory: int, max_seconds: float) -> None:
    """Answer requests until stdin is closed, each in a child limited to `max_memory` bytes and `max_seconds`."""
    for line in sys.stdin.buffer:
        read_end, write_end = os.pipe()
        child = os.fork()
        if not child:
            reply_in_child(line, write_end, max_memory, max_seconds)
        os.close(write_end)
        with open(read_end, "rb") as pipe:
            reply = pipe.read()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.stdout.buffer.write(REPLY_HEADER.pack(code, len(reply)) + reply)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
