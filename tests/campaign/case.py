"""One input of a campaign, how a command is run on it, and what counts as a failure.

A command may succeed, or refuse the input with one sentence. A traceback, a hang, a crash, and a success that isn't one
(a missing or wrong result without a word) are failures.
"""

import contextlib
import importlib
import os
import re
import runpy
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
TIME_LIMIT = 120.0  # of one command, seconds: longer is a hang
REFUSED = (1, 2)  # exit codes of a refusal: the input, or the machine (a full disk)


@dataclass(frozen=True)
class Outcome:
    """What a command did.

    Attributes:
        code: its exit code; negative: the signal that ended it; None: it ran into the time limit.
        out, err: what it printed on stdout and stderr.
        seconds: how long it ran.
    """

    code: int | None
    out: str
    err: str
    seconds: float = 0.0

    @property
    def text(self) -> str:
        """All that it printed."""
        return self.out + self.err


@dataclass(frozen=True)
class Case:
    """One input of a campaign.

    Attributes:
        name: unique in its campaign.
        run: makes the input in an empty directory and returns what is wrong with the way it was handled, "" if nothing.
    """

    name: str
    run: Callable[[Path], str]


Campaign = Callable[[], Iterator[Case]]


def preload() -> None:
    """Import what the commands import, once, so that a forked child starts at once."""
    for name in ("av", "flask", "pandas", "scipy.signal", "sklearn.manifold", "soundfile", "torch", "jinja2", "timm"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def run_command(
    argv: Sequence[str | Path],
    cwd: Path = ROOT,
    env: Mapping[str, str] | None = None,
    limit: float = TIME_LIMIT,
    prepare: Callable[[], None] = lambda: None,
    pipes: bool = False,
) -> Outcome:
    """Run a script of the repository in a forked child: as a command, but without importing torch anew.

    Args:
        argv: the script, relative to the repository, and its arguments.
        cwd: working directory.
        env: added to the environment.
        limit: seconds until the child and its children are killed.
        prepare: called in the child first, such as to set a resource limit.
        pipes: take the output through pipes, which must not be longer than they hold, instead of files.
    """
    words = [str(word) for word in argv]
    ends = [os.pipe(), os.pipe()] if pipes else []
    logs = [Path(os.environ.get("TMPDIR", "/tmp")) / f"campaign.{os.getpid()}.{name}" for name in ("out", "err")]
    start = time.monotonic()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _run_child(words, [f"/dev/fd/{end}" for _, end in ends] or logs, cwd, env or {}, prepare)
    for _, end in ends:
        os.close(end)
    code = _wait(child, start + limit)
    for (end, _), log in zip(ends, logs, strict=False):
        with open(end, "rb") as pipe:
            log.write_bytes(pipe.read())
    texts = [log.read_text(errors="replace") if log.exists() else "" for log in logs]
    for log in logs:
        log.unlink(missing_ok=True)
    return Outcome(code, texts[0], texts[1], time.monotonic() - start)


def _run_child(
    words: list[str], logs: Sequence[str | Path], cwd: Path, env: Mapping[str, str], prepare: Callable[[], None]
) -> NoReturn:
    code = 70
    try:
        os.setsid()
        for number, log in ((1, logs[0]), (2, logs[1])):
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.stdout, sys.stderr = (os.fdopen(os.dup(number), "w", buffering=1) for number in (1, 2))
        os.environ.update(env)
        os.chdir(cwd)
        sys.argv = words
        sys.path.insert(0, str((ROOT / words[0]).parent))
        prepare()
        runpy.run_path(str(ROOT / words[0]), run_name="__main__")
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _wait(child: int, deadline: float) -> int | None:
    """Wait for the child, kill its group at the deadline; its exit code, None if it was killed here."""
    pause = 0.002
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            return os.waitstatus_to_exitcode(status)
        time.sleep(pause)
        pause = min(2 * pause, 0.1)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def problem(outcome: Outcome, must_name: str = "", may_succeed: bool = True) -> str:
    """Describe what is wrong with an outcome, "" if nothing.

    Args:
        outcome: of the command.
        must_name: text that a refusal must contain, such as the file or the setting.
        may_succeed: whether exit code 0 is right; the caller checks what was written.
    """
    lines = outcome.err.strip().splitlines()
    last = lines[-1] if lines else ""
    if outcome.code is None:
        return f"hangs: {outcome.seconds:.0f} s, {last!r}"
    if "Traceback (most recent call last)" in outcome.text or re.search(r"^\w*Error: ", outcome.text, re.M):
        return f"traceback: {last!r}"
    if outcome.code == 0:
        return "" if may_succeed else "succeeds without a word"
    if outcome.code not in REFUSED:
        return f"ends with code {outcome.code}: {last!r}"
    if not last:
        return f"ends with code {outcome.code} without a word"
    if must_name and must_name not in outcome.text:
        return f"does not name {must_name!r}: {last!r}"
    return ""


def refusal(outcome: Outcome, must_name: str = "") -> str:
    """Describe what is wrong with an outcome that must be a refusal, "" if nothing.

    Args:
        outcome: of the command.
        must_name: text that the refusal must contain.
    """
    return problem(outcome, must_name, may_succeed=False)
