"""Turn decoded frames as players show them: a file may say that its frames are rotated, mirrored, or both."""

from math import atan2, degrees, hypot
from typing import NamedTuple, cast

import av
import numpy as np
from av.buffer import Buffer
from PIL import Image

MAX_ASPECT = 4  # frames that are longer than this are squeezed to it before a square is cut out of them
RIGHT_ANGLE_TOLERANCE = 1.0  # an angle this close to a right one is taken for it, as ffmpeg does, degrees


class Orientation(NamedTuple):
    """How a decoded frame is turned to be shown: first transposed, then mirrored, then rotated.

    Attributes:
        transpose: rows become columns.
        flip_rows: top becomes bottom.
        flip_columns: left becomes right.
        angle: by which it is rotated clockwise within its own size, degrees; only where it is no right angle.
    """

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False
    angle: float = 0.0


UPRIGHT = Orientation()


def orientation(frame: av.VideoFrame) -> Orientation:
    """Read from the display matrix of a decoded `frame` how it is shown, by the rules of ffmpeg's command."""
    matrix = cast(Buffer | None, frame.side_data.get("DISPLAYMATRIX"))
    if matrix is None:
        return UPRIGHT
    a, b, _, c, d, *_ = np.frombuffer(bytes(matrix), np.int32).tolist()
    if not hypot(a, c) or not hypot(b, d):
        return UPRIGHT
    angle = round(degrees(atan2(b / hypot(b, d), a / hypot(a, c)))) % 360
    if abs(angle - 90) < RIGHT_ANGLE_TOLERANCE:
        return Orientation(True, False, flip_columns=c <= 0)
    if abs(angle - 270) < RIGHT_ANGLE_TOLERANCE:
        return Orientation(True, True, flip_columns=c < 0)
    if abs(angle - 180) < RIGHT_ANGLE_TOLERANCE:
        return Orientation(False, d < 0, a < 0)
    return Orientation(angle=angle) if angle else Orientation(flip_rows=d < 0)


def upright_size(frame: av.VideoFrame) -> tuple[int, int]:
    """Return the (width, height) of a decoded `frame` as it is shown."""
    return (frame.height, frame.width) if orientation(frame).transpose else (frame.width, frame.height)


def to_upright_rgb(frame: av.VideoFrame, width: int, height: int) -> np.ndarray:
    """Turn a decoded `frame` as it is shown and resize it: (height, width, 3) uint8 RGB.

    Args:
        frame: of any pixel format.
        width, height: of the result, pixels, whatever the frame's shape.
    """
    turn = orientation(frame)
    if turn.angle:
        whole = Image.fromarray(frame.to_ndarray(format="rgb24", threads=1))
        return np.array(whole.rotate(-turn.angle, Image.Resampling.BILINEAR).resize((width, height), reducing_gap=3.0))
    width, height = (height, width) if turn.transpose else (width, height)
    # One thread: loader processes share the cores.
    return turn_pixels(
        frame.to_ndarray(width=width, height=height, format="rgb24", interpolation="AREA", threads=1), turn
    )


def to_upright_square(frame: av.VideoFrame, size: int, crop: float | None = None) -> np.ndarray:
    """Turn a decoded `frame` as it is shown and make a square of it: (size, size, 3) uint8 RGB.

    Args:
        frame: of any pixel format.
        size: pixels.
        crop: None for the whole frame, squeezed; else the position along its longer side, 0..1, of the square that is
            cut out of it.
    """
    if crop is None:
        return to_upright_rgb(frame, size, size)
    width, height = upright_size(frame)
    shorter = max(min(width, height), 1)
    width, height = (min(max(round(side * size / shorter), size), MAX_ASPECT * size) for side in (width, height))
    return crop_square(to_upright_rgb(frame, width, height), crop)


def crop_square(pixels: np.ndarray, crop: float) -> np.ndarray:
    """Cut a square of the shorter side out of a picture.

    Args:
        pixels: (H, W, ...).
        crop: position of the square along the longer side, 0..1; 0.5 is the middle.
    """
    height, width = pixels.shape[:2]
    side = min(height, width)
    row, column = round(crop * (height - side)), round(crop * (width - side))
    return pixels[row : row + side, column : column + side]


def turn_pixels(pixels: np.ndarray, turn: Orientation) -> np.ndarray:
    """Transpose and mirror a picture.

    Args:
        pixels: (H, W, ...).
        turn: how; its angle is ignored.
    """
    if turn.transpose:
        pixels = pixels.swapaxes(0, 1)
    pixels = pixels[:: -1 if turn.flip_rows else 1, :: -1 if turn.flip_columns else 1]
    return np.ascontiguousarray(pixels)
