"""The measures of an evaluation as text, each with its standard error and its baseline."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from dataset.making.text import count_text
from evaluation.measures.measure import DECIMALS, Detail, Measure, Section, Values, look_up
from evaluation.measures.registry import SECTIONS

Row = list[str]  # cells of a line
ERROR = "± standard error"  # its column or row
VARIOUS = "baseline"  # head of baselines that differ


def metrics_table(metrics: Values) -> str:
    """Format the measures of an evaluation for the terminal.

    Args:
        metrics: content of metrics.json.

    Returns:
        lines of at most 100 characters or so.
    """
    clips = count_text(metrics["clips"], "clip")
    lines = [f"{metrics['model']} on {metrics['split']}: {clips}, {metrics['skipped']} skipped"]
    for section in SECTIONS.values():
        if section.key in metrics:
            lines += ["", *section_lines(section, metrics[section.key], metrics["model"])]
    lines += [f"\nNote: {note}." for note in metrics.get("notes", ())]
    return "\n".join(lines)


def section_lines(section: Section, values: Values, model: str = "ours") -> list[str]:
    """Format a section of metrics.json.

    Args:
        section: declares it.
        values: its content.
        model: name of the net, in comparisons with other models.
    """
    heading = ", ".join(filter(None, (section.title, *_details(section.details, values))))
    rows_of = _matrix_rows if section.groups else _list_rows
    compared = [measure for measure in section.measures if measure.key in section.compared and section.groups]
    tables = [_aligned(_comparison_rows(section, values, measure, model)) for measure in compared]
    lines = [heading, *_aligned(rows_of(section, values)), *(line for table in tables for line in table)]
    for key, name in section.variants.items():
        if key in values:
            heading = ", ".join((section.title, name, *_details(section.details, values[key])))
            main = replace(section, measures=tuple(one for one in section.measures if not one.is_detail))
            lines += ["", heading, *_aligned(rows_of(main, values | values[key]))]
    return lines


def _list_rows(section: Section, values: Values) -> list[Row]:
    """A measure in each row: its name, value and baseline."""
    shown = [measure for measure in section.measures if measure.value_in(values) is not None]
    if not shown:
        return []
    baseline, width = _baseline_name(shown), max(len(measure.baseline_name) for measure in shown)
    has_errors = any(measure.error_in(values) is not None for measure in shown)
    others = list(dict.fromkeys(name for measure in shown for name in measure.references_in(values)))
    rows = [["", "ours", *([ERROR] if has_errors else []), baseline, *others]]
    for measure in shown:
        unit = f", {measure.unit}" if measure.unit in ("dB", "nats") else ""
        direction = " (lower is better)" * measure.lower_is_better
        name = f"{measure.name.format_map(values)}{unit}{direction}"
        numbers = [measure.value_in(values), measure.error_in(values), measure.baseline_in(values)]
        numbers = numbers if has_errors else numbers[::2]
        found = measure.references_in(values)
        cells = [_format(measure, number) for number in (*numbers, *(found.get(other) for other in others))]
        rows.append([name, *cells, *([measure.baseline_name.ljust(width)] if baseline == VARIOUS else [])])
    return rows


def _matrix_rows(section: Section, values: Values) -> list[Row]:
    """A measure in each column; in each row a group, and its standard error, baseline and references in the next."""
    groups = section.values_by_group(values)
    shown = [one for one in section.measures if any(one.value_in(group) is not None for group in groups.values())]
    rows = [["", *(measure.name.format_map(values) for measure in shown)]]
    for key, group in groups.items():
        name = ", ".join((f"{key} ({section.groups[key]})", *_details(section.group_details, group)))
        rows.append([name, *(_format(measure, measure.value_in(group)) for measure in shown)])
        if any(measure.error_in(group) is not None for measure in shown):
            rows.append([f"  {ERROR}", *(_format(measure, measure.error_in(group)) for measure in shown)])
        rows.append([f"  {_baseline_name(shown)}", *(_format(one, one.baseline_in(group)) for one in shown)])
        references = [measure.references_in(group) for measure in shown]
        for other in dict.fromkeys(other for found in references for other in found):
            cells = (_format(one, found.get(other)) for one, found in zip(shown, references, strict=True))
            rows.append([f"  {other}", *cells])
    return rows


def _comparison_rows(section: Section, values: Values, measure: Measure, model: str) -> list[Row]:
    """One measure: a group in each column; in the rows the net, other models and the baseline. Empty without others."""
    others = {name: look_up(values, path) for path, name in section.comparisons.items()}
    models = {name: section.values_by_group(one) for name, one in others.items() if one}
    if not models:
        return []
    own = section.values_by_group(values)
    rows = [[f"{measure.name.format_map(values)} compared with other models", *own]]
    for name, groups in {model: own, **models}.items():
        rows.append([name, *(_format(measure, measure.value_in(groups.get(key, {}))) for key in own)])
    return [*rows, [measure.baseline_name, *(_format(measure, measure.baseline_in(group)) for group in own.values())]]


def _baseline_name(measures: Iterable[Measure]) -> str:
    """The name of the baseline, if all measures have the same."""
    names = {measure.baseline_name for measure in measures if measure.baseline_name}
    return names.pop() if len(names) == 1 else VARIOUS


def _details(details: Iterable[Detail], values: Values) -> list[str]:
    """What the heading says of counts and settings."""
    shown = [detail for detail in details if detail.heading and detail.key in values]
    shown = [detail for detail in shown if values[detail.key] != detail.hidden]
    return [
        detail.heading.format(count_text(values[detail.key], detail.noun) if detail.noun else values[detail.key])
        for detail in shown
    ]


def _format(measure: Measure, value: float | None) -> str:
    return "-" if value is None else f"{value:.{DECIMALS[measure.unit]}f}"


def _aligned(rows: Sequence[Row]) -> list[str]:
    """Indent rows, and align their first cells to the left, the others to the right."""
    if not rows:
        return []
    columns = max(map(len, rows))
    widths = [max(len(row[k]) for row in rows if k < len(row)) for k in range(columns)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width + 2) for cell, width in zip(others, widths[1:], strict=False)]
        lines.append(f"  {first.ljust(widths[0])}{''.join(cells)}".rstrip())
    return lines
