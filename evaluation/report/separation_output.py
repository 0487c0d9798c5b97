"""Write the results of separate.py: wav files, videos and images."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset.reading.audio import to_int16
from dataset.reading.clip_reader import ClipReader
from dataset.reading.wav import write_wav
from evaluation.pixel_separator import FRAMES_PER_SECOND, PixelSounds
from evaluation.report import source_figures
from evaluation.report.heatmaps import write_video

VIDEO_FPS = 3 * FRAMES_PER_SECOND
VIDEO_SAMPLE_RATE = 48000  # Hz
OVERVIEW_COLUMNS, OVERVIEW_WIDTH = 5, 300  # frames in overview.png and their largest width, pixels


@dataclass(frozen=True)
class SeparatedVideo:
    """The separated sources of a video.

    Attributes:
        pixels: what each pixel sounds like at M moments, on an h x w grid.
        labels: (M, h, w) int, the cluster of each pixel.
        locations: N (x, y) in 0..1, one for each source.
        clusters: the cluster of each source.
        sounds: (N, samples) float32 in -1..1, the sources.
        mixture: (samples,) float32 in -1..1.
        rate: of the sounds, Hz.
    """

    pixels: PixelSounds
    labels: np.ndarray
    locations: list[tuple[float, float]]
    clusters: list[int]
    sounds: np.ndarray
    mixture: np.ndarray
    rate: int

    @property
    def seconds(self) -> float:
        """The length of the sound."""
        return len(self.mixture) / self.rate

    def draw_locations(self, image: np.ndarray) -> np.ndarray:
        """Mark the sources on `image`, (H, W, 3) uint8, by numbers in the colors of their clusters."""
        return source_figures.draw_locations(image, self.locations, self.clusters)


def write_sounds(out: Path, result: SeparatedVideo) -> dict[str, dict]:
    """Write mixture.wav and source_1.wav, source_2.wav, ...

    Args:
        out: folder to write to.
        result: of one video.

    Returns:
        {file name: {"at": [x, y], "decibels": energy of the source relative to the mixture}}.
    """
    write_wav(out / "mixture.wav", to_int16(result.mixture), result.rate)
    total = float(np.square(result.mixture).sum())
    sources = {}
    for k, ((x, y), sound) in enumerate(zip(result.locations, result.sounds, strict=True), 1):
        write_wav(out / f"source_{k}.wav", to_int16(sound), result.rate)
        level = 10 * np.log10(np.square(sound).sum() / total + 1e-10)
        sources[f"source_{k}.wav"] = {"at": [x, y], "decibels": float(level)}
    return sources


def write_videos(out: Path, clip: ClipReader, result: SeparatedVideo) -> None:
    """Write energy.mp4 (how loud each pixel is) and clusters.mp4 (which pixels sound alike), with the clip's sound.

    Args:
        out: folder to write to.
        clip: the video, open.
        result: the separated sources of `clip`.
    """
    loudness, labels = source_figures.relative_loudness(result.pixels.energies), result.labels

    def energy_frame(frame: np.ndarray, moment: float) -> np.ndarray:
        return source_figures.draw_energy(frame, source_figures.interpolate_maps(loudness, moment))

    def cluster_frame(frame: np.ndarray, moment: float) -> np.ndarray:
        nearest = min(round(moment), len(labels) - 1)
        return result.draw_locations(source_figures.draw_clusters(frame, labels[nearest]))

    sound = clip.full_waveform(VIDEO_SAMPLE_RATE)
    times = np.minimum(np.arange(0, result.seconds, 1 / VIDEO_FPS), clip.video_end)
    for name, draw in (("energy", energy_frame), ("clusters", cluster_frame)):
        frames = (draw(frame, k * FRAMES_PER_SECOND / VIDEO_FPS) for k, frame in enumerate(_frames(clip, times)))
        write_video(out / f"{name}.mp4", frames, VIDEO_FPS, sound, VIDEO_SAMPLE_RATE)


def write_images(out: Path, clip: ClipReader, result: SeparatedVideo) -> None:
    """Write overview.png (frames, loudness and clusters at some moments) and spectrograms.png.

    Args:
        out: folder to write to.
        clip: the video, open.
        result: the separated sources of `clip`.
    """
    loudness = source_figures.relative_loudness(result.pixels.energies)
    spaced = np.linspace(0, len(result.labels) - 1, OVERVIEW_COLUMNS + 2)[1:-1]
    moments = np.unique(spaced.round().astype(int)).tolist()
    times = np.minimum(result.pixels.times[moments], clip.video_end)
    frames, titles = list(_frames(clip, times, OVERVIEW_WIDTH)), [f"{time:.1f} s" for time in times]
    source_figures.write_overview(
        out / "overview.png", frames, moments, loudness, result.labels, result.draw_locations, titles
    )
    names = [f"source_{k}.wav, at {x:.2f}, {y:.2f}" for k, (x, y) in enumerate(result.locations, 1)]
    source_figures.write_spectrograms(out / "spectrograms.png", result.mixture, result.sounds, names, result.rate)


def _frames(clip: ClipReader, times: np.ndarray, max_width: int = 10_000) -> Iterator[np.ndarray]:
    """Frames shown at ascending `times`, seconds: (H, W, 3) uint8, W at most `max_width`."""
    for frame in clip.decode_frames(times.tolist()):
        scale = min(max_width / frame.width, 1)
        yield frame.to_ndarray(format="rgb24", width=round(frame.width * scale), height=round(frame.height * scale))
