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
If it is interrupted, even by SIGKILL, the same command resumes and writes the same files.
"""

import utils.startup  # isort: skip  # noqa: F401

import argparse
import os
import shutil
import sys
from pathlib import Path

import numpy as np

from collection.parts import embed_in_parts, files_digest, finish_collection, open_parts
from collection.storage import Collection, OutputPaths, file_digest, output_paths
from dataset.making.text import count_text
from dataset.reading.limits import TIME_LIMIT, TIME_LIMIT_HELP
from dataset.reading.media_folder import find_media
from evaluation.file_embedding import EmbedOptions, embed_files, refuse_multiframe
from evaluation.trained_net import load_trained_net
from utils.arguments import at_least, worker_count
from utils.command_line import parse_command_line
from utils.errors import UserError, exit_on_user_error
from utils.locks import lock_output
from utils.memory import disable_malloc_trim
from utils.progress_bar import progress_bar

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
    limit = at_least(1, float)
    parser.add_argument("--time_limit", type=limit, default=TIME_LIMIT, metavar="S", help=TIME_LIMIT_HELP)
    parser.add_argument(
        "--threads",
        type=worker_count,
        default=DEFAULT_THREADS,
        metavar="N",
        help="decoding threads [all cores, max. 8]",
    )


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
    if paths.npz.exists():
        shutil.rmtree(paths.parts, ignore_errors=True)  # left by a kill after the npz was written
        raise UserError(f"{paths.npz} already exists: choose another --out, or remove it to embed again")
    net = load_trained_net(args.checkpoint, changes)
    refuse_multiframe(net)
    disable_malloc_trim()
    items, skipped = find_media(Path(args.input))
    skipped = {name: reason for name, reason in skipped.items() if not is_output(Path(args.input) / name, paths)}
    digest, files = file_digest(args.checkpoint), files_digest(items)
    options = EmbedOptions(args.hop, args.pad, args.maps, args.time_limit)
    if options.maps:
        _ = net.localizing_net  # or a UserError
    settings = {"checkpoint": digest, "hop": args.hop, "pad": args.pad, "maps": args.maps}
    open_parts(paths.parts, settings | {"settings": changes, "input": files})

    with progress_bar(len(items), unit="file") as bar:
        parts = embed_in_parts(
            items, paths.parts, lambda rest: embed_files(net, rest, options, args.threads), bar.update
        )
    about = {"input": str(Path(args.input).resolve()), "hop": args.hop, "pad": args.pad, "model": net.config.model.name}
    about |= {"checkpoint": str(Path(args.checkpoint).resolve()), "digest": digest, "changes": changes}
    collection = finish_collection(args.out, parts, about, skipped)
    rows, files = count_text(len(collection.times), "row"), count_text(len(np.unique(collection.files)), "file")
    print(f"{rows} of {files}: {paths.npz}, {paths.csv}")
    left_out, in_part = len(collection.about["skipped"]), len(collection.about["in_part"])
    if left_out or in_part:
        print(f"{left_out} left out, {in_part} embedded in part: {paths.left_out} gives the reasons", file=sys.stderr)
    return collection


def is_output(path: Path, paths: OutputPaths) -> bool:
    """Check whether a file below the input folder is one of those that embed.py writes itself.

    Args:
        path: of the file.
        paths: of the output.
    """
    return (
        path.name.startswith(f".{paths.parts.stem}.")
        or path.absolute() == paths.parts.absolute()
        or (paths.parts.absolute() in path.absolute().parents)
    )


if __name__ == "__main__":
    with exit_on_user_error("lower --threads or --eval.batch_size", "lower --eval.batch_size"):
        main()
