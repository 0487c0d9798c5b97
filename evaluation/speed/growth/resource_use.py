"""CPU time and memory that a piece of work takes, for the table of how costs grow with the size of the work."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # written to clear_refs, see proc(5)


def resident_mb(peak: bool = False) -> float:
    """Read the memory of this process that is in RAM, mapped files included, MB.

    Args:
        peak: its largest value so far.
    """
    found = re.search(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB", STATUS.read_text())
    return int(found[1]) / 1024 if found else 0.0


@contextmanager
def measure_use() -> Iterator[dict[str, float]]:
    """Measure what the `with` block takes (Linux).

    Yields:
        a dict that holds, after the block: "cpu_seconds", the time of all its threads, and "peak_mb", by how much the
        largest memory in RAM is above that at the start.
    """
    use: dict[str, float] = {}
    CLEAR_REFS.write_text(RESET_PEAK)
    begin, before = time.process_time(), resident_mb()
    yield use
    use["cpu_seconds"] = time.process_time() - begin
    use["peak_mb"] = max(resident_mb(peak=True) - before, 0.0)


def command_use(words: list[str]) -> dict[str, float]:
    """Measure what a Python command takes in a process of its own, with those that it starts.

    Args:
        words: the script and its arguments.

    Returns:
        "cpu_seconds", and "peak_mb", the largest memory of its largest process.

    Raises:
        RuntimeError: it failed.
    """
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, use = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # it is waited for already
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with exit code {process.returncode}")
    return {"cpu_seconds": use.ru_utime + use.ru_stime, "peak_mb": use.ru_maxrss / 1024}
