"""Take the sound of a video apart: what does each place in the picture sound like?

    python separate.py --checkpoint runs/demo_PixelPlayer/best.pt --video duet.mp4 --out separated
    python separate.py --checkpoint runs/demo_PixelPlayer/best.pt --video duet.mp4 --at 0.3,0.5 0.7,0.5 --out separated

Without --at, the pixels that sound are grouped by what they sound like: the loudest one of each group is a source. The
whole video is separated, in pieces of the length that the net has learned, cross-faded.
"""

import argparse
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from dataset.making.cut import cut_clip
from dataset.reading.audio import write_wav
from dataset.reading.clip_reader import ClipReader
from dataset.reading.errors import MediaError, error_reason
from evaluation.measures import clustering
from evaluation.pixel_separator import FRAMES_PER_SECOND, PixelSeparator
from evaluation.report import source_figures
from evaluation.report.heatmaps import write_video
from evaluation.trained_net import load_trained_net
from utils.arguments import at_least
from utils.config import parse_command_line
from utils.errors import UserError, exit_on_user_error
from utils.files import write_json
from utils.memory import disable_malloc_trim

FPS = 3 * FRAMES_PER_SECOND  # of the films
HEIGHT = 360  # of their pictures, pixels, at most
STILLS, STILL = 5, 300  # moments in the picture of the whole, and how wide they are at most, pixels
RATE = 48000  # of the films' sound, Hz


def options(parser):
    parser.add_argument("--checkpoint", metavar="FILE", help="best.pt or last.pt of a PixelPlayer's run")
    parser.add_argument("--video", type=Path, metavar="FILE", help="any video of a second or more")
    parser.add_argument("--sound", type=Path, metavar="FILE", help="its sound, any wav or video [the video's own]")
    parser.add_argument("--at", type=place, nargs="+", metavar="X,Y", help="places in 0..1 from the top left corner")
    parser.add_argument("--sources", type=at_least(1), metavar="N", help="how many there are to look for [mix.sources]")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the sounds, films and pictures go")


def place(text):
    """A place `x,y` of the command line: (x, y) in 0..1."""
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no place: give X,Y, such as 0.25,0.5") from None
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise argparse.ArgumentTypeError(f"{text.strip()} lies outside the picture: x and y go from 0 (left, top) to 1")
    return x, y


def main(argv=None):
    words = argv if argv is not None else sys.argv[1:]
    # A place may begin with "-": it lies outside the picture, but is no option.
    words = [f" {word}" if re.match(r"-[\d.]+,", word) else word for word in words]
    args, _, changes = parse_command_line(words, __doc__, options)
    for name in ("checkpoint", "video", "out"):
        if getattr(args, name) is None:
            raise UserError(f"--{name} is missing; --help lists what is needed")
    net = load_trained_net(args.checkpoint, changes)
    if not hasattr(net.model, "masks_at_pixels"):
        raise UserError(
            f"{args.checkpoint} holds a net {net.config.model.name}, which can't separate sounds: name a checkpoint of "
            "train_PixelPlayer.py"
        )
    disable_malloc_trim()
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".half_", dir=args.out) as half:  # results come whole or not at all
            half = Path(half)
            found = separate(net, args, half)
            for path in sorted(half.iterdir()):
                path.replace(args.out / path.name)
    except OSError as error:
        raise UserError(f"results can't be written to {args.out} ({error_reason(error)}): name another --out") from None
    for name, source in found["sources"].items():
        print(f"{name}: at {source['at'][0]:.2f},{source['at'][1]:.2f}, {source['decibels']:+.1f} dB beside all sound")
    print(f"\nwritten to {args.out}: sounds, energy.mp4, clusters.mp4, overview.png, spectrograms.png")
    if not args.at:
        print("overview.png shows the places; to hear others, name them: --at X,Y X,Y")
    return found


def separate(net, args, out):
    """Write all results into the folder `out`; returns what separation.json holds."""
    with tempfile.TemporaryDirectory(prefix="separate_") as folder, open_video(args, Path(folder)) as clip:
        listener = PixelSeparator(net, clip)
        if net.config.mix.samples > len(listener.wave):
            lasts, piece = listener.seconds, net.config.mix.samples / listener.rate
            print(f"{args.video} lasts {lasts:.2f} s, less than the net's {piece:.2f} s: silence is heard after it")
        pixels = listener.pixels()
        sources = args.sources or len(args.at or ()) or net.config.mix.sources
        labels = clustering.cluster_pixels(pixels.spectra, pixels.mixture, pixels.energies, sources)
        places = args.at or clustering.loudest_locations(labels, pixels.energies)
        if not places:
            raise UserError(
                f"{args.checkpoint} gives no place of {args.video} more than {clustering.MIN_ENERGY:.0%} of the sound: "
                "train it longer, or name places by --at"
            )
        if len(places) < sources and not args.at:
            print(f"{args.video} has {len(places)} kind(s) of places that sound alike; {sources} were asked for")
        sounds = listener.separated(places)
        found = write_sounds(out, args, listener, places, sounds)
        # A place that was found is its group's; one that was named belongs to that in which it is most of the time.
        kinds = clustering.clusters_at(labels, places) if args.at else range(len(places))
        draw(out, clip, listener, pixels, labels, places, kinds, found, sounds)
    return found


def open_video(args, folder):
    """The video and its sound as a clip of our own format, open for reading, whatever they were.

    Raises:
        UserError: one of them can't be read, has no picture or no sound, is shorter than a second, or silent.
    """
    for path in (args.video, args.sound):
        if path is not None and not path.is_file():
            raise UserError(f"there is no file {path}")
    mp4, wav = folder / "clip.mp4", folder / "clip.wav"
    try:
        cut_clip(args.video, args.sound or args.video, 0.0, float("inf"), mp4, wav, HEIGHT, fps=0)
    except MediaError as error:
        hint = ": name a file with its sound by --sound" if error.kind == "no sound" and not args.sound else ""
        raise UserError(f"{error}{hint}") from None
    if not soundfile.read(wav, dtype="int16")[0].any():
        raise UserError(f"{args.sound or args.video} is silent from start to end: there is nothing to separate")
    return ClipReader(args.video.stem, mp4, wav)


def write_sounds(out, args, listener, places, sounds):
    """Write source_1.wav ..., mixture.wav and separation.json; returns what the latter holds."""
    whole, sources = float(np.square(listener.wave.numpy()).sum()), {}
    write_wav(out / "mixture.wav", int16(listener.wave.numpy()), listener.rate)
    for k, ((x, y), sound) in enumerate(zip(places, sounds, strict=True), 1):
        write_wav(out / f"source_{k}.wav", int16(sound), listener.rate)
        level = 10 * np.log10(np.square(sound).sum() / whole + 1e-10)
        sources[f"source_{k}.wav"] = {"at": [x, y], "decibels": float(level)}
    found = {"checkpoint": str(args.checkpoint), "video": str(args.video), "seconds": listener.seconds}
    found |= {"rate": listener.rate, "sources": sources}
    write_json(out / "separation.json", found)
    return found


def int16(sound):
    """(samples,) float in -1..1 as int16."""
    return np.clip(np.rint(sound * 32768), -32768, 32767).astype(np.int16)


def draw(out, clip, listener, pixels, labels, places, kinds, found, sounds):
    """Write the films and the pictures."""
    loud = source_figures.relative_loudness(pixels.energies)
    track = clip.full_waveform(RATE)

    def frames(times, widest=10_000):
        for frame in clip.decode_frames(times):
            share = min(widest / frame.width, 1)
            yield frame.to_ndarray(format="rgb24", width=round(frame.width * share), height=round(frame.height * share))

    def mark(picture):
        return source_figures.draw_locations(picture, places, kinds)

    def energy(frame, look):
        return source_figures.energy_picture(frame, source_figures.interpolate_maps(loud, look))

    def clusters(frame, look):
        return mark(source_figures.cluster_picture(frame, labels[min(round(look), len(labels) - 1)]))

    times = np.minimum(np.arange(0, listener.seconds, 1 / FPS), clip.shown_until)
    for name, picture in (("energy", energy), ("clusters", clusters)):
        write_video(
            out / f"{name}.mp4",
            source_figures.overlay_frames(frames(times), FPS // FRAMES_PER_SECOND, picture),
            FPS,
            track,
            RATE,
        )
    looks = np.unique(np.linspace(0, len(labels) - 1, STILLS + 2).round().astype(int)[1:-1])
    moments = np.minimum(pixels.times[looks], clip.shown_until)
    stills, titles = list(frames(moments, STILL)), [f"{time:.1f} s" for time in moments]
    source_figures.write_overview(out / "overview.png", stills, looks, loud, labels, mark, titles)
    names = [f"{name}, at {x:.2f}, {y:.2f}" for name, (x, y) in zip(found["sources"], places, strict=True)]
    source_figures.write_spectrograms(out / "spectrograms.png", listener.wave.numpy(), sounds, names, listener.rate)


if __name__ == "__main__":
    with exit_on_user_error():
        main()
