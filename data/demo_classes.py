"""The twelve instruments of the demo data: how each one looks and how each one sounds.

A look is a list of coloured polygons and lines in the instrument's own coordinates (y points down, the whole
thing is about 1 long). A sound is a function that plays one note. Both take their variety from a numpy
Generator: one draw is one individual instrument. The table CLASSES at the end ties the two together.
"""

import colorsys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.signal import butter, sosfilt

# ---------------------------------------------------------------------------------------------- drawing kit

BLACK, DARK, IVORY, WHITE = (24, 22, 24), (58, 50, 48), (240, 232, 210), (250, 250, 248)
STEEL, BRASS = (196, 202, 210), (222, 172, 62)
WOODS = [(196, 124, 58), (222, 164, 92), (150, 78, 40), (112, 60, 38), (230, 186, 120)]


def hsv(hue, saturation, value):
    """Return the RGB colour (three ints, 0..255) of a hue, saturation and value in 0..1 (the hue wraps)."""
    return tuple(int(round(255 * c)) for c in colorsys.hsv_to_rgb(hue % 1, saturation, value))


def shade(colour, factor):
    """Return the RGB colour made darker (factor < 1) or lighter (factor > 1), within 0..255."""
    return tuple(int(np.clip(round(c * factor), 0, 255)) for c in colour)


def curve(points, closed=False, steps=6):
    """Return a smooth Catmull-Rom curve through points (n, 2): about n * steps points, (m, 2)."""
    p = np.asarray(points, float)
    p = np.concatenate([p[-1:], p, p[:2]]) if closed else np.concatenate([p[:1], p, p[-1:]])
    a, b, c, d = p[:-3, None], p[1:-2, None], p[2:-1, None], p[3:, None]
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    out = b + t * (c - a) / 2 + t**2 * (a - 2.5 * b + 2 * c - d / 2) + t**3 * (1.5 * (b - c) + (d - a) / 2)
    out = out.reshape(-1, 2)
    return out if closed else np.concatenate([out, p[-1:]])


def mirrored(half):
    """Return the closed outline whose right half is given from top to bottom: points (n, 2) -> (2n, 2)."""
    half = np.asarray(half, float)
    return np.concatenate([half, half[::-1] * [-1, 1]])


class Pen:
    """Collects the shapes of one drawing, back to front, as (points (n, 2), RGB, width) in `parts`.

    A width of 0 means a filled polygon, anything else a line of that width with round ends.
    """

    def __init__(self):
        self.parts = []

    def line(self, points, width, colour):
        """Draw a line of the given width through points (n, 2)."""
        self.parts.append((np.asarray(points, float), colour, width))

    def fill(self, points, colour, edge=0.012):
        """Fill the polygon (n, 2); with an edge width above 0, outline it in a darker shade."""
        points = np.asarray(points, float)
        self.parts.append((points, colour, 0))
        if edge:
            self.line(np.concatenate([points, points[:2]]), edge, shade(colour, 0.55))

    def box(self, x0, y0, x1, y1, colour, edge=0.012):
        """Fill an upright rectangle."""
        self.fill([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour, edge)

    def oval(self, x, y, rx, ry, colour, edge=0.012):
        """Fill an upright ellipse with centre (x, y) and radii rx, ry."""
        a = np.linspace(0, 2 * np.pi, 40 if rx > 0.05 else 14, endpoint=False)
        self.fill(np.stack([x + rx * np.cos(a), y + ry * np.sin(a)], axis=1), colour, edge)

    def tube(self, points, widths, colour, edge=0.012):
        """Fill a tapering tube along points (n, 2) with the widths (n,)."""
        points, widths = np.asarray(points, float), np.asarray(widths, float)
        along = np.gradient(points, axis=0)
        normal = along[:, ::-1] * [-1, 1] / np.linalg.norm(along, axis=1, keepdims=True)
        side = normal * widths[:, None] / 2
        self.fill(np.concatenate([points + side, (points - side)[::-1]]), colour, edge)

    def hull(self):
        """Return points (n, 2) whose bounding box, under any rotation, is that of the whole drawing."""
        dots = [np.concatenate([p + w / 2 * np.array(d) for d in ((1, 0), (-1, 0), (0, 1), (0, -1))])
                if w else p for p, _, w in self.parts]  # fmt: skip
        dots = np.concatenate(dots)
        # Only the farthest point in each of 64 directions can touch the box (to within 0.1%).
        angle = np.arange(64) * 2 * np.pi / 64
        far = np.argmax(dots[:, :1] * np.cos(angle) + dots[:, 1:] * np.sin(angle), axis=0)
        return dots[np.unique(far)]


def pick(rng, items):
    """Return one of the items."""
    return items[int(rng.integers(len(items)))]


def metal(rng):
    """Return the RGB colour of a metal: mostly brass or gold, now and then silver or copper."""
    base = pick(rng, [BRASS, BRASS, (236, 194, 84), (206, 146, 56), STEEL, (214, 132, 88)])
    return shade(base, rng.uniform(0.9, 1.1))


def strings(pen, count, x_top, y_top, x_bottom, y_bottom, colour=(232, 228, 214), width=0.006):
    """Draw count strings between two lines of half-widths x_top and x_bottom."""
    for k in np.linspace(-1, 1, count):
        pen.line([(k * x_top, y_top), (k * x_bottom, y_bottom)], width, colour)


# -------------------------------------------------------------------------------------------------- looks


def draw_violin(pen, rng):
    """Draw a violin with f-holes, scroll and chin rest, its bow beside it."""
    wood = shade(pick(rng, [(178, 84, 36), (150, 62, 30), (198, 108, 44), (120, 48, 28)]), rng.uniform(0.9, 1.15))
    fat = rng.uniform(0.95, 1.15)
    upper = curve([(0, -0.21), (0.09, -0.205), (0.165, -0.14), (0.175, -0.06), (0.15, 0.01), (0.165, 0.03)])
    waist = curve([(0.165, 0.03), (0.115, 0.06), (0.098, 0.12), (0.12, 0.19), (0.18, 0.215)])
    lower = curve([(0.18, 0.215), (0.175, 0.24), (0.215, 0.33), (0.19, 0.44), (0.1, 0.5), (0, 0.51)])
    body = mirrored(np.concatenate([upper, waist, lower])) * [fat, 1]
    pen.fill(body, shade(wood, 0.7), 0.02)
    pen.fill(body * 0.92 + [0, 0.012], wood, 0)
    pen.fill(
        curve([(-0.05, -0.12), (0.03, -0.1), (0.05, 0.1), (0.06, 0.4), (-0.06, 0.42)], True),
        shade(wood, 1.2),
        0,
    )
    for side in (-1, 1):  # f-holes
        hole = curve([(0.075, 0.09), (0.1, 0.085), (0.1, 0.13), (0.115, 0.2), (0.12, 0.245), (0.145, 0.235)])
        pen.line(hole * [side * 0.95, 1], 0.018, BLACK)
    pen.oval(-0.1 * fat, 0.44, 0.075, 0.05, BLACK, 0)  # chin rest
    pen.fill([(-0.028, 0.27), (0.028, 0.27), (0.04, 0.44), (0, 0.48), (-0.04, 0.44)], BLACK, 0)
    pen.fill([(-0.024, -0.5), (0.024, -0.5), (0.036, 0.1), (-0.036, 0.1)], DARK, 0)
    pen.fill([(-0.026, -0.5), (0.026, -0.5), (0.02, -0.64), (-0.02, -0.64)], wood)
    pen.oval(0, -0.66, 0.036, 0.036, shade(wood, 0.85))
    for k, y in enumerate((-0.53, -0.56, -0.59, -0.62)):
        pen.line([(0, y), (0.065 if k % 2 else -0.065, y)], 0.02, BLACK)
    pen.line([(-0.055, 0.2), (0.055, 0.2)], 0.016, IVORY)
    strings(pen, 4, 0.015, -0.5, 0.03, 0.27)
    side, lean = pick(rng, (-1, 1)), rng.uniform(0, 0.1)
    top, end = np.array([side * (0.24 + lean), -0.5]), np.array([side * 0.33, 0.5])
    pen.line([top, end], 0.022, shade(wood, 0.6))
    pen.line([top + [side * 0.03, 0.01], end + [side * 0.035, -0.03]], 0.014, WHITE)
    pen.line([end + [side * 0.02, -0.06], end + [side * 0.02, -0.01]], 0.045, BLACK)


def draw_guitar(pen, rng):
    """Draw an acoustic guitar: round sound hole, rosette, bridge, long fretted neck."""
    top = pick(rng, [(232, 184, 112), (240, 204, 140), (214, 150, 78), hsv(rng.random(), 0.6, 0.75), (190, 96, 50)])
    rim, neck = shade(top, 0.5), shade(pick(rng, WOODS[2:4]), rng.uniform(0.8, 1))
    half = [(0, -0.12), (0.1, -0.125), (0.185, -0.05), (0.165, 0.06), (0.155, 0.11), (0.225, 0.22),
            (0.255, 0.34), (0.2, 0.46), (0.1, 0.505), (0, 0.51)]  # fmt: skip
    body = mirrored(curve(half)) * [rng.uniform(1.15, 1.4), 1.1] - [0, 0.03]
    pen.fill(body, rim, 0.02)
    pen.fill(body * 0.94 + [0, 0.01], top, 0)
    if rng.random() < 0.6:  # pick guard
        pen.fill(curve([(0.03, 0.08), (0.12, 0.1), (0.15, 0.2), (0.06, 0.25)], True), shade(top, 0.6), 0)
    pen.oval(0, 0.1, 0.092, 0.092, shade(rim, 1.3), 0)
    pen.oval(0, 0.1, 0.074, 0.074, BLACK, 0)
    pen.box(-0.1, 0.32, 0.1, 0.355, neck)
    pen.fill([(-0.028, -0.6), (0.028, -0.6), (0.036, 0.04), (-0.036, 0.04)], neck)
    for y in -0.6 + 0.64 * (1 - 0.92 ** np.arange(1, 16)):
        pen.line([(-0.028, y), (0.028, y)], 0.007, STEEL)
    for y in (-0.64, -0.69, -0.74):
        pen.line([(-0.07, y), (0.07, y)], 0.024, WHITE)
    pen.fill([(-0.035, -0.6), (0.035, -0.6), (0.052, -0.78), (-0.052, -0.78)], shade(neck, 1.1))
    strings(pen, 6, 0.022, -0.62, 0.032, 0.335)


def draw_banjo(pen, rng):
    """Draw a banjo: white drum head in a metal rim with brackets, thin neck, the short fifth string's peg."""
    neck, rim = shade(pick(rng, WOODS[:4]), rng.uniform(0.8, 1.1)), pick(rng, [STEEL, STEEL, BRASS])
    r = rng.uniform(0.26, 0.31)
    y = 0.5 - r
    angle = np.arange(20) * 2 * np.pi / 20
    for a in angle:
        pen.oval(r * 1.06 * np.cos(a), y + r * 1.06 * np.sin(a), 0.02, 0.02, shade(rim, 0.7), 0)
    pen.oval(0, y, r * 1.04, r * 1.04, shade(neck, 0.7))
    pen.oval(0, y, r, r, rim)
    pen.oval(
        0,
        y,
        r * 0.86,
        r * 0.86,
        shade(pick(rng, [WHITE, IVORY, (244, 236, 222)]), rng.uniform(0.93, 1)),
        0.01,
    )
    pen.fill([(-0.026, -0.6), (0.026, -0.6), (0.036, y - r * 0.7), (-0.036, y - r * 0.7)], neck)
    for t in np.linspace(0.06, 0.86, 12):
        pen.line([(-0.026, -0.6 + t * 0.6), (0.026, -0.6 + t * 0.6)], 0.007, STEEL)
    for t in (0.2, 0.36, 0.52):
        pen.oval(0, -0.58 + t * 0.6, 0.012, 0.012, IVORY, 0)
    pen.line([(-0.02, -0.27), (-0.075, -0.29)], 0.026, IVORY)
    for peg in (-0.66, -0.73):
        pen.line([(-0.085, peg), (0.085, peg)], 0.026, IVORY)
    head = [(0.03, -0.6), (0.055, -0.66), (0.035, -0.7), (0.06, -0.76), (0.02, -0.8), (0, -0.79)]
    pen.fill(mirrored(head[::-1]), shade(neck, 0.8))
    pen.line([(-0.065, y + r * 0.3), (0.065, y + r * 0.3)], 0.02, DARK)
    pen.box(-0.035, y + r * 0.78, 0.035, y + r * 1.04, rim)
    strings(pen, 5, 0.02, -0.62, 0.028, y + r * 0.8, (120, 116, 112))


def draw_trumpet(pen, rng):
    """Draw a trumpet, its bell to the right: tubing loop, three valves, mouthpiece."""
    brass = metal(rng)
    thick, flare, long = rng.uniform(0.036, 0.048), rng.uniform(0.14, 0.18), rng.uniform(0.95, 1.1)
    arc = np.linspace(np.pi / 2, -np.pi / 2, 10)
    right = np.stack([0.2 + 0.085 * np.cos(arc), 0.02 + 0.085 * np.sin(arc)], axis=1)
    left = np.stack([-0.26 - 0.085 * np.cos(arc), 0.02 + 0.085 * np.sin(arc)], axis=1)
    loop = np.concatenate([right, left[::-1], right[:1]]) * [long, 1]
    pen.line(loop, thick + 0.016, shade(brass, 0.5))
    pen.line(loop, thick, brass)
    pen.line([(-0.62 * long, -0.065), (-0.1, -0.065)], thick * 0.8 + 0.016, shade(brass, 0.5))
    pen.line([(-0.62 * long, -0.065), (-0.1, -0.065)], thick * 0.8, brass)
    pen.tube([(-0.7 * long, -0.065), (-0.64 * long, -0.065), (-0.58 * long, -0.065)], [0.075, 0.05, 0.03], STEEL)
    x = np.linspace(-0.2, 0.6, 24) * long
    pen.tube(np.stack([x, 0 * x - 0.065], axis=1), thick * 1.1 + 2 * flare * np.linspace(0, 1, 24) ** 4.5, brass)
    pen.oval(0.6 * long, -0.065, 0.035, flare + 0.025, shade(brass, 0.8), 0.016)
    pen.oval(0.605 * long, -0.065, 0.02, flare * 0.85, shade(brass, 0.4), 0)
    pen.line([(-0.1, -0.085), (0.35 * long, -0.085)], 0.012, shade(brass, 1.35))
    for x in (-0.11, -0.03, 0.05):
        pen.box(x - 0.032, -0.14, x + 0.032, 0.17, shade(brass, 1.08))
        pen.line([(x - 0.012, -0.11), (x - 0.012, 0.14)], 0.012, shade(brass, 1.35))
        pen.box(x - 0.038, 0.14, x + 0.038, 0.19, shade(brass, 0.85))
        pen.line([(x, -0.14), (x, -0.21)], 0.026, shade(brass, 0.7))
        pen.oval(x, -0.215, 0.034, 0.02, IVORY)


def draw_saxophone(pen, rng):
    """Draw a saxophone: black mouthpiece, bent neck, keyed body, the bow and the open bell to the right."""
    brass = metal(rng)
    wide = rng.uniform(0.9, 1.15)
    path = [(-0.2, -0.46), (-0.1, -0.54), (0.0, -0.52), (0.03, -0.42), (0.03, -0.2), (0.03, 0.1), (0.04, 0.3),
            (0.1, 0.42), (0.2, 0.45), (0.29, 0.38), (0.33, 0.24), (0.36, 0.1), (0.4, -0.02)]  # fmt: skip
    path = curve(path)
    t = np.linspace(0, 1, len(path))
    width = wide * (0.045 + 0.085 * t + 0.2 * np.clip((t - 0.8) / 0.2, 0, 1) ** 2.2)
    pen.line([(-0.3, -0.35), (-0.21, -0.45)], 0.06, BLACK)
    pen.tube(path, width, brass, 0.018)
    pen.line(path[8:-14] - [0.012, 0], 0.016, shade(brass, 1.3))
    lip = path[-1] + np.linspace(-1, 1, 12)[:, None] * np.array([0.165, 0.05]) * wide
    pen.tube(lip, 0.09 * np.sqrt(1.02 - np.linspace(-1, 1, 12) ** 2), shade(brass, 0.75), 0.016)
    pen.tube(lip * 0.99, 0.05 * np.sqrt(1.02 - np.linspace(-1, 1, 12) ** 2), shade(brass, 0.35), 0)
    pen.line([(0.105, -0.3), (0.125, 0.24)], 0.018, shade(brass, 0.6))
    for y in np.linspace(-0.32, 0.26, 7):
        pen.oval(0.035 + 0.004 * rng.normal(), y, 0.042, 0.032, pick(rng, [IVORY, shade(brass, 1.2)]))
        pen.line([(0.08, y), (0.11, y)], 0.014, shade(brass, 0.6))
    for x, y in ((0.21, 0.4), (0.31, 0.28)):
        pen.oval(x, y, 0.05, 0.05, shade(brass, 1.12))
    pen.line([(0.1, 0.05), (0.3, 0.12)], 0.016, shade(brass, 0.6))


def draw_flute(pen, rng):
    """Draw a transverse flute: long thin tube with lip plate, joint rings and a row of keys."""
    tube = shade(pick(rng, [STEEL, STEEL, (216, 220, 228), (226, 190, 110), (92, 72, 66)]), rng.uniform(0.92, 1.08))
    half = rng.uniform(0.044, 0.056)
    pen.box(-0.62, -half, 0.62, half, tube, 0.016)
    pen.box(-0.61, -half * 0.65, 0.61, -half * 0.2, shade(tube, 1.25), 0)
    pen.box(-0.61, half * 0.45, 0.61, half * 0.9, shade(tube, 0.72), 0)
    pen.box(-0.645, -half * 1.15, -0.6, half * 1.15, shade(tube, 0.7))
    for x in (-0.27, 0.43):
        pen.box(x, -half * 1.25, x + 0.045, half * 1.25, shade(tube, 0.8))
    pen.oval(-0.42, -half * 0.3, 0.08, half * 1.7, shade(tube, 1.1))
    pen.oval(-0.42, -half * 0.4, 0.028, half * 0.7, BLACK, 0)
    pen.line([(-0.2, half * 1.5), (0.56, half * 1.5)], 0.018, shade(tube, 0.6))
    for x in (-0.17, -0.09, -0.01, 0.07, 0.17, 0.25, 0.33, 0.53):
        pen.oval(x, -half * 0.35, 0.034, half * 1.25, shade(tube, 1.12))
        pen.oval(x, -half * 0.35, 0.014, half * 0.55, shade(tube, 0.65), 0)


def draw_piano(pen, rng):
    """Draw an upright piano from the front: keyboard, music sheet, legs and pedals."""
    wood = shade(
        pick(rng, [(38, 34, 38), (44, 30, 28), (126, 62, 38), (150, 92, 54), (226, 222, 214)]),
        rng.uniform(0.9, 1.2),
    )
    top = rng.uniform(-0.46, -0.36)
    pen.box(-0.5, top, 0.5, 0.42, wood, 0.02)
    pen.box(-0.53, top - 0.045, 0.53, top, shade(wood, 1.15), 0.016)
    for x in (-0.45, 0.02):
        pen.box(x, top + 0.05, x + 0.43, -0.06, shade(wood, 1.2), 0.012)
        pen.box(x, 0.2, x + 0.43, 0.38, shade(wood, 0.85), 0.012)
    pen.fill([(-0.17, -0.3), (0.0, -0.29), (0.17, -0.3), (0.18, -0.06), (0, -0.05), (-0.18, -0.06)], WHITE)
    for y in (-0.25, -0.2, -0.15, -0.1):
        pen.line([(-0.14, y), (-0.03, y)], 0.008, (120, 120, 124))
        pen.line([(0.03, y), (0.14, y)], 0.008, (120, 120, 124))
    pen.box(-0.55, -0.03, 0.55, 0.2, shade(wood, 0.8), 0.02)
    keys = pick(rng, [14, 16, 18])
    edges = np.linspace(-0.49, 0.49, keys + 1)
    pen.box(-0.49, -0.01, 0.49, 0.155, WHITE, 0)
    for k, x in enumerate(edges):
        pen.line([(x, -0.01), (x, 0.155)], 0.006, (130, 126, 126))
        if k % 7 not in (0, 3) and 0 < k < keys:
            pen.box(x - 0.017, -0.012, x + 0.017, 0.085, BLACK, 0)
    for x in (-0.52, 0.46):
        pen.box(x, 0.2, x + 0.06, 0.46, shade(wood, 0.95), 0.012)
    for x in (-0.07, 0, 0.07):
        pen.line([(x, 0.39), (x, 0.44)], 0.028, BRASS)


def draw_accordion(pen, rng):
    """Draw an accordion: piano keys on the left, zigzag bellows, bass buttons on the right."""
    red, blue, green = hsv(rng.uniform(-0.03, 0.02), 0.85, 0.75), hsv(0.6, 0.7, 0.6), hsv(0.42, 0.7, 0.45)
    case = pick(rng, [red, blue, green, (40, 36, 42), hsv(rng.random(), 0.6, 0.8)])
    cloth = pick(rng, [IVORY, BLACK, (150, 30, 36), case])
    half, gap, folds = rng.uniform(0.3, 0.36), rng.uniform(0.2, 0.26), pick(rng, [7, 8, 9])
    xs = np.linspace(-gap + 0.02, gap, folds + 1)
    for k in range(folds):  # each fold is a ridge: two strips, one lit and one in shade
        x0, x2 = xs[k], xs[k + 1]
        x1 = (x0 + x2) / 2
        low, high = half * 0.86, half * 1.0
        pen.fill([(x0, -low), (x1, -high), (x1, high), (x0, low)], shade(cloth, 1.15), 0.006)
        pen.fill([(x1, -high), (x2, -low), (x2, low), (x1, high)], shade(cloth, 0.62), 0.006)
    pen.box(-gap - 0.2, -half * 1.05, -gap + 0.02, half * 1.05, case, 0.018)
    pen.box(-gap - 0.08, -half * 0.85, -gap - 0.02, half * 0.85, shade(case, 1.35), 0.01)
    for y in np.linspace(-0.72, 0.72, 7) * half:
        pen.line([(-gap - 0.075, y), (-gap - 0.025, y)], 0.014, shade(case, 0.45))
    pen.box(-gap - 0.3, -half * 0.95, -gap - 0.12, half * 0.95, WHITE, 0.012)
    edges = np.linspace(-half * 0.95, half * 0.95, 13)
    for k, y in enumerate(edges[1:-1]):
        pen.line([(-gap - 0.3, y), (-gap - 0.12, y)], 0.007, (120, 116, 116))
        if k % 7 not in (2, 6):
            pen.box(-gap - 0.21, y - 0.012, -gap - 0.12, y + 0.012, BLACK, 0)
    pen.box(gap, -half * 1.05, gap + 0.22, half * 1.05, case, 0.018)
    for x in (0.06, 0.11, 0.16):
        for y in np.linspace(-0.8, 0.8, 8) * half:
            pen.oval(gap + x, y + (x - 0.11) * 0.2, 0.016, 0.016, IVORY, 0.006)


def draw_drum(pen, rng):
    """Draw a drum seen from above its rim: skin, coloured shell with zigzag cords, two sticks."""
    shell = hsv(rng.random(), rng.uniform(0.55, 0.85), rng.uniform(0.5, 0.85))
    hoop = pick(rng, [STEEL, shade(shell, 0.5), WOODS[1], IVORY])
    rx, ry, deep = 0.4, rng.uniform(0.11, 0.16), rng.uniform(0.3, 0.5)
    y = -deep / 2
    a = np.linspace(0, np.pi, 24)
    front = np.stack([rx * np.cos(a), y + ry * np.sin(a)], axis=1)
    pen.fill(np.concatenate([front, (front + [0, deep])[::-1]]), shell, 0.018)
    pen.fill(np.concatenate([front[16:], (front[16:] + [0, deep])[::-1]]), shade(shell, 1.2), 0)
    zig = np.array([front[k] + [0, deep * (0.9 if k // 3 % 2 else 0.12)] for k in range(0, 24, 3)] + [front[-1]])
    pen.line(zig, 0.018, pick(rng, [IVORY, STEEL]))
    for edge in (front + [0, deep], front):
        pen.line(edge, 0.055, shade(hoop, 0.6))
        pen.line(edge, 0.038, hoop)
    pen.oval(0, y, rx, ry, hoop, 0.018)
    pen.oval(0, y, rx * 0.92, ry * 0.86, pick(rng, [WHITE, IVORY, (236, 226, 206)]), 0.01)
    wood = pick(rng, [WOODS[0], WOODS[1], WOODS[4]])
    for side in (-1, 1):
        tip = np.array([side * rng.uniform(0.02, 0.12), y + rng.uniform(-0.03, 0.03)])
        end = tip + [side * rng.uniform(0.2, 0.34), -rng.uniform(0.24, 0.34)]
        pen.line([tip, end], 0.036, shade(wood, 0.55))
        pen.line([tip, end], 0.024, wood)
        pen.oval(*tip, 0.026, 0.022, wood)


def draw_cymbal(pen, rng):
    """Draw a cymbal on its stand: tilted golden disc with grooves and dome, pole, tripod."""
    gold, steel = (
        shade(pick(rng, [BRASS, (226, 190, 92), (200, 150, 60)]), rng.uniform(0.92, 1.1)),
        (128, 130, 138),
    )
    ry, tilt, y = rng.uniform(0.11, 0.17), rng.uniform(-0.3, 0.3), -0.3
    for width, colour in ((0.042, shade(steel, 0.5)), (0.026, steel)):
        pen.line([(0, y), (0, 0.44)], width, colour)
        for x in (-0.24, 0.24):
            pen.line([(0, 0.2), (x, 0.46)], width, colour)
    pen.box(-0.035, 0.02, 0.035, 0.08, shade(steel, 0.7))
    turn = np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
    a = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    ring = np.stack([np.cos(a), np.sin(a)], axis=1)
    for k, size in enumerate((1, 0.88, 0.76, 0.64, 0.52, 0.4)):
        colour = shade(gold, (1.0, 1.1, 0.92)[k % 3])
        pen.fill((ring * [0.46 * size, ry * size]) @ turn + [0, y], colour, 0.018 if k == 0 else 0.006)
    wedge = np.array([(0, 0), (0.42, 0.04), (0.43, -0.03)]) * [pick(rng, (-1, 1)), 1]
    pen.fill(wedge @ turn + [0, y], shade(gold, 1.35), 0)
    pen.fill((ring * [0.13, 0.07] + [0, -0.03]) @ turn + [0, y], shade(gold, 1.15))
    pen.line([(0, y - 0.05), (0, y - 0.14)], 0.03, shade(steel, 0.6))


def draw_bell(pen, rng):
    """Draw a bell: flared bronze body with bands, crown loop or handle, clapper."""
    bronze = shade(pick(rng, [BRASS, (196, 146, 70), (176, 122, 64), (150, 132, 84), STEEL]), rng.uniform(0.92, 1.1))
    wide = rng.uniform(0.92, 1.12)
    half = curve([(0, -0.3), (0.1, -0.295), (0.18, -0.24), (0.215, -0.1), (0.24, 0.06), (0.3, 0.2), (0.4, 0.31)])
    if rng.random() < 0.5:  # hand bell
        wood = pick(rng, WOODS)
        pen.tube([(0, -0.56), (0, -0.48), (0, -0.36), (0, -0.28)], [0.06, 0.1, 0.07, 0.06], wood, 0.016)
    else:
        a = np.linspace(0, 2 * np.pi, 24)
        pen.line(np.stack([0.08 * np.cos(a), -0.36 + 0.08 * np.sin(a)], axis=1), 0.045, shade(bronze, 0.65))
    pen.oval(0, 0.4, 0.075, 0.075, shade(bronze, 0.5))
    pen.fill(mirrored(half) * [wide, 1], bronze, 0.02)
    pen.oval(0, 0.31, 0.4 * wide, 0.055, shade(bronze, 0.8), 0.016)
    pen.oval(0, 0.315, 0.34 * wide, 0.034, shade(bronze, 0.35), 0)
    shine = curve([(-0.13, -0.2), (-0.17, -0.05), (-0.2, 0.1), (-0.27, 0.22)]) * [wide, 1]
    pen.line(shine, 0.035, shade(bronze, 1.35))
    for y, x in ((-0.14, 0.2), (0.12, 0.255), (0.17, 0.28)):
        bow = np.linspace(-1, 1, 12)
        pen.line(np.stack([bow * x * wide, y + 0.02 * (1 - bow**2)], axis=1), 0.014, shade(bronze, 0.6))


def draw_marimba(pen, rng):
    """Draw a xylophone: bars that get shorter to the right (wooden or rainbow), two rails, two mallets."""
    bars, rainbow, hue = pick(rng, [8, 9, 10, 11]), rng.random() < 0.5, rng.random()
    wood, frame = (
        shade(pick(rng, [(170, 84, 44), (196, 110, 60), (140, 62, 40)]), rng.uniform(0.9, 1.1)),
        pick(rng, WOODS),
    )
    big, small = rng.uniform(0.27, 0.32), rng.uniform(0.14, 0.18)
    half = np.linspace(big, small, bars)
    xs = np.linspace(-0.5, 0.5, bars)
    for side in (-1, 1):
        pen.line([(-0.57, side * big * 0.6), (0.57, side * small * 0.6)], 0.06, shade(frame, 0.5))
        pen.line([(-0.57, side * big * 0.6), (0.57, side * small * 0.6)], 0.04, frame)
    for k, (x, h) in enumerate(zip(xs, half, strict=True)):
        colour = hsv(hue + k / bars, 0.7, 0.88) if rainbow else shade(wood, 1 + 0.08 * (-1) ** k)
        w = 0.4 / bars
        pen.box(x - w, -h, x + w, h, colour, 0.014)
        pen.box(x - w * 0.7, -h * 0.92, x - w * 0.25, h * 0.92, shade(colour, 1.22), 0)
        for y in (-0.6 * h, 0.6 * h):
            pen.oval(x, y, 0.012, 0.012, DARK, 0)
    head = hsv(rng.random(), 0.75, 0.8)
    for x, lean in ((rng.uniform(-0.3, -0.1), -0.5), (rng.uniform(0.1, 0.3), 0.5)):
        tip = np.array([x, rng.uniform(-0.08, 0.08)])
        end = tip + np.array([lean * rng.uniform(0.2, 0.5), 0.42])
        pen.line([tip, end], 0.034, DARK)
        pen.line([tip, end], 0.022, IVORY)
        pen.oval(*tip, 0.05, 0.05, head)


# -------------------------------------------------------------------------------------------------- sounds
# voice_X(rng, rate) draws one individual instrument and returns its note(hz, seconds, force) -> samples (n,),
# floats of roughly unit size; n may run past `seconds`, as the tone dies away. force, 0..1, is how hard it is
# played; rate is in Hz.


def seconds_to_time(seconds, rate):
    """Return the sample times (n,), in seconds, of a stretch of sound."""
    return np.arange(max(int(seconds * rate), 16)) / rate


def fade(n, rate, attack, release):
    """Return an envelope (n,) that rises over attack seconds and falls over release seconds, 0..1."""
    rise = np.minimum(np.arange(n) / (attack * rate), 1)
    fall = np.minimum(np.arange(n, 0, -1) / (release * rate), 1)
    return np.sin(rise * np.pi / 2) * np.sin(fall * np.pi / 2)


def ring(hz, gains, decays, seconds, rate):
    """Return the sum of damped sines (n,): frequencies hz, gains and 60 dB decay times (seconds), each (k,).

    Partials above 45% of the sample rate are left out.
    """
    n, block = max(int(seconds * rate), 16), 256
    out = np.zeros((n // block + 1, block))
    for f, gain, decay in zip(hz, gains, decays, strict=True):
        if f < 0.45 * rate:
            turn = (2j * np.pi * f - np.log(1000) / decay) / rate
            # exp(turn * t) for every sample t is an outer product: far fewer exponentials to take.
            starts = gain * np.exp(turn * block * np.arange(len(out)))
            out += np.multiply.outer(starts, np.exp(turn * np.arange(block))).imag
    return out.ravel()[:n]


def harmonics(cycles, gains, rate, top_hz):
    """Return the sum over k of gains[k] sin(2 pi (k+1) cycles), (n,), for a phase in cycles (n,).

    Partials above 45% of the sample rate, were the tone at top_hz, are left out.
    """
    out = np.zeros_like(cycles)
    turn = np.exp(2j * np.pi * cycles)
    power = np.ones_like(turn)
    for gain in gains[: max(int(0.45 * rate / top_hz), 1)]:
        power = power * turn
        out += gain * power.imag
    return out


def vibrato(t, hz, rng, depth, speed, onset=0.15):
    """Return the phase in cycles (n,) of a tone at hz whose pitch swings by +-depth (a ratio) at speed Hz."""
    swing = depth * np.clip(t / onset, 0, 1) * np.sin(2 * np.pi * (speed * t + rng.random()))
    return np.cumsum(hz * (1 + swing)) * (t[1] - t[0])


def band(x, rate, low, high):
    """Return x with only the band low..high (Hz) left; the edges are kept below the Nyquist frequency."""
    edges = np.clip([low, high], 20, 0.48 * rate)
    return sosfilt(butter(1, edges, "bandpass", fs=rate, output="sos"), x)


def pluck(hz, seconds, rate, rng, decay, bright):
    """Return a Karplus-Strong string (n,): decay is its 60 dB time in seconds, bright is 0 (dull) .. 1."""
    blend = 0.5 * (1 - bright)
    period = max(int(rate / hz - blend), 4)
    loss = 10 ** (-3 / (decay * hz))
    wave = rng.uniform(-1, 1, period)
    wave += (1 - bright) * (np.roll(wave, 1) - wave) * 0.8
    wave -= 0.8 * np.roll(wave, max(int(period * rng.uniform(0.12, 0.3)), 1))  # where the string is plucked
    out = np.zeros(1 + period * (int(seconds * hz) + 3))
    out[1 : period + 1] = wave
    for k in range(period + 1, len(out), period):
        out[k : k + period] = loss * ((1 - blend) * out[k - period : k] + blend * out[k - period - 1 : k - 1])
    # One loop lasts period + blend samples; reading at another speed puts the string in tune.
    t = np.arange(int(seconds * rate)) * ((period + blend) * hz / rate)
    return np.interp(t, np.arange(len(out)), out)


def formants(rng, gains_at, peaks):
    """Return gains (k,) at frequencies gains_at (k,) of a body with peaks [(Hz, height, octaves wide)]."""
    out = np.full(len(gains_at), 1.0)
    for hz, height, width in peaks:
        centre = hz * rng.uniform(0.85, 1.18)
        out += height * np.exp(-0.5 * (np.log2(gains_at / centre) / width) ** 2)
    return out


def voice_violin(rng, rate):
    """Bowed string: saw-like spectrum under body resonances, vibrato, slow attack, bow noise."""
    tilt, speed, depth = rng.uniform(0.8, 1.15), rng.uniform(5, 6.8), rng.uniform(0.006, 0.012)
    attack, noise = rng.uniform(0.05, 0.11), rng.uniform(0.02, 0.05)
    k = np.arange(1, 31)

    def note(hz, seconds, force):
        t = seconds_to_time(seconds + 0.06, rate)
        gains = k**-tilt * formants(rng, k * hz, [(450, 1, 0.4), (1100, 0.8, 0.4), (2800, 2.0, 0.5)])
        tone = harmonics(vibrato(t, hz, rng, depth, speed), gains, rate, hz)
        hiss = band(rng.standard_normal(len(t)), rate, 1500, 6000) * noise * 4
        return (tone + hiss) * fade(len(t), rate, attack, 0.07)

    return note


def voice_guitar(rng, rate):
    """Plucked string, mellow and long, with the thump of the body."""
    decay, bright, body = rng.uniform(1.5, 3), rng.uniform(0.05, 0.3), rng.uniform(90, 130)
    thump = ring((body, 2.1 * body), (0.35, 0.2), (0.15, 0.1), 0.2, rate)

    def note(hz, seconds, force):
        tone = pluck(hz, seconds + 0.5, rate, rng, decay, bright + 0.1 * force)
        tone[: len(thump)] += thump[: len(tone)]
        return tone * fade(len(tone), rate, 0.002, 0.06)

    return note


def voice_banjo(rng, rate):
    """Plucked string over a drum head: bright, nasal, gone within a third of a second."""
    decay, bright, head = rng.uniform(0.3, 0.5), rng.uniform(0.7, 0.9), rng.uniform(700, 1100)

    def note(hz, seconds, force):
        tone = pluck(hz, seconds + 0.15, rate, rng, decay, bright)
        tone = 0.5 * tone + 1.5 * band(tone, rate, head, 3.5 * head)
        return tone * fade(len(tone), rate, 0.001, 0.05)

    return note


def voice_trumpet(rng, rate):
    """Brass: frequency modulation 1:1 whose index, the brightness, follows the loudness."""
    index, attack, speed = rng.uniform(3, 4.5), rng.uniform(0.025, 0.05), rng.uniform(4.5, 6)

    def note(hz, seconds, force):
        t = seconds_to_time(seconds + 0.03, rate)
        swell = fade(len(t), rate, attack, 0.05) * (0.82 + 0.18 * np.exp(-t * 8))
        cycles = vibrato(t, hz, rng, 0.003, speed, 0.3)
        bright = index * (0.6 + 0.5 * force) * swell * min(1, 900 / hz)
        tone = np.sin(2 * np.pi * cycles + bright * np.sin(2 * np.pi * cycles))
        return (tone + 1.2 * band(tone, rate, 1000, 2600)) * swell

    return note


def voice_saxophone(rng, rate):
    """Reed: strong low formant, hollow even partials, growl, plenty of breath; notes scoop up from below."""
    growl, rough, breath = rng.uniform(24, 38), rng.uniform(0.2, 0.45), rng.uniform(0.1, 0.22)
    tilt, even = rng.uniform(1.1, 1.4), rng.uniform(0.35, 0.6)
    k = np.arange(1, 25)

    def note(hz, seconds, force):
        t = seconds_to_time(seconds + 0.05, rate)
        gains = k**-tilt * np.where(k % 2, 1, even) * formants(rng, k * hz, [(550, 2.5, 0.4), (1500, 0.8, 0.3)])
        scoop = np.cumsum(-0.04 * hz * np.exp(-t * 30)) / rate
        tone = harmonics(vibrato(t, hz, rng, 0.005, 4.8, 0.3) + scoop, gains, rate, hz)
        tone *= 1 + rough * np.sin(2 * np.pi * growl * t)
        hiss = band(rng.standard_normal(len(t)), rate, 900, 3500) * breath * 4
        return (tone + hiss) * fade(len(t), rate, 0.03, 0.06)

    return note


def voice_flute(rng, rate):
    """Nearly a sine, with tremolo and breath noise around the note."""
    breath, second, speed = rng.uniform(0.06, 0.16), rng.uniform(0.08, 0.3), rng.uniform(4.5, 6)

    def note(hz, seconds, force):
        t = seconds_to_time(seconds + 0.06, rate)
        cycles = vibrato(t, hz, rng, 0.004, speed)
        tone = harmonics(cycles, np.array([1, second, second * 0.35, 0.03]), rate, hz)
        tone *= 1 + 0.2 * np.sin(2 * np.pi * speed * t)
        hiss = rng.standard_normal(len(t)) * breath
        hiss = 2.5 * band(hiss, rate, 0.8 * hz, 2.5 * hz) + 0.35 * hiss * (1 + 3 * np.exp(-t * 25))
        return (tone + hiss) * fade(len(t), rate, 0.05, 0.06)

    return note


def voice_piano(rng, rate):
    """Struck strings: slightly inharmonic partials that beat and die, upper ones first; hammer knock."""
    stiff, tilt, decay = rng.uniform(2e-4, 6e-4), rng.uniform(1.0, 1.4), rng.uniform(1.6, 3)
    k = np.arange(1, 13)

    def note(hz, seconds, force):
        length = min(seconds + 0.4, 1.2)
        t = seconds_to_time(length, rate)
        partials = k * hz * np.sqrt(1 + stiff * k**2)
        gains = k ** -(tilt + 0.4 - 0.4 * force) * rng.uniform(0.7, 1.3, len(k))
        lives = decay / (1 + 0.12 * k) * (260 / hz) ** 0.3
        tone = ring(partials, gains, lives, length, rate)
        tone += ring(partials * 1.0012, 0.6 * gains, lives * 0.7, length, rate)
        knock = band(rng.standard_normal(len(t)), rate, 200, 1500) * np.exp(-t * 90)
        return (tone + 0.6 * knock) * fade(len(t), rate, 0.002, 0.08)

    return note


def voice_accordion(rng, rate):
    """Free reeds: three detuned buzzing reeds a note, often in thirds or fifths, steady."""
    detune, tilt, chord = (
        rng.uniform(0.004, 0.009),
        rng.uniform(0.55, 0.85),
        pick(rng, [(1,), (1, 1.25), (1, 1.5)]),
    )
    shake, low = rng.uniform(1, 3), rng.random() < 0.5
    k = np.arange(1, 21)
    gains = k**-tilt * np.where(k % 2, 1, 0.7)

    def note(hz, seconds, force):
        t = seconds_to_time(seconds + 0.04, rate)
        out = np.zeros_like(t)
        for f in [hz * c for c in chord] + ([hz / 2] if low else []):
            for cents in (-detune, 0, detune):
                out += harmonics(f * (1 + cents) * t + rng.random(), gains, rate, f)
        return out * (1 + 0.1 * np.sin(2 * np.pi * shake * t)) * fade(len(t), rate, 0.025, 0.04)

    return note


def voice_drum(rng, rate):
    """Membrane: low modes whose pitch falls after the stroke, and a burst of noise."""
    snap, decay, tune = rng.uniform(0.1, 0.4), rng.uniform(0.3, 0.55), rng.uniform(0.9, 1.1)
    modes = np.array([1, 1.59, 2.14, 2.3, 2.65, 2.92])

    def note(hz, seconds, force):
        t = seconds_to_time(0.45, rate)
        bent = t + 0.02 * (1 - np.exp(-t * 30))  # early time runs faster: the pitch falls
        out = np.zeros_like(t)
        for m, gain in zip(modes, (1, 0.6, 0.4, 0.3, 0.25, 0.2), strict=True):
            out += gain * np.exp(-6.9 / decay * m**0.6 * t) * np.sin(2 * np.pi * hz * tune * m * bent)
        hit = rng.standard_normal(len(t)) * np.exp(-t * 35)
        return (out + snap * (0.3 + force) * hit) * fade(len(t), rate, 0.001, 0.05)

    return note


def voice_cymbal(rng, rate):
    """Metal plate: noise and dozens of unrelated high partials, a long wash after each stroke."""
    t = seconds_to_time(1.6, rate)
    count, low, decay = 36, rng.uniform(400, 900), rng.uniform(1.2, 2.8)
    hz = low * (7500 / low) ** rng.random(count)
    plate = ring(hz, rng.uniform(-0.22, 0.22, count), decay * rng.uniform(0.5, 1, count), 1.6, rate)
    wash = band(rng.standard_normal(len(t)), rate, rng.uniform(2500, 4000), 7600) * np.exp(-t * 5 / decay)
    crash = (plate + rng.uniform(0.8, 1.8) * wash) * (1 + 1.5 * np.exp(-t * 20))

    def note(hz, seconds, force):
        return crash * fade(len(t), rate, 0.002, 0.2)

    return note


def voice_bell(rng, rate):
    """Bell: hum, prime, minor third, fifth, nominal and the clang above, ringing on over the next strokes."""
    ratios = np.array([0.5, 1, 1.19, 1.5, 2, 2.51, 2.66, 3.01, 4.16, 5.43]) * rng.uniform(0.99, 1.01, 10)
    gains = np.array([0.5, 0.7, 0.8, 0.3, 1, 0.4, 0.4, 0.5, 0.5, 0.4]) * rng.uniform(0.6, 1.4, 10)
    decays = np.array([5, 3.5, 3, 2, 2.2, 1.4, 1.2, 1, 0.7, 0.4]) * rng.uniform(0.8, 1.3)

    def note(hz, seconds, force):
        length = min(seconds + 1.0, 1.8)
        tone = ring(ratios * hz, gains, decays, length, rate)
        tone += ring(ratios * hz * 1.0025, 0.5 * gains, decays, length, rate)  # two modes a partial: they beat
        return tone * fade(len(tone), rate, 0.001, 0.3)

    return note


def voice_marimba(rng, rate):
    """Struck bar: modes 1 : 4 : 9.2, dry and short, with the tap of the mallet."""
    decay, second, third, tap = (
        rng.uniform(0.35, 0.7),
        rng.uniform(0.2, 0.5),
        rng.uniform(0.1, 0.25),
        rng.uniform(0.3, 1),
    )
    ratios = np.array([1, 4, 9.2])

    def note(hz, seconds, force):
        t = seconds_to_time(0.6, rate)
        gains = np.array([1, second, third * (0.5 + force)])
        tone = ring(ratios * hz, gains, decay * np.array([1, 0.4, 0.2]) * (400 / hz) ** 0.3, 0.6, rate)
        knock = band(rng.standard_normal(len(t)), rate, 500, 2500) * np.exp(-t * 150)
        return (tone + tap * knock) * fade(len(t), rate, 0.001, 0.05)

    return note


class Instrument(NamedTuple):
    """One class: AudioSet name and machine id, how to draw it and to voice it, and the ranges it lives in."""

    name: str
    mid: str
    draw: Callable  # draw(pen, rng)
    voice: Callable  # voice(rng, rate) -> note(hz, seconds, force)
    register: tuple[float, float]  # lowest and highest note, Hz
    beat: tuple[float, float]  # shortest and longest note, seconds
    turn: tuple[float, float]  # rotation, degrees either way


CLASSES = [
    Instrument("Violin, fiddle", "/m/07y_7", draw_violin, voice_violin, (200, 1300), (0.2, 0.7), (0, 50)),
    Instrument("Acoustic guitar", "/m/042v_gx", draw_guitar, voice_guitar, (90, 660), (0.14, 0.4), (0, 60)),
    Instrument("Banjo", "/m/018j2", draw_banjo, voice_banjo, (150, 800), (0.09, 0.22), (0, 60)),
    Instrument("Trumpet", "/m/07gql", draw_trumpet, voice_trumpet, (170, 900), (0.12, 0.6), (0, 25)),
    Instrument("Saxophone", "/m/06ncr", draw_saxophone, voice_saxophone, (110, 620), (0.14, 0.6), (0, 20)),
    Instrument("Flute", "/m/0l14j_", draw_flute, voice_flute, (270, 1700), (0.14, 0.6), (22, 60)),
    Instrument("Piano", "/m/05r5c", draw_piano, voice_piano, (80, 1100), (0.14, 0.4), (0, 6)),
    Instrument("Accordion", "/m/0mkg", draw_accordion, voice_accordion, (150, 800), (0.2, 0.7), (0, 18)),
    Instrument("Drum", "/m/026t6", draw_drum, voice_drum, (60, 170), (0.1, 0.26), (0, 10)),
    Instrument("Cymbal", "/m/01qbl", draw_cymbal, voice_cymbal, (400, 800), (0.18, 0.6), (0, 6)),
    Instrument("Bell", "/m/0395lw", draw_bell, voice_bell, (280, 1200), (0.25, 0.7), (0, 22)),
    Instrument("Marimba, xylophone", "/m/0dwsp", draw_marimba, voice_marimba, (140, 1100), (0.1, 0.25), (0, 14)),
]
