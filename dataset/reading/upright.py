"""Turn decoded frames as players show them, and keep their colours.

A file may say that its frames are rotated or mirrored, and what the numbers of their pixels mean.
"""

from math import atan2, degrees, hypot
from typing import NamedTuple, cast

import av
import numpy as np
from av.buffer import Buffer
from av.filter import Graph
from av.video.reformatter import ColorRange, Colorspace

MAX_ASPECT = 4  # frames that are longer than this are squeezed to it before a square is cut out of them
UNKNOWN, BT601 = 2, 6  # matrices of YUV, by the numbers of ITU-T H.273
# Matrices that libswscale converts, by these numbers, and its own numbers for them.
MATRICES = {
    0: Colorspace.DEFAULT,  # RGB
    1: Colorspace.ITU709,
    UNKNOWN: Colorspace.DEFAULT,
    3: Colorspace.DEFAULT,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    BT601: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}


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
    matrix = cast(Buffer | None, frame.side_data.get("DISPLAYMATRIX")) if len(frame.side_data) else None
    if matrix is None:
        return UPRIGHT
    a, b, _, c, d, *_ = np.frombuffer(bytes(matrix), np.int32).tolist()
    if not hypot(a, c) or not hypot(b, d):
        return UPRIGHT
    angle = round(degrees(atan2(b / hypot(b, d), a / hypot(a, c)))) % 360
    if angle == 90:
        return Orientation(transpose=True, flip_columns=c <= 0)
    if angle == 270:
        return Orientation(transpose=True, flip_rows=True, flip_columns=c < 0)
    if angle == 180:
        return Orientation(flip_rows=d < 0, flip_columns=a < 0)
    if angle == 0:
        return Orientation(flip_rows=d < 0)
    return Orientation(angle=angle) if angle > 1 else UPRIGHT


def upright_size(frame: av.VideoFrame) -> tuple[int, int]:
    """Return the (width, height) of a decoded `frame` as it is shown."""
    return (frame.height, frame.width) if orientation(frame).transpose else (frame.width, frame.height)


def to_upright_rgb(frame: av.VideoFrame, width: int, height: int) -> np.ndarray:
    """Turn a decoded `frame` as it is shown and resize it: (height, width, 3) uint8 RGB.

    Args:
        frame: of any pixel format.
        width, height: of the result, pixels, whatever the frame's shape.
    """
    frame, turn = _rotate(frame)
    width, height = (height, width) if turn.transpose else (width, height)
    # One thread: loader processes share the cores.
    pixels = frame.to_ndarray(width=width, height=height, format="rgb24", interpolation="AREA", threads=1)
    return turn_pixels(pixels, turn)


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


class Colors(NamedTuple):
    """What the numbers of a YUV frame mean, by the numbers of ITU-T H.273.

    Attributes:
        matrix: of luma and chroma.
        range: 1: luma is 16..235, 2: 0..255, 0: unknown.
        primaries, transfer: are only passed on.
    """

    matrix: int
    range: int
    primaries: int
    transfer: int


def yuv_colors(frame: av.VideoFrame) -> Colors:
    """Choose the colours with which a decoded `frame` is encoded again as YUV: its own, for RGB and grey BT.601."""
    if not _is_yuv(frame):
        return Colors(BT601, ColorRange.MPEG, frame.color_primaries, frame.color_trc)
    return Colors(frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc)


def to_upright_yuv(frame: av.VideoFrame, width: int, height: int, colors: Colors) -> av.VideoFrame:
    """Turn a decoded `frame` as it is shown and resize it: a new frame of format yuv420p, without times.

    Args:
        frame: of any pixel format.
        width, height: of the result, pixels, even.
        colors: of the result, from `yuv_colors`.
    """
    frame, turn = _rotate(frame)
    if not _is_yuv(frame):
        frame = frame.reformat(format="rgb24", threads=1)
    size = (height, width) if turn.transpose else (width, height)
    change = {}
    if yuv_colors(frame)[:2] != colors[:2] or not _is_yuv(frame):
        change = {"dst_colorspace": MATRICES[colors.matrix], "dst_color_range": colors.range}
    small = frame.reformat(*size, format="yuv420p", interpolation="AREA", threads=1, **change)
    planes = small.to_ndarray()
    if turn != UPRIGHT:
        chroma = planes[size[1] :].reshape(2, size[1] // 2, size[0] // 2)
        turned = [turn_pixels(plane, turn).reshape(-1) for plane in (planes[: size[1]], *chroma)]
        planes = np.concatenate(turned).reshape(-1, width)
    # The decoder's own frame would bring its type, the shape of its pixels and its times along.
    out = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    out.colorspace, out.color_range = colors.matrix, colors.range
    return out


def _is_yuv(frame: av.VideoFrame) -> bool:
    return not frame.format.is_rgb and len(frame.format.components) >= 3 and not frame.format.has_palette


def _rotate(frame: av.VideoFrame) -> tuple[av.VideoFrame, Orientation]:
    """Rotate a frame by an angle that is no right one, with ffmpeg's filter; and tell how it is still to be turned."""
    turn = orientation(frame)
    if not turn.angle:
        return frame, turn
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    rotate, sink = graph.add("rotate", f"{turn.angle}*PI/180"), graph.add("buffersink")
    source.link_to(rotate)
    rotate.link_to(sink)
    graph.configure()
    graph.push(frame)
    return cast(av.VideoFrame, graph.pull()), UPRIGHT


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
