"""Training curves as lines of an inline SVG: geometry only, the page's style draws them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

WIDTH, HEIGHT = 360, 190  # of the whole chart, in its own units
LEFT, RIGHT, TOP, BOTTOM = 38, 10, 10, 26  # margins for the numbers at the axes
MAX_POINTS = 400  # points of a line
CHANCE_LOSS = math.log(2)

Log = Sequence[Mapping[str, Any]]  # lines of log.jsonl
Points = Sequence[tuple[float, float]]  # (step, value)


class Curve(NamedTuple):
    """A quantity of log.jsonl: the kind of line ("train" or "val") that holds it, its key, its name on the page."""

    kind: str
    key: str
    name: str


RUN_CHARTS: tuple[tuple[str, tuple[Curve, ...], float | None], ...] = (  # title, curves, level of chance
    (
        "loss",
        (
            Curve("train", "loss", "training"),
            Curve("val", "loss", "validation"),
            Curve("train", "loss_masks", "training, of the masks alone"),
            Curve("train", "loss_avc", "training, of the last layer"),
        ),
        CHANCE_LOSS,
    ),
    (
        "accuracy",
        (
            Curve("train", "accuracy", "training"),
            Curve("val", "accuracy", "validation"),
            Curve("val", "auc", "validation, AUC"),
            Curve("val", "peak_accuracy", "validation, peak on the object"),
            Curve("train", "avc_accuracy", "training, correspondence of frames and sounds"),
            Curve("train", "silence_accuracy", "training, silence and noise"),
        ),
        0.5,
    ),
    (
        "InfoNCE: rank of the own sound in a batch",
        (
            Curve("train", "batch_auc", "AUC"),
            Curve("train", "batch_recall", "own sound first"),
            Curve("train", "batch_recall_chance", "the same by chance"),
        ),
        0.5,
    ),
    (
        "is it stuck? match - mismatch near 0",
        (
            Curve("train", "cosine_frames", "cosine, different frames"),
            Curve("train", "cosine_sounds", "cosine, different sounds"),
            Curve("train", "distance_std", "standard deviation of distances"),
            Curve("train", "cosine_gap", "cosine, match - mismatch"),
        ),
        None,
    ),
    (
        "gain over the mixture, dB",
        (
            Curve("val", "gain", "validation"),
            Curve("val", "gain_ideal", "ideal binary masks"),
            Curve("val", "gain_swapped", "frames swapped"),
        ),
        None,
    ),
)
COMPARED: tuple[tuple[str, float | None], ...] = (  # key in log.jsonl, level of chance
    ("loss", CHANCE_LOSS), ("accuracy", 0.5), ("auc", 0.5), ("peak_accuracy", None), ("gain", None),
)  # fmt: skip


class Line(NamedTuple):
    """A curve of a chart: its name, the value at its end, and the points of an SVG polyline.

    single: whether it is one point, which a polyline doesn't show.
    """

    name: str
    last: float
    points: str
    single: bool = False


class Tick(NamedTuple):
    """A number at an axis, and its position."""

    position: float
    text: str


@dataclass(frozen=True)
class Chart:
    """Curves over the steps of a run, ready to be drawn.

    Attributes:
        title: of the chart.
        lines: the curves.
        x, y: the ticks of the axes.
        chance: height of the level of chance, or None.
        width, height: of the whole chart.
        left, right, bottom: of the axes.
    """

    title: str
    lines: list[Line]
    x: list[Tick]
    y: list[Tick]
    chance: float | None
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


def run_charts(log: Log) -> list[Chart]:
    """Draw the curves of one run.

    Args:
        log: lines of log.jsonl.

    Returns:
        the charts that have something to show.
    """
    charts = []
    for title, curves, chance in RUN_CHARTS:
        lines = {curve.name: _points(log, curve.kind, curve.key) for curve in curves}
        lines = {name: points for name, points in lines.items() if points}
        if lines:
            charts.append(chart(title, lines, chance if title != "loss" or _scores_pairs(log) else None))
    return charts


def compare_charts(logs: Mapping[str, Log]) -> list[Chart]:
    """Draw the curves of several runs: a chart for each quantity, of the validation where there is one.

    Args:
        logs: {name of a run: lines of its log.jsonl}.
    """
    charts, scores_pairs = [], any(map(_scores_pairs, logs.values()))
    for key, chance in COMPARED:
        for kind, name in (("val", "validation"), ("train", "training")):
            lines = {run: _points(log, kind, key) for run, log in logs.items()}
            lines = {run: points for run, points in lines.items() if points}
            if lines:
                title = f"{name}: {key.replace('_', ' ')}"
                charts.append(chart(title, lines, chance if key != "loss" or scores_pairs else None))
                break
    return charts


def _scores_pairs(log: Log) -> bool:
    """Whether the loss is that of pairs, of which ln 2 is chance."""
    return any("auc" in line for line in log)


def chart(title: str, lines: Mapping[str, Points], chance: float | None = None) -> Chart:
    """Lay out curves over the steps of a run.

    Args:
        title: of the chart.
        lines: {name: points}, finite numbers, at least one point each.
        chance: a level, or None.
    """
    steps = [step for points in lines.values() for step, _ in points]
    values = [value for points in lines.values() for _, value in points] + ([] if chance is None else [chance])
    ticks_x, ticks_y = round_ticks(0, max(steps)), round_ticks(min(values), max(values))
    x = _scale(0, max(max(steps), 1), LEFT, WIDTH - RIGHT)
    y = _scale(min(min(values), ticks_y[0]), max(max(values), ticks_y[-1]), HEIGHT - BOTTOM, TOP)
    return Chart(
        title=title,
        lines=[
            Line(
                name,
                points[-1][1],
                " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in points),
                single=len(points) == 1,
            )
            for name, points in lines.items()
        ],
        x=[Tick(round(x(tick), 1), f"{tick:g}") for tick in ticks_x if tick <= max(steps)],
        y=[Tick(round(y(tick), 1), f"{tick:g}") for tick in ticks_y],
        chance=None if chance is None else round(y(chance), 1),
    )


def round_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Choose round numbers that span `low`..`high`: ascending, at most about `most` + 1."""
    span = (high - low) or abs(high) or 1
    rough = span / most
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 10) for k in range(first, last + 1)]


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Map low..high linearly to start..end."""
    span = (high - low) or 1
    return lambda value: start + (value - low) / span * (end - start)


def _points(log: Log, kind: str, key: str) -> Points:
    """(step, value) of a quantity, thinned to MAX_POINTS points; the last one is kept."""
    points = [
        (line["step"], line[key])
        for line in log
        if line.get("kind") == kind and isinstance(line.get(key), (int, float)) and math.isfinite(line[key])
    ]
    stride = max(math.ceil(len(points) / MAX_POINTS), 1)
    return points[:-1][::stride] + points[-1:]
