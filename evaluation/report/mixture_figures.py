"""Draw a separated mixture: spectrograms, masks, and how much energy each location of each frame is given."""

from pathlib import Path

import numpy as np
from PIL import Image

from evaluation.mixture_separator import SeparatedMixture
from evaluation.report.heatmaps import colorize, upscale_small
from evaluation.report.source_figures import draw_energy, relative_loudness
from utils.files import save_image

LOG_RANGE = 4.0  # log magnitudes above the median of the mixture that spectrograms show, and half as many below
MASK_FLOOR = 1e-3  # smaller masks have the same color in spectrograms
ZOOM = 2  # pixels of an image for each frequency and time


def write_mixture_images(
    folder: Path, mixture: SeparatedMixture, frames: list[np.ndarray], energies: np.ndarray | None
) -> None:
    """Write spectrogram.png and, for sources K = 1..N, (true_)spectrogram_K, (true_)mask_K, frame_K, frame_energy_K.

    Args:
        folder: to write to.
        mixture: of N sources.
        frames: N of (S, S, 3) or (T, S, S, 3) uint8.
        energies: (N, h, w), the energy that each location is given; None if it isn't known.
    """
    log_magnitude = mixture.spectrogram[0]  # (F, T)
    floor = np.median(log_magnitude) - LOG_RANGE / 2
    masks = 1 / (1 + np.exp(-mixture.logits))
    levels = {"spectrogram": _masked_level(log_magnitude, np.ones_like(log_magnitude), floor)}
    for k, (mask, target) in enumerate(zip(masks, mixture.targets, strict=True), 1):
        levels[f"spectrogram_{k}"] = _masked_level(log_magnitude, mask, floor)
        levels[f"true_spectrogram_{k}"] = _masked_level(log_magnitude, target, floor)
        levels |= {f"mask_{k}": mask, f"true_mask_{k}": target}
    for name, values in levels.items():
        image = Image.fromarray(colorize(values, "gray" if "mask" in name else "magma")[::-1])  # low frequencies below
        size = (image.width * ZOOM, image.height * ZOOM)
        save_image(folder / f"{name}.png", image.resize(size, Image.Resampling.NEAREST))

    for k, frame in enumerate(frames, 1):
        middle = upscale_small(frame if frame.ndim == 3 else frame[len(frame) // 2])
        save_image(folder / f"frame_{k}.png", Image.fromarray(middle))
        if energies is not None:
            loud = relative_loudness(energies)[k - 1]  # on the same scale for all frames of the mixture
            save_image(folder / f"frame_energy_{k}.png", Image.fromarray(draw_energy(middle, loud)))


def _masked_level(log_magnitude: np.ndarray, mask: np.ndarray, floor: float) -> np.ndarray:
    """The spectrogram after a mask, scaled to 0..1 for the colors."""
    return (log_magnitude + np.log(np.maximum(mask, MASK_FLOOR)) - floor) / (1.5 * LOG_RANGE)
