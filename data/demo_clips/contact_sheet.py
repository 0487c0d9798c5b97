"""Write a contact sheet of the demo set: one image with frames of each class."""

import json
from pathlib import Path

from PIL import Image, ImageDraw

from data.demo_clips.classes import CLASSES
from dataset.reading.container import open_media
from utils.files import save_image


def write_contact_sheet(root: Path, path: Path, columns: int = 8, cell: int = 168) -> None:
    """Write a PNG of first frames, one row for each class; green boxes surround sounding objects, red ones silent ones.

    Args:
        root: folder of the demo set; its train clips are shown.
        path: file to write.
        columns: clips of a class.
        cell: side of a frame's cell, pixels.
    """
    genres = json.loads((root / "train" / "vid2genre.json").read_text())
    boxes = json.loads((root / "train" / "boxes.json").read_text())
    sheet = Image.new("RGB", (columns * cell, len(CLASSES) * cell), "white")
    for row, instrument in enumerate(CLASSES):
        clips = [clip for clip, mids in genres.items() if instrument.mid in mids][:columns]
        for column, clip in enumerate(clips):
            image = _first_frame(root / "train" / "video" / f"{clip}.mp4", cell)
            pen = ImageDraw.Draw(image)
            for entry in (e for e in boxes[clip] if e["time"] == 0):
                corners = [c * s for c, s in zip(entry["box"], image.size * 2, strict=True)]
                pen.rectangle(corners, outline="lime" if entry["sounding"] else "red")
            sheet.paste(image, (column * cell, row * cell + 12))
            title = f"{instrument.name}  {clip}"
            ImageDraw.Draw(sheet).text((column * cell, row * cell), title, fill="black")
    save_image(path, sheet)


def _first_frame(mp4: Path, cell: int) -> Image.Image:
    with open_media(mp4) as container:
        image = next(container.decode(video=0)).to_image()
    image.thumbnail((cell - 4, cell - 16))
    return image
