"""The two public benchmarks of sound localisation, as folders of frames and wavs.

Both in the layout that LVS ("Localizing Visual Sounds the Hard Way") and EZ-VSL read:

    ROOT/frames/ID.jpg
        /audio/ID.wav             of any length from a second on; its middle belongs to the frame
        /Annotations/ID.xml       Flickr-SoundNet, from github.com/ardasnck/learning_to_localize_sound_source
        /flickr_test.csv          Flickr-SoundNet, optional: the first column lists the ids that count
        /vggss.json               VGG-SS, from github.com/hche11/Localizing-Visual-Sounds-the-Hard-Way, there and
        /metadata/vggss.json      elsewhere in metadata/

Files of clips without an annotation are passed over. A clip that can't be read raises `ClipError`, as in `clips.py`.
"""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from dataset.loading.loader import make_sample
from dataset.reading.annotations import is_valid_id, load_json
from dataset.reading.audio import AudioReader
from dataset.reading.errors import ClipError, image_error_reason
from utils.errors import UserError

FLICKR_SIZE = 256  # Flickr-SoundNet's boxes are in pixels of a frame resized to this square
MAX_OVERSHOOT = 1.0  # a side that lies farther outside of the frame, in frames, is no position: some are -2^63 pixels
STREAMED_WAV_BYTES = 0x7FFFF000  # a program that writes a wav to a pipe promises this much or more, bytes


class Benchmark:
    """Frames, seconds of sound and boxes of annotated clips; a subclass says where the boxes are.

    Args:
        root: Path of the folder.
        ids: list of str, of the clips that count.
        on_error: "stop" raises at a clip that lacks one of its files; "skip" leaves it out and lists it in `skipped`.

    Attributes:
        ids: sorted list of str.
        boxes: list of (n, 4) float64 in 0..1 of the frame, n >= 1, in the order of `ids`.
        skipped: {id: reason}. A clip of which no box is left is always here: the published files have such.
        dropped: number of boxes that are no boxes: absurd, or empty once they are clipped to the frame.

    Raises:
        UserError: nothing is left, or on_error is "stop" and a clip lacks one of its files (`ClipError`).
    """

    def __init__(self, root, ids, on_error):
        self.root, self.skipped, self.dropped = root, {}, 0
        kept = {}
        for clip in sorted(ids):
            needed = (self._frame(clip), self._wav(clip), self._annotation(clip))
            missing = " and ".join(str(path) for path in needed if not path.is_file())
            if missing and on_error == "stop":
                hint = "add it, or pass --data.on_error skip"
                raise ClipError(clip, "missing", root, f"lacks {missing} of clip {clip}", hint)
            if missing:
                self.skipped[clip] = f"clip {clip} lacks {missing}"
                continue
            found = self._boxes(clip)
            boxes = clean_boxes(found)
            self.dropped += len(found) - len(boxes)
            if len(boxes):
                kept[clip] = boxes
            else:
                self.skipped[clip] = f"clip {clip} has no box that lies in its frame"
        self.ids, self.boxes = list(kept), list(kept.values())
        if not self.ids:
            raise UserError(
                f"{root} has no annotated clip with frames/ID.jpg and audio/ID.wav: check how the folder is laid out"
            )

    def __len__(self):
        return len(self.ids)

    def _frame(self, clip):
        return self.root / "frames" / f"{clip}.jpg"

    def _wav(self, clip):
        return self.root / "audio" / f"{clip}.wav"

    def frame(self, index, size):
        """The whole frame resized to a square, whatever its shape: (size, size, 3) uint8 RGB."""
        path = self._frame(self.ids[index])
        try:
            with Image.open(path) as image:
                return np.array(image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # all that PIL raises
            reason = f"can't be read as a picture ({image_error_reason(error)})"
            raise ClipError(self.ids[index], "damaged", path, reason) from None

    def sound(self, index, rate):
        """The second in the middle of the wav: (rate,) int16 mono.

        A wav that breaks off is refused: its middle is no longer the frame's.
        """
        clip, path = self.ids[index], self._wav(self.ids[index])
        with AudioReader(clip, path) as wav:
            if _is_cut_short(path):
                raise ClipError(clip, "damaged", path, "is truncated: it ends before its header says")
            return wav.sound(wav.sound_seconds / 2, rate)

    def _sum(self, index, size):
        """How many boxes cover each pixel: (size, size) float32.

        Sides are rounded down, as the published evaluations do; a box thinner than a pixel still counts as one.
        """
        out = np.zeros((size, size), np.float32)
        left, top, right, bottom = np.floor(self.boxes[index] * size).astype(int).T
        for x0, y0, x1, y1 in zip(left, top, np.maximum(right, left + 1), np.maximum(bottom, top + 1), strict=True):
            out[y0:y1, x0:x1] += 1
        return out


class BenchmarkDataset(Dataset):
    """A benchmark's clips for `dataset.loading.loader.make_loader`: `stills[epoch, index]` is a sample as `Pairs` gives it.

    Args:
        benchmark: a `Benchmark`. size: side of the frame, pixels. rate: of the sound, Hz.
    """

    def __init__(self, benchmark, size, rate):
        self.benchmark, self.size, self.rate = benchmark, size, rate

    def __len__(self):
        return len(self.benchmark)

    def __getitem__(self, key):
        _, index = key
        try:
            return make_sample(self.benchmark.frame(index, self.size), self.benchmark.sound(index, self.rate), index)
        except ClipError as error:
            return {"index": index, "clip": error.clip, "error": str(error)}


class FlickrSoundNet(Benchmark):
    """Flickr-SoundNet's annotated test clips (Senocak et al., CVPR 2018): boxes by three annotators each.

    An XML holds <bbox> elements, at any depth, whose last four children are xmin, ymin, xmax, ymax.

    Args:
        root: folder in the layout above. Beside all 5,000 annotations, flickr_test.csv chooses the 250 that count.
        on_error: as of `Benchmark`.

    Raises:
        UserError: as of `Benchmark`; an XML or the csv is malformed or, with a DOCTYPE, unsafe.
    """

    def __init__(self, root, on_error="stop"):
        root = _folder(root)
        annotations, listed = root / "Annotations", root / "flickr_test.csv"
        if not annotations.is_dir():
            raise UserError(f"{annotations} is missing: Flickr-SoundNet's boxes are in Annotations/ID.xml")
        # A name with a dot in front is no annotation but what some systems put beside one.
        on_disk = [path.stem for path in annotations.glob("*.xml") if not path.name.startswith(".")]
        super().__init__(root, _listed(listed) if listed.exists() else on_disk, on_error)

    def _annotation(self, clip):
        return self.root / "Annotations" / f"{clip}.xml"

    def _boxes(self, clip):
        return _xml_boxes(self._annotation(clip))

    def truth(self, index, size):
        """What the annotators agree on, min(boxes over a pixel / 2, 1): (size, size) float32 of 0, 0.5 and 1."""
        return np.minimum(self._sum(index, size) / 2, 1)


class VGGSS(Benchmark):
    """VGG-Sound Source's test clips (Chen et al., CVPR 2021): boxes of the objects that sound.

    The published file has 5,158 clips. Other evaluations count the few that have no proper box as failures; here they
    are in `skipped`.

    Args:
        root: folder in the layout above.
        on_error: as of `Benchmark`.

    Raises:
        UserError: as of `Benchmark`; vggss.json is missing or malformed.
    """

    def __init__(self, root, on_error="stop"):
        root = _folder(root)
        places = (root / "vggss.json", root / "metadata" / "vggss.json")
        self._file = next((path for path in places if path.exists()), places[0])
        form = '[{"file": id, "bbox": [[x0, y0, x1, y1] in 0..1, ...]}, ...], where frames/id.jpg is a file'
        content = load_json(self._file, form)
        if not isinstance(content, list):
            raise UserError(f"{self._file} is not a list: it must hold {form}")
        self._found = {}
        for place, entry in enumerate(content):
            if not _is_entry(entry):
                raise UserError(f"{self._file} is not of our form at entry {place}: it must hold {form}")
            self._found.setdefault(entry["file"], []).extend(entry["bbox"])
        super().__init__(root, list(self._found), on_error)

    def _annotation(self, clip):
        return self._file

    def _boxes(self, clip):
        return self._found[clip]

    def truth(self, index, size):
        """1 where a box is, else 0: (size, size) float32."""
        return np.minimum(self._sum(index, size), 1)


def clean_boxes(boxes):
    """Boxes clipped to the frame, without those that are none: list of [x0, y0, x1, y1] -> (n, 4) float64 in 0..1."""
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    boxes = boxes[((boxes >= -MAX_OVERSHOOT) & (boxes <= 1 + MAX_OVERSHOOT)).all(1)].clip(0, 1)  # no NaN passes either
    return boxes[(boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])]


def _folder(root):
    root = Path(root)
    if not root.is_dir():
        raise UserError(
            f"there is no benchmark folder {root}: it must hold frames/ID.jpg, audio/ID.wav and annotations"
        )
    return root


def _listed(path):
    """Ids in the first column of a csv file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} can't be read ({error}): it must hold an id in each line") from None
    ids = {line.partition(",")[0].strip() for line in lines if line.strip()}
    wrong = [clip for clip in sorted(ids) if not is_valid_id(clip)]
    if wrong:
        raise UserError(f"{path} holds {wrong[0][:80]!r}, which is no id: it must hold an id in each line")
    return sorted(ids)


class _WithoutDoctype(ElementTree.TreeBuilder):
    """Entities, and what they can blow up to or fetch, are declared in a DOCTYPE: none gets past its first word."""

    def doctype(self, *_):
        raise ValueError("it has a DOCTYPE")


def _xml_boxes(path):
    """The boxes of one annotation file: list of [x0, y0, x1, y1] in 0..1."""
    form = "<bbox> elements whose last four children are xmin, ymin, xmax, ymax"
    try:
        parser = ElementTree.XMLParser(target=_WithoutDoctype())
        found = ElementTree.parse(path, parser).getroot().iter("bbox")
        boxes = [[float(side.text) / FLICKR_SIZE for side in list(box)[-4:]] for box in found]
    except (OSError, ElementTree.ParseError, ValueError, TypeError, LookupError) as error:  # of an unknown encoding too
        raise UserError(f"{path} is not an annotation of our form ({error}): it must hold {form}") from None
    if any(len(box) != 4 for box in boxes):
        raise UserError(f"{path} is not an annotation of our form (a box of fewer sides): it must hold {form}")
    return boxes


def _is_entry(entry):
    def is_box(box):
        # Finite: an integer of any length is JSON, but no float64.
        return (
            isinstance(box, list) and len(box) == 4
            and all(type(side) in (int, float) and -1e300 < side < 1e300 for side in box)
        )  # fmt: skip

    return (
        isinstance(entry, dict) and is_valid_id(entry.get("file"))
        and isinstance(entry.get("bbox"), list) and all(map(is_box, entry["bbox"]))
    )  # fmt: skip


def _is_cut_short(path):
    """Whether a wav is shorter than its first bytes promise, as after a copy that broke off."""
    with open(path, "rb") as file:
        head = file.read(8)
    promised = int.from_bytes(head[4:8], "little") + 8
    return head[:4] == b"RIFF" and promised < STREAMED_WAV_BYTES and promised > path.stat().st_size


BENCHMARKS = {"flickr": FlickrSoundNet, "vggss": VGGSS}
