"""Training curves as lines of an inline SVG: geometry only, the page's style draws them."""

import math

WIDTH, HEIGHT = 360, 190  # of the whole chart, in its own units
LEFT, RIGHT, TOP, BOTTOM = 38, 10, 10, 26  # margins for the numbers at the axes
MAX_POINTS = 400  # points of a line
# title, what is drawn: (kind of line in log.jsonl, key, name), and the level of chance.
CHARTS = (
    (
        "loss",
        (
            ("train", "loss", "training"),
            ("val", "loss", "validation"),
            ("train", "loss_masks", "training, of the masks alone"),
        ),
        math.log(2),
    ),
    (
        "accuracy",
        (
            ("train", "accuracy", "training"),
            ("val", "accuracy", "validation"),
            ("val", "auc", "validation, AUC"),
            ("val", "peak_accuracy", "validation, peak on the object"),
            ("train", "avc_accuracy", "training, which sound goes with which picture"),
        ),
        0.5,
    ),
    (
        "is it stuck? match - mismatch near 0",
        (
            ("train", "cosine_frames", "cosine, different frames"),
            ("train", "cosine_sounds", "cosine, different sounds"),
            ("train", "distance_std", "spread of distances"),
            ("train", "cosine_gap", "cosine, match - mismatch"),
        ),
        None,
    ),
    (
        "gain over the mixture, dB",
        (
            ("val", "gain", "validation"),
            ("val", "gain_ideal", "ideal binary masks"),
            ("val", "gain_swapped", "frames swapped"),
        ),
        None,
    ),
)


def run_charts(log):
    """The curves of one run.

    Args:
        log: list of dicts, `utils.run.read_log`.

    Returns:
        list of charts that have something to show, see `chart`.
    """
    out, judged = [], any("auc" in line for line in log)
    for title, wanted, chance in CHARTS:
        lines = [(name, _points(log, kind, key)) for kind, key, name in wanted]
        lines = [line for line in lines if line[1]]
        if lines:
            out.append(chart(title, lines, chance if judged or title != "loss" else None))
    return out


def compare_charts(logs):
    """The curves of several runs, one chart for each quantity, of the validations where there are any.

    Args:
        logs: {name of a run: list of dicts}.

    Returns:
        list of charts, see `chart`.
    """
    out, judged = [], any("auc" in line for log in logs.values() for line in log)
    quantities = (("loss", math.log(2)), ("accuracy", 0.5), ("auc", 0.5), ("peak_accuracy", None), ("gain", None))
    for key, chance in quantities:
        for kind in ("val", "train"):
            lines = [(name, _points(log, kind, key)) for name, log in logs.items()]
            lines = [line for line in lines if line[1]]
            if lines:
                title = f"{'validation' if kind == 'val' else 'training'}: {key.replace('_', ' ')}"
                out.append(chart(title, lines, chance if judged or key != "loss" else None))
                break
    return out


def chart(title, lines, chance=None):
    """Lines over the steps of a run, ready to be drawn.

    Args:
        title: of the chart. lines: list of (name, list of (step, value)), finite numbers. chance: a level, or None.

    Returns:
        dict: title; width, height; lines: list of {"name", "points", "last"}, points being an SVG polyline's, last the
        value at the end; x and y: lists of (place, text) at the axes; chance: its height, or None; axes' left, bottom.
    """
    steps = [step for _, points in lines for step, _ in points]
    values = [value for _, points in lines for _, value in points] + ([chance] if chance is not None else [])
    ticks_x, ticks_y = round_ticks(0, max(steps)), round_ticks(min(values), max(values))
    x = _scale(0, max(max(steps), 1), LEFT, WIDTH - RIGHT)
    low, high = min(min(values), ticks_y[0]), max(max(values), ticks_y[-1])
    y = _scale(low, high, HEIGHT - BOTTOM, TOP)
    return {
        "title": title, "width": WIDTH, "height": HEIGHT,
        "left": LEFT, "right": WIDTH - RIGHT, "bottom": HEIGHT - BOTTOM,
        "lines": [
            {"name": name, "last": points[-1][1], "points": " ".join(f"{x(s):.1f},{y(v):.1f}" for s, v in points)}
            for name, points in lines
        ],
        "x": [(round(x(tick), 1), f"{tick:g}") for tick in ticks_x if tick <= max(steps)],
        "y": [(round(y(tick), 1), f"{tick:g}") for tick in ticks_y],
        "chance": None if chance is None else round(y(chance), 1),
    }  # fmt: skip


def round_ticks(low, high, most=5):
    """Round numbers that span low..high: a list of at most about `most` + 1, ascending."""
    span = (high - low) or abs(high) or 1
    rough = span / most
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 10) for k in range(first, last + 1)]


def _scale(low, high, start, end):
    span = (high - low) or 1
    return lambda value: start + (value - low) / span * (end - start)


def _points(log, kind, key):
    """(step, value) of a quantity, thinned to MOST points with the last one kept."""
    found = [
        (line["step"], line[key])
        for line in log
        if line.get("kind") == kind and isinstance(line.get(key), (int, float)) and math.isfinite(line[key])
    ]
    stride = max(math.ceil(len(found) / MAX_POINTS), 1)
    return found[:-1][::stride] + found[-1:]
