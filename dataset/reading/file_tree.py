"""List the files of a folder and of those below it, and find the sounds that belong to its videos."""

import os
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from dataset.reading.names import normalize_name
from dataset.reading.suffixes import KIND_OF_SUFFIX, media_kind

SOUND_RANK = {suffix: rank for rank, suffix in enumerate(KIND_OF_SUFFIX)}  # by which the sound of a video is chosen


class FileTree(NamedTuple):
    """What a folder holds.

    Attributes:
        files: paths of its files, sorted.
        skipped: {path: reason} of what is no file to read: hidden ones, broken links, devices, folders seen already.
    """

    files: list[Path]
    skipped: dict[Path, str]


def list_files(folder: Path, exclude: Iterable[Path] = ()) -> FileTree:
    """List the files of a `folder` and of those below it; linked folders are followed, each folder once.

    A folder that can be reached by its own path and by a link is listed by its own path.

    Args:
        folder: where to start.
        exclude: folders that are not listed, such as the output.

    Raises:
        OSError: `folder` itself can't be listed.
    """
    files: list[Path] = []
    skipped: dict[Path, str] = {}
    seen = {_identity(path) for path in exclude if path.is_dir()}
    folders, links = deque([folder]), deque[Path]()  # links come last
    while folders or links:
        is_link = not folders
        below = links.popleft() if is_link else folders.popleft()
        if is_link and _identity(below) in seen:
            skipped[below] = "leads to a folder that is listed already"
            continue
        try:
            entries = sorted(os.scandir(below), key=lambda entry: entry.name)
        except OSError as error:
            if below == folder:
                raise
            skipped[below] = f"can't be listed ({error.strerror})"
            continue
        seen.add(_identity(below))
        for entry in entries:
            path = below / entry.name
            if entry.name.startswith("."):
                skipped[path] = "is hidden"
            elif entry.is_dir(follow_symlinks=False):
                if _identity(path) not in seen:
                    folders.append(path)
            elif entry.is_dir():
                links.append(path)
            elif entry.is_file():
                files.append(path)
            else:
                skipped[path] = "is a broken link" if entry.is_symlink() else "is not a regular file"
    return FileTree(sorted(files), skipped)


def _identity(folder: Path) -> tuple[int, int] | Path:
    """What two paths of the same folder have in common."""
    try:
        status = folder.stat()
    except OSError:
        return folder
    return status.st_dev, status.st_ino


def match_sounds(files: Iterable[Path]) -> tuple[dict[Path, Path], dict[Path, Path]]:
    """Find the sound file that belongs to each video: NAME.wav beside NAME.mp4, or audio/NAME.wav of video/NAME.mp4.

    Suffixes are compared without case, and names too where no other sound has the name exactly. Of several sounds, such
    as NAME.wav and NAME.mp3, the one whose suffix comes first in `dataset.reading.suffixes` is taken.

    Args:
        files: paths of any files.

    Returns:
        ({video: its sound}, {sound: the video that has another one}).
    """
    files = list(files)
    sounds: dict[tuple[Path, str], list[Path]] = {}
    for path in files:
        if media_kind(path) == "sound":
            stem = normalize_name(path.stem)
            for key in {stem, f"{stem.casefold()}/"}:  # no name holds a slash
                sounds.setdefault((path.parent, key), []).append(path)
    matched: dict[Path, Path] = {}
    unused: dict[Path, Path] = {}
    for video in (path for path in files if media_kind(path) == "video"):
        stem = normalize_name(video.stem)
        folders = [video.parent.parent / "audio", video.parent] if video.parent.name == "video" else [video.parent]
        places = [(folder, key) for key in (stem, f"{stem.casefold()}/") for folder in folders]
        found = next((sounds[place] for place in places if place in sounds), [])
        ranked = sorted(found, key=lambda path: (SOUND_RANK[path.suffix.lower()], path))
        if ranked:
            matched[video] = ranked[0]
            unused |= dict.fromkeys(ranked[1:], video)
    return matched, {sound: video for sound, video in unused.items() if sound not in set(matched.values())}
