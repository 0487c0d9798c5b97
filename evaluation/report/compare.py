"""Compare several evaluated runs side by side: a table for the terminal and compare.html."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from evaluation.measures.measure import Values, look_up
from evaluation.measures.registry import SECTIONS
from evaluation.report.curves import COMPARED_CURVES, ThinnedLog, compare_charts
from evaluation.report.html_report import run_duration
from evaluation.report.rows import MetricRow, metric_rows, section_meanings, section_titles
from evaluation.report.templating import template_environment
from utils.errors import UserError
from utils.files import read_text, write_text
from utils.run import iterate_log

MUST_MATCH = ("data", "split", "clips")  # values of metrics.json without which measures are not comparable
RETRIEVAL_MUST_MATCH = ("k", "gain", "ontology")


@dataclass(frozen=True)
class EvaluatedRun:
    """An evaluation of a run.

    Attributes:
        name: the shortest end of its folder's path that no other run shares.
        file: of its metrics.json.
        metrics: its content.
        log: its log.jsonl, may be empty.
    """

    name: str
    file: Path
    metrics: Values
    log: ThinnedLog

    def report_link(self, folder: Path) -> str | None:
        """Make a link from a page in `folder` to the run's own report, None where it has none."""
        page = self.file.parent / "report.html"
        if not page.is_file():
            return None
        return quote(os.path.relpath(page.resolve(), folder.resolve()).replace(os.sep, "/"))


@dataclass(frozen=True)
class Cell:
    """A measure of one run.

    Attributes:
        value: the measure.
        shown, baseline: it and its baseline as text.
        error: its standard error as text, "" where it isn't known.
        best: whether it is the best of its row.
        bar, mark: width of its bar and location of the baseline on it, percent; None without a scale.
    """

    value: float
    shown: str
    baseline: str
    error: str
    best: bool
    bar: float | None
    mark: float | None


@dataclass(frozen=True)
class ComparedMeasure:
    """A measure of all runs.

    Attributes:
        section, group, key, name, lower_is_better, unit: as in `evaluation.report.rows.MetricRow`.
        cells: one for each run, None where a run lacks the measure.
        baseline: as text, None if the runs' baselines differ.
    """

    section: str
    group: str
    key: str
    name: str
    lower_is_better: bool
    unit: str
    cells: list[Cell | None]
    baseline: str | None


def read_runs(paths: Sequence[str | Path]) -> list[EvaluatedRun]:
    """Read the evaluations of some runs.

    Args:
        paths: each a run's folder that holds eval_test/metrics.json, an evaluation's folder, or a metrics.json.

    Returns:
        the runs, in the same order.

    Raises:
        UserError: fewer than two, one given twice, or one without a metrics.json of this project.
    """
    files = [_metrics_file(Path(path)) for path in paths]
    if len(files) < 2:
        raise UserError("--compare needs at least two runs")
    for k, file in enumerate(files):
        if file.resolve() in {other.resolve() for other in files[:k]}:
            raise UserError(f"--compare got {file} twice: name each run once")
    names = _distinct_names(files)
    return [
        EvaluatedRun(name, file, _read_metrics(file), ThinnedLog(iterate_log(_run_folder(file)), COMPARED_CURVES))
        for name, file in zip(names, files, strict=True)
    ]


def _metrics_file(path: Path) -> Path:
    for file in (path, path / "metrics.json", path / "eval_test" / "metrics.json"):
        if file.is_file():
            return file
    raise UserError(f"{path} has no metrics.json and no eval_test/metrics.json: evaluate its checkpoint first")


def _read_metrics(file: Path) -> Values:
    try:
        metrics = json.loads(read_text(file))
        if isinstance(metrics, dict) and {"model", *MUST_MATCH} <= metrics.keys() and metric_rows(metrics):
            return metrics
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    raise UserError(f"{file} was not written by eval.py, or measures nothing: evaluate again")


def _run_folder(file: Path) -> Path:
    """The folder of the run that an evaluation belongs to: the one around eval_SPLIT."""
    folder = file.resolve().parent
    return folder.parent if folder.name.startswith("eval_") else folder


def _distinct_names(files: Sequence[Path]) -> list[str]:
    """The shortest ends of the runs' paths that differ."""
    parts = [_run_folder(file).parts for file in files]
    if len(set(parts)) < len(parts):  # several evaluations of one run
        parts = [file.resolve().parent.parts for file in files]
    if len(set(parts)) < len(parts):  # several files of one folder
        parts = [file.resolve().parts for file in files]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("different files have different paths")


def differences(runs: Sequence[EvaluatedRun]) -> str | None:
    """Name what the runs were measured on differently, which makes their values incomparable.

    Args:
        runs: from `read_runs`.

    Returns:
        one sentence, or None.
    """
    conditions = {name: [run.metrics.get(name) for run in runs] for name in MUST_MATCH}
    conditions["--ids"] = [look_up(run.metrics, ("ids", "sha256")) for run in runs]
    retrievals = [run.metrics["retrieval"] for run in runs if "retrieval" in run.metrics]
    conditions |= {f"retrieval's {name}": [one.get(name) for one in retrievals] for name in RETRIEVAL_MUST_MATCH}
    clips = [look_up(run.metrics, (section, "clip", "moments")) for run in runs for section in ("avc", "retrieval")]
    conditions["data.moments"] = [moments for moments in clips if moments]
    different = {name: dict.fromkeys(map(str, values)) for name, values in conditions.items()}
    texts = [f"{name} ({', '.join(values)})" for name, values in different.items() if len(values) > 1]
    if not texts:
        return None
    return f"the runs were not measured alike, so their values are not comparable: they differ in {'; '.join(texts)}"


def compare_measures(runs: Sequence[EvaluatedRun]) -> list[ComparedMeasure]:
    """Collect every measure of the runs, in the order of the sections.

    Args:
        runs: from `read_runs`.
    """
    rows_of_runs = [{row.key: row for row in metric_rows(run.metrics)} for run in runs]
    rows = {key: row for rows in rows_of_runs for key, row in rows.items()}
    order = [*SECTIONS]
    in_order = sorted(rows.values(), key=lambda one: order.index(one.section) if one.section in order else len(order))
    return [_compare([rows.get(row.key) for rows in rows_of_runs]) for row in in_order]


def _compare(rows: Sequence[MetricRow | None]) -> ComparedMeasure:
    """Compare one measure of several runs: its row of each, None where a run lacks it."""
    measured = [row for row in rows if row]
    first = measured[0]
    best = (min if first.lower_is_better else max)(row.value for row in measured)
    marked = not first.reference and len({row.format(row.value) for row in measured}) > 1
    cells = [
        None if row is None else Cell(
            value=row.value, shown=row.format(row.value), baseline=row.format(row.baseline),
            error="" if row.error is None else row.format(row.error),
            best=marked and row.format(row.value) == row.format(best),
            bar=row.bar_width(row.value), mark=row.bar_width(row.baseline),
        )
        for row in rows
    ]  # fmt: skip
    baselines = {row.format(row.baseline) for row in measured}
    return ComparedMeasure(
        first.section, first.group, first.key, first.name, first.lower_is_better, first.unit, cells,
        baselines.pop() if len(baselines) == 1 else None,
    )  # fmt: skip


def comparison_table(runs: Sequence[EvaluatedRun], measures: Sequence[ComparedMeasure]) -> str:
    """Format the comparison as text: a measure in each line, a run in each column, a star at the best.

    Args:
        runs: from `read_runs`.
        measures: from `compare_measures`.
    """
    names, titles = [_full_name(row) for row in measures], section_titles()
    first = max(map(len, names)) + 4
    widths = [max(len(run.name), 9) + 2 for run in runs]
    head = "".join(run.name.rjust(width) for run, width in zip(runs, widths, strict=True))
    lines, section = [" " * first + head + "baseline".rjust(11)], ""
    for row, name in zip(measures, names, strict=True):
        if row.section != section:
            section = row.section
            lines += ["", titles.get(section, section)]
        cells = [("*" if cell.best else "") + cell.shown if cell else "-" for cell in row.cells]
        texts = "".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        lines.append(f"  {name}".ljust(first) + texts + (row.baseline or "differ").rjust(11))
    return "\n".join(lines)


def _full_name(row: ComparedMeasure) -> str:
    name = f"{row.group}: {row.name}" if row.group else row.name
    return name + ", dB" * (row.unit == "dB") + " (lower is better)" * row.lower_is_better


def write_comparison(paths: Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Read runs, print their table, warn of what differs, and write compare.html.

    Args:
        paths: as for `read_runs`.
        out: folder of the page; by default the one that holds all the runs.

    Returns:
        the page.

    Raises:
        UserError: as `read_runs`, or the page can't be written.
    """
    runs = read_runs(paths)
    measures, warning = compare_measures(runs), differences(runs)
    print(comparison_table(runs, measures))
    if warning:
        print(f"warning: {warning}", file=sys.stderr)
    folder = Path(out or os.path.commonpath([_run_folder(run.file).parent for run in runs]))
    views = [
        {"name": run.name, "file": run.file, "metrics": run.metrics, "duration": run_duration(run.log.timed),
         "report": run.report_link(folder)}
        for run in runs
    ]  # fmt: skip
    text = template_environment().get_template("compare.html").render(
        runs=views, measures=measures, warning=warning, sections=section_titles(), meanings=section_meanings(),
        charts=compare_charts({run.name: run.log for run in runs if run.log}),
        numbers={run.name: k for k, run in enumerate(runs)},
    )  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "compare.html", text)
    except OSError as error:
        raise UserError(f"{folder}/compare.html can't be written ({error.strerror}): choose another --out") from None
    print(f"\nwritten: {folder / 'compare.html'}")
    return folder / "compare.html"
