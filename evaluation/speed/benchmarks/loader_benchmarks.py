"""Benchmarks of loading: samples from mp4 and from shards, and building shards."""

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import torch

from dataset.baseline_loaders import (
    DIFFERENT,
    make_clips,
    normalize,
    opencv_frame,
    read_npz,
    scipy_spectrogram,
    write_npz,
)
from dataset.loading.loader import make_loader
from dataset.loading.order import EpochBatchSampler
from dataset.pairs import PairDataset
from dataset.reading.clips import Clips
from dataset.reading.container import open_media
from dataset.reading.reader import ClipDataset
from dataset.reading.shards import ShardedClips
from dataset.transforms.frames import PairTransform
from evaluation.speed.timing import Work, comparison, interleave
from utils.config import Config
from utils.errors import UserError

NUM_CLIPS = 40
NUM_NPZ = 10  # clips stored as npz
SAMPLES_PER_DECODE = 16
BUILD_SHARDS = Path(__file__).parents[3] / "data" / "build_shards.py"


class BenchmarkClips:
    """NUM_CLIPS clips to load, all in the train split; each form of them is made when it is first needed.

    Args:
        folder: empty, for the files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def root(self) -> Path:
        """The dataset folder."""
        return make_clips(self.folder / "clips", NUM_CLIPS)

    @cached_property
    def shards(self) -> ShardedClips:
        """The clips as shards."""
        self.build_shards(self.folder / "shards")
        return ShardedClips(self.folder / "shards", "train")

    @cached_property
    def npz_files(self) -> list[Path]:
        """Compressed frames and spectrograms of NUM_NPZ clips."""
        (self.folder / "npz").mkdir()
        return [
            write_npz(self.root, self.folder / "npz", f"clip{k:02d}", np.random.default_rng(k)) for k in range(NUM_NPZ)
        ]

    @cached_property
    def jpegs(self) -> list[bytes]:
        """Frames of 256 x 256 pixels, encoded as in shards."""
        frames = []
        for k in range(DIFFERENT):
            with Clips(self.root, "train").open(k) as clip:
                frames += list(clip.frames([2.0, 4.0, 6.0, 8.0], 256))
        return [simplejpeg.encode_jpeg(frame, 90, "RGB", "420") for frame in frames]

    def video(self, k: int) -> Path:
        """Path of the mp4 of clip number `k`."""
        return self.root / "train" / "video" / f"clip{k:02d}.mp4"

    def audio(self, k: int) -> Path:
        """Path of the wav of clip number `k`."""
        return self.root / "train" / "audio" / f"clip{k:02d}.wav"

    def build_shards(self, target: Path) -> int:
        """Run data/build_shards.py on one core, into the folder `target`; returns the number of clips."""
        command = [sys.executable, str(BUILD_SHARDS), str(self.root), str(target), "--workers", "1", "--square"]
        done = subprocess.run(command, capture_output=True, text=True, preexec_fn=_use_one_core)
        if done.returncode:
            raise UserError(f"data/build_shards.py failed: {done.stderr.strip()[-300:]}")
        return NUM_CLIPS

    def decode_jpegs(self, count: int = 500) -> int:
        """Decode `count` JPEGs into preallocated memory, the limit of shards."""
        frames, jpegs = np.empty((NUM_CLIPS, 256, 256, 3), np.uint8), self.jpegs
        for k in range(count):
            simplejpeg.decode_jpeg(jpegs[k % len(jpegs)], "RGB", buffer=frames[k % NUM_CLIPS])
        return count


def _use_one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])


def pair_dataset(clips: ClipDataset, config: Config) -> PairDataset:
    """Make the training samples of `clips` with the settings of `config`."""
    data = config.data
    return PairDataset(clips, data.resize_size, data.sample_rate, data.frame_step, data.misalignment)


def shard_batches(clips: BenchmarkClips, config: Config) -> Iterator[dict[str, Any]]:
    """Iterate over batches of all `clips`, read from shards without transforms, with the settings of `config`."""
    sampler = EpochBatchSampler(NUM_CLIPS, NUM_CLIPS, seed=0)
    return iter(make_loader(pair_dataset(clips.shards, config), sampler, workers=0))


def loader_mp4(clips: BenchmarkClips, config: Config, count: int = 10, rounds: int = 3) -> dict[str, Any]:
    """Benchmark samples from mp4 with all transforms, several per decoded clip; baseline: OpenCV seeks to a frame.

    Args:
        clips: to load.
        config: of the samples.
        count: clips per batch.
        rounds: timed calls.
    """
    transform, rng = PairTransform(config, train=True), np.random.default_rng(0)
    sampler = EpochBatchSampler(NUM_CLIPS, count, seed=0, samples_per_decode=SAMPLES_PER_DECODE)
    batches = iter(make_loader(pair_dataset(Clips(clips.root, "train"), config), sampler, workers=0))

    def baseline() -> int:
        for k in range(count):
            normalize(opencv_frame(clips.video(k), rng))
            scipy_spectrogram(clips.audio(k), rng)
        return count

    def ours() -> int:
        return sum(len(transform(batch)[0]) for batch in islice(batches, SAMPLES_PER_DECODE))

    def decode_only() -> int:  # what remains if everything else were free
        for k in range(count):
            with open_media(clips.video(k)) as video:
                video.streams.video[0].codec_context.thread_count = 1
                for _ in video.decode(video=0):
                    pass
        return count * SAMPLES_PER_DECODE

    rates = interleave(rounds, {"baseline": baseline, "ours": ours, "limit": decode_only})
    more = {"limit": rates[2].median, "limited_by": "decoding", "samples_per_decode": SAMPLES_PER_DECODE}
    return comparison("samples/s", rates[0], rates[1], **more)


def read_npz_files(files: list[Path], rng: np.random.Generator) -> int:
    """Read a random frame and spectrogram of each npz file, the baseline of shards.

    Args:
        files: written by `write_npz`.
        rng: draws the frames.

    Returns:
        the number of files.
    """
    for path in files:
        read_npz(path, rng)
    return len(files)


def loader_shards_worker(clips: BenchmarkClips, config: Config, rounds: int = 5) -> dict[str, Any]:
    """Benchmark a loader process: uint8 frames and int16 sounds from shards; baseline: compressed npz.

    Args:
        clips: to load.
        config: of the samples.
        rounds: timed calls.
    """
    batches, files, rng = shard_batches(clips, config), clips.npz_files, np.random.default_rng(0)
    works: dict[str, Work] = {
        "baseline": lambda: read_npz_files(files, rng),
        "ours": lambda: len(next(batches)["frames"]),
        "limit": clips.decode_jpegs,
    }
    rates = interleave(rounds, works)
    return comparison("samples/s", rates[0], rates[1], limit=rates[2].median, limited_by="JPEG")


def loader_shards_full(clips: BenchmarkClips, config: Config, rounds: int = 5) -> dict[str, Any]:
    """Benchmark samples from shards with all transforms on the same core; baseline: compressed npz.

    Args:
        clips: to load.
        config: of the samples.
        rounds: timed calls.
    """
    batches, files, rng = shard_batches(clips, config), clips.npz_files, np.random.default_rng(0)
    transform = PairTransform(config, train=True)
    works: dict[str, Work] = {
        "baseline": lambda: read_npz_files(files, rng),
        "ours": lambda: len(transform(next(batches))[0]),
    }
    rates = interleave(rounds, works, warm_up=True)
    return comparison("samples/s", *rates)


def loader_processes(clips: BenchmarkClips, config: Config, count: int = 50, rounds: int = 3) -> dict[str, Any]:
    """Benchmark shards through one worker process; baseline: PyTorch's DataLoader with its default collate.

    The time of both processes together counts.

    Args:
        clips: to load.
        config: of the samples.
        count: batches per call.
        rounds: timed calls.
    """
    pairs = pair_dataset(clips.shards, config)
    order = list(islice(EpochBatchSampler(NUM_CLIPS, NUM_CLIPS, seed=0), count))

    class Samples(torch.utils.data.Dataset):
        def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
            sample = pairs[key]
            arrays = {name: np.require(sample[name], requirements="W") for name in ("frame", "sound")}
            return arrays | {"seed": sample["seed"]}

    def baseline() -> int:
        return read_batches(torch.utils.data.DataLoader(Samples(), batch_sampler=order, num_workers=1), "frame")

    def ours() -> int:
        return read_batches(make_loader(pairs, order, workers=1), "frames")

    rates = interleave(rounds, {"baseline": baseline, "ours": ours})
    return comparison("samples/s", *rates)


def read_batches(batches: Iterable[dict[str, Any]], name: str) -> int:
    """Read every element of the tensor `name` of all `batches`, end their worker; returns the number of samples."""
    count = sum(len(batch[name]) for batch in batches if batch[name].sum() > 0)
    del batches
    return count


def build_shards(clips: BenchmarkClips, count: int = 5, rounds: int = 2) -> dict[str, Any]:
    """Benchmark building shards of whole clips; baseline: nine frames and spectrograms of each in a compressed npz.

    Args:
        clips: to store.
        count: clips that the baseline stores per call.
        rounds: timed calls.
    """
    npz_folder, shard_folders = clips.folder / "baseline", [clips.folder / f"shards{k}" for k in range(rounds)]
    npz_folder.mkdir()
    next_folder = iter(shard_folders)

    def baseline() -> int:
        for k in range(count):
            write_npz(clips.root, npz_folder, f"clip{k:02d}", np.random.default_rng(k))
        return count

    works: dict[str, Work] = {"baseline": baseline, "ours": lambda: clips.build_shards(next(next_folder))}
    rates = interleave(rounds, works)
    fraction = (folder_size(shard_folders[0]) / NUM_CLIPS) / (folder_size(npz_folder) / count)
    return comparison("clips/s", *rates, share_of_bytes=fraction)


def folder_size(folder: Path) -> int:
    """Sum the sizes of all files in `folder`, bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
