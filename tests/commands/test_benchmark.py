"""The benchmark compares ours with a baseline, and both do the same work."""

import json
import subprocess
import sys
import time

import av
import cv2
import numpy as np
import pytest
import simplejpeg
import torch

import benchmark
from dataset import baseline_loaders
from dataset.reading.clips import Clips
from evaluation.measures.ontology import load_ontology
from evaluation.measures.retrieval import DIRECTIONS, four_directions
from evaluation.speed import timing
from evaluation.speed.benchmarks import shard_libraries, video_libraries
from evaluation.speed.benchmarks.loader_benchmarks import BenchmarkClips
from evaluation.speed.benchmarks.measure_benchmarks import baseline_ndcg, separation
from evaluation.speed.benchmarks.optional_libraries import Library, missing_packages
from utils import memory
from utils.errors import UserError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return baseline_loaders.make_clips(tmp_path_factory.mktemp("clips") / "data", 2, seconds=2, different=1)


def test_the_clips_are_what_the_table_says(root):
    with av.open(str(root / "train" / "video" / "clip01.mp4")) as video:
        stream = video.streams.video[0]
        frames = list(video.decode(stream))
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 640, 360)
        assert [frame.key_frame for frame in frames] == [True] + [False] * 49


@pytest.fixture(autouse=True)
def opencv_setting(monkeypatch):
    """What the decoders set for OpenCV is undone after each test."""
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "")


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


def works_that_list(calls):
    return {
        "baseline": lambda: calls.append("baseline") or 4, "ours": lambda: calls.append("ours") or 8,
    }  # fmt: skip


def test_functions_alternate_and_their_medians_are_compared():
    calls, ticks = [], iter([0, 1, 1, 3, 10, 14, 14, 15, 20, 22, 22, 32])  # baseline 1, 4, 2 s; ours 2, 1, 10 s
    rates = timing.interleave(3, works_that_list(calls), lambda: next(ticks))
    assert calls == ["baseline", "ours"] * 3 and [rate.median for rate in rates] == [2.0, 4.0]
    # Baseline took 4, 1 and 2 items a second.
    assert [rate.spread for rate in rates] == [(4 - 1) / 2, (8 - 0.8) / 4]
    assert timing.comparison("clips/s", *rates)["ratio"] == 2


def test_with_a_warm_up_the_first_call_after_the_baseline_does_not_count():
    calls, ticks = [], iter([0, 1, 1, 3])  # asked for by the counted runs alone
    rates = timing.interleave(1, works_that_list(calls), lambda: next(ticks), warm_up=True)
    assert calls == ["baseline", "ours", "ours"] and [rate.median for rate in rates] == [4.0, 4.0]


def test_on_a_gpu_works_are_warmed_up_and_no_figure_is_from_a_call_of_microseconds(monkeypatch):
    now, spans, calls = [0.0], [], []

    def clock():
        spans.append(now[0])
        return now[0]

    def ours():
        now[0] += 3.0 if not calls else 20e-6  # the first call compiles
        calls.append(now[0])
        return 2

    [rate] = timing.interleave(2, {"ours": ours}, clock, device=torch.device("cuda"))
    assert rate.median == pytest.approx(2 / 20e-6, rel=1e-3) and rate.spread < 0.01
    timed = spans[-2 * timing.LEAST_GPU_ROUNDS :]
    lengths = [end - begin for begin, end in zip(timed[::2], timed[1::2], strict=True)]
    assert len(lengths) == timing.LEAST_GPU_ROUNDS and min(lengths) >= timing.LEAST_GPU_SECONDS


def test_the_clock_of_a_gpu_waits_until_it_has_finished(monkeypatch):
    done = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: done.append(1))
    begin = timing.gpu_seconds()
    assert timing.gpu_seconds() >= begin and done == [1, 1]


def test_without_a_gpu_one_sentence_says_so(monkeypatch):
    monkeypatch.setattr(timing, "pick_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(timing, "gpu_problem", lambda: "")
    with pytest.raises(UserError, match=r"--device cuda .*\(this machine has none\): use --device cpu"):
        benchmark.main(["--device", "cuda"])
    monkeypatch.setattr(timing, "gpu_problem", lambda: "warning: this machine has a GPU (T4, driver 1), but no")
    with pytest.raises(UserError, match=r"can use \(this machine has a GPU \(T4"):
        timing.device_to_measure("cuda")
    assert timing.device_to_measure("cpu").type == "cpu"


def test_the_limit_is_that_of_the_faster_products():
    limits = {"matmul_fp32_gflops": 130.0, "matmul_bf16_gflops": 26.0, "jpeg_256_per_s": 4000.0}
    assert timing.peak_rate(limits, 0.5) == 260
    assert timing.peak_rate(limits | {"matmul_bf16_gflops": 500.0}, 0.5) == 1000


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
    monkeypatch.setattr(benchmark, "machine_limits", lambda *_: {"matmul_fp32_gflops": 70.0})
    slow, fast = timing.Rate(2.0, 0.1), timing.Rate(9.0, 0.25)
    embedding = timing.comparison("clips/s", slow, fast, limit=12.0)
    monkeypatch.setitem(benchmark.BENCHMARKS, "embed", benchmark.Benchmark(lambda _: embedding, "embedding", 8))
    made = timing.comparison("clips/s", slow, timing.Rate(3.0, 0.0), share_of_bytes=0.5)
    monkeypatch.setitem(
        benchmark.BENCHMARKS, "build_shards", benchmark.Benchmark(lambda _: made, "building shards", 3.8)
    )
    benchmark.main(["--only", "embed", "build_shards", "--json", str(tmp_path / "out.json")])
    found = json.loads((tmp_path / "out.json").read_text())
    assert found.keys() == {"machine", "limits", "embed", "build_shards"}
    assert found["machine"]["processor"] and found["machine"]["torch"] == torch.__version__
    assert found["embed"]["ratio"] == 4.5 and found["embed"]["ours_spread"] == 0.25 and found["build_shards"] == made
    lines = capsys.readouterr().out.splitlines()
    assert (
        "4.50x" in lines[-2] and "6.0x" in lines[-2] and "25%" in lines[-2] and lines[-1].endswith("share_of_bytes 0.5")
    )


def test_the_rows_have_the_names_that_others_read():
    assert (*benchmark.BENCHMARKS, *benchmark.LIBRARY_BENCHMARKS) == benchmark.NAMES
    assert benchmark.BENCHMARKS.keys() >= {
        "loader_mp4", "loader_shards_worker", "loader_shards_full", "train_step", "embed", "ndcg_4300", "separation",
        "build_shards",
    }  # fmt: skip


# -------------------------------------------------------------------------------------------------- other libraries


class TinyClips(BenchmarkClips):
    def __init__(self, root):
        super().__init__(root.parent)
        self.root = root


def test_libraries_that_are_not_installed_are_listed_and_left_out(monkeypatch, capsys):
    nothing = Library("no_such_module", "no-such-package")
    assert missing_packages([nothing, Library("json", "json")]) == ["no-such-package"]
    monkeypatch.setattr(video_libraries, "DECODERS", [(nothing, "", None), *video_libraries.DECODERS[-1:]])
    assert [name.partition(" ")[0] for name in video_libraries.installed_decoders()] == [
        "opencv-contrib-python-headless"
    ]


@pytest.mark.parametrize("name", ["torchcodec", "decord", "av", "opencv-contrib-python-headless"])
def test_decoders_give_the_frames_that_are_shown(name, root):
    found = [decode for title, decode in video_libraries.installed_decoders().items() if title.startswith(f"{name} ")]
    if not found:
        pytest.skip(f"{name} is not installed")
    times = [0.6, 0.64, 1.2]
    size, wrong = 256, video_libraries.WRONG_FRAME
    with Clips(root, "train").open(0) as clip:
        expected = clip.frames(times, size).astype(np.float32)
    frames = found[0](root / "train" / "video" / "clip00.mp4", times, size)
    assert frames.shape == (3, size, size, 3) and np.abs(frames - expected).mean((1, 2, 3)).max() < wrong
    assert np.abs(np.roll(frames, 1, 0) - expected).mean((1, 2, 3)).min() > wrong  # its neighbours are others
    loaded, sounds = video_libraries.load_visit(TinyClips(root), 0, found[0], times, size)
    assert (loaded == frames).all() and sounds.shape == (3, 48000) and sounds.dtype == np.int16


def test_a_sample_of_a_shard_holds_what_is_stored():
    rng = np.random.default_rng(0)
    frame = cv2.resize(rng.integers(0, 255, (8, 8, 3), np.uint8), (256, 256))
    sound = rng.integers(-9, 9, 48000, np.int16)
    sample = shard_libraries.Stored(simplejpeg.encode_jpeg(frame), bytes(44) + sound.tobytes())
    decoded = shard_libraries.decode(sample)
    assert np.abs(decoded.frame.astype(int) - frame).mean() < 4 and (decoded.sound == sound).all()
    assert shard_libraries.read_batches(iter([decoded] * 90)) == 90
    assert shard_libraries.jpeg_batches([sample] * 50)() == 50


@pytest.mark.slow
@pytest.mark.parametrize("reader", shard_libraries.READERS, ids=lambda reader: reader[0].package + reader[1])
def test_other_libraries_read_each_sample_once(reader, tmp_path):
    library, _, make = reader
    if not library.load():
        pytest.skip(f"{library.package} is not installed")
    frame = np.zeros((256, 256, 3), np.uint8)
    sample = shard_libraries.Stored(simplejpeg.encode_jpeg(frame), bytes(44 + 96000))
    batches = make(tmp_path, [sample] * 90)
    assert batches() == batches() == 90


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
    np.ones(5_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    np.ones(5_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    command = [sys.executable, "-c", program]
    kept, returned = (int(subprocess.check_output([*command, how], timeout=60)) for how in ("keep", "return"))
    assert kept < 100 < returned


def test_a_name_that_is_no_row_is_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        benchmark.main(["--only", "everything"])
    assert stop.value.code == 2 and "loader_mp4" in capsys.readouterr().err
