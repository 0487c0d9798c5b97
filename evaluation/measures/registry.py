"""All sections of metrics.json and their measures; docs/measures.md is made from them.

    python -m evaluation.measures.registry > docs/measures.md

A new measure needs one function and one entry in its section's module; a new section is listed in SECTIONS too.
"""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from evaluation.measures.correspondence import CORRESPONDENCE
from evaluation.measures.finetune import FINETUNE
from evaluation.measures.localization import LOCALIZATION
from evaluation.measures.masks import MASKS
from evaluation.measures.measure import Detail, KeyPath, Measure, Section, Values
from evaluation.measures.negative_sounds import NEGATIVE_SOUNDS
from evaluation.measures.probe import PROBE
from evaluation.measures.retrieval import RETRIEVAL
from evaluation.measures.separation import SEPARATION

SECTIONS: dict[str, Section] = {
    section.key: section
    for section in (CORRESPONDENCE, RETRIEVAL, LOCALIZATION, MASKS, NEGATIVE_SOUNDS, SEPARATION, PROBE, FINETUNE)
}
EVALUATION = (  # values of metrics.json outside of the sections
    Detail("model", "name of the net"),
    Detail("split", "name of the split, benchmark or folder"),
    Detail("clips", "clips that were measured"),
    Detail("skipped", "clips that could not be read"),
    Detail("skipped_clips", "{id: reason} of those"),
    Detail("checkpoint", "file of the net's weights"),
    Detail("step", "training step at which they were saved"),
    Detail(
        "given",
        "in place of a checkpoint: the results that another program wrote, how many clips or mixtures of the split "
        "have none (missing), several (doubled), how many aren't in the split (unknown), and their names",
    ),
    Detail("data", "folder of the dataset"),
    Detail("ids", "the list of --ids: its file, its clips, how many of them the split lacks, SHA-256 of their names"),
    Detail(
        "audible_and_visible",
        "VGG-SS: clips before this choice, those in vggsounder's table, and those whose class is audible and visible",
    ),
    Detail("notes", "sentences: what could not be measured and why, whether the split is too small, the best setting"),
    Detail(
        "by_class", "fraction of the pairs of a frame and a sound that are called a match, for each pair of classes"
    ),
)

INTRODUCTION = """\
# Measures

`eval.py` writes `metrics.json`. Each number is declared once, in `evaluation/measures/`: the table
on the screen, `report.html`, `eval.py --compare` and this page are made from the declarations. To
add a measure, see [extending.md](extending.md).

Every measure is reported with its baseline: what chance, or something trivial, gets. Fractions are
in 0..1. A key below is a key of its section in `metrics.json`; what does not apply, or can't be
measured, is absent, and `notes` says why. OtS is *Objects that Sound* (arXiv 1712.06651), SoP *The Sound of Pixels*
(arXiv 1804.03160).

## Standard errors

`KEY_error` stands beside each measure: how much it would vary over other clips of the same kind
(not over other seeds). Where the samples are single clips it is s / sqrt(n); of medians and of the
probe's mAP, what the bootstrap over clips gives. A clip takes part in many pairs of correspondence
and in several mixtures: there, samples that share a clip count as dependent
([standard_errors.py](../evaluation/measures/standard_errors.py) names the sources). Queries of
retrieval count as independent, and so do different clips: if several of them are cut from one
recording, the true error is larger. Below 100 clips, and where an error is above .04 (.5 dB), a
note says that the split is small.
"""


def undeclared(metrics: Values) -> list[str]:
    """List the values of metrics.json that no entry declares.

    Args:
        metrics: content of metrics.json.

    Returns:
        dotted paths.
    """
    declared: set[KeyPath] = {(detail.key,) for detail in EVALUATION}
    for section in SECTIONS.values():
        declared |= {(section.key, *path) for path in section.stored()}
    return [".".join(path) for path in _paths(metrics) if not any(path[:n] in declared for n in range(len(path) + 1))]


def _paths(values: Values, prefix: KeyPath = ()) -> Iterator[KeyPath]:
    """Yield the paths of all values of nested dicts that are not dicts."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _paths(value, (*prefix, key))
        else:
            yield (*prefix, key)


def meanings(section: Section) -> list[tuple[str, str]]:
    """List the names of a `section`'s measures and what they mean; neighbours of the same meaning come together."""
    out: dict[str, list[str]] = {}
    for measure in section.measures:
        out.setdefault(measure.meaning, []).append(measure.name.format_map(_Blank()))
    return [(", ".join(names), meaning) for meaning, names in out.items()]


class _Blank(dict[str, str]):
    """Fills a field of a name, as {k} in "nDCG@{k}", with its own name."""

    def __missing__(self, key: str) -> str:
        return key


# ------------------------------------------------------------------------------------------------ docs/measures.md


def measures_markdown() -> str:
    """Write docs/measures.md: a table of the measures of each section."""
    parts = [INTRODUCTION]
    for section in SECTIONS.values():
        about = textwrap.fill(section.about, 100, break_on_hyphens=False)
        parts.append(f"## {section.title}: `{section.key}`\n\n{about}\n")
        if section.groups:
            names = ", ".join(f"`{key}` ({name})" for key, name in section.groups.items())
            parts.append(textwrap.fill(f"Each of {names} has these keys:", 100) + "\n")
        rows = [_markdown_row(measure) for measure in section.measures]
        parts.append(_table(("key", "measure", "what it is", "baseline", "better"), rows))
        if section.group_details:
            parts.append(_table(("other keys of each", "what it is"), _detail_rows(section.group_details)))
        parts.append(_table(("other keys", "what it is"), _detail_rows(section.details)))
        if section.comparisons:
            others = ", ".join(f"`{'.'.join(path)}`" for path in section.comparisons)
            parts.append(f"Other models, with the same keys: {others}.\n")
        if section.variants:
            others = ", ".join(f"`{key}` ({name})" for key, name in section.variants.items())
            parts.append(f"The same net measured in another way, with the same keys: {others}.\n")
    parts.append("## Other keys of metrics.json\n")
    parts.append(_table(("key", "what it is"), _detail_rows(EVALUATION)))
    return "\n".join(parts)


def _detail_rows(details: Sequence[Detail]) -> list[tuple[str, str]]:
    return [(f"`{detail.key}`", detail.meaning) for detail in details]


def _markdown_row(measure: Measure[Any]) -> tuple[str, ...]:
    baseline = measure.baseline_name or "none"
    companions = [".".join(path) for path in measure.companions()]
    if isinstance(measure.baseline, float):
        baseline += f", {measure.baseline:.3g}"
    if measure.references:
        baseline += f"; also {', '.join(one.name for one in measure.references)}"
    keys = "<br>".join(f"`{key}`" for key in (measure.key, *companions))
    name = measure.name.format_map(_Blank()) + {"dB": ", dB", "nats": ", nats"}.get(measure.unit, "")
    better = "a ceiling" if measure.reference else "lower" if measure.lower_is_better else "higher"
    return keys, name, measure.meaning, baseline, better


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


if __name__ == "__main__":
    print(measures_markdown(), end="")
