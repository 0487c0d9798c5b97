"""A local page over an embedded collection: give a picture, a sound or a video, get the closest pictures and sounds.

    python embed.py --checkpoint runs/demo_AVENet/best.pt --input FOLDER --out emb
    python search.py --collection emb                   # then open http://127.0.0.1:7860

It answers this machine only, unless --host says otherwise. Of a query, the first ten seconds count.
"""

import argparse
import sys

from collection import storage
from collection.sandbox import Sandbox
from collection.search_index import open_search_index
from utils.arguments import at_least
from utils.errors import UserError, exit_on_user_error

SECONDS = 10  # of a query that count
MEGABYTE = 2**20


def read_arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--collection", required=True, metavar="NAME", help="what embed.py wrote, its --out")
    parser.add_argument("--checkpoint", default="", metavar="FILE", help="the net, if it isn't where it was")
    parser.add_argument(
        "--files", default="", metavar="DIR", help="the collection's files, if they aren't where they were"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at [127.0.0.1: this machine only]")
    parser.add_argument("--port", type=at_least(0), default=7860, help="[7860]; 0: any that is free")
    parser.add_argument("--largest", type=at_least(1), default=32, metavar="MB", help="largest file to look up [32]")
    return parser.parse_args(argv)


def main(argv=None):
    """Read the command line, open the collection, serve until Ctrl-C."""
    args = read_arguments(argv)
    try:
        from collection.server import (
            make_app,
            server,  # Flask is an option
        )
    except ModuleNotFoundError as error:
        raise UserError(f"search.py needs {error.name}: pip install flask") from None
    npz, *_ = storage.output_paths(args.collection)
    found = storage.load_collection(npz)
    search = open_search_index(found, args.checkpoint, args.files)
    sandbox = Sandbox()
    app = make_app(
        search,
        lambda path: sandbox.read(path, search.size, search.rate, SECONDS),
        f"{len(found.about['files'])} files, {len(found.times)} seconds, {found.about['model']}",
        args.largest * MEGABYTE,
    )
    try:
        page = server(app, args.host, args.port)
    except (OSError, OverflowError) as error:
        wrong = f"{args.host}:{args.port} can't be listened at ({error})"
        raise UserError(f"{wrong}: name another --host or --port") from None
    print(f"http://{args.host}:{page.port}   (Ctrl-C ends it)", flush=True)
    try:
        page.serve_forever()
    finally:
        sandbox.close()


if __name__ == "__main__":
    with exit_on_user_error():
        main(sys.argv[1:])
