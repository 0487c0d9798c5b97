"""Processes that train together compare code, settings, clips and run directory first, and wait for nobody in vain.

The processes are started as torchrun starts them, on the CPU through gloo.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import torch
from helpers import make_dataset
from kill_and_resume import REPOSITORY, SMALL, one_thread
from processes import import_once, terminate, together, train

from utils import agreement, clock, device, distributed
from utils.errors import UserError

SETTINGS = SMALL | {"train.batch_size": 4, "train.workers": 0, "train.epochs": 1, "eval.batch_size": 2}
pytestmark = pytest.mark.usefixtures("_imports_once")


@pytest.fixture(scope="module")
def _imports_once():
    yield from import_once()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "clips", train=8, val=3, test=0)


@pytest.fixture(scope="module")
def fewer(data):
    """The same clips without one of training."""
    root = data.with_name("fewer")
    shutil.copytree(data, root)
    genres = json.loads((root / "train/vid2genre.json").read_text())
    clip, _ = genres.popitem()
    (root / "train/vid2genre.json").write_text(json.dumps(genres))
    for file in (root / "train").glob(f"*/{clip}.*"):
        file.unlink()
    return root


def all_say(ended, *parts):
    """All processes ended with exit code 2 and the same sentence."""
    assert [process.code for process in ended] == [2] * len(ended), [process.err for process in ended]
    said = {line for process in ended for line in process.err.splitlines() if line.startswith("error: ")}
    for process in ended:
        assert process.err.count("error: ") == 1 and "Traceback" not in process.err, process.err
    assert len(said) == 1, said
    for part in parts:
        assert part in said.copy().pop()
    return True


def _each(roots, run_dirs, settings, *words):
    """Train with each process's own dataset, run directory and settings."""
    number = distributed.rank()
    agreement.LOOK_SECONDS = 0.5
    train(roots[number], run_dirs[number], settings[number], *words)


def test_other_clips_are_said_by_every_process_with_both_numbers(data, fewer, tmp_path):
    run_dir = tmp_path / "run"
    ended = together(2, tmp_path, _each, (data, fewer), (run_dir, run_dir), (SETTINGS, SETTINGS))
    assert all_say(ended, "the train clips of process 1", "7 here, 8 there", "--data.root")
    assert not run_dir.exists()


def test_other_settings_are_said_by_every_process_with_both_values(data, tmp_path):
    run_dir = tmp_path / "run"
    ended = together(
        2, tmp_path, _each, (data, data), (run_dir, run_dir), (SETTINGS, SETTINGS | {"train.save_every": 3})
    )
    assert all_say(ended, "--train.save_every of process 1", "is 3")


def test_a_run_directory_that_one_process_does_not_see_is_said_by_all(data, tmp_path):
    ended = together(2, tmp_path, _each, (data, data), (tmp_path / "here", tmp_path / "there"), (SETTINGS, SETTINGS))
    assert all_say(ended, "process 1", str(tmp_path / "there"), "--train.run_dir")
    assert not list((tmp_path / "here").glob("*.tmp")) and not list((tmp_path / "here").glob(".*.tmp"))


def test_paths_and_what_a_machine_has_may_differ(data, tmp_path):
    """A dataset and a run directory that are mounted elsewhere, and a machine with fewer cores."""
    (tmp_path / "run").mkdir()
    (tmp_path / "mounted").symlink_to(tmp_path / "run")
    (tmp_path / "data").symlink_to(data)
    ended = together(
        2, tmp_path, _each, (data, tmp_path / "data"), (tmp_path / "run", tmp_path / "mounted"),
        (SETTINGS, SETTINGS | {"train.workers": 1}),
    )  # fmt: skip
    assert [process.code for process in ended] == [0, 0], ended[0].err + ended[1].err


def test_another_version_of_the_code_is_a_difference(tmp_path, monkeypatch):
    (tmp_path / "utils").mkdir()
    (tmp_path / "utils/a.py").write_text("x = 1\n")
    monkeypatch.setattr(agreement, "CODE", tmp_path)
    facts = {"code": agreement.code_digest(), "versions": {}, "settings": {}, "clips": {}}
    assert agreement.describe_difference(facts, facts) == ""
    (tmp_path / "utils/a.py").write_text("x = 2\n")
    assert "another version of this code" in agreement.describe_difference(
        facts | {"code": agreement.code_digest()}, facts
    )


def test_clips_of_the_same_number_and_other_order_are_a_difference():
    facts = {"code": "", "versions": {}, "settings": {}, "clips": {"val": (2, "x")}}
    assert "val clips" in agreement.describe_difference(facts | {"clips": {"val": (2, "y")}}, facts)


# ----------------------------------------------------------------------------------------------------------- signals


def _waits():
    """Process 1 waits for process 0, which hangs, and gets SIGTERM meanwhile."""
    _terminate_one()
    distributed.broadcast_object(None)


def _waits_in_training():
    """As `_waits`, while signals are caught to stop after the step."""
    clock.PATIENCE = 0.5
    of_run = clock.RunClock(SimpleNamespace(max_minutes=0, epochs=1), 1)
    with of_run.catch_signals():
        _terminate_one()
        of_run.sync(4)


def _terminate_one():
    distributed.broadcast_object(None)  # both are there
    if distributed.rank() == 0:
        time.sleep(3)
        print("late", flush=True)
        os._exit(0)
    threading.Timer(0.5, terminate).start()


@pytest.mark.parametrize("work", [_waits, _waits_in_training])
def test_a_process_that_waits_reacts_to_sigterm(tmp_path, work):
    _, waiting = together(2, tmp_path, work)
    assert waiting.code == 130 and "has ended" not in waiting.err, waiting.err
    said, late = ((tmp_path / name).stat().st_mtime for name in ("process1.err", "process0.out"))
    assert said < late - 1  # it didn't wait for process 0 to end


def test_a_process_that_waits_for_others_to_start_reacts_to_sigterm(tmp_path):
    code = (
        "from utils import distributed; from utils.errors import exit_on_user_error\n"
        "distributed.NOTE_SECONDS = 0.1\nprint('ready', flush=True)\n"
        "with exit_on_user_error(), distributed.process_group(): pass"
    )
    env = one_thread() | {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    started = subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPOSITORY, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert started.stdout.readline() == "ready\n"
    time.sleep(1)
    started.terminate()
    try:
        said = started.communicate(timeout=10)[1]
        assert "process 0 of 2 is waiting for the others at 127.0.0.1:" in said and said.endswith("interrupted\n")
    finally:
        started.kill()
    assert started.returncode == 130


# --------------------------------------------------------------------------------------------------------------- GPUs


@pytest.mark.parametrize(("visible", "local", "chosen"), [(1, 3, 0), (4, 3, 3), (1, 0, 0)])
def test_a_process_takes_the_gpu_with_its_number_or_the_only_one_it_sees(monkeypatch, visible, local, chosen):
    """`srun --gpus-per-task=1` shows each process its own GPU alone."""
    taken = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: visible)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setenv("LOCAL_RANK", str(local))
    distributed._select_gpu()
    assert taken == [chosen]


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match="nproc-per-node"):
        distributed._select_gpu()


def _one_gpu(ids):
    torch.cuda.device_count, torch.cuda.is_available = lambda: 1, lambda: True
    torch.cuda.set_device = lambda number: None
    distributed._gpu_id = lambda: ids[distributed.rank()]
    distributed._select_gpu()


def test_two_processes_on_one_gpu_are_refused_and_each_on_its_own_are_not(tmp_path):
    ended = together(2, tmp_path / "one", _one_gpu, ("GPU-1", "GPU-1"))
    said = [process.err for process in ended if process.err]
    assert [process.code for process in ended] == [2, 2] and len(said) == 1 and "same GPU" in said[0]
    assert [process.code for process in together(2, tmp_path / "two", _one_gpu, ("GPU-1", "GPU-2"))] == [0, 0]


def test_apples_gpu_is_not_used_and_that_is_said(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.pick_device().type == "cpu" and "MPS" in device.gpu_problem()


# -------------------------------------------------------------------------------------------------------- environment


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"WORLD_SIZE": "2"}, "RANK and MASTER_ADDR and MASTER_PORT"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two'"),
        ({"WORLD_SIZE": "2", "RANK": "x", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}, "RANK is 'x'"),
    ],
)
def test_a_half_set_environment_is_one_sentence(monkeypatch, changes, said):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=said), distributed.process_group():
        pass


def _fails(how):
    if distributed.rank() == 1:
        raise {"mistake": UserError("a mistake"), "fault": KeyError("a fault")}[how]
    distributed.broadcast_object(None)
    distributed.all_gather_object(None)


@pytest.mark.parametrize("how", ["mistake", "fault"])
def test_every_exit_leaves_the_group(tmp_path, how):
    first, second = together(2, tmp_path, _left, how)
    assert second.code in (1, 2) and first.code in (1, 2), first.err + second.err
    assert "left True" in first.out and "left True" in second.out


def _left(how):
    leave = distributed._leave

    def watched():
        leave()
        print("left", not torch.distributed.is_initialized(), flush=True)

    distributed._leave = watched
    _fails(how)


def _full_shm():
    if distributed.rank() == 1:
        raise torch.distributed.DistBackendError(
            "NCCL error in: /pytorch/NCCLUtils.hpp:268, unhandled system error, NCCL version 2.21.5\nncclSystemError: "
            "System call (e.g. socket, malloc) or external library call failed or device error. \nLast error:\n"
            "Error while creating shared memory segment /dev/shm/nccl-1YsMbG (size 7340384)"
        )
    distributed.broadcast_object(None)
    distributed.all_gather_object(None)


def test_a_full_dev_shm_is_said_once_by_the_process_that_met_it(tmp_path):
    first, second = together(2, tmp_path, _full_shm)
    assert (first.code, second.code) == (1, 1) and first.err == ""
    assert "--shm-size" in second.err and "nccl-1YsMbG" in second.err and "has ended" not in second.err
    assert "Traceback" not in second.err


def test_a_wrong_network_interface_is_said_by_every_process(tmp_path):
    for process in together(2, tmp_path, print, environment={"GLOO_SOCKET_IFNAME": "nope"}):
        assert process.code == 1 and "error: process" in process.err and "Traceback" not in process.err, process.err
        assert "Unable to find address for: nope" in process.err and "GLOO_SOCKET_IFNAME" in process.err
