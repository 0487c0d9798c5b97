"""metrics.json as rows, one for each measure with its baseline: what tables, pages and comparisons show."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from evaluation.measures.measure import DECIMALS, KeyPath, Measure, Section, Unit, Values, look_up
from evaluation.measures.registry import EVALUATION, SECTIONS, meanings

MAX_HEADLINES = 4


@dataclass(frozen=True)
class MetricRow:
    """One measure of metrics.json.

    Attributes:
        section: its key in metrics.json.
        group: a heading within the section, or "".
        key: dotted path in metrics.json.
        name: for people.
        value: the measure.
        baseline: the value of the baseline, or None.
        baseline_name: what it is.
        error: the standard error of the value, or None.
        lower_is_better: the direction.
        unit: "fraction" (0..1), "dB", "nats" or "rank".
        reference: not the net's own result: a ceiling, or another model's.
        others: {name: value} of the references of the measure.
        is_detail: as of `Measure`.
    """

    section: str
    group: str
    key: str
    name: str
    value: float
    baseline: float | None = None
    baseline_name: str = ""
    error: float | None = None
    lower_is_better: bool = False
    unit: Unit = "fraction"
    reference: bool = False
    others: Mapping[str, float] = field(default_factory=dict)
    is_detail: bool = False

    def format(self, value: float | None) -> str:
        """Format a `value` of this measure, or its baseline: three decimals, decibels two, ranks one."""
        return "–" if value is None else f"{value:.{DECIMALS[self.unit]}f}"

    def bar_width(self, value: float | None) -> float | None:
        """Compute the width of a bar for a `value` of this measure, percent; None if it has no scale of 0 to 1."""
        return round(100 * min(max(value, 0), 1), 1) if self.unit == "fraction" and value is not None else None


def metric_rows(metrics: Values) -> list[MetricRow]:
    """List the measures of an evaluation in the order in which they are shown.

    Args:
        metrics: content of metrics.json. Sections that no entry declares, such as a user's own, come last.

    Returns:
        rows of the net's own measures, after each section those of the models it is compared with.
    """
    rows: list[MetricRow] = []
    for section in SECTIONS.values():
        values = metrics.get(section.key)
        if isinstance(values, dict):
            rows += _own_rows(section, values)
            for key in section.variants:
                rows += _own_rows(section, values, key)
            rows += [row for path in section.comparisons for row in _comparison_rows(section, values, path)]
    known = {*SECTIONS, *(detail.key for detail in EVALUATION)}
    for key, values in metrics.items():
        if isinstance(values, dict) and key not in known:
            rows += _undeclared_rows(key, values)
    return rows


def _own_rows(section: Section, values: Values, variant: str = "") -> Iterator[MetricRow]:
    """Yield the net's measures, by group; those of a variant if one is given."""
    prefix, names = ((variant,), [section.variants[variant]]) if variant else ((), [])
    for group, group_values in section.values_by_group(look_up(values, prefix) or {}).items():
        for measure in section.measures:
            if measure.value_in(group_values) is not None and not (variant and measure.is_detail):
                name = measure.name.format_map(values)
                group_name = ", ".join(filter(None, [section.groups.get(group, ""), *names]))
                yield _row(section, measure, group_values, (*prefix, group), group_name, name, measure.reference)


def _comparison_rows(section: Section, values: Values, path: KeyPath) -> Iterator[MetricRow]:
    """Yield the main measures of another model, whose values are at `path` of the section."""
    compared = [measure for measure in section.measures if measure.key in section.compared]
    for group, group_values in section.values_by_group(look_up(values, path) or {}).items():
        for measure in compared:
            if measure.value_in(group_values) is not None:
                name = f"{measure.name.format_map(values)}, {section.groups.get(group, '')}"
                title = f"baseline {section.comparisons[path]}"
                yield _row(section, measure, group_values, (*path, group), title, name, reference=True)


def _row(
    section: Section,
    measure: Measure[Any],
    values: Values,
    path: KeyPath,
    group_name: str,
    name: str,
    reference: bool,
) -> MetricRow:
    """Make the row of a measure from the `values` of its group, which are at `path` of the section."""
    return MetricRow(
        section=section.key,
        group=group_name,
        key=".".join(filter(None, (section.key, *path, measure.key))),
        name=name,
        value=values[measure.key],
        baseline=measure.baseline_in(values),
        baseline_name=measure.baseline_name,
        error=measure.error_in(values),
        lower_is_better=measure.lower_is_better,
        unit=measure.unit,
        reference=reference,
        others=measure.references_in(values),
        is_detail=measure.is_detail,
    )


def _undeclared_rows(section: str, values: Values, path: KeyPath = ()) -> Iterator[MetricRow]:
    """Yield the numbers of a section that no entry declares, each with its `random_NAME` and `NAME_error`, if any."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _undeclared_rows(section, value, (*path, name))
        elif name.startswith("random_") or (name.endswith("_error") and name.removesuffix("_error") in values):
            continue
        elif isinstance(value, float) and math.isfinite(value):
            random = values.get(f"random_{name}")
            yield MetricRow(
                section=section,
                group=".".join(path),
                key=".".join((section, *path, name)),
                name=name,
                value=value,
                baseline=random,
                baseline_name="" if random is None else "chance",
                error=values.get(f"{name}_error"),
                lower_is_better=any(word in name for word in ("loss", "error", "rank")),
                unit="fraction" if 0 <= value <= 1 else "rank",
            )


def headlines(rows: Iterable[MetricRow]) -> list[tuple[str, MetricRow]]:
    """Choose the large figures of report.html: (caption, row) of the most important of `rows`, four at most."""
    by_key = {row.key: row for row in rows}
    candidates = []
    for section in SECTIONS.values():
        for measure in section.measures:
            for headline in measure.headlines:
                key = ".".join(filter(None, (section.key, headline.group, measure.key)))
                if key in by_key:
                    candidates.append((headline.order, headline.text, by_key[key]))
    return [(text, row) for _, text, row in sorted(candidates, key=lambda one: one[0])[:MAX_HEADLINES]]


def reference_names(rows: Iterable[MetricRow]) -> list[str]:
    """List the names of the references that any of `rows` has, in their order."""
    return list(dict.fromkeys(name for row in rows for name in row.others))


def section_titles() -> dict[str, str]:
    """Get the title of each section of metrics.json: {key: title}."""
    return {section.key: section.title for section in SECTIONS.values()}


def section_meanings() -> dict[str, list[tuple[str, str]]]:
    """Get what the measures of each section mean: {key: list of (names, meaning)}."""
    return {section.key: meanings(section) for section in SECTIONS.values()}
