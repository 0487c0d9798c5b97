"""Decode untrusted uploads in a separate process with limited time and memory.

Decoders are large C programs that must cope with any file. If one hangs, crashes or allocates too much, only that
process ends: see collection/sandbox_worker.py.
"""

import json
import os
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path

from collection.query import Query, RefusedUpload, unpack_query
from dataset.reading.audio import SOUND_SECONDS

MAX_MEMORY = 2 * 2**30  # address space of the decoding process, bytes
MAX_SECONDS = 10  # wall-clock and CPU time of one file, seconds
REPOSITORY = Path(__file__).parent.parent
REPLY_HEADER = struct.Struct("<iq")  # exit code, as of os.waitstatus_to_exitcode; length of the reply, bytes


class Sandbox:
    """Decode uploads one at a time in a separate process; usable from several threads.

    Args:
        max_memory: bytes of address space.
        max_seconds: wall-clock and CPU time per file.
    """

    def __init__(self, max_memory: int = MAX_MEMORY, max_seconds: float = MAX_SECONDS) -> None:
        self._max_memory, self._max_seconds = max_memory, max_seconds
        self._lock = threading.Lock()
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "collection.sandbox_worker", str(self._max_memory), str(self._max_seconds)],
            cwd=REPOSITORY,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def read(self, path: Path, size: int, rate: int, count: int, seconds: float = SOUND_SECONDS) -> Query:
        """Decode the first `count` seconds of a file. Its content decides what it is, not its name.

        Args:
            path: of the file.
            size: side of the frames, pixels.
            rate: of the sounds, Hz.
            count: moments to read at most.
            seconds: length of the sound of a moment.

        Raises:
            RefusedUpload: with a message to show to the user.
        """
        with self._lock:
            code, reply = self._request(json.dumps([str(path), size, rate, count, seconds]))
        if code in (-signal.SIGALRM, -signal.SIGXCPU):
            message = f"it takes more than {self._max_seconds:g} s to decode: send a shorter or smaller file"
            raise RefusedUpload(413, message)
        if code:
            raise RefusedUpload(400, "the decoder crashed on it: the file is damaged or too large")
        return unpack_query(reply)

    def _request(self, line: str) -> tuple[int, bytes]:
        """Send one line to the process, restarting it if it has died; returns the child's exit code and its reply."""
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
            code, length = REPLY_HEADER.unpack(self._process.stdout.read(REPLY_HEADER.size))
            return code, self._process.stdout.read(length)
        except (OSError, struct.error):  # the process was killed, perhaps by the system, out of memory
            self.close()
            self._process = self._start()
            return -signal.SIGKILL, b""
