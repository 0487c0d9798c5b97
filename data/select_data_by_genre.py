"""Select by class: rows of a list of videos, or clips on disk.

    python data/select_data_by_genre.py --csv data/data_infos/eval_segments.csv --out data/data_infos/test.csv
    python data/select_data_by_genre.py --csv IN.csv --out OUT.csv --per_class 50 --balanced
    python data/select_data_by_genre.py --csv vggsound.csv --label_map data/label_maps/vggsound.csv --out OUT.csv
    python data/select_data_by_genre.py --clips ROOT/train --out NEW/train --by link

The classes are listed in data/data_infos/genre_select.txt; those below them in AudioSet's ontology count too. For a
list with labels of its own, they may be these, by their names; or --label_map says which classes the labels are. Rows
are written in the format of AudioSet or VGGSound if the list has it, else as csv with a header. Nothing that exists is
overwritten, and the source is not changed.
"""

import argparse
import filecmp
import io
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import _path  # noqa: F401
from tqdm import tqdm

from dataset.making.clips.link_files import Method, link_or_copy
from dataset.making.left_out import FILE_NAME, LeftOut, write_left_out
from dataset.making.lists.label_maps import read_label_map
from dataset.making.lists.segments import read_class_labels
from dataset.making.lists.select_by_class import (
    ClassNames,
    find_matches,
    limit_per_class,
    map_to_classes,
    own_labels,
    read_class_lines,
    read_class_list,
)
from dataset.making.lists.video_lists import FORMAT_HELP, FORMAT_NAMES, PART_HELP, read_list
from dataset.making.lists.write_list import write_list
from dataset.making.text import count_text, printable
from dataset.reading.annotations import load_json
from dataset.reading.clips import MEDIA_FOLDERS, Clips, clip_files
from dataset.reading.names import normalize_name
from dataset.reading.picture_files import holds_pictures
from evaluation.measures import ontology
from utils.arguments import at_least
from utils.errors import UserError, exit_on_user_error
from utils.files import write_json, write_text
from utils.locks import lock_folder, lock_output

INFOS = Path("data/data_infos")
CLASS_FILES = ("class_labels_indices.csv", "ontology.json")
PARTS = ("train", "val", "test")


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, choose the classes, select what has them."""
    args = parse_arguments(argv)
    with lock_folder(args.out, "--out") if args.clips else lock_output(args.out, "--out"):
        (select_rows if args.csv else select_clips)(args)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line.

    Raises:
        UserError: options that exclude each other.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--csv", type=Path, metavar="FILE", help="list of videos to select rows from")
    source.add_argument("--clips", type=Path, metavar="SPLIT", help="split to select clips from, such as ROOT/train")
    add = parser.add_argument
    add("--out", type=Path, required=True, help="list, or folder of a split, to make")
    add("--format", choices=FORMAT_NAMES, metavar="NAME", help=FORMAT_HELP)
    add("--part", choices=PARTS, help=PART_HELP)
    label_map = (
        "with --csv: the classes that the list's labels are, csv:\nlabel, mid; such as data/label_maps/vggsound.csv"
    )
    add("--label_map", type=Path, metavar="FILE", help=label_map)
    add("--infos", type=Path, default=INFOS, metavar="DIR", help=f"folder with AudioSet's lists of classes [{INFOS}]")
    genres = INFOS / "genre_select.txt"
    add("--genres", type=Path, default=genres, metavar="FILE", help=f"classes: names or mids, one per line\n[{genres}]")
    add("--no_descendants", action="store_true", help="without the classes below those [with them]")
    match = "any: at least one label is chosen; all: each label is [any]"
    add("--match", choices=("any", "all"), default="any", help=match)
    limit = "at most N of each chosen class; what has several counts\nfor each of them [no limit]"
    add("--per_class", type=at_least(1), metavar="N", help=limit)
    balanced = "with --per_class: draw one more of each class in every round,\nthe rarest first [from all at random]"
    add("--balanced", action="store_true", help=balanced)
    add("--seed", type=at_least(0, most=2**32 - 1), default=0, help="with --per_class: seed of the draw [0]")
    by = "with --clips: how files get to OUT [link]"
    add("--by", choices=("link", "hardlink", "copy"), help=by)
    args = parser.parse_args(argv)
    if args.balanced and not args.per_class:
        raise UserError("--balanced needs --per_class N: without a limit there is nothing to balance")
    if args.by and not args.clips:
        raise UserError("--by goes with --clips: rows of a list are neither linked nor copied")
    if args.clips and (args.format or args.part or args.label_map):
        raise UserError("--format, --part and --label_map are about a list: give --csv, or leave them out")
    args.by = args.by or "link"
    return args


def read_classes(infos: Path) -> tuple[ontology.Ontology, ClassNames]:
    """Read AudioSet's classes from ontology.json and class_labels_indices.csv in the folder `infos`.

    Raises:
        UserError: one of the files is missing or invalid.
    """
    labels, tree = (infos / name for name in CLASS_FILES)
    for path in (labels, tree):
        if not path.is_file():
            get = "python data/download_metadata.py --files labels ontology"
            raise UserError(f"{path} is missing: get it with `{get}`, or give the folder that has it with --infos")
    read = ontology.load_ontology(tree)
    return read, ClassNames(read.names, read_class_labels(labels))


def choose_classes(args: argparse.Namespace, own: set[str]) -> tuple[set[str], dict[str, str]]:
    """Choose the classes that --genres lists, with those below them.

    Args:
        args: the command line.
        own: labels of the source that are no mids; their names are classes too.

    Returns:
        (mids and labels that are chosen, {mid or label: name} of all).

    Raises:
        UserError: a line of --genres is no class, or AudioSet's classes are needed and missing.
    """
    labels = {label: label for label in sorted(own)}
    if not all((args.infos / name).is_file() for name in CLASS_FILES):
        classes = ClassNames(labels)
        if all(classes.find(text) for _, text in read_class_lines(args.genres)):  # AudioSet's aren't needed
            return read_class_list(args.genres, classes), labels
    tree, classes = read_classes(args.infos)
    classes.add(labels)
    listed = read_class_list(args.genres, classes, str(args.csv or args.clips) if own else "")
    return listed if args.no_descendants else tree.descendants(listed), classes.names


def choose_entries(args: argparse.Namespace, labels: Sequence[Sequence[str]], chosen: set[str]) -> list[int]:
    """Choose the entries to keep, by the options of the command line.

    Args:
        args: the command line.
        labels: mids of each entry.
        chosen: mids.

    Returns:
        Ascending indices in `labels`.
    """
    indices = find_matches(labels, chosen, args.match)
    if args.per_class:
        indices = limit_per_class(args.per_class, labels, indices, chosen, args.balanced, args.seed)
    if not indices:
        raise UserError(
            f"nothing in {args.csv or args.clips} has the classes that {args.genres} asks for: choose others"
        )
    return indices


def summary(labels: Sequence[Sequence[str]], kept: list[int], chosen: set[str], names: dict[str, str]) -> str:
    """Describe a selection in a few lines.

    Args:
        labels: mids of each entry of the source.
        kept: indices of the entries that were kept.
        chosen: mids. Those that the source has are counted, even if no entry with them was kept.
        names: {mid: display name}.
    """
    count = Counter(dict.fromkeys(chosen.intersection(set().union(*labels)), 0))
    for i in kept:
        count.update(chosen.intersection(labels[i]))
    ranked = sorted(count, key=lambda mid: (-count[mid], names.get(mid, mid)))
    lines = [f"{count[mid]:8,}  {printable(names.get(mid, mid))}" for mid in ranked]
    if len(lines) > 10:
        lines = ["the five most frequent:", *lines[:5], "the five rarest:", *lines[-5:]]
    occurring = sum(number > 0 for number in count.values())
    head = f"kept {len(kept):,} of {len(labels):,}, with {occurring} of the {len(chosen)} chosen classes"
    return "\n".join([head, *lines])


# -------------------------------------------------------------------------------------------------- rows of a list


def select_rows(args: argparse.Namespace) -> None:
    """Write the rows of --csv that are kept to --out, in their order, with all their labels; `args`: the command line.

    Raises:
        UserError: a file is invalid, --out already exists, or nothing is kept.
    """
    if os.path.lexists(args.out):
        raise UserError(f"{args.out} already exists and is not overwritten: move it away or choose another --out")
    whole = read_list(args.csv, args.format)
    listed = whole.only(args.part)
    print(listed.describe(), file=sys.stderr)
    table = read_label_map(args.label_map) if args.label_map else None
    labels = [segment.labels for segment in listed.segments]
    own = set() if listed.format == "audioset" else own_labels([segment.labels for segment in whole.segments])
    chosen, names = choose_classes(args, own)
    if table is not None:
        labels = map_to_classes(labels, chosen, table)
    kept = choose_entries(args, labels, chosen)
    text = io.StringIO()
    note = f"from {args.csv.name} by select_data_by_genre.py"
    write_list(text, [listed.segments[i] for i in kept], listed.format, note)
    try:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        write_text(args.out, text.getvalue())
    except OSError as error:
        raise UserError(f"{args.out} can't be written ({error.strerror})") from None
    print(summary(labels, kept, chosen, names))


# --------------------------------------------------------------------------------------------------- clips on disk


def select_clips(args: argparse.Namespace) -> None:
    """Link or copy the clips of --clips that are kept to --out, with their labels and boxes.

    vid2genre.json is written last: a folder that has it is complete, one that lacks it is completed by a rerun.

    Args:
        args: the command line.

    Raises:
        UserError: a mistake of the user, or --out can't be filled.
    """
    source, out = args.clips.resolve(), args.out.resolve()
    if out.is_relative_to(source):
        raise UserError(f"--out {args.out} is --clips {args.clips} or inside it: choose a folder outside")
    if not source.is_dir():
        raise UserError(f"--clips {args.clips} is not a folder: give a split such as ROOT/train")
    if holds_pictures(source):
        raise UserError(
            f"--clips {args.clips} holds frames and sounds, and only videos can be selected: give their ids in "
            "vid2genre.json instead, which then lists the clips that are used"
        )
    clips = Clips(source.parent, source.name, on_error="skip")
    if clips.skipped:
        first = printable(next(iter(clips.skipped.values())))
        count = count_text(len(clips.skipped), "clip")
        print(f"left out, as a file is missing: {count}; the first: {first}", file=sys.stderr)
    chosen, names = choose_classes(args, own_labels(clips.labels))
    kept = choose_entries(args, clips.labels, chosen)
    genres = {clips.ids[i]: clips.labels[i] for i in kept}
    boxes = {clip: clips.boxes[clip] for clip in genres if clip in clips.boxes}
    refuse_other_content(out, genres, boxes)
    try:
        for kind, _ in MEDIA_FOLDERS:
            (out / kind).mkdir(parents=True, exist_ok=True)
        for clip in tqdm(genres, unit=" clips", disable=None, leave=False):
            for file, target in zip(clip_files(source, clip), clip_files(out, clip), strict=True):
                add_file(file, target, args.by)
        rows = [LeftOut(clip, str(source), "missing", reason) for clip, reason in clips.skipped.items()]
        if rows:
            write_left_out(out / FILE_NAME, rows)
        if boxes:
            write_json(out / "boxes.json", boxes)
        write_json(out / "vid2genre.json", genres)
    except OSError as error:
        raise UserError(
            f"{args.out} can't be filled by --by {args.by} ({error.strerror}): "
            "fix this or choose another --by or --out; the same command resumes"
        ) from None
    print(summary(clips.labels, kept, chosen, names))


def refuse_other_content(out: Path, genres: dict, boxes: dict) -> None:
    """Refuse a folder `out` that holds anything but this selection, with tables `genres` and `boxes`, or a part of it.

    Raises:
        UserError: names the file.
    """
    for name, content in (("vid2genre.json", genres), ("boxes.json", boxes)):
        if (out / name).exists() and load_json(out / name, "another selection") != content:
            raise UserError(f"{out / name} belongs to another selection and is not overwritten: choose another --out")
    for kind, suffix in MEDIA_FOLDERS:
        for path in sorted((out / kind).glob("*")):
            is_selected = path.name.endswith(suffix) and normalize_name(path.name.removesuffix(suffix)) in genres
            if not is_selected and not path.name.endswith(".tmp"):
                raise UserError(f"{printable(str(path))} is not part of this selection: choose another --out")


def add_file(source: Path, target: Path, by: Method) -> None:
    """Link or copy (`by`) the file `source` to `target`, unless an earlier run did so.

    Raises:
        UserError: `target` exists and is something else.
    """
    if not os.path.lexists(target):
        link_or_copy(source, target, by)
        return
    is_link = target.is_symlink()
    if target.exists() and target.samefile(source):
        existing = "link" if is_link else "hardlink"
    else:
        existing = "link to another file" if is_link else "copy"
    if existing != by or not filecmp.cmp(source, target):
        raise UserError(f"{target} exists and is not a {by} of {source}: choose another --out")


if __name__ == "__main__":
    with exit_on_user_error():
        main()
