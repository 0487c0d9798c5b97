"""What train_val_split_small.py reads besides its videos: lists of parts, labels and a benchmark, and sounds."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dataset.making.clips.cut_plan import recording_of_cut
from dataset.making.clips.find_videos import SourceVideo, read_sound_folder
from dataset.making.clips.import_clip import ClipSource
from dataset.making.left_out import LeftOut
from dataset.making.lists.label_maps import read_label_map
from dataset.making.lists.list_index import clips_on_disk
from dataset.making.lists.segments import Segment
from dataset.making.lists.video_lists import read_list
from dataset.making.splits.by_list import ListedClips, PartLists, choose_listed, list_checksums, list_paths, read_parts
from dataset.making.splits.divide import Division, group_clips
from dataset.making.splits.exclude import find_excluded, read_excluded
from dataset.making.splits.split_note import SplitNote
from utils.errors import UserError

SETTINGS = ("val", "test", "seed", "by", "group", "labels", "cut", "every", "format")


class SplitInputs(NamedTuple):
    """What the command line names.

    Attributes:
        lists: of --by_list, or None.
        excluded: {video: name of its list} of --exclude.
        labels: rows of --csv, or None.
        classes: {words of a name: mid} for --labels folders, or None.
        label_map: of --label_map, or None.
        sounds: {name: path} of --audio.
    """

    lists: PartLists | None
    excluded: dict[str, str]
    labels: list[Segment] | None
    classes: dict[str, str] | None
    label_map: dict[str, tuple[str, ...]] | None
    sounds: dict[str, Path]


def read_inputs(args: argparse.Namespace, classes: dict[str, str] | None) -> SplitInputs:
    """Read all that the command line names, and print what each list was taken for.

    Args:
        args: the command line.
        classes: of `SplitInputs`.

    Raises:
        UserError: a file is invalid.
    """
    lists = read_parts(args.by_list, args.format) if args.by_list else None
    excluded, lines = read_excluded(args.exclude)
    labels = read_list(args.csv, None if args.by_list else args.format) if args.csv else None
    if labels and not any(segment.labels for segment in labels.segments):
        raise UserError(
            f"{args.csv} has no labels, as it is taken for {labels.format}: leave out --csv, or give another"
        )
    for line in [*(lists.lines if lists else []), *lines, *([f"labels: {labels.describe()}"] if labels else [])]:
        print(line)
    return SplitInputs(
        lists,
        excluded,
        clips_on_disk(labels) if labels else None,
        classes,
        read_label_map(args.label_map) if args.label_map else None,
        read_sound_folder(args.audio) if args.audio else {},
    )


def source_tables(args: argparse.Namespace) -> list[Path]:
    """List the files that the command line, `args`, names or implies: in SRC, they are no clips."""
    tables = [args.src / "vid2genre.json", args.src / "boxes.json", args.csv, args.label_map, *args.exclude]
    tables += list_paths(args.by_list or ())
    return [path for path in (*tables, args.group and Path(args.group)) if path]


def note_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Make the settings of split.json, by the command line `args`. Those of --by_list, ... hold their content.

    Raises:
        UserError: a list can't be read.
    """
    settings: dict[str, Any] = {"src": str(args.src.resolve()), "csv": args.csv and str(args.csv.resolve())}
    settings |= {key: getattr(args, key) for key in SETTINGS}
    settings["audio"] = args.audio and str(args.audio.resolve())
    words = {"by_list": args.by_list, "exclude": args.exclude, "label_map": args.label_map and [args.label_map]}
    return settings | {key: sorted(list_checksums(list(map(str, of)))) if of else None for key, of in words.items()}


def divide(
    args: argparse.Namespace,
    inputs: SplitInputs,
    fractions: Mapping[str, float],
    found: Mapping[str, SourceVideo],
    sources: Mapping[str, ClipSource],
    note: SplitNote,
) -> tuple[Division, dict[str, ClipSource], list[LeftOut], dict[str, tuple[str, ...]]]:
    """Decide which clips are divided, and how.

    Args:
        args: the command line.
        inputs: what it names.
        fractions: {split: fraction of the clips that are drawn}.
        found: the videos by id.
        sources: {clip: what it is made of}.
        note: of an earlier run.

    Returns:
        (how they are divided, {clip: what it is made of} of those that are, the others and why, {clip: its labels} by
        the lists).

    Raises:
        UserError: no clip is left.
    """
    listed = ListedClips({}, {}, {}, [], [])
    if inputs.lists:
        listed = choose_listed(inputs.lists, sources, found, note.clips)
        for line in (inputs.lists.describe_drawn(fractions), *listed.lines):
            print(line)
    absent = {row.id for row in listed.left_out}
    sources = {clip: source for clip, source in sources.items() if clip not in absent}
    origins = {clip: recording_of_cut(clip) if args.cut else clip for clip in note.clips}
    origins |= {clip: source.origin for clip, source in sources.items()}
    names = {video: one.name for video, one in found.items()}
    parts = len(fractions)
    recordings = group_clips(origins, names, args.group, note.rule, parts, {} if args.group else listed.videos)
    files = {clip: (found[source.origin].name, source.video) for clip, source in sources.items()}
    excluded = find_excluded(recordings.of, files, listed.parts, inputs.excluded)
    absent = {row.id for row in excluded}
    kept = recordings.of.keys() - absent
    if not kept and absent:
        raise UserError(
            f"--exclude leaves out all {len(absent)} clips of {args.src}: give other lists, or other videos"
        )
    fixed = {clip: part for clip, part in listed.parts.items() if part != "train"}
    if inputs.lists:  # what an earlier run placed and the lists don't tell, as its file is gone
        fixed |= {clip: split for clip, split in note.clips.items() if clip not in listed.parts}
    division = Division(recordings.only(kept), fractions, args.seed, fixed)
    sources = {clip: source for clip, source in sources.items() if clip not in absent}
    return division, sources, [*listed.left_out, *excluded], listed.labels
