"""Serve a local page to try nets on one's own files: search a collection, localize sounds, separate them.

    python embed.py --checkpoint runs/demo_AVENet/best.pt --input FOLDER --out emb
    python search.py --collection emb                   # then open http://127.0.0.1:7860
    python search.py --checkpoint runs/demo_VOLNet/best.pt --checkpoint runs/demo_PixelPlayer/best.pt

The page has a tab for each thing that its nets can do: a collection is searched by an image, a sound or a video; an
AVOL-Net localizes the sounding objects of a video; a PixelPlayer separates its sounds.
Only this machine can reach the page, unless --host says otherwise. The first ten seconds of a query are used.
"""

import utils.startup  # isort: skip  # noqa: F401

import argparse

from utils.arguments import answer_help, at_least, worker_count
from utils.command_line import parse_command_line

LONGEST_SECONDS = 3600  # of a video that --longest may allow


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of search.py to `parser`."""
    parser.add_argument("--collection", default="", metavar="NAME", help="the --out of embed.py, to search it")
    parser.add_argument(
        "--checkpoint", action="append", default=[], metavar="FILE",
        help="of an AVOLNet or a PixelPlayer, to try it on videos; or the net of --collection, if it was moved;\n"
        "may be given several times",
    )  # fmt: skip
    parser.add_argument("--files", default="", metavar="DIR", help="folder of the embedded files, if it was moved")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on [127.0.0.1: this machine only]")
    parser.add_argument("--port", type=at_least(0, most=65_535), default=7860, help="0: any free port [7860]")
    parser.add_argument(
        "--largest", type=at_least(1, most=100_000), default=32, metavar="MB", help="largest upload [32]"
    )
    longest = at_least(1, float, LONGEST_SECONDS)
    parser.add_argument(
        "--longest", type=longest, default=60.0, metavar="S", help="of a longer video the first S seconds are used [60]"
    )
    parser.add_argument(
        "--workers", type=worker_count, default=2, metavar="N",
        help="videos that are worked on at the same time, each by a process with its own copy of the nets [2]",
    )  # fmt: skip


if __name__ == "__main__":  # the libraries below take seconds to import
    answer_help(lambda: parse_command_line(None, __doc__, add_options))

from collection.jobs import JobLimits, Jobs
from collection.page_nets import PageNets, choose_nets
from collection.sandbox import Sandbox
from collection.search_index import SearchIndex
from dataset.making.text import count_text
from utils.errors import UserError, exit_on_user_error

MEGABYTE = 2**20


def describe_ranking(index: SearchIndex) -> str:
    """Say how a net with localization maps ranks images by a sound, and sounds by an image, in `index`."""
    if index.scores_pairs:
        score = "the largest value of the map, with model.mean_weight partly its mean"
        return f"images and sounds are compared by the net's own score of pairs, {score}"
    return (
        "images and sounds are compared by mean vectors, for lack of maps: embed.py --maps stores those that the net's "
        "own score of pairs needs"
    )


def describe_page(nets: PageNets) -> str:
    """Say what the page of `nets` has, for its header: the collection, and the net of each task with videos."""
    parts = []
    if nets.index:
        collection = nets.index.collection
        files, seconds = count_text(len(collection.about["files"]), "file"), len(collection.times)
        parts.append(f"{files}, {count_text(seconds, 'second')}, {collection.about['model']}")
    names = {"where": "AVOLNet", "apart": "PixelPlayer"}
    parts += [names[task] for task in nets.tasks if not (task == "where" and nets.index and nets.index.localizes)]
    return "; ".join(parts)


def main(argv: list[str] | None = None) -> None:
    """Open the collection and the nets, and serve the page until Ctrl-C."""
    args, changes = parse_command_line(argv, __doc__, add_options)
    try:
        from collection.server import create_server, make_app  # Flask is optional
    except ModuleNotFoundError as error:
        raise UserError(f"search.py needs {error.name}: pip install flask") from None
    nets = choose_nets(args.collection, args.checkpoint, args.files, changes)
    sandbox, index, jobs = Sandbox(), nets.index, None
    try:
        jobs = Jobs(nets.tasks, sandbox, JobLimits(longest=args.longest, workers=args.workers), index)
        app = make_app(jobs, describe_page(nets), args.largest * MEGABYTE, index)
        try:
            server = create_server(app, args.host, args.port)
        except (OSError, OverflowError) as error:
            message = f"can't listen on {args.host}:{args.port} ({error}): choose another --host or --port"
            raise UserError(message) from None
        if index and index.localizes:
            print(describe_ranking(index))
        for note in index.notes if index else ():
            print(note)
        print(f"http://{args.host}:{server.port}   (Ctrl-C stops the server)", flush=True)
        server.serve_forever()
    finally:
        if jobs:
            jobs.close()
        sandbox.close()


if __name__ == "__main__":
    with exit_on_user_error("use a smaller collection, or lower --workers"):
        main()
