"""Link, copy or move a file to another folder, atomically."""

import errno
import hashlib
import os
import shutil
from pathlib import Path
from typing import Literal

Method = Literal["link", "hardlink", "copy", "move"]


def temporary_path(target: Path) -> Path:
    """Name a hidden file beside `target` for its content until it is complete: short, and the same in every run."""
    return target.with_name(f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:24]}.tmp")


def link_or_copy(source: Path, target: Path, by: Method) -> None:
    """Create or replace `target` in one step: link, copy or move `source` to it.

    Args:
        source: an existing file.
        target: the file to create.
        by: "link" (symbolic), "hardlink", "copy" or "move".

    Raises:
        OSError: the disk refuses it; `target` is as before.
    """
    if by == "move" and _rename(source, target):
        return
    temporary = temporary_path(target)
    temporary.unlink(missing_ok=True)
    try:
        if by == "link":
            temporary.symlink_to(source.resolve())
        elif by == "hardlink":
            os.link(source.resolve(), temporary)
        else:
            shutil.copy2(source, temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    if by == "move":
        source.unlink()


def _rename(source: Path, target: Path) -> bool:
    """Rename a file; False if it lies on another disk and must be copied."""
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    return True
