"""IS3 and VPO-MS: pictures with several sounding objects, each with its own sound and box.

ROOT/IS3_annotation.json          or synthetic3240_bbox.json; VPO-MS: vpo_ms_bbox.json; also in metadata/
    /images/NAME.jpg              a copy of the picture for each of its sounds, or one for all; also visual_frames/
    /audio_wav/NAME.wav           also audio/

IS3 is from github.com/kaistmm/SSLalignment, which also has both files of boxes in metadata/. The masks in
gt_segmentation/ aren't read: published results are those of the boxes.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from dataset.reading.annotations import are_sides, is_printable_text, is_valid_id, load_json
from dataset.reading.benchmarks.benchmark import Choose, Row, benchmark_folder, chosen_clips
from dataset.reading.benchmarks.boxes import BoxBenchmark
from dataset.reading.errors import OnError
from dataset.reading.names import find_file, normalize_name
from utils.errors import UserError

BOX_SIZE = 224  # the boxes are in pixels of a frame resized to this square
MAX_OUTSIDE = 0.1  # if more of the boxes reach beyond it, they are in other units
OF_PICTURE = re.compile(r"(.+_\d+)_\D+")  # accordion_baby_10467_baby: of a number, whatever is in the class's name
SUFFIXES = (".jpg", ".jpeg", ".png", ".wav", ".mp3", ".flac")
FORM = (
    '[{"image": "images/NAME.jpg", "audio": "audio_wav/NAME.wav", "gt_box": [x0, y0, x1, y1] in pixels of 224 x 224}, '
    "...]"
)


class _Annotation(NamedTuple):
    """An entry of the file: one box of one sound."""

    image: str
    audio: str
    boxes: list[list[float]]
    classes: tuple[str, ...]


class SoundPairs(BoxBenchmark):
    """Pictures with several sounds (Senocak et al., arXiv 2407.13676): a row for each sound.

    Rows are of one picture if they have the same image. If no two have, each sound has a copy of its picture, and those
    are of one picture whose names are the same up to the last underscore, as in SSL-Align's evaluation.

    Args:
        root: folder in the layout above.
        on_error: see `Benchmark`.
        choose: the rows to measure on; None: all.

    Raises:
        UserError: see `Benchmark`; the annotations are missing or malformed, or their boxes are in other units.
    """

    several_sounds = True
    files: tuple[str, ...]  # names of the annotations, in the order of preference

    def __init__(self, root: Path | str, on_error: OnError = "stop", choose: Choose | None = None) -> None:
        root = benchmark_folder(root, f"{self.files[0]}, images/NAME.jpg and audio_wav/NAME.wav")
        places = [root / folder / name for name in self.files for folder in ("", "metadata")]
        file = next((path for path in places if path.exists()), places[0])
        annotations = _name_rows(_read_annotations(file))
        self._annotated = {clip: [box for one in own for box in one.boxes] for clip, own in annotations.items()}
        self._unit = _unit(file, [box for boxes in self._annotated.values() for box in boxes])
        classes = {
            clip: tuple(dict.fromkeys(name for one in own for name in one.classes)) or _class_in_name(own[0].image)
            for clip, own in annotations.items()
        }
        images, sounds = _folder(root, "images", "visual_frames", "frames"), _folder(root, "audio_wav", "audio")
        rows = {}
        has_copies = len({own[0].image for own in annotations.values()}) == len(annotations)
        for clip in chosen_clips(classes, choose):
            image, audio = annotations[clip][0].image, annotations[clip][0].audio
            frame = find_file(images, image)
            rows[clip] = Row(frame, find_file(sounds, audio), file, _picture(image, has_copies), classes[clip])
        super().__init__(root, rows, on_error)

    def _read_boxes(self, clip: str) -> list[list[float]]:
        if self._unit == 1:
            return self._annotated[clip]
        # Sides are cut to whole pixels, as published evaluations do; no rounding of k / 224 may take one off again.
        return [[(math.trunc(side) + 1e-6) / self._unit for side in box] for box in self._annotated[clip]]


class IS3(SoundPairs):
    """IS3, interactive synthetic sound sources: 3,240 pictures of two objects, drawn by a net; 6,480 rows."""

    files = ("IS3_annotation.json", "IS3_annotations.json", "synthetic3240_bbox.json")


class VPOMS(SoundPairs):
    """VPO-MS as SSL-Align's evaluation reads it: 1,432 photographs of COCO, 673 with several sounds; 2,157 rows."""

    files = ("vpo_ms_bbox.json",)


def _folder(root: Path, *names: str) -> Path:
    return next((root / name for name in names if (root / name).is_dir()), root / names[0])


def _picture(image: str, is_copy: bool) -> str:
    """The name of the picture that an image shows."""
    stem = PurePosixPath(image).stem
    match = OF_PICTURE.fullmatch(stem)
    return (match[1] if match else stem.rpartition("_")[0] or stem) if is_copy else stem


def _class_in_name(image: str) -> tuple[str, ...]:
    """The class at the end of an image's name, as IS3 has it: accordion_baby_10467_baby."""
    first, _, last = PurePosixPath(image).stem.rpartition("_")
    return (last,) if first and not last.isdigit() else ()


def _read_annotations(file: Path) -> list[_Annotation]:
    """The entries of a list, or of a table {NAME: entry}."""
    content = load_json(file, FORM)
    if isinstance(content, dict):
        entries: Iterator[tuple[Any, Any]] = iter(content.items())
    elif isinstance(content, list):
        entries = enumerate(content)
    else:
        raise UserError(f"{file} is no list: it must hold {FORM}")
    found = []
    for place, entry in entries:
        own = _annotation(entry, place if isinstance(place, str) else None)
        if own is None:
            raise UserError(f"{file} has an invalid format at entry {str(place)[:80]!r}: it must hold {FORM}")
        found.append(own)
    if not found:
        raise UserError(f"{file} annotates nothing: it must hold {FORM}")
    return found


def _annotation(entry: object, name: str | None) -> _Annotation | None:
    """An entry that names its files, or is named as they are; None if it has another form."""
    if not isinstance(entry, dict):
        return None
    image, audio = _file_name(entry.get("image", name), ".jpg"), _file_name(entry.get("audio", name), ".wav")
    value = entry.get("gt_box", entry.get("bbox"))
    boxes = [value] if are_sides(value) else value
    label = next((entry[key] for key in ("class", "category", "label") if key in entry), None)
    if image is None or audio is None or not isinstance(boxes, list) or not all(map(are_sides, boxes)):
        return None
    classes = (label,) if is_printable_text(label) else ()
    return _Annotation(image, audio, boxes, classes)


def _file_name(path: object, suffix: str) -> str | None:
    """The name of a file in whatever folder it was; None if it can't be one."""
    if not isinstance(path, str):
        return None
    name = normalize_name(PurePosixPath(path.replace("\\", "/")).name)
    if not is_valid_id(name):
        return None
    return name if name.lower().endswith(SUFFIXES) else name + suffix


def _name_rows(annotations: list[_Annotation]) -> dict[str, list[_Annotation]]:
    """The annotations of each pair of an image and a sound, by the name of what tells the pairs apart."""
    pairs: dict[tuple[str, str], list[_Annotation]] = {}
    for one in annotations:
        pairs.setdefault((one.image, one.audio), []).append(one)
    stems = [(PurePosixPath(image).stem, PurePosixPath(audio).stem) for image, audio in pairs]
    for names in ([image for image, _ in stems], [audio for _, audio in stems]):
        if len(set(names)) == len(names):
            return dict(zip(names, pairs.values(), strict=True))
    return {f"{image}+{audio}": own for (image, audio), own in zip(stems, pairs.values(), strict=True)}


def _unit(file: Path, boxes: list[list[float]]) -> float:
    """What the sides of boxes are divided by to be fractions of the frame; a `UserError` if they fit no unit."""
    if boxes and all(max(box) <= 1 for box in boxes):
        return 1.0
    outside = sum(max(box) > BOX_SIZE + 1 for box in boxes)
    if outside > MAX_OUTSIDE * len(boxes):
        raise UserError(
            f"{file} has {outside} boxes that reach beyond {BOX_SIZE} pixels: they must be in pixels of a frame "
            f"resized to {BOX_SIZE} x {BOX_SIZE}, or fractions of the frame"
        )
    return BOX_SIZE
