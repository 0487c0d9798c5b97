"""Make a dataset from a folder of videos: SRC/NAME.mp4 (mkv, webm, mts, ...), each with or without SRC/NAME.wav.

    python data/train_val_split_small.py my_videos data/mine                      # links to the files of my_videos
    python data/train_val_split_small.py my_videos data/mine --by copy --val 0.2  # 70% train, 20% val, 10% test
    python data/train_val_split_small.py my_films data/mine --cut 10              # cut films into clips of 10 s
    python data/train_val_split_small.py my_videos data/mine --dry_run            # say what would be done

    python data/train_val_split_small.py vggsound data/vgg --by_list vggsound.csv --exclude vggss.json
    python data/train_val_split_small.py AVE data/ave --by_list train=trainSet.txt val=valSet.txt test=testSet.txt

SRC may also be a download's folder, SRC/{video,audio}; folders below it, and linked ones, are searched too. Labels come
from SRC/vid2genre.json, {NAME: [mid, ...]}, from the lists of --by_list or --csv, or from folders' names (--labels
folders); other clips have none. Boxes come from SRC/boxes.json.

Clips are checked as by check_data.py first, and those that pass are split. All clips of a recording are in the same
split, see --group. The same command resumes an interrupted run, and later adds what is new in SRC; a clip that has a
split keeps it.

    OUT/split.json                                                      the settings, and the split of each clip
    OUT/left_out.csv                                                    files and clips that were left out, and why
    OUT/{train,val,test}/{vid2genre.json,boxes.json,video/NAME.mp4,audio/NAME.wav}
"""

import argparse
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import _path  # noqa: F401

from dataset.making import left_out as left_out_list
from dataset.making.clips.find_videos import SourceVideo, describe_no_video, describe_sound_folder, find_videos
from dataset.making.clips.import_clip import ClipSource, place_clip, try_links, write_error
from dataset.making.clips.import_steps import boxes_of, list_sounds_left_out, plan_clips, prepare_clips, update_table
from dataset.making.clips.prepared_clips import PreparedClips
from dataset.making.left_out import LeftOut, describe_left_out, write_left_out
from dataset.making.lists.clip_labels import ClipLabels, index_classes, read_labels
from dataset.making.lists.video_lists import FORMAT_HELP, FORMAT_NAMES
from dataset.making.splits.by_list import PARTS
from dataset.making.splits.divide import split_fractions
from dataset.making.splits.split_inputs import divide, note_settings, read_inputs, source_tables
from dataset.making.splits.split_note import SplitNote, read_note, write_note
from dataset.making.text import count_text, escape_surrogates, printable
from dataset.making.workers.clip_map import read_workers
from dataset.reading.annotations import Box, read_boxes
from dataset.reading.limits import TIME_LIMIT, TIME_LIMIT_HELP
from dataset.small_splits import warn_of_small_splits
from evaluation.measures import ontology
from utils.arguments import add_worker_options, at_least
from utils.errors import UserError, exit_on_user_error
from utils.files import write_json
from utils.locks import lock_folder
from utils.progress_bar import progress_bar

EXAMPLES = 5  # names in a line
MAX_LINES = 30  # of what was left out; left_out.csv has all


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, make the dataset."""
    args = parse_arguments(argv)
    with nullcontext() if args.dry_run else lock_folder(args.out, "OUT"):
        try:
            make_dataset(args)
        except OSError as error:
            raise write_error(error, Path(error.filename or args.out)) from None


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("src", type=Path, metavar="SRC", help="folder of videos, or a folder with video/ and audio/")
    add("out", type=Path, metavar="OUT", help="dataset folder to make")
    add("--val", type=float, default=0.1, metavar="X", help="fraction of the clips for validation, 0..1 [0.1]")
    add("--test", type=float, default=0.1, metavar="X", help="fraction of the clips for testing, 0..1 [0.1]")
    add("--seed", type=at_least(0, most=2**32 - 1), default=0, help="seed of the random division [0]")
    group = (
        "how a clip's name tells its recording: a regular expression,\nwhose first group or whole match names it, or a "
        "csv (id,\nrecording) or json file; '.*': each clip is a recording [YouTube\nids, or the name before its last "
        "number]"
    )
    add("--group", metavar="REGEX|FILE", help=group)
    cut = "cut videos into clips of S seconds; what is left at the end is\nleft out [a video is a clip]"
    add("--cut", type=at_least(1.0, float), metavar="S", help=cut)
    add("--every", type=at_least(0.1, float), metavar="S", help="seconds from one cut to the next [the same as --cut]")
    by = "how mp4 and wav files get to OUT; other formats and cuts are\nencoded again and stay in SRC [link]"
    add("--by", choices=("link", "copy", "move"), default="link", help=by)
    add("--csv", type=Path, metavar="FILE", help="list with labels, of any format [SRC/vid2genre.json]")
    by_list = (
        "divide as a list with parts says, such as VGGSound's, or\nseveral PART=FILE (train, val, test), and take the "
        "labels from\nthere; other clips are left out. Without a val or test part,\nit is drawn from train by video"
    )
    add("--by_list", nargs="+", metavar="LIST", help=by_list)
    exclude = (
        "lists of a benchmark: leave their clips, and all others of the\nsame videos, out; --by_list's test part keeps "
        "them"
    )
    add("--exclude", nargs="+", type=Path, default=[], metavar="FILE", help=exclude)
    add("--format", choices=FORMAT_NAMES, metavar="NAME", help=f"of --by_list, or else of --csv: {FORMAT_HELP}")
    add("--label_map", type=Path, metavar="FILE", help="csv: label, mid; such as data/label_maps/vggsound.csv")
    add("--audio", type=Path, metavar="DIR", help="folder with the videos' sounds, DIR/NAME.wav [beside the videos]")
    labels = "the first folder below SRC names the class of its videos, by\nAudioSet's name or any other"
    add("--labels", choices=("folders",), help=labels)
    add("--dry_run", action="store_true", help="say what would be done, check and write nothing")
    add_worker_options(add)
    add("--time_limit", type=at_least(1, float), default=TIME_LIMIT, metavar="S", help=TIME_LIMIT_HELP)
    args = parser.parse_args(argv)
    if args.every and not args.cut:
        raise UserError("--every is the time between cuts: give --cut too")
    if args.cut and args.by == "move":
        raise UserError("--cut leaves the videos in SRC, so that --by move has nothing to move: leave it out")
    if args.format and not (args.by_list or args.csv):
        raise UserError("--format is the format of the list of --by_list or --csv: give one of these, or leave it out")
    return args


def make_dataset(args: argparse.Namespace) -> None:
    """Find the videos, check their clips, assign those that pass to splits, put them there; `args`: the command line.

    Raises:
        UserError: a mistake of the user, or OUT can't be written.
    """
    workers = read_workers(args)
    inputs = read_inputs(args, index_classes(ontology.load_ontology().names) if args.labels else None)
    fractions = inputs.lists.fractions(args.val, args.test) if inputs.lists else split_fractions(args.val, args.test)
    found, left_out = find_videos(
        args.src, [args.out], source_tables(args), args.labels == "folders", inputs.sounds or None
    )
    labels = read_labels(args.src, inputs.labels, inputs.classes, inputs.label_map)
    boxes = read_boxes(args.src / "boxes.json")
    settings = note_settings(args)
    note = read_note(args.out, settings, PARTS)
    if not found and not note.clips:
        raise UserError(describe_no_video(args.src, left_out))
    if args.audio:
        print(describe_sound_folder(args.audio, inputs.sounds, found.values()))
    cut, refused = plan_clips(found, args.cut, args.every, workers, args.time_limit)
    left_out += refused
    division, sources, set_aside, listed = divide(args, inputs, fractions, found, cut, note)
    labels.listed = {} if args.csv else listed
    left_out += set_aside
    print(division.recordings.describe())
    planned = division.draw(division.recordings.of, note.clips)
    if args.dry_run:
        describe_plan(args, planned, left_out, len(division.recordings.of.keys() - note.clips.keys()))
        return
    prepared = start_output(args, settings, note)
    with progress_bar(len(sources.keys() | note.clips.keys())) as bar:
        passed, refused = prepare_clips(sources, prepared, args.out, note.clips, workers, args.time_limit, bar.update)
    left_out += [*refused, *list_sounds_left_out(found, cut, passed | {row.id for row in set_aside})]
    list_left_out(left_out, args)
    split_of = division.draw(passed, note.clips, "that passed the check ")
    write_note(args.out, settings, SplitNote(split_of, division.recordings.rule))
    place_clips(args, split_of, sources, prepared)
    write_tables(args.out, split_of, sources, found, labels, boxes)
    prepared.remove()
    report(args, split_of, labels.unused(found.values(), sources))


def describe_plan(
    args: argparse.Namespace, split_of: Mapping[str, str], left_out: list[LeftOut], new_clips: int
) -> None:
    """Print what would be done.

    Args:
        args: the command line.
        split_of: {clip: split}.
        left_out: what is no clip.
        new_clips: number of clips that no earlier run has made.
    """
    counts = Counter(split_of.values())
    for split in counts:
        clips = sorted(clip for clip, name in split_of.items() if name == split)
        more = ", ..." if len(clips) > EXAMPLES else ""
        print(f"{split}: {count_text(len(clips), 'clip')}: {', '.join(clips[:EXAMPLES])}{more}")
    print_left_out(left_out, args.src)
    print(
        f"--dry_run: {args.out} would get {new_clips} new clips, less those that fail the check, and splits are drawn "
        "from the others; nothing was written"
    )


def start_output(args: argparse.Namespace, settings: dict[str, Any], note: SplitNote) -> PreparedClips:
    """Make the output folder.

    Args:
        args: the command line.
        settings: of this run, for split.json.
        note: of an earlier run.

    Returns:
        What an interrupted run has prepared.
    """
    args.out.mkdir(parents=True, exist_ok=True)
    for stale in args.out.glob("*/*/.*.tmp"):
        stale.unlink()
    if args.by == "link" and not args.cut:
        try_links(args.out)
    write_note(args.out, settings, note)
    return PreparedClips(args.out)


def place_clips(
    args: argparse.Namespace, split_of: Mapping[str, str], sources: Mapping[str, ClipSource], prepared: PreparedClips
) -> None:
    """Put the files of all clips into the folders of their splits.

    Args:
        args: the command line.
        split_of: {clip: split}.
        sources: {clip: what it is made of}.
        prepared: files that were written.
    """
    for split in set(split_of.values()):
        for kind in ("video", "audio"):
            (args.out / split / kind).mkdir(parents=True, exist_ok=True)
    for clip in sorted(split_of.keys() & sources.keys()):
        place_clip(sources[clip], prepared.folder, args.out / split_of[clip], args.by)


def list_left_out(left_out: list[LeftOut], args: argparse.Namespace) -> None:
    """Write and print the list of what was `left_out`; `args` is the command line."""
    path = args.out / left_out_list.FILE_NAME
    write_left_out(path, left_out)
    print_left_out(left_out, args.src)
    if left_out:
        print(f"{describe_left_out(left_out, path)}; untouched in {args.src}")


def print_left_out(left_out: list[LeftOut], folder: Path) -> None:
    """Print what was `left_out` of a `folder`, clips first."""
    rows = sorted(set(left_out), key=lambda row: (not row.id, row))
    for row in rows[:MAX_LINES]:
        name = row.id or Path(row.file).relative_to(folder).as_posix()
        print(f"left out: {printable(escape_surrogates(name))}: {printable(escape_surrogates(row.reason))}")
    if len(rows) > MAX_LINES:
        print(f"left out: {len(rows) - MAX_LINES} more")


def write_tables(
    out: Path,
    split_of: Mapping[str, str],
    sources: Mapping[str, ClipSource],
    found: Mapping[str, SourceVideo],
    labels: ClipLabels,
    boxes: Mapping[str, list[Box]],
) -> None:
    """Write vid2genre.json and boxes.json of each split.

    Args:
        out: the output folder.
        split_of: {clip: split}.
        sources: {clip: what it is made of}; clips that aren't there keep their entries.
        found: the videos by id.
        labels: of the clips.
        boxes: of the videos.
    """

    def labels_of(clip: str) -> list[str] | None:
        return labels.of(clip, found[sources[clip].origin]) if clip in sources else None

    def annotated(clip: str) -> list[Box] | None:
        return boxes_of(sources[clip], boxes) or None if clip in sources else None

    for split in set(split_of.values()):
        clips = sorted(clip for clip, name in split_of.items() if name == split)
        path = out / split / "vid2genre.json"
        write_json(path, {clip: [] for clip in clips} | update_table(path, clips, labels_of))
        path = out / split / "boxes.json"
        if boxes or path.exists():
            write_json(path, update_table(path, clips, annotated))


def report(args: argparse.Namespace, split_of: Mapping[str, str], unused: list[str]) -> None:
    """Print what was made, and what is worth knowing.

    Args:
        args: the command line.
        split_of: {clip: split}.
        unused: names that have labels and are no video's.
    """
    if unused:
        more = ", ..." if len(unused) > EXAMPLES else ""
        names = printable(", ".join(unused[:EXAMPLES]))
        clips = "1 clip that is no video" if len(unused) == 1 else f"{len(unused)} clips that are no videos"
        print(f"{args.src / 'vid2genre.json'} names {clips} of {args.src}: {names}{more}")
    counts = Counter(split_of.values())
    splits = [split for split in PARTS if counts[split]]
    print(f"{args.out}: {', '.join(f'{split} {counts[split]}' for split in splits)} clips")
    warning = warn_of_small_splits({split: counts[split] for split in splits})
    if warning:
        print(warning)


if __name__ == "__main__":
    with exit_on_user_error():
        main()
