"""Write the results of separate.py: wav files, videos and images."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dataset.reading.clip_reader import ClipReader
from dataset.reading.sound_buffer import SoundBuffer
from dataset.reading.wav import WavWriter
from evaluation.pixel_separator import FRAMES_PER_SECOND, PixelSounds
from evaluation.report import source_figures
from evaluation.report.heatmaps import write_video
from utils.progress_bar import Progress, show_stage

VIDEO_FPS = 3 * FRAMES_PER_SECOND
VIDEO_SAMPLE_RATE = 48000  # Hz
OVERVIEW_COLUMNS, OVERVIEW_WIDTH = 5, 300  # frames in overview.png and their largest width, pixels


@dataclass(frozen=True)
class SeparatedVideo:
    """A separated video.

    Attributes:
        pixels: what each pixel sounds like at M moments, on an h x w grid, and its cluster.
        locations: N (x, y) in 0..1, one for each source.
        clusters: the cluster of each source.
        seconds: length of the sound.
    """

    pixels: PixelSounds
    locations: list[tuple[float, float]]
    clusters: list[int]
    seconds: float

    def draw_locations(self, image: np.ndarray) -> np.ndarray:
        """Mark the sources on `image`, (H, W, 3) uint8, by numbers in the colors of their clusters."""
        return source_figures.draw_locations(image, self.locations, self.clusters)

    @property
    def wavs(self) -> list[str]:
        """Names of the sound files, the mixture first."""
        return sound_files(len(self.locations))


class SoundRates(NamedTuple):
    """Sample rates, Hz, and the length of what is written.

    Attributes:
        net: at which the net separates.
        written: of the files.
        samples: of each file.
    """

    net: int
    written: int
    samples: int


def sound_files(count: int) -> list[str]:
    """Name the sound files of `count` sources, the mixture first."""
    return ["mixture.wav", *(f"source_{k}.wav" for k in range(1, count + 1))]


def write_sounds(
    out: Path, locations: Sequence[tuple[float, float]], blocks: Iterable[np.ndarray], rates: SoundRates
) -> dict[str, dict]:
    """Write mixture.wav and source_1.wav, source_2.wav, ... as they are separated.

    Args:
        out: folder to write to.
        locations: N (x, y) in 0..1, one for each source.
        blocks: (n, 1 + N) float32 each, at the rate of the net, see `PixelSeparator.separate`.
        rates: of the blocks and of the files.

    Returns:
        {file name: {"at": [x, y], "decibels": energy of the source relative to the mixture}}.
    """
    names = sound_files(len(locations))
    energies = np.zeros(len(names))
    with ExitStack() as stack:
        files = [stack.enter_context(open(out / name, "wb")) for name in names]
        writers = [WavWriter(file, rates.written) for file in files]
        for part in _at_rate(_summed(blocks, energies), rates):
            for writer, samples in zip(writers, part.T, strict=True):
                writer.write(samples[: rates.samples - writer.count])
        for writer in writers:
            writer.finish()
    levels = (10 * np.log10(energies[1:] / max(energies[0], 1e-20) + 1e-10)).tolist()
    rows = zip(names[1:], locations, levels, strict=True)
    return {name: {"at": [x, y], "decibels": level} for name, (x, y), level in rows}


def _summed(blocks: Iterable[np.ndarray], energies: np.ndarray) -> Iterator[np.ndarray]:
    """Pass blocks of samples on, and add the energy of each column to `energies`."""
    for block in blocks:
        energies += np.square(block, dtype=float).sum(0)
        yield block


def _at_rate(blocks: Iterable[np.ndarray], rates: SoundRates) -> Iterator[np.ndarray]:
    """Resample blocks to the rate of the files: (samples, 1 + N) int16."""
    buffer, done = SoundBuffer("the separated sound"), 0
    for block in blocks:
        buffer.add(done / rates.net, block, rates.net)
        done += len(block)
        yield from buffer.take_seconds(rates.net, rates.written)
    yield from buffer.take_seconds(rates.net, rates.written, is_last=True)


def write_videos(out: Path, clip: ClipReader, result: SeparatedVideo, progress: Progress = show_stage) -> None:
    """Write energy.mp4 (how loud each pixel is) and clusters.mp4 (which pixels sound alike), with the clip's sound.

    Args:
        out: folder to write to.
        clip: the video, open.
        result: the separated sources of `clip`.
        progress: shows how far it is.
    """
    energies, labels = result.pixels.energies, result.pixels.labels
    loudest = energies.max()

    def energy_frame(frame: np.ndarray, moment: float) -> np.ndarray:
        first = min(int(moment), len(energies) - 1)
        loudness = source_figures.relative_loudness(energies[first : first + 2], loudest)
        return source_figures.draw_energy(frame, source_figures.interpolate_maps(loudness, moment - first))

    def cluster_frame(frame: np.ndarray, moment: float) -> np.ndarray:
        nearest = min(round(moment), len(labels) - 1)
        return result.draw_locations(source_figures.draw_clusters(frame, labels[nearest]))

    # As long as the frames; the sound may be longer, then players show the last one.
    times = np.arange(0, min(result.seconds, clip.video_end), 1 / VIDEO_FPS)
    for name, draw in (("energy", energy_frame), ("clusters", cluster_frame)):
        moments = progress(times * FRAMES_PER_SECOND, f"drawing {name}.mp4")
        frames = (draw(frame, moment) for moment, frame in zip(moments, shown_frames(clip, times), strict=True))
        sound = clip.stream_waveform(VIDEO_SAMPLE_RATE)
        write_video(out / f"{name}.mp4", frames, VIDEO_FPS, sound, VIDEO_SAMPLE_RATE)


def write_images(out: Path, clip: ClipReader, result: SeparatedVideo) -> None:
    """Write overview.png (frames, loudness and clusters at some moments) and spectrograms.png.

    Args:
        out: folder to write to.
        clip: the video, open.
        result: the separated sources of `clip`.
    """
    energies, labels = result.pixels.energies, result.pixels.labels
    spaced = np.linspace(0, len(labels) - 1, OVERVIEW_COLUMNS + 2)[1:-1]
    moments = np.unique(spaced.round().astype(int)).tolist()
    times = np.minimum(result.pixels.times[moments], clip.video_end)
    frames, titles = list(shown_frames(clip, times, OVERVIEW_WIDTH)), [f"{time:.1f} s" for time in times]
    loudness = source_figures.relative_loudness(energies[moments], energies.max())
    source_figures.write_overview(
        out / "overview.png", frames, loudness, labels[moments], result.draw_locations, titles
    )
    places = [f"{name}, at {x:.2f}, {y:.2f}" for name, (x, y) in zip(result.wavs[1:], result.locations, strict=True)]
    wavs = [out / name for name in result.wavs]
    source_figures.write_spectrograms(out / "spectrograms.png", wavs, ["mixture", *places])


def shown_frames(clip: ClipReader, times: np.ndarray, max_width: int = 10_000) -> Iterator[np.ndarray]:
    """Read the frames shown at some times, in their own shape: (H, W, 3) uint8.

    Args:
        clip: the video, open.
        times: ascending, seconds.
        max_width: wider frames are shrunk to this width, pixels.
    """
    for frame in clip.decode_frames(times.tolist()):
        scale = min(max_width / frame.width, 1)
        yield frame.to_ndarray(format="rgb24", width=round(frame.width * scale), height=round(frame.height * scale))
