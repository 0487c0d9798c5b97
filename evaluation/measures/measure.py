"""How a measure is declared: one entry holds its key, name, meaning, function, baseline and direction.

The entries of a section are in its own module (`evaluation.measures.retrieval.RETRIEVAL`, ...), below the functions
that they name. metrics.json, the table on the screen, report.html, the comparison of runs and docs/measures.md are made
from them (`evaluation.measures.registry`), so that a new measure needs one entry and one function.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

Data = TypeVar("Data")  # what the measures of a section are computed from, such as `retrieval.Rankings`
Values = dict[str, Any]  # a section of metrics.json, or a group of one
KeyPath = tuple[str, ...]  # keys that lead to a value
Unit = Literal["fraction", "dB", "nats", "rank"]
DECIMALS: dict[Unit, int] = {"fraction": 3, "dB": 2, "nats": 3, "rank": 1}


@dataclass(frozen=True)
class Headline:
    """A large figure at the top of report.html.

    Attributes:
        order: of those that were measured, the lowest are shown.
        text: its caption.
        group: the group of the section whose value is shown, such as a direction of retrieval.
    """

    order: int
    text: str
    group: str = ""


@dataclass(frozen=True)
class Reference(Generic[Data]):
    """Another value to hold a measure against, beside its baseline: of another trivial rule, or a ceiling.

    Attributes:
        key: stored as MEASURE_KEY.
        name: for people, such as "whole frame".
        compute: as of `Measure`.
    """

    key: str
    name: str
    compute: Callable[[Data], float | None]


@dataclass(frozen=True)
class Measure(Generic[Data]):
    """A number that says how good a net is, with its baseline.

    Attributes:
        key: in its section, or group, of metrics.json.
        name: for people; fields in braces are filled from the section's values, as in "nDCG@{k}".
        meaning: one sentence. Neighbors with the same meaning are explained together.
        compute: gets the section's data and returns the value, or None where the measure does not apply.
        baseline: a constant, or a function of the section's data, or None.
        baseline_name: what the baseline is, such as "chance".
        baseline_path: where a computed baseline is stored in the same group; by default `random_KEY`.
        references: more values to hold it against, in columns of their own.
        error: a function that returns the standard error, or None where there is none; stored as `KEY_error`.
        lower_is_better: the direction.
        unit: sets how many decimals are shown, and whether the value has a scale of 0 to 1.
        reference: a ceiling, not a result of the net itself.
        is_detail: too much for the tables of the variants, and no reason to call a split small.
        count_key: key of the number of items that it is a mean over; with 0 items it is not shown.
        headlines: where report.html shows it large.
    """

    key: str
    name: str
    meaning: str
    compute: Callable[[Data], float | None]
    baseline: Callable[[Data], float | None] | float | None = None
    baseline_name: str = ""
    baseline_path: KeyPath = ()
    references: tuple[Reference[Data], ...] = ()
    error: Callable[[Data], float | None] | None = None
    lower_is_better: bool = False
    unit: Unit = "fraction"
    reference: bool = False
    is_detail: bool = False
    count_key: str = ""
    headlines: tuple[Headline, ...] = ()

    def companions(self) -> dict[KeyPath, Callable[[Data], float | None]]:
        """List what is stored with the value: {path in its group: the function that computes it}."""
        out: dict[KeyPath, Callable[[Data], float | None]] = {}
        if callable(self.baseline):
            out[self._baseline_path()] = self.baseline
        if self.error:
            out[self._error_path()] = self.error
        return out | {self._reference_path(one.key): one.compute for one in self.references}

    def value_in(self, values: Values) -> float | None:
        """Read the value from a group of metrics.json (`values`): None if it is missing, or a mean over no items."""
        value = values.get(self.key)
        return value if isinstance(value, (int, float)) and values.get(self.count_key) != 0 else None

    def baseline_in(self, values: Values) -> float | None:
        """Read the baseline from a group of metrics.json (`values`): None if there is none."""
        return look_up(values, self._baseline_path()) if callable(self.baseline) else self.baseline

    def error_in(self, values: Values) -> float | None:
        """Read the standard error from a group of metrics.json (`values`): None if there is none."""
        return look_up(values, self._error_path())

    def references_in(self, values: Values) -> dict[str, float]:
        """Read the references from a group of metrics.json (`values`): {name: value} of those that are there."""
        found = {one.name: look_up(values, self._reference_path(one.key)) for one in self.references}
        return {name: value for name, value in found.items() if value is not None}

    def _reference_path(self, key: str) -> KeyPath:
        return (f"{self.key}_{key}",)

    def _baseline_path(self) -> KeyPath:
        return self.baseline_path or (f"random_{self.key}",)

    def _error_path(self) -> KeyPath:
        return (f"{self.key}_error",)


@dataclass(frozen=True)
class Detail:
    """A value of metrics.json that is not a measure: a setting, a count, a list.

    Attributes:
        key: in its section, or group, of metrics.json.
        meaning: a few words.
        heading: how the heading of the table on the screen shows it, such as "ontology {}"; omitted if empty.
        noun: of a count, in the singular: the heading shows "1 clip", "2 clips".
        hidden: the value that the heading omits, such as a count of 0.
    """

    key: str
    meaning: str
    heading: str = ""
    noun: str = ""
    hidden: Any = None


@dataclass
class Section(Generic[Data]):
    """A part of metrics.json: measures that are computed from the same data.

    Attributes:
        key: in metrics.json.
        title: for people.
        about: what is measured, on what, and its source: one or two sentences.
        measures: in the order in which they are shown.
        details: values of the section that are not measures.
        groups: {key: name} of the parts that each hold all measures, such as directions of retrieval; empty if the
            section itself holds them.
        group_details: values of a group that are not measures.
        comparisons: {path in the section: name} of the other models whose values it may hold.
        compared: keys of the measures by which those are shown.
        variants: {key: name} of other ways to measure the same net, each with the same groups and measures.
    """

    key: str
    title: str
    about: str
    measures: tuple[Measure[Data], ...]
    details: tuple[Detail, ...] = ()
    groups: dict[str, str] = field(default_factory=dict)
    group_details: tuple[Detail, ...] = ()
    comparisons: dict[KeyPath, str] = field(default_factory=dict)
    compared: tuple[str, ...] = ()
    variants: dict[str, str] = field(default_factory=dict)

    def values_by_group(self, values: Values) -> dict[str, Values]:
        """Split a section of metrics.json (`values`) into groups: {key: values}, of key "" if it has none."""
        if not self.groups:
            return {"": values}
        return {group: values[group] for group in self.groups if group in values}

    def stored(self) -> set[KeyPath]:
        """List the paths of all values that the section may hold; one may lead to a dict."""
        measured: list[KeyPath] = [path for one in self.measures for path in ((one.key,), *one.companions())]
        measured += [(detail.key,) for detail in self.group_details]
        groups: list[KeyPath] = [(key,) for key in self.groups] or [()]
        own: set[KeyPath] = {(detail.key,) for detail in self.details}
        own |= {(*group, *path) for group in groups for path in measured}
        paths = [*self.comparisons, *((key,) for key in self.variants)]
        return own | {(*path, *rest) for path in paths for rest in own}


def look_up(values: Values, path: KeyPath) -> Any:
    """Read the value of nested dicts `values` at `path`: None if a key is missing."""
    for key in path:
        if not isinstance(values, dict) or key not in values:
            return None
        values = values[key]
    return values


def compute_measures(section: Section[Data], data: Data) -> Values:
    """Compute all measures of a section, their baselines and standard errors.

    Args:
        section: declares them.
        data: what they are computed from.

    Returns:
        {key: float} as a group of metrics.json stores them; what does not apply is absent.
    """
    out: Values = {}
    for measure in section.measures:
        value = measure.compute(data)
        if value is not None:
            out[measure.key] = float(value)
            for path, compute in measure.companions().items():
                companion = compute(data)
                if companion is not None:
                    _store(out, path, float(companion))
    return out


def _store(values: Values, path: KeyPath, value: float) -> None:
    """Store a value in nested dicts, making those that are missing."""
    *parents, key = path
    for parent in parents:
        values = values.setdefault(parent, {})
    values[key] = value
