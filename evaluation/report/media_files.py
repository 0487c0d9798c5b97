"""Write the images and sounds of report.html: small files that every browser shows from disk."""

import re
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from PIL import Image

from dataset.reading.audio import INT16_SCALE, resample, to_int16
from evaluation.report.heatmaps import colorize, heatmap_rgba
from evaluation.report.page_content import ClipMedia
from utils.files import atomic_path, save_image

FRAME_SIDE = 224  # of an image, at most, pixels
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # Hz
MP3_BIT_RATE = 64000  # bits per second: 8 kB for a second of sound
OWN_FILES = re.compile(r"\d{4,}(_sound)?\.(jpg|mp3)|(map|cross)_\d+(_\d+)?\.png")


class ClipFiles(NamedTuple):
    """Names of a clip's files; `sound` is None for a clip without sound."""

    frame: str
    spectrogram: str
    sound: str | None


def clear_media_folder(folder: Path) -> Path:
    """Make the `folder` of a page's media, and remove the media of an earlier page, nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if OWN_FILES.fullmatch(path.name):
            path.unlink()
    return folder


def write_clip(folder: Path, k: int, media: ClipMedia) -> ClipFiles:
    """Write the files of one clip, named by its number: an id may have characters that links can't.

    Args:
        folder: to write to.
        k: number of the clip.
        media: its frame, spectrogram and sound.
    """
    files = ClipFiles(f"{k:04d}.jpg", f"{k:04d}_sound.jpg", None if media.sound is None else f"{k:04d}.mp3")
    write_frame(folder / files.frame, media.frame)
    write_spectrogram(folder / files.spectrogram, media.spectrogram)
    if media.sound is not None and files.sound:
        write_mp3(folder / files.sound, media.sound, media.rate)
    return files


def write_frame(path: Path, frame: np.ndarray) -> None:
    """Write a frame as a JPEG of at most FRAME_SIDE pixels a side.

    Args:
        path: of the JPEG.
        frame: (S, S, 3) uint8 RGB.
    """
    image = Image.fromarray(np.ascontiguousarray(frame))
    image.thumbnail((FRAME_SIDE, FRAME_SIDE), Image.Resampling.LANCZOS)
    save_image(path, image, quality=82, optimize=True)


def write_spectrogram(path: Path, spectrogram: np.ndarray) -> None:
    """Write a spectrogram as a JPEG, low frequencies at the bottom, scaled to its own range.

    Args:
        path: of the JPEG.
        spectrogram: (F, T) float, log power.
    """
    low, high = np.percentile(spectrogram, (2, 99.8))
    image = Image.fromarray(colorize((spectrogram - low) / max(high - low, 1e-6), "magma")[::-1])
    save_image(path, image.resize((FRAME_SIDE, FRAME_SIDE), Image.Resampling.BILINEAR), quality=70)


def write_mp3(path: Path, sound: np.ndarray, rate: int) -> None:
    """Write a sound as an mp3, at `rate` or the next higher rate that mp3 has.

    Args:
        path: of the mp3.
        sound: (samples,) int16 mono.
        rate: of the sound, Hz.
    """
    mp3_rate = next((known for known in MP3_RATES if known >= rate), MP3_RATES[-1])
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="mp3") as out:
        stream = out.add_stream("libmp3lame", rate=mp3_rate, layout="mono")
        stream.bit_rate = MP3_BIT_RATE
        samples = to_int16(resample(sound.astype(np.float32) / INT16_SCALE, rate, mp3_rate))
        track = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        track.sample_rate, track.pts = mp3_rate, 0
        out.mux(stream.encode(track))
        out.mux(stream.encode())


def write_map(path: Path, probabilities: np.ndarray) -> None:
    """Write a map as a PNG that lies over its frame: transparent where the probability is 0.

    Args:
        path: of the PNG.
        probabilities: (h, w) float in 0..1.
    """
    image = Image.fromarray(heatmap_rgba(probabilities), "RGBA")
    # 64 colors are enough for a smooth map, and take a third of the bytes.
    save_image(path, image.quantize(64, Image.Quantize.FASTOCTREE), optimize=True)
