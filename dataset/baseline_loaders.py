"""What benchmark.py compares with: the plain ways of loading that come to mind first; and the clips it does so on."""

import json
import shutil

import av
import cv2
import numpy as np
import soundfile
from scipy.signal import spectrogram

from dataset.transforms.frames import FRAME_MEAN, FRAME_STD

FPS, RATE, WIDTH, HEIGHT = 25, 48000, 640, 360


def make_clips(root, count, seconds=10, different=5):
    """A dataset folder with a split train of `count` clips, of which `different` differ: their decoding does not."""
    rng, folder = np.random.default_rng(0), root / "train"
    for kind in ("video", "audio"):
        (folder / kind).mkdir(parents=True)
    for k in range(count):
        video, audio = folder / "video" / f"clip{k:02d}.mp4", folder / "audio" / f"clip{k:02d}.wav"
        if k >= different:
            shutil.copy(video.with_name(f"clip{k % different:02d}.mp4"), video)
            shutil.copy(audio.with_name(f"clip{k % different:02d}.wav"), audio)
            continue
        # A camera that moves over a scene, with some grain.
        scene = cv2.resize(rng.integers(0, 250, (45, 80, 3), np.uint8), (2 * WIDTH, 2 * HEIGHT), interpolation=2)
        with av.open(str(video), "w") as out:
            options = {"preset": "veryfast", "crf": "23", "g": str(8 * FPS), "keyint_min": str(8 * FPS), "threads": "1"}
            stream = out.add_stream("libx264", rate=FPS, options=options | {"sc_threshold": "0"})
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for n in range(seconds * FPS):
                picture = scene[n : n + HEIGHT, 2 * n : 2 * n + WIDTH] + rng.integers(
                    0, 5, (HEIGHT, WIDTH, 1), np.uint8
                )
                out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
            out.mux(stream.encode())
        wave = np.sin(np.arange(seconds * RATE) * rng.uniform(0.01, 0.1)) + rng.standard_normal(seconds * RATE)
        soundfile.write(audio, 0.1 * wave, RATE)
    genres = {f"clip{k:02d}": ["/m/042v_gx"] for k in range(count)}
    (folder / "vid2genre.json").write_text(json.dumps(genres), encoding="utf-8")
    return root


def opencv_frame(path, rng):
    """One random frame: OpenCV seeks to it. (224, 224, 3) uint8 RGB."""
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    video.set(cv2.CAP_PROP_POS_FRAMES, int(rng.integers(FPS // 2, count - FPS // 2)))
    _, picture = video.read()
    video.release()
    return cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), (224, 224), interpolation=cv2.INTER_AREA)


def scipy_spectrogram(path, rng):
    """A random second of a wav that is read whole: log spectrogram, (257, 200) float32."""
    sound, rate = soundfile.read(path, dtype="float32")
    start = int(rng.integers(0, len(sound) - rate + 1))
    second = np.pad(sound[start : start + rate], (0, 240))
    _, _, power = spectrogram(second, rate, nperseg=480, noverlap=240, nfft=512, mode="magnitude", scaling="spectrum")
    return np.log(power**2 + 1e-8).astype(np.float32)


def normalised(picture):
    """(224, 224, 3) uint8 -> (3, 224, 224) float32."""
    pixels = (picture.astype(np.float32) / 255 - np.float32(FRAME_MEAN)) / np.float32(FRAME_STD)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def write_npz(root, target, clip, rng, count=9):
    """A clip as `count` frames and as many spectrograms in one compressed npz, whose path is returned."""
    frames = [opencv_frame(root / "train" / "video" / f"{clip}.mp4", rng) for _ in range(count)]
    sounds = [scipy_spectrogram(root / "train" / "audio" / f"{clip}.wav", rng) for _ in range(count)]
    path = target / f"{clip}.npz"
    np.savez_compressed(path, frames=np.stack(frames), spectrograms=np.stack(sounds))
    return path


def read_npz(path, rng):
    """A random frame (3, 224, 224) float32 and spectrogram (257, 200) float32 of a file of `write_npz`."""
    with np.load(path) as file:
        frames, spectrograms = file["frames"], file["spectrograms"]
    k = int(rng.integers(len(frames)))
    return normalised(frames[k]), spectrograms[k]
