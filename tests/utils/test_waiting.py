"""How long training waits for batches: measured, logged, warned of once; and how often it saves. Clocks are fake."""

import dataclasses
import itertools
import time

import pytest
import torch
from toy_training import batches, config, lines, outcome, same, step, train

from configs.schema import Config, Data, Model, Train
from utils import checkpoint, distributed, waiting
from utils.clock import RunClock
from utils.progress import ProgressBar
from utils.waiting import WaitTimer

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class Clock:
    """A clock that only moves when told; and CUDA's events, which a GPU reaches when its queue is done."""

    def __init__(self, monkeypatch):
        self.now, self.gpu_free = 0.0, 0.0
        monkeypatch.setattr(waiting.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(torch.cuda, "Event", lambda enable_timing: Event(self))

    def batches(self, seconds):
        """Batches that take these seconds each to arrive."""
        for wait in seconds:
            self.now += wait
            yield wait

    def work(self, seconds, queued=False):
        """A step: the host takes its time, or queues it on the GPU and goes on."""
        if queued:
            self.gpu_free = max(self.now, self.gpu_free) + seconds
        else:
            self.now += seconds


class Event:
    def __init__(self, clock):
        self.clock, self.at = clock, None

    def record(self):
        self.at = max(self.clock.now, self.clock.gpu_free)

    def elapsed_time(self, other):
        return 1000 * (other.at - self.at)

    def synchronize(self):
        self.clock.now = max(self.clock.now, self.at)


def run(clock, timer, waits, work, queued=False):
    source = clock.batches(waits)
    for _ in waits:
        timer.next(source)
        clock.work(work, queued)
    return timer.share()


def test_the_share_on_a_cpu_is_the_time_until_batches_arrive(monkeypatch):
    clock, timer = Clock(monkeypatch), WaitTimer(Config(), CPU)
    assert run(clock, timer, [1, 3], 2) == pytest.approx(4 / 8)
    assert run(clock, timer, [0, 0, 0], 2) == 0  # since the last line


def test_the_share_on_a_gpu_is_the_time_in_which_its_queue_is_empty(monkeypatch):
    """A batch takes 1 s to arrive and 4 s of the GPU, which has always work but at first; then 6 s to arrive."""
    clock, timer = Clock(monkeypatch), WaitTimer(Config(), CUDA)
    assert run(clock, timer, [1] * 5, 4, queued=True) == pytest.approx(1 / 21)
    assert run(clock, timer, [6] * 5, 4, queued=True) == pytest.approx((6 + 4 * 2) / 34)


def test_a_validation_and_a_checkpoint_are_not_counted(monkeypatch):
    clock, timer = Clock(monkeypatch), WaitTimer(Config(), CPU)
    source = clock.batches([1, 1])
    timer.next(source)
    clock.work(1)
    timer.pause()
    clock.work(100)
    timer.next(source)
    clock.work(1)
    assert timer.share() == pytest.approx(0.5)


def test_the_process_that_waits_longest_counts(monkeypatch):
    monkeypatch.setattr(distributed, "all_gather_numbers", lambda own: [[own], [0.9]])
    clock = Clock(monkeypatch)
    assert run(clock, WaitTimer(Config(), CPU), [1], 1) == 0.9


@pytest.mark.parametrize(
    ("device", "wait", "warns"), [(CUDA, 2.0, True), (CUDA, 0.2, False), (CPU, 1.0, False), (CPU, 9.0, True)]
)
def test_long_waiting_is_warned_of_once_with_its_cure(monkeypatch, device, wait, warns):
    monkeypatch.setattr(waiting, "own_cores", lambda: 16)
    clock, timer = Clock(monkeypatch), WaitTimer(Config(train=Train(workers=4)), device)
    run(clock, timer, [1000.0] * 60, 1, queued=device == CUDA)  # the workers start: the first line doesn't count
    assert timer.problem() == ""
    found = []
    for _ in range(6):  # lines of 20 batches
        run(clock, timer, [wait] * 20, 1, queued=device == CUDA)
        found.append(timer.problem())
    assert [bool(text) for text in found] == [False, False, warns, False, False, False]
    if warns:
        for part in (
            "waits for batches",
            "--train.workers (4; this process has 16 cores)",
            "samples_per_decode",
            "shards",
        ):
            assert part in found[2]


def test_a_start_of_seconds_is_not_judged(monkeypatch):
    clock, timer = Clock(monkeypatch), WaitTimer(Config(), CUDA)
    for _ in range(5):
        run(clock, timer, [0.01] * 20, 0.01, queued=True)
        assert timer.problem() == ""


@pytest.mark.parametrize("workers", [-1, 16])
def test_more_workers_than_cores_are_no_cure(monkeypatch, workers):
    monkeypatch.setattr(waiting, "own_cores", lambda: 16)
    assert "workers" not in waiting._cure(Config(train=Train(workers=workers)))


def test_the_cure_is_one_of_the_run(monkeypatch):
    frozen = Config(model=Model(vision="resnet18", vision_weights="imagenet"), train=Train(lr_vision=0.0))
    assert frozen.keeps_features and "shards" not in waiting._cure(frozen)
    learned = dataclasses.replace(frozen, train=Train())
    assert "frozen encoder" in waiting._cure(learned) and "frozen encoder" not in waiting._cure(Config())
    assert "samples_per_decode (3)" in waiting._cure(Config(data=Data(samples_per_decode=3)))


def test_each_line_of_the_log_has_the_share(tmp_path):
    def slow(start):
        for batch in batches(start):
            time.sleep(0.1)  # far longer than a step takes on a busy machine
            yield batch

    train(config(tmp_path, epochs=1), batches=slow)
    shares = [line["waiting"] for line in lines(tmp_path, "train")]
    assert len(shares) == 6 and all(0.2 < share <= 1 for share in shares)


def test_the_time_of_a_validation_does_not_lower_the_share(tmp_path):
    def slow(start):
        for batch in batches(start):
            time.sleep(0.1)
            yield batch

    def validate(model):
        time.sleep(2)
        return {"auc": 0.5}

    train(config(tmp_path, epochs=2, log_every=9, save_every=99), batches=slow, evaluate=validate)
    assert [line["waiting"] > 0.4 for line in lines(tmp_path, "train")] == [True]  # else at most 0.9 / 2.9


def test_a_warning_is_said_and_logged_once(tmp_path, monkeypatch, capsys):
    shares = iter(range(40, 99))
    monkeypatch.setattr(WaitTimer, "problem", lambda self: f"{next(shares)}% of the time training waits for batches")
    train(config(tmp_path, epochs=1))
    assert [line["message"] for line in lines(tmp_path, "warning")] == ["40% of the time training waits for batches"]
    assert capsys.readouterr().err.count("warning: 40% of the time") == 1


def test_the_progress_line_shows_the_share():
    bar = ProgressBar(Train(), 10, 0)
    bar.show({"loss": 0.5, "accuracy": 0.75, "waiting": 0.123, "batch_auc": 1.0})
    assert bar._bar.postfix == "loss 0.500 accuracy 0.750 waiting 12%"
    bar.show({"loss": 0.5, "waiting": 0.0, "overflows": 0.05})
    assert bar._bar.postfix == "loss 0.500 waiting 0% overflows 5.0%"


# ------------------------------------------------------------------------------------------------ how often it saves


def saved_steps(tmp_path, monkeypatch, seconds, **settings):
    """The steps at which last.pt is written, of a training whose steps take these seconds by its clock."""
    steps, now = [], itertools.count()
    current = [0.0]
    monkeypatch.setattr(RunClock, "elapsed", lambda self: self.seconds + current[0])
    save = checkpoint.save

    def watched(path, content):
        steps.append(content["step"]) if path.name == "last.pt" else None
        save(path, content)

    def slow(model, batch):
        current[0] = next(now) * seconds + seconds
        return step(model, batch)

    monkeypatch.setattr(checkpoint, "save", watched)
    train(config(tmp_path, **settings), steps_per_epoch=30, step=slow)
    return steps


END = [30, 30, 60, 60]  # before and after the validation of each epoch, however short the time


@pytest.mark.parametrize(
    ("seconds", "every", "least", "expected"),
    [
        (1, 10, 0, [10, 20, 40, 50]),
        (1, 10, 10, [10, 20, 40, 50]),
        (0.1, 10, 60, []),  # fast steps: a save at the validations alone
        (1, 2, 7, [7, 14, 21, 28, 37, 44, 51, 58]),  # as soon as the time has passed, not at the next multiple of 2
        (100, 7, 60, [7, 14, 21, 28, 35, 42, 49, 56]),  # slow steps: as often as before
    ],
)
def test_checkpoints_have_a_least_time_between_them(tmp_path, monkeypatch, seconds, every, least, expected):
    steps = saved_steps(tmp_path, monkeypatch, seconds, save_every=every, save_seconds=least)
    assert sorted(steps) == sorted(expected + END)


def test_the_time_between_checkpoints_changes_nothing_else(tmp_path):
    train(config(tmp_path / "often", save_every=1, log_every=4))
    train(config(tmp_path / "seldom", save_every=1, save_seconds=60, log_every=4))
    assert same(outcome(tmp_path / "often"), outcome(tmp_path / "seldom"))
