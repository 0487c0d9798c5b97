"""Read datasets of frames and sounds, without videos; `dataset.reading.picture_files` describes the folder."""

import hashlib
from bisect import bisect_right
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from dataset.reading.annotations import read_boxes, read_genres
from dataset.reading.audio import SOUND_SECONDS
from dataset.reading.clips import SplitClips, files_version, split_folder
from dataset.reading.decoding import TIME_TOLERANCE
from dataset.reading.errors import ClipError, MediaError, OnError
from dataset.reading.frame_reader import FrameReader
from dataset.reading.images import open_image
from dataset.reading.picture_files import (
    PICTURES,
    READ_SOUNDS,
    PictureFiles,
    find_pictures,
    list_frames,
    picture_splits,
    read_frame_rate,
)
from dataset.reading.remote import is_url
from dataset.reading.settings import DataSettings
from utils.errors import UserError

TICK = Fraction(1, 10**9)  # of the frames' time stamps, seconds


class PictureReader(FrameReader):
    """One clip's picture or frames, and its sound: a `dataset.reading.reader.OpenClip`.

    Args:
        clip: the clip's id.
        pictures: path of its picture, which is shown over the whole sound, or of the folder of its frames.
        audio: path of its sound.
        seconds: length of the sound that belongs to a frame.

    Attributes:
        video_file, audio_file: `pictures` and `audio`.
        first, last, video_end: see `FrameReader`.

    Raises:
        UserError: there are frames, and frames.json is missing or invalid.
        ClipError: a file is missing, damaged or silent, the sound is of a format that isn't read, a frame's number is
            missing, or the clip is shorter than `seconds`.
    """

    def __init__(self, clip: str, pictures: Path, audio: Path, seconds: float = SOUND_SECONDS) -> None:
        super().__init__(clip, audio, seconds)
        self.video_file = pictures
        self._files: list[Path] = []
        self._starts: list[float] = []  # when each is first shown, seconds

    def _open(self) -> None:
        is_folder = self.video_file.is_dir()
        for path in (self.audio_file,) if is_folder else (self.video_file, self.audio_file):
            self._require_file(path)
        if self.audio_file.suffix.lower().removeprefix(".") not in READ_SOUNDS:
            reason = "is of a format of sound whose samples can't be found exactly"
            hint = f"convert it: ffmpeg -i {self.audio_file.name} {self.audio_file.with_suffix('.wav').name}"
            raise ClipError(self.clip, "no sound", self.audio_file, reason, hint)
        self._open_sound()
        if not is_folder:
            self._files, self._starts = [self.video_file], [0.0]
            self._end_at(self.sound_seconds, self.sound_seconds)
            return
        rate = read_frame_rate(split_of(self.video_file))
        self._files, self._starts = list_frames(self.clip, self.video_file, rate)
        end = self._starts[-1] + 1 / rate.rate
        self._end_at(end, end - 1e-3)

    def decode_frames(self, times: list[float]) -> Iterator[av.VideoFrame]:
        """Yield the frame that is shown at each of ascending `times`, seconds; each file is read once."""
        shown, frame = -1, None
        for time in times:
            number = max(bisect_right(self._starts, time + TIME_TOLERANCE) - 1, 0)
            if number != shown or frame is None:
                shown, frame = number, self._read(number)
            yield frame

    def _read(self, number: int) -> av.VideoFrame:
        try:
            pixels = np.array(open_image(self._files[number]))
        except MediaError as error:
            raise error.for_clip(self.clip) from None
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.pts, frame.time_base = round(self._starts[number] / TICK), TICK
        return frame

    def frame_times(self) -> list[float]:
        """List the times at which another frame is shown, ascending, and the end, without decoding."""
        return sorted({0.0, *self._starts, self.video_end})


class PictureClips(SplitClips):
    """The clips of one split of frames and sounds: a `dataset.reading.reader.ClipDataset`.

    Args:
        root: dataset folder.
        split: "train", "val" or "test".
        on_error: "stop" raises at a clip that lacks its frames or its sound; "skip" leaves it out and lists it in
            `skipped`.

    Attributes:
        files: the split's files.
        frame_rate: of its folders of frames; None if there is none.

    Raises:
        UserError: no such folder, an empty split, an invalid table, or folders of frames without frames.json.
        ClipError: on_error is "stop" and a clip lacks its frames or its sound.
    """

    def __init__(self, root: Path | str, split: str, on_error: OnError = "stop") -> None:
        folder = split_folder(root, split)
        if not (folder / PICTURES).is_dir():
            raise UserError(f"{folder / PICTURES} is missing, and other splits of {root} hold {PICTURES}/ID.jpg")
        self.files = find_pictures(folder)
        boxes, labels = read_boxes(folder / "boxes.json"), read_picture_labels(folder, self.files)
        skipped = {}
        for clip in sorted({*labels, *self.files.pictures, *self.files.sounds}):
            if reason := self.files.incomplete(clip):
                hint = f"add it, remove clip {clip}, or pass --data.on_error skip"
                error = ClipError(clip, "missing", folder, reason, hint)
                if on_error == "stop":
                    raise error
                skipped[clip] = error.problem
        super().__init__(folder, {c: mids for c, mids in labels.items() if c not in skipped}, boxes, skipped)
        self._pictures = [clip for clip in self.ids if clip not in self.files.folders]  # each shown over its sound
        has_frames = len(self._pictures) < len(self.ids)
        self.frame_rate = read_frame_rate(folder) if has_frames else None

    @classmethod
    def recognizes(cls, root: Path | str) -> bool:
        """Check whether a split of `root` holds frames/ and no video/."""
        return not is_url(root) and bool(picture_splits(Path(root)))

    def check_settings(self, data: DataSettings) -> None:
        """Raise a `UserError` if a run's settings `data` need frames that follow each other, and a clip has one."""
        if self._pictures and (data.frames != 1 or data.flow != "none"):
            raise UserError(
                f"data.frames and data.flow need several frames of each clip, and {self.folder} has one of clip "
                f"{self._pictures[0]}: train a net of single frames, such as configs/config_AVENet.py"
            )

    def open(self, index: int) -> PictureReader:
        """Open the clip at `index`: `with clips.open(i) as clip: clip.frame(t, 256); clip.sound(t, 48000)`."""
        clip = self.ids[index]
        return PictureReader(clip, self.files.pictures[clip], self.files.sounds[clip], self.seconds)

    def version(self, index: int) -> str:
        """Identify the content of the clip at `index`, without opening it."""
        clip = self.ids[index]
        pictures, sound = self.files.pictures[clip], self.files.sounds[clip]
        if not pictures.is_dir():
            return files_version(pictures, sound)
        content = f"{self.frame_rate}; {files_version(*sorted(pictures.iterdir()), sound)}"
        return hashlib.sha256(content.encode()).hexdigest()


def split_of(pictures: Path) -> Path:
    """Return the folder of the split that a clip's `pictures`, a path in frames/ or a class folder of it, lie in."""
    return next(path for path in pictures.parents if path.name == PICTURES).parent


def read_picture_labels(folder: Path, files: PictureFiles) -> dict[str, list[str]]:
    """Read the labels of a split: of its vid2genre.json, or else the names of its class folders.

    Args:
        folder: of the split.
        files: in it.

    Returns:
        {id: labels}: as the table lists them; without one, of all clips with frames and a sound, and a clip outside of
        class folders has no label.

    Raises:
        UserError: the table is invalid.
    """
    if (folder / "vid2genre.json").exists():
        return read_genres(folder / "vid2genre.json")
    complete = sorted(files.pictures.keys() & files.sounds.keys())
    return {clip: [files.classes[clip]] if clip in files.classes else [] for clip in complete}
