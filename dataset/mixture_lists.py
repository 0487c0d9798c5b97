"""Read which clips are mixed for evaluation, the file mix.pairs: a JSON list, or a csv as papers publish it.

[["ID", "ID"], ...]                   every clip must be in the split
/flute/ID.wav, /cello/ID.wav          iQuery, DAVIS (MUSIC, MUSIC-21): many videos of such a list are gone
"""

import hashlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from dataset.making.lists.list_index import read_name
from dataset.making.lists.segments import iter_rows
from dataset.making.text import count_text, printable
from dataset.reading.annotations import is_valid_id, load_json
from dataset.reading.names import normalize_name
from dataset.reading.reader import ClipDataset
from dataset.reading.suffixes import media_kind
from utils.errors import UserError
from utils.files import MAX_FILE, regular_size

HEADER = re.compile(
    r"(audio|clip|file|filename|first|id|mix|name|path|second|sound|source|video|wav|ytid)s?[\W_]*\w{0,9}"
)


class MixtureList(NamedTuple):
    """The mixtures of a user's file.

    Attributes:
        path: of the file.
        names: ids of the clips of each of its mixtures, in its order.
        found: indices of the clips of those mixtures that the split has, without those of skipped clips.
    """

    path: Path
    names: list[list[str]]
    found: list[list[int]]

    @property
    def about(self) -> dict[str, str | int]:
        """What metrics.json says of the list: {"file", "mixtures", "missing", "sha256"}.

        The checksum is that of the clips' ids and their order, whatever the file's format: ID,ID a line.
        """
        lines = "".join(f"{','.join(own)}\n" for own in self.names)
        checksum, missing = hashlib.sha256(lines.encode()).hexdigest(), len(self.names) - len(self.found)
        return {"file": self.path.name, "mixtures": len(self.names), "missing": missing, "sha256": checksum}


def read_mixtures(path: Path, clips: ClipDataset, sources: int) -> MixtureList:
    """Read the mixtures of a user's file, in its order, without those that contain skipped clips.

    Args:
        path: of the file.
        clips: of the split.
        sources: N, clips in a mixture.

    Returns:
        The mixtures. Of a csv, a line with a clip that the split lacks is left out; how many are is printed.

    Raises:
        UserError: the file has an invalid format; a JSON list has a clip that the split lacks; or no line of a csv has
            clips of the split.
    """
    return _read_json(path, clips, sources) if _is_json(path) else _read_csv(path, clips, sources)


def _is_json(path: Path) -> bool:
    try:
        regular_size(path, MAX_FILE)
        with open(path, encoding="utf-8-sig") as file:
            return path.suffix.lower() == ".json" or file.read(1000).lstrip()[:1] in ("[", "{")
    except (OSError, UnicodeDecodeError):
        return path.suffix.lower() == ".json"  # its reader says what is wrong


def _read_json(path: Path, clips: ClipDataset, sources: int) -> MixtureList:
    form = f"[[id, id], ...], lists of {sources} different clips"
    content, indices = load_json(path, form), {clip: k for k, clip in enumerate(clips.ids)}
    for entry in content if isinstance(content, list) else [content]:
        ids = entry if isinstance(entry, list) and all(isinstance(clip, str) for clip in entry) else []
        ids = [normalize_name(clip) for clip in ids]
        if len(set(ids)) != sources or len(ids) != sources:
            raise UserError(f"{path} has an invalid format at {str(entry)[:80]!r}: it must hold {form} (mix.sources)")
        for clip in ids:
            if clip not in indices and clip not in clips.skipped:
                raise UserError(f"{path} lists clip {clip}, which {clips.folder} doesn't have: fix --mix.pairs")
    mixtures = [[normalize_name(clip) for clip in entry] for entry in content]
    found = [[indices[clip] for clip in mixture] for mixture in mixtures if all(clip in indices for clip in mixture)]
    return MixtureList(path, mixtures, found)


def _read_csv(path: Path, clips: ClipDataset, sources: int) -> MixtureList:
    indices = _by_video(clips.ids) | {clip: k for k, clip in enumerate(clips.ids)}
    mixtures, listed, missing = list[list[int]](), list[list[str]](), set[str]()
    for number, cells in iter_rows(path):
        names = [_clip_name(cell) for cell in (cells if cells[-1] else cells[:-1])]
        if not listed and _is_header(cells) and not indices.keys() & set(names):
            continue
        if len(names) != sources or len(set(names)) != sources or not all(map(is_valid_id, names)):
            shown = printable(",".join(cells))[:80]
            raise UserError(
                f"{path}, line {number} is {shown!r}, but must name {sources} different clips (mix.sources), as in "
                "/flute/ID.wav, /cello/ID.wav: fix or remove it"
            )
        listed.append(names)
        absent = [name for name in names if name not in indices]
        missing.update(absent)
        mixtures += [] if absent else [[indices[name] for name in names]]
    lines = len(listed)
    if not mixtures:
        such_as = f", such as {min(missing)}" if missing else ""
        raise UserError(
            f"{path} has no mixture of clips of {clips.folder}, which lacks "
            f"{count_text(len(missing), 'clip')} of {count_text(lines, 'line')}{such_as}: give the list of this dataset"
        )
    if len(mixtures) < lines:
        print(
            f"warning: {lines - len(mixtures)} of {lines} mixtures of {path} ({1 - len(mixtures) / lines:.0%}) are "
            f"left out: {clips.folder} lacks {count_text(len(missing), 'clip')}, such as {min(missing)}",
            file=sys.stderr,
        )
    return MixtureList(path, listed, mixtures)


def _by_video(ids: Sequence[str]) -> dict[str, int]:
    """{video: index of its clip} of videos of which the split has one clip, cut or whole: lists name whole videos."""
    clips_of: dict[str, set[int]] = {}
    for index, clip in enumerate(ids):
        for video, _, _ in read_name(clip):
            clips_of.setdefault(video, set()).add(index)
    return {video: next(iter(clips)) for video, clips in clips_of.items() if len(clips) == 1}


def _clip_name(cell: str) -> str:
    """The id of a clip by its path: without folders and the suffix of media."""
    name = PurePosixPath(cell.replace("\\", "/")).name
    return normalize_name(name[: name.rindex(".")] if media_kind(PurePosixPath(name)) else name)


def _is_header(cells: list[str]) -> bool:
    return all(HEADER.fullmatch(cell.lower()) or cell.isdecimal() or not cell for cell in cells)
