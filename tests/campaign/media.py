"""Campaign: media from anywhere. Files that name others, containers and codecs with oddities, and damage of all kinds.

Each file goes through every door: check_data, training, shards, embeddings, the search page, the import. Promised: no
traceback, no crash, no hang, little memory; what names other files is refused by all; what is valid is read by all, and
all show the same frame; what check_data passes every door reads, and what it refuses (as unreadable) training refuses.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np
import soundfile

from tests import untrusted
from tests.campaign.case import Case
from tests.campaign.media_doors import read_everywhere
from tests.campaign.media_files import (
    CONTAINERS,
    ODDITIES,
    SECONDS,
    damages,
    make_container,
    make_oddity,
    write_slides,
)
from tests.campaign.media_made import MADE

DAMAGED = ("mp4", "mp4_fragments", "mkv", "webm_vp9", "avi", "flv", "ts", "mpg", "wmv", "ogv", "mov")
SLIDES = {
    "every_second": ([0.0, 1.0, 2.0], 3.0),
    "one": ([0.0], 4.0),
    "one_for_a_minute": ([0.0], 60.0),
    "long_last": ([0.0, 1.0, 2.0], 20.0),
    "two": ([0.0, 5.0], 30.0),
    "ten_seconds": ([0.0, 10.0, 20.0], 30.0),
}


def cases() -> Iterator[Case]:
    """Yield files that name other files, valid oddities, and damaged files."""
    for name in untrusted.NAMES:
        yield Case(f"untrusted_{name}", partial(_untrusted, name))
    for name in CONTAINERS:
        yield Case(f"container_{name}", partial(_container, name))
    for name in ODDITIES:
        yield Case(f"odd_{name}", partial(_oddity, name))
    for suffix in ("mp4", "mkv", "webm"):
        for name in SLIDES:
            yield Case(f"slides_{suffix}_{name}", partial(_slides, suffix, name))
    for name in MADE:
        yield Case(f"made_{name}", partial(_made, name))
    for container in DAMAGED:
        for damage in damages():
            for seed in range(2):
                yield Case(f"damaged_{container}_{damage}_{seed}", partial(_damaged, container, damage, seed))


@cache
def shared_folder() -> Path:
    """Make the folder of what several cases use; it goes when the campaign ends."""
    folder, maker = Path(tempfile.mkdtemp(prefix="media_campaign_")), os.getpid()

    def remove() -> None:
        if os.getpid() == maker:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder


@cache
def container(name: str) -> Path:
    """Make one of CONTAINERS, once."""
    path = shared_folder() / f"{name}.{CONTAINERS[name][0]}"
    make_container(name, path)
    return path


@cache
def sound(seconds: float) -> Path:
    """Make a wav of noise, once: of another sound than the videos have, so that it can't be out of step."""
    path = shared_folder() / f"{seconds}.wav"
    samples = 0.2 * np.random.default_rng(5).standard_normal(round(seconds * 16000))
    soundfile.write(path, samples.clip(-1, 1), 16000)
    return path


@cache
def _scripts() -> dict[str, Path]:
    folder = shared_folder() / "scripts"
    folder.mkdir()
    return untrusted.make_files(folder)


def _untrusted(name: str, folder: Path) -> str:
    return read_everywhere(_scripts()[name].rename(folder / name), sound(3.0), "refuse")


def _container(name: str, folder: Path) -> str:
    path = Path(shutil.copy(container(name), folder))
    return read_everywhere(path, sound(SECONDS), "pass")


def _oddity(name: str, folder: Path) -> str:
    path = folder / f"x.{ODDITIES[name][0]}"
    make_oddity(name, container("mp4"), path)
    return read_everywhere(path, sound(SECONDS), "pass", compare=not name.startswith("size"))


def _slides(suffix: str, name: str, folder: Path) -> str:
    times, until = SLIDES[name]
    codec = ("-c:v", "libvpx", "-deadline", "realtime") if suffix == "webm" else None
    write_slides(folder / f"x.{suffix}", times, until, *([codec] if codec else []))
    return read_everywhere(folder / f"x.{suffix}", sound(until), "pass")


def _made(name: str, folder: Path) -> str:
    make, must = MADE[name]
    path = make(folder, container("mp4"), container("mkv"))
    return read_everywhere(path, sound(SECONDS), must)


def _damaged(name: str, damage: str, seed: int, folder: Path) -> str:
    path = folder / f"x.{CONTAINERS[name][0]}"
    rng = np.random.default_rng([seed, *name.encode(), *damage.encode()])
    path.write_bytes(damages()[damage](container(name).read_bytes(), rng))
    return read_everywhere(path, sound(SECONDS), "")
