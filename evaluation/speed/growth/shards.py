"""How reading shards grows with their number: opening a split, then visits to clips anywhere in it."""

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import simplejpeg

from dataset.making.shards.shard_writer import file_sha256, write_member
from dataset.pairs import PairDataset
from dataset.reading.shard_format import MANIFEST, VERSION, ShardEntry, pack_index
from dataset.reading.shards import ShardedClips
from utils.files import write_json

CLIPS = 100  # of a shard
FRAMES, SIDE, RATE = 10, 64, 2000  # of a clip: frames, their height and width, samples a second
VISITS = 4000


def make_shards(root: Path, count: int) -> None:
    """Make shards of CLIPS clips each, all with the same content.

    Args:
        root: empty folder.
        count: of shards.
    """
    folder = root / "train"
    folder.mkdir()
    rng = np.random.default_rng(0)
    jpeg = simplejpeg.encode_jpeg(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8), 90, "RGB", "420")
    clips: list[tuple] = []
    frames: list[tuple] = []
    with open(folder / "00000.tar", "wb") as tar:
        for row in range(CLIPS):
            sound = write_member(tar, f"{row}.wav", 4 * RATE, [rng.integers(-999, 999, 2 * RATE, "<i2").tobytes()])
            clips.append((len(frames), FRAMES, sound, 2 * RATE, 1.5, (FRAMES - 1) / 5))
            for k in range(FRAMES):
                frames.append((k / 5, write_member(tar, f"{row}.{k}.jpg", len(jpeg), [jpeg]), len(jpeg)))
    (folder / "00000.index").write_bytes(pack_index(clips, frames))
    sums = {kind: file_sha256(folder / f"00000.{kind}") for kind in ("tar", "index")}
    sizes = {kind: (folder / f"00000.{kind}").stat().st_size for kind in ("tar", "index")}
    entries: list[ShardEntry] = []
    for number in range(count):
        if number:
            for kind in ("tar", "index"):
                os.link(folder / f"00000.{kind}", folder / f"{number:05d}.{kind}")
        ids = [f"clip{number * CLIPS + row:07d}" for row in range(CLIPS)]
        entries.append({
            "name": f"{number:05d}", "ids": ids, "skipped": {}, "source": "",
            "tar_bytes": sizes["tar"], "tar_sha256": sums["tar"],
            "index_bytes": sizes["index"], "index_sha256": sums["index"],
        })  # fmt: skip
    settings = {"fps": 5.0, "size": SIDE, "square": True, "quality": 90, "rate": RATE, "clips": CLIPS}
    write_json(folder / "vid2genre.json", {clip: [] for entry in entries for clip in entry["ids"]})
    write_json(root / MANIFEST, {"version": VERSION, "settings": settings, "missing": {}, "splits": {"train": entries}})


def measure(size: int) -> dict[str, float]:
    """Measure a split of shards on one thread.

    Args:
        size: clips.

    Returns:
        CPU seconds of opening it, of VISITS to its clips in a random order, and of as many later ones, when all
        indexes are known.
    """
    with tempfile.TemporaryDirectory() as folder:
        make_shards(Path(folder), max(size // CLIPS, 1))
        start = time.process_time()
        clips = ShardedClips(folder, "train")
        opened = time.process_time()
        first = visit(clips, 0)
        for shard in range(0, len(clips), CLIPS):
            with clips.open(shard):
                pass
        return {
            "opening_cpu_seconds": opened - start,
            "first_visits_cpu_seconds": first,
            "visits_cpu_seconds": visit(clips, 1),
        }


def visit(clips: ShardedClips, seed: int) -> float:
    """Read VISITS samples of random clips; returns the CPU time, seconds.

    Args:
        clips: of the split.
        seed: of the choice.
    """
    pairs = PairDataset(clips, SIDE, RATE, 0.2)
    chosen = np.random.default_rng(seed).integers(len(clips), size=VISITS).tolist()
    start = time.process_time()
    for first in range(0, VISITS, CLIPS):
        pairs.load_batches([(0, index) for index in chosen[first : first + CLIPS]])
    return time.process_time() - start
