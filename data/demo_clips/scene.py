"""Scenes of the demo: which instruments a clip shows, where, how they and the camera move, and their boxes."""

import string
from typing import NamedTuple

import numpy as np

from data.demo_clips.classes import CLASSES
from data.demo_clips.pen import Pen, Shape, pick

SECONDS, FPS = 2, 25
FRAME_TIMES = np.arange(SECONDS * FPS) / FPS
BOX_TIMES = FRAME_TIMES[::5]
MAX_OVERLAP = 0.15  # of two boxes in a duet, as a fraction of the smaller one's area
DUET_SIDES = (0.52, 0.6)  # geometric mean of the sides of a box in a duet, as fractions of the frame's
LONGEST_OF_DUET = 0.85  # side of a box in a duet, as a fraction of the frame's
ID_LETTERS = string.ascii_letters + string.digits + "-_"


class Wave(NamedTuple):
    """A sinusoidal motion around 0.

    Attributes:
        size: amplitude, of any unit and shape.
        hz: frequency, Hz.
        phase: radians.
    """

    size: np.ndarray
    hz: float
    phase: float

    def at(self, times: np.ndarray) -> np.ndarray:
        """Compute the displacements (n, *size.shape) at times (n,), seconds."""
        return np.multiply.outer(np.sin(2 * np.pi * self.hz * times + self.phase), self.size)


STILL = Wave(np.zeros(2), 0, 0)


class SceneObject(NamedTuple):
    """One instrument of a scene.

    Attributes:
        label: index of its class in `CLASSES`.
        shapes: its drawing, in units of its own.
        hull: (n, 2), points whose bounding box, under any rotation, is that of the drawing.
        scale: pixels for each unit.
        center: (2,), where it is at rest, pixels.
        angle: its rotation at rest, radians.
        sway: motion of its center, pixels.
        swing: motion of its angle, radians.
    """

    label: int
    shapes: list[Shape]
    hull: np.ndarray
    scale: float
    center: np.ndarray
    angle: float
    sway: Wave
    swing: Wave

    def pose(self, times: np.ndarray, camera: Wave) -> tuple[np.ndarray, np.ndarray]:
        """Compute its centers (n, 2), pixels, and angles (n,), radians, at times (n,), seconds, for a camera motion."""
        return self.center + self.sway.at(times) + camera.at(times), self.angle + self.swing.at(times)

    def boxes(self, times: np.ndarray, camera: Wave, size: np.ndarray) -> np.ndarray:
        """Compute its bounding boxes in the frames.

        Args:
            times: (n,), seconds.
            camera: motion of the camera, pixels.
            size: (2,), width and height of the frames, pixels.

        Returns:
            (n, 4), x0 y0 x1 y1 as fractions of the frame's size.
        """
        center, angle = self.pose(times, camera)
        c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
        x, y = self.scale * self.hull.T
        x, y = x * c - y * s + center[:, :1], x * s + y * c + center[:, 1:]
        return np.stack([x.min(1), y.min(1), x.max(1), y.max(1)], axis=1) / np.tile(size, 2)


class Scene(NamedTuple):
    """What a clip shows.

    Attributes:
        id: the clip's id.
        size: (2,), width and height of the frames, pixels.
        camera: motion of the camera, pixels.
        objects: its instruments; of a clip, the first one sounds; of a picture of the test sets, each.
    """

    id: str
    size: np.ndarray
    camera: Wave
    objects: list[SceneObject]


def draw_scene(rng: np.random.Generator, label: int) -> Scene:
    """Draw by `rng` a scene in which the class with index `label` sounds; a quarter also show a silent instrument."""
    clip = "".join(ID_LETTERS[k] for k in rng.integers(len(ID_LETTERS), size=11))
    size, camera = _draw_camera(rng)
    labels = [label]
    if rng.random() < 0.25:
        labels.append((label + int(rng.integers(1, len(CLASSES)))) % len(CLASSES))
    return Scene(clip, size, camera, _place_objects(rng, labels, size, camera))


def draw_sounding_scene(rng: np.random.Generator, labels: list[int], name: str) -> Scene:
    """Draw a scene in which each instrument sounds.

    Args:
        rng: random generator.
        labels: one or two indices of classes. One is as large as in a clip. Of two, each box is more than a quarter of
            the frame: with less, no map reaches a cIoU of 0.5, for which half of the frame counts as sounding.
        name: the scene's id.
    """
    size, camera = _draw_camera(rng)
    place = _place_objects if len(labels) == 1 else _place_duet
    return Scene(name, size, camera, place(rng, labels, size, camera))


def _draw_camera(rng: np.random.Generator) -> tuple[np.ndarray, Wave]:
    """Draw the frames' width and height, pixels, and the motion of the camera."""
    long = pick(rng, (176, 192, 208, 224))
    size = np.array([long, pick(rng, [n for n in (160, 176, 192) if n <= long])])
    if rng.random() < 0.12:
        size = size[::-1]
    return size, _draw_wave(rng, rng.uniform(-0.03, 0.03, 2) * size, 0.1, 0.4)


def _place_objects(rng: np.random.Generator, labels: list[int], size: np.ndarray, camera: Wave) -> list[SceneObject]:
    """Draw one or two instruments that stay inside the frame, apart from each other; half of the first off-center."""
    low, high = (0.36, 0.56) if len(labels) == 1 else (0.32, 0.46)
    off_center = rng.random() < 0.5
    objects = [_draw_object(rng, k, size, rng.uniform(low, high)) for k in labels]
    while not _fits([thing.boxes(BOX_TIMES, camera, size) for thing in objects], off_center):
        objects = [_rescale(thing, rng, size, rng.uniform(low, high)) for thing in objects]
    return objects


def _place_duet(rng: np.random.Generator, labels: list[int], size: np.ndarray, camera: Wave) -> list[SceneObject]:
    """Draw two instruments of more than a quarter of the frame each, in opposite corners; their boxes may overlap."""
    while True:
        objects = []
        corner = rng.integers(0, 2, 2)  # of the first one: 0 is left or top
        for label, at_end in zip(labels, (corner, 1 - corner), strict=True):
            thing = _rescale(_draw_object(rng, label, size, 0.5), rng, size, rng.uniform(*DUET_SIDES), LONGEST_OF_DUET)
            x0, y0, x1, y1 = thing.boxes(np.zeros(1), STILL, size)[0]
            half, free = np.array([x1 - x0, y1 - y0]) / 2, rng.uniform(0.01, 0.08, 2)
            objects.append(thing._replace(center=np.where(at_end, 1 - half - free, half + free) * size))
        if _share_frame(*(thing.boxes(BOX_TIMES, camera, size) for thing in objects)):
            return objects


def box_list(scene: Scene) -> list[dict]:
    """List the annotated boxes of a scene: the clip's entry in boxes.json."""
    entries = []
    tracks = [thing.boxes(BOX_TIMES, scene.camera, scene.size).clip(0, 1).round(4) for thing in scene.objects]
    for k, time in enumerate(BOX_TIMES):
        for thing, track in zip(scene.objects, tracks, strict=True):
            entry = {"time": round(float(time), 3), "box": track[k].tolist()}
            entries.append(entry | {"label": CLASSES[thing.label].mid, "sounding": thing is scene.objects[0]})
    return entries


def _draw_wave(rng: np.random.Generator, size: np.ndarray | float, low: float, high: float) -> Wave:
    """Draw a wave of this amplitude with a frequency between low and high, Hz."""
    return Wave(np.asarray(size), rng.uniform(low, high), rng.uniform(0, 2 * np.pi))


def _draw_object(rng: np.random.Generator, label: int, size: np.ndarray, box_side: float) -> SceneObject:
    """Draw an instrument at a random center of a frame.

    Args:
        rng: random generator.
        label: index of its class.
        size: (2,), width and height of the frame, pixels.
        box_side: geometric mean of the sides of its box, as fractions of the frame's.
    """
    pen = Pen()
    CLASSES[label].draw(pen, rng)
    flip = np.array([pick(rng, (-1, 1)), 1])
    hull = pen.hull() * flip
    middle = (hull.min(0) + hull.max(0)) / 2
    shapes = [shape._replace(points=shape.points * flip - middle) for shape in pen.shapes]
    angle = np.radians(rng.uniform(*CLASSES[label].turn)) * pick(rng, (-1, 1))
    sway = _draw_wave(rng, rng.uniform(0, 0.025, 2) * size, 0.2, 1)
    swing = _draw_wave(rng, rng.uniform(0.01, 0.08), 0.3, 1.2)
    thing = SceneObject(label, shapes, hull - middle, 1.0, np.zeros(2), angle, sway, swing)
    return _rescale(thing, rng, size, box_side)


def _rescale(
    thing: SceneObject, rng: np.random.Generator, size: np.ndarray, box_side: float, longest: float = 0.64
) -> SceneObject:
    """Give an instrument another size, as of `_draw_object`, and another random center.

    No side of its box is longer than `longest`, as a fraction of the frame's.
    """
    x0, y0, x1, y1 = thing._replace(scale=1.0, center=np.zeros(2)).boxes(np.zeros(1), STILL, size)[0]
    w, h = x1 - x0, y1 - y0
    scale = min(box_side / np.sqrt(w * h), longest / max(w, h))
    center = rng.uniform(scale * np.array([w, h]) / 2, 1 - scale * np.array([w, h]) / 2) * size
    return thing._replace(scale=scale, center=center)


def _fits(boxes: list[np.ndarray], off_center: bool) -> bool:
    """Check that the boxes of one or two instruments, each (n, 4), stay inside the frame and don't overlap.

    With `off_center`, the first one must also leave out the center of the frame at all times.
    """
    swept = [np.concatenate([b[:, :2].min(0), b[:, 2:].max(0)]) for b in boxes]
    inside = all(b.min() > 0.005 and b.max() < 0.995 for b in swept)
    a, b = swept[0], swept[-1]
    disjoint = len(swept) < 2 or bool(np.any(a[2:] + 0.01 < b[:2]) or np.any(b[2:] + 0.01 < a[:2]))
    return inside and disjoint and not (off_center and np.all(a[:2] < 0.5) and np.all(a[2:] > 0.5))


def _share_frame(first: np.ndarray, second: np.ndarray) -> bool:
    """Check that boxes (n, 4) of two instruments stay inside the frame, are large, and overlap little."""
    inside = min(first.min(), second.min()) > 0.005 and max(first.max(), second.max()) < 0.995
    overlap = np.minimum(first, second)[:, 2:] - np.maximum(first, second)[:, :2]
    smaller = np.minimum(*((box[:, 2:] - box[:, :2]).prod(1) for box in (first, second)))
    return bool(inside and smaller.min() > 0.25 and np.all(overlap.clip(0).prod(1) < MAX_OVERLAP * smaller))
