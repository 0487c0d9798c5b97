"""Measure how fast loading, training and the measures are, each compared with a simple baseline.

    python benchmark.py
    python benchmark.py --json benchmark.json --only loader_mp4 embed
    python benchmark.py --device cuda --only train_step embed
    python benchmark.py --growth                # what grows faster than the work?

Baseline and ours alternate in this process, on one thread each, on clips made for it (10 s, 640 x 360, H.264, a key
frame every 8 s). The table compares medians of CPU time, which other work on the machine disturbs less than wall-clock
time, and shows how far the rounds of ours differ. With --device cuda the nets run on the GPU: after a warm-up, each
round lasts 0.3 s or more, until the GPU has finished. `make gpu` measures all nets on a GPU.

The rows mp4_libraries and shards_libraries compare with other libraries, those that are installed:
    pip install torchcodec decord webdataset litdata mosaicml-streaming ffcv
The rows onnx_embedding compare with onnxruntime in fp32 and in int8: pip install onnx onnxscript onnxruntime
"""

import utils.startup  # isort: skip  # noqa: F401

import argparse
import os
from pathlib import Path

from utils.arguments import answer_help

NAMES = (
    "loader_mp4", "loader_shards_worker", "loader_shards_full", "loader_processes", "train_step",
    "embed", "ndcg_4300", "separation", "build_shards", "mp4_libraries",
    "onnx_embedding", "shards_libraries",
)  # fmt: skip


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to FILE")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, help="benchmarks to run [all]")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of the nets [cpu]")
    growth = "measure how costs grow with the size of the work instead: at 1, 10 and 100 times a size"
    parser.add_argument("--growth", action="store_true", help=growth)
    return parser.parse_args(argv)


if __name__ == "__main__":  # the libraries below take seconds to import
    answer_help(lambda: parse_arguments(None))

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))  # before numpy

import sys
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import torch

from configs.schema import Config
from evaluation.speed.benchmarks.loader_benchmarks import (
    BenchmarkClips,
    build_shards,
    loader_mp4,
    loader_processes,
    loader_shards_full,
    loader_shards_worker,
)
from evaluation.speed.benchmarks.measure_benchmarks import ndcg_4300, separation
from evaluation.speed.benchmarks.net_benchmarks import embed_clips, train_step
from evaluation.speed.benchmarks.onnx_benchmarks import ONNX_LIBRARIES, onnx_embedding
from evaluation.speed.benchmarks.optional_libraries import LIBRARIES, missing_packages
from evaluation.speed.benchmarks.shard_libraries import shard_libraries
from evaluation.speed.benchmarks.video_libraries import video_libraries
from evaluation.speed.growth.table import print_growth
from evaluation.speed.timing import describe_machine, device_to_measure, machine_limits
from utils.errors import exit_on_user_error
from utils.files import write_json

SHOWN_EXTRAS = (
    "ratio_without_in_batch_pairs",
    "cosine",
    "share_of_bytes",
    "largest_difference_db",
    "wrong_frames_of_40",
)


class Setup(NamedTuple):
    """What benchmarks run on.

    Attributes:
        config: the paper's settings: 224 of 256 pixels, 48 kHz, spectrograms of 257 x 200.
        clips: the dataset of this run.
        limits: of the machine, see `machine_limits`.
        device: of the nets; loading and measures run on the CPU.
    """

    config: Config
    clips: BenchmarkClips
    limits: dict[str, float]
    device: torch.device


class Benchmark(NamedTuple):
    """A row of the table: how to run it, what it is, the ratio to reach."""

    run: Callable[[Setup], dict[str, Any]]
    title: str
    target: float


BENCHMARKS = {
    "loader_mp4": Benchmark(lambda s: loader_mp4(s.clips, s.config), "samples from mp4, all work", 6.5),
    "loader_shards_worker": Benchmark(
        lambda s: loader_shards_worker(s.clips, s.config), "samples from shards, worker's part", 12
    ),
    "loader_shards_full": Benchmark(
        lambda s: loader_shards_full(s.clips, s.config), "samples from shards, all work", 6
    ),
    "loader_processes": Benchmark(lambda s: loader_processes(s.clips, s.config), "samples through a process", 1.45),
    "train_step": Benchmark(lambda s: train_step(s.config, s.limits, s.device), "training step, width 64", 7.5),
    "embed": Benchmark(lambda s: embed_clips(s.limits, s.device), "embedding", 8),
    "ndcg_4300": Benchmark(lambda _: ndcg_4300(), "retrieval, 4,300 clips", 1000),
    "separation": Benchmark(lambda _: separation(), "SDR, SIR, SAR of a pair", 8),
    "build_shards": Benchmark(lambda s: build_shards(s.clips), "building shards", 3.8),
}
# Each gives several rows, {the baseline's name: result}.
LIBRARY_BENCHMARKS = {
    "mp4_libraries": Benchmark(lambda s: video_libraries(s.clips, s.config), "mp4", 1.0),
    "onnx_embedding": Benchmark(lambda _: onnx_embedding(), "embedding", 1.0),
    "shards_libraries": Benchmark(lambda s: shard_libraries(s.clips, s.config), "shards", 0.9),
}


def table_line(title: str, target: float, result: dict[str, Any]) -> str:
    """Format one row of the table.

    Args:
        title: of the row.
        target: the ratio to reach.
        result: of the run, see `evaluation.speed.timing.comparison`.
    """
    limit = f"{result['limit'] / result['plain']:8.1f}x" if "limit" in result else ""
    extras = "".join(f"  {key} {value:.6g}" for key, value in result.items() if key in SHOWN_EXTRAS)
    rates = f"{result['plain']:10.4g} {result['ours']:10.4g} {result['unit']:14}"
    ratios = f"{result['ratio']:8.2f}x {target:8}x {limit:>9} {result['ours_spread']:7.0%}"
    return f"{title:42} {rates} {ratios}{extras}"


def run_benchmark(name: str, setup: Setup) -> dict[str, Any]:
    """Run a benchmark and print its rows; returns what the JSON holds of it.

    Args:
        name: a key of `BENCHMARKS` or `LIBRARY_BENCHMARKS`.
        setup: what to run on.
    """
    if name in BENCHMARKS:
        run, title, target = BENCHMARKS[name]
        result = run(setup)
        print(table_line(title, target, result), flush=True)
        return result
    run, title, target = LIBRARY_BENCHMARKS[name]
    rows = run(setup)
    for baseline, result in rows.items():
        print(table_line(f"{title}: {baseline}", result.get("target", target), result), flush=True)
    return rows


def main(argv: list[str] | None = None) -> None:
    """Run the benchmarks, print the table, write the JSON; `argv` is the command line, None for this process's."""
    args = parse_arguments(argv)
    if args.growth:
        sys.exit(0 if print_growth([]) else 1)
    device = device_to_measure(args.device)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory(prefix="benchmark_") as folder:
        clips = BenchmarkClips(Path(folder))
        limits, about = machine_limits(clips.decode_jpegs, device), describe_machine(device)
        setup, results = Setup(Config(), clips, limits, device), {"machine": about, "limits": limits}
        print(", ".join(f"{name} {value}" for name, value in about.items()))
        print("on one thread: " + ", ".join(f"{name} {value:.0f}" for name, value in limits.items()))
        print(f"{'':42} {'baseline':>10} {'ours':>10} {'':14} {'ratio':>9} {'target':>9} {'limit':>9} {'spread':>7}")
        for name in args.only:
            results[name] = run_benchmark(name, setup)
    missing = missing_packages([*LIBRARIES, *ONNX_LIBRARIES])
    if missing and not {*LIBRARY_BENCHMARKS}.isdisjoint(args.only):
        print(f"not compared with, as they are not installed: {', '.join(missing)}")
    if args.json:
        write_json(args.json, results)


if __name__ == "__main__":
    with exit_on_user_error():
        main()
