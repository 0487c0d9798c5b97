"""What the page does with a video: localize sounding objects, separate its sounds, play the sound of a pixel."""

import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from dataset.reading.clip_reader import ClipReader
from evaluation.measures.clustering import MIN_ENERGY, loudest_locations
from evaluation.pixel_separator import PixelSeparator
from evaluation.report.heatmaps import enlarge_maps, overlay_heatmap, write_video
from evaluation.report.separation_output import (
    VIDEO_SAMPLE_RATE,
    SeparatedVideo,
    SoundRates,
    shown_frames,
    sound_files,
    write_sounds,
    write_videos,
)
from evaluation.report.source_figures import cluster_color, interpolate_maps
from evaluation.trained_net import TrainedNet
from utils.errors import UserError
from utils.files import save_image
from utils.progress_bar import Progress

VideoTask = Literal["where", "apart", "pixel"]
Result = dict[str, Any]  # plain data for JSON

MOMENTS_PER_SECOND = 8  # at which maps are computed
FILM_FPS = 2 * MOMENTS_PER_SECOND
BATCH = 16  # moments that are embedded together
MAP_SIDE = 128  # to which maps are interpolated before they are laid over a frame, pixels


def open_clip(folder: Path, seconds: float) -> ClipReader:
    """Open the clip that `collection.sandbox.Sandbox.convert` wrote.

    Args:
        folder: of the clip.
        seconds: length of the sound that belongs to a frame.
    """
    return ClipReader("clip", folder / "clip.mp4", folder / "clip.wav", seconds)


def show_where(net: TrainedNet, folder: Path, progress: Progress) -> Result:
    """Write where.mp4, the video with the map of each moment over it, and compute how sure the net is.

    Args:
        net: an AVOL-Net.
        folder: of the clip, and to write to.
        progress: shows how far it is.

    Returns:
        {"film": its file, "seconds": its length, "times": (M,) seconds, "probabilities": (M,) in 0..1, that the frame
        and the sound around it belong together}.
    """
    with open_clip(folder, net.config.data.seconds) as clip:
        times = np.arange(clip.first, clip.last + 1e-6, 1 / MOMENTS_PER_SECOND)
        maps, probabilities, mixed = _localize(net, clip, times, progress)
        shown = np.arange(0, clip.video_end, 1 / FILM_FPS)
        moments = np.clip((shown - clip.first) * MOMENTS_PER_SECOND, 0, len(maps) - 1)
        frames = zip(progress(moments, "drawing the film"), shown_frames(clip, shown), strict=True)
        images = (_draw_map(frame, interpolate_maps(maps, float(moment)), mixed) for moment, frame in frames)
        sound = clip.stream_waveform(VIDEO_SAMPLE_RATE)
        write_video(folder / "where.mp4", images, FILM_FPS, sound, VIDEO_SAMPLE_RATE)
        seconds = clip.video_end
    rounded = [[round(float(value), 4) for value in values] for values in (times, probabilities)]
    return {"film": "where.mp4", "seconds": seconds, "times": rounded[0], "probabilities": rounded[1]}


def _localize(
    net: TrainedNet, clip: ClipReader, times: np.ndarray, progress: Progress
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Maps (M, h, w) and probabilities (M,) of some moments, and whether the maps are mixed with object maps."""
    data, mixed = net.config.data, False
    maps, probabilities = [], []
    for start in progress(range(0, len(times), BATCH), "looking and listening"):
        chosen = times[start : start + BATCH].tolist()
        v, objects = net.embed_with_objects(clip.frames(chosen, data.resize_size))
        a = net.embed_sounds(np.stack([clip.sound(time, data.sample_rate) for time in chosen]))
        maps.append(net.location_maps(v, a, objects).numpy())
        probabilities.append(net.correspondence(v, a).diagonal().numpy())
        mixed = objects is not None
    return np.concatenate(maps), np.concatenate(probabilities), mixed


def _draw_map(frame: np.ndarray, values: np.ndarray, mixed: bool) -> np.ndarray:
    """Lay a map, (h, w), over its frame, (H, W, 3) uint8."""
    large = Image.fromarray(enlarge_maps(values[None], MAP_SIDE, mixed)[0])
    return overlay_heatmap(frame, np.asarray(large.resize(frame.shape[1::-1])))


def take_apart(net: TrainedNet, folder: Path, progress: Progress) -> Result:
    """Separate the sources of a video, and write their sounds, sources.zip, two films and a picture to click into.

    Args:
        net: a PixelPlayer.
        folder: of the clip, and to write to.
        progress: shows how far it is.

    Returns:
        {"picture": a file, "grid": [w, h] locations, "films": files, "mixture": a file, "all": sources.zip, "seconds":
        length of the sound, "rate": of the sounds, Hz, "sources": [{"file", "at": [x, y] in 0..1, "decibels": relative
        to the mixture, "color": RGB of its cluster}]}.

    Raises:
        UserError: no pixel is given any sound.
    """
    with open_clip(folder, net.config.data.seconds) as clip:
        separator = PixelSeparator(net, clip, progress)
        pixels = separator.analyze_pixels(net.config.mix.sources)
        locations = loudest_locations(pixels.labels, pixels.energies)
        if not locations:
            raise UserError(
                f"the net gives no pixel more than {MIN_ENERGY:.0%} of the sound: use one trained for longer"
            )
        result = SeparatedVideo(pixels, locations, list(range(len(locations))), separator.seconds)
        sounds = write_sounds(folder, locations, separator.separate(locations), _rates(separator))
        write_videos(folder, clip, result, progress)
        middle = next(shown_frames(clip, np.array([clip.video_end / 2])))
    save_image(folder / "picture.jpg", Image.fromarray(middle))
    names = sound_files(len(locations))
    with zipfile.ZipFile(folder / "sources.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.write(folder / name, name)
    height, width = pixels.energies.shape[1:]
    sources = [
        {"file": name, "color": cluster_color(cluster), **sounds[name]}
        for name, cluster in zip(names[1:], result.clusters, strict=True)
    ]
    return {
        "picture": "picture.jpg", "grid": [width, height], "films": ["energy.mp4", "clusters.mp4"],
        "mixture": names[0], "all": "sources.zip", "seconds": separator.seconds, "rate": separator.rate,
        "sources": sources,
    }  # fmt: skip


def play_pixel(net: TrainedNet, folder: Path, progress: Progress, location: tuple[float, float], name: str) -> Result:
    """Write the sound of one location of the frame.

    Args:
        net: a PixelPlayer.
        folder: of the clip, and to write to.
        progress: shows how far it is.
        location: (x, y) in 0..1 from the top left corner.
        name: of the wav file.

    Returns:
        {"file": `name`, "decibels": relative to the mixture}.
    """
    with open_clip(folder, net.config.data.seconds) as clip, tempfile.TemporaryDirectory(dir=folder) as unfinished:
        separator = PixelSeparator(net, clip, progress)
        written = write_sounds(Path(unfinished), [location], separator.separate([location]), _rates(separator))
        (file, sound), *_ = written.items()
        (Path(unfinished) / file).replace(folder / name)
    return {"file": name, "decibels": sound["decibels"]}


def _rates(separator: PixelSeparator) -> SoundRates:
    """Sounds are written as the net separates them, and are as long as the video's."""
    return SoundRates(separator.rate, separator.rate, separator.samples)


TASKS: dict[VideoTask, Callable[..., Result]] = {"where": show_where, "apart": take_apart, "pixel": play_pixel}


def run_task(net: TrainedNet, task: VideoTask, folder: Path, progress: Progress, options: dict[str, Any]) -> Result:
    """Run a task on a clip.

    Args:
        net: that the task needs.
        task: what to do.
        folder: of the clip, and to write to.
        progress: shows how far it is.
        options: further arguments of the task.
    """
    with torch.inference_mode():
        return TASKS[task](net, folder, progress, **options)
