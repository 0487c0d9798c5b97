"""Check all clips of a dataset: both files decode, last a second, are neither silent nor black, and are in sync.

    python data/check_data.py data/demo                          # a table, data/demo/check.csv and check.html
    python data/check_data.py data/mine --move_bad data/refused  # and move the refused clips there

ROOT is a dataset, ROOT/{train,val,test}/..., or one split. Nothing is ever deleted. An interrupted check moves nothing.
"""

from __future__ import annotations

import argparse
import base64
import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import _path  # noqa: F401
import jinja2

from dataset.making.checks import CHECK_KINDS, CheckResult, check_clip
from dataset.making.move_clips import move_clips, plan_moves
from dataset.making.processes import Lost, map_in_processes
from dataset.making.split_folders import SplitFolder, find_splits
from dataset.making.text import escape_surrogates, printable
from dataset.reading.clips import clip_files
from dataset.reading.limits import TIME_LIMIT, TIME_LIMIT_HELP, reading_limit
from evaluation.measures import ontology
from utils.arguments import at_least, worker_count
from utils.errors import UserError, exit_on_user_error
from utils.files import write_text
from utils.locks import lock_folder
from utils.progress_bar import progress_bar

if TYPE_CHECKING:
    import pandas as pd

TEMPLATES = Path(__file__).parent / "templates"
ALL_KINDS = (*CHECK_KINDS, "unlisted")
KEPT_KINDS = ("ok", "unlisted")  # kinds of clips that --move_bad doesn't move

Results = dict[tuple[str, str], CheckResult]  # by split and clip


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, check all clips; alone in the folders that --move_bad changes."""
    args = parse_arguments(argv)
    splits = find_splits(args.root)
    with ExitStack() as locks:
        if args.move_bad and not args.dry_run:
            for folder in (*(split.folder for split in splits), args.move_bad):
                locks.enter_context(lock_folder(folder, "ROOT" if folder != args.move_bad else "--move_bad"))
        check(args, splits)


def check(args: argparse.Namespace, splits: list[SplitFolder]) -> None:
    """Check all clips of `splits`, write the reports, move the refused clips if `args`, the command line, asks to."""
    begin = time.monotonic()
    results = check_clips(splits, args.workers, args.time_limit)
    seconds = time.monotonic() - begin
    table = results_table(results)
    print(summary(table, seconds) if results else "no clips")
    csv, html = args.csv or args.root / "check.csv", args.html or args.root / "check.html"
    write_report(csv, "--csv", lambda: table.to_csv(index=False, float_format="%.3f"))
    write_report(html, "--html", lambda: render_page(args.root, splits, results, seconds, args.most))
    refused = {key: result.message for key, result in results.items() if result.kind not in KEPT_KINDS}
    clips = "clip is" if len(results) == 1 else "clips are"
    ok = f"{sum(result.kind == 'ok' for result in results.values())} of {len(results)} {clips} ok"
    if refused and args.move_bad:
        move_refused(args, splits, refused)
        were = "would be" if args.dry_run else "was" if len(refused) == 1 else "were"
        print(f"{ok}; {len(refused)} {were} moved to {args.move_bad}")
    else:
        print(f"{ok}; to move the {len(refused)} refused away: add --move_bad DIR" if refused else ok)


def move_refused(args: argparse.Namespace, splits: list[SplitFolder], refused: dict[tuple[str, str], str]) -> None:
    """Move refused clips away, or, in a dry run, print what would move.

    Args:
        args: the command line.
        splits: of the dataset.
        refused: {(split, clip): reason}.
    """
    plan = plan_moves(splits, refused, args.move_bad, "--move_bad")
    for path in plan.shared:
        print(f"stays, as a clip that isn't refused is made of it too: {printable(str(path))}")
    if not args.dry_run:
        move_clips(plan)
        return
    for move in plan.files:
        print(f"would move {printable(str(move.source))} to {printable(str(move.target))}: {printable(move.reason)}")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("root", type=Path, metavar="ROOT", help="dataset folder, or one split of it")
    add("--csv", type=Path, metavar="FILE", help="file for the results, one line for each clip [ROOT/check.csv]")
    add("--html", type=Path, metavar="FILE", help="file for the HTML page [ROOT/check.html]")
    add("--most", type=at_least(0), default=60, metavar="N", help="refused clips of each kind on the page [60]")
    add("--workers", type=worker_count, default=os.cpu_count(), metavar="N", help="number of processes [all cores]")
    add("--time_limit", type=at_least(1, float), default=TIME_LIMIT, metavar="S", help=TIME_LIMIT_HELP)
    add("--move_bad", type=Path, metavar="DIR", help="move refused clips to DIR/SPLIT/ [they stay in place]")
    add("--dry_run", action="store_true", help="list what --move_bad would move, and move nothing")
    return parser.parse_args(argv)


def check_clips(splits: list[SplitFolder], workers: int, time_limit: float) -> Results:
    """Check all clips of these splits on several processes; show a progress bar.

    Args:
        splits: to check.
        workers: number of processes.
        time_limit: the option, see `reading_limit`.
    """
    jobs = {(clip, *clip_files(split.folder, clip)): split for split in splits for clip in split.ids}
    results: Results = {}
    counts: Counter[str] = Counter()
    with progress_bar(len(jobs)) as bar:
        for job, result in map_in_processes(
            check_clip, jobs, workers, chunk_size=8, time_limit=lambda job: reading_limit(time_limit, *job[1:])
        ):
            clip, split = job[0], jobs[job]
            result = CheckResult(clip, result.kind, result.reason) if isinstance(result, Lost) else result
            if result.kind == "ok" and clip not in split.labels:
                result = result._replace(kind="unlisted", message="vid2genre.json doesn't list it: never trained on")
            results[split.name, clip] = result
            counts[result.kind] += 1
            shown = ", ".join(f"{counts[kind]} {kind}" for kind in ALL_KINDS if counts[kind])
            bar.set_postfix_str(shown, refresh=False)
            bar.update()
    return {(split.name, clip): results[split.name, clip] for split in splits for clip in split.ids}


def results_table(results: Results) -> pd.DataFrame:
    """Arrange results as the table of check.csv, one row for each clip."""
    import pandas as pd  # here, as each worker process imports this file and would spend half a second on it

    rows = [
        (*map(escape_surrogates, (split, clip, r.kind)), r.seconds, r.offset_ms, r.loudness, r.brightness,
         escape_surrogates(r.message))
        for (split, clip), r in results.items()
    ]  # fmt: skip
    columns = ["split", "clip", "kind", "seconds", "offset_ms", "loudness_db", "brightness", "message"]
    return pd.DataFrame(rows, columns=columns)


def summary(table: pd.DataFrame, seconds: float) -> str:
    """Count the clips of each kind and split in `table`, and those checked per second, given that it took `seconds`."""
    counts = table.value_counts(["kind", "split"]).unstack(fill_value=0)
    kinds = [kind for kind in ALL_KINDS if kind in counts.index or kind == "ok"]
    counts = counts.reindex(index=kinds, columns=table.split.unique(), fill_value=0).rename_axis(None, axis=1)
    speed = f"{len(table)} clips in {seconds:.1f} s, {len(table) / max(seconds, 1e-9):.1f} clips/s"
    return f"{counts.rename_axis(None).to_string()}\n{speed}"


def render_page(root: Path, splits: list[SplitFolder], results: Results, seconds: float, most: int) -> str:
    """Render the HTML page.

    Args:
        root: the dataset, for the title.
        splits: its splits.
        results: of all their clips.
        seconds: how long the check took.
        most: refused clips of each kind that are shown.
    """
    refused: dict[str, list[dict]] = {kind: [] for kind in ALL_KINDS}
    for (split, clip), result in results.items():
        if result.kind != "ok":
            image = base64.b64encode(result.thumbnail).decode() if result.thumbnail else None
            shown = {"split": split, "id": clip, "message": result.message}
            shown = {name: escape_surrogates(text) for name, text in shown.items()}
            refused[result.kind].append({**shown, "result": result, "image": image})
    classes = count_classes(splits, results)
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return pages.get_template("check.html").render(
        root=escape_surrogates(str(root)),
        splits=[(escape_surrogates(split.name), len(split.labels)) for split in splits],
        total=len(results),
        ok=sum(result.kind == "ok" for result in results.values()),
        refused={kind: clips for kind, clips in refused.items() if clips},
        most=most,
        classes=classes,
        largest_class=max((row["ok"] + row["bad"] for row in classes), default=1),
        seconds=seconds,
    )


def count_classes(splits: list[SplitFolder], results: Results) -> list[dict]:
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


if __name__ == "__main__":
    with exit_on_user_error():
        main()
