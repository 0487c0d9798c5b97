"""Pictures of separated sounds over a video: how loud each pixel is, which pixels sound alike, spectrograms."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from scipy.signal import stft

from evaluation.measures.clustering import SILENT_CLUSTER
from evaluation.report.heatmaps import overlay_heatmap, write_image_grid

DYNAMIC_RANGE = 30.0  # dB under the loudest moment where the colour ends
CLUSTER_COLORS = ((255, 120, 30), (40, 150, 255), (60, 210, 110), (230, 70, 200), (250, 220, 60), (130, 110, 250))
OPACITY = 0.55
SPECTROGRAM_RANGE = 70.0  # dB under the loudest that spectrograms show


def relative_loudness(energies):
    """Energies (M, h, w) as colours show them: float32 in 0..1, 1 the loudest pixel of all.

    Within a moment it is the share of what the moment's loudest pixel has: a wall is given a few dB less than who plays
    before it, which decibels would hardly show. Between moments it is decibels, so that what is played softly is still
    seen: a moment's loudest pixel has 1 where that is the loudest of all, and 0 at QUIETEST dB under it.
    """
    tops = np.maximum(energies.max((1, 2), keepdims=True), 1e-20)
    level = np.clip(1 + 10 / DYNAMIC_RANGE * np.log10(tops / tops.max()), 0, 1)
    return (energies / tops * level).astype(np.float32)


def upscale_maps(maps, size):
    """Maps (M, h, w) at the size (H, W) of a picture, bilinear: (M, H, W) float32."""
    return F.interpolate(torch.from_numpy(maps)[:, None].float(), size=size, mode="bilinear")[:, 0].numpy()


def energy_picture(frame, loud):
    """How loud each place is over its frame: (H, W, 3) uint8, (h, w) of `loudness` -> (H, W, 3) uint8."""
    return overlay_heatmap(frame, upscale_maps(loud[None], frame.shape[:2])[0])


def cluster_picture(frame, labels):
    """Groups of pixels over their frame in COLOURS, silent ones as they are: (H, W, 3), (h, w) -> (H, W, 3) uint8."""
    names = np.arange(SILENT_CLUSTER, max(int(labels.max()), 0) + 1)
    shares = upscale_maps((labels[None] == names[:, None, None]).astype(np.float32), frame.shape[:2])
    smooth = shares.argmax(0)  # (H, W): round edges in the place of the net's squares
    palette = np.array([cluster_color(name) for name in names], np.float32)
    weight = np.where(names[smooth] == SILENT_CLUSTER, 0.0, OPACITY)[..., None]
    return ((1 - weight) * frame + weight * palette[smooth]).round().astype(np.uint8)


def cluster_color(name):
    """The RGB colour of a group."""
    return (255, 255, 255) if name == SILENT_CLUSTER else CLUSTER_COLORS[name % len(CLUSTER_COLORS)]


def draw_locations(picture, places, names):
    """Mark places by discs in their groups' colours, numbered from 1.

    Args:
        picture: (H, W, 3) uint8. places: list of N (x, y) in 0..1. names: list of the N groups.

    Returns:
        (H, W, 3) uint8.
    """
    image = Image.fromarray(picture)
    pen, radius = ImageDraw.Draw(image), max(7, round(min(image.size) / 30))
    font = ImageFont.load_default(1.3 * radius)
    for k, ((x, y), name) in enumerate(zip(places, names, strict=True)):
        x, y = x * image.width, y * image.height
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), cluster_color(name), "white", max(1, radius // 5))
        pen.text((x, y), str(k + 1), "black", font, anchor="mm")
    return np.asarray(image)


def overlay_frames(frames, per_look, draw):
    """Yield a film's pictures: frames at `per_look` times the rate of the looks.

    Args:
        frames: iterable of (H, W, 3) uint8. draw: callable (frame, look) -> picture; a look is its number, a float
            between two of them.
    """
    for k, frame in enumerate(frames):
        yield draw(frame, k / per_look)


def interpolate_maps(maps, look):
    """Maps (M, h, w) at a look between two, linearly: (h, w)."""
    first = min(int(look), len(maps) - 1)
    share, second = look - int(look), min(first + 1, len(maps) - 1)
    return (1 - share) * maps[first] + share * maps[second]


def write_overview(path, frames, looks, loud, labels, mark, names):
    """Write one picture of some moments: the frame with the sources' places, how loud each pixel is, which sound alike.

    Args:
        path: of the PNG. frames: (C, H, W, 3) uint8. looks: their C places among the looks. loud: (M, h, w).
        labels: (M, h, w). mark: callable (picture) -> it with the places. names: list of C texts, above the columns.
    """
    rows = [
        [mark(frame) for frame in frames],
        [energy_picture(frame, loud[look]) for frame, look in zip(frames, looks, strict=True)],
        [cluster_picture(frame, labels[look]) for frame, look in zip(frames, looks, strict=True)],
    ]
    rows = [[Image.fromarray(picture) for picture in row] for row in rows]
    write_image_grid(rows, path, left=["sources", "sound energy", "what sounds alike"], top=names)


def write_spectrograms(path, mixture, sounds, names, rate):
    """Write the spectrograms of the mixture and of each source below it, all on one scale of colours.

    Args:
        path: of the PNG. mixture: (samples,), sounds: (N, samples) float. names: list of N texts. rate: Hz.
    """
    powers = [np.abs(stft(one, rate, nperseg=1024, noverlap=768)[2]) ** 2 for one in (mixture, *sounds)]
    top = 10 * np.log10(max(powers[0].max(), 1e-20))
    figure, axes = plt.subplots(len(powers), sharex=True, figsize=(9, 1.9 * len(powers)), layout="constrained")
    for axis, power, name in zip(axes, powers, ["all sound", *names], strict=True):
        level = 10 * np.log10(power + 1e-20)
        edges = np.linspace(0, len(mixture) / rate, level.shape[1]), np.linspace(0, rate / 2, level.shape[0])
        image = axis.pcolormesh(*edges, level, cmap="magma", vmin=top - SPECTROGRAM_RANGE, vmax=top, rasterized=True)
        axis.set_yscale("symlog", linthresh=500)
        axis.set_yticks([0, 250, 500, 1000, 2000, 4000], ["0", "250", "500", "1k", "2k", "4k"])
        axis.set_ylim(0, rate / 2)
        axis.set_ylabel("Hz")
        axis.set_title(name, loc="left", fontsize=9)
    axes[-1].set_xlabel("seconds")
    figure.colorbar(image, ax=axes, label="dB")
    figure.savefig(path, dpi=110)
    plt.close(figure)
