"""What several test files share: scripts that are ready sooner, shards."""

import json
import os
import signal
import subprocess
import sys

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported
    # The processes of `pytest -n 2` share the cores: with two threads each they wait for one another, and all takes
    # several times the CPU time. `make processors` runs the nets' tests on two threads.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from kill_and_resume import REPOSITORY, one_thread

from data import build_shards

# A shell that starts the tests in the background lets them, and all that they start, ignore Ctrl-C; nohup likewise.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Runs scripts one after the other as `python SCRIPT ...` does, each in a process of its own that is forked once the
# libraries are imported, and ends without taking them down: a fraction of a second in the place of five.
FORKING = """
import atexit, json, os, runpy, signal, sys, traceback
import eval, train_AVENet, train_PixelPlayer, train_VOLNet
import tensorboard.summary.writer.record_writer
for line in iter(sys.stdin.readline, ""):
    words, out, err = json.loads(line)
    child = os.fork()
    if not child:
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
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="session")
def script(tmp_path_factory):
    """A callable (words of `python SCRIPT ...`) -> the finished process; one process after the other."""
    out, err = (tmp_path_factory.mktemp("output") / name for name in ("stdout", "stderr"))
    server = subprocess.Popen(
        [sys.executable, "-c", FORKING], cwd=REPOSITORY, env=one_thread(), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip

    def run_forked(words):
        server.stdin.write(json.dumps([list(map(str, words[1:])), str(out), str(err)]) + "\n")
        server.stdin.flush()
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
