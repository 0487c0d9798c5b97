"""Evaluated runs beside each other: the table, the page, what is warned of and what is refused."""

import json
import re
import tracemalloc

import numpy as np
import page_samples as samples
import pytest
from test_page import Parsed

import eval as evaluate
from evaluation.report.compare import compare_measures, comparison_table, differences, read_runs
from evaluation.report.curves import COMPARED_CURVES, MAX_POINTS, ThinnedLog
from evaluation.report.html_report import run_duration
from utils.errors import UserError
from utils.run import iterate_log


def make_run(folder, change=None, log=True):
    """A run's folder with eval_test/metrics.json, changed by a callable."""
    metrics = samples.metrics()
    (change or (lambda found: None))(metrics)
    (folder / "eval_test").mkdir(parents=True)
    (folder / "eval_test" / "metrics.json").write_text(json.dumps(metrics))
    if log:
        (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in samples.log()))
    return folder


def better(metrics):
    metrics["avc"]["auc"] = 0.99
    metrics["avc"]["loss"] = 0.1


@pytest.fixture
def two(tmp_path):
    return [make_run(tmp_path / "runs" / "plain"), make_run(tmp_path / "runs" / "better", better)]


def test_the_page_and_the_table_hold_every_measure_of_every_run(two, capsys):
    written = evaluate.main(["--compare", *map(str, two)])
    assert written == two[0].parent / "compare.html"
    out, err = capsys.readouterr()
    assert err == "" and out.strip().endswith(str(written))
    parsed = Parsed(written.read_text(encoding="utf-8"))
    found = [json.loads((run / "eval_test" / "metrics.json").read_text()) for run in two]
    for key in ("avc.auc", "avc.loss", "retrieval.im-aud.ndcg", "localization.peak_accuracy"):
        section, *rest = key.split(".")
        values = [one[section][rest[0]] if len(rest) == 1 else one[section][rest[0]][rest[1]] for one in found]
        numbers = re.findall(r"(± )?(\d\.\d{3})", parsed.cells[key])
        assert [number for error, number in numbers if not error][:2] == [f"{value:.3f}" for value in values], key
        errors = [one[section] if len(rest) == 1 else one[section][rest[0]] for one in found]
        expected = [f"{one[rest[-1] + '_error']:.3f}" for one in errors]
        assert [number for error, number in numbers if error] == expected, key
    assert (
        "best: 0.990" in " ".join(parsed.cells["avc.auc"].split()) and parsed.cells["avc.accuracy"].count("best") == 0
    )
    line = next(line for line in out.splitlines() if line.strip().startswith("AUC"))
    assert line.split() == ["AUC", f"{found[0]['avc']['auc']:.3f}", "*0.990", "0.500"]
    assert "190 steps" in parsed.text and "better" in parsed.text


def test_the_best_is_marked_by_the_way_that_is_better(two):
    measures = {row.key: row for row in compare_measures(read_runs(two))}
    for key in ("avc.auc", "avc.loss"):
        assert [cell.best for cell in measures[key].cells] == [False, True], key
    assert [cell.mark for cell in measures["avc.auc"].cells] == [50, 50]  # chance, on the bars
    assert [cell.best for cell in measures["avc.accuracy"].cells] == [False, False]  # equal: none is better


def test_a_measure_that_one_run_lacks_leaves_a_gap(two, tmp_path):
    third = make_run(tmp_path / "third", lambda metrics: metrics.pop("localization"), log=False)
    runs = read_runs([*two, third])
    row = next(row for row in compare_measures(runs) if row.key == "localization.peak_accuracy")
    assert row.cells[2] is None and row.cells[0].value > 0
    assert [
        line.split()[-2]
        for line in comparison_table(runs, compare_measures(runs)).splitlines()
        if "peak on a sounding object" in line
    ] == ["-"]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("data", {"data": "elsewhere"}), ("split", {"split": "val"}), ("clips", {"clips": 7}),
        ("retrieval's k", {"retrieval": {**samples.metrics()["retrieval"], "k": 5}}),
    ],
)  # fmt: skip
def test_what_was_not_measured_alike_is_said_in_one_sentence(name, change, two, tmp_path, capsys):
    other = make_run(tmp_path / "other", lambda metrics: metrics.update(change))
    evaluate.main(["--compare", str(two[0]), str(other), "--out", str(tmp_path / "out")])
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and said[0].startswith("warning: ") and name in said[0]
    assert name.replace("'", "&#39;") in (tmp_path / "out" / "compare.html").read_text()
    assert differences(read_runs(two)) is None


def test_runs_are_found_by_folder_evaluation_or_file_and_named_apart(tmp_path):
    runs = [make_run(tmp_path / seed / "AVE-Net") for seed in "01"]
    found = read_runs([runs[0], runs[1] / "eval_test"])
    assert [run.name for run in found] == ["0/AVE-Net", "1/AVE-Net"]
    found = read_runs([runs[0] / "eval_test" / "metrics.json", make_run(tmp_path / "L3-Net")])
    assert [run.name for run in found] == ["AVE-Net", "L3-Net"] and all(run.log for run in found)
    (runs[0] / "eval_val").mkdir()
    (runs[0] / "eval_val" / "metrics.json").write_text((runs[0] / "eval_test" / "metrics.json").read_text())
    assert [run.name for run in read_runs([runs[0], runs[0] / "eval_val"])] == ["eval_test", "eval_val"]


def test_a_comparison_links_the_runs_own_pages(tmp_path):
    runs = [make_run(tmp_path / name) for name in ("a#b", "c")]
    (runs[0] / "eval_test" / "report.html").write_text("its page")
    written = evaluate.main(["--compare", *map(str, runs), "--out", str(tmp_path / "deep" / "er")])
    linked = [attrs["href"] for tag, attrs in Parsed(written.read_text()).tags if tag == "a"]
    assert "../../a%23b/eval_test/report.html" in linked and not any("c/eval" in link for link in linked)


def test_a_run_called_like_html_is_text(tmp_path):
    runs = [make_run(tmp_path / name) for name in ("<b onclick=x>", "c")]
    written = evaluate.main(["--compare", *map(str, runs)])
    parsed = Parsed(written.read_text())
    assert "<b onclick=x>" in parsed.text and not any("onclick" in attrs for _, attrs in parsed.tags)


def test_mistakes_get_one_sentence(two, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "file").write_text("")
    for content, words, said in (
        (None, [two[0]], "at least two"),
        (None, [two[0], two[0] / "eval_test"], "twice"),
        (None, [two[0], tmp_path / "missing"], "missing"),
        ("{not json", [two[0], tmp_path / "broken"], "broken"),
        ("[]", [two[0], tmp_path / "broken"], "broken"),
        ('{"model": "x", "data": "y", "split": "z", "clips": 3}', [two[0], tmp_path / "broken"], "measures nothing"),
        (None, [*two, "--checkpoint", "best.pt"], "--checkpoint"),
        (None, [*two, "--data.root", "elsewhere"], "settings"),
        (None, [*two, "--out", tmp_path / "file" / "below"], "--out"),
    ):
        (tmp_path / "broken" / "metrics.json").write_text(content or "")
        with pytest.raises(UserError, match=said):
            evaluate.main(["--compare", *map(str, words)])


def test_curves_of_long_runs_keep_every_peak_in_constant_memory():
    """The drawn line covers what all points would: in each column of pixels the same lowest and highest value."""
    rng = np.random.default_rng(0)
    values = np.cumsum(rng.standard_normal(100_000)) / 100
    values[[777, 54_321]] = 30, -30  # of single points
    lines = ({"kind": "train", "step": 10 * k, "loss": value} for k, value in enumerate(values))
    log = ThinnedLog(lines, [("train", "loss")])
    steps, kept = np.array(log.points("train", "loss")).T
    assert len(kept) <= MAX_POINTS + 1 and (np.diff(steps) > 0).all()
    assert (kept[-1], kept.max(), kept.min()) == (values[-1], 30, -30)
    assert set(zip(steps, kept, strict=True)) <= {(10 * k, value) for k, value in enumerate(values)}
    for first in range(0, len(values), 256):  # half a unit of the chart's width
        drawn, whole = kept[(steps >= 10 * first) & (steps < 10 * (first + 256))], values[first : first + 256]
        assert (drawn.min(), drawn.max()) == (whole.min(), whole.max())


@pytest.mark.parametrize("count", [0, 1, 2, 399, 400])
def test_all_points_of_a_short_curve_are_drawn(count):
    log = ThinnedLog(({"kind": "val", "step": k, "auc": k % 3} for k in range(count)), [("val", "auc")])
    assert log.points("val", "auc")[:399] == [(k, k % 3) for k in range(min(count, 399))]
    assert bool(log) == log.scores_pairs == (count > 0)


def test_a_long_log_is_not_held_in_memory(tmp_path):
    line = json.dumps({"kind": "train", "step": 1, "seconds": 5.0, **{f"metric_{k}": 0.123456 for k in range(20)}})
    (tmp_path / "log.jsonl").write_text(f"{line}\n" * 20_000)
    tracemalloc.start()
    log = ThinnedLog(iterate_log(tmp_path), COMPARED_CURVES)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert run_duration(log.timed)["seconds"] == 5.0
    assert peak < 2e6  # bytes; the file has 9 MB, its lines as dicts ten times as much
