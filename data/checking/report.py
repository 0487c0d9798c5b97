"""What data/check_data.py writes and prints: a table, check.csv, left_out.csv, and the page check.html."""

import base64
import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

from data.checking.kept_results import ALL_KINDS, KeptResults
from dataset.making.checks.clip_checks import CheckResult
from dataset.making.checks.findings import FINDING_KINDS
from dataset.making.left_out import LeftOut
from dataset.making.split_folders import SplitFolder
from dataset.making.text import count_text, escape_surrogates
from evaluation.measures import ontology
from utils.errors import UserError
from utils.files import write_texts

TEMPLATES = Path(__file__).parents[1] / "templates"
COLUMNS = ("split", "clip", "kind", "seconds", "offset_ms", "loudness_db", "brightness", "found", "message")


def table_lines(results: KeptResults) -> Iterator[str]:
    """Format `results` as the lines of check.csv: their names, and one for each clip."""
    line = io.StringIO(newline="")
    writer = csv.writer(line, lineterminator="\n")
    writer.writerow(COLUMNS)
    for (split, clip), r in results.items():
        yield line.getvalue()
        line.seek(0)
        line.truncate()
        numbers = (r.seconds, r.offset_ms, r.loudness, r.brightness)
        found = "; ".join(finding.kind for finding in r.findings)
        writer.writerow(
            (*map(escape_surrogates, (split, clip, r.kind)), *("" if x is None else f"{x:.3f}" for x in numbers),
             found, escape_surrogates(full_message(r)))
        )  # fmt: skip
    yield line.getvalue()


def full_message(result: CheckResult) -> str:
    """Join the message of a `result` with those of what was found in the clip."""
    return "; ".join(dict.fromkeys(filter(None, (result.message, *(finding.message for finding in result.findings)))))


def describe_findings(results: KeptResults) -> str:
    """Count what was found in clips that are ok, by `results`: "2 still, 1 duplicate"; "" if nothing was."""
    found = (result for _, result in results.with_findings() if result.kind == "ok")
    counts = Counter(finding.kind for result in found for finding in result.findings)
    return ", ".join(f"{counts[kind]:,} {kind}" for kind in FINDING_KINDS if counts[kind])


def summary(results: KeptResults, seconds: float) -> str:
    """Count the clips of each kind and split in `results`, and those checked per second, given `seconds`."""
    import pandas as pd  # here, as each worker process imports the command and would spend half a second on it

    counts = Counter((kind, split) for (split, _), kind in results.kinds())
    kinds = [kind for kind in ALL_KINDS if kind == "ok" or any(kind == counted for counted, _ in counts)]
    splits = list(dict.fromkeys(split for _, split in counts))
    rows = [[counts[kind, split] for split in splits] for kind in kinds]
    table = pd.DataFrame(rows, index=kinds, columns=list(map(escape_surrogates, splits)))
    number = count_text(len(results), "clip")
    speed = f"{number} in {seconds:.1f} s, {len(results) / max(seconds, 1e-9):.1f} clips/s"
    return f"{table.to_string()}\n{speed}"


def left_out(splits: Sequence[SplitFolder], results: KeptResults) -> list[LeftOut]:
    """List the clips that training should not or will not read, and the files of a split that are no part of a clip.

    Args:
        splits: of the dataset.
        results: of all their clips.
    """
    rows = []
    for split in splits:
        for clip in split.ids:
            if results.kind((split.name, clip)) != "ok":
                result = results[split.name, clip]
                file = next((path for path in split.files(clip) if path.exists()), split.folder)
                rows.append(LeftOut(clip, str(file), result.kind, result.message))
        rows += [LeftOut("", str(path), "not a clip", form) for path, form in split.unused()]
    return rows


def render_page(
    root: Path, splits: Sequence[SplitFolder], results: KeptResults, leaks: Sequence[str], seconds: float, most: int
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
    refused = {kind: Section() for kind in ALL_KINDS}
    noted = {f"ok, but {kind}": Section() for kind in FINDING_KINDS}
    for key, kind in results.kinds():
        if kind != "ok":
            refused[kind].add(key, results, most)
    for key, result in results.with_findings():
        for finding in result.findings if result.kind == "ok" else ():
            noted[f"ok, but {finding.kind}"].add(key, results, most)
    sections = {title: section for title, section in (refused | noted).items() if section.count}
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
        ok=sum(kind == "ok" for _, kind in results.kinds()),
        refused=any(section.count for section in refused.values()),
        sections=sections,
        leaks=[escape_surrogates(leak) for leak in leaks],
        most=most,
        classes=classes,
        largest_class=max((row["ok"] + row["bad"] for row in classes), default=1),
        seconds=seconds,
    )


@dataclass
class Section:
    """A section of the page.

    Attributes:
        count: of its clips.
        clips: the first of them, which are shown.
    """

    count: int = 0
    clips: list[dict[str, Any]] = field(default_factory=list)

    def add(self, key: tuple[str, str], results: KeptResults, most: int) -> None:
        """Add a clip.

        Args:
            key: its split and id.
            results: of all clips.
            most: clips that are shown.
        """
        self.count += 1
        if len(self.clips) < most:
            result = results[key]
            shown = {"split": key[0], "id": key[1], "message": full_message(result)}
            image = base64.b64encode(result.thumbnail).decode() if result.thumbnail else None
            escaped = {name: escape_surrogates(text) for name, text in shown.items()}
            self.clips.append({**escaped, "result": result, "image": image})


def count_classes(splits: Sequence[SplitFolder], results: KeptResults) -> list[dict]:
    """Count the ok and other clips of each class in `splits`, by `results`: one row for each, largest class first."""
    names = ontology.load_ontology()
    rows: dict[str, dict] = {}
    for split in splits:
        for clip, mids in split.labels.items():
            for mid in dict.fromkeys(mids):
                row = rows.setdefault(mid, {"name": escape_surrogates(names.name(mid)), "ok": 0, "bad": 0})
                row["ok" if results.kind((split.name, clip)) == "ok" else "bad"] += 1
    return sorted(rows.values(), key=lambda row: (-row["ok"], -row["bad"], row["name"]))


def write_report(path: Path, option: str, texts: Iterable[str]) -> None:
    """Write `texts`, one after another, to the file `path`, which `option` names; print the path."""
    try:
        write_texts(path, texts)
    except OSError as error:
        raise UserError(f"{path} can't be written ({error.strerror}): choose another file with {option}") from None
    print(path)
