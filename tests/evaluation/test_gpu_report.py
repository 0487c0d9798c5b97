"""The report on a GPU, tried on the CPU: what fails is a row with its reason, and steps are those of the scripts."""

import json
import os
import runpy
import signal
import sys
import time

import pytest
import torch

from evaluation.speed import timing
from evaluation.speed.gpu import programs, script_rates, step_rates
from evaluation.speed.gpu import report as gpu_report
from evaluation.speed.gpu.report import NETS, TINY, Report, Row, table_line
from utils.config import load_config, override
from utils.errors import UserError


def tiny(name, clips=2):
    changes = {**NETS[name].settings, **TINY, **NETS[name].tiny, "train.batch_size": clips}
    return override(load_config(f"configs/config_{name}.py"), changes)


def request(name, **changes):
    settings = {**NETS[name].settings, **TINY, **NETS[name].tiny}
    values = {"changes": settings, "device": "cpu", "clips": 2, "doublings": 2, "seconds": 0.01} | changes
    return step_rates.Request(f"configs/config_{name}.py", **values)


@pytest.mark.parametrize("name", NETS)
def test_a_step_of_every_net_is_measured(name, capsys):
    step_rates.main([json.dumps(request(name, doublings=1)._asdict())])
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [one["clips"] for one in found] == [2, 4]
    assert all(one["rate"] > 0 and one["spread"] >= 0 for one in found), found


def test_batches_are_doubled_until_one_does_not_fit_into_memory(monkeypatch):
    make, sizes = step_rates.make_avc_step, []

    def make_step(*args, **kwargs):
        step = make(*args, **kwargs)

        def limited(model, batch):
            sizes.append(len(batch["frames"]))
            if sizes[-1] > 4:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
            return step(model, batch)

        return limited

    monkeypatch.setattr(step_rates, "make_avc_step", make_step)
    *fit, last = step_rates.measure_sizes(request("AVENet", doublings=9))
    assert [one["clips"] for one in fit] == [2, 4] and all("rate" in one for one in fit)
    assert last["clips"] == 8 and "doesn't fit into the GPU's memory" in last["failed"]
    assert max(sizes) == 8


def test_warm_up_does_not_count_and_steps_are_timed_in_parts(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(step_rates.time, "perf_counter", lambda: now[0])
    clock = step_rates.StepClock({"indices": [0] * 10}, torch.device("cpu"), seconds=5.0)
    taken = []

    def train():
        for batch in clock.batches(0):
            now[0] += 60.0 if len(taken) < step_rates.WARM_UP else 0.25
            taken.append(batch)

    with pytest.raises(step_rates._Measured):
        train()
    assert clock.rates == [40.0] * step_rates.CHUNKS and len(taken) == step_rates.WARM_UP + 20


def test_a_noise_batch_is_laid_out_as_a_loaders():
    batch = step_rates.random_batch(tiny("AVENet_OF", 3))
    assert batch["frames"].shape == (3, 36, 36, 3) and batch["frames"].dtype == torch.uint8
    assert batch["sounds"].shape == (3, 8000) and batch["sounds"].dtype == torch.int16
    assert batch["flows"].shape == (3, 36, 36, 4)
    assert step_rates.random_batch(tiny("PixelPlayer", 4))["sounds"].shape == (4, 8064)


# ------------------------------------------------------------------------------------------------------- programs


def test_why_a_program_failed_is_one_sentence():
    torchrun = [
        "W1130 torch warning",
        "[rank1]: Traceback (most recent call last):",
        "[rank1]: ValueError: bad",
        "====",
    ]
    assert programs.why_it_failed(torchrun, 1) == "ValueError: bad"
    assert programs.why_it_failed(["a", "error: no room: lower it", *torchrun], 2) == "no room: lower it"
    assert programs.why_it_failed(["something", "======"], 1) == "something"
    assert programs.why_it_failed([], -9) == "exit code -9"


def test_a_program_ends_when_its_time_is_over_with_all_that_it_started(tmp_path):
    code = (
        "import subprocess, sys, time, pathlib\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(100)'])\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid))\n"
        "print('started', flush=True)\ntime.sleep(100)"
    )
    done = programs.run_program(["-c", code], "cpu", 3)
    assert done.code is None and done.lines == ["started"] and done.reason == "its 3 s were over"
    child = int((tmp_path / "pid").read_text())
    for _ in range(100):
        try:
            with open(f"/proc/{child}/stat") as file:
                gone = file.read().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            gone = True
        if gone:
            return
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    raise AssertionError("its child is still there")


# --------------------------------------------------------------------------------------------------------- report


def test_a_row_is_a_line_of_a_table():
    row = Row("AVENet, from memory", 1024, 5123.4, 0.031, 31.6, None, "a | b")
    assert table_line(row) == "| AVENet, from memory | 1,024 | 5,123 | 3% | 31.6 GiB |  | a / b |"
    assert table_line(Row("torchrun", 0, note="none")) == "| torchrun |  |  |  |  |  | none |"


def finished(code, lines=(), reason=""):
    return programs.Finished(code, list(lines), reason)


def test_a_size_that_fails_and_a_process_that_dies_are_rows(tmp_path, monkeypatch, capsys):
    report = Report("cpu", 5, True, tmp_path)
    lines = ['{"clips": 4, "rate": 9.0, "spread": 0.1, "gib": 2.0}', '{"clips": 8, "failed": "no room"}', "other text"]
    monkeypatch.setattr(gpu_report, "run_program", lambda *_: finished(0, lines))
    report.steps("AVENet", doublings=3)
    monkeypatch.setattr(gpu_report, "run_program", lambda *_: finished(-11, lines[:1], "Segmentation fault"))
    report.steps("VOLNet", "fp16")
    assert [(row.clips, row.rate, row.note) for row in report.rows] == [
        (4, 9.0, ""), (8, None, "no room"), (4, 9.0, ""), (8, None, "Segmentation fault"),
    ]  # fmt: skip
    assert report.rows[2].title == "VOLNet, fp16, from memory"
    assert capsys.readouterr().out.count("\n") == 4


def test_a_report_ends_in_time_and_says_what_it_left_out(tmp_path, monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(gpu_report.time, "monotonic", lambda: clock[0])

    def slow(words, device, seconds):
        assert 5 <= seconds <= gpu_report.ROW_SECONDS
        clock[0] += seconds
        return finished(None, [], f"its {seconds:.0f} s were over")

    monkeypatch.setattr(gpu_report, "run_program", slow)
    monkeypatch.setattr(script_rates, "make_dataset", lambda *_: (_ for _ in ()).throw(OSError("No space left")))
    report = Report("cuda", 9.5, False, tmp_path)
    report.run()
    assert clock[0] <= 9.5 * 60
    notes = [row.note for row in report.rows]
    assert notes[:4] == ["its 150 s were over"] * 3 + ["its 120 s were over"]
    assert len(notes) == len(report.parts()) and set(notes[4:]) == {"left out: the time was over"}
    clock[0], report.end = 0.0, 500.0
    report.files = lambda: (_ for _ in ()).throw(OSError("No space left"))
    monkeypatch.setattr(gpu_report, "run_program", lambda *_: finished(0))
    report.rows.clear()
    report.run()
    assert [row.note for row in report.rows] == ["No space left"]


def test_the_rates_of_a_run_are_those_of_its_log(tmp_path):
    # The first line has the start of the workers in it: 10 steps in 60 s, later 10 in 2 s.
    lines = [
        {"kind": "train", "step": 10 * k, "seconds": 58.0 + 2 * k, "waiting": 0.9 if k == 1 else 0.25, "loss": 0.7 / k}
        for k in range(1, 12)
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = script_rates.log_rates(tmp_path, clips=8)
    assert found.rate == timing.Rate(40.0, 0.0) and found.waiting == 0.25 and found.loss == 0.7
    (tmp_path / "log.jsonl").write_text(json.dumps(lines[0]) + "\n")
    assert script_rates.log_rates(tmp_path, clips=8) is None


def test_without_a_gpu_one_sentence_says_so_with_exit_code_2(monkeypatch, capsys):
    monkeypatch.setattr(timing, "pick_device", lambda: torch.device("cpu"))
    with pytest.raises(UserError, match="--device cuda measures a GPU that torch can use"):
        gpu_report.main([])
    monkeypatch.setattr(sys, "argv", ["gpu_report"])
    monkeypatch.delitem(sys.modules, gpu_report.__name__)  # else Python warns that it runs it twice
    with pytest.raises(SystemExit) as end:
        runpy.run_module(gpu_report.__name__, run_name="__main__")
    said = capsys.readouterr()
    assert end.value.code == 2 and said.err.count("\n") == 1 and said.err.startswith("error: --device cuda")
    assert said.out == ""


@pytest.mark.slow
def test_from_files_resumed_and_in_two_processes(tmp_path):
    report = Report("cpu", 30, True, tmp_path)
    report.files()
    rows = {row.title: row for row in report.rows}
    trained = [row for title, row in rows.items() if title.startswith("AVENet")]
    assert len(trained) == 5 and any(row.rate for row in trained), report.rows
    assert all(row.rate or row.note == "too few steps to measure" for row in trained)  # of a busy machine
    assert all(0 <= row.waiting <= 1 for row in trained if row.rate)
    assert rows["resumed against not stopped, train.deterministic"].note == "bit for bit"
    one, two = (rows[f"AVENet, from shards, {name}"] for name in ("1 process", "2 processes (gloo)"))
    if not (one.rate and two.rate):
        pytest.skip("the machine is too busy to compare one process with two")
    assert "times one process" in two.note
    losses = [float(row.note.partition("loss of the first steps ")[2].partition(",")[0]) for row in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
