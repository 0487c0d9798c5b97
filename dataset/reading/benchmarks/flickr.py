"""Flickr-SoundNet's annotated test clips, in the layout that LVS and EZ-VSL read.

ROOT/frames/ID.jpg
    /audio/ID.wav             of data.seconds or more; its middle belongs to the frame
    /Annotations/ID.xml       from github.com/ardasnck/learning_to_localize_sound_source
    /flickr_test.csv          optional: the first column lists the ids that count

Files of clips without an annotation are ignored.
"""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from dataset.reading.annotations import is_valid_id
from dataset.reading.benchmarks.benchmark import Choose, Row, benchmark_folder, chosen_clips
from dataset.reading.benchmarks.boxes import BoxBenchmark
from dataset.reading.errors import OnError
from dataset.reading.names import find_file, normalize_name
from utils.errors import UserError
from utils.files import read_text

FLICKR_SIZE = 256  # the boxes are in pixels of a frame resized to this square


class FlickrSoundNet(BoxBenchmark):
    """Flickr-SoundNet's annotated test clips (Senocak et al., CVPR 2018): boxes by three annotators each.

    An XML holds <bbox> elements, at any depth, whose last four children are xmin, ymin, xmax, ymax.

    Args:
        root: folder in the layout above. Beside all 5,000 annotations, flickr_test.csv chooses the 250 that count.
        on_error: see `Benchmark`.
        choose: the clips to measure on; None: all.

    Raises:
        UserError: see `Benchmark`; an XML or the csv is malformed or, with a DOCTYPE, unsafe.
    """

    def __init__(self, root: Path | str, on_error: OnError = "stop", choose: Choose | None = None) -> None:
        root = benchmark_folder(root, "frames/ID.jpg, audio/ID.wav and annotations")
        folder, listed = root / "Annotations", root / "flickr_test.csv"
        if not folder.is_dir():
            raise UserError(f"{folder} is missing: Flickr-SoundNet's boxes are in Annotations/ID.xml")
        # A name that begins with a dot is not an annotation but metadata of some systems.
        on_disk = [normalize_name(path.stem) for path in folder.glob("*.xml") if not path.name.startswith(".")]
        ids = chosen_clips(dict.fromkeys(_read_ids(listed) if listed.exists() else on_disk, ()), choose)
        rows = {
            clip: Row(
                find_file(root / "frames", f"{clip}.jpg"),
                find_file(root / "audio", f"{clip}.wav"),
                find_file(folder, f"{clip}.xml"),
                clip,
            )
            for clip in ids
        }
        self._annotations = {clip: row.annotation for clip, row in rows.items()}
        super().__init__(root, rows, on_error)

    def _read_boxes(self, clip: str) -> list[list[float]]:
        return _read_xml_boxes(self._annotations[clip])

    def truth(self, index: int, size: int) -> np.ndarray:
        """Draw what the annotators agree on, min(boxes over a pixel / 2, 1): (size, size) float32 of 0, 0.5 and 1.

        Args:
            index: of the clip in `ids`.
            size: of the map, pixels.
        """
        return np.minimum(self.count_boxes(index, size) / 2, 1)


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
