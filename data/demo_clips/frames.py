"""Rendering of the demo's frames: instruments pasted onto a background, moved, and lit."""

from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from data.demo_clips.background import draw_background, draw_light
from data.demo_clips.scene import FRAME_TIMES, Scene, SceneObject

MARGIN = 12  # pixels of background beyond the frame, for the camera to drift into
SPRITE_SCALE = 1.5  # pixels of a sprite for each pixel of the frame


def render_frames(scene: Scene, rng: np.random.Generator, times: np.ndarray = FRAME_TIMES) -> Iterator[Image.Image]:
    """Render frames of a scene.

    Args:
        scene: what they show.
        rng: draws background, light and shadows.
        times: (n,), of the frames, seconds.

    Yields:
        RGB images of the scene's size.
    """
    width, height = map(int, scene.size)
    background = draw_background(rng, width + 2 * MARGIN, height + 2 * MARGIN)
    light = draw_light(rng, width, height)
    sprites = [_draw_sprite(thing, rng) for thing in scene.objects]
    poses = [thing.pose(times, scene.camera) for thing in scene.objects]
    for k, (x, y) in enumerate(MARGIN - scene.camera.at(times)):
        # Resizing a box with fractional corners shifts the image smoothly, at half the cost of a transform.
        frame = background.resize((width, height), Image.Resampling.BILINEAR, (x, y, x + width, y + height))
        for sprite, (centers, angles) in zip(sprites, poses, strict=True):
            _paste_rotated(frame, sprite, centers[k], angles[k])
        yield ImageChops.multiply(frame, light)


def render_masks(scene: Scene, times: np.ndarray) -> Iterator[list[Image.Image]]:
    """Render the pixels that are drawn of each instrument: without its shadow, and whatever covers it.

    Args:
        scene: what is shown.
        times: (n,), of the frames, seconds.

    Yields:
        For each frame an image of its size and mode "L" for each instrument: 255 where it covers half of a pixel or
        more, else 0.
    """
    sprites = []
    for thing in scene.objects:
        drawn = _draw_shapes(thing).getchannel("A")
        sprites.append(Image.merge("LA", (drawn.point(lambda _: 255), drawn)))
    width, height = map(int, scene.size)
    poses = [thing.pose(times, scene.camera) for thing in scene.objects]
    for k in range(len(times)):
        masks = []
        for sprite, (centers, angles) in zip(sprites, poses, strict=True):
            mask = Image.new("L", (width, height))
            _paste_rotated(mask, sprite, centers[k], angles[k])
            masks.append(mask.point(lambda covered: 255 if covered >= 128 else 0))
        yield masks


def _draw_sprite(thing: SceneObject, rng: np.random.Generator) -> Image.Image:
    """Draw an instrument upright, with a soft shadow, as an RGBA image enlarged by `SPRITE_SCALE`."""
    image = _draw_shapes(thing)
    depth = ImageChops.offset(image.getchannel("A").point(lambda a: a * 0.4), int(rng.integers(-3, 4)), 3)
    shadow = Image.new("RGBA", image.size)
    shadow.putalpha(depth.filter(ImageFilter.GaussianBlur(2.5)))
    return Image.alpha_composite(shadow, image)


def _draw_shapes(thing: SceneObject) -> Image.Image:
    """Draw an instrument upright, without a shadow, as an RGBA image enlarged by `SPRITE_SCALE`."""
    oversampling, scale = 2, SPRITE_SCALE * thing.scale
    half = np.abs(thing.hull).max(0) * scale + 8
    w, h = (2 * np.ceil(half)).astype(int)
    image = Image.new("RGBA", (int(w) * oversampling, int(h) * oversampling))
    pen = ImageDraw.Draw(image)
    for points, color, width in thing.shapes:
        xy = ((points * scale + [w / 2, h / 2]) * oversampling).ravel().tolist()
        if width:
            pen.line(xy, fill=color, width=max(round(width * scale * oversampling), 2), joint="curve")
        else:
            pen.polygon(xy, fill=color)
    return image.reduce(oversampling)


def _paste_rotated(frame: Image.Image, sprite: Image.Image, center: np.ndarray, angle: float) -> None:
    """Paste a sprite onto a frame, its center at `center`, pixels of the frame, rotated by `angle`, radians."""
    c, s = np.cos(angle), np.sin(angle)
    # Half the width and height of the rotated sprite, pixels of the frame.
    reach = np.abs([[c, s], [s, c]]) @ sprite.size / (2 * SPRITE_SCALE) + 1
    corner = np.floor(center - reach)
    width, height = np.ceil(2 * reach).astype(int) + 1
    # The transform maps each location of the output to its location in the sprite.
    back = SPRITE_SCALE * np.array([[c, s], [-s, c]])
    shift = back @ (corner - center) + np.array(sprite.size) / 2
    matrix = (*back[0], shift[0], *back[1], shift[1])
    rotated = sprite.transform((width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    x, y = corner.astype(int).tolist()
    frame.paste(rotated, (x, y), rotated)
