"""Folders of frames and sounds, as EZ-VSL and Sound of Pixels keep them: which files make which clip.

    ROOT/SPLIT/frames/ID.jpg                      a picture, shown over the whole sound; png, webp, ... too
              /frames/ID/000001.jpg, 000002.jpg   or frames at a rate: the first is shown from 0 to 1 / rate seconds
              /audio/ID.wav                       flac, aif, w64 and caf too
    ROOT/frames.json, or ROOT/SPLIT/frames.json   {"rate": 8}, frames per second, where clips are folders of frames

Both may have class folders, frames/flute/ID.jpg and audio/flute/ID.wav. Folders of frames that are named like the video
that they were taken from, ID.mp4, are those of clip ID.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

from dataset.reading.annotations import is_number, is_valid_id, load_json
from dataset.reading.errors import ClipError
from dataset.reading.names import normalize_name
from dataset.reading.suffixes import KIND_OF_SUFFIX, SUFFIXES, media_kind
from utils.errors import UserError

PICTURES, SOUNDS, RATE_FILE = "frames", "audio", "frames.json"
# libsndfile cuts these at any sample, exactly; others are off by some samples after a seek.
READ_SOUNDS = ("wav", "wave", "flac", "aif", "aiff", "aifc", "w64", "caf")
RANK_OF_SOUND = {suffix: rank for rank, suffix in enumerate(SUFFIXES["sound"].split())}
MAX_FRAME_RATE = 1000  # frames per second
RATE_FORM = '{"rate": frames per second}, such as {"rate": 8}; with "gaps": true, numbers may be left out'
LAST_NUMBER = re.compile(r"(\d+)\D*$")


class FrameRate(NamedTuple):
    """What frames.json says.

    Attributes:
        rate: frames per second.
        gaps: whether numbers may be missing: the frame before a gap stays shown.
    """

    rate: float
    gaps: bool = False


class PictureFiles(NamedTuple):
    """The files of a split.

    Attributes:
        pictures: {id: picture, or folder of frames}.
        sounds: {id: sound file}.
        folders: ids of the clips whose pictures are a folder of frames.
        classes: {id: name of its class folder}; clips outside of class folders are absent.
        unused: files that belong to no clip.
    """

    pictures: dict[str, Path]
    sounds: dict[str, Path]
    folders: set[str]
    classes: dict[str, str]
    unused: list[Path]

    def incomplete(self, clip: str) -> str:
        """Say what `clip`, an id, lacks: "has no sound file of clip ID"; empty if it is complete."""
        parts = (("frames", self.pictures), ("sound file", self.sounds))
        missing = [kind for kind, files in parts if clip not in files]
        return f"has no {' and no '.join(missing)} of clip {clip}" if missing else ""


def holds_pictures(folder: Path) -> bool:
    """Check whether `folder`, of a split, holds frames and sounds rather than videos."""
    return (folder / PICTURES).is_dir() and not (folder / "video").is_dir()


def picture_splits(root: Path) -> list[str]:
    """List the names of the splits of frames and sounds in the dataset `root`, sorted."""
    return [path.parent.name for path in sorted(root.glob(f"*/{PICTURES}")) if holds_pictures(path.parent)]


def is_of_pictures(path: Path) -> bool:
    """Check that a clip's `path`, whether it exists or not, is a picture or a folder of frames in frames/."""
    is_in_frames = PICTURES in (path.parent.name, path.parent.parent.name)
    return is_in_frames and (media_kind(path) == "image" or path.is_dir())


def find_pictures(folder: Path) -> PictureFiles:
    """Find the files of a split, without opening any.

    Args:
        folder: of the split.

    Raises:
        UserError: there are no sounds, a folder can't be listed, or a clip has two pictures or an id that can't be a
            file's name.
    """
    if not (folder / SOUNDS).is_dir():
        raise UserError(f"{folder / SOUNDS} is missing: clips are {PICTURES}/ID.jpg and {SOUNDS}/ID.wav")
    try:
        classes = {os.path.basename(entry.path) for entry in _entries(folder / SOUNDS) if entry.is_folder}
        heard = _entries_by_class(folder / SOUNDS, classes)
        seen = _entries_by_class(folder / PICTURES, classes)
    except OSError as error:
        raise UserError(f"{error.filename} can't be listed ({error.strerror}): fix this first") from None
    unused: list[str] = []
    sounds: dict[str, Path] = {}
    for entry in sorted(heard, key=_preference):
        if entry.kind == "sound" and entry.clip not in sounds:
            sounds[entry.clip] = Path(entry.path)
        elif not entry.is_folder:
            unused.append(entry.path)
    pictures: dict[str, Path] = {}
    for entry in seen:
        if not entry.is_folder and entry.kind != "image":
            unused.append(entry.path)
            continue
        if not is_valid_id(entry.clip):
            raise UserError(f"{entry.path!r} has a name that can't be an id: rename it")
        if entry.clip in pictures:
            raise UserError(
                f"{pictures[entry.clip]} and {entry.path} are both of clip {entry.clip}: rename or remove one of them"
            )
        pictures[entry.clip] = Path(entry.path)
    folders = {entry.clip for entry in seen if entry.is_folder}
    class_of = {entry.clip: entry.label for entry in seen if entry.label and entry.clip in pictures}
    return PictureFiles(pictures, sounds, folders, class_of, sorted(map(Path, unused)))


class _Entry(NamedTuple):
    """A file or folder: its path, the clip that it names, by its suffix what it is, and its class, or ""."""

    path: str
    clip: str
    suffix: str
    kind: str | None
    is_folder: bool
    label: str


def _entries(folder: Path, label: str = "") -> list[_Entry]:
    """What a folder holds, sorted by path, without what is hidden."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, dot, suffix = entry.name.rpartition(".")
            suffix = suffix.lower() if dot else ""
            kind = KIND_OF_SUFFIX.get(f".{suffix}")
            if not entry.name.startswith("."):
                clip = normalize_name(stem if kind else entry.name)
                found.append(_Entry(entry.path, clip, suffix, kind, entry.is_dir(), label))
    return sorted(found, key=lambda entry: entry.path)


def _entries_by_class(folder: Path, classes: set[str]) -> list[_Entry]:
    """What a folder and its class folders hold."""
    found: list[_Entry] = []
    for entry in _entries(folder):
        name = os.path.basename(entry.path)
        found += _entries(folder / name, normalize_name(name)) if entry.is_folder and name in classes else [entry]
    return found


def _preference(entry: _Entry) -> tuple[int, str]:
    """Order of the sounds of one clip: the table's."""
    return (RANK_OF_SOUND.get(entry.suffix, len(RANK_OF_SOUND)), entry.path)


def read_frame_rate(folder: Path) -> FrameRate:
    """Read the rate of the frames of a split.

    Args:
        folder: of the split.

    Raises:
        UserError: there is no frames.json in it or above it, or it is invalid.
    """
    path = folder / RATE_FILE
    if not path.exists():
        path = folder.parent / RATE_FILE
    if not path.exists():
        raise UserError(
            f"{folder / PICTURES} holds folders of frames, and nothing says how many there are in a second: write "
            f'{{"rate": 8}}, with your own number, to {path}'
        )
    content = load_json(path, RATE_FORM)
    if isinstance(content, dict) and not content.keys() - {"rate", "gaps"}:
        rate, gaps = content.get("rate"), content.get("gaps", False)
        if is_number(rate) and 0 < rate <= MAX_FRAME_RATE and isinstance(gaps, bool):
            return FrameRate(float(rate), gaps)
    raise UserError(f"{path} has an invalid format: it must hold {RATE_FORM}")


def list_frames(clip: str, folder: Path, rate: FrameRate) -> tuple[list[Path], list[float]]:
    """List the frames of a clip in the order of their numbers.

    Args:
        clip: the clip's id.
        folder: of its frames: 000001.jpg, 000002.jpg, ...; the first number is 1, or 0.
        rate: of the frames.

    Returns:
        their paths, and the time from which each is shown, seconds.

    Raises:
        ClipError: there is none, a name holds no number, or a number is missing or there twice.
    """
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if media_kind(Path(e.name)) == "image" and not e.name.startswith(".")]
    except OSError as error:
        raise ClipError(clip, "missing", folder, f"can't be listed ({error.strerror})") from None
    if not names:
        raise ClipError(clip, "no picture", folder, "holds no frames")
    numbers: dict[int, str] = {}
    for name in sorted(names):
        found = LAST_NUMBER.search(Path(name).stem)
        if not found:
            raise ClipError(clip, "damaged", folder / name, "has no number in its name: frames are 000001.jpg, ...")
        if numbers.setdefault(int(found[1]), name) != name:
            raise ClipError(clip, "damaged", folder, f"holds frame {int(found[1])} twice, {name} is one of them")
    start = 0 if 0 in numbers else 1
    missing = next((n for n in range(start, max(numbers)) if n not in numbers), None)
    if missing is not None and not rate.gaps:
        reason = f"lacks frame {missing}, so that all frames after it would be shown too early"
        hint = f'add the frame, remove clip {clip}, or write "gaps": true to {RATE_FILE} to keep showing the one before'
        raise ClipError(clip, "damaged", folder, reason, hint)
    ordered = sorted(numbers)
    return [folder / numbers[n] for n in ordered], [(n - start) / rate.rate for n in ordered]
