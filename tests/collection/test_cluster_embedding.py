"""embed.py on the machines of a cluster embeds the same rows as on one machine."""

import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers import make_dataset, small_checkpoint
from kill_and_resume import REPOSITORY, one_thread

import embed
from collection import cluster_embedding
from collection.storage import load_collection
from dataset.making.workers.ray_cluster import RayCluster


class Backwards(RayCluster):
    """In the place of a cluster: makes the calls in this process, the last ones first."""

    def __init__(self):
        pass

    def map(self, function, jobs, chunk_size, time_limit):
        for job in reversed(list(jobs)):
            yield job, function(*job)


@pytest.fixture
def folder(tmp_path):
    make_dataset(tmp_path / "set", train=7, val=0, test=0)
    (tmp_path / "set" / "train" / "video" / "no_video.mp4").write_bytes(b"no video")
    small_checkpoint(tmp_path / "best.pt")
    return tmp_path


def words(folder, name, *more):
    source = folder / "set" / "train" / "video"
    return ["--checkpoint", f"{folder / 'best.pt'}", "--input", f"{source}", "--out", f"{folder / name}", *more]


def rows(path):
    found = load_collection(path)
    return {key: np.asarray(getattr(found, key)) for key in ("files", "times", "frames", "sounds")}, found.about


def compare(folder):
    (ours, about), (theirs, other) = rows(folder / "ray.npz"), rows(folder / "own.npz")
    for key, values in theirs.items():
        np.testing.assert_allclose(ours[key], values, atol=1e-5, err_msg=key)
    assert about["files"] == other["files"] and about["skipped"] == other["skipped"]
    assert len(ours["times"]) > 0 and "no_video.mp4" in about["skipped"]
    assert (folder / "ray.csv").read_bytes() == (folder / "own.csv").read_bytes()
    assert (folder / "ray_left_out.csv").read_bytes() == (folder / "own_left_out.csv").read_bytes()


def test_rows_come_in_any_order_and_are_those_of_one_machine(folder, monkeypatch, capsys):
    embed.main(words(folder, "own"))
    monkeypatch.setattr(embed, "read_engine", lambda *_, **__: Backwards())
    monkeypatch.setattr(cluster_embedding, "CALL_FILES", 3)
    embed.main(words(folder, "ray", "--engine", "ray"))
    compare(folder)

    # A collection that a cluster has made is carried on by one machine, and the other way round.
    capsys.readouterr()
    monkeypatch.undo()
    embed.main(words(folder, "ray"))
    assert "nothing is new" in capsys.readouterr().out


@pytest.mark.slow
def test_a_machine_is_killed_half_way(folder, ray_cluster):
    videos = folder / "set" / "train" / "video"
    first = min(videos.glob("0*.mp4"), default=min(videos.glob("*.mp4")))
    for k in range(5 * cluster_embedding.CALL_FILES):
        shutil.copy(first, videos / f"copy{k:04d}.mp4")
    node = ray_cluster.add_node(**ray_cluster.small)
    more = ["--engine", "ray", "--address", ray_cluster.address]
    process = subprocess.Popen(
        [sys.executable, "embed.py", *words(folder, "ray", *more)], cwd=REPOSITORY, env=one_thread()
    )
    while not list(folder.glob("ray.parts/*.npz")) and process.poll() is None:
        time.sleep(0.05)
    assert process.poll() is None and os.listdir(folder / "ray.parts")
    ray_cluster.remove_node(node, allow_graceful=False)
    assert process.wait(300) == 0
    embed.main(words(folder, "own"))
    compare(folder)
