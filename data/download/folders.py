"""The folder of a download on disk: its clips, locks among processes, and what dead processes left.

    OUT/video/ID.mp4, OUT/audio/ID.wav
    OUT/.download/locks/ID          a clip, or a segment to cut into clips, that a process works on
    OUT/.download/work/PROCESS/     incomplete files; `alive` in PROCESS is locked while its process lives
    OUT/.download/journal.jsonl     see `data.download.journal`

The locks are those of `utils.locks`, which the kernel releases however a process ends.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from dataset.reading.clips import MEDIA_FOLDERS, clip_files
from dataset.reading.names import normalize_name
from utils.locks import hold_lock, try_lock, unlock


class ClipsOnDisk(NamedTuple):
    """Ids of the clips in a folder: those that have both files, and those that have a wav only."""

    complete: set[str]
    wav_only: set[str]


def state_folder(out: Path) -> Path:
    """Name the folder of our own files in the folder of a split, `out`."""
    return out / ".download"


def has_clip(out: Path, clip: str) -> bool:
    """Check that both files of the clip with id `clip` exist in `out`."""
    return all(file.exists() for file in clip_files(out, clip))


def list_clips(out: Path) -> ClipsOnDisk:
    """List the clips in `out`: two directory listings, whatever the number of clips."""
    video, audio = (
        {normalize_name(name.removesuffix(suffix)) for name in os.listdir(out / kind) if name.endswith(suffix)}
        for kind, suffix in MEDIA_FOLDERS
    )
    return ClipsOnDisk(video & audio, audio - video)


@contextmanager
def try_clip_lock(out: Path, clip: str) -> Iterator[bool]:
    """Try to lock a clip: yields True, or False at once if another process works on it.

    Args:
        out: folder of the split.
        clip: its id.
    """
    file = try_lock(state_folder(out) / "locks" / clip)
    try:
        yield file is not None
    finally:
        if file is not None:
            unlock(file)


@contextmanager
def work_folder(out: Path) -> Iterator[Path]:
    """Create the folders in `out`, remove what dead processes left, and yield an empty folder for this process."""
    state = state_folder(out)
    for folder in (state / "locks", state / "work", *(out / kind for kind, _ in MEDIA_FOLDERS)):
        folder.mkdir(parents=True, exist_ok=True)
    with hold_lock(state / "lock"):  # until `alive` is locked, nobody may take our folder for a dead process's
        for stale in (state / "work").iterdir():
            if not _is_alive(stale / "alive"):
                shutil.rmtree(stale, ignore_errors=True)
        complete = list_clips(out).complete  # only these: a clip that is still missing must not look locked by us
        remove_locks(out, complete)
        own = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=state / "work"))
        alive = os.open(own / "alive", os.O_CREAT | os.O_RDWR)
        fcntl.flock(alive, fcntl.LOCK_EX)
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)
        os.close(alive)


def _is_alive(path: Path) -> bool:
    try:
        with open(path) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass  # killed before it had its lock
    return False


def remove_lone_wavs(out: Path, locks_of: Callable[[str], Iterable[str]]) -> None:
    """Remove wavs without an mp4, which a kill between two renames left, unless a process works on the clip.

    Args:
        out: folder of the split.
        locks_of: names what a process locks that works on a clip; nothing if the clip may not be changed.
    """
    for clip in sorted(list_clips(out).wav_only):
        with ExitStack() as stack:
            are_locked = [stack.enter_context(try_clip_lock(out, name)) for name in locks_of(clip)]
            mp4, wav = clip_files(out, clip)
            if are_locked and all(are_locked) and not mp4.exists():
                wav.unlink(missing_ok=True)


def remove_locks(out: Path, names: Iterable[str]) -> None:
    """Remove locks that a kill left, of `names` in the folder `out` that nobody will lock again."""
    left = {path.name for path in (state_folder(out) / "locks").iterdir()}
    for name in left & set(names):
        with try_clip_lock(out, name):
            pass  # on leaving, the name is removed, unless another process holds the lock
