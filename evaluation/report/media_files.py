"""The pictures and sounds of the report page: small files that every browser shows from disk."""

import re
from pathlib import Path

import av
import numpy as np
from matplotlib import colormaps
from PIL import Image

from evaluation.report.heatmaps import heatmap_rgba

FRAME_SIDE = 224  # of a frame's picture, at most, pixels
MAP_SIDE = 96  # of a map's picture: the browser enlarges it smoothly
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # Hz
MP3_BIT_RATE = 64000  # of the mp3, a second: 8 kB for a second of sound
OWN_FILES = re.compile(r"\d{4,}(_sound)?\.(jpg|mp3)|(map|cross)_\d+(_\d+)?\.png")


def clear_media_folder(folder):
    """Make the folder of a page's media, without what an earlier page left there; nothing else is touched."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if OWN_FILES.fullmatch(path.name):
            path.unlink()
    return folder


def write_clip(folder, k, frame, spectrogram, sound, rate):
    """Write the three files of one clip, named by its number: a clip's id may hold what a link can't.

    Args:
        folder: Path. k: number of the clip. frame: (S, S, 3) uint8. spectrogram: (F, T) float, log.
        sound: (samples,) int16 mono at `rate` Hz, or None for a clip without one.

    Returns:
        dict of file names: frame, spectrogram, sound (None without one).
    """
    names = {"frame": f"{k:04d}.jpg", "spectrogram": f"{k:04d}_sound.jpg", "sound": f"{k:04d}.mp3"}
    write_frame(folder / names["frame"], frame)
    write_spectrogram(folder / names["spectrogram"], spectrogram)
    if sound is None:
        return names | {"sound": None}
    write_mp3(folder / names["sound"], sound, rate)
    return names


def write_frame(path, frame):
    """Write a frame (S, S, 3) uint8 as a JPEG of at most SIDE pixels a side."""
    image = Image.fromarray(np.ascontiguousarray(frame))
    image.thumbnail((FRAME_SIDE, FRAME_SIDE), Image.Resampling.LANCZOS)
    image.save(path, quality=82, optimize=True)


def write_spectrogram(path, spectrogram):
    """Write a log spectrogram (F, T) float as a JPEG, low frequencies at the bottom, scaled to its own range."""
    low, high = np.percentile(spectrogram, (2, 99.8))
    level = np.clip((spectrogram - low) / max(high - low, 1e-6), 0, 1)[::-1]
    image = Image.fromarray((colormaps["magma"](level)[..., :3] * 255).astype(np.uint8))
    image.resize((FRAME_SIDE, FRAME_SIDE), Image.Resampling.BILINEAR).save(path, quality=70)


def write_mp3(path, sound, rate):
    """Write (samples,) int16 mono at `rate` Hz as an mp3, at the next rate that mp3 has if `rate` is none."""
    target = next((known for known in MP3_RATES if known >= rate), MP3_RATES[-1])
    with av.open(str(path), "w", format="mp3") as out:
        stream = out.add_stream("libmp3lame", rate=target, layout="mono")
        stream.bit_rate = MP3_BIT_RATE
        resampler = av.AudioResampler(format="s16p", layout="mono", rate=target)
        track = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound)[None], format="s16", layout="mono")
        track.sample_rate, track.pts = rate, 0
        for part in [*resampler.resample(track), *resampler.resample(None)]:
            out.mux(stream.encode(part))
        out.mux(stream.encode())


def write_map(path, probability):
    """Write a map (h, w) float in 0..1 as a PNG to lay over its frame: clear where it is 0, glowing where it is 1."""
    image = Image.fromarray(heatmap_rgba(probability), "RGBA")
    # Few colours: a map is smooth, and a third of the bytes shows it as well.
    image.quantize(64, Image.Quantize.FASTOCTREE).save(path, optimize=True)
