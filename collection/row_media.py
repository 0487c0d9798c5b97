"""Read the frames and sounds of a collection's rows from its folder, and from nowhere else."""

from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageDraw

from collection.storage import Collection
from dataset.reading.audio import SOUND_SECONDS
from dataset.reading.media_folder import MediaItem, frame_image, sound_around

IMAGE_SIDE = 480  # longest side of a frame, pixels
WAVEFORM_SIZE = (320, 200)  # width and height of a waveform's image, pixels
WAVEFORM_STEP = 4  # pixels from one bar to the next
BACKGROUND, BAR_COLOR = (32, 36, 42), (79, 183, 131)


class RowMedia:
    """The files behind a collection. A row without such a file, frame or sound raises LookupError.

    Args:
        collection: names files relative to `root`.
        root: folder of the files; nothing outside of it is read, whatever the collection names.
        seconds: length of the sound of a row.
    """

    def __init__(self, collection: Collection, root: Path, seconds: float = SOUND_SECONDS) -> None:
        self.collection, self.root, self.seconds = collection, root, seconds

    def frame(self, row: int) -> Image.Image:
        """Read the frame of row `row`, at most IMAGE_SIDE pixels wide and high."""
        item, time = self._item(row)
        if not self.collection.has_frame[row]:
            raise LookupError
        return frame_image(item, time, IMAGE_SIDE)

    def sound(self, row: int) -> np.ndarray:
        """Read the sound of row `row`: (samples,) int16 at 48 kHz."""
        item, time = self._item(row)
        if not self.collection.has_sound[row]:
            raise LookupError
        return sound_around(item, time, self.seconds)

    def image(self, row: int) -> Image.Image:
        """Read the frame of row `row`, or draw the waveform of its sound where it has no frame."""
        item, time = self._item(row)
        if self.collection.has_frame[row]:
            return self.frame(row)
        return waveform_image(sound_around(item, time, self.seconds))

    def _item(self, row: int) -> tuple[MediaItem, float]:
        """The file of a row and the row's time, seconds."""
        if not 0 <= row < len(self.collection.times):
            raise LookupError
        item = MediaItem(*self.collection.file_of(row), self.root)
        for name in (PurePosixPath(item.name), PurePosixPath(item.sound_name)):
            # A collection may come from anywhere: its names must not lead outside of the folder.
            if name.is_absolute() or ".." in name.parts or not (self.root / name).is_file():
                raise LookupError
        return item, float(self.collection.times[row])


def waveform_image(sound: np.ndarray) -> Image.Image:
    """Draw the peak level of `sound`, (samples,) int16, over time as bars: RGB of WAVEFORM_SIZE."""
    width, height = WAVEFORM_SIZE
    image = Image.new("RGB", WAVEFORM_SIZE, BACKGROUND)
    pen, middle = ImageDraw.Draw(image), height / 2
    parts = np.array_split(sound.astype(np.float32), width // WAVEFORM_STEP)
    peaks = [float(np.abs(part).max(initial=0)) for part in parts]
    for k, peak in enumerate(peaks):
        half = max(peak / max(*peaks, 1) * middle * 0.8, 1)
        x = WAVEFORM_STEP * k + WAVEFORM_STEP // 2
        pen.line((x, middle - half, x, middle + half), fill=BAR_COLOR, width=2)
    return image
