"""Campaign: too little memory. Limits of the address space, and loader processes that are killed."""

import functools
import importlib
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.campaign.case import Case, problem, run_command
from tests.campaign.environment import judge
from tests.campaign.material import WRITERS, material, words_of

MB = 2**20
ROOMS = (1, 4, 10, 20, 40, 70, 100, 150, 200)  # MB beyond what Python and its libraries take
SETTINGS_OF_MEMORY = ("batch_size", "workers", "threads", "cache_gb", "shorter", "smaller", "end other programs")


def cases() -> Iterator[Case]:
    """Give each script too little memory, none for more threads, and kill its loader processes."""
    for script in WRITERS:
        for room in ROOMS:
            yield Case(f"room_{room}_{script}", partial(_run, script, room))
    for script in ("train_AVENet", "train_PixelPlayer", "eval"):
        for delay in (0.0, 0.2, 0.5, 1.0):
            yield Case(f"killed_loader_{delay}_{script}", partial(_run_and_kill_child, script, delay))


def _run(script: str, room: int, folder: Path) -> str:
    out = folder / "out"
    out.mkdir()
    import_all()

    def prepare() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + room * MB
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    outcome = run_command(words_of(script, material(), out, workers=2)[1:], prepare=prepare, limit=60)
    found = judge(outcome, out, script)
    if not found and outcome.code and not any(word in outcome.err for word in SETTINGS_OF_MEMORY):
        return f"names no setting: {outcome.err.strip().splitlines()[-1]!r}"
    return found


@functools.cache
def import_all() -> None:
    """Import what the scripts import, once: too little memory for that is refused at their start."""
    for name in ("eval", "separate", "embed", "evaluation.report.plotting", "sklearn.manifold"):
        importlib.import_module(name)
    importlib.import_module("evaluation.report.plotting").load_matplotlib()
    importlib.import_module("tensorboard.summary.writer.record_writer")


def _run_and_kill_child(script: str, delay: float, folder: Path) -> str:
    """Kill a child of the script `delay` seconds after it has one, as the system does when memory is short."""
    out, done = folder / "out", threading.Event()
    out.mkdir()

    def kill() -> None:
        while not done.is_set():
            for child in children_of(os.getpid()):
                for grandchild in children_of(child):
                    time.sleep(delay)
                    try:
                        os.kill(grandchild, signal.SIGKILL)
                    except ProcessLookupError:
                        continue
                    return
            time.sleep(0.01)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    outcome = run_command(words_of(script, material(), out, workers=2)[1:], limit=60)
    done.set()
    thread.join()
    return problem(outcome)


def children_of(process: int) -> list[int]:
    """List the ids of the children of a `process`, by its id."""
    found = []
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            found += [int(word) for word in path.read_text().split()]
        except OSError:  # it has ended
            continue
    return found
