"""runs/NAME/report.html: opens while a net trains, says whether it learns, and never stops the training."""

import contextlib
import json
import re

import pytest
import toy_training

from evaluation.report.run_report import write_run_report
from utils import live_report
from utils.config import load_config, override
from utils.engine import fit
from utils.live_report import LiveReport
from utils.run import Run


def make_run(folder, **changes):
    return Run(override(load_config("configs/demo_AVENet.py"), {"train.run_dir": str(folder), **changes}))


def train(run, step, **values):
    run.write("train", step, epoch=step / 100, seconds=step / 5, loss=0.6, accuracy=0.7, **values)


def validate(run, step, auc, error=0.02):
    run.write("val", step, epoch=step / 100, seconds=step / 5, auc=auc, auc_error=error, accuracy=0.7, loss=0.5)


def read(run):
    return (run.folder / "report.html").read_text(encoding="utf-8")


def test_the_page_follows_each_validation(tmp_path):
    run = make_run(tmp_path / "net<b>", **{"train.epochs": 2})
    run.keep_report(write_run_report)
    train(run, 20)
    assert "No validation yet" in read(run) and "10% of the training: 20 steps" in read(run) and "<b>:" not in read(run)
    validate(run, 100, 0.53)
    assert "Not clearly better than without learning: the latest validation has AUC 0.530, chance 0.5" in read(run)
    validate(run, 150, 0.9)
    page = read(run)
    assert "It learns: the latest validation has AUC 0.900, chance 0.5." in page and "location.reload()" in page
    row = re.search(r"AUC</th><td[^>]*>0\.9 <small>± 0\.02</small></td><td[^>]*>0\.53<", page)
    assert row and "<polyline" in page and "train.batch_size" in page
    validate(run, 200, 0.95)
    assert "100% of the training" in read(run)
    run.close(complete=True)
    assert "the training is complete" in read(run) and "location.reload()" not in read(run)
    assert not list(run.folder.glob(".report*"))  # nothing half-written


def fit_toy(config, step=toy_training.step):
    """Train the toy net by the real loop, with the page; returns the run."""
    run, model = Run(config), toy_training.toy()
    run.keep_report(write_run_report)
    groups = [{"params": list(model.parameters()), "lr_scale": 1.0}]
    with contextlib.suppress(ZeroDivisionError):
        fit(model, run, param_groups=groups, batches=toy_training.batches, steps_per_epoch=6, step=step,
            evaluate=toy_training.evaluate, best="auc")  # fmt: skip
    return run


def test_the_page_of_a_run_by_the_clock_says_that_it_is_complete(tmp_path):
    """Its last update ends before its time is over."""
    page = read(fit_toy(toy_training.config(tmp_path, max_minutes=0.01)))
    assert "100% of the training" in page and "the training is complete" in page and "location.reload()" not in page


def test_the_page_of_a_run_that_has_stopped_says_how_it_continues(tmp_path):
    def step(model, batch):
        return toy_training.step(model, batch) if batch["number"] < 8 else 1 / 0

    page = read(fit_toy(toy_training.config(tmp_path), step))
    assert "67% of the training" in page and "with --resume continues it" in page and "location.reload()" not in page


def test_warnings_and_skipped_clips_are_on_the_page(tmp_path):
    run = make_run(tmp_path / "net")
    run.keep_report(write_run_report)
    run.write("warning", 1, message="training is stuck <here>")
    run.write("skipped", 1, clip="a", reason="broken")
    validate(run, 100, 0.6)
    assert "Training is stuck &lt;here&gt;." in read(run) and "1 clip can't be read and is skipped" in read(run)


def test_a_net_that_separates_is_held_against_the_mixture(tmp_path):
    run = make_run(tmp_path / "net")
    run.keep_report(write_run_report)
    run.write("val", 10, epoch=1.0, seconds=2.0, gain=4.0, gain_error=0.2, gain_ideal=12.0, loss=0.5)
    assert "It learns: the latest validation has gain, dB 4.000, the mixture itself 0." in read(run)


def test_a_page_that_fails_is_said_once_and_stops_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(live_report, "LEAST_SECONDS", 0.0)
    run = make_run(tmp_path / "net")
    calls = []

    def fail(run):
        calls.append(1)
        raise ZeroDivisionError("no page")

    run.keep_report(fail)
    for step in range(1, 5):
        validate(run, step, 0.5)
    said = capsys.readouterr().err
    assert len(calls) == 4 and said.count("can't be written, training goes on (ZeroDivisionError: no page)") == 1
    assert len(run._log.read_text().splitlines()) == 4


def test_a_folder_that_takes_no_page_stops_nothing(tmp_path, capsys):
    run = make_run(tmp_path / "net")
    (run.folder / "report.html").mkdir()
    run.keep_report(write_run_report)
    validate(run, 100, 0.6)
    assert "report.html can't be written, training goes on" in capsys.readouterr().err


def test_pages_between_validations_take_a_hundredth_of_the_time_at_most(monkeypatch):
    now, written = [0.0], []
    monkeypatch.setattr(live_report.time, "monotonic", lambda: now[0])

    def write():
        written.append(now[0])
        now[0] += 3.0

    report = LiveReport(write, pytest.fail)
    while now[0] < 2000:
        report.update()
        now[0] += 1.0
    assert len(written) < 2000 / 300 + 2 and 3.0 * len(written) / now[0] < 0.015
    report.update(now=True)
    assert written[-1] > 1999


def test_a_run_without_a_page_writes_none(tmp_path):
    run = make_run(tmp_path / "net")
    validate(run, 100, 0.6)
    assert not (run.folder / "report.html").exists()
    assert json.loads(run._log.read_text())["auc"] == 0.6
