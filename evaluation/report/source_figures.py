"""Draw the sources of a video: how loud each pixel is, which pixels sound alike, and spectrograms."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from scipy.signal.windows import hann

from evaluation.measures.clustering import SILENT_CLUSTER
from evaluation.report.heatmaps import overlay_heatmap, write_image_grid
from evaluation.report.plotting import load_matplotlib
from utils.files import atomic_write

DYNAMIC_RANGE = 30.0  # dB below the loudest moment that maps show
SPECTROGRAM_RANGE = 70.0  # dB below the largest value that spectrograms show
WINDOW, HOP = 1024, 256  # of spectrograms, samples
MAX_COLUMNS, BLOCK_COLUMNS = 1000, 2048  # of a drawn spectrogram, and of what is computed at once
CLUSTER_COLORS = ((255, 120, 30), (40, 150, 255), (60, 210, 110), (230, 70, 200), (250, 220, 60), (130, 110, 250))
CLUSTER_OPACITY = 0.55

Color = tuple[int, int, int]


def relative_loudness(energies: np.ndarray, loudest: float | None = None) -> np.ndarray:
    """Convert the energies of pixels to the values that are drawn, 1 for the loudest pixel of all moments.

    Within a moment, values are proportional to energy: a wall gets only a few dB less than the player before it, a
    difference that decibels would hide. Between moments they are in decibels, so that soft notes are visible: the
    loudest pixel of a moment has 1 in the loudest moment, and 0 in moments DYNAMIC_RANGE dB below.

    Args:
        energies: (M, h, w), of M moments.
        loudest: the largest energy of all moments, if there are more than these M.

    Returns:
        (M, h, w) float32 in 0..1.
    """
    peaks = np.maximum(energies.max((1, 2), keepdims=True), 1e-20)
    level = np.clip(1 + 10 / DYNAMIC_RANGE * np.log10(peaks / max(peaks.max(), loudest or 0.0)), 0, 1)
    return (energies / peaks * level).astype(np.float32)


def upscale_maps(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Enlarge maps by bilinear interpolation.

    Args:
        maps: (M, h, w).
        size: (H, W) of the frame.

    Returns:
        (M, H, W) float32.
    """
    return F.interpolate(torch.from_numpy(maps)[:, None].float(), size=size, mode="bilinear")[:, 0].numpy()


def interpolate_maps(maps: np.ndarray, moment: float) -> np.ndarray:
    """Interpolate between the maps of two moments, linearly.

    Args:
        maps: (M, h, w).
        moment: 0..M-1 or larger, between two moments.

    Returns:
        (h, w).
    """
    first = min(int(moment), len(maps) - 1)
    fraction, second = moment - int(moment), min(first + 1, len(maps) - 1)
    return (1 - fraction) * maps[first] + fraction * maps[second]


def draw_energy(frame: np.ndarray, loudness: np.ndarray) -> np.ndarray:
    """Draw over a frame how loud each location is.

    Args:
        frame: (H, W, 3) uint8.
        loudness: (h, w), from `relative_loudness`.

    Returns:
        (H, W, 3) uint8.
    """
    height, width = frame.shape[:2]
    return overlay_heatmap(frame, upscale_maps(loudness[None], (height, width))[0])


def draw_clusters(frame: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Color the clusters of pixels over their frame; silent pixels keep their color.

    Args:
        frame: (H, W, 3) uint8.
        labels: (h, w) int, the cluster of each location.

    Returns:
        (H, W, 3) uint8.
    """
    height, width = frame.shape[:2]
    clusters = np.arange(SILENT_CLUSTER, max(int(labels.max()), 0) + 1)
    fractions = upscale_maps((labels[None] == clusters[:, None, None]).astype(np.float32), (height, width))
    smooth = fractions.argmax(0)  # (H, W): smooth edges instead of the squares of locations
    palette = np.array([cluster_color(cluster) for cluster in clusters.tolist()], np.float32)
    weight = np.where(clusters[smooth] == SILENT_CLUSTER, 0.0, CLUSTER_OPACITY)[..., None]
    return ((1 - weight) * frame + weight * palette[smooth]).round().astype(np.uint8)


def cluster_color(cluster: int) -> Color:
    """Get the RGB color of a `cluster`: white for the silent one."""
    return (255, 255, 255) if cluster == SILENT_CLUSTER else CLUSTER_COLORS[cluster % len(CLUSTER_COLORS)]


def draw_locations(image: np.ndarray, locations: Sequence[tuple[float, float]], clusters: Sequence[int]) -> np.ndarray:
    """Mark locations by discs in the colors of their clusters, numbered from 1.

    Args:
        image: (H, W, 3) uint8.
        locations: N (x, y) in 0..1.
        clusters: their N clusters.

    Returns:
        (H, W, 3) uint8.
    """
    canvas = Image.fromarray(image)
    pen, radius = ImageDraw.Draw(canvas), max(7, round(min(canvas.size) / 30))
    font = ImageFont.load_default(1.3 * radius)
    for k, ((x, y), cluster) in enumerate(zip(locations, clusters, strict=True), 1):
        x, y = x * canvas.width, y * canvas.height
        box = (x - radius, y - radius, x + radius, y + radius)
        pen.ellipse(box, cluster_color(cluster), "white", max(1, radius // 5))
        pen.text((x, y), str(k), "black", font, anchor="mm")
    return np.asarray(canvas)


def write_overview(
    path: Path,
    frames: Sequence[np.ndarray],
    loudness: np.ndarray,
    labels: np.ndarray,
    mark: Callable[[np.ndarray], np.ndarray],
    titles: Sequence[str],
) -> None:
    """Write an image of some moments: the frame with the sources' locations, the energy, and the clusters.

    Args:
        path: of the PNG.
        frames: C of (H, W, 3) uint8.
        loudness: (C, h, w), from `relative_loudness`.
        labels: (C, h, w) int, the cluster of each location.
        mark: draws the sources' locations on a frame.
        titles: C texts above the columns.
    """
    rows = [
        [mark(frame) for frame in frames],
        [draw_energy(frame, energy) for frame, energy in zip(frames, loudness, strict=True)],
        [draw_clusters(frame, clusters) for frame, clusters in zip(frames, labels, strict=True)],
    ]
    images = [[Image.fromarray(image) for image in row] for row in rows]
    write_image_grid(images, path, left=["sources", "energy", "clusters"], top=titles)


def mean_spectrogram(path: Path) -> np.ndarray:
    """Compute the spectrogram of a wav: (513, T) float32 powers, averaged over time to MAX_COLUMNS columns at most.

    Args:
        path: of the wav, mono; it is read in blocks.
    """
    with soundfile.SoundFile(path) as wav:
        group = -(-wav.frames // (HOP * MAX_COLUMNS))  # columns that are averaged
        window, columns = hann(WINDOW, sym=False), []
        block = max(BLOCK_COLUMNS // group, 1) * group * HOP
        for start in range(0, wav.frames, block):
            lead = max(WINDOW // 2 - start, 0)
            wav.seek(start - WINDOW // 2 + lead)
            samples = wav.read(block + WINDOW - HOP - lead, "float32")
            samples = np.pad(samples, (lead, max(block + WINDOW - HOP - lead - len(samples), 0)))
            frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
            powers = np.abs(np.fft.rfft(frames * window / window.sum())) ** 2
            columns.append(powers.reshape(-1, group, powers.shape[1]).mean(1))
        return np.concatenate(columns)[: -(-wav.frames // (HOP * group))].T.astype(np.float32)


def write_spectrograms(path: Path, wavs: Sequence[Path], names: Sequence[str]) -> None:
    """Write the spectrograms of the mixture and, below it, of each source, on one color scale.

    Args:
        path: of the PNG.
        wavs: paths of the sounds, the mixture first.
        names: titles.
    """
    powers, info = [mean_spectrogram(wav) for wav in wavs], soundfile.info(wavs[0])
    top = 10 * np.log10(max(powers[0].max(), 1e-20))
    figure = load_matplotlib().figure.Figure(figsize=(9, 1.9 * len(powers)), layout="constrained")
    axes = figure.subplots(len(powers), sharex=True)
    for axis, power, name in zip(axes, powers, names, strict=True):
        level = 10 * np.log10(power + 1e-20)
        edges = np.linspace(0, info.duration, level.shape[1]), np.linspace(0, info.samplerate / 2, level.shape[0])
        image = axis.pcolormesh(*edges, level, cmap="magma", vmin=top - SPECTROGRAM_RANGE, vmax=top, rasterized=True)
        axis.set_yscale("symlog", linthresh=500)
        axis.set_yticks([0, 250, 500, 1000, 2000, 4000], ["0", "250", "500", "1k", "2k", "4k"])
        axis.set_ylim(0, info.samplerate / 2)
        axis.set_ylabel("Hz")
        axis.set_title(name, loc="left", fontsize=9)
    axes[-1].set_xlabel("seconds")
    figure.colorbar(image, ax=axes, label="dB")
    figure.savefig(content := io.BytesIO(), dpi=110, format="png")  # as `save_image` does
    with atomic_write(path) as file:
        file.write(content.getvalue())
