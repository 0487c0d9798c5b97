"""Several evaluated runs beside each other: a table for the terminal and compare.html."""

import json
import os
import sys
from pathlib import Path
from urllib.parse import quote

from evaluation.report import curves
from evaluation.report.html_report import run_duration, template_environment
from evaluation.report.rows import MEANINGS, SECTIONS, metric_rows
from utils.errors import UserError
from utils.files import write_text
from utils.run import read_log

MUST_MATCH = ("data", "split", "clips")  # what must be equal for figures to be comparable


def read_runs(paths):
    """Find the evaluations of some runs.

    Args:
        paths: each a run's folder that holds eval_test/metrics.json, an evaluation's folder, or a metrics.json.

    Returns:
        list of {"name", "file": Path of metrics.json, "metrics", "log": lines of log.jsonl, may be empty}; names are
        the shortest ends of their folders' paths that differ.

    Raises:
        UserError: fewer than two, one given twice, or one without a metrics.json of this project.
    """
    files = [_metrics_file(Path(path)) for path in paths]
    if len(files) < 2:
        raise UserError("--compare needs at least two runs")
    for k, file in enumerate(files):
        if file.resolve() in {other.resolve() for other in files[:k]}:
            raise UserError(f"--compare got {file} twice: name each run once")
    return [
        {"name": name, "file": file, "metrics": _read(file), "log": read_log(_run_folder(file))}
        for name, file in zip(_names(files), files, strict=True)
    ]


def _metrics_file(path):
    for file in (path, path / "metrics.json", path / "eval_test" / "metrics.json"):
        if file.is_file():
            return file
    raise UserError(f"{path} holds no metrics.json and no eval_test/metrics.json: evaluate its checkpoint first")


def _read(file):
    try:
        metrics = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(metrics, dict) and {"model", *MUST_MATCH} <= metrics.keys() and metric_rows(metrics):
            return metrics
    except (ValueError, TypeError, KeyError, AttributeError):
        pass
    raise UserError(f"{file} is not what eval.py writes, or measures nothing: evaluate again")


def _run_folder(file):
    """The folder of the run that an evaluation belongs to: the one around eval_SPLIT."""
    folder = file.resolve().parent
    return folder.parent if folder.name.startswith("eval_") else folder


def _names(files):
    """The shortest ends of the runs' paths that tell them apart."""
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


def differences(runs):
    """One sentence on what the runs were not measured alike on, or None."""
    asked = {name: [run["metrics"].get(name) for run in runs] for name in MUST_MATCH}
    for name in ("k", "gain", "ontology"):
        found = [run["metrics"].get("retrieval", {}).get(name) for run in runs]
        asked[f"retrieval's {name}"] = [one for one in found if one is not None]
    unlike = {name: dict.fromkeys(map(str, found)) for name, found in asked.items()}
    unlike = [f"{name} ({', '.join(found)})" for name, found in unlike.items() if len(found) > 1]
    if not unlike:
        return None
    return "the runs were not measured alike, so their figures can't be compared as they are: they differ in " + (
        "; ".join(unlike)
    )


def compare_measures(runs):
    """Every measure of the runs, in one order.

    Args:
        runs: of `read_runs`.

    Returns:
        list of {"section", "group", "key", "name", "lower", "unit", "cells": list, one for each run, of {"value",
        "baseline", "shown", "best", "bar", "mark": the baseline's place on the bar} or None where a run has no such
        measure, "baseline": what all share, as text, or None}.
    """
    measured = [{row.key: row for row in metric_rows(run["metrics"])} for run in runs]
    order = sorted({key: row for found in measured for key, row in found.items()}.values(), key=_place)
    out = []
    for row in order:
        found = [of.get(row.key) for of in measured]
        there = [one for one in found if one]
        best = (min if row.lower else max)(one.value for one in there)
        marked = not row.reference and len({one.shown(one.value) for one in there}) > 1
        shared = {one.shown(one.baseline) for one in there}
        cells = [
            one and {
                "value": one.value, "shown": one.shown(one.value), "baseline": one.shown(one.baseline),
                "best": marked and one.shown(one.value) == one.shown(best), "bar": one.width(one.value),
                "mark": one.width(one.baseline),
            }
            for one in found
        ]  # fmt: skip
        out.append({
            "section": row.section, "group": row.group, "key": row.key, "name": row.name, "lower": row.lower,
            "unit": row.unit, "cells": cells, "baseline": shared.pop() if len(shared) == 1 else None,
        })  # fmt: skip
    return out


def _place(row):
    order = list(SECTIONS)
    return order.index(row.section) if row.section in order else len(order)


def comparison_table(runs, measures):
    """The comparison as text: a measure a line, a run a column; the best of each line bears a star.

    Args:
        runs, measures: of `read_runs` and `compared`.
    """
    widths = [max(len(run["name"]), 9) + 2 for run in runs]
    first = max(map(len, map(_named, measures))) + 4
    head = "".join(run["name"].rjust(width) for run, width in zip(runs, widths, strict=True))
    lines, section = [" " * first + head + "baseline".rjust(11)], None
    for row in measures:
        if row["section"] != section:
            section = row["section"]
            lines += ["", SECTIONS.get(section, section)]
        name = _named(row)
        cells = [("*" if cell["best"] else "") + cell["shown"] if cell else "-" for cell in row["cells"]]
        texts = "".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        lines.append(f"  {name}".ljust(first) + texts + (row["baseline"] or "differ").rjust(11))
    return "\n".join(lines)


def _named(row):
    """A measure's name on its line of the table."""
    name = f"{row['group']}: {row['name']}" if row["group"] else row["name"]
    return name + ", dB" * (row["unit"] == "dB") + " (less is better)" * row["lower"]


def write_comparison(paths, out=None):
    """Read runs, print their table, warn of what differs, and write compare.html.

    Args:
        paths: of `read_runs`. out: folder of the page; by default the one that holds all the runs.

    Returns:
        Path of the page.

    Raises:
        UserError: as `read_runs`, or the page can't be written.
    """
    runs = read_runs(paths)
    measures, warning = compare_measures(runs), differences(runs)
    print(comparison_table(runs, measures))
    if warning:
        print(f"warning: {warning}", file=sys.stderr)
    folder = Path(out or os.path.commonpath([_run_folder(run["file"]).parent for run in runs]))
    views = [run | {"lasted": run_duration(run["log"]), "report": _report(run["file"], folder)} for run in runs]
    logs = {run["name"]: run["log"] for run in runs if run["log"]}
    text = template_environment().get_template("compare.html").render(
        runs=views, measures=measures, warning=warning, sections=SECTIONS, meanings=MEANINGS,
        charts=curves.compare_charts(logs), numbers={name: k for k, name in enumerate(run["name"] for run in runs)},
    )  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "compare.html", text)
    except OSError as error:
        raise UserError(f"{folder}/compare.html can't be written ({error.strerror}): name another --out") from None
    print(f"\nwritten: {folder / 'compare.html'}")
    return folder / "compare.html"


def _report(file, folder):
    """The link from the comparison's folder to a run's own page, or None where it has none."""
    page = file.parent / "report.html"
    return quote(os.path.relpath(page.resolve(), folder.resolve()).replace(os.sep, "/")) if page.is_file() else None
