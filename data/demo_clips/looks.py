"""How the demo's twelve instruments look: coloured polygons and lines in the instrument's own coordinates.

y points down, the whole thing is about 1 long. Variety comes from a numpy Generator: one draw is one individual.
"""

import colorsys

import numpy as np

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
