"""Pictures that people hold, of any size and type, as the squares that the nets take.

Files are read as embed.py reads them, so that the same file has the same embedding.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from dataset.reading.errors import image_error_reason
from dataset.reading.images import open_image, resize_square, to_rgb
from dataset.reading.limits import MAX_PIXELS
from evaluation.net_inputs import as_list, as_paths, refuse_ragged, to_array
from utils.errors import UserError

Pictures = str | Path | Image.Image | np.ndarray | Tensor | Iterable[Any]
CHANNELS = (1, 3, 4)  # of a picture: grey, RGB, RGB and alpha
SLACK = 2e-3  # by which pictures of floats may leave 0..1: resizing and half precision do


class Stack(list[Any]):
    """The T pictures that a net of several frames takes as one."""


def list_pictures(pictures: Pictures, frames: int = 1) -> list[Any]:
    """Divide what a program gives into pictures, without opening them.

    Args:
        pictures: one picture or several, see `open_picture`; an array with one dimension more holds several.
        frames: T of a net of several frames, of which each item is T pictures.

    Returns:
        One item for each picture, or for each T of them.

    Raises:
        UserError: there are none, or an array holds pictures of different sizes.
    """
    single = 3 if frames == 1 else 4  # dimensions of an item
    pictures = as_paths(pictures, "pictures")
    if isinstance(pictures, str | Path | Image.Image):
        items: list[Any] = [pictures]
    elif isinstance(pictures, np.ndarray | Tensor):
        refuse_ragged(pictures, "pictures of different sizes")
        if not single - 1 <= pictures.ndim <= single + 1:
            raise UserError(
                f"pictures have the shape {tuple(pictures.shape)}: give (H, W, 3), (N, H, W, 3), or a list of pictures"
            )
        items = list(pictures) if pictures.ndim == single + 1 else [pictures]
    else:
        items = as_list(pictures, "pictures")
    if not items:
        raise UserError("there are no pictures: give at least one")
    return items if frames == 1 else [_stack_of(item, frames) for item in items]


def _stack_of(item: Any, frames: int) -> Stack:
    """The T pictures of an item for a net of several frames."""
    pictures = list_pictures(item)
    if len(pictures) != frames:
        raise UserError(
            f"this net takes {frames} frames of a clip, 0.04 s apart, not {len(pictures)}: give (N, T, H, W, 3)"
        )
    return Stack(pictures)


def open_picture(picture: Any) -> Image.Image:
    """Open or convert a picture: RGB, upright.

    Args:
        picture: the path of an image file; an image of Pillow; or an array or tensor (H, W), (H, W, C) or (C, H, W),
            with C 1, 3 or 4, uint8 or float in 0..1.

    Raises:
        UserError: the file can't be read, or the values aren't those of a picture.
    """
    if isinstance(picture, str | Path):
        return open_image(Path(picture))
    if isinstance(picture, Image.Image):
        return _convert_image(picture)
    values = to_array(picture, "a picture")
    if values.ndim == 3:
        first = isinstance(picture, Tensor) and values.shape[0] in CHANNELS  # torchvision's order
        if (first or values.shape[-1] not in CHANNELS) and values.shape[0] in CHANNELS:
            values = values.transpose(1, 2, 0)
        values = values[:, :, 0] if values.shape[-1] == 1 else values
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[-1] not in CHANNELS) or not values.size:
        raise UserError(f"a picture has the shape {values.shape}: give (H, W, 3) or (3, H, W)")
    _refuse_large(values.shape[1], values.shape[0])
    return Image.fromarray(_to_bytes(values)).convert("RGB")


def _refuse_large(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UserError(f"a picture of {width} x {height} pixels is too large: shrink it")


def _convert_image(image: Image.Image) -> Image.Image:
    """An image of Pillow as RGB, upright; one of floats is 0..1, as an array of floats is."""
    if not image.width or not image.height:
        raise UserError(f"a picture has {image.width} x {image.height} pixels: leave it out")
    _refuse_large(*image.size)
    try:
        upright = ImageOps.exif_transpose(image)
        if upright.mode == "F":
            return Image.fromarray(_to_bytes(np.asarray(upright))).convert("RGB")
        return to_rgb(upright)
    except UserError:
        raise
    except (OSError, ValueError, SyntaxError, EOFError) as error:  # it reads its file now
        raise UserError(f"a picture of Pillow can't be read ({image_error_reason(error)}): give another one") from None


def _to_bytes(values: np.ndarray) -> np.ndarray:
    """The pixels of a picture as uint8."""
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    if values.dtype.kind != "f":
        raise UserError(f"a picture is of type {values.dtype}: give uint8, or float in 0..1")
    if not np.isfinite(values).all():
        raise UserError("a picture holds NaN or infinity: give uint8, or float in 0..1")
    if values.min() < -SLACK or values.max() > 1 + SLACK:
        raise UserError(
            f"a picture of floats has values from {values.min():.4g} to {values.max():.4g}: give uint8, or float in "
            "0..1, not normalized"
        )
    return np.rint(values.astype(np.float64).clip(0, 1) * 255).astype(np.uint8)


def to_squares(items: list[Any], size: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Open pictures and resize each as a whole to a square.

    Args:
        items: of `list_pictures`.
        size: side of the squares, pixels.

    Returns:
        (N, size, size, 3) uint8, or (N, T, size, size, 3) of items of T pictures; and of each item (height, width) of
        its (first) picture.
    """
    squares, sizes = [], []
    for item in items:
        images = [open_picture(picture) for picture in (item if isinstance(item, Stack) else [item])]
        found = np.stack([resize_square(image, size) for image in images])
        squares.append(found if isinstance(item, Stack) else found[0])
        sizes.append((images[0].height, images[0].width))
    return np.stack(squares), sizes
