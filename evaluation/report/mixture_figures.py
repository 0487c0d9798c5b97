"""Pictures of separated mixtures: spectrograms, masks, and how loud each place of each frame is."""

import numpy as np
from matplotlib import colormaps
from PIL import Image

from evaluation.report.heatmaps import upscale_small
from evaluation.report.source_figures import energy_picture, relative_loudness

RANGE = 4.0  # of log magnitude over the median that spectrograms show, and half as much below
ZOOM = 2  # pixels of a picture for each row and column


def write_mixture_images(folder, found, frames, energies):
    """Write spectrogram.png, spectrogram_K.png, true_spectrogram_K.png, mask_K.png, true_mask_K.png, frame_K.png.

    Args:
        folder: Path. found: dict of one mixture's arrays: spectrogram (1, rows, columns) log magnitude, logits and
            targets (N, rows, columns). frames: N of (S, S, 3) or (T, S, S, 3) uint8. energies: N of (h, w).
    """
    mixture, masks = found["spectrogram"][0], 1 / (1 + np.exp(-found["logits"]))
    level = np.median(mixture)

    def save(name, values, colours):
        rows = (
            (colormaps[colours](np.clip(values, 0, 1))[::-1, :, :3] * 255).round().astype(np.uint8)
        )  # low at the foot
        picture = Image.fromarray(rows)
        picture.resize((picture.width * ZOOM, picture.height * ZOOM), Image.Resampling.NEAREST).save(folder / name)

    def spectrogram(name, mask):
        shown = mixture + np.log(np.maximum(mask, 1e-3))
        save(name, (shown - level + RANGE / 2) / (1.5 * RANGE), "magma")

    spectrogram("spectrogram.png", np.ones_like(mixture))
    for k, (mask, target) in enumerate(zip(masks, found["targets"], strict=True), 1):
        spectrogram(f"spectrogram_{k}.png", mask)
        spectrogram(f"true_spectrogram_{k}.png", target)
        save(f"mask_{k}.png", mask, "gray")
        save(f"true_mask_{k}.png", target, "gray")
    louds = relative_loudness(np.stack(energies))  # one scale for all pictures of a mixture
    for k, (frame, loud) in enumerate(zip(frames, louds, strict=True), 1):
        frame = upscale_small(frame if frame.ndim == 3 else frame[len(frame) // 2])
        Image.fromarray(frame).save(folder / f"frame_{k}.png")
        Image.fromarray(energy_picture(frame, loud)).save(folder / f"frame_energy_{k}.png")
