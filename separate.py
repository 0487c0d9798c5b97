"""Separate the sound of a video: what does each location of the frame sound like?

    python separate.py --checkpoint runs/demo_PixelPlayer/best.pt --video duet.mp4 --out separated
    python separate.py --checkpoint runs/demo_PixelPlayer/best.pt --video duet.mp4 --at 0.3,0.5 0.7,0.5 --out separated

Without --at, sounding pixels are clustered by what they sound like, and the loudest pixel of each cluster is a source.
A video of any length is separated in cross-faded segments of the length that the net was trained on, with bounded
memory. The sounds are exactly as long as the video's, and have the sample rate of the net: nothing above half of it is
separated. --rate writes them at another rate.
"""

import utils.startup  # isort: skip  # noqa: F401

import argparse
from pathlib import Path

from utils.arguments import answer_help, at_least
from utils.command_line import parse_command_line

MIN_RATE, MAX_RATE = 1000, 384_000  # of the sounds in the results, Hz


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of separate.py to `parser`."""
    parser.add_argument("--checkpoint", metavar="FILE", help="best.pt or last.pt of a PixelPlayer run")
    parser.add_argument("--video", type=Path, metavar="FILE", help="any video of at least one second")
    parser.add_argument("--sound", type=Path, metavar="FILE", help="wav or video with its sound [the video's own]")
    parser.add_argument("--at", type=parse_location, nargs="+", metavar="X,Y", help="in 0..1 from the top left corner")
    parser.add_argument("--sources", type=at_least(1, most=64), metavar="N", help="number of clusters [mix.sources]")
    rate = at_least(MIN_RATE, int, MAX_RATE)
    parser.add_argument("--rate", type=rate, metavar="HZ", help="sample rate of the sounds in --out [data.sample_rate]")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the sounds, videos and images")


def parse_location(text: str) -> tuple[float, float]:
    """Parse a location `text` "x,y" of the command line: x and y in 0..1."""
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a location: give X,Y, such as 0.25,0.5") from None
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise argparse.ArgumentTypeError(f"{text.strip()} is outside the frame: x and y go from 0 (left, top) to 1")
    return x, y


if __name__ == "__main__":  # the libraries below take seconds to import
    answer_help(lambda: parse_command_line(None, __doc__, add_options))

import re
import shutil
import sys
import tempfile

from dataset.reading.errors import error_reason
from evaluation.measures.clustering import clusters_at
from evaluation.pixel_separator import PixelSeparator, choose_locations
from evaluation.report.separation_output import SeparatedVideo, SoundRates, write_images, write_sounds, write_videos
from evaluation.separation_clip import open_video
from evaluation.trained_net import TrainedNet, load_trained_net
from models.interfaces import SeparatingNet
from utils.errors import UserError, exit_on_user_error
from utils.files import write_json
from utils.locks import lock_folder
from utils.memory import disable_malloc_trim, reserve_blas_buffers
from utils.system_errors import ADVICE


def main(argv: list[str] | None = None) -> dict:
    """Separate a video and write the results into --out, all of them or none."""
    words = argv if argv is not None else sys.argv[1:]
    # "-0.2,0.5" is a location outside the frame, not an option: a space before it keeps argparse from taking it as one.
    words = [f" {word}" if re.match(r"-[\d.]+,", word) else word for word in words]
    args, changes = parse_command_line(words, __doc__, add_options)
    for name in ("checkpoint", "video", "out"):
        if getattr(args, name) is None:
            raise UserError(f"--{name} is missing; --help lists what is needed")
    net = load_trained_net(args.checkpoint, changes)
    if not isinstance(net.model, SeparatingNet):
        raise UserError(
            f"{args.checkpoint} holds {net.config.model.name}, which can't separate sounds: use a checkpoint of "
            "train_PixelPlayer.py"
        )
    disable_malloc_trim()
    reserve_blas_buffers()
    try:
        with lock_folder(args.out, "--out"):
            for stale in (*args.out.glob(".unfinished_*"), *args.out.glob(".clip_*")):  # of a process that was killed
                shutil.rmtree(stale, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=".unfinished_", dir=args.out) as folder:
                summary = separate(net, args, Path(folder))
                for path in sorted(Path(folder).iterdir()):
                    path.replace(args.out / path.name)
    except OSError as error:
        if error.errno not in ADVICE:  # of an encoder or a thread: no fault of the folder
            raise
        reason = error_reason(error)
        raise UserError(f"results can't be written to {args.out} ({reason}): choose another --out") from None
    for name, source in summary["sources"].items():
        print(f"{name}: at {source['at'][0]:.2f},{source['at'][1]:.2f}, {source['decibels']:+.1f} dB re mixture")
    print(f"\nwritten to {args.out}: sounds, energy.mp4, clusters.mp4, overview.png, spectrograms.png")
    if not args.at:
        print("overview.png shows the locations; choose others with --at X,Y X,Y")
    return summary


def separate(net: TrainedNet, args: argparse.Namespace, out: Path) -> dict:
    """Separate a video and write all results.

    Args:
        net: a PixelPlayer.
        args: the command line.
        out: folder to write to.

    Returns:
        the content of separation.json.
    """
    for path in (args.video, args.sound):
        if path is not None and not path.is_file():
            raise UserError(f"there is no file {path}: give one with --video and --sound")
    with (
        # In the folder of the results, since a long video takes as much space as they do.
        tempfile.TemporaryDirectory(prefix=".clip_", dir=out.parent) as folder,
        open_video(args.video, args.sound, Path(folder)) as clip,
    ):
        separator = PixelSeparator(net, clip)
        rates = choose_rates(separator, args.rate)
        if net.config.mix.samples > separator.samples:
            segment = net.config.mix.samples / separator.rate
            lasts = f"{args.video} lasts {separator.seconds:.2f} s"
            print(f"{lasts}, less than the net's segments of {segment:.2f} s: it is padded with silence")
        count = args.sources or len(args.at or ()) or net.config.mix.sources
        pixels = separator.analyze_pixels(count)
        locations = args.at or choose_locations(pixels, args.checkpoint, str(args.video))
        if len(locations) < count and not args.at:
            print(f"the pixels of {args.video} form only {len(locations)} of {count} clusters of different sound")
        # A location that was searched for has its own cluster; a given one has the most frequent cluster at its pixel.
        clusters = clusters_at(pixels.labels, locations) if args.at else list(range(len(locations)))
        result = SeparatedVideo(pixels, locations, clusters, separator.seconds)
        sources = write_sounds(out, locations, separator.separate(locations), rates)
        summary = {"checkpoint": str(args.checkpoint), "video": str(args.video), "seconds": separator.seconds}
        summary |= {"rate": rates.written, "rate_of_net": rates.net, "sources": sources}
        write_json(out / "separation.json", summary)
        write_videos(out, clip, result)
        write_images(out, clip, result)
    return summary


def choose_rates(separator: PixelSeparator, rate: int | None) -> SoundRates:
    """Choose the sample rate and the length of the results, and say so.

    Args:
        separator: of the video.
        rate: from the command line, Hz; None for the rate of the net.
    """
    clip, net_rate = separator.clip, separator.rate
    written = rate or net_rate
    print(f"the net separates sound at {net_rate} Hz, up to {net_rate // 2} Hz; files are written at {written} Hz")
    if rate is None and net_rate != clip.native_rate:
        print(f"--rate {clip.native_rate} writes them at the rate of the video's sound")
    return SoundRates(net_rate, written, -(-clip.native_samples * written // clip.native_rate))


if __name__ == "__main__":
    with exit_on_user_error("use a shorter video"):
        main()
