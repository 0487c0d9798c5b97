"""Baselines of loading that benchmark.py compares with, and the clips that it makes for the comparison."""

import json
import os
import shutil
from pathlib import Path

import av
import cv2
import numpy as np
import soundfile
from scipy.signal import spectrogram

from dataset.reading.container import OPENCV_OPTIONS
from dataset.transforms.frames import FRAME_MEAN, FRAME_STD

FPS, RATE, WIDTH, HEIGHT = 25, 48000, 640, 360
KEY_FRAME_INTERVAL = 8 * FPS  # frames
DIFFERENT = 5  # clips that differ; the others are copies


def make_clips(root: Path, count: int, seconds: int = 10, different: int = DIFFERENT) -> Path:
    """Make a dataset of synthetic clips in one split, train.

    Args:
        root: of the dataset.
        count: clips.
        seconds: length of a clip.
        different: number of clips that differ; the others are copies, which take as long to decode.

    Returns:
        root.
    """
    rng, folder = np.random.default_rng(0), root / "train"
    for kind in ("video", "audio"):
        (folder / kind).mkdir(parents=True)
    for k in range(count):
        video, audio = folder / "video" / f"clip{k:02d}.mp4", folder / "audio" / f"clip{k:02d}.wav"
        if k >= different:
            shutil.copy(video.with_name(f"clip{k % different:02d}.mp4"), video)
            shutil.copy(audio.with_name(f"clip{k % different:02d}.wav"), audio)
            continue
        _write_video(video, seconds, rng)
        waveform = np.sin(np.arange(seconds * RATE) * rng.uniform(0.01, 0.1)) + rng.standard_normal(seconds * RATE)
        soundfile.write(audio, 0.1 * waveform, RATE)
    genres = {f"clip{k:02d}": ["/m/042v_gx"] for k in range(count)}
    (folder / "vid2genre.json").write_text(json.dumps(genres), encoding="utf-8")
    return root


def _write_video(path: Path, seconds: int, rng: np.random.Generator) -> None:
    """Write a video of a camera that moves over a scene, with some noise."""
    scene = cv2.resize(rng.integers(0, 250, (45, 80, 3), np.uint8), (2 * WIDTH, 2 * HEIGHT), interpolation=2)
    interval = str(KEY_FRAME_INTERVAL)
    options = {"preset": "veryfast", "crf": "23", "g": interval, "keyint_min": interval, "threads": "1"}
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=FPS, options=options | {"sc_threshold": "0"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for n in range(seconds * FPS):
            noise = rng.integers(0, 5, (HEIGHT, WIDTH, 1), np.uint8)
            frame = np.ascontiguousarray(scene[n : n + HEIGHT, 2 * n : 2 * n + WIDTH] + noise)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode())


def opencv_frame(path: Path, rng: np.random.Generator) -> np.ndarray:
    """Read a random frame of a video: OpenCV seeks to it.

    Args:
        path: of the video.
        rng: draws the frame.

    Returns:
        (224, 224, 3) uint8 RGB.
    """
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = OPENCV_OPTIONS
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    video.set(cv2.CAP_PROP_POS_FRAMES, int(rng.integers(FPS // 2, count - FPS // 2)))
    _, frame = video.read()
    video.release()
    return cv2.resize(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), (224, 224), interpolation=cv2.INTER_AREA)


def scipy_spectrogram(path: Path, rng: np.random.Generator) -> np.ndarray:
    """Compute the log spectrogram of a random second of a wav, which is read whole.

    Args:
        path: of the wav.
        rng: draws the second.

    Returns:
        (257, 200) float32.
    """
    sound, rate = soundfile.read(path, dtype="float32")
    start = int(rng.integers(0, len(sound) - rate + 1))
    second = np.pad(sound[start : start + rate], (0, 240))
    _, _, magnitude = spectrogram(
        second, rate, nperseg=480, noverlap=240, nfft=512, mode="magnitude", scaling="spectrum"
    )
    return np.log(magnitude**2 + 1e-8).astype(np.float32)


def normalize(frame: np.ndarray) -> np.ndarray:
    """Normalize `frame`, (224, 224, 3) uint8, to (3, 224, 224) float32 of zero mean and unit variance."""
    mean, std = np.array(FRAME_MEAN, np.float32), np.array(FRAME_STD, np.float32)
    pixels = (frame.astype(np.float32) / 255 - mean) / std
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def write_npz(root: Path, target: Path, clip: str, rng: np.random.Generator, count: int = 9) -> Path:
    """Store a clip as random frames and spectrograms in one compressed npz.

    Args:
        root: of the dataset.
        target: folder of the npz.
        clip: id.
        rng: draws frames and seconds.
        count: frames, and as many spectrograms.

    Returns:
        path of the npz.
    """
    frames = [opencv_frame(root / "train" / "video" / f"{clip}.mp4", rng) for _ in range(count)]
    spectrograms = [scipy_spectrogram(root / "train" / "audio" / f"{clip}.wav", rng) for _ in range(count)]
    path = target / f"{clip}.npz"
    np.savez_compressed(path, frames=np.stack(frames), spectrograms=np.stack(spectrograms))
    return path


def read_npz(path: Path, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Read a random frame and spectrogram of a file of `write_npz`.

    Args:
        path: of the npz.
        rng: draws one of them.

    Returns:
        (3, 224, 224) and (257, 200), float32.
    """
    with np.load(path) as arrays:
        frames, spectrograms = arrays["frames"], arrays["spectrograms"]
    k = int(rng.integers(len(frames)))
    return normalize(frames[k]), spectrograms[k]
