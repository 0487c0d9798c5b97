"""Draw localization maps over frames, as images and videos.

A map is shown as the probability of each location, on a fixed scale from 0 to 1: a map without any likely location is
dark next to one that has some. A map that is mixed with an object map is scaled to 0..1 by itself and shown as it is.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw

from dataset.reading.annotations import Box
from evaluation.measures.boxes import is_in_box, map_peaks
from evaluation.measures.map_overlap import upsample
from evaluation.report.plotting import load_matplotlib
from utils.files import atomic_path, save_image

SOUNDING_COLOR, SILENT_COLOR, PEAK_COLOR = (60, 220, 120), (235, 80, 70), (255, 255, 255)
OPACITY = 0.7
GAP = 4  # between images of a grid, pixels
MIN_SIDE = 224  # of an image, pixels: smaller frames are enlarged


def map_probabilities(logits: np.ndarray, size: int) -> np.ndarray:
    """Enlarge maps and convert them to probabilities: interpolate first, then take the sigmoid.

    Args:
        logits: (N, h, w).
        size: side of the result, pixels.

    Returns:
        (N, size, size) float32 in 0..1.
    """
    return 1 / (1 + np.exp(-np.clip(upsample(logits, size), -30, 30)))


def enlarge_maps(maps: np.ndarray, size: int, mixed: bool = False) -> np.ndarray:
    """Enlarge maps to what is shown of them.

    Args:
        maps: (N, h, w), of `models.object_maps.location_maps`.
        size: side of the result, pixels.
        mixed: they are mixed with object maps, and in 0..1; else they are logits.

    Returns:
        (N, size, size) float32 in 0..1.
    """
    return upsample(maps, size) if mixed else map_probabilities(maps, size)


def upscale_small(frame: np.ndarray) -> np.ndarray:
    """Enlarge a small `frame`, (S, S, 3) uint8, to MIN_SIDE pixels, so that boxes and captions are readable."""
    if len(frame) >= MIN_SIDE:
        return frame
    return np.asarray(Image.fromarray(frame).resize((MIN_SIDE, MIN_SIDE), Image.Resampling.BICUBIC))


def colorize(values: np.ndarray, colormap: str) -> np.ndarray:
    """Color an image.

    Args:
        values: (H, W) float; below 0 and above 1 they have the colors of 0 and 1.
        colormap: name of a matplotlib colormap.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    colors = _color_table(colormap)
    return colors[np.minimum((np.clip(values, 0, 1) * len(colors)).astype(int), len(colors) - 1)]


@lru_cache
def _color_table(colormap: str) -> np.ndarray:
    """The (N, 3) uint8 colors of a matplotlib colormap; it would itself take ten times as long to color a film."""
    colors = load_matplotlib().colormaps[colormap]
    return (colors(np.arange(colors.N))[:, :3] * 255).round().astype(np.uint8)


def heatmap_rgba(values: np.ndarray) -> np.ndarray:
    """Color a map: `values` (h, w) float in 0..1 -> (h, w, 4) uint8 RGBA, transparent at 0, bright at 1."""
    color = colorize(0.45 + 0.55 * values, "inferno")
    alpha = (values.astype(np.float64) * 255).round().astype(np.uint8)
    return np.dstack([color, alpha])


def overlay_heatmap(frame: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Lay a map over its frame.

    Args:
        frame: (H, W, 3) uint8.
        values: (H, W) float in 0..1; where it is 0, the frame is unchanged.

    Returns:
        (H, W, 3) uint8.
    """
    color = heatmap_rgba(values).astype(np.float32)
    weight = OPACITY / 255 * color[..., 3:]
    return ((1 - weight) * frame + weight * color[..., :3]).round().astype(np.uint8)


def draw_boxes(frame: np.ndarray, boxes: Iterable[Box], peak: Sequence[float] | None = None) -> Image.Image:
    """Draw boxes (green: sounding, red: silent) and a map's peak (white cross).

    Args:
        frame: (S, S, 3) uint8.
        boxes: the annotated objects.
        peak: (x, y) in 0..1, or None.

    Returns:
        An RGB image.
    """
    image = Image.fromarray(frame)
    pen, size = ImageDraw.Draw(image), np.array(image.size * 2)
    for box in boxes:
        corners = (np.array(box["box"]) * size).tolist()
        pen.rectangle(corners, outline=SOUNDING_COLOR if box["sounding"] else SILENT_COLOR, width=2)
    if peak is not None:
        x, y = np.array(peak) * image.size
        for line in ((x - 5, y, x + 5, y), (x, y - 5, x, y + 5)):
            pen.line(line, fill=(0, 0, 0), width=4)
            pen.line(line, fill=PEAK_COLOR, width=2)
    return image


def write_image_grid(
    rows: Sequence[Sequence[Image.Image]],
    path: Path,
    captions: Sequence[Sequence[str]] | None = None,
    left: Sequence[str] | None = None,
    top: Sequence[str] | None = None,
) -> None:
    """Write rows of images as one image.

    Args:
        rows: RGB images of the same size.
        path: of the PNG or JPEG.
        captions: text under each image, or None.
        left: text to the left of each row, or None.
        top: text above each column, or None.
    """
    width, height = rows[0][0].size
    below = 14 if captions else 0
    x0, y0 = (110 if left else 0), (18 if top else 0)
    columns = max(map(len, rows))
    grid = Image.new("RGB", (x0 + columns * (width + GAP), y0 + len(rows) * (height + below + GAP)), "white")
    pen = ImageDraw.Draw(grid)
    for r, row in enumerate(rows):
        y = y0 + r * (height + below + GAP)
        if left:
            pen.text((2, y + height // 2 - 6), left[r][:17], fill="black")
        for c, image in enumerate(row):
            x = x0 + c * (width + GAP)
            grid.paste(image, (x, y))
            if captions:
                pen.text((x + 2, y + height), captions[r][c][: width // 6], fill="black")
    for c, text in enumerate(top or ()):
        pen.text((x0 + c * (width + GAP) + 2, 3), text[: width // 6], fill="black")
    save_image(path, grid)


def write_localization_images(
    folder: Path,
    maps: np.ndarray,
    boxes: Sequence[list[Box]],
    ids: Sequence[str],
    names: Sequence[str],
    load_frame: Callable[[int], np.ndarray],
    mixed: bool = False,
) -> None:
    """Write FOLDER/ID.jpg of each clip: its frame with boxes, and the map over it with its peak.

    Args:
        folder: to write to.
        maps: (N, h, w).
        boxes: the annotated objects of each frame; empty lists where nothing is annotated.
        ids: N clip ids.
        names: N captions, the clips' classes.
        load_frame: maps 0..N-1 to the clip's frame, (S, S, 3) uint8.
        mixed: as for `enlarge_maps`.
    """
    folder.mkdir(exist_ok=True)
    for k, (clip, name, objects) in enumerate(zip(ids, names, boxes, strict=True)):
        frame = upscale_small(load_frame(k))
        values = enlarge_maps(maps[[k]], len(frame), mixed)[0]
        peak = map_peaks(maps[[k]])[0]
        sounding = [box["box"] for box in objects if box["sounding"]]
        verdict = ("  hit" if is_in_box(peak, sounding) else "  miss") if sounding else ""
        captions = [name, f"largest {'value' if mixed else 'probability'} {values.max():.2f}{verdict}"]
        images = [draw_boxes(frame, objects), draw_boxes(overlay_heatmap(frame, values), objects, peak)]
        write_image_grid([images], folder / f"{clip}.jpg", [captions])


def write_heatmap_video(
    path: Path, frames: np.ndarray, maps: np.ndarray, fps: int, sound: np.ndarray, rate: int, mixed: bool = False
) -> None:
    """Write a video of the frames, and next to each the map over it.

    Args:
        path: of the mp4.
        frames: (T, S, S, 3) uint8.
        maps: (T, h, w).
        fps: frames per second.
        sound: (samples,) int16 mono, as long as the frames.
        rate: of the sound, Hz.
        mixed: as for `enlarge_maps`.
    """
    large = [upscale_small(frame) for frame in frames]
    images = (
        np.concatenate([frame, overlay_heatmap(frame, values)], axis=1)
        for frame, values in zip(large, enlarge_maps(maps, len(large[0]), mixed), strict=True)
    )
    write_video(path, images, fps, sound, rate)


def write_video(
    path: Path, images: Iterable[np.ndarray], fps: int, sound: np.ndarray | Iterable[np.ndarray], rate: int
) -> None:
    """Write images and a sound as H.264 and AAC.

    Args:
        path: of the mp4; its folder is made.
        images: (H, W, 3) uint8 of the same size; an odd last row or column is left out.
        fps: images per second.
        sound: (samples,) int16 mono, as long as the images, or its parts one after the other.
        rate: of the sound, Hz.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="mp4") as out:
        video = out.add_stream("libx264", rate=fps, options={"crf": "20"})
        video.pix_fmt = "yuv420p"
        audio = out.add_stream("aac", rate=rate, layout="mono")
        sounds = _audio_blocks([sound] if isinstance(sound, np.ndarray) else sound, rate)
        time = 0.0  # until which the sound is written, seconds
        for k, image in enumerate(images):
            height, width = (side // 2 * 2 for side in image.shape[:2])
            if k == 0:
                video.width, video.height = width, height
            while time <= k / fps and (block := next(sounds, None)):  # the two side by side, as players read them
                time += block.samples / rate
                out.mux(audio.encode(block))
            even = np.ascontiguousarray(image[:height, :width])
            out.mux(video.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        out.mux(video.encode())
        for block in sounds:
            out.mux(audio.encode(block))
        out.mux(audio.encode())


def _audio_blocks(parts: Iterable[np.ndarray], rate: int) -> Iterator[av.AudioFrame]:
    """Make the parts of a sound, int16, ready for an encoder."""
    done = 0
    for part in parts:
        block = av.AudioFrame.from_ndarray(part[None], format="s16", layout="mono")
        block.sample_rate, block.pts, block.time_base = rate, done, Fraction(1, rate)
        yield block
        done += len(part)
