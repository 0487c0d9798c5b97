"""Several processes train one net as one process would, stop together and never wait for one that is gone.

The processes are started as torchrun starts them, on the CPU through gloo. Real torchrun: the slow test at the end.
"""

import itertools
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers import make_dataset
from kill_and_resume import REPOSITORY, SMALL, one_thread, train_command
from processes import DEMO, curve, import_once, kill, said_once, terminate, together, train, wait_for

import train_VOLNet
from dataset.data_module import AVCDataModule
from dataset.loading.order import EpochBatchSampler
from dataset.transforms.frames import PairTransform
from evaluation.tasks import correspondence
from evaluation.tasks.embeddings import embed_batches
from models import build_net, losses
from models.avenet import AVENet
from models.avolnet import AVOLNet
from models.interfaces import gather_sounds
from utils import checkpoint, distributed
from utils.config import load_config, override
from utils.run import read_log

# `blend` and `mix` look at other clips of a process's own share, so they depend on the number of processes.
SETTINGS = SMALL | {
    "augment.blend": 0, "augment.mix": 0, "train.batch_size": 8, "train.gather": "all", "train.workers": 0,
    "train.epochs": 4, "train.log_every": 1, "train.save_every": 2, "train.validate_every": 2, "train.lr": 1e-3,
    "train.save_seconds": 0,
    "train.ema": 0.9, "train.optimizer": "muon", "train.precision": "fp32", "eval.batch_size": 2,
}  # fmt: skip
STEPS = 12  # of 24 clips


@pytest.fixture(scope="module", autouse=True)
def _imports_once():
    yield from import_once()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "clips", train=24, val=7, test=0)


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    """The run of one process that all others are compared with."""
    folder = tmp_path_factory.mktemp("alone")
    (ended,) = together(1, folder, train, data, folder / "run", SETTINGS)
    assert ended.code == 0, ended.err
    return folder / "run"


# --------------------------------------------------------------------------------------------- the same as one process


@pytest.mark.parametrize(("count", "multiple", "start"), [(2, 1, 0), (2, 2, 5), (4, 1, 3)])
def test_the_shares_of_a_batch_are_the_batch_sample_for_sample(count, multiple, start):
    def first(share):
        return list(itertools.islice(EpochBatchSampler(53, 8, 3, multiple, 0, *share).starting_at(start), 20))

    shares = [first((number, count)) for number in range(count)]
    assert [list(itertools.chain(*parts)) for parts in zip(*shares, strict=True)] == first((0, 1))
    assert {len(part) for share in shares for part in share} == {8 // count}


@pytest.mark.parametrize("negatives", ["all", "one"])
def test_the_losses_of_a_batchs_rows_make_up_its_loss(negatives):
    logits, sizes = torch.randn(7, 7, dtype=torch.float64), [2, 1, 4]
    parts, first = [], 0
    for size in sizes:
        parts.append(torch.stack(losses.avc_loss(logits[first : first + size], negatives, first)) * size / 7)
        first += size
    assert torch.allclose(sum(parts), torch.stack(losses.avc_loss(logits, negatives)).double(), atol=1e-6)


def gradients(sizes, negatives):
    """Gradients of two linear encoders by this process's own clips: (36,) float64."""
    draw = torch.Generator().manual_seed(0)
    frames, sounds = (torch.randn(sum(sizes), 6, dtype=torch.float64, generator=draw) for _ in range(2))
    weights = [torch.randn(6, 3, dtype=torch.float64, generator=draw, requires_grad=True) for _ in range(2)]
    first = sum(sizes[: distributed.rank()])
    own = slice(first, first + sizes[distributed.rank()])
    gather = distributed.Gather(sizes) if len(sizes) > 1 else None
    v, a = (values[own] @ weight for values, weight in zip((frames, sounds), weights, strict=True))
    loss, _ = (
        losses.avc_loss(v @ gather(a).T, negatives, gather.first) if gather else losses.avc_loss(v @ a.T, negatives)
    )
    (loss * sizes[distributed.rank()] * distributed.world_size() / sum(sizes)).backward()
    return torch.cat([weight.grad.flatten() for weight in weights])


@pytest.mark.parametrize("negatives", ["all", "one"])
def test_gradients_through_gathered_sounds_are_those_of_one_process_also_with_uneven_shares(tmp_path, negatives):
    one, other = together(2, tmp_path, gradients, [3, 5], negatives)
    assert (one.code, other.code) == (0, 0), one.err + other.err
    assert torch.allclose((one.result + other.result) / 2, gradients([8], negatives), atol=1e-9)


def contrastive_gradients(sizes, kind):
    """As `gradients`, of InfoNCE on the vectors of a net, with two extra sounds that each process has, both alike."""
    draw = torch.Generator().manual_seed(0)
    locations = (2, 3) if kind == "max_infonce" else ()
    frames = torch.randn(sum(sizes), 6, *locations, dtype=torch.float64, generator=draw)
    sounds = torch.randn(sum(sizes), 6, dtype=torch.float64, generator=draw)
    extra = torch.randn(2, 6, dtype=torch.float64, generator=draw)
    weights = [torch.randn(6, 3, dtype=torch.float64, generator=draw, requires_grad=True) for _ in range(2)]
    first = sum(sizes[: distributed.rank()])
    own = slice(first, first + sizes[distributed.rank()])
    gather = distributed.Gather(sizes) if len(sizes) > 1 else None
    net = AVOLNet(1, 3, similarity="cosine") if kind == "max_infonce" else AVENet(1, 3)
    v = F.normalize(torch.einsum("nd...,de->ne...", frames[own], weights[0]), dim=1)
    a = F.normalize(torch.cat([sounds[own], extra]) @ weights[1], dim=1)
    a = gather_sounds(a, len(v), gather)
    loss, metrics = losses.contrastive_loss(net.double(), v, a, kind, 0.07, gather, 2, 0.3)
    weight = sizes[distributed.rank()] * distributed.world_size() / sum(sizes)
    (loss * weight).backward()
    last = [p.grad.flatten() for p in net.get_submodule(net.logit_layer).parameters()]
    values = torch.stack([loss.detach(), *(metrics[name].double() for name in ("batch_recall", "batch_auc"))])
    return torch.cat([*(weight.grad.flatten() for weight in weights), *last, values * weight])


@pytest.mark.parametrize("kind", ["infonce", "max_infonce"])
def test_infonce_of_two_processes_is_that_of_one_in_both_directions(tmp_path, kind):
    one, other = together(2, tmp_path, contrastive_gradients, [3, 5], kind)
    assert (one.code, other.code) == (0, 0), one.err + other.err
    assert torch.allclose((one.result + other.result) / 2, contrastive_gradients([8], kind), atol=1e-6)


def test_two_processes_give_the_losses_and_measures_of_one(alone, data, tmp_path):
    run_dir = tmp_path / "run"
    ended = together(2, tmp_path, train, data, run_dir, SETTINGS)
    assert [process.code for process in ended] == [0, 0], ended[0].err + ended[1].err
    assert "2 processes: 8 clips an update, in batches of 8, 4 of them a process" in ended[0].err
    assert ended[1].err == ended[1].out == "" and "AUC" in ended[0].out
    for kind in ("train", "val"):
        assert curve(run_dir, kind) == pytest.approx(curve(alone, kind), rel=1e-4)
    assert list(curve(run_dir)) == list(range(1, STEPS + 1))


def _stopped(data, run_dir, settings):
    train(data, run_dir, settings, at={(1, 5): terminate})


def test_a_signal_at_one_process_stops_all_at_one_step_and_one_process_goes_on(alone, data, tmp_path):
    run_dir = tmp_path / "run"
    ended = together(2, tmp_path, _stopped, data, run_dir, SETTINGS)
    assert [process.code for process in ended] == [130, 130], ended[0].err + ended[1].err
    step = checkpoint.load(run_dir / "last.pt")["step"]
    assert step in (5, 6) and f"stopped at step {step}" in ended[0].err and ended[1].err == ""
    (again,) = together(1, tmp_path, train, data, run_dir, SETTINGS, "--resume")
    assert again.code == 0, again.err
    assert list(curve(run_dir)) == list(range(1, STEPS + 1))
    assert curve(run_dir) == pytest.approx(curve(alone), rel=1e-4)


def test_each_process_with_its_own_mismatches_and_batch_norm_is_an_accumulated_batch(data, tmp_path):
    """As on the paper's GPUs: with `gather rank`, two processes do what one does with two batches an update."""
    own = SETTINGS | {"train.gather": "rank", "train.epochs": 2, "augment.blend": 0.3, "augment.mix": 0.3}
    two = together(2, tmp_path / "two", _normed, data, tmp_path / "a", own)
    one = together(
        1, tmp_path / "one", _normed, data, tmp_path / "b", own | {"train.batch_size": 4, "train.grad_accum_steps": 2}
    )
    assert [process.code for process in two + one] == [0, 0, 0], two[0].err + two[1].err + one[0].err
    assert curve(tmp_path / "a") == pytest.approx(curve(tmp_path / "b"), rel=1e-4)
    weights = [checkpoint.load(tmp_path / name / "last.pt")["model"] for name in "ab"]
    learned = [name for name in weights[0] if "running" not in name and "num_batches" not in name]
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-3) for name in learned)
    # Each process's batch norm has counted its own clips: what is kept must be what was validated.
    (again,) = together(1, tmp_path / "again", validated, data, own, tmp_path / "a/last.pt")
    measures = checkpoint.load(tmp_path / "a/last.pt")["metrics"]
    assert again.result[2] == pytest.approx({name: measures[name] for name in again.result[2]}, abs=1e-6)


def _normed(data, run_dir, settings):
    train(data, run_dir, settings, norm="of the batch")


def _volnet(data, run_dir, settings):
    train(data, run_dir, settings, script=train_VOLNet, config="configs/demo_VOLNet.py")


def test_avol_net_learns_the_same_too(data, tmp_path):
    settings = SETTINGS | {"train.epochs": 1, "train.grad_accum_steps": 3}
    runs = {
        count: together(count, tmp_path / f"{count}", _volnet, data, tmp_path / f"run{count}", settings)
        for count in (1, 2)
    }
    assert not any(process.code for ended in runs.values() for process in ended), runs[2][0].err
    for kind in ("train", "val"):
        assert curve(tmp_path / "run2", kind) == pytest.approx(curve(tmp_path / "run1", kind), rel=1e-4)


def validated(root, settings, weights=None):
    """Embeddings and measures of the validation of an untrained net, or of a checkpoint's."""
    config = override(load_config(DEMO), {**settings, "data.root": str(root)})
    torch.manual_seed(0)
    model = build_net(config.model)
    if weights:
        model.load_state_dict(torch.load(weights, weights_only=True)["ema"])
    data = AVCDataModule(config, "cpu", distributed.rank(), distributed.world_size())
    batches = list(data.val_batches(None))
    found = embed_batches(model, batches, PairTransform(config, train=False), "fp32", flip=True)
    return len(batches), found, correspondence.validate_avc(model, found, config.eval.group, "cpu", "val")


@pytest.mark.parametrize("size", [2, 64])  # 7 clips: 4 batches, and only one, which leaves nothing for process 1
def test_validation_is_shared_out_and_exact(data, tmp_path, size):
    settings = SETTINGS | {"eval.batch_size": size, "eval.group": 4}
    (whole,) = together(1, tmp_path / "one", validated, data, settings)
    shares = together(2, tmp_path / "two", validated, data, settings)
    assert sum(share.result[0] for share in shares) == whole.result[0]
    for share in shares:
        assert share.result[2] == pytest.approx(whole.result[2], abs=1e-6) and share.result[2]["pairs"] == 7 + 12 + 6
    order = torch.cat([share.result[1].indices for share in shares]).argsort()
    for k, expected in enumerate(whole.result[1][:4]):
        joined = torch.cat([share.result[1][k] for share in shares if len(share.result[1].indices)])
        assert torch.equal(joined[order], expected)


# ------------------------------------------------------------------------------------------------------------ mishaps


def _killed(data, run_dir, settings):
    train(data, run_dir, settings, at={(1, 6): kill})


def test_a_process_that_dies_ends_the_others_and_the_run_goes_on_from_its_checkpoint(alone, data, tmp_path):
    run_dir = tmp_path / "run"
    begin = time.monotonic()
    first, second = together(2, tmp_path, _killed, data, run_dir, SETTINGS)
    assert time.monotonic() - begin < 30  # nobody waited for it
    assert (first.code, second.code) == (1, -signal.SIGKILL)
    assert re.fullmatch(r"error: another of the 2 processes has ended.*--resume", first.err.strip().splitlines()[-1])
    assert checkpoint.load(run_dir / "last.pt")["step"] == 4
    ended = together(2, tmp_path, train, data, run_dir, SETTINGS, "--resume")
    assert [process.code for process in ended] == [0, 0], ended[0].err
    assert curve(run_dir) == pytest.approx(curve(alone), rel=1e-4)


def _fast_clock(data, run_dir, settings):
    real, number = time.monotonic, distributed.rank()
    time.monotonic = lambda: real() * (1 + number)
    train(data, run_dir, settings)


def test_by_the_clock_all_processes_stop_at_the_same_step_whatever_their_clocks_say(data, tmp_path):
    settings = SETTINGS | {"train.max_minutes": 0.04, "train.validate_every": 1000, "train.save_every": 1000}
    ended = together(2, tmp_path, _fast_clock, data, tmp_path / "run", settings)
    assert [process.code for process in ended] == [0, 0], ended[0].err + ended[1].err
    (step,) = curve(tmp_path / "run", "val")
    assert step == max(curve(tmp_path / "run")) > 1


@pytest.fixture
def damaged(tmp_path):
    """A dataset with one clip that can't be decoded, in process 1's share of the first batch, and that clip's name."""
    root = make_dataset(tmp_path / "damaged", train=16, val=4, test=0)
    _, index = next(iter(EpochBatchSampler(16, 8, seed=0, rank=1, world_size=2)))[0]
    path = root / f"train/video/train_{index:04d}.mp4"
    path.write_bytes(b"no video" * 200)
    return root, path.stem


def test_a_clip_that_cannot_be_read_stops_all_processes_with_one_sentence(damaged, tmp_path):
    root, clip = damaged
    ended = together(2, tmp_path, train, root, tmp_path / "run", SETTINGS | {"train.data_dependent_init": False})
    assert said_once(ended, clip, "--data.on_error skip")


def test_skipped_clips_leave_shares_of_different_sizes_and_are_listed_once(damaged, tmp_path):
    root, clip = damaged
    settings = SETTINGS | {
        "data.on_error": "skip",
        "train.lr": 1e-4,
        "train.epochs": 1,
        "train.data_dependent_init": False,
    }
    for count in (1, 2):
        ended = together(count, tmp_path, train, root, tmp_path / f"run{count}", settings)
        assert not any(process.code for process in ended), ended[0].err
    skipped = [line["clip"] for line in read_log(tmp_path / "run2") if line["kind"] == "skipped"]
    assert skipped == [clip]
    assert curve(tmp_path / "run2") == pytest.approx(curve(tmp_path / "run1"), rel=1e-4)


def test_a_batch_that_cannot_be_shared_out_is_one_sentence_in_all(data, tmp_path):
    ended = together(2, tmp_path, train, data, tmp_path / "run", SETTINGS | {"train.batch_size": 7})
    assert said_once(ended, "train.batch_size is 7", "2 processes")


def test_a_directory_that_holds_a_run_is_refused_once_and_left_as_it_is(alone, data, tmp_path):
    before = (alone / "last.pt").read_bytes()
    ended = together(2, tmp_path, train, data, alone, SETTINGS)
    assert said_once(ended, "already holds a run")
    assert (alone / "last.pt").read_bytes() == before


@pytest.mark.slow
def test_torchrun_restarts_after_a_kill_stops_on_a_signal_and_one_process_ends_the_run(data, tmp_path):
    settings = SETTINGS | {"train.epochs": 60, "train.validate_every": 20, "train.workers": 1}
    words = train_command(data, tmp_path / "run", settings, "--resume")
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]
    started = subprocess.Popen(
        [words[0], *torchrun, *words[1:]], cwd=REPOSITORY, env=one_thread(), stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(lambda: len(curve(tmp_path / "run")) > 20)
        workers = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
        os.kill(int(workers[-1]), signal.SIGKILL)
        wait_for(lambda: (tmp_path / "run/last.pt").exists() and len(curve(tmp_path / "run")) > 60)
        started.terminate()
        said = started.communicate(timeout=60)[1]
    finally:
        started.kill()
    assert said.count("resuming") == 1 and said.count("stopped at step") == 1, said
    step = checkpoint.load(tmp_path / "run/last.pt")["step"]
    assert list(curve(tmp_path / "run")) == list(range(1, step + 1))
    alone = subprocess.run(words, cwd=REPOSITORY, env=one_thread(), capture_output=True, text=True, timeout=120)
    assert alone.returncode == 0, alone.stderr
    assert list(curve(tmp_path / "run")) == list(range(1, 181))
