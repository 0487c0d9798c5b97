"""What several test files share: scripts that are ready sooner, shards."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported
    # The processes of `pytest -n 2` share the cores: with two threads each they wait for one another, and all takes
    # several times the CPU time. `make processors` runs the nets' tests on two threads.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each script that is started compiles this repository anew

import numpy as np
import pytest
import torch
from kill_and_resume import REPOSITORY, one_thread

from data import build_shards

# A shell that starts the tests in the background lets them, and all that they start, ignore Ctrl-C; nohup likewise.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


# pytest, torch, OpenCV and OpenMP set these when they are first used.
BY_LIBRARIES = {"PYTEST_CURRENT_TEST", "TORCHINDUCTOR_CACHE_DIR", "LD_LIBRARY_PATH", "KMP_INIT_AT_FORK"}


def process_state():
    """What a test may change for the tests after it in the same process, and for the programs that they start."""
    return {
        "environment": {name: value for name, value in os.environ.items() if name not in BY_LIBRARIES},
        "folder": os.getcwd(),
        "module search path": list(sys.path),
        "signal handlers": {number: signal.getsignal(number) for number in (1, 2, 15)},
        "numpy's errors": np.geterr(),
        "threads": torch.get_num_threads(),
        "type of numbers": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "precision of products": torch.get_float32_matmul_precision(),
    }


def set_back(before):
    """Set back what Ray, Jupyter and onnxruntime change when they are first used, which slow tests do."""
    os.environ.clear()
    os.environ.update(before["environment"])
    sys.path[:] = before["module search path"]
    for number, handler in before["signal handlers"].items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def same_process(request):
    """Tests don't depend on which others ran before: each starts from the same seed, and leaves no state behind."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)
    before, kept = process_state(), {name: os.environ[name] for name in BY_LIBRARIES if name in os.environ}
    yield
    if request.node.get_closest_marker("slow"):
        set_back(before)
        os.environ.update(kept)
    after = process_state()
    changed = [name for name in before if after[name] != before[name]]
    variables = dict(set(after["environment"].items()) ^ set(before["environment"].items()))
    assert after == before, f"{changed} {variables}"


# Runs scripts one after the other as `python SCRIPT ...` does, each in a process of its own that is forked once the
# libraries are imported, also those of the first step and of the reports, and ends without taking them down: a fraction
# of a second in the place of five. Answers with the process's number, later with its exit code.
FORKING = """
import atexit, json, os, runpy, signal, sys, traceback
import eval, train_AVENet, train_PixelPlayer, train_VOLNet
import PIL.Image, sklearn.manifold, tensorboard.summary.writer.record_writer, torch._dynamo
from evaluation.report.plotting import load_matplotlib
from evaluation.report.templating import template_environment
PIL.Image.init()
load_matplotlib()
for page in ("report.html", "run.html"):
    template_environment().get_template(page)
for line in iter(sys.stdin.readline, ""):
    words, out, err = json.loads(line)
    child = os.fork()
    if not child:
        os.setsid()
        signal.alarm(300)
        for number, path in ((1, out), (2, err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.argv, code = words, 0
        sys.path.insert(0, os.path.dirname(words[0]))
        try:
            runpy.run_path(words[0], run_name="__main__")
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
            code = 1
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(code)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="session")
def script(tmp_path_factory):
    """A callable (words of `python SCRIPT ...`, meanwhile) -> the finished process; one process after the other.

    meanwhile(pid) is called once it has started; the process leads a group of its own.
    """
    out, err = (tmp_path_factory.mktemp("output") / name for name in ("stdout", "stderr"))
    server = subprocess.Popen(
        [sys.executable, "-c", FORKING], cwd=REPOSITORY, env=one_thread(), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip

    def run_forked(words, meanwhile=None):
        server.stdin.write(json.dumps([list(map(str, words[1:])), str(out), str(err)]) + "\n")
        server.stdin.flush()
        pid = int(server.stdout.readline())
        try:
            if meanwhile:
                meanwhile(pid)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            raise
        finally:
            code = int(server.stdout.readline())
        return subprocess.CompletedProcess(words, code, out.read_text(), err.read_text())

    yield run_forked
    server.stdin.close()
    server.wait(60)


@pytest.fixture
def make_shards(monkeypatch):
    """`data.build_shards.build` of small shards in this process: (SRC, DST, on_error, settings that differ)."""

    def in_turn(function, jobs, workers):
        for job in jobs:
            yield job, function(*job)

    def build(source, target, on_error="stop", **settings):
        usual = {"fps": 5.0, "size": 256, "square": False, "quality": 90, "rate": 8000, "clips": 2}
        return build_shards.build(source, target, usual | settings, 1, on_error)

    monkeypatch.setattr(build_shards, "map_clips", in_turn)
    return build


@pytest.fixture(scope="module")
def ray_cluster():
    """A cluster of one machine with one core; tests add others."""
    utils = pytest.importorskip("ray.cluster_utils", reason="Ray is optional: pip install ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    small = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    made = utils.Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
    made.small = small
    yield made
    sys.modules["ray"].shutdown()
    made.shutdown()
