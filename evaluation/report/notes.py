"""Sentences that stand beside the measures: what could not be measured, and whether the split is too small."""

from dataset.making.text import count_text
from evaluation.measures.measure import Unit, Values
from evaluation.report.rows import metric_rows

MIN_CLIPS = 100  # a smaller split is always called small
MAX_ERRORS: dict[Unit, float] = {"fraction": 0.04, "dB": 0.5}  # standard errors above these are called large


def small_split_note(metrics: Values) -> str | None:
    """Say that a split is too small for its figures: fewer than MIN_CLIPS clips, or an error above MAX_ERRORS.

    Args:
        metrics: content of metrics.json.

    Returns:
        One sentence, or None.
    """
    rows = [row for row in metric_rows(metrics) if row.error is not None and row.unit in MAX_ERRORS]
    rows = [row for row in rows if not row.reference and not row.is_detail]
    worst = max(rows, key=lambda row: (row.error or 0) / MAX_ERRORS[row.unit], default=None)
    error = worst.error if worst and worst.error else 0.0
    if metrics["clips"] >= MIN_CLIPS and (worst is None or error <= MAX_ERRORS[worst.unit]):
        return None
    text = f"{count_text(metrics['clips'], 'clip')} are few for these figures"
    if worst is None or float(worst.format(error)) == 0:
        return text
    name = f"{worst.name}, {worst.group}" if worst.group else worst.name
    unit = " dB" if worst.unit == "dB" else ""
    return (
        f"{text}: their standard errors reach {worst.format(error)}{unit} ({name}), and differences below twice the "
        "standard error say nothing"
    )
