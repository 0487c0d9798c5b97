"""Pictures of separated sounds over a video: how loud each pixel is, which pixels sound alike, spectrograms."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from scipy.signal import stft

from utils.clustering import SILENT
from utils.overlays import grid, heat

QUIETEST = 30.0  # dB under the loudest moment where the colour ends
COLOURS = ((255, 120, 30), (40, 150, 255), (60, 210, 110), (230, 70, 200), (250, 220, 60), (130, 110, 250))
OPACITY = 0.55
BELOW = 70.0  # dB under the loudest that spectrograms show


def loudness(energies):
    """Energies (M, h, w) as colours show them: float32 in 0..1, 1 the loudest pixel of all.

    Within a moment it is the share of what the moment's loudest pixel has: a wall is given a few dB less than who plays
    before it, which decibels would hardly show. Between moments it is decibels, so that what is played softly is still
    seen: a moment's loudest pixel has 1 where that is the loudest of all, and 0 at QUIETEST dB under it.
    """
    tops = np.maximum(energies.max((1, 2), keepdims=True), 1e-20)
    level = np.clip(1 + 10 / QUIETEST * np.log10(tops / tops.max()), 0, 1)
    return (energies / tops * level).astype(np.float32)


def enlarged(maps, size):
    """Maps (M, h, w) at the size (H, W) of a picture, bilinear: (M, H, W) float32."""
    return F.interpolate(torch.from_numpy(maps)[:, None].float(), size=size, mode="bilinear")[:, 0].numpy()


def energy_picture(frame, loud):
    """How loud each place is over its frame: (H, W, 3) uint8, (h, w) of `loudness` -> (H, W, 3) uint8."""
    return heat(frame, enlarged(loud[None], frame.shape[:2])[0])


def cluster_picture(frame, labels):
    """Groups of pixels over their frame in COLOURS, silent ones as they are: (H, W, 3), (h, w) -> (H, W, 3) uint8."""
    names = np.arange(SILENT, max(int(labels.max()), 0) + 1)
    shares = enlarged((labels[None] == names[:, None, None]).astype(np.float32), frame.shape[:2])
    smooth = shares.argmax(0)  # (H, W): round edges in the place of the net's squares
    palette = np.array([colour(name) for name in names], np.float32)
    weight = np.where(names[smooth] == SILENT, 0.0, OPACITY)[..., None]
    return ((1 - weight) * frame + weight * palette[smooth]).round().astype(np.uint8)


def colour(name):
    """The RGB colour of a group."""
    return (255, 255, 255) if name == SILENT else COLOURS[name % len(COLOURS)]


def with_places(picture, places, names):
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
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), colour(name), "white", max(1, radius // 5))
        pen.text((x, y), str(k + 1), "black", font, anchor="mm")
    return np.asarray(image)


def film(frames, per_look, draw):
    """Yield a film's pictures: frames at `per_look` times the rate of the looks.

    Args:
        frames: iterable of (H, W, 3) uint8. draw: callable (frame, look) -> picture; a look is its number, a float
            between two of them.
    """
    for k, frame in enumerate(frames):
        yield draw(frame, k / per_look)


def between(maps, look):
    """Maps (M, h, w) at a look between two, linearly: (h, w)."""
    first = min(int(look), len(maps) - 1)
    share, second = look - int(look), min(first + 1, len(maps) - 1)
    return (1 - share) * maps[first] + share * maps[second]


def overview(path, frames, looks, loud, labels, mark, names):
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
    grid(rows, path, left=["sources", "sound energy", "what sounds alike"], top=names)


def spectrograms(path, mixture, sounds, names, rate):
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
        image = axis.pcolormesh(*edges, level, cmap="magma", vmin=top - BELOW, vmax=top, rasterized=True)
        axis.set_yscale("symlog", linthresh=500)
        axis.set_yticks([0, 250, 500, 1000, 2000, 4000], ["0", "250", "500", "1k", "2k", "4k"])
        axis.set_ylim(0, rate / 2)
        axis.set_ylabel("Hz")
        axis.set_title(name, loc="left", fontsize=9)
    axes[-1].set_xlabel("seconds")
    figure.colorbar(image, ax=axes, label="dB")
    figure.savefig(path, dpi=110)
    plt.close(figure)
