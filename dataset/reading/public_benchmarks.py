"""The two public benchmarks of sound localization, as folders of frames and wavs.

Both in the layout that LVS ("Localizing Visual Sounds the Hard Way") and EZ-VSL read:

    ROOT/frames/ID.jpg
        /audio/ID.wav             of data.seconds or more; its middle belongs to the frame
        /Annotations/ID.xml       Flickr-SoundNet, from github.com/ardasnck/learning_to_localize_sound_source
        /flickr_test.csv          Flickr-SoundNet, optional: the first column lists the ids that count
        /vggss.json               VGG-SS, from github.com/hche11/Localizing-Visual-Sounds-the-Hard-Way, there and
        /metadata/vggss.json      elsewhere in metadata/

Files of clips without an annotation are ignored. A clip that can't be read raises `ClipError`, as in `clips.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict, TypeGuard
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from dataset.loading.loader import Key, Sample, SampleDataset, make_sample
from dataset.reading.annotations import are_sides, is_valid_id, load_json
from dataset.reading.audio import SOUND_SECONDS, AudioReader
from dataset.reading.errors import ClipError, MediaError, OnError
from dataset.reading.images import open_image
from dataset.reading.names import find_file, normalize_name
from utils.errors import UserError
from utils.files import read_text

FLICKR_SIZE = 256  # Flickr-SoundNet's boxes are in pixels of a frame resized to this square
MAX_OVERSHOOT = 1.0  # a side farther outside of the frame, in frames, is invalid: some are -2^63 pixels
STREAMED_WAV_BYTES = 0x7FFFF000  # the length in the header of a wav that was written to a pipe is this or more, bytes


class Benchmark(ABC):
    """Frames, sounds and boxes of annotated clips; a subclass knows where the boxes are.

    Args:
        root: path of the folder.
        ids: of the clips that count.
        on_error: "stop" raises at a clip that lacks one of its files; "skip" leaves it out and lists it in `skipped`.

    Attributes:
        ids: sorted list of str.
        boxes: list of (n, 4) float64 x0, y0, x1, y1 as fractions of the frame, n >= 1, in the order of `ids`.
        skipped: {id: reason}. A clip without a valid box is always here: the published files have such.
        dropped: number of invalid boxes: far outside of the frame, or empty once they are clipped to it.

    Raises:
        UserError: nothing is left, or on_error is "stop" and a clip lacks one of its files (`ClipError`).
    """

    def __init__(self, root: Path, ids: list[str], on_error: OnError) -> None:
        self.root, self.dropped = root, 0
        self.skipped: dict[str, str] = {}
        kept = {}
        for clip in sorted(ids):
            files = (self._frame_file(clip), self._wav_file(clip), self._annotation_file(clip))
            missing = " and ".join(str(path) for path in files if not path.is_file())
            if missing:
                hint = "add it, or pass --data.on_error skip"
                error = ClipError(clip, "missing", root, f"lacks {missing} of clip {clip}", hint)
                if on_error == "stop":
                    raise error
                self.skipped[clip] = error.problem
                continue
            annotated = self._read_boxes(clip)
            boxes = clean_boxes(annotated)
            self.dropped += len(annotated) - len(boxes)
            if len(boxes):
                kept[clip] = boxes
            else:
                self.skipped[clip] = f"clip {clip} has no box that lies in its frame"
        self.ids, self.boxes = list(kept), list(kept.values())
        if not self.ids:
            raise UserError(
                f"{root} has no annotated clip with frames/ID.jpg and audio/ID.wav: check the folder's layout"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def _frame_file(self, clip: str) -> Path:
        return find_file(self.root / "frames", f"{clip}.jpg")

    def _wav_file(self, clip: str) -> Path:
        return find_file(self.root / "audio", f"{clip}.wav")

    @abstractmethod
    def _annotation_file(self, clip: str) -> Path:
        """The file that holds a clip's boxes."""

    @abstractmethod
    def _read_boxes(self, clip: str) -> list[list[float]]:
        """A clip's boxes as annotated: lists of x0, y0, x1, y1 as fractions of the frame."""

    @abstractmethod
    def truth(self, index: int, size: int) -> np.ndarray:
        """Draw the map of where the sounding objects are: (size, size) float32 in 0..1.

        Args:
            index: of the clip in `ids`.
            size: of the map, pixels.
        """

    def frame(self, index: int, size: int) -> np.ndarray:
        """Read the whole frame of a clip, resized to a square whatever its shape: (size, size, 3) uint8 RGB.

        Args:
            index: of the clip in `ids`.
            size: pixels.
        """
        path = self._frame_file(self.ids[index])
        try:
            return np.array(open_image(path).resize((size, size), Image.Resampling.BICUBIC))
        except MediaError as error:
            raise error.for_clip(self.ids[index]) from None

    def sound(self, index: int, rate: int, seconds: float = SOUND_SECONDS) -> np.ndarray:
        """Read the middle of a clip's wav: (rate,) int16 mono for a second, see `dataset.reading.audio.sound_samples`.

        A truncated wav is refused: its middle is no longer the frame's.

        Args:
            index: of the clip in `ids`.
            rate: Hz.
            seconds: length of the sound.
        """
        clip, path = self.ids[index], self._wav_file(self.ids[index])
        with AudioReader(clip, path, seconds) as wav:
            if _is_truncated_wav(path):
                raise ClipError(clip, "damaged", path, "is truncated: it ends before its header says")
            return wav.sound(wav.sound_seconds / 2, rate)

    def _count_boxes(self, index: int, size: int) -> np.ndarray:
        """How many boxes cover each pixel: (size, size) float32.

        Sides are rounded down, as the published evaluations do; a box thinner than a pixel still counts as one.
        """
        out = np.zeros((size, size), np.float32)
        left, top, right, bottom = np.floor(self.boxes[index] * size).astype(int).T
        for x0, y0, x1, y1 in zip(left, top, np.maximum(right, left + 1), np.maximum(bottom, top + 1), strict=True):
            out[y0:y1, x0:x1] += 1
        return out


class BenchmarkDataset(SampleDataset):
    """A benchmark's clips for `dataset.loading.loader.make_loader`: `dataset[epoch, index]` is a sample.

    Args:
        benchmark: the frames and sounds.
        size: side of the frames, pixels.
        rate: sample rate of the sounds, Hz.
        seconds: length of the sounds.
    """

    def __init__(self, benchmark: Benchmark, size: int, rate: int, seconds: float = SOUND_SECONDS) -> None:
        self.benchmark, self.size, self.rate, self.seconds = benchmark, size, rate, seconds

    def __len__(self) -> int:
        return len(self.benchmark)

    def __getitem__(self, key: Key) -> Sample:
        _, index = key
        try:
            sound = self.benchmark.sound(index, self.rate, self.seconds)
            return make_sample(self.benchmark.frame(index, self.size), sound, index)
        except ClipError as error:
            return {"index": index, "clip": error.clip, "error": str(error)}


class FlickrSoundNet(Benchmark):
    """Flickr-SoundNet's annotated test clips (Senocak et al., CVPR 2018): boxes by three annotators each.

    An XML holds <bbox> elements, at any depth, whose last four children are xmin, ymin, xmax, ymax.

    Args:
        root: folder in the layout above. Beside all 5,000 annotations, flickr_test.csv chooses the 250 that count.
        on_error: see `Benchmark`.

    Raises:
        UserError: see `Benchmark`; an XML or the csv is malformed or, with a DOCTYPE, unsafe.
    """

    def __init__(self, root: Path | str, on_error: OnError = "stop") -> None:
        root = _existing_folder(root)
        annotations, listed = root / "Annotations", root / "flickr_test.csv"
        if not annotations.is_dir():
            raise UserError(f"{annotations} is missing: Flickr-SoundNet's boxes are in Annotations/ID.xml")
        # A name that begins with a dot is not an annotation but metadata of some systems.
        on_disk = [normalize_name(path.stem) for path in annotations.glob("*.xml") if not path.name.startswith(".")]
        super().__init__(root, _read_ids(listed) if listed.exists() else on_disk, on_error)

    def _annotation_file(self, clip: str) -> Path:
        return find_file(self.root / "Annotations", f"{clip}.xml")

    def _read_boxes(self, clip: str) -> list[list[float]]:
        return _read_xml_boxes(self._annotation_file(clip))

    def truth(self, index: int, size: int) -> np.ndarray:
        """Draw what the annotators agree on, min(boxes over a pixel / 2, 1): (size, size) float32 of 0, 0.5 and 1.

        Args:
            index: of the clip in `ids`.
            size: of the map, pixels.
        """
        return np.minimum(self._count_boxes(index, size) / 2, 1)


class _VggssEntry(TypedDict):
    """An entry of vggss.json."""

    file: str
    bbox: list[list[float]]


class VGGSS(Benchmark):
    """VGG-Sound Source's test clips (Chen et al., CVPR 2021): boxes of the sounding objects.

    The published file has 5,158 clips. Other evaluations count the few that have no valid box as failures; here they
    are in `skipped`.

    Args:
        root: folder in the layout above.
        on_error: see `Benchmark`.

    Raises:
        UserError: see `Benchmark`; vggss.json is missing or malformed.
    """

    def __init__(self, root: Path | str, on_error: OnError = "stop") -> None:
        root = _existing_folder(root)
        paths = (root / "vggss.json", root / "metadata" / "vggss.json")
        self._file = next((path for path in paths if path.exists()), paths[0])
        form = '[{"file": id, "bbox": [[x0, y0, x1, y1] in 0..1, ...]}, ...], where frames/id.jpg is a file'
        content = load_json(self._file, form)
        if not isinstance(content, list):
            raise UserError(f"{self._file} is not a list: it must hold {form}")
        self._annotated: dict[str, list[list[float]]] = {}
        for k, entry in enumerate(content):
            if not _is_entry(entry):
                raise UserError(f"{self._file} has an invalid format at entry {k}: it must hold {form}")
            self._annotated.setdefault(normalize_name(entry["file"]), []).extend(entry["bbox"])
        super().__init__(root, list(self._annotated), on_error)

    def _annotation_file(self, clip: str) -> Path:
        return self._file

    def _read_boxes(self, clip: str) -> list[list[float]]:
        return self._annotated[clip]

    def truth(self, index: int, size: int) -> np.ndarray:
        """Draw 1 where a box is, else 0: (size, size) float32.

        Args:
            index: of the clip in `ids`.
            size: of the map, pixels.
        """
        return np.minimum(self._count_boxes(index, size), 1)


BENCHMARKS: dict[str, Callable[[Path | str, OnError], Benchmark]] = {"flickr": FlickrSoundNet, "vggss": VGGSS}


def clean_boxes(boxes: list[list[float]]) -> np.ndarray:
    """Clip `boxes`, lists of x0, y0, x1, y1, to the frame and drop the invalid ones: (n, 4) float64 in 0..1."""
    sides = np.array(boxes, np.float64).reshape(-1, 4)
    sides = sides[((sides >= -MAX_OVERSHOOT) & (sides <= 1 + MAX_OVERSHOOT)).all(1)].clip(0, 1)  # drops NaN, too
    return sides[(sides[:, 2] > sides[:, 0]) & (sides[:, 3] > sides[:, 1])]


def _existing_folder(root: Path | str) -> Path:
    root = Path(root)
    if not root.is_dir():
        raise UserError(
            f"there is no benchmark folder {root}: it must hold frames/ID.jpg, audio/ID.wav and annotations"
        )
    return root


def _read_ids(path: Path) -> list[str]:
    """Ids in the first column of a csv file."""
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} can't be read ({error}): it must hold an id in each line") from None
    ids = {normalize_name(line.partition(",")[0].strip()) for line in lines if line.strip()}
    invalid = [clip for clip in sorted(ids) if not is_valid_id(clip)]
    if invalid:
        raise UserError(f"{path} holds {invalid[0][:80]!r}, which is not an id: it must hold an id in each line")
    return sorted(ids)


class _WithoutDoctype(ElementTree.TreeBuilder):
    """Refuses a DOCTYPE: it may declare entities that expand without end or fetch other files."""

    def doctype(self, *_: str | None) -> None:
        raise ValueError("it has a DOCTYPE")


def _read_xml_boxes(path: Path) -> list[list[float]]:
    """The boxes of one annotation file: lists of x0, y0, x1, y1 as fractions of the frame."""
    form = "<bbox> elements whose last four children are xmin, ymin, xmax, ymax"
    try:
        parser = ElementTree.XMLParser(target=_WithoutDoctype())
        elements = ElementTree.parse(path, parser).getroot().iter("bbox")
        boxes = [[float(side.text or "") / FLICKR_SIZE for side in list(box)[-4:]] for box in elements]
    except (OSError, ElementTree.ParseError, ValueError, TypeError, LookupError) as error:  # of unknown encodings, too
        raise UserError(f"{path} is not a valid annotation ({error}): it must hold {form}") from None
    if any(len(box) != 4 for box in boxes):
        raise UserError(f"{path} is not a valid annotation (a box has fewer sides): it must hold {form}")
    return boxes


def _is_entry(entry: object) -> TypeGuard[_VggssEntry]:
    return (
        isinstance(entry, dict)
        and is_valid_id(entry.get("file"))
        and isinstance(entry.get("bbox"), list)
        and all(map(are_sides, entry["bbox"]))
    )


def _is_truncated_wav(path: Path) -> bool:
    """Whether a wav is shorter than its first bytes say, as after a partial copy."""
    with open(path, "rb") as file:
        head = file.read(8)
    expected = int.from_bytes(head[4:8], "little") + 8
    return head[:4] == b"RIFF" and expected < STREAMED_WAV_BYTES and expected > path.stat().st_size
