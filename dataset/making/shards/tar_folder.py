"""A folder of WebDataset's tars as input of data/build_shards.py: its splits, and the files of one clip of a tar."""

import itertools
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dataset.making.clips.import_clip import WAV_SUFFIXES
from dataset.making.left_out import LeftOut
from dataset.making.lists.list_index import ListIndex, clips_on_disk
from dataset.making.lists.video_lists import VideoList, read_list
from dataset.making.shards.tar_samples import SOUND_ALONE, TarContent, TarSample, read_tars
from dataset.making.text import count_text
from dataset.reading.clips import SplitClips
from dataset.reading.media import stream_audio
from dataset.reading.picture_files import READ_SOUNDS
from dataset.reading.sounds_alone import SOUNDS_HINT
from dataset.reading.tar_members import TarMember, copy_member
from dataset.reading.wav import write_wav
from utils.errors import UserError

SPLITS = ("train", "val", "test")
PACKED = re.compile(r"\.(tar\.(gz|bz2|xz|zst|lz4|Z)|tgz|tbz2?|txz)$")  # compressed tars


class TarClips(SplitClips):
    """The clips of one split that lie in tars.

    Args:
        folder: of the tars.
        content: of the tars.
        listed: a list of videos, or None; its labels replace those of the tars where it has the clip.

    Attributes:
        samples: {id: where it lies}.
        left_out: what can't become a clip, and why.

    Raises:
        UserError: no tar holds a clip.
    """

    def __init__(self, folder: Path, content: TarContent, listed: VideoList | None) -> None:
        self.samples, self.left_out = content.samples, content.left_out
        if not content.samples:
            raise _no_clip(folder, content)
        labels = content.labels | (_listed_labels(content, listed) if listed is not None else {})
        super().__init__(folder, labels, {}, {})


def _listed_labels(content: TarContent, listed: VideoList) -> dict[str, list[str]]:
    """{id: labels} of the clips that a list has, by one of their names."""
    index, found = ListIndex(clips_on_disk(listed)), {}
    for clip, names in content.names.items():
        match = next((match for name in names if (match := index.find(name)) is not None), None)
        if match is not None:
            found[clip] = list(match.labels)
    return found


def _no_clip(folder: Path, content: TarContent) -> UserError:
    if content.damaged:
        return UserError(f"{content.damaged[0]}, and the tars of {folder} hold no clip besides")
    kinds = {row.kind for row in content.left_out}
    if SOUND_ALONE in kinds:
        return UserError(f"the tars of {folder} hold sounds alone, and a clip needs frames: {SOUNDS_HINT}, unpacked")
    first = f", such as {content.left_out[0].file}, which {content.left_out[0].reason}" if content.left_out else ""
    left_out = f" ({len(content.left_out)} left out{first})"
    return UserError(f"the tars of {folder} hold no clip{left_out}: they must hold KEY.mp4, or KEY.jpg and KEY.wav")


def find_tars(source: Path, split: str | None) -> dict[str, list[Path]]:
    """List the tars of each split, SOURCE/SPLIT/*.tar; those of SOURCE itself, or a single tar, are of one split.

    Args:
        source: the folder, or a tar.
        split: of the tars of SOURCE itself; None: train.

    Returns:
        {split: paths of its tars}; empty if there is no tar.

    Raises:
        UserError: tars lie in SOURCE and in folders below it, in folders of other names, or `split` is given and the
            folders say it.
    """
    here = [source] if source.is_file() and source.suffix == ".tar" else sorted(source.glob("*.tar"))
    below: dict[str, list[Path]] = {}
    for path in sorted(source.glob("*/*.tar")):
        below.setdefault(path.parent.name, []).append(path)
    if here and below:
        name = next(iter(below))
        raise UserError(f"tars lie in {source} and in {source / name}: move them all to train/, val/ and test/ in it")
    folders = [source, *(path for path in source.glob("*") if path.is_dir())] if source.is_dir() else []
    packed = next((path for folder in folders for path in sorted(folder.glob("*")) if PACKED.search(path.name)), None)
    if packed is not None:  # also beside others: its clips would be lost without a word
        raise UserError(f"{packed} is compressed: unpack the tars of {source} to .tar first, with gunzip or the like")
    others = [name for name in below if name not in SPLITS]
    if others:
        raise UserError(
            f"{source / others[0]} holds tars, but is no split: name it train, val or test, or give it as SRC"
        )
    if below and split is not None:
        raise UserError(f"{source} has its splits as folders ({', '.join(below)}): leave out --split {split}")
    return {split or "train": here} if here else below


def open_tars(tars: dict[str, list[Path]], source: Path, video_list: Path | None) -> dict[str, TarClips]:
    """List the clips of tars.

    Args:
        tars: {split: paths}, of `find_tars`.
        source: their folder.
        video_list: a list of videos with labels, or None.

    Raises:
        UserError: no tar of a split holds a clip, or the list can't be read or has none of the clips.
    """
    listed = read_list(video_list) if video_list is not None else None
    if listed is not None:
        print(listed.describe())
    splits = {}
    for split, paths in tars.items():
        content = read_tars(paths)
        clips = splits[split] = TarClips(paths[0].parent, content, listed)
        print(f"{split}: {count_text(len(clips), 'clip')} in {count_text(len(paths), 'tar')} of {clips.folder}")
        for error in content.damaged:
            print(f"warning: {error.problem}: its complete clips before that are kept", file=sys.stderr)
    for (one, first), (two, second) in itertools.combinations(splits.items(), 2):
        if both := first.samples.keys() & second.samples.keys():
            clips_text = count_text(len(both), "clip")
            print(f"warning: {one} and {two} share {clips_text}, such as {min(both)}", file=sys.stderr)
    if listed is not None and not any(mids for clips in splits.values() for mids in clips.labels):
        raise UserError(f"{video_list} has no label for a clip of {source}: give the list of these clips")
    return splits


def clip_rows(clips: TarClips, left_out: dict[str, tuple[str, str]]) -> list[LeftOut]:
    """List what was left out of a split, for left_out.csv.

    Args:
        clips: of the split.
        left_out: {id: (kind, reason)} of the clips that turned out to be unreadable.
    """
    return [*clips.left_out, *(LeftOut(clip, clips.samples[clip].where(), *why) for clip, why in left_out.items())]


@contextmanager
def copied_sample(sample: TarSample, clip: str, folder: Path) -> Iterator[Path]:
    """Copy the files of a clip out of its tar, into a temporary folder in the layout of a split.

    Args:
        sample: where it lies.
        clip: its id.
        folder: where the temporary folder is made.

    Yields:
        The temporary folder, whose sound may still lack its wav: see `write_sound`.

    Raises:
        MediaError: the tar can't be read.
        OSError: the copy can't be written.
    """
    with tempfile.TemporaryDirectory(prefix=".", suffix=".tmp", dir=folder) as name:
        copy = Path(name)
        picture = ("video", ".mp4") if sample.kind == "video" else ("frames", ".jpg")
        for part in (picture[0], "audio"):
            (copy / part).mkdir()
        _copy(sample, sample.picture, copy / picture[0] / f"{clip}{picture[1]}")
        if sample.sound is not None:
            # As of a folder: pictures are read with sounds of several formats, videos with wavs.
            as_is = WAV_SUFFIXES if sample.kind == "video" else tuple(f".{suffix}" for suffix in READ_SOUNDS)
            is_read = sample.sound.name.lower().endswith(as_is)
            _copy(sample, sample.sound, copy / "audio" / f"{clip}.wav" if is_read else copy / "sound")
        yield copy


def _copy(sample: TarSample, member: TarMember, path: Path) -> None:
    with open(path, "wb") as file:
        copy_member(Path(sample.tar), member, file)


def write_sound(copy: Path, clip: str) -> None:
    """Write the wav of a copied clip from its other sound, or else from the track of its video.

    Args:
        copy: folder of `copied_sample`.
        clip: its id.

    Raises:
        MediaError: the sound can't be read, or there is none.
    """
    wav, other = copy / "audio" / f"{clip}.wav", copy / "sound"
    if not wav.exists():
        written = copy / "wav"
        write_wav(written, stream_audio(other if other.exists() else copy / "video" / f"{clip}.mp4"))
        written.rename(wav)
