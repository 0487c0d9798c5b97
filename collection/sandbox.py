"""Read a file that a stranger sent, in a process of its own that can take only so much time and memory.

Decoders are large programs in C that meet whatever is in a file. Here one that hangs, crashes or asks for all memory
takes nothing down but its own process. That is forked from one that has everything imported and does nothing else.
"""

import io
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dataset.reading import errors, media_folder
from utils.errors import UserError

MAX_MEMORY = 2 * 2**30  # address space of the process, bytes
MAX_SECONDS = 10  # on the clock, and of the processor, seconds
IMAGE_SIDE = 480  # longest side of the picture that is shown, pixels
REPOSITORY = Path(__file__).parent.parent
ANSWER_HEADER = struct.Struct("<iq")  # how the process ended, as of os.waitstatus_to_exitcode; bytes that follow


class RefusedUpload(UserError):
    """A file that isn't taken: `status` is HTTP's 400 (damaged), 413 (too large) or 415 (no picture, sound, video)."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Query(NamedTuple):
    """What a file holds: "video", "image" or "sound", its `Moment`s, and the JPEG of the frame of the middle one."""

    kind: str
    moments: list
    still: bytes | None


class Sandbox:
    """`sandbox.read(path, size, rate, count)`; usable from several threads, which wait for each other.

    Args:
        memory: bytes. time: seconds.
    """

    def __init__(self, memory=MAX_MEMORY, time=MAX_SECONDS):
        self._limits, self._lock = (memory, time), threading.Lock()
        self._parent = self._start()

    def _start(self):
        words = [sys.executable, "-m", "collection.sandbox", *map(str, self._limits)]
        quiet = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(words, cwd=REPOSITORY, env=os.environ | {"OMP_NUM_THREADS": "1"}, **quiet)

    def close(self):
        """End the process."""
        self._parent.kill()
        self._parent.communicate()

    def read(self, path, size, rate, count):
        """The first `count` moments of a file, one a second; what it is, its content says.

        Args:
            path: of the file. size, rate: of `dataset.reading.media_folder.iter_moments`.

        Returns:
            a `Query` with a moment at least.

        Raises:
            Refused: with a sentence that can be shown.
        """
        with self._lock:
            try:
                self._parent.stdin.write(json.dumps([str(path), size, rate, count]).encode() + b"\n")
                self._parent.stdin.flush()
                code, length = ANSWER_HEADER.unpack(self._parent.stdout.read(ANSWER_HEADER.size))
                out = self._parent.stdout.read(length)
            except (OSError, struct.error):  # it was ended, by the system maybe
                self.close()
                self._parent, code, out = self._start(), -signal.SIGKILL, b""
        if code in (-signal.SIGALRM, -signal.SIGXCPU):
            raise RefusedUpload(
                413, f"it takes more than {self._limits[1]} s to decode: send a shorter or a smaller one"
            )
        if code:
            raise RefusedUpload(400, "the decoder breaks off on it: it is damaged, or too large")
        return _unpacked(out)


def _unpacked(out):
    with np.load(io.BytesIO(out), allow_pickle=False) as found:
        about = json.loads(found["about"].tobytes())
        if "refused" in about:
            raise RefusedUpload(*about["refused"])
        pairs = zip(about["there"], found["frames"], found["sounds"], strict=True)
        moments = [
            media_folder.Moment(time, frame if seen else None, sound if heard else None)
            for (time, seen, heard), frame, sound in pairs
        ]
        return Query(about["kind"], moments, found["still"].tobytes() or None)


def _read(path, size, rate, count):
    """What the process answers: a dict of arrays for np.savez."""
    try:
        path = Path(path)
        item = media_folder.MediaItem(path.name, media_folder.detect_kind(path), path.name, path.parent)
    except errors.MediaError as error:
        size_is_it = "pixels" in str(error)
        return _about(refused=(413 if size_is_it else 415, f"it {error}" if size_is_it else "it is no picture, sound "
                               "or video that can be read"))  # fmt: skip
    try:
        moments, shown = _moments(item, size, rate, count)
        still = io.BytesIO()
        if shown:
            shown.thumbnail((IMAGE_SIDE, IMAGE_SIDE))
            shown.save(still, "JPEG", quality=88)
    except MemoryError:
        return _about(refused=(413, "it takes too much memory to decode: send a smaller one"))
    except UserError as error:
        return _about(refused=(413 if "pixels" in str(error) else 400, f"it {str(error).removeprefix(f'{path} ')}"))
    except Exception as error:  # decoders fail in many ways; none of them is the server's end
        return _about(refused=(400, f"it can't be read ({type(error).__name__})"))
    there = [(m.time, m.frame is not None, m.sound is not None) for m in moments]
    frames = [np.zeros((size, size, 3), np.uint8) if m.frame is None else m.frame for m in moments]
    sounds = [np.zeros(rate, np.int16) if m.sound is None else m.sound for m in moments]
    arrays = {"frames": np.stack(frames), "sounds": np.stack(sounds)}
    return _about(kind=item.kind, there=there) | arrays | {"still": np.frombuffer(still.getvalue(), np.uint8)}


def _moments(item, size, rate, count):
    """(list of `Moment`, the picture or the frame of the middle one, a `PIL.Image` or None)."""
    if item.kind == "image":
        shown = media_folder.open_image(item.path)
        return [media_folder.Moment(0.0, media_folder.resize_square(shown, size), None)], shown
    moments = list(islice(media_folder.iter_moments(item, size, rate), count))
    middle = moments[len(moments) // 2]
    return moments, media_folder.frame_image(item, middle.time, IMAGE_SIDE) if middle.frame is not None else None


def _about(**values):
    return {"about": np.frombuffer(json.dumps(values).encode(), np.uint8)}


def _serve(memory, time):
    """Answer one file after the other, each in a process of its own."""
    for line in sys.stdin.buffer:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            try:
                _limit(memory, time)
                np.savez(packed := io.BytesIO(), **_read(*json.loads(line)))
                with open(writing, "wb") as pipe:
                    pipe.write(packed.getbuffer())
                os._exit(0)
            finally:
                os._exit(1)
        os.close(writing)
        with open(reading, "rb") as pipe:
            out = pipe.read()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.stdout.buffer.write(ANSWER_HEADER.pack(code, len(out)) + out)
        sys.stdout.buffer.flush()


def _limit(memory, time):
    """From now on this process has so many bytes and seconds, and can write no file."""
    signal.alarm(time)
    for kind, most in (
        (resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, time), (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):  # fmt: skip
        resource.setrlimit(kind, (most, most))


if __name__ == "__main__":
    _serve(*map(int, sys.argv[1:]))
