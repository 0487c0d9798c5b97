"""Embed any folder of videos, images and sounds with a trained net: two unit vectors for every second.

    python embed.py --checkpoint runs/demo_AVENet/best.pt --input FOLDER --out emb

writes emb.npz (vectors; collection/storage.py lists its arrays), emb.csv (file, kind, time) and emb_left_out.csv
(files that can't be read, or only in part, with the reason).
A row's time is the midpoint of its second of sound and the time of its frame: 0.5, 1.5, ... (openl3's default times are
midpoints too, but start at 0, with half a second of silence before the file.)
A remainder of half a second or more at the end gets a row with the last second of sound, 0.5 s before the end; a
shorter one gets none. Sounds of less than a second are left out, unless --pad is given.
A net with another data.seconds takes sounds of that length around the same times, moved inside the file at its ends;
shorter files are left out as well.
If it is interrupted, even by SIGKILL, the same command resumes and writes the same files. If files were added, changed
or removed since, it embeds the new and the changed ones alone and drops those that are gone.
"""

import utils.startup  # isort: skip  # noqa: F401

import argparse
import os

from dataset.reading.limits import TIME_LIMIT, TIME_LIMIT_HELP
from utils.arguments import add_address_option, answer_help, at_least, worker_count
from utils.command_line import parse_command_line

MIN_HOP = 0.04  # one frame at 25 fps, seconds
DEFAULT_THREADS = min(os.cpu_count() or 1, 8)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of embed.py to `parser`."""
    hop = at_least(MIN_HOP, float, 86_400)
    parser.add_argument("--checkpoint", metavar="FILE", help="best.pt or last.pt of a run")
    parser.add_argument("--input", metavar="DIR_OR_FILE", help="what to embed, including subfolders")
    parser.add_argument("--out", metavar="NAME", help="writes NAME.npz, NAME.csv and NAME_left_out.csv")
    parser.add_argument("--hop", type=hop, default=1.0, metavar="S", help="time between rows, seconds [1]")
    parser.add_argument(
        "--pad", action="store_true", help="pad sounds of less than a second (or data.seconds) with zeros at their end"
    )
    parser.add_argument(
        "--maps", action="store_true",
        help="also write NAME_maps.npy, the embeddings at each location of the frames (AVOL-Net; 50 KB for a frame of\n"
        "14 x 14 locations): search.py then ranks by the net's own score of pairs",
    )  # fmt: skip
    parser.add_argument(
        "--engine", choices=["torch", "onnx", "ray"], default="torch",
        help="what computes: torch, or onnxruntime on the CPU: then --checkpoint is a folder of export.py --to onnx;\n"
        "or torch on all machines of a Ray cluster, see docs/clusters.md [torch]",
    )  # fmt: skip
    add_address_option(parser.add_argument)
    limit = at_least(1, float)
    parser.add_argument("--time_limit", type=limit, default=TIME_LIMIT, metavar="S", help=TIME_LIMIT_HELP)
    parser.add_argument(
        "--threads",
        type=worker_count,
        default=DEFAULT_THREADS,
        metavar="N",
        help="decoding threads [all cores, max. 8]",
    )


if __name__ == "__main__":  # the libraries below take seconds to import
    answer_help(lambda: parse_command_line(None, __doc__, add_options))

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from collection.cluster_embedding import embed_on_cluster
from collection.embedded_files import DoneFiles, EmbeddedFiles, stamp_files
from collection.joining import finish_collection, replace_files, save_left_out
from collection.parts import add_parts, embed_in_parts, number_groups, open_parts, refuse_other_settings
from collection.storage import Collection, OutputPaths, file_digest, load_collection, output_paths
from dataset.making.text import count_text
from dataset.making.workers.clip_map import read_engine
from dataset.reading.media_folder import MediaItem, find_media
from evaluation.file_embedding import EmbedOptions, embed_files, refuse_multiframe
from evaluation.trained_net import TrainedNet, load_trained_net
from utils.errors import UserError, exit_on_user_error
from utils.locks import lock_output
from utils.memory import disable_malloc_trim
from utils.progress_bar import progress_bar


def main(argv: list[str] | None = None) -> Collection:
    """Embed the files that are not embedded yet, join the parts and write the collection."""
    args, changes = parse_command_line(argv, __doc__, add_options)
    for name in ("checkpoint", "input", "out"):
        if not getattr(args, name):
            raise UserError(f"--{name} is missing: python embed.py --checkpoint FILE --input DIR_OR_FILE --out NAME")
    paths = output_paths(args.out)
    with lock_output(paths.npz.with_suffix(""), "--out"):
        return embed(args, changes, paths)


def embed(args: argparse.Namespace, changes: dict[str, str], paths: OutputPaths) -> Collection:
    """Embed into files that no other process writes.

    Args:
        args: the command line.
        changes: settings to override, {dotted name: text}.
        paths: of the files.

    Returns:
        The collection.
    """
    replace_files(paths)  # a run that was killed meanwhile has left this to do
    cluster = read_engine(args, cores=args.threads)
    net = load_engine(args.checkpoint, changes, args.engine)
    refuse_multiframe(net)
    disable_malloc_trim()
    items, skipped = find_media(Path(args.input))
    skipped = {name: reason for name, reason in skipped.items() if not is_output(Path(args.input) / name, paths)}
    options = EmbedOptions(args.hop, args.pad, args.maps, args.time_limit)
    if options.maps:
        _ = net.localizing_net  # or a UserError
    about: dict[str, Any] = {
        "input": str(Path(args.input).resolve()), "hop": args.hop, "pad": args.pad, "maps": args.maps,
        "time_limit": args.time_limit, "model": net.config.model.name, "checkpoint": str(Path(net.path).resolve()),
        "digest": file_digest(net.weights_file), "changes": changes,
        "engine": "onnx" if args.engine == "onnx" else "torch",  # also on a cluster
    }  # fmt: skip
    done = DoneFiles(items, stamp_files(items), args.time_limit)
    before = EmbeddedFiles(paths.npz) if paths.npz.exists() else None
    if before:
        refuse_other_settings(f"{paths.npz} already exists", compared(before.about), compared(about), paths.npz)
    gone = done.add(before) if before else 0
    if before and done.is_done().all() and not gone:
        return say_nothing_is_new(paths, before, skipped)
    counts = describe_changes(before, done, gone) if before else ""
    open_parts(paths.parts, compared(about))
    add_parts(done, paths.parts)

    def embed_rest(rest: list[MediaItem]) -> Iterator[tuple[int, Collection]]:
        if cluster is not None:
            return embed_on_cluster(cluster, args.checkpoint, changes, rest, options, args.threads)
        return number_groups(embed_files(net, rest, options, args.threads))

    with progress_bar(len(items), unit="file") as bar:
        embed_in_parts(done, paths.parts, embed_rest, bar.update)
    collection = finish_collection(paths, done, about, skipped)
    describe_result(collection, paths, counts)
    return collection


def load_engine(checkpoint: str, changes: dict[str, str], engine: str) -> TrainedNet:
    """Load a net to be run by torch, or by onnxruntime.

    Args:
        checkpoint: of the command line.
        changes: settings to override, {dotted name: text}.
        engine: the option.
    """
    if engine != "onnx":
        return load_trained_net(checkpoint, changes).folded()
    from evaluation.exporting.onnx_net import load_onnx_net  # what it needs is optional

    return load_onnx_net(checkpoint, changes)


def compared(about: dict[str, Any]) -> dict[str, Any]:
    """Get what all rows of a collection must share, by words for people, from its `about`."""
    changes = {name: value for name, value in about["changes"].items() if name != "eval.batch_size"}
    words = {"checkpoint": "digest", "input": "input", "hop": "hop", "pad": "pad", "maps": "maps"}
    return {word: about[key] for word, key in words.items()} | {
        "engine": about.get("engine", "torch"), "settings": changes
    }  # fmt: skip


def describe_changes(before: EmbeddedFiles, done: DoneFiles, gone: int) -> str:
    """Count what has changed in the input folder.

    Args:
        before: the files of the collection as it was.
        done: the files of the folder, with those of `before` that have not changed.
        gone: files of `before` that the folder doesn't hold any more.
    """
    known = {name for _, name in before.names()}
    waiting = [item.name for item, kept in zip(done.items, done.is_done(), strict=True) if not kept]
    again = sum(name in before.about["skipped"] and name in known for name in waiting)  # were left out
    changed = sum(name in known for name in waiting) - again
    new, kept = len(waiting) - changed - again, len(done.items) - len(waiting)
    tried = f"{again} tried again, " if again else ""
    return f"{new} new, {changed} changed, {tried}{gone} removed, {kept} unchanged"


def say_nothing_is_new(paths: OutputPaths, before: EmbeddedFiles, skipped: dict[str, str]) -> Collection:
    """Leave a collection as it is.

    Args:
        paths: its files.
        before: what it holds.
        skipped: {name: reason} of the folder's files that can't be embedded, which may be others than before.

    Returns:
        The collection.
    """
    shutil.rmtree(paths.parts, ignore_errors=True)  # of files that an interrupted run embedded, and that are gone
    names = {name for _, name in before.names()}
    known = {name: reason for name, reason in before.about["skipped"].items() if name in names}
    save_left_out(paths.left_out, {"skipped": known | skipped, "in_part": before.about["in_part"]})
    rows, files = count_text(int(before.first_row[-1]), "row"), count_text(len(before.stamps), "file")
    print(f"nothing is new: {paths.npz} holds the {files} of the folder, {rows}")
    return load_collection(paths.npz)


def describe_result(collection: Collection, paths: OutputPaths, counts: str) -> None:
    """Print what was embedded.

    Args:
        collection: the result.
        paths: its files.
        counts: of `describe_changes`; "" without an earlier collection.
    """
    if collection.maps is not None:
        print(f"{paths.maps.stat().st_size / 1e6:,.1f} MB of maps: {paths.maps}")
    if counts:
        print(f"files: {counts}")
    rows = count_text(len(collection.times), "row")
    files = count_text(1 + int(np.count_nonzero(np.diff(collection.files))), "file")
    print(f"{rows} of {files}: {paths.npz}, {paths.csv}")
    left_out, in_part = len(collection.about["skipped"]), len(collection.about["in_part"])
    if left_out or in_part:
        print(f"{left_out} left out, {in_part} embedded in part: {paths.left_out} gives the reasons", file=sys.stderr)


def is_output(path: Path, paths: OutputPaths) -> bool:
    """Check whether a file below the input folder is one of those that embed.py writes itself.

    Args:
        path: of the file.
        paths: of the output.
    """
    return (
        path.name.startswith(f".{paths.parts.stem}.")
        or path.absolute() in [one.absolute() for one in (paths.npz, paths.maps, paths.csv, paths.left_out)]
        or path.absolute() == paths.parts.absolute()
        or (paths.parts.absolute() in path.absolute().parents)
    )


if __name__ == "__main__":
    with exit_on_user_error("lower --threads or --eval.batch_size", "lower --eval.batch_size"):
        main()
