"""What data/check_data.py writes and prints: a table, check.csv, left_out.csv, and the page check.html."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from dataset.making.checks import CHECK_KINDS, CheckResult
from dataset.making.findings import FINDING_KINDS
from dataset.making.left_out import LeftOut
from dataset.making.split_folders import SplitFolder
from dataset.making.text import count_text, escape_surrogates
from evaluation.measures import ontology
from utils.errors import UserError
from utils.files import write_text

if TYPE_CHECKING:
    import pandas as pd

TEMPLATES = Path(__file__).parents[1] / "templates"
ALL_KINDS = (*CHECK_KINDS, "unlisted")

Results = Mapping[tuple[str, str], CheckResult]  # by split and clip


def results_table(results: Results) -> pd.DataFrame:
    """Arrange results as the table of check.csv, one row for each clip."""
    import pandas as pd  # here, as each worker process imports the command and would spend half a second on it

    rows = [
        (*map(escape_surrogates, (split, clip, r.kind)), r.seconds, r.offset_ms, r.loudness, r.brightness,
         "; ".join(finding.kind for finding in r.findings), escape_surrogates(full_message(r)))
        for (split, clip), r in results.items()
    ]  # fmt: skip
    columns = ["split", "clip", "kind", "seconds", "offset_ms", "loudness_db", "brightness", "found", "message"]
    return pd.DataFrame(rows, columns=columns)


def full_message(result: CheckResult) -> str:
    """Join the message of a `result` with those of what was found in the clip."""
    return "; ".join(dict.fromkeys(filter(None, (result.message, *(finding.message for finding in result.findings)))))


def describe_findings(results: Results) -> str:
    """Count what was found in clips that are ok, by `results`: "2 still, 1 duplicate"; "" if nothing was."""
    counts = Counter(finding.kind for result in results.values() if result.kind == "ok" for finding in result.findings)
    return ", ".join(f"{counts[kind]:,} {kind}" for kind in FINDING_KINDS if counts[kind])


def summary(table: pd.DataFrame, seconds: float) -> str:
    """Count the clips of each kind and split in `table`, and those checked per second, given that it took `seconds`."""
    counts = table.value_counts(["kind", "split"]).unstack(fill_value=0)
    kinds = [kind for kind in ALL_KINDS if kind in counts.index or kind == "ok"]
    counts = counts.reindex(index=kinds, columns=table.split.unique(), fill_value=0).rename_axis(None, axis=1)
    number = count_text(len(table), "clip")
    speed = f"{number} in {seconds:.1f} s, {len(table) / max(seconds, 1e-9):.1f} clips/s"
    return f"{counts.rename_axis(None).to_string()}\n{speed}"


def left_out(splits: Sequence[SplitFolder], results: Results) -> list[LeftOut]:
    """List the clips that training should not or will not read, and the files of a split that are no part of a clip.

    Args:
        splits: of the dataset.
        results: of all their clips.
    """
    rows = []
    for split in splits:
        for clip in split.ids:
            result = results[split.name, clip]
            if result.kind != "ok":
                file = next((path for path in split.files(clip) if path.exists()), split.folder)
                rows.append(LeftOut(clip, str(file), result.kind, result.message))
        rows += [LeftOut("", str(path), "not a clip", form) for path, form in split.unused()]
    return rows


def render_page(
    root: Path, splits: Sequence[SplitFolder], results: Results, leaks: Sequence[str], seconds: float, most: int
) -> str:
    """Render the HTML page.

    Args:
        root: the dataset, for the title.
        splits: its splits.
        results: of all their clips.
        leaks: what two splits have in common.
        seconds: how long the check took.
        most: refused clips of each kind that are shown.
    """
    refused: dict[str, list[dict]] = {kind: [] for kind in ALL_KINDS}
    noted: dict[str, list[dict]] = {f"ok, but {kind}": [] for kind in FINDING_KINDS}
    for (split, clip), result in results.items():
        image = base64.b64encode(result.thumbnail).decode() if result.thumbnail else None
        shown = {"split": split, "id": clip, "message": full_message(result)}
        shown = {name: escape_surrogates(text) for name, text in shown.items()}
        if result.kind != "ok":
            refused[result.kind].append({**shown, "result": result, "image": image})
        else:
            for finding in result.findings:
                noted[f"ok, but {finding.kind}"].append({**shown, "result": result, "image": image})
    classes = count_classes(splits, results)
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.globals["count_text"] = count_text
    return pages.get_template("check.html").render(
        root=escape_surrogates(str(root)),
        splits=[(escape_surrogates(split.name), len(split.ids)) for split in splits],
        total=len(results),
        ok=sum(result.kind == "ok" for result in results.values()),
        refused=any(refused.values()),
        sections={title: clips for title, clips in (refused | noted).items() if clips},
        leaks=[escape_surrogates(leak) for leak in leaks],
        most=most,
        classes=classes,
        largest_class=max((row["ok"] + row["bad"] for row in classes), default=1),
        seconds=seconds,
    )


def count_classes(splits: Sequence[SplitFolder], results: Results) -> list[dict]:
    """Count the ok and other clips of each class in `splits`, by `results`: one row for each, largest class first."""
    names = ontology.load_ontology()
    rows: dict[str, dict] = {}
    for split in splits:
        for clip, mids in split.labels.items():
            for mid in dict.fromkeys(mids):
                row = rows.setdefault(mid, {"name": escape_surrogates(names.name(mid)), "ok": 0, "bad": 0})
                row["ok" if results[split.name, clip].kind == "ok" else "bad"] += 1
    return sorted(rows.values(), key=lambda row: (-row["ok"], -row["bad"], row["name"]))


def write_report(path: Path, option: str, render: Callable[[], str]) -> None:
    """Write what `render` returns to the file `path`, which `option` of the command line names; print the path."""
    try:
        write_text(path, render())
    except OSError as error:
        raise UserError(f"{path} can't be written ({error.strerror}): choose another file with {option}") from None
    print(path)
