"""Draw the demo's wind instruments with a `Pen`; a random generator makes every one different."""

import numpy as np

from data.demo_clips.pen import BLACK, IVORY, STEEL, Pen, curve, metal, pick, shade


def draw_trumpet(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a trumpet with `pen`, varied by `rng`: bell to the right, tubing loop, valves."""
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
    bell_x = np.linspace(-0.2, 0.6, 24) * long
    pen.tube(
        np.stack([bell_x, 0 * bell_x - 0.065], axis=1), thick * 1.1 + 2 * flare * np.linspace(0, 1, 24) ** 4.5, brass
    )
    pen.oval(0.6 * long, -0.065, 0.035, flare + 0.025, shade(brass, 0.8), 0.016)
    pen.oval(0.605 * long, -0.065, 0.02, flare * 0.85, shade(brass, 0.4), 0)
    pen.line([(-0.1, -0.085), (0.35 * long, -0.085)], 0.012, shade(brass, 1.35))
    for x in (-0.11, -0.03, 0.05):
        pen.box(x - 0.032, -0.14, x + 0.032, 0.17, shade(brass, 1.08))
        pen.line([(x - 0.012, -0.11), (x - 0.012, 0.14)], 0.012, shade(brass, 1.35))
        pen.box(x - 0.038, 0.14, x + 0.038, 0.19, shade(brass, 0.85))
        pen.line([(x, -0.14), (x, -0.21)], 0.026, shade(brass, 0.7))
        pen.oval(x, -0.215, 0.034, 0.02, IVORY)


def draw_saxophone(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a saxophone with `pen`, varied by `rng`: black mouthpiece, bent neck, keys, open bell."""
    brass = metal(rng)
    wide = rng.uniform(0.9, 1.15)
    path = curve(
        [(-0.2, -0.46), (-0.1, -0.54), (0.0, -0.52), (0.03, -0.42), (0.03, -0.2), (0.03, 0.1), (0.04, 0.3),
         (0.1, 0.42), (0.2, 0.45), (0.29, 0.38), (0.33, 0.24), (0.36, 0.1), (0.4, -0.02)]
    )  # fmt: skip
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


def draw_flute(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a transverse flute with `pen`, varied by `rng`: long thin tube, lip plate, joint rings, a row of keys."""
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
