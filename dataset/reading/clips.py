"""The dataset folder: which clips a split has, a frame at time t, the sound around time t.

    ROOT/{train,val,test}/vid2genre.json      {id: [AudioSet mid, ...]}
                         /video/ID.mp4
                         /audio/ID.wav        sample 0 is time 0 of the video's own clock
                         /boxes.json          optional: {id: [{"time", "box", "label", "sounding"}, ...]}

A clip that can't be read raises `ClipError` with its name and the reason. Nothing replaces it.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from dataset.reading.annotations import Box, read_boxes, read_genres
from dataset.reading.audio import SOUND_SECONDS
from dataset.reading.clip_reader import ClipReader
from dataset.reading.errors import ClipError, OnError
from dataset.reading.names import find_file, normalize_name, same_names
from dataset.reading.remote import as_path, is_url
from dataset.reading.settings import DataSettings
from dataset.reading.shared_arrays import PackedLabels, PackedTexts
from dataset.reading.sounds_alone import refuse_sounds_alone, refuse_tars
from utils.errors import UserError

MEDIA_FOLDERS = (("video", ".mp4"), ("audio", ".wav"))  # of a split, and the suffix of their files
BOX_TIME_TOLERANCE = 0.02  # a box belongs to frames that are no farther from its time, seconds: half a frame at 25 fps


class SplitClips:
    """Ids, labels and boxes of a split's clips: what every `dataset.reading.reader.ClipDataset` has.

    Args:
        folder: what holds the split; the last part of its path is the split's name.
        labels: {id: [mid, ...]} of the clips that can be opened.
        boxes: {id: annotated objects}.
        skipped: {id: reason} of the clips that were left out.

    Attributes:
        folder, boxes, skipped: as given.
        ids: sorted, str. labels: lists of mids, in the order of `ids`. Both lie in arrays, of a million clips in 30 MB
            that all loader processes share.
        parallel_reads: how many clips a loader process should read at the same time.
        seconds: length of the sound that belongs to a frame; `dataset.reading.reader.open_split` sets data.seconds.

    Raises:
        UserError: there is no clip.
    """

    parallel_reads = 1
    seconds = SOUND_SECONDS

    def __init__(
        self, folder: Path, labels: dict[str, list[str]], boxes: dict[str, list[Box]], skipped: dict[str, str]
    ) -> None:
        if not labels:
            raise UserError(f"split {folder} is empty: no clip is listed and complete ({len(skipped)} were skipped)")
        self.folder, self.boxes, self.skipped = folder, boxes, skipped
        ids = sorted(labels)
        self.ids: Sequence[str] = PackedTexts(ids)
        self.labels: Sequence[list[str]] = PackedLabels(labels[clip] for clip in ids)

    def check_settings(self, data: DataSettings) -> None:
        """Accept every setting of `data`: subclasses refuse what they don't hold."""

    def __len__(self) -> int:
        return len(self.ids)

    def open(self, index: int) -> AbstractContextManager[Any]:
        """Open the clip at `index`; a subclass implements it."""
        raise NotImplementedError

    def version(self, index: int) -> str:
        """Identify the content of the clip at `index`: another text after its files have changed."""
        try:
            with self.open(index) as clip:
                return files_version(clip.video_file, clip.audio_file)
        except ClipError as error:
            return error.kind

    def annotated_times(self, index: int) -> list[float]:
        """List the times, ascending seconds, at which sounding objects of the clip at `index` are annotated."""
        return sorted({box["time"] for box in self.boxes.get(self.ids[index], ()) if box["sounding"]})

    def boxes_at(self, index: int, time: float) -> list[Box]:
        """List the objects annotated in the frame of the clip at `index` that is shown at `time`, seconds."""
        return [box for box in self.boxes.get(self.ids[index], ()) if abs(box["time"] - time) <= BOX_TIME_TOLERANCE]


class Clips(SplitClips):
    """The clips of one split of a dataset folder: a `dataset.reading.reader.ClipDataset`.

    Args:
        root: dataset folder.
        split: "train", "val" or "test".
        on_error: "stop" raises at a clip that lacks one of its files; "skip" leaves it out and lists it in `skipped`.

    Raises:
        UserError: no such folder, an empty split, or a vid2genre.json or boxes.json that is missing or invalid.
        ClipError: on_error is "stop" and a clip lacks its video or its sound.
    """

    def __init__(self, root: Path | str, split: str, on_error: OnError = "stop") -> None:
        _refuse_other_data(Path(root), split)
        folder = split_folder(root, split)
        boxes, labels = read_boxes(folder / "boxes.json"), read_genres(folder / "vid2genre.json")
        skipped = {}
        for clip, reason in _incomplete_clips(folder, labels).items():
            error = ClipError(
                clip, "missing", folder, reason, f"add it, remove clip {clip}, or pass --data.on_error skip"
            )
            if on_error == "stop":
                raise error
            skipped[clip] = error.problem
        super().__init__(folder, {c: mids for c, mids in labels.items() if c not in skipped}, boxes, skipped)

    @classmethod
    def recognizes(cls, root: Path | str) -> bool:
        """Accept any `root`: this reader is tried last, and its errors say what a dataset folder looks like."""
        return True

    def open(self, index: int) -> ClipReader:
        """Open the clip at `index`: `with clips.open(i) as clip: clip.frame(t, 256); clip.sound(t, 48000)`."""
        return ClipReader(self.ids[index], *clip_files(self.folder, self.ids[index]), self.seconds)

    def version(self, index: int) -> str:
        """Identify the content of the clip at `index`, without opening it."""
        return files_version(*clip_files(self.folder, self.ids[index]))


def _refuse_other_data(root: Path, split: str) -> None:
    """Say of a folder without videos what it is instead, and what takes it."""
    folder = root / split if (root / split).is_dir() else root
    if folder.is_dir() and not ((folder / "video").is_dir() and any((folder / "video").iterdir())):
        refuse_tars(root)
        refuse_sounds_alone(folder)


def files_version(*paths: Path) -> str:
    """Describe files by their sizes and times of change; "missing" for one that isn't there.

    Args:
        paths: of the files.
    """
    parts = []
    for path in paths:
        try:
            status = path.stat()
            parts.append(f"{status.st_size} bytes, {status.st_mtime_ns}")
        except OSError:
            parts.append("missing")
    return "; ".join(parts)


def clip_files(folder: Path, clip: str) -> tuple[Path, Path]:
    """Return the paths of a clip's mp4 and wav, whether they exist or not, as the disk spells them.

    Args:
        folder: of the split.
        clip: the clip's id.
    """
    return find_file(folder / "video", f"{clip}.mp4"), find_file(folder / "audio", f"{clip}.wav")


def split_folder(root: Path | str, split: str) -> Path:
    """Find the folder of `split` in the dataset `root`, a folder or a URL.

    Raises:
        UserError: there is none.
    """
    folder = as_path(root) / split
    if not is_url(root) and not Path(root).is_dir():
        raise UserError(
            f"there is no dataset folder {root}: make the demo's with `python data/make_demo_data.py`, or point "
            "--data.root at a folder with train/, val/ and test/ (docs/data.md)"
        )
    if not is_url(root) and not folder.is_dir():
        hint = f"; move frames/ and audio/ of its clips to {folder}" if (Path(root) / "frames").is_dir() else ""
        raise UserError(f"dataset {root} has no split {split!r}: {folder} is missing{hint}")
    return folder


def _incomplete_clips(folder: Path, labels: dict[str, list[str]]) -> dict[str, str]:
    """{id: reason} of the clips that lack a file, those of `labels` first."""
    on_disk = {kind: _stems(folder / kind, suffix) for kind, suffix in MEDIA_FOLDERS}
    reasons = {}
    for clip in sorted(labels):
        missing = [kind for kind in ("video", "audio") if clip not in on_disk[kind]]
        if missing:
            reasons[clip] = f"has no {' and no '.join(missing)} file of clip {clip}"
    for kind, other in (("video", "audio"), ("audio", "video")):
        for clip in sorted(on_disk[kind] - on_disk[other] - set(labels)):
            reasons[clip] = f"has no {other} file of clip {clip}"
    return reasons


def _stems(folder: Path, suffix: str) -> set[str]:
    """Normalized names of the files of one kind, without their suffix."""
    if not folder.is_dir():
        raise UserError(
            f"dataset folder {folder} is missing: clips are video/ID.mp4, or frames/ID.jpg, and audio/ID.wav"
        )
    names = [path.name.removesuffix(suffix) for path in folder.iterdir() if path.name.endswith(suffix)]
    twice = same_names(names)
    if twice:
        raise UserError(f"{folder} holds {twice[0][0]}{suffix} in two spellings of Unicode: remove one of them")
    return set(map(normalize_name, names))
