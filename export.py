"""Export a trained net: its weights and settings in one folder, and its computation for programs without this code.

    python export.py --checkpoint runs/demo_AVENet/best.pt --to onnx --out exported

The folder holds model.safetensors (the weights that are evaluated) and config.json; `models.load` reads it back. With
--to onnx there is an ONNX file for each step (frames, sounds, scores, maps or masks), from pixels and samples on; with
--to exported the same as torch.export writes it. The files are checked against the net on real frames and sounds: those
of data.root, or of --input. docs/export.md says how a browser or a phone uses them.
"""

import utils.startup  # isort: skip  # noqa: F401

import argparse
from pathlib import Path

from evaluation.exporting import OPSET
from utils.arguments import answer_help, at_least
from utils.command_line import parse_command_line


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of export.py to `parser`."""
    parser.add_argument("--checkpoint", metavar="FILE", help="best.pt or last.pt of a run, or the run's folder")
    parser.add_argument("--to", choices=["safetensors", "onnx", "exported"], help="what to write beside the weights")
    parser.add_argument("--out", type=Path, metavar="DIR", help="a new folder")
    parser.add_argument(
        "--input", type=Path, metavar="DIR_OR_FILE", help="videos, or pictures and sounds, to check on [data.root]"
    )
    parser.add_argument("--opset", type=at_least(1), default=OPSET, metavar="N", help=f"of ONNX [{OPSET}]")
    parser.add_argument(
        "--int8", action="store_true",
        help="compute the convolutions of ONNX files in int8, calibrated on one half of the clips and compared on the\n"
        "other: faster on a CPU",
    )  # fmt: skip


if __name__ == "__main__":  # the libraries below take seconds to import
    answer_help(lambda: parse_command_line(None, __doc__, add_options))

from typing import Any

from dataset.making.text import count_text
from evaluation.exporting.folder import ExportOptions, export_net
from evaluation.trained_net import load_trained_net
from utils.errors import UserError, exit_on_user_error


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Export a net and say what was written."""
    args, changes = parse_command_line(argv, __doc__, add_options)
    for name in ("checkpoint", "to", "out"):
        if getattr(args, name) is None:
            raise UserError(f"--{name} is missing: python export.py --checkpoint FILE --to onnx --out DIR")
    if args.int8 and args.to != "onnx":
        raise UserError(f"--int8 needs --to onnx, and --to is {args.to}: set one of them otherwise")
    net = load_trained_net(args.checkpoint, changes)
    about = export_net(net, args.out, ExportOptions(args.to, args.input, args.opset, args.int8))
    for name, described in about.get("files", {}).items():
        megabytes = (args.out / name).stat().st_size / 1e6
        print(f"{name} ({megabytes:.1f} MB): {described['about']}")
    if "difference" in about:
        frames, sounds = about["checked_on"]
        inputs = f"{count_text(frames, 'frame')} and {count_text(sounds, 'sound')}"
        print(f"checked on {inputs}: outputs differ by {about['difference']:.1e} at most")
    if "int8" in about:
        found = about["int8"]
        frames, sounds = found["compared_on"]
        print(
            f"int8 agrees with float32 on {frames} frames and {sounds} sounds that were held back: cosine of frames "
            f"{found['cosine_frames']:.5f}, of sounds {found['cosine_sounds']:.5f}, same first hit {found['top1']:.1%}"
        )
    print(f"written to {args.out}; in Python: models.load({str(args.out)!r})")
    return about


if __name__ == "__main__":
    with exit_on_user_error("export a smaller net"):
        main()
