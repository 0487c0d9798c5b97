"""Campaign: disks that are full, read-only, or limit the size of a file, under each script that writes.

Full disks are small tmpfs mounts, which need root; without it only the limits of file sizes are tried.
"""

import ctypes
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.campaign.case import Case, run_command
from tests.campaign.environment import MS_RDONLY, MS_REMOUNT, judge, may_mount, mount
from tests.campaign.material import WRITERS, expected_size, material, words_of

FRACTIONS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.85, 0.95)  # of the space that the script needs
PAGE = 4096
FILE_LIMITS = (0, 100, 1000, 10_000)  # bytes


def cases() -> Iterator[Case]:
    """Give each script too little space, a read-only folder, a full folder for temporary files and small files."""
    for script in WRITERS:
        for limit in FILE_LIMITS:
            yield Case(f"file_size_{limit}_{script}", partial(_run_with_file_limit, script, limit))
        if not may_mount():
            continue
        for fraction in FRACTIONS:
            yield Case(f"full_{fraction}_{script}", partial(_run_on_full_disk, script, fraction))
        yield Case(f"read_only_{script}", partial(_run_read_only, script))
        yield Case(f"full_tmp_{script}", partial(_run_with_full_tmp, script))


def _run_with_file_limit(script: str, limit: int, folder: Path) -> str:
    out = folder / "out"
    out.mkdir()

    def prepare() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python does at its start
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    # The limit holds for the captured output as well: pipes have none.
    outcome = run_command(words_of(script, material(), out)[1:], prepare=prepare, pipes=True)
    return judge(outcome, out, script)


def _run_on_full_disk(script: str, fraction: float, folder: Path) -> str:
    with small_disk(folder / "out", max(int(expected_size(script) * fraction), PAGE)) as out:
        return judge(run_command(words_of(script, material(), out)[1:]), out, script)


def _run_read_only(script: str, folder: Path) -> str:
    with small_disk(folder / "out", 2**20) as out:
        mount("none", str(out), "", MS_REMOUNT | MS_RDONLY)
        return judge(run_command(words_of(script, material(), out)[1:]), out, script)


def _run_with_full_tmp(script: str, folder: Path) -> str:
    (folder / "out").mkdir()
    with small_disk(folder / "tmp", PAGE) as temporary:
        env = {"TMPDIR": str(temporary)}
        return judge(run_command(words_of(script, material(), folder / "out")[1:], env=env), folder / "out", script)


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """Mount a file system of `size` bytes on `folder`, which is made, and yield it."""
    folder.mkdir()
    mount("none", str(folder), "tmpfs", 0, f"size={-(-size // PAGE) * PAGE},nr_inodes=2000")
    try:
        yield folder
    finally:
        ctypes.CDLL(None).umount2(str(folder).encode(), 2)  # also if a process is still in it
