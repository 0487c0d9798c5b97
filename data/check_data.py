"""Check every clip of a dataset: both halves decode, last long enough, are neither silent nor black, and are in step.

    python data/check_data.py data/demo                          # a table; data/demo/check.csv and check.html
    python data/check_data.py data/mine --move_bad data/refused  # and move what was refused there, clip by clip

ROOT is a dataset, ROOT/{train,val,test}/..., or one split. Nothing is ever deleted. Stopped half-way, nothing is moved.
"""

import argparse
import base64
import csv
import io
import os
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

import _path  # noqa: F401
import jinja2
from tqdm import tqdm

from dataset.making.checks import CHECK_KINDS, CheckResult, check_clip, find_splits
from dataset.making.processes import map_in_processes
from dataset.reading.annotations import load_json
from evaluation.measures import ontology
from utils.arguments import at_least
from utils.errors import UserError, exit_on_user_error
from utils.files import write_json, write_text

TEMPLATES = Path(__file__).parent / "templates"
ALL_KINDS = (*CHECK_KINDS, "unlisted")
FINE = ("ok", "unlisted")  # what stays where it is


def check_all(splits, workers):
    """Check all clips: {(split's name, id): Verdict}, in their order; shows a progress bar."""
    jobs = {(clip, *split.files(clip)): split for split in splits for clip in split.ids}
    verdicts, kinds = {}, Counter()
    pause = 0.1 if sys.stderr.isatty() else 20  # seconds; in a file every change would be another line
    with tqdm(total=len(jobs), unit="clip", mininterval=pause) as bar:
        for job, verdict in map_in_processes(check_clip, jobs, workers, together=8):
            clip, split = job[0], jobs[job]
            verdict = verdict or CheckResult(clip, "damaged", "the decoder crashes on it")
            if verdict.kind == "ok" and clip not in split.genres:
                verdict = verdict._replace(kind="unlisted", message="vid2genre.json doesn't list it: never trained on")
            verdicts[split.name, clip] = verdict
            kinds[verdict.kind] += 1
            bar.set_postfix_str(", ".join(f"{kinds[kind]} {kind}" for kind in ALL_KINDS if kinds[kind]), refresh=False)
            bar.update()
    return {(split.name, job[0]): verdicts[split.name, job[0]] for job, split in jobs.items()}


def plain(text):
    """Text that can be written as UTF-8: what a file's name holds beyond that is shown as \\x.."""
    return text.encode("utf-8", "backslashreplace").decode()


def table(verdicts, seconds):
    """The summary: a line for each kind, and the speed."""
    splits = list(dict.fromkeys(split for split, _ in verdicts))
    counts = Counter((verdict.kind, split) for (split, _), verdict in verdicts.items())
    width = max(map(len, splits)) + 2
    lines = ["".ljust(14) + "".join(split.rjust(width) for split in splits)]
    for kind in ALL_KINDS:
        if any(counts[kind, split] for split in splits) or kind == "ok":
            lines.append(kind.ljust(14) + "".join(str(counts[kind, split]).rjust(width) for split in splits))
    lines.append(f"{len(verdicts)} clips in {seconds:.1f} s, {len(verdicts) / max(seconds, 1e-9):.1f} clips/s")
    return "\n".join(lines)


def write_csv(path, verdicts):
    """Write what was found of each clip, one a line."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(["split", "clip", "kind", "seconds", "offset_ms", "loudness_db", "brightness", "message"])
    for (split, clip), v in verdicts.items():
        numbers = ["" if n is None else f"{n:.3f}" for n in (v.seconds, v.offset_ms, v.loudness, v.brightness)]
        rows.writerow([plain(split), plain(clip), v.kind, *numbers, plain(v.message)])
    write_text(path, out.getvalue())


def write_page(path, root, splits, verdicts, seconds, most):
    """Write the HTML page: the kinds, up to `most` of each that was refused, and how many clips each class has."""
    refused = {kind: [] for kind in ALL_KINDS}
    for (split, clip), v in verdicts.items():
        if v.kind != "ok":
            image = v.thumbnail and base64.b64encode(v.thumbnail).decode()
            refused[v.kind].append({"split": plain(split), "clip": plain(clip), "v": v, "message": plain(v.message),
                                    "image": image})  # fmt: skip
    named, classes = ontology.load_ontology(), {}
    for split in splits:
        for clip, mids in split.genres.items():
            for mid in dict.fromkeys(mids):
                row = classes.setdefault(mid, {"name": plain(named.name(mid)), "ok": 0, "bad": 0})
                row["ok" if verdicts[split.name, clip].kind == "ok" else "bad"] += 1
    classes = sorted(classes.values(), key=lambda row: (-row["ok"], -row["bad"], row["name"]))
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    text = pages.get_template("check.html").render(
        root=plain(str(root)), total=len(verdicts), ok=sum(v.kind == "ok" for v in verdicts.values()), most=most,
        refused={kind: found for kind, found in refused.items() if found}, classes=classes, seconds=seconds,
        highest=max((row["ok"] + row["bad"] for row in classes), default=1),
        splits=[(plain(s.name), len(s.genres)) for s in splits],
    )  # fmt: skip
    write_text(path, text)


def move_bad(splits, verdicts, target):
    """Move both halves of all refused clips to target/SPLIT/{video,audio}, and what is said of them in vid2genre.json
    and boxes.json to the files of these names there. Returns how many clips.

    Raises:
        UserError: one of the files, or another entry for a clip, is there already, and nothing was moved; or there is
            no room, or no right, to move a file.
    """
    plans = []
    for split in splits:
        bad = [clip for clip in split.ids if verdicts[split.name, clip].kind not in FINE]
        files = [path for clip in bad for path in split.files(clip) if os.path.lexists(path)]
        moves = [(path, target / split.name / path.parent.name / path.name) for path in files]
        for _, to in moves:
            if os.path.lexists(to):
                raise UserError(f"{plain(str(to))} is there already: name another folder by --move_bad")
        names = [name for name in ("vid2genre.json", "boxes.json") if (split.folder / name).exists()]
        tables = [_divided(split.folder / name, target / split.name / name, bad) for name in names]
        plans += [(moves, tables)] if bad else []
    try:
        for moves, tables in plans:
            for folder in {to.parent for _, to in moves} | {to.parent for _, _, to, _ in tables}:
                folder.mkdir(parents=True, exist_ok=True)
            # Entries arrive before the files and leave after them: a stop on the way loses none, and the same command
            # goes on from there.
            for _, _, to, moved in tables:
                write_json(to, moved)
            for path, to in moves:
                shutil.move(path, to)
            for path, rest, _, _ in tables:
                write_json(path, rest)
    except OSError as error:
        raise UserError(f"{target} can't take the clips ({error}): put that right and repeat the command") from None
    return sum(verdict.kind not in FINE for verdict in verdicts.values())


def _divided(source, target, bad):
    """(source, what it keeps, target, what it holds then) of two JSON tables when the bad clips' entries move."""
    here, there = (load_json(path, "id: entry") if path.exists() else {} for path in (source, target))
    for path, content in ((source, here), (target, there)):
        if not isinstance(content, dict):
            raise UserError(f"{path} is not a table: it must hold id: entry")
    moved = {clip: here[clip] for clip in bad if clip in here}
    if any(there.get(clip, entry) != entry for clip, entry in moved.items()):
        raise UserError(f"{target} has other entries for the same clips: name another folder by --move_bad")
    return source, {clip: entry for clip, entry in here.items() if clip not in moved}, target, there | moved


def main(argv=None):
    """Read the command line, check all clips, write what was found, move the refused ones away if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("root", type=Path, help="dataset folder, or one split of it")
    parser.add_argument("--csv", type=Path, help="file for what was found, a line for each clip [ROOT/check.csv]")
    parser.add_argument("--html", type=Path, help="file for the page [ROOT/check.html]")
    parser.add_argument("--most", type=at_least(0), default=60, help="refused clips of each kind on the page [60]")
    parser.add_argument("--workers", type=at_least(1), default=os.cpu_count(), help="processes [all cores]")
    parser.add_argument("--move_bad", type=Path, metavar="DIR", help="move refused clips to DIR/SPLIT/ [they stay]")
    args = parser.parse_args(argv)
    splits = find_splits(args.root)
    begin = time.monotonic()
    verdicts = check_all(splits, args.workers)
    seconds = time.monotonic() - begin
    print(table(verdicts, seconds) if verdicts else "no clips")
    for option, write in (
        ("csv", lambda path: write_csv(path, verdicts)),
        ("html", lambda path: write_page(path, args.root, splits, verdicts, seconds, args.most)),
    ):
        path = getattr(args, option) or args.root / f"check.{option}"
        try:
            write(path)
        except OSError as error:
            raise UserError(f"{path} can't be written ({error.strerror}): name another file by --{option}") from None
        print(path)
    bad = sum(v.kind not in FINE for v in verdicts.values())
    ok = f"{sum(v.kind == 'ok' for v in verdicts.values())} of {len(verdicts)} clips are ok"
    if bad and args.move_bad:
        print(f"{ok}; {move_bad(splits, verdicts, args.move_bad)} were moved to {args.move_bad}")
    else:
        print(f"{ok}; to move the {bad} refused ones away: add --move_bad DIR" if bad else ok)


if __name__ == "__main__":
    with exit_on_user_error():
        main()
