"""The process behind collection/sandbox.py: decodes each file in a forked process with limited time and memory.

    python -m collection.sandbox_worker SOCKET MAX_MEMORY     # requests, each with a socket for its reply

It has imported all decoders and does nothing else. For each request it forks a process that watches over another one,
the one that decodes: it ends that one when nobody waits for its reply any more.
"""

import errno
import io
import json
import os
import resource
import select
import signal
import socket
import sys
from itertools import islice
from math import ceil
from pathlib import Path

from PIL import Image

from collection.query import Query, RefusedUpload, describe_media_error, pack_query, pack_refusal
from collection.sandbox import MAX_CLIP_BYTES, REPLY_HEADER, WAITING
from dataset.making.clips.cut import cut_clip
from dataset.reading.audio import SAMPLE_RATE, SOUND_SECONDS, sound_samples
from dataset.reading.clip_reader import ClipReader
from dataset.reading.errors import MediaError
from dataset.reading.images import open_image, resize_square
from dataset.reading.media_folder import MediaItem, detect_kind, frame_image
from dataset.reading.moments import Moment, iter_moments

PREVIEW_SIDE = 480  # longest side of the preview, pixels
JPEG_QUALITY = 88
CLIP_HEIGHT = 360  # of a converted video at most, pixels


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
    item = _detect(path, "an image, audio or video file")
    try:
        moments, preview = _decode(item, size, rate, count, seconds)
        return Query(item.kind, moments, _jpeg(preview) if preview else None)
    except Exception as error:
        raise _refusal(error, seconds) from None


def convert_upload(path: Path, folder: Path, longest: float) -> float:
    """Convert a video to a clip of the dataset's format, FOLDER/clip.mp4 and FOLDER/clip.wav.

    Args:
        path: of the file; its content decides what it is.
        folder: to write to.
        longest: length of the clip at most, seconds.

    Returns:
        The clip's duration, seconds.

    Raises:
        RefusedUpload: it is not a video with sound, is damaged, silent or too large.
    """
    item = _detect(path, "a video")
    if item.kind != "video":
        what = "an image" if item.kind == "image" else "a sound"
        raise RefusedUpload(415, f"it is {what}: send a video with its sound")
    try:
        seconds = cut_clip(path, path, 0.0, longest, folder / "clip.mp4", folder / "clip.wav", CLIP_HEIGHT)
        with ClipReader("clip", folder / "clip.mp4", folder / "clip.wav") as clip:
            clip.sound(0.0, SAMPLE_RATE)  # refuses silence
        return seconds
    except Exception as error:
        if isinstance(error, MediaError) and error.kind == "no sound":
            raise RefusedUpload(415, "it has no sound: send a video with its sound") from None
        raise _refusal(error, SOUND_SECONDS) from None


def _detect(path: Path, wanted: str) -> MediaItem:
    """Detect what an upload is; `wanted` is what it should be, for the message."""
    try:
        return MediaItem(path.name, detect_kind(path), path.name, path.parent)
    except MediaError as error:
        if error.kind == "too large":
            raise RefusedUpload(413, f"it {error.reason}") from None
        raise RefusedUpload(415, f"it is not {wanted} that can be read: send another file") from None


def _refusal(error: Exception, seconds: float) -> RefusedUpload:
    """Say why an upload can't be decoded. Decoders fail in many ways; none of them may stop the server."""
    if isinstance(error, MemoryError):
        return RefusedUpload(413, "it takes too much memory to decode: send a smaller file")
    if isinstance(error, MediaError):
        return RefusedUpload(413 if error.kind == "too large" else 400, describe_media_error(error, seconds))
    if isinstance(error, OSError) and error.errno in (errno.EFBIG, errno.ENOSPC):
        return RefusedUpload(413, "it takes too much disk space once it is converted: send a shorter file")
    return RefusedUpload(400, f"it can't be read ({type(error).__name__})")


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


def limit_process(max_memory: int, max_seconds: float, max_file: int) -> None:
    """Limit this process.

    Args:
        max_memory: bytes of address space.
        max_seconds: CPU time; WAITING times as much may pass.
        max_file: bytes of a file that it writes; 0: it can write none.
    """
    signal.setitimer(signal.ITIMER_REAL, WAITING * max_seconds)
    seconds = ceil(max_seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))  # SIGXCPU, which says why, before SIGKILL
    limits = {resource.RLIMIT_AS: max_memory, resource.RLIMIT_FSIZE: max_file, resource.RLIMIT_CORE: 0}
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))


def reply_to(request: bytes) -> bytes:
    """Decode one file.

    Args:
        request: JSON, {"task": "query" or "clip", "arguments": those of `read_upload` or `convert_upload`}.

    Returns:
        A packed query, or JSON of the clip.
    """
    content = json.loads(request)
    path, *rest = content["arguments"]
    if content["task"] == "clip":
        folder, longest = rest
        try:
            return json.dumps({"seconds": convert_upload(Path(path), Path(folder), longest)}).encode()
        except RefusedUpload as refusal:
            return json.dumps({"refused": [refusal.status, str(refusal)]}).encode()
    size, rate, _, seconds = rest
    try:
        return pack_query(read_upload(Path(path), *rest), size, sound_samples(seconds, rate))
    except RefusedUpload as refusal:
        return pack_refusal(refusal)


def decode(request: bytes, pipe: int, max_memory: int) -> None:
    """Decode one file in this forked process, write the reply into a pipe and exit.

    Args:
        request: see `reply_to`.
        pipe: file descriptor to write to.
        max_memory: bytes.
    """
    try:
        content = json.loads(request)
        limit_process(max_memory, content["max_seconds"], MAX_CLIP_BYTES if content["task"] == "clip" else 0)
        reply = reply_to(request)
        with open(pipe, "wb") as file:
            file.write(reply)
        os._exit(0)
    finally:
        os._exit(1)


def watch_over(request: bytes, connection: socket.socket, max_memory: int) -> None:
    """Decode one file in a child of this forked process, and send what it replies.

    Args:
        request: see `reply_to`.
        connection: to send to; once its other end is closed, the child is killed.
        max_memory: bytes.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        connection.close()
        decode(request, write_end, max_memory)
    os.close(write_end)
    reply = bytearray()
    while True:
        readable, _, _ = select.select([read_end, connection.fileno()], [], [])
        if connection.fileno() in readable:  # nothing is ever sent on it: its other end is closed
            os.kill(child, signal.SIGKILL)
            return
        part = os.read(read_end, 2**20)
        if not part:
            break
        reply += part
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    connection.sendall(REPLY_HEADER.pack(code, len(reply)) + reply)


def main(descriptor: int, max_memory: int) -> None:
    """Answer requests until the socket `descriptor` is closed, each in a process limited to `max_memory` bytes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which then closes the socket
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    with socket.socket(fileno=descriptor) as requests:
        while True:
            request, descriptors, _, _ = socket.recv_fds(requests, 2**16, 1)
            if not request:
                return
            with socket.socket(fileno=descriptors[0]) as connection:
                if not os.fork():
                    try:
                        requests.close()
                        watch_over(request, connection, max_memory)
                    finally:
                        os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
