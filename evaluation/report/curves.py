"""Training curves as lines of an inline SVG: geometry only, the page's style draws them."""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

WIDTH, HEIGHT = 360, 190  # of the whole chart, in its own units
LEFT, RIGHT, TOP, BOTTOM = 38, 10, 10, 26  # margins for the numbers at the axes
MAX_POINTS = 800  # points of a line, about two of each unit of the width
CHANCE_LOSS = math.log(2)

LogLine = dict[str, Any]  # a line of log.jsonl
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


COMPARED_CURVES = tuple((kind, key) for key, _ in COMPARED for kind in ("val", "train"))


class ThinnedCurve:
    """A curve in constant memory: of each stretch of its points the lowest and the highest are kept.

    So what is drawn looks like all points, with every peak. Stretches get longer as points come.
    """

    def __init__(self) -> None:
        self._stretches: list[tuple[_Point, _Point]] = []  # lowest and highest point
        self._length = 1  # points of a stretch
        self._count = 0
        self._last: _Point | None = None

    def add(self, step: float, value: float) -> None:
        """Add the next point: a finite `value` at a `step`."""
        self._last = point = _Point(value, self._count, step)
        if self._count % self._length:
            self._stretches[-1] = _join(self._stretches[-1], (point, point))
        else:
            self._stretches.append((point, point))
        self._count += 1
        if self._count % self._length == 0 and len(self._stretches) == MAX_POINTS // 2:
            pairs = zip(self._stretches[::2], self._stretches[1::2], strict=True)
            self._stretches = [_join(first, second) for first, second in pairs]
            self._length *= 2

    def points(self) -> list[tuple[float, float]]:
        """List the points that are kept: (step, value) in their order, with the last one."""
        kept = {point for stretch in self._stretches for point in stretch} | ({self._last} if self._last else set())
        return [(point.step, point.value) for point in sorted(kept, key=lambda point: point.number)]


class _Point(NamedTuple):
    value: float
    number: int
    step: float


def _join(first: tuple[_Point, _Point], second: tuple[_Point, _Point]) -> tuple[_Point, _Point]:
    return min(first[0], second[0]), max(first[1], second[1])


class ThinnedLog:
    """What is shown of a log.jsonl, in constant memory.

    Args:
        lines: of the log; read once.
        curves: (kind, key) of the curves that are shown.

    Attributes:
        timed: the last line that says after how many seconds it was written; empty without one.
        scores_pairs: whether the loss is that of pairs, of which ln 2 is chance.
    """

    def __init__(self, lines: Iterable[LogLine], curves: Collection[tuple[str, str]]) -> None:
        self._curves: dict[tuple[str, str], ThinnedCurve] = defaultdict(ThinnedCurve)
        self._has_lines = self.scores_pairs = False
        self.timed: list[LogLine] = []
        for line in lines:
            self._has_lines = True
            self.scores_pairs |= "auc" in line
            if "seconds" in line and "step" in line:
                self.timed = [line]
            for kind, key in curves:
                if line.get("kind") == kind and isinstance(line.get(key), (int, float)) and math.isfinite(line[key]):
                    self._curves[kind, key].add(line["step"], line[key])

    def __bool__(self) -> bool:
        """Tell whether there was any line."""
        return self._has_lines

    def points(self, kind: str, key: str) -> Points:
        """List the points of a curve, (step, value); empty if it has none.

        Args:
            kind, key: one of `curves`.
        """
        return self._curves[kind, key].points() if (kind, key) in self._curves else []


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


def run_charts(log: Iterable[LogLine]) -> list[Chart]:
    """Draw the curves of one run.

    Args:
        log: lines of log.jsonl.

    Returns:
        the charts that have something to show.
    """
    thinned = ThinnedLog(log, {(curve.kind, curve.key) for _, curves, _ in RUN_CHARTS for curve in curves})
    charts = []
    for title, curves, chance in RUN_CHARTS:
        lines = {curve.name: thinned.points(curve.kind, curve.key) for curve in curves}
        lines = {name: points for name, points in lines.items() if points}
        if lines:
            charts.append(chart(title, lines, chance if title != "loss" or thinned.scores_pairs else None))
    return charts


def compare_charts(logs: Mapping[str, ThinnedLog]) -> list[Chart]:
    """Draw the curves of several runs: a chart for each quantity, of the validation where there is one.

    Args:
        logs: {name of a run: its log with COMPARED_CURVES}.
    """
    charts, scores_pairs = [], any(log.scores_pairs for log in logs.values())
    for key, chance in COMPARED:
        for kind, name in (("val", "validation"), ("train", "training")):
            lines = {run: log.points(kind, key) for run, log in logs.items()}
            lines = {run: points for run, points in lines.items() if points}
            if lines:
                title = f"{name}: {key.replace('_', ' ')}"
                charts.append(chart(title, lines, chance if key != "loss" or scores_pairs else None))
                break
    return charts


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
