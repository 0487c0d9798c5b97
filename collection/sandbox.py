"""Decode untrusted uploads in separate processes with limited time and memory.

Decoders are large C programs that must cope with any file. If one hangs, crashes or allocates too much, only that
process ends: see collection/sandbox_worker.py.
"""

import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from collection.query import Query, RefusedUpload, unpack_query
from dataset.reading.audio import SOUND_SECONDS

MAX_MEMORY = 2 * 2**30  # address space of a decoding process, bytes
MAX_SECONDS = 10  # CPU time of one query, seconds
WAITING = 3  # how many times as long it may take on a busy machine, or while it waits for something
SECONDS_PER_SECOND = 2  # CPU time that converting a second of a clip may take, beside MAX_SECONDS
MAX_CLIP_BYTES = 256 * 2**20  # of each file of a converted clip
DYING_SECONDS = 1.0  # in which a process that was killed has ended
CHECK_SECONDS = 0.2  # between two looks at whether a request is still wanted
REPOSITORY = Path(__file__).parent.parent
REPLY_HEADER = struct.Struct("<iq")  # exit code, as of os.waitstatus_to_exitcode; length of the reply, bytes


class Cancelled(Exception):
    """A request that is not wanted any more."""


class Sandbox:
    """Decode uploads, each in a process of its own; usable from several threads.

    Args:
        max_memory: bytes of address space of a process.
        max_seconds: CPU time per query.
    """

    def __init__(self, max_memory: int = MAX_MEMORY, max_seconds: float = MAX_SECONDS) -> None:
        self._max_memory, self._max_seconds = max_memory, max_seconds
        self._lock = threading.Lock()
        self._start()

    def _start(self) -> None:
        """Start the process that forks one for each request; requests reach it through a socket."""
        self._requests, other_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other_end:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "collection.sandbox_worker", str(other_end.fileno()), str(self._max_memory)],
                cwd=REPOSITORY,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[other_end.fileno()],
            )

    def close(self) -> None:
        """End the process; those that decode end with the requests that wait for them."""
        self._process.kill()
        self._process.wait()
        self._requests.close()

    def read(
        self,
        path: Path,
        size: int,
        rate: int,
        count: int,
        seconds: float = SOUND_SECONDS,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> Query:
        """Decode the first `count` seconds of a file. Its content decides what it is, not its name.

        Args:
            path: of the file.
            size: side of the frames, pixels.
            rate: of the sounds, Hz.
            count: moments to read at most.
            seconds: length of the sound of a moment.
            is_wanted: is asked now and then; the process ends once it says no.

        Raises:
            RefusedUpload: with a message to show to the user.
            Cancelled: it is not wanted any more.
        """
        arguments = [str(path), size, rate, count, seconds]
        return unpack_query(self._decode("query", arguments, self._max_seconds, is_wanted))

    def convert(self, path: Path, folder: Path, longest: float, is_wanted: Callable[[], bool] = lambda: True) -> float:
        """Convert a video to a clip of the dataset's format: clip.mp4 and clip.wav.

        Args:
            path: of the file.
            folder: to write to; nothing is written elsewhere.
            longest: length of the clip at most, seconds: its first part is taken.
            is_wanted: is asked now and then; the process ends once it says no.

        Returns:
            The clip's duration, seconds.

        Raises:
            RefusedUpload: with a message to show to the user.
            Cancelled: it is not wanted any more.
        """
        max_seconds = self._max_seconds + SECONDS_PER_SECOND * longest
        reply = json.loads(self._decode("clip", [str(path), str(folder), longest], max_seconds, is_wanted))
        if "refused" in reply:
            raise RefusedUpload(*reply["refused"])
        return reply["seconds"]

    def _decode(
        self, task: str, arguments: list[Any], max_seconds: float, is_wanted: Callable[[], bool] = lambda: True
    ) -> bytes:
        """Run a task of the worker on an upload; returns its reply."""
        request = json.dumps({"task": task, "arguments": arguments, "max_seconds": max_seconds}).encode()
        code, reply = self._request(request, is_wanted)
        if code in (-signal.SIGALRM, -signal.SIGXCPU):
            raise RefusedUpload(413, f"it takes more than {max_seconds:g} s to decode: send a shorter or smaller file")
        if code:
            raise RefusedUpload(400, "the decoder crashed on it: the file is damaged or too large")
        return reply

    def _request(self, request: bytes, is_wanted: Callable[[], bool]) -> tuple[int, bytes]:
        """Send one request, starting the process again if it has died; returns the exit code and the reply."""
        process = self._process
        ours, theirs = socket.socketpair()
        with ours:
            with theirs, self._lock, suppress(OSError):  # the process is dead: the reply will be empty
                socket.send_fds(self._requests, [request], [theirs.fileno()])
            received = bytearray()
            while True:
                if select.select([ours], [], [], CHECK_SECONDS)[0]:
                    part = ours.recv(2**20)
                    if not part:
                        break
                    received += part
                elif not is_wanted():  # the worker ends the process when the socket is closed
                    raise Cancelled
        if len(received) < REPLY_HEADER.size:
            self._restart(process)
            return -signal.SIGKILL, b""
        code, length = REPLY_HEADER.unpack_from(received)
        reply = bytes(received[REPLY_HEADER.size :])
        return (code, reply) if len(reply) == length else (-signal.SIGKILL, b"")

    def _restart(self, process: subprocess.Popen[bytes]) -> None:
        """Start the process again if `process` was killed, perhaps by the system, out of memory."""
        with self._lock, suppress(subprocess.TimeoutExpired):
            if self._process is process:
                process.wait(DYING_SECONDS)
                self.close()
                self._start()
