"""Start processes that train together, as torchrun does, and read what they leave."""

import itertools
import multiprocessing
import os
import re
import signal
import sys
import time
from multiprocessing import forkserver
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from kill_and_resume import REPOSITORY, train_command

import train_AVENet
from models import losses
from utils import distributed
from utils.errors import exit_on_user_error
from utils.run import read_log

DEMO = "configs/demo_AVENet.py"
FORKS = multiprocessing.get_context("forkserver")  # its processes start with all of this imported
FORKS.set_forkserver_preload(["__main__", "test_distributed", "utils.tensorboard_log", "torch._dynamo"])


def import_once():
    """For a fixture of a module: its processes have one thread and start with everything imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv(
            "PYTHONPATH", f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'tests'}{os.pathsep}{REPOSITORY / 'tests/utils'}"
        )
        forkserver.ensure_running()
        yield


def together(count, folder, work, *args, environment=()):
    """Run work(*args) in `count` processes that train together, with this environment besides.

    Returns:
        list of namespaces, one a process: code, its exit code; out, err: what it said; result: of work, or None.
    """
    folder.mkdir(parents=True, exist_ok=True)
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # torchrun keeps it too
    places = [folder / f"process{number}" for number in range(count)]
    started = [
        FORKS.Process(target=_start, args=(number, count, store.port, place, work, args, dict(environment)))
        for number, place in enumerate(places)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
        if process.exitcode is None:
            process.kill()
    return [_ended(process, place) for process, place in zip(started, places, strict=True)]


# What torch 2.9 prints by itself: how processes are connected, and a warning with its line of source.
OF_TORCH = re.compile(r"^\[Gloo\] Rank .*\n|^.*API settings to control TF32 behavior.*\n(?:  .*\n)?", re.M)


def _ended(process, place):
    result = place.with_suffix(".pt")
    return SimpleNamespace(
        code=process.exitcode,
        out=OF_TORCH.sub("", place.with_suffix(".out").read_text()),
        err=OF_TORCH.sub("", place.with_suffix(".err").read_text()),
        result=torch.load(result, weights_only=False) if result.exists() else None,
    )


def _start(number, count, port, place, work, args, environment):
    os.environ.update(
        environment,
        RANK=str(number),
        LOCAL_RANK=str(number),
        WORLD_SIZE=str(count),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        TORCHELASTIC_USE_AGENT_STORE="True",
        TORCHELASTIC_RESTART_COUNT="0",
    )
    os.chdir(REPOSITORY)
    torch.set_num_threads(1)
    for stream, suffix in ((sys.stdout, ".out"), (sys.stderr, ".err")):
        stream.flush()
        os.dup2(os.open(place.with_suffix(suffix), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream.fileno())
    with exit_on_user_error(), distributed.process_group():
        torch.save(work(*args), place.with_suffix(".pt"))


def train(root, run_dir, settings, *words, norm="fixed", at=None, script=train_AVENet, config=DEMO):
    """Run a training script. norm "fixed": batch norm by its running statistics, as if there were none.

    at: {(number of the process, call of the loss): what to do then}.
    """
    if norm == "fixed":
        torch.nn.BatchNorm2d.forward = lambda self, x: F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias
        )
    calls, loss = itertools.count(1), losses.avc_loss

    def counted(*args):
        (at or {}).get((distributed.rank(), next(calls)), lambda: None)()
        return loss(*args)

    losses.avc_loss = counted
    script.main(train_command(root, run_dir, settings, *words, config=config)[2:])


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def curve(run_dir, kind="train"):
    """{step: loss} of a run's log; a step that is logged twice is an error."""
    found = [(line["step"], line["loss"]) for line in read_log(run_dir) if line["kind"] == kind]
    assert len(dict(found)) == len(found)
    return dict(found)


def said_once(ended, *parts):
    """All processes ended with a user's mistake, exit code 2, and one of them said so in one sentence."""
    assert [process.code for process in ended] == [2] * len(ended), [process.err for process in ended]
    said = [line for process in ended for line in process.err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1 and not any("Traceback" in process.err for process in ended), said
    for part in parts:
        assert part in said[0]
    return True


def wait_for(found, seconds=60):
    """Wait until a callable finds what it looks for."""
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end
        time.sleep(0.05)
