"""Benchmark of samples from mp4: frames decoded by others' libraries, everything else the same."""

import os
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import soundfile

from dataset.baseline_loaders import FPS, RATE
from dataset.loading.loader import make_loader
from dataset.loading.order import EpochBatchSampler
from dataset.reading.clips import Clips
from dataset.reading.container import OPENCV_OPTIONS
from evaluation.speed.benchmarks.loader_benchmarks import NUM_CLIPS, BenchmarkClips, pair_dataset
from evaluation.speed.benchmarks.optional_libraries import DECORD, OPENCV, PYAV, TORCHCODEC, Library
from evaluation.speed.timing import Work, comparison, interleave
from utils.config import Config

# (path of a video, ascending times in seconds, side) -> frames (len(times), side, side, 3) uint8 RGB
Decode = Callable[[Path, list[float], int], np.ndarray]
VISITS = (1, 16)  # samples of a clip each time that it is opened
WRONG_FRAME = 10.0  # mean difference from our frame, grey levels: the next frame differs by 14, resizing by 6


def squeeze(frame: np.ndarray, size: int) -> np.ndarray:
    """Resize a whole `frame` to `size` x `size` pixels."""
    return cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA)


def decode_torchcodec(seek_mode: str, path: Path, times: list[float], size: int) -> np.ndarray:
    """Decode frames by torchcodec.

    Args:
        seek_mode: "exact" or "approximate".
        path: of the video.
        times: seconds, ascending.
        size: of the frames, pixels.
    """
    decoder = TORCHCODEC.load().VideoDecoder(
        str(path), dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode=seek_mode
    )
    frames = decoder.get_frames_played_at(seconds=times).data.numpy()
    return np.stack([squeeze(frame, size) for frame in frames])


def decode_decord(path: Path, times: list[float], size: int) -> np.ndarray:
    """Decode frames by decord, which knows numbers of frames only and resizes by itself.

    Args:
        path: of the video.
        times: seconds, ascending.
        size: of the frames, pixels.
    """
    video = DECORD.load().VideoReader(str(path), width=size, height=size, num_threads=1)
    return video.get_batch([round(time * FPS) for time in times]).asnumpy()


def decode_pyav(path: Path, times: list[float], size: int) -> np.ndarray:
    """Decode frames by PyAV: seek to the key frame before the first one, decode up to the last.

    Args:
        path: of the video.
        times: seconds, ascending.
        size: of the frames, pixels.
    """
    frames: list[np.ndarray] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        container.seek(round(times[0] * 1e6))  # microseconds
        for frame in container.decode(stream):
            if frame.time is not None and frame.time >= times[len(frames)] - 0.5 / FPS:
                frames.append(squeeze(frame.to_ndarray(format="rgb24"), size))
                if len(frames) == len(times):
                    break
    return np.stack(frames)


def decode_opencv(path: Path, times: list[float], size: int) -> np.ndarray:
    """Decode frames by OpenCV, which seeks to each of them.

    Args:
        path: of the video.
        times: seconds, ascending.
        size: of the frames, pixels.
    """
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = OPENCV_OPTIONS
    video, frames = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1]), []
    for time in times:
        video.set(cv2.CAP_PROP_POS_FRAMES, round(time * FPS))
        frames.append(squeeze(cv2.cvtColor(video.read()[1], cv2.COLOR_BGR2RGB), size))
    video.release()
    return np.stack(frames)


# (library, what is added to its name, how it decodes)
DECODERS: list[tuple[Library, str, Decode]] = [
    (TORCHCODEC, ", exact", partial(decode_torchcodec, "exact")),
    (TORCHCODEC, ", approximate", partial(decode_torchcodec, "approximate")),
    (DECORD, "", decode_decord),
    (PYAV, "", decode_pyav),
    (OPENCV, ", a seek each", decode_opencv),
]


def installed_decoders() -> dict[str, Decode]:
    """Get the decoders that can be used here, {name with version: how it decodes}."""
    return {
        f"{library.package} {library.version()}{more}": decode for library, more, decode in DECODERS if library.load()
    }


def random_times(rng: np.random.Generator, count: int, seconds: int = 10) -> list[float]:
    """Draw `count` ascending times of frames with a second of sound around them.

    Args:
        rng: draws.
        count: times, all different.
        seconds: length of the clip.
    """
    numbers = rng.choice(np.arange(FPS // 2 + 1, (seconds - 1) * FPS), count, replace=False)
    return (np.sort(numbers) / FPS).tolist()


def load_visit(clips: BenchmarkClips, k: int, decode: Decode, times: list[float], size: int) -> list[np.ndarray]:
    """Load samples of a clip: the frames (n, size, size, 3) and the seconds of sound (n, RATE) around them.

    Args:
        clips: of the benchmark.
        k: number of the clip.
        decode: reads the frames.
        times: of the frames, seconds.
        size: of the frames, pixels.
    """
    frames = decode(clips.video(k), times, size)
    with soundfile.SoundFile(clips.audio(k)) as file:
        sounds = np.empty((len(times), RATE), np.int16)
        for sound, time in zip(sounds, times, strict=True):
            file.seek(round((time - 0.5) * RATE))
            file.read(RATE, "int16", out=sound)
    return [frames, sounds]


def count_wrong_frames(clips: BenchmarkClips, decode: Decode, size: int, count: int = 40) -> int:
    """Count the frames that differ from those shown at their times, as this repository decodes them.

    Args:
        clips: of the benchmark.
        decode: reads the frames.
        size: of the frames, pixels.
        count: frames to compare.
    """
    own, wrong, rng = Clips(clips.root, "train"), 0, np.random.default_rng(1)
    for k in range(4):
        times = random_times(rng, count // 4)
        with own.open(k) as clip:
            expected = clip.frames(times, size)
        difference = np.abs(decode(clips.video(k), times, size).astype(np.float32) - expected)
        wrong += int((difference.mean((1, 2, 3)) > WRONG_FRAME).sum())
    return wrong


def video_libraries(clips: BenchmarkClips, config: Config, count: int = 8, rounds: int = 5) -> dict[str, Any]:
    """Benchmark samples from mp4 up to the batch, without transforms; baselines: others' decoders.

    Args:
        clips: to load.
        config: of the samples.
        count: clips per call.
        rounds: timed calls.

    Returns:
        {"NAME, n a visit": see `comparison`, with the number of wrong frames of 40}.
    """
    size, decoders, results = config.data.resize_size, installed_decoders(), {}
    wrong = {name: count_wrong_frames(clips, decode, size) for name, decode in decoders.items()}
    for visit in VISITS:
        rng = np.random.default_rng(0)
        sampler = EpochBatchSampler(NUM_CLIPS, count, seed=0, samples_per_decode=visit)
        batches = iter(make_loader(pair_dataset(Clips(clips.root, "train"), config), sampler, workers=0))

        def ours(batches: Any = batches, visit: int = visit) -> int:
            return sum(len(batch["frames"]) for batch in islice(batches, visit))

        def theirs(decode: Decode, visit: int = visit, rng: np.random.Generator = rng) -> int:
            visits = [load_visit(clips, k, decode, random_times(rng, visit), size) for k in range(count)]
            return len(np.concatenate([frames for frames, _ in visits]))

        works: dict[str, Work] = {name: partial(theirs, decode) for name, decode in decoders.items()}
        own, *others = interleave(rounds, {"ours": ours, **works})
        for name, rate in zip(works, others, strict=True):
            results[f"{name}, {visit} a visit"] = comparison("samples/s", rate, own, wrong_frames_of_40=wrong[name])
    return results
