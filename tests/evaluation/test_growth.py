"""The table of how costs grow: exponents, rows, and that a row above the limit is marked."""

import subprocess
import sys

import pytest
from kill_and_resume import REPOSITORY, one_thread

from evaluation.speed.growth import table as growth


@pytest.mark.parametrize(("values", "expected"), [
    ([1, 10, 100], 1.0), ([1, 10, 1000], 2.0), ([1, 1, 1], 0.0), ([0.001, 0.01, 0.02], None), ([0, 0.01, 5], 2.0),
])  # fmt: skip
def test_the_exponent_is_that_of_the_last_step(values, expected):
    found = growth.exponent(values, growth.NOISE["seconds"])
    assert found == (expected if expected is None else pytest.approx(expected))


def test_what_grows_faster_than_the_work_is_marked(monkeypatch, capsys):
    results = {"check": [1, 10, 100], "compare": [1, 30, 900]}
    monkeypatch.setattr(
        growth, "measure_row", lambda name: [{"cpu_seconds": s, "peak_mb": 50, "clips": s} for s in results[name]]
    )
    assert growth.print_growth(["check"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[-5:] == ["cpu_seconds", "1", "10", "100", "1.00"]
    assert lines[2].split() == ["peak_mb", "50", "50", "50", "0.00"]
    assert lines[3].split() == ["clips", "1", "10", "100"]  # no cost
    assert not growth.print_growth(["check", "compare"])
    assert capsys.readouterr().out.count("above!") == 1


def test_every_row_has_its_module_and_a_wrong_name_is_named():
    for name in growth.ROWS:
        assert (REPOSITORY / "evaluation" / "speed" / "growth" / f"{name}.py").is_file()
    words = [sys.executable, "-m", "evaluation.speed.growth", "speed"]
    done = subprocess.run(words, cwd=REPOSITORY, env=one_thread(), capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "there is no row speed: choose from localization, " in done.stderr


@pytest.mark.slow
def test_small_rows_grow_no_faster_than_the_work(monkeypatch):
    for name, size in (("localization", 5), ("compare", 200)):
        monkeypatch.setitem(growth.ROWS, name, growth.ROWS[name]._replace(size=size))
        seconds = [result["cpu_seconds"] for result in growth.measure_row(name)]
        power = growth.exponent(seconds, growth.NOISE["seconds"])
        assert power is None or power < 1.3
