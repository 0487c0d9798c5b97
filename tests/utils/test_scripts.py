"""How a script ends, whatever it was started from: one sentence for what the machine lacks, streams, signals."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from kill_and_resume import REPOSITORY

from utils.errors import MachineError, translate_machine_errors
from utils.system_errors import describe_machine_error, is_shortage

SCRIPT = """
import os, signal, sys, time
from utils.errors import UserError, exit_on_user_error
with exit_on_user_error("lower --batch"):
    {}
"""


def start(body, **options):
    """Start a script with this body."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen([sys.executable, "-c", SCRIPT.format(body)], cwd=REPOSITORY, text=True, **pipes)


def run(body, **options):
    """Run it: (exit code, stdout, stderr)."""
    process = start(body, **options)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a/b.npz"), ["a/b.npz", "free some disk space"]),
        (OSError(errno.EROFS, "Read-only file system", "a"), ["a can't", "choose a place that can be written"]),
        (OSError(errno.EMFILE, "Too many open files", "c.mp4"), ["c.mp4", "ulimit -n"]),
        (MemoryError(), ["memory is short", "lower --batch"]),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 12 bytes"), ["lower --batch"]),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
            ["clips was killed", "lower --batch"],
        ),
        (RuntimeError("can't start new thread"), ["no more processes or threads", "ulimit -u"]),
        (FileNotFoundError(2, "No usable temporary directory found in ['/x']"), ["set TMPDIR"]),
        (ImportError("x.so: failed to map segment from shared object"), ["memory is short"]),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
            ["the GPU's memory", "lower --gpu", "end other"],
        ),
    ],
)
def test_an_error_of_the_machine_is_one_sentence_that_says_what_to_do(error, parts):
    with pytest.raises(MachineError) as caught, translate_machine_errors("lower --batch", "lower --gpu"):
        raise error
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 1


@pytest.mark.parametrize("error", [RuntimeError("shapes (2, 3) and (4, 5) differ"), ImportError("no module named x")])
def test_a_fault_of_ours_keeps_its_traceback(error):
    assert describe_machine_error(error, "") is None
    code, _, err = run(f"raise {error!r}")
    assert code == 1 and "Traceback" in err


def test_torch_says_that_memory_is_short_as_expected():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_shortage(caught.value)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("print('\\u97f3 \\udce9')", (0, "\\u97f3 \\udce9\n", "")),
        ("raise UserError('\\u97f3 is missing')", (2, "", "error: \\u97f3 is missing\n")),
        ("raise MemoryError", (1, "", "error: memory is short: lower --batch\n")),
    ],
)
def test_characters_that_a_stream_cannot_show_are_escaped(body, expected):
    assert run(body, env=os.environ | {"PYTHONIOENCODING": "ascii"}) == expected


def test_a_full_stdout_is_an_error_and_a_closed_one_is_not(tmp_path):
    for body in ("print(1)", "print('x' * 100_000)", "print(1); sys.exit(0)"):
        with open("/dev/full", "w") as full:
            code, _, err = run(body, stdout=full)
        assert (code, err.count("\n")) == (1, 1) and "output can't be written (No space" in err
    words = [sys.executable, "-c", SCRIPT.format("print(1); print(2, file=sys.stderr)")]
    for closed in (">&-", "2>&-", ">&- 2>&- <&-"):
        done = subprocess.run(["bash", "-c", f'"$@" {closed}', "-", *words], cwd=REPOSITORY, capture_output=True)
        assert done.returncode == 0 and b"Traceback" not in done.stderr


def test_a_file_never_takes_the_place_of_a_closed_stderr(tmp_path):
    body = f"file = open('{tmp_path}/a', 'w'); os.write(2, b'noise of a C library'); file.write('mine')"
    words = [sys.executable, "-c", SCRIPT.format(body)]
    subprocess.run(["bash", "-c", '"$@" >&- 2>&-', "-", *words], cwd=REPOSITORY, check=True)
    assert (tmp_path / "a").read_text() == "mine"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_script_that_is_ended_cleans_up(number):
    process = start("\n    try:\n        print(flush=True); time.sleep(60)\n    finally: print('cleaned')")
    assert process.stdout.readline() == "\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "cleaned\n", "interrupted\n")


def test_nohup_keeps_a_script_running():
    process = start("print(flush=True); sys.stdin.read(); print('done')", stdin=subprocess.PIPE,
                    preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))  # fmt: skip
    assert process.stdout.readline() == "\n"
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=60)[0] == "done\n" and process.returncode == 0


def test_a_child_ends_within_a_second_of_a_parent_that_is_killed():
    body = """
    from utils.child_processes import end_with_parent
    if not os.fork():
        end_with_parent()
        print(os.getpid(), flush=True)
    time.sleep(60)"""
    process = start(body)
    child = int(process.stdout.readline())
    process.kill()
    process.wait()
    end = time.monotonic() + 1
    status = Path(f"/proc/{child}/stat")
    while status.exists() and " Z " not in status.read_text():
        assert time.monotonic() < end
        time.sleep(0.01)
