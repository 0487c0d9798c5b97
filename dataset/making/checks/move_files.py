"""Move files so that nothing is ever replaced, and nothing is lost: a file is at its old path, its new one, or both."""

import errno
import filecmp
import os
import shutil
from pathlib import Path

from dataset.making.clips.link_files import temporary_path

# What file systems answer that have no hard links, or not for this file: FAT, some network disks, another disk.
NO_HARD_LINK = (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EINVAL)


def move_file(source: Path, target: Path) -> None:
    """Move a file, or a symbolic link, to a path that doesn't exist yet, on this disk or another one.

    A link to a relative path is made anew as one to the same file.

    Args:
        source: path of the file.
        target: new path; its folder exists.

    Raises:
        FileExistsError: `target` exists; both are as before.
        OSError: the disk refuses it; both are as before.
    """
    if source.is_symlink():
        os.symlink(os.path.join(os.path.realpath(source.parent), os.readlink(source)), target)
    else:
        _link_or_copy_new(source, target)
    try:
        source.unlink()
    except OSError:
        target.unlink()
        raise


def is_moved_already(source: Path, target: Path) -> bool:
    """Check whether `target` is what an interrupted move of `source` left: the same file, or one of the same content.

    Args:
        source: path of a file.
        target: another path.
    """
    if source.is_symlink() or target.is_symlink() or not (source.is_file() and target.is_file()):
        are_links = source.is_symlink() and target.is_symlink()
        return are_links and os.path.realpath(source) == os.path.realpath(target)
    return os.path.samefile(source, target) or filecmp.cmp(source, target, shallow=False)


def _link_or_copy_new(source: Path, target: Path) -> None:
    """Give a file a second name, or a copy on another disk, that appears as a whole and replaces nothing."""
    try:
        os.link(source, target)
        return
    except OSError as error:
        if error.errno not in NO_HARD_LINK:
            raise
    temporary = temporary_path(target)
    temporary.unlink(missing_ok=True)
    try:
        shutil.copy2(source, temporary)
        _flush(temporary)
        publish_file(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def publish_file(temporary: Path, target: Path) -> None:
    """Give a complete file its final name, unless a file has that name already.

    Args:
        temporary: the file, in the folder of `target`; it is gone afterwards.
        target: the final path.

    Raises:
        FileExistsError: `target` exists; both are as before.
        OSError: the disk refuses it; both are as before.
    """
    try:
        os.link(temporary, target)
    except OSError as error:
        if error.errno not in NO_HARD_LINK:
            raise
        # Without hard links: an empty file that only its creator can have made keeps the name until it is replaced.
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        try:
            os.replace(temporary, target)
        except OSError:
            target.unlink()
            raise
    else:
        temporary.unlink()


def _flush(path: Path) -> None:
    """Write a file's content to the disk: its source is removed next."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
