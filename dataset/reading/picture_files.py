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
        classes: {id: name of its class folder}; clips outside of class folders are absent.
        unused: files that belong to no clip.
    """

    pictures: dict[str, Path]
    sounds: dict[str, Path]
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
        classes = {entry.name for entry in _entries(folder / SOUNDS) if entry.is_dir()}
        heard = _entries_by_class(folder / SOUNDS, classes)
        seen = _entries_by_class(folder / PICTURES, classes)
    except OSError as error:
        raise UserError(f"{error.filename} can't be listed ({error.strerror}): fix this first") from None
    sounds: dict[str, Path] = {}
    for entry, _ in sorted(heard, key=lambda item: _preference(item[0])):
        if media_kind(Path(entry.name)) == "sound":
            sounds.setdefault(_id_of(entry), Path(entry.path))
    pictures: dict[str, Path] = {}
    class_of: dict[str, str] = {}
    for entry, name in seen:
        if not entry.is_dir() and media_kind(Path(entry.name)) != "image":
            continue
        clip, path = _id_of(entry), Path(entry.path)
        if not is_valid_id(clip):
            raise UserError(f"{str(path)!r} has a name that can't be an id: rename it")
        if clip in pictures:
            raise UserError(f"{pictures[clip]} and {path} are both of clip {clip}: rename or remove one of them")
        pictures[clip] = path
        if name:
            class_of[clip] = name
    used = {*pictures.values(), *sounds.values()}
    unused = {Path(entry.path) for entry, _ in (*seen, *heard) if not entry.is_dir()} - used
    return PictureFiles(pictures, sounds, class_of, sorted(unused))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What a folder holds, sorted by name, without what is hidden."""
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _entries_by_class(folder: Path, classes: set[str]) -> list[tuple[os.DirEntry[str], str]]:
    """What a folder and its class folders hold, each with the name of its class; "" outside of class folders."""
    found = []
    for entry in _entries(folder):
        if entry.name in classes and entry.is_dir():
            found += [(inner, normalize_name(entry.name)) for inner in _entries(folder / entry.name)]
        else:
            found.append((entry, ""))
    return found


def _preference(entry: os.DirEntry[str]) -> tuple[int, str]:
    """Order of the sounds of one clip: the table's."""
    suffixes = SUFFIXES["sound"].split()
    suffix = Path(entry.name).suffix.lower().removeprefix(".")
    return (suffixes.index(suffix) if suffix in suffixes else len(suffixes), entry.path)


def _id_of(entry: os.DirEntry[str]) -> str:
    """The id that a file or a folder of frames names: its name without the suffix of a medium."""
    path = Path(entry.name)
    return normalize_name(path.stem if path.suffix.lower() in KIND_OF_SUFFIX else path.name)


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
