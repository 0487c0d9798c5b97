"""Plot the curves of starting_well.md: the same short run from six starts.

    python -m docs.starting_well --data.root data/demo     # about six minutes on 2 cores; --epochs N for longer runs

Each start adds one fix to the one before; the last is what the repository does. Settings that the demo's config has
changed since are fixed here, so that the figures of the page stay what this prints.
"""

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from torch import nn

import train_AVENet
from models import AVENet
from utils.run import read_log

FIXED_SETTINGS = {
    "model.width": "24", "train.optimizer": "adam", "eval.flip_tta": "false", "augment.crop_min": "0.65",
    "augment.crop_max": "1.0", "augment.rotation": "20", "augment.brightness": "0.3", "augment.contrast": "0.4",
    "augment.saturation": "0.5", "augment.hue": "0", "augment.grey": "0.2",
}  # fmt: skip
NO_FIXES = {
    "train.last_layer_lr_mult": "1",
    "train.data_dependent_init": "false",
    "train.negatives": "one",
    "augment.ramp": "0",
}


class Start(NamedTuple):
    """How a run starts: fc3 gives logit = scale * d + bias at distance d; `settings` override the config."""

    name: str
    scale: float
    bias: float
    settings: dict[str, str]


STARTS = (
    Start("fc3 as PyTorch initializes it, wrong sign", 0.6, 0.0, NO_FIXES),
    Start("fc3 as PyTorch initializes it, right sign", -0.6, 0.0, NO_FIXES),
    Start(
        "large logit scale: 12 (1.2 - d), fc3 at 20 times the learning rate",
        -12.0,
        14.4,
        NO_FIXES | {"train.last_layer_lr_mult": "20"},
    ),
    Start("plus data-dependent initialization", -12.0, 14.4, {"train.negatives": "one", "augment.ramp": "0"}),
    Start("plus all in-batch negatives", -12.0, 14.4, {"augment.ramp": "0"}),
    Start("plus augmentation that grows (shipped)", -12.0, 14.4, {}),
)


def main() -> None:
    """Train from each start, unless its run is finished, plot the curves and print the last AUC of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data.root", dest="root", default="data/demo", help="the dataset [data/demo]")
    parser.add_argument("--out", default="runs/starting_well", help="folder for the runs and the figure")
    parser.add_argument("--epochs", default="8", help="epochs of each run [8]")
    parser.add_argument("--ramp", default="0.8", help="fraction of each run in which augmentation grows [0.8]")
    args = parser.parse_args()
    out = Path(args.out)
    logs = {}
    for number, start in enumerate(STARTS):
        run = out / str(number)
        if not (run / "best.pt").exists():
            train_from(start, run, args)
        logs[start.name] = read_log(run)
    plot(logs, out / "starting_well.png")
    last_auc = {name: [line["auc"] for line in log if line["kind"] == "val"][-1] for name, log in logs.items()}
    print(json.dumps({name: round(auc, 3) for name, auc in last_auc.items()}, indent=2))


def train_from(start: Start, run: Path, args: argparse.Namespace) -> None:
    """Train AVE-Net from `start` into the folder `run`, with the data and epochs of the command line `args`."""

    @torch.no_grad()
    def init_fc3(net: Any, logit_scale: float) -> None:
        set_logit_layer(net.fc3, start.scale, start.bias)

    AVENet._init_fc3 = init_fc3  # type: ignore[assignment]
    settings = {
        "train.run_dir": str(run),
        "data.root": args.root,
        "train.epochs": args.epochs,
        "train.validate_every": "1",
        "augment.ramp": args.ramp,
        **FIXED_SETTINGS,
        **start.settings,
    }
    argv = [word for name, value in settings.items() for word in (f"--{name}", value)]
    train_AVENet.main(["--config", "configs/demo_AVENet.py", *argv])


def set_logit_layer(fc3: nn.Linear, scale: float, bias: float) -> None:
    """Set the weights of `fc3` so that the logit of a match is `scale` times the distance, plus `bias`."""
    fc3.weight.copy_(torch.tensor([[-scale / 2], [scale / 2]]))
    fc3.bias.copy_(torch.tensor([-bias / 2, bias / 2]))


def plot(logs: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Plot validation AUC and the gap of cosines between positives and negatives over the steps.

    Args:
        logs: {name of the start: lines of its log}.
        path: of the image.
    """
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for axis, kind, key, title in (
        (axes[0], "val", "auc", "validation AUC (chance: 0.5)"),
        (axes[1], "train", "cosine_gap", "cosine of positives - cosine of negatives, training"),
    ):
        for name, log in logs.items():
            lines = [line for line in log if line["kind"] == kind]
            axis.plot([line["step"] for line in lines], [line[key] for line in lines], label=name, marker=".")
        axis.set(title=title, xlabel="step")
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=8, loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
