"""Keep what has the classes you want: rows of a segment file, or clips on disk.

    python data/select_data_by_genre.py --csv data/data_infos/eval_segments.csv --out data/data_infos/test.csv
    python data/select_data_by_genre.py --csv IN.csv --out OUT.csv --per_class 50 --balanced
    python data/select_data_by_genre.py --clips ROOT/train --out NEW/train --by link

The classes are listed in data/data_infos/genre_select.txt; those below them in AudioSet's ontology count too. Nothing
that exists is overwritten, and nothing of the source is changed.
"""

import argparse
import difflib
import filecmp
import io
import os
import random
import shutil
import sys
from collections import Counter
from pathlib import Path

import _path  # noqa: F401
from tqdm import tqdm

from dataset.making.segments import printable, read_class_labels, read_segments, write_segments
from dataset.reading.annotations import load_json
from dataset.reading.clips import Clips
from evaluation.measures import ontology
from utils.arguments import at_least
from utils.errors import UserError, exit_on_user_error
from utils.files import write_json, write_text

INFOS = Path("data/data_infos")
KINDS = (("video", ".mp4"), ("audio", ".wav"))


def read_infos(infos):
    """AudioSet's classes, of a folder's class_labels_indices.csv and ontology.json.

    Returns:
        names {mid: name}, spellings {name or mid, as `alike` has it: set of mids}, the `Ontology`.

    Raises:
        UserError: one of the files is missing or not of its form.
    """
    labels, classes = infos / "class_labels_indices.csv", infos / "ontology.json"
    for path in (labels, classes):
        if not path.is_file():
            get = "python data/download_metadata.py --files labels ontology"
            raise UserError(f"{path} is missing: get it with `{get}`, or name the folder that has it with --infos")
    tree = ontology.load_ontology(classes)
    sources = tree.names, read_class_labels(labels)
    spellings = {}
    for mid, name in [*sources[0].items(), *sources[1].items()]:
        spellings.setdefault(alike(mid), set()).add(mid)
        spellings.setdefault(alike(name), set()).add(mid)
    return sources[0] | sources[1], spellings, tree


def read_class_list(path, spellings, names):
    """The classes that a text file lists, one name or mid a line; # begins a comment, case doesn't count.

    `spellings` and `names` are those of `read_infos`. Returns a set of mids.

    Raises:
        UserError: the file can't be read, lists nothing, or a line is no class: the nearest name is told.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise UserError(f"the list of classes {path} can't be read ({reason}): name another with --genres") from None
    wanted = set()
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if text and alike(text) not in spellings:
            mid = nearest(alike(text)[:60], spellings)
            raise UserError(
                f"{path}, line {number}: {text[:60]!r} is no class of AudioSet: the nearest is "
                f"{printable(names[mid])!r}, {printable(mid)}"
            )
        wanted |= spellings[alike(text)] if text else set()
    if not wanted:
        raise UserError(f"{path} lists no class: write a name such as Musical instrument into it, one a line")
    return wanted


def alike(text):
    """What two spellings of a name have in common, whatever their case and spaces."""
    return " ".join(text.casefold().split())


def nearest(text, spellings):
    """The mid whose spelling is nearest to a text: violin is nearest to "violin, fiddle"."""
    whole_parts = [spelling for spelling in spellings if text in spelling.split(", ")]
    return min(spellings[(whole_parts or difflib.get_close_matches(text, spellings, 1, cutoff=0))[0]])


def matching(labels, chosen, match="any"):
    """Places in `labels`, lists of mids, that have one of the set of chosen classes ("any"), or no other ("all")."""
    if match == "all":
        return [i for i, mids in enumerate(labels) if mids and chosen.issuperset(mids)]
    return [i for i, mids in enumerate(labels) if not chosen.isdisjoint(mids)]


def at_most(per_class, labels, places, chosen, balanced, seed):
    """Draw entries so that no chosen class has more than `per_class` of them; one counts to each class that it has.

    Args:
        labels: list of lists of mids. places: of the entries to draw from. chosen: set of mids.
        balanced: draw in rounds, in each of which the classes get one more entry, the rarest first; else draw from
            all at random. So a common class, or one above many others, doesn't use up what the rare ones need.
        seed: of the order.

    Returns:
        ascending list of places.
    """
    places = list(places)
    random.Random(seed).shuffle(places)
    taken, count = set(), Counter()

    def take(i):
        mids = chosen.intersection(labels[i])
        if i not in taken and all(count[mid] < per_class for mid in mids):
            taken.add(i)
            count.update(mids)

    if not balanced:
        for i in places:
            take(i)
        return sorted(taken)
    of_class = {mid: [] for mid in chosen}
    for i in places:
        for mid in chosen.intersection(labels[i]):
            of_class[mid].append(i)
    by_rarity = sorted(chosen, key=lambda mid: (len(of_class[mid]), mid))
    left = {mid: iter(of_class[mid]) for mid in chosen}
    for goal in range(1, min(per_class, len(places)) + 1):
        for mid in by_rarity:
            while count[mid] < goal and (i := next(left[mid], None)) is not None:
                take(i)
    return sorted(taken)


def choose(labels, chosen, args):
    """Places of the entries to keep, ascending, by the options of the command line."""
    places = matching(labels, chosen, args.match)
    if args.per_class:
        places = at_most(args.per_class, labels, places, chosen, args.balanced, args.seed)
    if not places:
        raise UserError(f"nothing in {args.csv or args.clips} has the classes that {args.genres} asks for")
    return places


def summary(labels, kept, chosen, names):
    """A few lines on what was kept of `labels`, the source's lists of mids, at the places `kept`.

    Of the chosen classes, those that the source has are counted, even where none of them was kept.
    """
    count = Counter(dict.fromkeys(chosen.intersection(set().union(*labels)), 0))
    for i in kept:
        count.update(chosen.intersection(labels[i]))
    ranked = sorted(count, key=lambda mid: (-count[mid], names.get(mid, mid)))
    lines = [f"{count[mid]:8,}  {printable(names.get(mid, mid))}" for mid in ranked]
    if len(lines) > 10:
        lines = ["the five commonest:", *lines[:5], "the five rarest:", *lines[-5:]]
    occur = sum(number > 0 for number in count.values())
    head = f"kept {len(kept):,} of {len(labels):,}, with {occur} of the {len(chosen)} chosen classes"
    return "\n".join([head, *lines])


def select_rows(chosen, names, args):
    """Write the rows of --csv to keep to --out, in their order, with all their labels."""
    if os.path.lexists(args.out):
        raise UserError(f"{args.out} is there already and is not overwritten: move it away or choose another --out")
    segments = read_segments(args.csv)
    labels = [segment.labels for segment in segments]
    places = choose(labels, chosen, args)
    text = io.StringIO()
    write_segments(text, [segments[i] for i in places], f"from {args.csv.name} by select_data_by_genre.py")
    try:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        write_text(args.out, text.getvalue())
    except OSError as error:
        raise UserError(f"{args.out} can't be written ({error.strerror})") from None
    print(summary(labels, places, chosen, names))


def select_clips(chosen, names, args):
    """Put the clips of --clips to keep into --out, with their labels and boxes.

    vid2genre.json is written last: a folder that has it is whole, and one that lacks it is completed by a rerun.
    """
    source, out = args.clips.resolve(), args.out.resolve()
    if out.is_relative_to(source):
        raise UserError(f"--out {args.out} is --clips {args.clips} or inside it: choose a folder outside")
    if not source.is_dir():
        raise UserError(f"--clips {args.clips} is not a folder: name a split such as ROOT/train")
    clips = Clips(source.parent, source.name, on_error="skip")
    if clips.skipped:
        first = printable(next(iter(clips.skipped.values())))
        print(f"left out, for want of a file: {len(clips.skipped)} clips; the first: {first}", file=sys.stderr)
    places = choose(clips.labels, chosen, args)
    genres = {clips.ids[i]: clips.labels[i] for i in places}
    boxes = {clip: clips.boxes[clip] for clip in genres if clip in clips.boxes}
    refuse_others(out, genres, boxes)
    try:
        for kind, _ in KINDS:
            (out / kind).mkdir(parents=True, exist_ok=True)
        for clip in tqdm(genres, unit=" clips", disable=None, leave=False):
            for kind, suffix in KINDS:
                put(source / kind / f"{clip}{suffix}", out / kind / f"{clip}{suffix}", args.by)
        if boxes:
            write_json(out / "boxes.json", boxes)
        write_json(out / "vid2genre.json", genres)
    except OSError as error:
        raise UserError(
            f"{args.out} can't be filled by --by {args.by} ({error.strerror}): "
            "put that right or take another --by or --out; the same command goes on from here"
        ) from None
    print(summary(clips.labels, places, chosen, names))


def refuse_others(out, genres, boxes):
    """Raise UserError if a folder holds anything else than this selection or an unfinished part of it."""
    for name, content in (("vid2genre.json", genres), ("boxes.json", boxes)):
        if (out / name).exists() and load_json(out / name, "another selection") != content:
            raise UserError(f"{out / name} is of another selection and is not overwritten: choose another --out")
    for kind, suffix in KINDS:
        for path in sorted((out / kind).glob("*")):
            is_ours = path.name.endswith(suffix) and path.name.removesuffix(suffix) in genres
            if not is_ours and not path.name.endswith(".tmp"):
                raise UserError(f"{printable(str(path))} is not part of this selection: choose another --out")


def put(source, target, by):
    """Make `target` a link to, or a copy of, `source`, in one step; a file that is there must be just that."""
    if os.path.lexists(target):
        is_link, is_same = target.is_symlink(), target.exists() and target.samefile(source)
        done = {"link": is_link and is_same, "hardlink": is_same and not is_link, "copy": not is_link and not is_same}
        if not done[by] or not filecmp.cmp(source, target):
            raise UserError(f"{target} is there and is not a {by} of {source}: choose another --out")
    elif by == "link":
        target.symlink_to(source.resolve())
    elif by == "hardlink":
        os.link(source.resolve(), target)
    else:
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            shutil.copy2(source, temporary)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


def arguments(argv):
    """Parse the command line. Raises UserError for options that don't go together."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--csv", type=Path, help="segment file to select rows from")
    source.add_argument("--clips", type=Path, metavar="SPLIT", help="split to select clips from, such as ROOT/train")
    parser.add_argument("--out", type=Path, required=True, help="segment file, or folder of the split, to make")
    genres = INFOS / "genre_select.txt"
    parser.add_argument("--infos", type=Path, default=INFOS, help=f"folder of AudioSet's lists of classes ({INFOS})")
    parser.add_argument("--genres", type=Path, default=genres, help=f"classes: names or mids, one a line ({genres})")
    parser.add_argument("--no_descendants", action="store_true", help="without the classes below those (with them)")
    match = "any: one of the labels is chosen; all: each of them is (any)"
    parser.add_argument("--match", choices=("any", "all"), default="any", help=match)
    limit = "at most N of each chosen class; what has several counts to each (no limit)"
    parser.add_argument("--per_class", type=at_least(1), metavar="N", help=limit)
    order = "with --per_class: one more of each class in turn, the rarest first (all classes together, at random)"
    parser.add_argument("--balanced", action="store_true", help=order)
    parser.add_argument("--seed", type=int, default=0, help="of the draw for --per_class (0)")
    parser.add_argument("--by", choices=("link", "hardlink", "copy"), help="with --clips: how files get there (link)")
    args = parser.parse_args(argv)
    if args.balanced and not args.per_class:
        raise UserError("--balanced needs --per_class N: without a limit there is nothing to balance")
    if args.by and not args.clips:
        raise UserError("--by goes with --clips: rows of a segment file are neither linked nor copied")
    args.by = args.by or "link"
    return args


def main(argv=None):
    """Read the command line, choose the classes, keep what has them."""
    args = arguments(argv)
    names, spellings, tree = read_infos(args.infos)
    wanted = read_class_list(args.genres, spellings, names)
    chosen = wanted if args.no_descendants else tree.descendants(wanted)
    (select_rows if args.csv else select_clips)(chosen, names, args)


if __name__ == "__main__":
    with exit_on_user_error():
        main()
