"""Draw the demo's percussion with a `Pen`; a random generator makes every one different."""

import numpy as np

from data.demo_clips.pen import BRASS, DARK, IVORY, STEEL, WHITE, WOODS, Pen, curve, hsv, mirrored, pick, shade


def draw_drum(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a drum seen from above its rim with `pen`, varied by `rng`: skin, colored shell, zigzag cords, sticks."""
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
        pen.oval(tip[0], tip[1], 0.026, 0.022, wood)


def draw_cymbal(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a cymbal on its stand with `pen`, varied by `rng`: tilted disc with grooves and dome, tripod."""
    gold, steel = (
        shade(pick(rng, [BRASS, (226, 190, 92), (200, 150, 60)]), rng.uniform(0.92, 1.1)),
        (128, 130, 138),
    )
    ry, tilt, y = rng.uniform(0.11, 0.17), rng.uniform(-0.3, 0.3), -0.3
    for width, color in ((0.042, shade(steel, 0.5)), (0.026, steel)):
        pen.line([(0, y), (0, 0.44)], width, color)
        for x in (-0.24, 0.24):
            pen.line([(0, 0.2), (x, 0.46)], width, color)
    pen.box(-0.035, 0.02, 0.035, 0.08, shade(steel, 0.7))
    turn = np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
    a = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    ring = np.stack([np.cos(a), np.sin(a)], axis=1)
    for k, size in enumerate((1, 0.88, 0.76, 0.64, 0.52, 0.4)):
        color = shade(gold, (1.0, 1.1, 0.92)[k % 3])
        pen.fill((ring * [0.46 * size, ry * size]) @ turn + [0, y], color, 0.018 if k == 0 else 0.006)
    wedge = np.array([(0, 0), (0.42, 0.04), (0.43, -0.03)]) * [pick(rng, (-1, 1)), 1]
    pen.fill(wedge @ turn + [0, y], shade(gold, 1.35), 0)
    pen.fill((ring * [0.13, 0.07] + [0, -0.03]) @ turn + [0, y], shade(gold, 1.15))
    pen.line([(0, y - 0.05), (0, y - 0.14)], 0.03, shade(steel, 0.6))


def draw_bell(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a bell with `pen`, varied by `rng`: flared bronze body with bands, crown loop or handle, clapper."""
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


def draw_marimba(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a xylophone with `pen`, varied by `rng`: bars (wood or rainbow), two rails, two mallets."""
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
        color = hsv(hue + k / bars, 0.7, 0.88) if rainbow else shade(wood, 1 + 0.08 * (-1) ** k)
        w = 0.4 / bars
        pen.box(x - w, -h, x + w, h, color, 0.014)
        pen.box(x - w * 0.7, -h * 0.92, x - w * 0.25, h * 0.92, shade(color, 1.22), 0)
        for y in (-0.6 * h, 0.6 * h):
            pen.oval(x, y, 0.012, 0.012, DARK, 0)
    head = hsv(rng.random(), 0.75, 0.8)
    for x, lean in ((rng.uniform(-0.3, -0.1), -0.5), (rng.uniform(0.1, 0.3), 0.5)):
        tip = np.array([x, rng.uniform(-0.08, 0.08)])
        end = tip + np.array([lean * rng.uniform(0.2, 0.5), 0.42])
        pen.line([tip, end], 0.034, DARK)
        pen.line([tip, end], 0.022, IVORY)
        pen.oval(tip[0], tip[1], 0.05, 0.05, head)
