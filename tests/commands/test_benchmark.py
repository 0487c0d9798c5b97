"""The benchmark compares ours with a baseline, and both do the same work."""

import json
import subprocess
import sys
import time

import av
import numpy as np
import pytest
import torch

import benchmark
from dataset import baseline_loaders
from evaluation.measures.ontology import load_ontology
from evaluation.measures.retrieval import DIRECTIONS, four_directions
from evaluation.speed import timing
from evaluation.speed.measure_benchmarks import baseline_ndcg, separation
from utils import memory


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return baseline_loaders.make_clips(tmp_path_factory.mktemp("clips") / "data", 2, seconds=2, different=1)


def test_the_clips_are_what_the_table_says(root):
    with av.open(str(root / "train" / "video" / "clip01.mp4")) as video:
        stream = video.streams.video[0]
        frames = list(video.decode(stream))
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 640, 360)
        assert [frame.key_frame for frame in frames] == [True] + [False] * 49


def test_baseline_samples_have_the_shapes_of_the_nets_inputs(root, tmp_path):
    rng = np.random.default_rng(0)
    frame = baseline_loaders.opencv_frame(root / "train" / "video" / "clip00.mp4", rng)
    assert frame.shape == (224, 224, 3) and frame.std() > 10
    frame, sound = baseline_loaders.read_npz(baseline_loaders.write_npz(root, tmp_path, "clip00", rng, count=2), rng)
    assert frame.shape == (3, 224, 224) and frame.dtype == np.float32 and abs(frame.mean()) < 2
    assert sound.shape == (257, 200) and sound.dtype == np.float32 and sound.std() > 0.1


def test_baseline_and_ours_compute_the_same_ndcg():
    rng, classes = np.random.default_rng(0), load_ontology()
    names = sorted(classes.names)
    labels = [[str(name) for name in rng.choice(names, rng.integers(1, 4), replace=False)] for _ in range(40)]
    v, a = rng.normal(size=(2, 40, 8)).astype(np.float32)
    found = four_directions(v, a, labels, classes, 5, full_ranking=False)
    baseline = baseline_ndcg(v, a, labels, classes, 5)
    assert baseline == pytest.approx({direction: found[direction]["ndcg"] for direction in DIRECTIONS}, abs=1e-9)


def test_functions_alternate_and_their_medians_are_compared():
    calls, ticks = [], iter([0, 1, 1, 3, 10, 14, 14, 15, 20, 22, 22, 32])  # baseline 1, 4, 2 s; ours 2, 1, 10 s
    rates = timing.interleave(
        3, lambda: next(ticks), baseline=lambda: calls.append("baseline") or 4, ours=lambda: calls.append("ours") or 8
    )
    assert calls == ["baseline", "ours"] * 3 and rates == [2.0, 4.0]
    assert timing.comparison("clips/s", *rates)["ratio"] == 2


def test_with_a_warm_up_the_first_call_after_the_baseline_does_not_count():
    calls, ticks = [], iter([0, 1, 1, 3])  # asked for by the counted runs alone
    rates = timing.interleave(
        1, lambda: next(ticks), warm_up=True, baseline=lambda: calls.append("baseline") or 4,
        ours=lambda: calls.append("ours") or 8,
    )  # fmt: skip
    assert calls == ["baseline", "ours", "ours"] and rates == [4.0, 4.0]


def test_the_work_of_a_step_is_that_of_its_convolutions():
    net = torch.nn.Conv2d(3, 8, 3, padding=1)
    forward = 2 * 3 * 8 * 9 * 32 * 32 / 1e9
    pictures = torch.zeros(2, 3, 32, 32)
    assert timing.count_gflop(lambda: net(pictures)) == pytest.approx(2 * forward)
    # The gradient of the weights costs as much again; that of the pictures isn't asked for.
    assert timing.count_gflop(lambda: net(pictures).sum().backward()) == pytest.approx(4 * forward)
    assert timing.peak_rate({"matmul_bf16_gflops": 100.0}, 0.5) == 200


def test_cpu_time_does_not_count_waiting():
    begin = timing.cpu_seconds()
    time.sleep(0.3)
    assert timing.cpu_seconds() - begin < 0.1


def test_the_table_and_the_json_hold_the_rows_that_were_asked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "machine_limits", lambda _: {"matmul_fp32_gflops": 70.0})
    embedding = timing.comparison("clips/s", 2.0, 9.0, limit=12.0)
    monkeypatch.setitem(benchmark.BENCHMARKS, "embed", benchmark.Benchmark(lambda _: embedding, "embedding", 8))
    made = timing.comparison("clips/s", 2.0, 3.0, share_of_bytes=0.5)
    monkeypatch.setitem(
        benchmark.BENCHMARKS, "build_shards", benchmark.Benchmark(lambda _: made, "building shards", 3.8)
    )
    benchmark.main(["--only", "embed", "build_shards", "--json", str(tmp_path / "out.json")])
    found = json.loads((tmp_path / "out.json").read_text())
    assert found.keys() == {"limits", "embed", "build_shards"}
    assert found["embed"]["ratio"] == 4.5 and found["build_shards"] == made
    lines = capsys.readouterr().out.splitlines()
    assert "4.5x" in lines[-2] and "6.0x" in lines[-2] and lines[-1].endswith("share_of_bytes 0.5")


def test_the_rows_have_the_names_that_others_read():
    assert benchmark.BENCHMARKS.keys() >= {
        "loader_mp4", "loader_shards_worker", "loader_shards_full", "train_step", "embed", "ndcg_4300", "separation",
        "build_shards",
    }  # fmt: skip


def test_baseline_and_ours_compute_the_same_sdr_sir_and_sar():
    assert separation(rounds=1, seconds=1)["largest_difference_db"] < 1e-6


# ------------------------------------------------------------------------------------------------ what it brought


@pytest.mark.skipif(not hasattr(memory.ctypes.CDLL(None), "mallopt"), reason="not glibc")
def test_freed_memory_is_used_again_without_new_pages():
    program = """
import resource, sys
import numpy as np
from utils.memory import disable_malloc_trim
disable_malloc_trim(sys.argv[1] == "keep")
for _ in range(5):
    np.ones(20_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    np.ones(20_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    command = [sys.executable, "-c", program]
    kept, returned = (int(subprocess.check_output([*command, how], timeout=60)) for how in ("keep", "return"))
    assert kept < 100 < returned


def test_a_name_that_is_no_row_is_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        benchmark.main(["--only", "everything"])
    assert stop.value.code == 2 and "loader_mp4" in capsys.readouterr().err
