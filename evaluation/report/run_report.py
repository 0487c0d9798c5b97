"""RUN/report.html: whether a net learns, as a page that opens while it trains: curves and the latest validation."""

import time
from collections.abc import Sequence
from typing import NamedTuple

from evaluation.report.curves import RUN_CHARTS, LogLine, run_charts
from evaluation.report.templating import template_environment
from utils.config import changed_settings
from utils.files import write_text
from utils.run import Run, iterate_log

RELOAD = 20  # seconds after which an open page of a running training loads itself again
MEASURES = {"auc": ("AUC", 0.5, "chance"), "gain": ("gain, dB", 0.0, "the mixture itself")}  # that show learning
CLEAR = 3  # standard errors above the baseline: not chance


class ValidationRow(NamedTuple):
    """A metric of the validation: its name, its latest value, its first one, and its standard error or None."""

    name: str
    last: float
    first: float
    error: float | None


def write_run_report(run: Run) -> None:
    """Write the page of a run, `run`, that is being trained or has ended, from its log.

    Raises:
        OSError: it can't be written.
    """
    last: LogLine = {"step": 0, "epoch": 0.0, "seconds": 0.0}
    validations, warnings, skipped = list[LogLine](), dict[str, None](), 0
    for line in iterate_log(run.folder):  # a long run's has a GB
        last = line if "epoch" in line else last
        validations += [line] if line["kind"] == "val" else []
        warnings |= {str(line.get("message")): None} if line["kind"] == "warning" else {}
        skipped += line["kind"] == "skipped"
    train = run.config.train
    done = last["seconds"] / 60 / train.max_minutes if train.max_minutes else last["epoch"] / train.epochs
    done = 1.0 if run.state == "complete" else min(done, 1.0)  # a run by the clock ends a step before its time
    text = template_environment().get_template("run.html").render(
        name=run.folder.resolve().name, model=run.config.model.name, data=run.config.data.root, last=last,
        done=done, state=run.state, written=time.strftime("%Y-%m-%d %H:%M:%S"), reload=RELOAD,
        verdict=verdict(validations), rows=validation_rows(validations), charts=run_charts(iterate_log(run.folder)),
        changed=changed_settings(run.config), warnings=list(warnings), skipped=skipped,
    )  # fmt: skip
    write_text(run.folder / "report.html", text)


def verdict(validations: Sequence[LogLine]) -> str:
    """Say in one sentence whether the latest of some `validations`, lines of the log, is better than no learning."""
    if not validations:
        return "No validation yet: it is too early to say whether the net learns."
    last = validations[-1]
    for key, (name, baseline, what) in MEASURES.items():
        value, error = last.get(key), last.get(f"{key}_error")
        if not isinstance(value, (int, float)):
            continue
        shown = f"validation has {name} {value:.3f}, {what} {baseline:g}"
        if error is None:
            return f"The latest {shown}."
        clear = value - baseline > CLEAR * error
        return f"{'It learns' if clear else 'Not clearly better than without learning'}: the latest {shown}."
    return f"The latest validation was at step {last['step']}."


def validation_rows(validations: Sequence[LogLine]) -> list[ValidationRow]:
    """List the metrics of the latest of some `validations`, lines of the log, those of the curves first."""
    if not validations:
        return []
    names = {curve.key: curve.name for _, curves, _ in RUN_CHARTS for curve in curves if curve.kind == "val"}
    names |= {"loss": "loss", "accuracy": "accuracy", "auc": "AUC", "gain": "gain, dB"}
    last, first = validations[-1], validations[0]
    keys = [*[key for key in names if key in last], *[key for key in last if key not in names]]
    known = {"kind", "step", "epoch", "seconds"}
    keys = [key for key in keys if key not in known and not key.endswith("_error")]
    return [
        ValidationRow(
            names.get(key, key.replace("_", " ")),
            last[key],
            first[key] if key in first else last[key],
            last.get(f"{key}_error"),
        )
        for key in keys
        if isinstance(last[key], (int, float))
    ]
