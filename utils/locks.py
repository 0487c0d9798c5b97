"""Locks of output folders, so that two processes never write to the same run, split, shards or embedding.

The locks are the kernel's (flock), which releases them however a process ends, also by SIGKILL; nothing relies on
process ids. NFS, CephFS and Lustre (mounted with `flock`) pass them to their server, so that they hold among machines.
A file system without locks gets a warning in their place. Readers, such as eval.py in a run's directory, need none.
"""

import contextlib
import errno
import fcntl
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from utils.errors import UserError
from utils.files import LOCK_NAME, StrPath

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # what file systems without locks answer
MAX_TRIES = 20  # to create a lock in a folder that others may remove
HOLDER_WAIT = 1.0  # seconds that a process which has just taken a lock gets to write who it is
# Lock files that this process has locked: {descriptor: path}.
_locked: dict[int, Path] = {}


@contextmanager
def lock_folder(folder: StrPath, option: str) -> Iterator[None]:
    """Hold the lock of a folder to write to; a process that holds it already may nest calls.

    Args:
        folder: it is created, and removed again at the end if it is still empty.
        option: what names the folder on the command line, such as "--out" or "DST", for messages.

    Raises:
        UserError: another process holds the lock, or the folder can't be written.
    """
    with _lock(Path(folder), Path(folder) / LOCK_NAME, f"choose another folder with {option}"):
        yield


@contextmanager
def lock_output(name: StrPath, option: str) -> Iterator[None]:
    """Hold the lock of files that begin with the path `name`, as `lock_folder` does of a folder.

    Args:
        name: path of the files, such as "out/emb" for out/emb.npz; its folder is created.
        option: what names the files on the command line, such as "--out", for messages.

    Raises:
        UserError: another process holds the lock, or the folder can't be written.
    """
    path = Path(name)
    with _lock(path, path.parent / f".{path.name}{LOCK_NAME}", f"choose another {option}"):
        yield


@contextmanager
def _lock(output: Path, path: Path, advice: str) -> Iterator[None]:
    """Hold the lock file `path` of an output, unless this process does already; `advice` is the end of messages."""
    if path.exists() and any(os.path.samefile(path, own) for own in _locked.values() if own.exists()):
        yield
        return
    new_folders = [folder for folder in path.parents if not folder.exists()]
    try:
        try:
            file = _create_and_lock(path)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise UserError(f"{output} can't be written ({error.strerror}): {advice}") from None
            path.unlink(missing_ok=True)
            reason = f"the file system of {output} has no locks ({error.strerror})"
            print(f"warning: {reason}: let no other process write there meanwhile", file=sys.stderr)
            yield
            return
        if file is None:
            raise UserError(f"{output} is in use by {_read_holder(path)}: wait until it ends, or {advice}")
        try:
            _write_holder(file)
            yield
        finally:
            unlock(file)
    finally:
        with contextlib.suppress(OSError):  # not empty any more
            for folder in new_folders:
                folder.rmdir()


def _create_and_lock(path: Path) -> int | None:
    """Lock `path` as `try_lock`, and create its folder."""
    for tries_left in reversed(range(MAX_TRIES)):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return try_lock(path)
        except (
            FileNotFoundError
        ):  # another process has ended and removed the folder, which it had created and left empty
            if not tries_left:  # no: a folder such as /proc/self, in which no file can be made
                raise
    raise AssertionError


def try_lock(path: Path) -> int | None:
    """Try to lock a file, among processes and threads.

    Args:
        path: of the file; it is created.

    Returns:
        The descriptor to `unlock`, or None at once if another process or thread holds the lock.

    Raises:
        OSError: the file can't be created, or its file system has no locks.
    """
    while True:
        file = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return None
        except OSError:
            os.close(file)
            raise
        # The last holder may have removed the name between our two calls: then this lock keeps nobody out.
        if _inode(path) == os.fstat(file).st_ino:
            _locked[file] = path
            return file
        os.close(file)


def unlock(file: int) -> None:
    """Remove the lock file with the descriptor `file`, of `try_lock`, and release it."""
    path = _locked.pop(file, None)
    if path is not None:  # in a forked child it is not ours
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(file)


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Wait for the lock of the file `path`, among processes and threads, and hold it; the file stays."""
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _close_in_child() -> None:
    """Close a forked child's copies of the locks: they would hold them after its parent has been killed."""
    while _locked:
        os.close(_locked.popitem()[0])


os.register_at_fork(after_in_child=_close_in_child)


def _inode(path: Path) -> int | None:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return None


def _write_holder(file: int) -> None:
    """Write who holds a lock into its file: for messages only, so a full disk doesn't matter."""
    holder = {"pid": os.getpid(), "host": platform.node(), "command": " ".join(sys.argv)[:200]}
    with contextlib.suppress(OSError):
        os.ftruncate(file, 0)
        os.write(file, json.dumps(holder).encode())


def _read_holder(path: Path) -> str:
    """Describe who holds the lock file `path`."""
    end = time.monotonic() + HOLDER_WAIT
    while True:
        try:
            holder = json.loads(path.read_text(encoding="utf-8"))
            return f"process {holder['pid']} on {holder['host']} ({holder['command']})"
        except (OSError, ValueError, KeyError, TypeError):
            if time.monotonic() > end:  # it had no space to write, or has ended meanwhile
                return "another process"
        time.sleep(0.02)
