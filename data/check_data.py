"""Check all clips of a dataset: both files decode, last a second, are neither silent nor black, and are in sync.

    python data/check_data.py data/demo                          # a table, data/demo/check.csv and check.html
    python data/check_data.py data/mine --move_bad data/refused  # and move the refused clips there
    python data/check_data.py data/mine --repair data/repaired   # and write corrected copies of what can be cured there
    python data/check_data.py data/vgg --list vggsound.csv --part test     # and which clips of a list are missing
    python data/check_data.py data/vgg --refuse still constant duplicate   # and refuse these too; else only reported

ROOT is a dataset, ROOT/{train,val,test}/..., or one split. Nothing is ever deleted or replaced: DIR/moved.csv says what
moved where, DIR/repaired.csv what was done to each clip. An interrupted check moves nothing. The same command resumes
it, even after SIGKILL: results are kept in ROOT/check.results.jsonl, and only new and changed clips are read again.
"""

import argparse
from pathlib import Path

import _path  # noqa: F401

from data.checking import MISSING_LIST
from dataset.making.lists.video_lists import FORMAT_HELP, FORMAT_NAMES, PART_HELP
from dataset.making.split_folders import SPLIT_ORDER
from dataset.reading.limits import TIME_LIMIT, TIME_LIMIT_HELP
from utils.arguments import add_worker_options, answer_help, at_least
from utils.errors import UserError

REFUSABLE = {"still": "still", "constant": "constant sound", "duplicate": "duplicate"}  # kinds by the words of --refuse


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("root", type=Path, metavar="ROOT", help="dataset folder, or one split of it")
    add("--csv", type=Path, metavar="FILE", help="file for the results, one line for each clip [ROOT/check.csv]")
    add("--html", type=Path, metavar="FILE", help="file for the HTML page [ROOT/check.html]")
    add("--most", type=at_least(0), default=60, metavar="N", help="refused clips of each kind on the page [60]")
    add_worker_options(add)
    add("--time_limit", type=at_least(1, float), default=TIME_LIMIT, metavar="S", help=TIME_LIMIT_HELP)
    add("--move_bad", type=Path, metavar="DIR", help="move refused clips to DIR/SPLIT/ [they stay in place]")
    add(
        "--repair",
        type=Path,
        metavar="DIR",
        help="write corrected copies of clips that can be cured to DIR/SPLIT/ [none]",
    )
    refuse = "what else is refused: still (pictures that never change), constant (sounds that never change),\n"
    refuse += "duplicate (the same picture and sound as another clip) [none: only reported]"
    add("--refuse", nargs="+", choices=[*REFUSABLE], default=[], metavar="KIND", help=refuse)
    exclude = "lists of benchmarks, whose videos should not be in train; those in ROOT/benchmarks/ and\n"
    exclude += "ROOT/vggss.json are compared anyway"
    add("--exclude", nargs="+", type=Path, default=[], metavar="FILE", help=exclude)
    add(
        "--list",
        type=Path,
        metavar="FILE",
        help=f"say which clips of this list are missing, in {MISSING_LIST} beside --csv",
    )
    add("--format", choices=FORMAT_NAMES, metavar="NAME", help=FORMAT_HELP)
    add("--part", choices=SPLIT_ORDER, metavar="PART", help=PART_HELP)
    add("--dry_run", action="store_true", help="list what --move_bad and --repair would do, and do nothing")
    args = parser.parse_args(argv)
    for option in ("format", "part"):
        if getattr(args, option) is not None and args.list is None:
            raise UserError(f"--{option} is of a list: give it with --list FILE")
    return args


if __name__ == "__main__":  # the libraries below take a second to import
    answer_help(lambda: parse_arguments(None))

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

from data.checking.kept_results import ALL_KINDS, KeptResults, keep_results
from data.checking.listed import report_list
from data.checking.report import describe_findings, left_out, render_page, summary, table_lines, write_report
from data.checking.result_lines import Stamp, stamp_files
from dataset.making.checks.clip_checks import CheckResult, check_clip
from dataset.making.checks.duplicates import describe_leaking, find_duplicates
from dataset.making.checks.move_clips import move_clips, plan_moves
from dataset.making.checks.repair import Repair, repair_clip
from dataset.making.checks.repair_folder import (
    REPAIRED_LIST,
    make_folders,
    plan_repairs,
    record_repair,
    refuse_target_in_source,
)
from dataset.making.left_out import FILE_NAME, describe_left_out, write_left_out
from dataset.making.lists.video_lists import VideoList, read_list
from dataset.making.split_folders import SplitFolder, find_splits
from dataset.making.splits.benchmark_leaks import find_benchmark_leaks, find_benchmark_lists
from dataset.making.splits.leaks import find_leaks
from dataset.making.text import count_text, printable
from dataset.making.workers.clip_map import Workers, map_clips, read_workers
from dataset.making.workers.processes import Lost
from dataset.reading.limits import reading_limit
from dataset.small_splits import warn_of_small_splits
from utils.errors import exit_on_user_error
from utils.locks import lock_folder
from utils.progress_bar import progress_bar

KEPT_KINDS = ("ok", "unlisted")  # kinds of clips that --move_bad doesn't move
NO_TRAINING = ("val", "test")  # splits that a benchmark may have clips in
REPAIR_TIMES = 4  # how often a clip is read while it is repaired, about: its time limit is so many times as long


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, check all clips; alone in the folders that --move_bad and --repair change."""
    args = parse_arguments(argv)
    splits = find_splits(args.root)
    workers = read_workers(args)
    if args.repair and (pictures := [split.folder for split in splits if split.pictures is not None]):
        raise UserError(
            f"{pictures[0]} holds frames and sounds without videos, and --repair is for videos: leave it out"
        )
    with ExitStack() as locks:
        if args.repair:
            refuse_target_in_source(args.root, splits, args.repair, "--repair")
        if args.repair and not args.dry_run:
            locks.enter_context(lock_folder(args.repair, "--repair"))
        if args.move_bad and not args.dry_run:
            for folder in (*(split.folder for split in splits), args.move_bad):
                locks.enter_context(lock_folder(folder, "ROOT" if folder != args.move_bad else "--move_bad"))
        check(args, splits, workers)


def find_leaks_of_benchmarks(args: argparse.Namespace, splits: list[SplitFolder]) -> list[str]:
    """Describe the training clips of `splits` whose videos are in a benchmark: of --exclude in `args`, or of ROOT."""
    lists = [*find_benchmark_lists(args.root), *args.exclude]
    return [
        sentence
        for split in splits
        if split.name not in NO_TRAINING
        for sentence in find_benchmark_leaks(split.ids, lists, split.name)
    ]


def check(args: argparse.Namespace, splits: list[SplitFolder], workers: Workers) -> None:
    """Check all clips, write the reports, repair and move clips if the command line asks to.

    Args:
        args: the command line.
        splits: of the dataset.
        workers: where clips are read.
    """
    listed: VideoList | None = None
    if args.list:
        listed = read_list(args.list, args.format, args.part)
        print(listed.describe())
    benchmarks = find_leaks_of_benchmarks(args, splits)  # before the clips are read: a list may be wrong
    begin = time.monotonic()
    csv = args.csv or args.root / "check.csv"
    with keep_results(csv.parent / f"{csv.stem}.results.jsonl", args.time_limit, splits) as results:
        try:
            check_clips(splits, workers, args.time_limit, results)
        except KeyboardInterrupt:
            print("\nwhat was checked is kept: the same command resumes", file=sys.stderr)
            raise
        twins = find_duplicates(splits, results.with_equal_digests())
        results.judge(twins, [REFUSABLE[word] for word in args.refuse])
        leaks = [*find_leaks(splits), *describe_leaking(splits, twins), *benchmarks]
        seconds = time.monotonic() - begin
        write_reports(args, splits, results, leaks, seconds)
        if listed is not None:
            report_list(listed, splits, results, csv.with_name(MISSING_LIST))
        if args.repair:
            repair(args, splits, results, workers)
        counts = Counter(kind for _, kind in results.kinds())
        clips = "clip is" if len(results) == 1 else "clips are"
        ok = f"{counts['ok']} of {len(results)} {clips} ok"
        count = len(results) - sum(counts[kind] for kind in KEPT_KINDS)
        if count and args.move_bad:
            refused = {key: results[key].message for key, kind in results.kinds() if kind not in KEPT_KINDS}
            move_refused(args, splits, refused)
            were = "would be" if args.dry_run else "was" if count == 1 else "were"
            print(f"{ok}; {count} {were} moved to {args.move_bad}")
        else:
            print(f"{ok}; to move the {count} refused away: add --move_bad DIR" if count else ok)


def write_reports(
    args: argparse.Namespace, splits: list[SplitFolder], results: KeptResults, leaks: list[str], seconds: float
) -> None:
    """Print the table, write the files about the clips, and warn of what is wrong with the splits.

    Args:
        args: the command line.
        splits: of the dataset.
        results: of all their clips.
        leaks: what two splits have in common.
        seconds: how long the check took.
    """
    print(summary(results, seconds) if results else "no clips")
    csv, html = args.csv or args.root / "check.csv", args.html or args.root / "check.html"
    write_report(csv, "--csv", table_lines(results))
    write_report(html, "--html", [render_page(args.root, splits, results, leaks, seconds, args.most)])
    rows = left_out(splits, results)
    listed = csv.with_name(FILE_NAME)
    try:
        write_left_out(listed, rows)
    except OSError as error:
        raise UserError(f"{listed} can't be written ({error.strerror}): choose another --csv") from None
    if rows:
        print(describe_left_out(rows, listed))
    notes = results.with_notes()
    if note := next(notes, None):
        count = 1 + sum(1 for _ in notes)
        print(f"{count_text(count, 'clip')} with a note in {csv}, such as: {note[1].clip}: {note[1].message}")
    if found := describe_findings(results):
        print(f"{found}: see the column found of {csv}, and --refuse")
    small = warn_of_small_splits({split.name: len(split.ids) for split in splits})
    for warning in [*leaks, *([small] if small else [])]:
        print(f"warning: {warning}", file=sys.stderr)


def repair(args: argparse.Namespace, splits: list[SplitFolder], results: KeptResults, workers: Workers) -> None:
    """Write corrected copies of clips to --repair, and say what was done to each.

    Args:
        args: the command line.
        splits: of the dataset.
        results: of all their clips.
        workers: where clips are repaired.
    """
    folders = {split.name: split for split in splits}
    jobs = plan_repairs(splits, results, args.repair, "--repair")
    count = 0
    try:
        if not args.dry_run:
            make_folders(jobs)
        calls = [] if args.dry_run else jobs
        limit = partial(reading_limit, REPAIR_TIMES * args.time_limit)
        for job, outcome in map_clips(repair_clip, calls, workers, time_limit=lambda job: limit(*job[1:3])):
            repaired = Repair(job.clip, (), outcome.reason) if isinstance(outcome, Lost) else outcome
            record_repair(folders[job.split], job, repaired, args.repair, "--repair")
            count += bool(repaired.steps)
            what = f"repaired: {'; '.join(repaired.steps)}" if repaired.steps else f"not repaired: {repaired.reason}"
            print(printable(f"{job.split}/{job.clip} {what}"))
    except OSError as error:
        raise UserError(
            f"{error.filename or args.repair} can't be written ({error.strerror}): choose another folder with "
            "--repair, or fix this and repeat the command"
        ) from None
    for job in jobs if args.dry_run else ():
        print(printable(f"would try to repair {job.split}/{job.clip}: {job.result.message}"))
    if not args.dry_run:
        where = f"{args.repair}, listed in {args.repair / REPAIRED_LIST}" if jobs else args.repair
        print(f"{count} of {count_text(len(jobs), 'clip')} repaired in {where}")


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


def check_clips(splits: list[SplitFolder], workers: Workers, time_limit: float, results: KeptResults) -> None:
    """Check all clips of these splits that have no result yet; show a progress bar.

    Args:
        splits: to check.
        workers: where clips are read.
        time_limit: the option, see `reading_limit`.
        results: of earlier runs, to which these are added.
    """
    reading: dict[tuple[str, Path, Path], tuple[SplitFolder, Stamp]] = {}  # what is being read

    def jobs() -> Iterator[tuple[str, Path, Path]]:
        for (split, clip), known in zip(keys(), is_known, strict=True):
            if not known:
                job = (clip, *split.files(clip))
                reading[job] = split, stamp_files(split, clip)
                yield job

    def keys() -> Iterator[tuple[SplitFolder, str]]:
        return ((split, clip) for split in splits for clip in split.ids)

    is_known = bytearray(results.has(split.name, clip, partial(stamp_files, split, clip)) for split, clip in keys())
    if any(is_known):
        print(f"{count_text(sum(is_known), 'clip')} checked before and unchanged since", flush=True)
    counts = Counter(kind for (_, kind), known in zip(results.kinds(), is_known, strict=True) if known)
    with progress_bar(len(results), initial=sum(is_known)) as bar:
        for job, result in map_clips(
            check_clip, jobs(), workers, chunk_size=8, time_limit=lambda job: reading_limit(time_limit, *job[1:])
        ):
            split, stamp = reading.pop(job)
            checked = CheckResult(job[0], result.kind, result.reason) if isinstance(result, Lost) else result
            results.add(split.name, checked, stamp, is_lost=isinstance(result, Lost))
            counts[results.kind((split.name, job[0]))] += 1
            shown = ", ".join(f"{counts[kind]} {kind}" for kind in ALL_KINDS if counts[kind])
            bar.set_postfix_str(shown, refresh=False)
            bar.update()


if __name__ == "__main__":
    with exit_on_user_error():
        main()
