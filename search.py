"""Serve a local page that searches an embedded collection by an image, a sound or a video.

    python embed.py --checkpoint runs/demo_AVENet/best.pt --input FOLDER --out emb
    python search.py --collection emb                   # then open http://127.0.0.1:7860

Only this machine can reach the page, unless --host says otherwise. The first ten seconds of a query are used.
"""

import utils.startup  # isort: skip  # noqa: F401

import argparse
import sys

from collection.sandbox import Sandbox
from collection.search_index import SearchIndex, open_search_index
from collection.storage import load_collection, output_paths
from dataset.making.text import count_text
from utils.arguments import at_least
from utils.errors import UserError, exit_on_user_error

QUERY_SECONDS = 10  # of a query that are used
MEGABYTE = 2**20


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--collection", required=True, metavar="NAME", help="the --out of embed.py")
    parser.add_argument("--checkpoint", default="", metavar="FILE", help="the net, if it was moved")
    parser.add_argument("--files", default="", metavar="DIR", help="folder of the embedded files, if it was moved")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on [127.0.0.1: this machine only]")
    parser.add_argument("--port", type=at_least(0, most=65_535), default=7860, help="0: any free port [7860]")
    parser.add_argument(
        "--largest", type=at_least(1, most=100_000), default=32, metavar="MB", help="largest upload [32]"
    )
    return parser.parse_args(argv)


def describe_ranking(index: SearchIndex) -> str:
    """Say how a net with localization maps ranks images by a sound, and sounds by an image, in `index`."""
    if index.scores_pairs:
        score = "the largest value of the map, with model.mean_weight partly its mean"
        return f"images and sounds are compared by the net's own score of pairs, {score}"
    return (
        "images and sounds are compared by mean vectors, for lack of maps: embed.py --maps stores those that the net's "
        "own score of pairs needs"
    )


def main(argv: list[str] | None = None) -> None:
    """Open the collection and serve the page until Ctrl-C."""
    args = parse_arguments(argv if argv is not None else sys.argv[1:])
    try:
        from collection.server import create_server, make_app  # Flask is optional
    except ModuleNotFoundError as error:
        raise UserError(f"search.py needs {error.name}: pip install flask") from None
    collection = load_collection(output_paths(args.collection).npz)
    index = open_search_index(collection, args.checkpoint, args.files)
    files = count_text(len(collection.about["files"]), "file")
    title = f"{files}, {count_text(len(collection.times), 'second')}, {collection.about['model']}"
    sandbox = Sandbox()
    try:
        app = make_app(
            index,
            lambda path: sandbox.read(path, index.size, index.rate, QUERY_SECONDS, index.seconds),
            title,
            args.largest * MEGABYTE,
        )
        try:
            server = create_server(app, args.host, args.port)
        except (OSError, OverflowError) as error:
            message = f"can't listen on {args.host}:{args.port} ({error}): choose another --host or --port"
            raise UserError(message) from None
        if index.localizes:
            print(describe_ranking(index))
        print(f"http://{args.host}:{server.port}   (Ctrl-C stops the server)", flush=True)
        server.serve_forever()
    finally:
        sandbox.close()


if __name__ == "__main__":
    with exit_on_user_error("use a smaller collection"):
        main()
