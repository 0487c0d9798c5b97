"""A Ray cluster does what the processes of one machine do, and writes the same files, also if a machine dies."""

import argparse
import csv
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from helpers import make_clip, write_genres
from kill_and_resume import REPOSITORY, one_thread

from data import check_data
from dataset.making.workers.clip_map import map_clips, read_workers
from dataset.making.workers.processes import Lost
from dataset.making.workers.ray_cluster import RayCluster
from utils.arguments import add_worker_options
from utils.errors import UserError


def parse(*words):
    parser = argparse.ArgumentParser()
    add_worker_options(parser.add_argument)
    return parser.parse_args(words)


def test_the_processes_of_this_machine_are_the_usual_engine():
    assert read_workers(parse()) == os.cpu_count()
    assert read_workers(parse("--workers", "3", "--engine", "processes")) == 3
    assert dict(map_clips(eval, [("1 + 1",), ("2 + 2",)], 1)) == {("1 + 1",): 2, ("2 + 2",): 4}


def test_mistakes_about_clusters_are_named(monkeypatch, tmp_path):
    with pytest.raises(UserError, match=r"--address is of a Ray cluster: give it with --engine ray"):
        read_workers(parse("--address", "localhost:6379"))
    monkeypatch.setitem(sys.modules, "ray", None)
    make_clip(tmp_path / "train", "a")
    write_genres(tmp_path / "train")
    with pytest.raises(UserError, match=r"--engine ray needs Ray: pip install ray, on all machines"):
        check_data.main([str(tmp_path), "--engine", "ray"])


@pytest.mark.slow
@pytest.mark.parametrize("address", ["localhost:1", "localhost", "localhost:99999", "no.such.host.invalid:6379"])
def test_there_is_no_such_cluster(address):
    pytest.importorskip("ray")
    with pytest.raises(UserError, match=f"--engine ray can't use the cluster at --address {address} .*`ray start"):
        RayCluster(address)


@pytest.mark.slow
def test_crashes_hangs_and_errors_are_those_of_processes(ray_cluster, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    before = signal.getsignal(signal.SIGTERM)
    workers = RayCluster(ray_cluster.address)
    assert signal.getsignal(signal.SIGTERM) is before
    jobs = [("1 + 1",), ("__import__('os').abort()",), ("__import__('time').sleep(600)",), ("2 + 2",)]
    for chunk_size in (1, 3):
        found = dict(map_clips(eval, jobs, workers, chunk_size, time_limit=lambda job: 2.0))
        assert found == {
            jobs[0]: 2, jobs[1]: Lost("damaged", "the decoder crashes on it"),
            jobs[2]: Lost("time limit", "takes longer than 2 s to read"), jobs[3]: 4,
        }  # fmt: skip
    with pytest.raises(ZeroDivisionError):
        list(map_clips(eval, [("1",), ("1 / 0",)], workers, 2))
    monkeypatch.setattr(os, "getcwd", lambda: "/no/such/folder")
    with pytest.raises(UserError, match=r"of the Ray cluster has no folder /no/such/folder"):
        list(map_clips(eval, [("1",)], workers))


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.slow
@pytest.mark.parametrize("is_killed", [False, True], ids=["all live", "one is killed"])
def test_files_are_those_of_one_machine_though_a_machine_dies(ray_cluster, tmp_path, is_killed):
    node = ray_cluster.add_node(**ray_cluster.small)
    files = make_clip(tmp_path / "set" / "train", "a", aac=True)
    for k in range(120):
        for path in files:
            shutil.copy(path, path.with_stem(f"c{k:03d}"))
    (tmp_path / "set" / "train" / "audio" / "c007.wav").unlink()
    write_genres(tmp_path / "set" / "train")
    on_ray = ["--engine", "ray", "--address", ray_cluster.address]
    tables = []
    for words in ([*on_ray, "--csv", str(tmp_path / "ray.csv")], ["--csv", str(tmp_path / "own.csv")]):
        command = [sys.executable, "data/check_data.py", str(tmp_path / "set"), *words]
        process = subprocess.Popen(command, cwd=REPOSITORY, env=one_thread(), text=True, stdout=subprocess.PIPE)
        kept = tmp_path / "ray.results.jsonl"
        if is_killed and on_ray[0] in words:
            while not kept.exists() or kept.read_bytes().count(b"\n") < 20:
                assert process.poll() is None
                time.sleep(0.05)
            ray_cluster.remove_node(node, allow_graceful=False)
        out, _ = process.communicate(timeout=300)
        assert process.returncode == 0 and "120 of 121 clips are ok" in out
        with open(words[-1], encoding="utf-8") as file:
            tables.append(list(csv.reader(file)))
    assert tables[0] == tables[1]
    if not is_killed:
        for name, words in (("ray", on_ray), ("own", [])):
            command = [sys.executable, "data/build_shards.py", str(tmp_path / "set"), str(tmp_path / name), *words]
            command += ["--size", "32", "--clips", "16", "--on_error", "skip"]
            subprocess.run(command, cwd=REPOSITORY, env=one_thread(), check=True, capture_output=True)
        assert digests(tmp_path / "ray") == digests(tmp_path / "own")
        ray_cluster.remove_node(node)
