"""Train the nets of the demo on equal terms and print the README's tables: mean and spread over the seeds.

    python -m docs.results                    # more than two hours on 2 cores; --seeds 0 for a third of it

Every net of the first table sees the same clips, changes and number of steps. Stopped half-way, it goes on where it
was.
"""

import argparse
import json
from pathlib import Path

import numpy as np

import eval as evaluate
import train_AVENet
import train_PixelPlayer
import train_VOLNet
from evaluation.measures.retrieval import DIRECTIONS

RUNS = {  # name: training script, config, epochs where they differ from the config's
    "L3-Net": (train_AVENet, "configs/demo_L3Net.py", None),
    "AVE-Net": (train_AVENet, "configs/demo_AVENet.py", None),
    "AVOL-Net, from scratch": (train_VOLNet, "configs/demo_VOLNet.py", None),
    "AVOL-Net, from AVE-Net": (train_VOLNet, "configs/demo_VOLNet.py", 10),
    "PixelPlayer": (train_PixelPlayer, "configs/demo_PixelPlayer.py", None),
}
PLACES = ("peak_accuracy", "two_object_accuracy", "distractor_accuracy")
CENTRE = ("centre_accuracy", "two_object_centre", "distractor_centre")
HEADS = ["AVC", *DIRECTIONS, "peak on it", "two objects", "on the silent one"]
PARTED = {  # head: measure
    "NSDR": "nsdr", "SIR": "sir", "SAR": "sar", "of the ideal mask's NSDR": "nsdr_share_of_ideal",
    "SIR above the mixture's": "sir_above_mixture", "falls when the pictures are exchanged": "swap_consistency",
}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data.root", dest="root", default="data/demo")
    parser.add_argument("--out", default="runs/results", help="the runs go here")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of the trainings [0 1 2]")
    args = parser.parse_args()
    found = {seed: measure(seed, Path(args.out) / str(seed), args.root) for seed in args.seeds}
    parted = [measured.pop("PixelPlayer")["separation"] for measured in found.values()]
    print("\n" + table([rows_of(measured) for measured in found.values()], HEADS))
    print("\n" + table([parted_rows(one) for one in parted], PARTED))


def measure(seed, folder, root):
    """Train and evaluate every net with one seed: {name: content of metrics.json}."""
    measured = {}
    for name, (script, config, epochs) in RUNS.items():
        run = folder / name.replace(", ", "_").replace(" ", "_")
        words = [
            "--config",
            config,
            "--resume",
            "--data.root",
            root,
            "--train.seed",
            str(seed),
            "--train.run_dir",
            str(run),
        ]
        words += ["--train.epochs", str(epochs)] if epochs else []
        words += ["--model.init_from", str(folder / "AVE-Net" / "best.pt")] if name.endswith("from AVE-Net") else []
        results = run / "eval_test" / "metrics.json"
        if not results.exists():
            script.main(words)
            evaluate.main(["--checkpoint", str(run / "best.pt"), *(["--baselines", "cca"] if name == "L3-Net" else [])])
        measured[name] = json.loads(results.read_text())
    return measured


def rows_of(measured):
    """The table's rows of one seed: {name: (accuracy, four nDCG, three places)}, nan where there is no such figure."""

    def retrieved(found, prefix=""):
        return [found[direction][f"{prefix}ndcg"] for direction in DIRECTIONS]

    any_one, l3 = measured["AVE-Net"], measured["L3-Net"]["retrieval"]["baselines"]["cca"]
    places = measured["AVOL-Net, from scratch"]["localization"]
    rows = {"random; centre": [0.5, *retrieved(any_one["retrieval"], "random_"), *(places[name] for name in CENTRE)]}
    for name, metrics in measured.items():
        where = metrics.get("localization", {})
        rows[name] = [metrics["avc"]["accuracy"], *retrieved(metrics["retrieval"])]
        rows[name] += [where.get(place, np.nan) for place in PLACES]
        if name == "L3-Net":
            rows["L3-Net + CCA"] = [np.nan, *retrieved(l3), *[np.nan] * 3]
    return rows


def short(number):
    return f"{number:.3f}".removeprefix("0")


def parted_rows(found):
    """The rows of one seed of the table of separation, in dB and shares; `found` is that part of metrics.json."""
    nothing = [np.nan] * 5
    return {
        "the mixture, as every source": [0.0, found["sir_mixture"], np.nan, 0.0, np.nan, np.nan],
        "PixelPlayer": [found[name] for name in PARTED.values()],
        "ideal binary mask": [found["nsdr_ideal_binary"], *nothing],
        "ideal ratio mask": [found["nsdr_ideal_ratio"], *nothing],
    }


def table(seeds, heads):
    """Markdown of the mean over seeds, +- half of the range between the lowest and the highest.

    Args:
        seeds: list of {name of the row: list of numbers}. heads: of the columns.
    """
    lines = ["| |" + "|".join(f" {head} " for head in heads) + "|", "|---|" + "---|" * len(heads)]
    for name in seeds[0]:
        values = np.array([rows[name] for rows in seeds])
        middle, spread = values.mean(0), (values.max(0) - values.min(0)) / 2
        cells = [
            "-" if np.isnan(m) else short(m) + (f" ±{short(s)}" if s > 5e-4 else "")
            for m, s in zip(middle, spread, strict=True)
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
