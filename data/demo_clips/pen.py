"""Drawing of the demo's instruments: colors, curves, and a pen that collects polygons and lines.

Drawings are in an instrument's own coordinates: y points down, the whole instrument is about 1 long.
"""

import colorsys
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike

Color = tuple[int, ...]  # red, green, blue, 0..255
Item = TypeVar("Item")

BLACK, DARK, IVORY, WHITE = (24, 22, 24), (58, 50, 48), (240, 232, 210), (250, 250, 248)
STEEL, BRASS = (196, 202, 210), (222, 172, 62)
WOODS = [(196, 124, 58), (222, 164, 92), (150, 78, 40), (112, 60, 38), (230, 186, 120)]


class Shape(NamedTuple):
    """One shape of a drawing: a line through `points` (n, 2) of this `width` with round ends; width 0: a polygon."""

    points: np.ndarray
    color: Color
    width: float


class Pen:
    """Collect the shapes of one drawing, from back to front.

    Attributes:
        shapes: list of `Shape`.
    """

    def __init__(self) -> None:
        self.shapes: list[Shape] = []

    def line(self, points: ArrayLike, width: float, color: Color) -> None:
        """Draw a line of this width and color through points (n, 2)."""
        self.shapes.append(Shape(np.asarray(points, float), color, width))

    def fill(self, points: ArrayLike, color: Color, edge: float = 0.012) -> None:
        """Fill the polygon of points (n, 2) with a color; an edge width above 0 outlines it in a darker shade."""
        points = np.asarray(points, float)
        self.shapes.append(Shape(points, color, 0))
        if edge:
            self.line(np.concatenate([points, points[:2]]), edge, shade(color, 0.55))

    def box(self, x0: float, y0: float, x1: float, y1: float, color: Color, edge: float = 0.012) -> None:
        """Fill an upright rectangle with corners (x0, y0) and (x1, y1); color and edge as in `fill`."""
        self.fill([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], color, edge)

    def oval(self, x: float, y: float, rx: float, ry: float, color: Color, edge: float = 0.012) -> None:
        """Fill an upright ellipse with center (x, y) and radii rx and ry; color and edge as in `fill`."""
        angles = np.linspace(0, 2 * np.pi, 40 if rx > 0.05 else 14, endpoint=False)
        self.fill(np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1), color, edge)

    def tube(self, points: ArrayLike, widths: ArrayLike, color: Color, edge: float = 0.012) -> None:
        """Fill a tube along points (n, 2) whose width at each is one of widths (n,); color and edge as in `fill`."""
        points, widths = np.asarray(points, float), np.asarray(widths, float)
        along = np.gradient(points, axis=0)
        normal = along[:, ::-1] * [-1, 1] / np.linalg.norm(along, axis=1, keepdims=True)
        side = normal * widths[:, None] / 2
        self.fill(np.concatenate([points + side, (points - side)[::-1]]), color, edge)

    def hull(self) -> np.ndarray:
        """Compute points (n, 2) whose bounding box, under any rotation, is that of the whole drawing."""
        outlines = []
        for points, _, width in self.shapes:
            if width:
                outlines += [points + width / 2 * np.array(d) for d in ((1, 0), (-1, 0), (0, 1), (0, -1))]
            else:
                outlines.append(points)
        dots = np.concatenate(outlines)
        # Only the farthest point in each of 64 directions can touch the box (to within 0.1%).
        angles = np.arange(64) * 2 * np.pi / 64
        farthest = np.argmax(dots[:, :1] * np.cos(angles) + dots[:, 1:] * np.sin(angles), axis=0)
        return dots[np.unique(farthest)]


def hsv(hue: float, saturation: float, value: float) -> Color:
    """Convert a hue (which wraps), saturation and value, 0..1 each, to RGB."""
    return tuple(int(round(255 * c)) for c in colorsys.hsv_to_rgb(hue % 1, saturation, value))


def shade(color: Color, factor: float) -> Color:
    """Darken (factor < 1) or lighten (factor > 1) a color, within 0..255."""
    return tuple(int(np.clip(round(c * factor), 0, 255)) for c in color)


def curve(points: ArrayLike, closed: bool = False, steps: int = 6) -> np.ndarray:
    """Interpolate a smooth Catmull-Rom curve.

    Args:
        points: (n, 2), the points that it passes through.
        closed: whether it ends where it begins.
        steps: number of points of the result for each of `points`.

    Returns:
        (m, 2), about n * steps points.
    """
    p = np.asarray(points, float)
    p = np.concatenate([p[-1:], p, p[:2]]) if closed else np.concatenate([p[:1], p, p[-1:]])
    a, b, c, d = p[:-3, None], p[1:-2, None], p[2:-1, None], p[3:, None]
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    out = b + t * (c - a) / 2 + t**2 * (a - 2.5 * b + 2 * c - d / 2) + t**3 * (1.5 * (b - c) + (d - a) / 2)
    out = out.reshape(-1, 2)
    return out if closed else np.concatenate([out, p[-1:]])


def mirrored(half: ArrayLike) -> np.ndarray:
    """Complete an outline whose right half is given from top to bottom: half (n, 2) becomes (2n, 2)."""
    half = np.asarray(half, float)
    return np.concatenate([half, half[::-1] * [-1, 1]])


def pick(rng: np.random.Generator, items: Sequence[Item]) -> Item:
    """Draw one of the items by `rng`."""
    return items[int(rng.integers(len(items)))]


def metal(rng: np.random.Generator) -> Color:
    """Draw by `rng` the color of a metal: mostly brass or gold, sometimes silver or copper."""
    base = pick(rng, [BRASS, BRASS, (236, 194, 84), (206, 146, 56), STEEL, (214, 132, 88)])
    return shade(base, rng.uniform(0.9, 1.1))


def add_strings(
    pen: Pen,
    count: int,
    top: tuple[float, float],
    bottom: tuple[float, float],
    color: Color = (232, 228, 214),
    width: float = 0.006,
) -> None:
    """Draw the strings of an instrument, evenly spaced.

    Args:
        pen: what to draw with.
        count: number of strings.
        top: half the distance between the outer strings at their upper ends, and the y of these ends.
        bottom: the same at their lower ends.
        color: of the strings.
        width: of a string.
    """
    for k in np.linspace(-1, 1, count):
        pen.line([(k * top[0], top[1]), (k * bottom[0], bottom[1])], width, color)
