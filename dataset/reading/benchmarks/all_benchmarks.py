"""The public benchmarks, by the names that eval.py --benchmark takes."""

from pathlib import Path
from typing import Protocol

from dataset.reading.benchmarks.avsbench import AVSBenchMS3, AVSBenchS4
from dataset.reading.benchmarks.benchmark import Benchmark, Choose
from dataset.reading.benchmarks.flickr import FlickrSoundNet
from dataset.reading.benchmarks.sound_pairs import IS3, VPOMS
from dataset.reading.benchmarks.vggss import VGGSS
from dataset.reading.errors import OnError


class OpenBenchmark(Protocol):
    """Opens a benchmark."""

    def __call__(self, root: Path | str, on_error: OnError = "stop", choose: Choose | None = None) -> Benchmark:
        """Open the folder `root`; `on_error` and `choose` as of `benchmark.Benchmark` and `benchmark.chosen_clips`."""
        ...


BENCHMARKS: dict[str, OpenBenchmark] = {
    "flickr": FlickrSoundNet, "vggss": VGGSS, "is3": IS3, "vpo_ms": VPOMS, "avsbench_s4": AVSBenchS4,
    "avsbench_ms3": AVSBenchMS3,
}  # fmt: skip
