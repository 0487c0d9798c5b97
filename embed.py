"""Embed any folder of videos, pictures and sounds with a trained net: two unit vectors for every second.

    python embed.py --checkpoint runs/demo_AVENet/best.pt --input FOLDER --out emb

writes emb.npz (vectors; collection/storage.py says what is in it), emb.csv (file, kind, time) and emb_skipped.json (what
could not be read, and why). A row's time is the mid-point of its second of sound and the instant of its frame: 0.5,
1.5, ... (openl3's default times are mid-points too, but begin at 0 with half a second of silence put before the file.)
A rest of half a second or more at the end has a row, whose second of sound is the file's last; a shorter one has none.
Stopped half-way, even by SIGKILL, the same command goes on, and ends with the same files.
"""

import os
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from collection import storage
from dataset.reading import media_folder
from evaluation.file_embedding import embed_files, refuse_multiframe
from evaluation.trained_net import load_trained_net
from utils.arguments import at_least
from utils.config import parse_command_line
from utils.errors import UserError, exit_on_user_error
from utils.memory import disable_malloc_trim

LEAST_HOP = 0.04  # a frame at 25 a second, seconds


def options(parser):
    parser.add_argument("--checkpoint", metavar="FILE", help="best.pt or last.pt of a run")
    parser.add_argument("--input", metavar="DIR_OR_FILE", help="what to embed; folders below it too")
    parser.add_argument("--out", metavar="NAME", help="writes NAME.npz, NAME.csv and NAME_skipped.json")
    parser.add_argument(
        "--hop", type=at_least(LEAST_HOP, float), default=1.0, metavar="S", help="from a row to the next, seconds [1]"
    )
    parser.add_argument(
        "--threads", type=at_least(1), default=min(os.cpu_count() or 1, 8), metavar="N", help="that decode [all cores]"
    )


def main(argv=None):
    """Read the command line, embed what isn't yet, put the parts together; returns the `Collection`."""
    args, _, changes = parse_command_line(argv if argv is not None else sys.argv[1:], __doc__, options)
    for name in ("checkpoint", "input", "out"):
        if not getattr(args, name):
            raise UserError(f"--{name} is missing: python embed.py --checkpoint FILE --input DIR_OR_FILE --out NAME")
    npz, table, left_out, folder = storage.output_paths(args.out)
    if npz.exists():
        raise UserError(f"{npz} is there already: name another --out, or remove it to embed anew")
    net = load_trained_net(args.checkpoint, changes)
    refuse_multiframe(net)
    disable_malloc_trim()
    items, skipped = media_folder.find_media(Path(args.input))
    stats = [item.path.stat() for item in items]
    about = {"input": str(Path(args.input).resolve()), "hop": args.hop, "model": net.config.model.name}
    about |= {"checkpoint": str(Path(args.checkpoint).resolve()), "digest": storage.file_digest(args.checkpoint)}
    about |= {"changes": changes}
    files = [[item.name, stat.st_size, stat.st_mtime_ns] for item, stat in zip(items, stats, strict=True)]
    same = {
        "checkpoint": about["digest"],
        "hop": args.hop,
        "settings": changes,
        "input": storage.settings_digest(files),
    }
    storage.open_parts(folder, same)

    pause = 0.1 if sys.stderr.isatty() else 20  # seconds; in a file every change would be another line
    with tqdm(total=len(items), unit="file", mininterval=pause) as bar:
        paths = []
        for number, some in enumerate(storage.split_into_parts(items, [stat.st_size for stat in stats])):
            paths.append(folder / f"{number:06d}.npz")
            if paths[-1].exists():
                bar.update(len(some))
            else:
                storage.save_collection(paths[-1], embed_files(net, some, args.hop, args.threads, bar.update))
    parts = [storage.load_collection(path) for path in paths]
    for part in parts:
        skipped |= part.about["skipped"]
    whole = storage.join_collections(parts, about)
    storage.finish_collection(args.out, whole, skipped)
    print(f"{len(whole.times)} rows of {len(np.unique(whole.files))} files: {npz}, {table}")
    if skipped:
        print(f"{len(skipped)} files could not be read: {left_out} says why of each", file=sys.stderr)
    return whole


if __name__ == "__main__":
    with exit_on_user_error():
        main()
