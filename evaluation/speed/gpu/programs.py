"""Run programs of this repository for a limited time, with all that they start, and say why one failed."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

ROOT = Path(__file__).parents[3]
PATIENCE = 20.0  # with a program that is asked to end, seconds


class Finished(NamedTuple):
    """A program that has ended.

    Attributes:
        code: its exit code; None if its time was over.
        lines: that it printed on stdout.
        reason: of a failure, one sentence.
    """

    code: int | None
    lines: list[str]
    reason: str


class Program(NamedTuple):
    """A program that runs.

    Attributes:
        process: of it.
        out, errors: what it prints.
    """

    process: "subprocess.Popen[str]"
    out: IO[str]
    errors: IO[str]

    def finish(self, seconds: float) -> Finished:
        """Wait until it has ended, at most some `seconds`; then ask it to end, and kill what doesn't."""
        code, timed_out = None, False
        try:
            code = self.process.wait(max(seconds, 0))
        except subprocess.TimeoutExpired:
            timed_out = True
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(PATIENCE)
        lines, said = (_lines(file) for file in (self.out, self.errors))
        reason = f"its {seconds:.0f} s were over" if timed_out else why_it_failed(said, code)
        return Finished(code, lines, reason)


def _lines(file: IO[str]) -> list[str]:
    file.seek(0)
    return [line.strip() for line in file.read().splitlines() if line.strip()]


def why_it_failed(said: list[str], code: int | None) -> str:
    """Choose the sentence that says why a program failed.

    Args:
        said: its lines on stderr.
        code: its exit code.
    """
    sentences = [line for line in said if line.startswith("error: ")]  # of torchrun each process's
    traces = [line for line in said if re.match(r"(\[rank\d+\]: )?[\w.]*(Error|Exception)\b", line)]
    words = [line for line in said if re.search(r"\w", line)]
    chosen = (sentences[:1] or traces[:1] or words[-1:] or [f"exit code {code}"])[0]
    return re.sub(r"^(error|\[rank\d+\]): ", "", chosen)[:300]


@contextmanager
def started(words: Sequence[str], device: str) -> Iterator[Program]:
    """Start a Python program in the repository's root; whatever is left of it at the end is killed.

    Args:
        words: of its command line, after "python".
        device: "cpu" hides all GPUs from it.
    """
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, *words], cwd=ROOT, env=os.environ | hidden, stdout=out, stderr=errors, text=True,
            start_new_session=True,
        )  # fmt: skip
        try:
            yield Program(process, out, errors)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its workers, too
            process.wait()


def run_program(words: Sequence[str], device: str, seconds: float) -> Finished:
    """Run a Python program in the repository's root.

    Args:
        words: of its command line, after "python".
        device: "cpu" hides all GPUs from it.
        seconds: that it may take.
    """
    with started(words, device) as program:
        return program.finish(seconds)
