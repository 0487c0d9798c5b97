"""Find the videos of a folder that become clips, each with its sound, and name all that is left out."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from dataset.making.left_out import LeftOut
from dataset.making.text import escape_surrogates, printable
from dataset.reading.annotations import is_valid_id
from dataset.reading.file_tree import list_files, match_sounds
from dataset.reading.names import normalize_name, same_names
from dataset.reading.picture_files import PICTURES, SOUNDS, holds_pictures, picture_splits
from dataset.reading.suffixes import media_kind
from utils.errors import UserError

SHOWN = 5  # names in a message


class SourceVideo(NamedTuple):
    """A video of a user's folder.

    Attributes:
        id: of its clip, normalized; or of the recording that clips are cut from.
        name: of the file without its suffix, normalized.
        video: its path.
        sound: path of the sound file that belongs to it, or None: then it is the video's own.
        folders: names of the folders between the user's and the file, without "video".
    """

    id: str
    name: str
    video: Path
    sound: Path | None
    folders: tuple[str, ...]


def find_videos(
    folder: Path,
    exclude: Iterable[Path],
    tables: Iterable[Path],
    prefix: bool,
    other_sounds: Mapping[str, Path] | None = None,
) -> tuple[dict[str, SourceVideo], list[LeftOut]]:
    """Find the videos of a folder and those below it.

    Args:
        folder: the user's.
        exclude: folders that aren't searched, such as the output.
        tables: paths of files that are read for other purposes: they aren't left out.
        prefix: put the folders' names before those that occur in several folders.
        other_sounds: of `read_sound_folder`; these sounds go before those beside the videos.

    Returns:
        {id: video}, sorted; and the files that become no clip.

    Raises:
        UserError: there is no such folder, it can't be listed, or two videos have the same name.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: give one that holds videos")
    try:
        tree = list_files(folder, exclude)
    except OSError as error:
        raise UserError(f"{folder} can't be listed ({error.strerror}): give another folder") from None
    sounds, unused = match_sounds(tree.files)
    if other_sounds:
        _replace_sounds(tree.files, other_sounds, sounds, unused)
    used = {path.resolve() for path in tables} | {path.resolve() for path in sounds.values()}
    kinds = {"is hidden": "hidden"}
    left_out = [LeftOut("", str(path), kinds.get(why, "not a file"), why) for path, why in tree.skipped.items()]
    videos: list[SourceVideo] = []
    seen: dict[tuple[int, int], Path] = {}
    for path in tree.files:
        if path.resolve() in used:
            continue
        kind, reason = _refuse(path, unused)
        status = path.stat()
        identity = (status.st_dev, status.st_ino)
        if not kind and status.st_ino and seen.setdefault(identity, path) != path:
            kind, reason = "same file", f"is the same file as {seen[identity]}"
        if kind:
            left_out.append(LeftOut("", str(path), kind, reason))
            continue
        name = normalize_name(path.stem)
        below = tuple(normalize_name(part) for part in path.relative_to(folder).parent.parts)
        below = below[:-1] if below[-1:] == ("video",) else below
        videos.append(SourceVideo(name, name, path, sounds.get(path), below))
    if prefix:
        videos = _add_prefixes(videos)
    _refuse_same_names(folder, videos, prefix)
    return {video.id: video for video in sorted(videos)}, left_out


def read_sound_folder(folder: Path) -> dict[str, Path]:
    """Find the sounds of a `folder` and those below it, for videos of the same names that lie elsewhere.

    Returns:
        {normalized name without suffix: path}.

    Raises:
        UserError: there is no such folder, it holds no sound, or two sounds have the same name.
    """
    try:
        paths = [path for path in list_files(folder).files if media_kind(path) == "sound"]
    except OSError as error:
        raise UserError(f"--audio {folder} can't be listed ({error.strerror}): give a folder of sounds") from None
    if not paths:
        raise UserError(f"--audio {folder} holds no sound: give a folder with NAME.wav, NAME.flac, ...")
    sounds: dict[str, Path] = {}
    for path in paths:
        name = normalize_name(escape_surrogates(path.stem))
        first = sounds.setdefault(name, path)
        if first is not path:
            both = " and ".join(printable(one.relative_to(folder).as_posix()) for one in (first, path))
            raise UserError(f"--audio {folder} holds two sounds of one name, {both}: remove or rename one of them")
    return sounds


def describe_sound_folder(folder: Path, sounds: Mapping[str, Path], videos: Iterable[SourceVideo]) -> str:
    """Count the videos whose sound is in a folder, and those that use their own.

    Args:
        folder: of --audio.
        sounds: of `read_sound_folder`.
        videos: all videos.
    """
    paths, videos = set(sounds.values()), list(videos)
    count = sum(video.sound in paths for video in videos)
    unused = len(paths) - count
    return (
        f"{folder}: videos with a sound there: {count}; with their own: {len(videos) - count}; other sounds: {unused}"
    )


def describe_no_video(folder: Path, left_out: Iterable[LeftOut]) -> str:
    """Say that a `folder` holds no video, and what it holds, by `left_out`."""
    if holds_pictures(folder) or picture_splits(folder):
        return (
            f"{folder} holds frames and sounds, and only videos can be split here: move the files of {PICTURES}/ and "
            f"{SOUNDS}/ to train/, val/ and test/ yourself, all clips of a recording to one of them"
        )
    suffixes = Counter(Path(row.file).suffix or Path(row.file).name for row in left_out if row.kind != "hidden")
    named = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common(SHOWN))
    found = f" (but {printable(named)})" if named else ""
    return f"{folder} holds no video{found}: give a folder with NAME.mp4, NAME.mkv, NAME.webm, ..."


def _replace_sounds(
    files: Iterable[Path], others: Mapping[str, Path], sounds: dict[Path, Path], unused: dict[Path, Path]
) -> None:
    """Give videos the sounds of another folder; `sounds` and `unused` are as of `match_sounds`, and are changed."""
    without_case = {name.casefold(): path for name, path in others.items()}
    for video in (path for path in files if media_kind(path) == "video"):
        name = normalize_name(escape_surrogates(video.stem))
        other = others.get(name) or without_case.get(name.casefold())
        if other is None:
            continue
        beside = sounds.get(video)
        if beside is not None and beside.resolve() != other.resolve():
            unused[beside] = video
        sounds[video] = other


def _refuse(path: Path, unused: dict[Path, Path]) -> tuple[str, str]:
    """Why a file can't be a clip, as (kind, reason); ("", "") if it can."""
    kind = media_kind(path)
    if path in unused:
        return "other sound", f"{unused[path].name} has another sound file"
    if kind == "sound":
        return "sound without video", "is a sound without a video of its name"
    if kind == "image":
        return "image", "is an image"
    if kind is None:
        return "unknown suffix", f"has no known suffix ({path.suffix or 'none'})"
    if not is_valid_id(escape_surrogates(path.stem)):
        return "name", "a clip can't have this name"
    if escape_surrogates(path.stem) != path.stem:
        return "name", "its name is not UTF-8"
    return "", ""


def _add_prefixes(videos: list[SourceVideo]) -> list[SourceVideo]:
    """Put the folders' names before the ids that several videos would have."""
    twice = {name for group in same_names([video.name for video in videos], case=False) for name in group}
    return [
        video._replace(id="_".join((*video.folders, video.name))) if video.name in twice else video for video in videos
    ]


def _refuse_same_names(folder: Path, videos: list[SourceVideo], prefix: bool) -> None:
    """Refuse names that are equal but for their suffix, folder, case or spelling: one clip would replace another."""
    groups = same_names([video.id for video in videos], case=False)
    if not groups:
        return
    files: dict[str, list[str]] = {}
    for video in videos:
        files.setdefault(video.id, []).append(video.video.relative_to(folder).as_posix())
    shown = [" and ".join(sorted({file for name in group for file in files[name]})) for group in groups]
    more = f"; and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    are_apart = not prefix and any("/" in text for text in shown)
    cure = ", or add --labels folders, which puts the folder's name before a name" if are_apart else ""
    many = "a name" if len(shown) == 1 else f"{len(shown)} names"
    what = f"{folder} holds {many} more than once, apart from case and suffix"
    named = printable("; ".join(shown[:SHOWN])) + more
    raise UserError(f"{what}: {named}; rename or remove files, so that each name is there once{cure}")
