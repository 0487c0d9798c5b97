"""Campaign: scripts that are ended at any moment, by SIGKILL, SIGTERM and SIGHUP, and started again.

What must hold: no file is half-written under its final name; the processes that a script started are gone within a
second; after SIGTERM and SIGHUP nothing temporary is left; the same command (training: with --resume) completes the
work, and its files are those of a run that was not ended.
"""

import functools
import os
import random
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from kill_and_resume import differences, learned

from tests.campaign.case import ROOT, Case, _run_child, problem, run_command
from tests.campaign.material import WRITERS, broken_files, leftovers, material, missing_files, words_of
from tests.campaign.memory import children_of
from utils import checkpoint

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)
KILLS = 2  # of each script by each signal
STOPPED = 130
UNFINISHED = ("data/check_data", "eval", "separate")  # are not resumed: their second run begins anew


def cases() -> Iterator[Case]:
    """End each script at random moments of its work, the same ones in each run of the campaign."""
    for script in WRITERS:
        for number in SIGNALS:
            for k in range(KILLS):
                moment = random.Random(f"{script} {number} {k}").uniform(0.05, 0.95)
                name = f"{script}_{signal.Signals(number).name}_{k}"
                yield Case(name, partial(_run, script, number, moment))


def _run(script: str, number: int, moment: float, folder: Path) -> str:
    out, log = folder / "out", [folder / "stdout", folder / "stderr"]
    out.mkdir()
    words = words_of(script, material(), out, workers=2)[1:]
    child = os.fork()
    if child == 0:
        _run_child([str(word) for word in words], log, ROOT, {}, lambda: None)
    time.sleep(moment * seconds_of(script))
    started = descendants(child)
    os.kill(child, number)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    found = _wrong_code(code, number, log[1].read_text(errors="replace") if log[1].exists() else "")
    found = found or broken_files(out) or _alive_after(started, 1.0)
    left = leftovers(out)
    if not found and left and number != signal.SIGKILL and not script.startswith("train"):
        found = f"leaves {left[0]}"
    return found or _run_again(script, words, out)


def _wrong_code(code: int, number: int, said: str) -> str:
    if code in (0, -number) or (code == STOPPED and number != signal.SIGKILL):  # -15: before it was ready to clean up
        return ""
    return f"ends with code {code} after signal {number}: {said.strip().splitlines()[-1:]}"


def _run_again(script: str, words: list[str], out: Path) -> str:
    """Start the script again; what is wrong with its end, or differs from a run that was not ended."""
    if script == "embed" and (out / "emb.npz").exists():
        return ""  # it had ended
    again = run_command([*words, "--resume"] if script.startswith("train") else words)
    left = leftovers(out)
    found = problem(again) or ("" if again.code == 0 else "is not resumed: " + again.err.strip()[-200:])
    found = found or missing_files(out, script) or broken_files(out) or (f"leaves {left[0]}" if left else "")
    return found or ("" if script in UNFINISHED else _difference(script, out))


def _difference(script: str, out: Path) -> str:
    whole = reference(script)
    if script.startswith("train"):
        found = differences(checkpoint.load(whole / "last.pt"), checkpoint.load(out / "last.pt"), "last.pt")
        found += differences(learned(whole), learned(out), "log.jsonl")
    elif script == "embed":
        with np.load(whole / "emb.npz") as one, np.load(out / "emb.npz") as other:
            found = [name for name in one if name != "about" and not np.array_equal(one[name], other[name])]
    else:
        tables = ("split.json", "shards.json")  # hold times, or the folder's name
        paths = [p.relative_to(whole) for p in whole.rglob("*") if p.is_file() and p.name not in tables]
        found = [str(path) for path in paths if (whole / path).read_bytes() != (out / path).read_bytes()]
    return f"differs from a whole run: {found[:3]}" if found else ""


@functools.cache
def reference(script: str) -> Path:
    """Run a script to its end once; the folder that it filled."""
    out = material() / "whole" / script
    out.mkdir(parents=True)
    begin = time.monotonic()
    done = run_command(words_of(script, material(), out, workers=2)[1:])
    assert done.code == 0, done.text
    (out.parent / f"{out.name}.seconds").write_text(str(time.monotonic() - begin))
    return out


def seconds_of(script: str) -> float:
    """Measure how long a script takes, seconds."""
    out = reference(script)
    return float((out.parent / f"{out.name}.seconds").read_text())


def descendants(process: int) -> list[int]:
    """List the ids of all processes below a `process`."""
    return [p for child in children_of(process) for p in (child, *descendants(child))]


def _alive_after(processes: list[int], seconds: float) -> str:
    """Wait until processes have ended, for some seconds at most; describe one that has not."""
    end = time.monotonic() + seconds
    while alive := [process for process in processes if _is_alive(process)]:
        if time.monotonic() > end:
            return f"process {alive[0]} outlives it by more than {seconds:g} s"
        time.sleep(0.02)
    return ""


def _is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return False
