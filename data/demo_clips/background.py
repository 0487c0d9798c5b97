"""Backgrounds and light of the demo's scenes."""

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from data.demo_clips.pen import Color, hsv, pick


def draw_background(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Draw by `rng` an RGB image of width x height pixels: a gradient, a pattern, clutter (no instruments), grain."""
    w, h = 2 * width, 2 * height  # drawn at twice the size, for smooth edges

    def color(spread: float = 0.25) -> Color:
        return hsv(hue + rng.uniform(-spread, spread), rng.uniform(0.08, 0.5), rng.uniform(0.45, 1) ** 0.7)

    hue, angle = rng.random(), rng.uniform(0, 2 * np.pi)
    side = np.linspace(-0.5, 0.5, 64)
    ramp = (np.cos(angle) * side + np.sin(angle) * side[:, None])[..., None]
    pixels = (0.5 - ramp) * np.array(color(0.1)) + (0.5 + ramp) * np.array(color(0.1))
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).resize((w, h), Image.Resampling.BILINEAR)
    pen = ImageDraw.Draw(image, "RGBA")
    pattern = pick(rng, ("plain", "stripes", "blobs", "checks", "floor", "floor"))
    ink, step = color() + (int(rng.integers(60, 200)),), int(rng.integers(24, 70))
    if pattern == "floor":
        pen.rectangle([0, h * rng.uniform(0.5, 0.8), w, h], fill=color() + (255,))
    else:
        _draw_pattern(pen, rng, pattern, (w, h), ink, step)
    for _ in range(int(rng.integers(0, 7))):
        _draw_clutter(pen, rng, w, h, color(0.5))
    image = image.reduce(2)
    noise = rng.normal(0, rng.uniform(0, 8), (height // 5, width // 5)).clip(-40, 40) + 128
    grain = Image.fromarray(noise.astype(np.uint8)).resize(image.size, Image.Resampling.BICUBIC)
    image = ImageChops.add(image, grain.convert("RGB"), 1, -128)
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 1.8)))


def _draw_pattern(
    pen: ImageDraw.ImageDraw, rng: np.random.Generator, pattern: str, size: tuple[int, int], ink: Color, step: int
) -> None:
    """Cover a canvas of `size` (width, height) pixels with stripes, blobs or checks of a period of `step` pixels."""
    w, h = size
    if pattern == "stripes":
        slant = int(rng.integers(-h, h))
        for x in range(-h, w + h, step):
            pen.line([(x, 0), (x + slant, h)], fill=ink, width=step // 3)
    elif pattern == "blobs":
        for x, y, r in rng.uniform((0, 0, 10), (w, h, 90), (12, 3)):
            pen.ellipse([x - r, y - r, x + r, y + r], fill=ink)
    elif pattern == "checks":
        for x in range(0, w, step):
            for y in range((x // step % 2) * step, h, 2 * step):
                pen.rectangle([x, y, x + step, y + step], fill=ink)


def _draw_clutter(pen: ImageDraw.ImageDraw, rng: np.random.Generator, w: int, h: int, color: Color) -> None:
    """Draw a box, a picture frame, a disc, a ring, a triangle or a stick somewhere on a canvas of w x h pixels."""
    x, y = rng.uniform(0, w), rng.uniform(0, h)
    a, b = rng.uniform(0.05, 0.16, 2) * w
    edge, thick = tuple(c // 2 for c in color), int(rng.integers(3, 14))
    kind = pick(rng, ("box", "frame", "disc", "ring", "triangle", "stick"))
    if kind == "box":
        pen.rectangle([x - a, y - b, x + a, y + b], fill=color, outline=edge, width=3)
    elif kind == "frame":
        pen.rectangle([x - a, y - b, x + a, y + b], outline=color, width=thick)
    elif kind == "disc":
        pen.ellipse([x - a, y - a, x + a, y + a], fill=color, outline=edge, width=3)
    elif kind == "ring":
        pen.ellipse([x - a, y - a, x + a, y + a], outline=color, width=thick)
    elif kind == "triangle":
        pen.polygon([(x - a, y + b), (x + a, y + b), (x, y - b)], fill=color, outline=edge)
    else:
        pen.line([(x - 2 * a, y - 2 * b + a), (x + 2 * a, y + 2 * b - a)], fill=color, width=thick)


def draw_light(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Draw by `rng` the light, an RGB image of width x height pixels to multiply frames with."""
    angle, fall = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.3)
    ramp = np.cos(angle) * np.linspace(-1, 1, width) + np.sin(angle) * np.linspace(-1, 1, height)[:, None]
    level = rng.uniform(0.85, 1.1) * (1 - fall * (0.5 + ramp / 2.83))
    light = level[..., None] * rng.uniform(0.9, 1, 3) * 255
    return Image.fromarray(light.clip(0, 255).astype(np.uint8))
