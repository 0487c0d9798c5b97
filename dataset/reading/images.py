"""Image files: open them safely, resize them to a square."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from dataset.reading.errors import MediaError, image_error_reason
from dataset.reading.limits import refuse_huge, require_file

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # may be opened: some formats of Pillow run programs


def open_image(path: Path) -> Image.Image:
    """Open the image file at `path`, its first image if it has several: RGB, rotated upright.

    Raises:
        MediaError: missing, an unknown format, damaged, or of more than MAX_PIXELS pixels.
    """
    require_file(path)
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            refuse_huge(path, *image.size)
            ImageOps.exif_transpose(image, in_place=True)
            return to_rgb(image)
    except MediaError:
        raise
    except FileNotFoundError:
        raise MediaError("missing", path, "is missing") from None
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:  # all that PIL raises
        raise MediaError("damaged", path, f"can't be read as an image ({image_error_reason(error)})") from None


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image to RGB; 16 bits become 8, where Pillow would take all from 255 on for white.

    Args:
        image: of any mode.

    Raises:
        ValueError: its pixels have 32 bits, and how bright the largest value is isn't known.
    """
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels have 32 bits, mode {image.mode}, and an unknown range: save it with 8 or 16 bits")
    return (image.convert("LA") if image.mode == "La" else image).convert("RGB")


def resize_square(image: Image.Image, size: int) -> np.ndarray:
    """Resize the whole of an RGB image to a square, whatever its shape: (size, size, 3) uint8.

    Args:
        image: of any size.
        size: pixels.
    """
    return np.array(image.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0))  # large ones in two steps
