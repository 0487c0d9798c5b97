"""Campaign: odd environments. Streams, folders, limits and names that a script didn't choose.

Small shared memory and a read-only repository are mounts, which need root; without it they are not tried.
"""

import ctypes
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.campaign.case import ROOT, Case, Outcome, problem, run_command
from tests.campaign.material import QUICK, WRITERS, broken_files, leftovers, material, missing_files, words_of

CLONE_NEWNS, MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 1, 32, 4096, 16384, 1 << 18  # of mount.h
VARIABLES = {
    "columns": {"COLUMNS": "1", "LINES": "1"}, "zone": {"TZ": "Nowhere/At_All"}, "no_home": {"HOME": "/nonexistent"},
    "home_is_file": {"HOME": "/dev/null"}, "no_tmp": {"TMPDIR": "/nonexistent", "TMP": "/nonexistent"},
    "tmp_is_proc": {"TMPDIR": "/proc"}, "term": {"TERM": "dumb", "NO_COLOR": "1"},
}  # fmt: skip
# Variables that Python reads at its start, so that each needs a process of its own.
INTERPRETER = {
    "notebook": {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}, "optimize": {"PYTHONOPTIMIZE": "2"},
    "ascii": {"PYTHONIOENCODING": "ascii"}, "c_locale": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "unbuffered": {"PYTHONUNBUFFERED": "1", "PYTHONHASHSEED": "7"}, "no_bytecode": {"PYTHONDONTWRITEBYTECODE": "1"},
}  # fmt: skip
NAMES = {
    "latin1": b"caf\xe9", "spaces": b"a folder  with spaces ", "unicode": "f\u00fcr \u97f3 \U0001f3bb".encode(),
    "newline": b"two\nlines", "quotes": b"it's \"quoted\"", "dots": b"..emb.v1.", "percent": b"100%d {x} %s",
    "long": b"x" * 200,
}  # fmt: skip
DESCRIPTORS = (12, 16, 24, 32, 64)


def cases() -> Iterator[Case]:
    """Give the scripts odd variables, streams, limits, folders and names."""
    for name, streams in STREAMS.items():
        for script in ("eval", "data/check_data", "data/train_val_split_small", "embed"):
            yield Case(f"stream_{name}_{script}", partial(_run, script, prepare=streams))
    for name, variables in VARIABLES.items():
        for script in ("train_AVENet", "separate", "eval", "data/build_shards"):
            yield Case(f"variable_{name}_{script}", partial(_run, script, env=variables))
    for name, variables in INTERPRETER.items():
        for script in ("eval", "train_AVENet", "data/make_demo_data"):
            yield Case(f"python_{name}_{script}", partial(_run_help, script, variables))
    for name, word in NAMES.items():
        for script in QUICK:
            yield Case(f"output_{name}_{script}", partial(_run, script, out_name=word))
            yield Case(f"input_{name}_{script}", partial(_run, script, source_name=word))
    for number in DESCRIPTORS:
        for script in ("train_AVENet", "eval", "embed", "separate", "data/check_data", "data/build_shards"):
            limit = partial(_limit, resource.RLIMIT_NOFILE, number)
            yield Case(f"descriptors_{number}_{script}", partial(_run, script, prepare=limit, workers=2))
    for script in ("train_AVENet", "eval", "embed", "data/check_data"):
        for name, shm in (("none", "ro"), ("small", "size=4k")) if may_mount() else ():
            yield Case(f"shm_{name}_{script}", partial(_run, script, prepare=partial(_mount_shm, shm), workers=2))
    for script in WRITERS:
        yield Case(f"cwd_{script}", partial(_run, script, cwd=Path("/")))
        yield Case(f"marks_{script}", partial(_run, script, change=_add_byte_order_marks))
    for script in ("train_AVENet", "eval", "data/check_data"):
        if may_mount():
            yield Case(f"read_only_repository_{script}", partial(_run, script, prepare=_make_repository_read_only))
        yield Case(f"linked_repository_{script}", partial(_run_from_link, script))


def _run(
    script: str,
    folder: Path,
    prepare: Callable[[], None] = lambda: None,
    env: dict[str, str] | None = None,
    cwd: Path = ROOT,
    out_name: bytes = b"out",
    source_name: bytes = b"",
    change: Callable[[Path], None] | None = None,
    workers: int = 1,
) -> str:
    """Run a script and judge what it says and leaves."""
    source, out = material(), folder / os.fsdecode(out_name)
    if source_name or change:
        source = shutil.copytree(material(), folder / os.fsdecode(source_name or b"source"))
    if change:
        change(source)
    out.mkdir()
    words = words_of(script, source, out, workers)[1:]
    words = [str(ROOT / word) if word.startswith("configs/") else word for word in words]
    return judge(run_command(words, cwd, env, prepare=prepare), out, script)


def judge(outcome: Outcome, out: Path, script: str) -> str:
    """Describe what is wrong with an outcome and with the files in `out`, "" if nothing."""
    found = problem(outcome) or broken_files(out)
    found = found or (missing_files(out, script) if outcome.code == 0 else "")
    left = leftovers(out)
    if outcome.code and script.startswith("train"):
        left = [name for name in left if name != ".lock"]  # removed at the exit of Python, which a forked child skips
    return found or (f"leaves {left[0]}" if left else "")


def _run_help(script: str, env: dict[str, str], folder: Path) -> str:
    words = [sys.executable, f"{script}.py", "--help"]
    done = subprocess.run(words, cwd=ROOT, env=os.environ | env, capture_output=True, text=True, errors="replace")
    outcome = Outcome(done.returncode, done.stdout, done.stderr)
    return problem(outcome) or ("" if done.returncode == 0 and "usage" in done.stdout else "shows no help")


def _run_from_link(script: str, folder: Path) -> str:
    (folder / "my r\u00e9pository").symlink_to(ROOT)
    out = folder / "out"
    out.mkdir()
    words = words_of(script, material(), out)
    done = subprocess.run(words, cwd=folder / "my r\u00e9pository", capture_output=True, text=True)
    return judge(Outcome(done.returncode, done.stdout, done.stderr), out, script)


# ---------------------------------------------------------------------------------------------------- preparations


def _set_encoding(encoding: str) -> None:
    for name in ("stdout", "stderr"):
        number = 1 if name == "stdout" else 2
        stream = open(number, "w", encoding=encoding, errors="strict", closefd=False, buffering=1)  # noqa: SIM115
        setattr(sys, name, stream)


def _close(number: int) -> None:
    os.close(number)
    setattr(sys, ("stdin", "stdout", "stderr")[number], None)


def _redirect(number: int, path: str) -> None:
    file = os.open(path, os.O_RDWR)
    os.dup2(file, number)
    os.close(file)
    stream = open(number, "w", closefd=False)  # noqa: SIM115
    setattr(sys, ("stdin", "stdout", "stderr")[number], stream)


STREAMS: dict[str, Callable[[], None]] = {
    "ascii": partial(_set_encoding, "ascii"),
    "latin1": partial(_set_encoding, "latin-1"),
    "utf16": partial(_set_encoding, "utf-16"),
    "no_stdin": partial(_close, 0),
    "no_stdout": partial(_close, 1),
    "full_stdout": partial(_redirect, 1, "/dev/full"),
    "null_stdin": partial(_redirect, 0, "/dev/null"),
}


def _limit(which: int, number: int) -> None:
    resource.setrlimit(which, (number, number))


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """Mount a file system, as mount(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode()):
        raise OSError(ctypes.get_errno(), f"mount {target}")


def may_mount() -> bool:
    """Whether this process may mount file systems."""
    return os.geteuid() == 0 and os.access("/proc/self/mounts", os.R_OK)


def enter_mount_namespace() -> None:
    """Give this process mounts of its own, which end with it."""
    if ctypes.CDLL(None).unshare(CLONE_NEWNS):
        raise OSError("no permission for a mount namespace")
    mount("none", "/", "", MS_REC | MS_PRIVATE)


def _mount_shm(options: str) -> None:
    enter_mount_namespace()
    read_only = options == "ro"
    mount("none", "/dev/shm", "tmpfs", MS_RDONLY if read_only else 0, "" if read_only else options)


def _make_repository_read_only() -> None:
    enter_mount_namespace()
    mount(str(ROOT), str(ROOT), "", MS_BIND)
    mount("none", str(ROOT), "", MS_BIND | MS_REMOUNT | MS_RDONLY)


def _add_byte_order_marks(source: Path) -> None:
    for path in (*source.rglob("*.json"), *source.rglob("*.csv"), source / "infos/classes.txt"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
