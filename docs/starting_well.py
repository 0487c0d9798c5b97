"""Draw the curves of starting_well.md: the same short run from six starts.

    python -m docs.starting_well --data.root data/demo     # about six minutes on 2 cores; --epochs N for longer runs

Each start is the one above it with one thing mended, down to what the repository does. Settings that the demo's config
has changed since are held here, so that the page's figures stay what this prints.
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch

import train_AVENet
from models import AVENet
from utils.run import read_log

HELD = {
    "model.width": "24", "train.optimizer": "adam", "eval.flip_tta": "false", "augment.crop_min": "0.65",
    "augment.crop_max": "1.0", "augment.rotation": "20", "augment.brightness": "0.3", "augment.contrast": "0.4",
    "augment.saturation": "0.5", "augment.hue": "0", "augment.grey": "0.2",
}  # fmt: skip
PLAIN = {
    "train.last_layer_lr_mult": "1",
    "train.data_dependent_init": "false",
    "train.negatives": "one",
    "augment.ramp": "0",
}
STARTS = (  # name, slope of fc3's logit over the distance and its bias, settings
    ("fc3 as PyTorch starts it, wrong sign", (0.6, 0.0), PLAIN),
    ("fc3 as PyTorch starts it, right sign", (-0.6, 0.0), PLAIN),
    ("steep slope: 12 (1.2 - d), fc3 20 times faster", (-12.0, 14.4), PLAIN | {"train.last_layer_lr_mult": "20"}),
    ("and start from data", (-12.0, 14.4), {"train.negatives": "one", "augment.ramp": "0"}),
    ("and all mismatches of the batch", (-12.0, 14.4), {"augment.ramp": "0"}),
    ("and augmentation that grows (shipped)", (-12.0, 14.4), {}),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data.root", dest="root", default="data/demo")
    parser.add_argument("--out", default="runs/starting_well", help="the runs and the figure go here")
    parser.add_argument("--epochs", default="8", help="epochs of each run")
    parser.add_argument("--ramp", default="0.8", help="share of these short runs in which augmentation grows")
    args = parser.parse_args()
    out, curves = Path(args.out), {}
    for number, (name, (slope, bias), settings) in enumerate(STARTS):
        AVENet._init_fc3 = lambda net, slope=slope, bias=bias: _set(net.fc3, slope, bias)
        run = out / str(number)
        if not (run / "best.pt").exists():
            words = {"train.run_dir": str(run), "data.root": args.root, "train.epochs": args.epochs,
                     "train.validate_every": "1", "augment.ramp": args.ramp, **HELD, **settings}  # fmt: skip
            argv = [word for key, value in words.items() for word in (f"--{key}", value)]
            train_AVENet.main(["--config", "configs/demo_AVENet.py", *argv])
        curves[name] = read_log(run)
    draw(curves, out / "starting_well.png")
    print(json.dumps({name: round(_last(log, "val", "auc"), 3) for name, log in curves.items()}, indent=2))


@torch.no_grad()
def _set(fc3, slope, bias):
    fc3.weight.copy_(torch.tensor([[-slope / 2], [slope / 2]]))
    fc3.bias.copy_(torch.tensor([-bias / 2, bias / 2]))


def _last(log, kind, key):
    return [line[key] for line in log if line["kind"] == kind][-1]


def draw(curves, path):
    """Validation AUC and the difference of cosines between matches and mismatches, over the steps."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for axis, kind, key, title in (
        (axes[0], "val", "auc", "validation AUC (0.5 is chance)"),
        (axes[1], "train", "cosine_gap", "cosine of matches - cosine of mismatches, training"),
    ):
        for name, log in curves.items():
            lines = [line for line in log if line["kind"] == kind]
            axis.plot([line["step"] for line in lines], [line[key] for line in lines], label=name, marker=".")
        axis.set(title=title, xlabel="step")
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=8, loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
