"""A dataset, a run and its evaluation that several test files share: the net is trained once."""

import json
import shutil

import pytest
from helpers import make_dataset
from kill_and_resume import command, train_command
from training import SETTINGS, run


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "clips", train=24, val=8, test=10, classes=6)


@pytest.fixture(scope="session")
def whole(data, tmp_path_factory):
    """A run that was never stopped: its directory and the finished process."""
    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    done = run(train_command(data, run_dir, SETTINGS))
    assert done.returncode == 0, done.stderr
    return run_dir, done


@pytest.fixture(scope="session")
def evaluated(whole):
    """What eval.py wrote beside the checkpoint: metrics.json, the folder, the finished process."""
    folder = whole[0] / "eval_test"
    done = run(command("eval.py", {"checkpoint": whole[0] / "best.pt"}))
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "metrics.json").read_text()), folder, done


@pytest.fixture
def copied(whole, tmp_path):
    """A copy of the finished run that a test may spoil."""
    return shutil.copytree(whole[0], tmp_path / "run")
