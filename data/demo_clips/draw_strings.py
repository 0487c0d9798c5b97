"""Draw the demo's string instruments with a `Pen`; a random generator makes every one different."""

import numpy as np

from data.demo_clips.pen import (
    BLACK,
    BRASS,
    DARK,
    IVORY,
    STEEL,
    WHITE,
    WOODS,
    Pen,
    add_strings,
    curve,
    hsv,
    mirrored,
    pick,
    shade,
)


def draw_violin(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a violin with `pen`, varied by `rng`: f-holes, scroll, chin rest, its bow beside it."""
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
    add_strings(pen, 4, (0.015, -0.5), (0.03, 0.27))
    side, lean = pick(rng, (-1, 1)), rng.uniform(0, 0.1)
    top, end = np.array([side * (0.24 + lean), -0.5]), np.array([side * 0.33, 0.5])
    pen.line([top, end], 0.022, shade(wood, 0.6))
    pen.line([top + [side * 0.03, 0.01], end + [side * 0.035, -0.03]], 0.014, WHITE)
    pen.line([end + [side * 0.02, -0.06], end + [side * 0.02, -0.01]], 0.045, BLACK)


def draw_guitar(pen: Pen, rng: np.random.Generator) -> None:
    """Draw an acoustic guitar with `pen`, varied by `rng`: round sound hole, rosette, bridge, long fretted neck."""
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
    add_strings(pen, 6, (0.022, -0.62), (0.032, 0.335))


def draw_banjo(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a banjo with `pen`, varied by `rng`: white head, metal rim with brackets, thin neck."""
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
    add_strings(pen, 5, (0.02, -0.62), (0.028, y + r * 0.8), (120, 116, 112))
