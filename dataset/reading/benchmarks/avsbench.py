"""AVSBench's test videos of one source (S4) and of several (MS3): masks of the sounding objects for five frames.

ROOT/s4_meta_data.csv                                  first column: the video; columns split and category
    /s4_data/visual_frames/test/CATEGORY/VIDEO/VIDEO_1.png ... VIDEO_5.png
    /s4_data/gt_masks/test/CATEGORY/VIDEO/VIDEO_1.png
    /s4_data/audio_wav/test/CATEGORY/VIDEO.wav         5 s
ROOT/ms3_meta_data.csv                                 first column: the video; column split
    /ms3_data/visual_frames/VIDEO/VIDEO.mp4_1.png
    /ms3_data/gt_masks/test/VIDEO/VIDEO_1.png
    /ms3_data/audio_wav/test/VIDEO.wav

From github.com/OpenNLPLab/AVSBench. ROOT may also be the folder that holds this one (Single-source, Multi-sources).
"""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from dataset.reading.annotations import is_valid_id
from dataset.reading.benchmarks.benchmark import Benchmark, Choose, Row, benchmark_folder, chosen_clips
from dataset.reading.errors import MediaError, OnError
from dataset.reading.images import open_image
from dataset.reading.names import find_file, normalize_name
from utils.errors import UserError
from utils.files import read_text

SPLIT = "test"
FRAMES = 5  # of a video, one a second


class AVSBench(Benchmark):
    """AVSBench (Zhou et al., ECCV 2022): each frame is a row, named VIDEO_1 ... VIDEO_5.

    Frame k belongs to second k of the sound: data.seconds around its middle, moved inside of the wav. When in its
    second a frame was taken isn't published. `choose` chooses videos.

    Args:
        root: folder in the layout above.
        on_error: see `Benchmark`.
        choose: the videos to measure on; None: all.

    Raises:
        UserError: see `Benchmark`; the csv is missing or malformed, or a mask can't be read (`ClipError`).
    """

    has_masks = True
    part: str  # "s4" or "ms3": begins the names of the csv and the folder
    above: str  # the folder that may hold both

    def __init__(self, root: Path | str, on_error: OnError = "stop", choose: Choose | None = None) -> None:
        root = benchmark_folder(root, f"{self.part}_meta_data.csv and {self.part}_data")
        name = f"{self.part}_meta_data.csv"
        places = (root, root / self.above, root / f"{self.part}_data")
        table = next((place / name for place in places if (place / name).exists()), root / name)
        data = next((place for place in (table.parent / f"{self.part}_data", table.parent) if place.is_dir()), root)
        videos = _read_videos(table, self.part == "s4")
        self._empty: set[str] = set()
        rows: dict[str, Row] = {}
        for video in chosen_clips({clip: found.classes for clip, found in videos.items()}, choose):
            for k in range(1, FRAMES + 1):
                rows[f"{video}_{k}"] = self._row(data, videos[video], k)
        super().__init__(root, rows, on_error)
        self.has_region = [clip not in self._empty for clip in self.ids]

    def _check(self, clip: str, row: Row) -> None:
        super()._check(clip, row)
        if not _read_mask(clip, row.annotation).any():
            self._empty.add(clip)

    def _row(self, data: Path, video: "_Video", k: int) -> Row:
        """Frame k, from 1 on, of a video."""
        name = video.name
        below = Path(SPLIT, *video.folders)
        pictures = [data / "visual_frames" / folder / name for folder in (below, Path())]
        names = (f"{name}_{k}.png", f"{name}.mp4_{k}.png", f"{name}_{k}.jpg")
        frames = [find_file(folder, one) for folder in pictures for one in names]
        return Row(
            next((path for path in frames if path.is_file()), frames[0]),
            find_file(data / "audio_wav" / below, f"{name}.wav"),
            find_file(data / "gt_masks" / below / name, f"{name}_{k}.png"),
            name, video.classes, k - 0.5,
        )  # fmt: skip

    def truth(self, index: int, size: int) -> np.ndarray:
        """Draw the sounding objects, 1 where it isn't black: (size, size) float32; all 0 where nothing sounds.

        Args:
            index: of the row.
            size: of the map, pixels.
        """
        mask = Image.fromarray(_read_mask(self.ids[index], self.rows[index].annotation))
        return np.array(mask.resize((size, size), Image.Resampling.NEAREST), np.float32)


class AVSBenchS4(AVSBench):
    """The videos of one sounding object, see `AVSBench`."""

    part, above = "s4", "Single-source"


class AVSBenchMS3(AVSBench):
    """The videos of several sounding objects, whose sounds aren't apart: one mask for all, see `AVSBench`."""

    part, above = "ms3", "Multi-sources"


class _Video(NamedTuple):
    name: str
    classes: tuple[str, ...]  # that of S4; () of MS3
    folders: tuple[str, ...]  # below test/


def _read_mask(clip: str, path: Path) -> np.ndarray:
    """Which pixels of a mask aren't black: (H, W) bool."""
    try:
        return np.asarray(np.array(open_image(path)).any(2))
    except MediaError as error:
        raise error.for_clip(clip) from None


def _read_videos(table: Path, in_folders: bool) -> dict[str, _Video]:
    """The test videos of a table: {name: video}; their files may lie in folders of their categories."""
    form = f"a csv with a header: the video first, and a column split in which {SPLIT} stands"
    try:
        lines = list(csv.reader(read_text(table).splitlines()))
    except FileNotFoundError:
        raise UserError(f"{table} is missing: it must hold {form}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table} can't be read ({error}): it must hold {form}") from None
    header = [name.strip().lower() for name in lines[0]] if lines else []
    if "split" not in header[1:]:
        raise UserError(f"{table} has no column split: it must hold {form}")
    videos = {}
    for number, cells in enumerate(lines[1:], 2):
        if not any(cells):
            continue
        row = dict(zip(header, (cell.strip() for cell in cells), strict=False))
        name, category = normalize_name(cells[0].strip()), row.get("category")
        if not is_valid_id(name) or "split" not in row or not (category is None or is_valid_id(category)):
            raise UserError(f"{table}, line {number}, is not a row of a video: it must hold {form}")
        if row["split"] == SPLIT:
            classes = (category,) if category is not None else ()
            videos[name] = _Video(name, classes, classes if in_folders else ())
    if not videos:
        raise UserError(f"{table} lists no video of split {SPLIT}: give AVSBench's own table")
    return videos
