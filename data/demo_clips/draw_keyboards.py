"""Draw the demo's keyboard instruments with a `Pen`; a random generator makes every one different."""

import numpy as np

from data.demo_clips.pen import BLACK, BRASS, IVORY, WHITE, Pen, hsv, pick, shade


def draw_piano(pen: Pen, rng: np.random.Generator) -> None:
    """Draw an upright piano from the front with `pen`, varied by `rng`: keyboard, music sheet, legs, pedals."""
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


def draw_accordion(pen: Pen, rng: np.random.Generator) -> None:
    """Draw an accordion with `pen`, varied by `rng`: piano keys, zigzag bellows, bass buttons."""
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
