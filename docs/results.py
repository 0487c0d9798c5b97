"""Train the demo's nets under equal conditions and print the tables of results.md: mean and half range over the seeds.

    python -m docs.results                    # more than two hours on 2 cores; --seeds 0 takes a third of it

Every net of the first table sees the same clips, the same augmentation and the same number of steps. If it is
interrupted, the same command resumes.
"""

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import eval as evaluate
import train_AVENet
import train_PixelPlayer
import train_VOLNet
from evaluation.measures.retrieval import DIRECTIONS

Rows = dict[str, list[float]]  # {name of the row: its numbers}


class Training(NamedTuple):
    """A training of the tables: its script's `main`, its config, and epochs where they differ from the config's."""

    main: Callable[[list[str]], Any]
    config: str
    epochs: int | None = None
    init_from_ave: bool = False


TRAININGS = {
    "L3-Net": Training(train_AVENet.main, "configs/demo_L3Net.py"),
    "AVE-Net": Training(train_AVENet.main, "configs/demo_AVENet.py"),
    "AVOL-Net, from scratch": Training(train_VOLNet.main, "configs/demo_VOLNet.py"),
    "AVOL-Net, from AVE-Net": Training(train_VOLNet.main, "configs/demo_VOLNet.py", epochs=10, init_from_ave=True),
    "PixelPlayer": Training(train_PixelPlayer.main, "configs/demo_PixelPlayer.py"),
}
PEAK_MEASURES = ("peak_accuracy", "two_object_accuracy", "distractor_accuracy")
CENTER_BASELINES = ("centre_accuracy", "two_object_centre", "distractor_centre")
AVC_COLUMNS = ["AVC", *DIRECTIONS, "peak on the object", "with two objects", "on the silent one"]
SEPARATION_COLUMNS = {  # title: measure
    "NSDR": "nsdr",
    "SIR": "sir",
    "SAR": "sar",
    "fraction of the ideal mask's NSDR": "nsdr_share_of_ideal",
    "SIR above the mixture's": "sir_above_mixture",
    "worse with frames swapped": "swap_consistency",
}


def main() -> None:
    """Train and evaluate what is not finished, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data.root", dest="root", default="data/demo", help="the dataset [data/demo]")
    parser.add_argument("--out", default="runs/results", help="folder for the runs [runs/results]")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of the trainings [0 1 2]")
    args = parser.parse_args()
    seeds = [train_and_evaluate(seed, Path(args.out) / str(seed), args.root) for seed in args.seeds]
    separation = [metrics.pop("PixelPlayer")["separation"] for metrics in seeds]
    print("\n" + markdown_table([avc_rows(metrics) for metrics in seeds], AVC_COLUMNS))
    print("\n" + markdown_table([separation_rows(metrics) for metrics in separation], SEPARATION_COLUMNS))


def train_and_evaluate(seed: int, folder: Path, root: str) -> dict[str, dict[str, Any]]:
    """Train and evaluate every net, except those that an earlier run has finished.

    Args:
        seed: of the trainings.
        folder: for the runs.
        root: of the dataset.

    Returns:
        {name: content of metrics.json}.
    """
    metrics = {}
    for name, training in TRAININGS.items():
        run = folder / name.replace(", ", "_").replace(" ", "_")
        settings = {"data.root": root, "train.seed": str(seed), "train.run_dir": str(run)}
        if training.epochs:
            settings["train.epochs"] = str(training.epochs)
        if training.init_from_ave:
            settings["model.init_from"] = str(folder / "AVE-Net" / "best.pt")
        results = run / "eval_test" / "metrics.json"
        if not results.exists():
            words = [word for setting, value in settings.items() for word in (f"--{setting}", value)]
            training.main(["--config", training.config, "--resume", *words])
            baselines = ["--baselines", "cca"] if name == "L3-Net" else []
            evaluate.main(["--checkpoint", str(run / "best.pt"), *baselines])
        metrics[name] = json.loads(results.read_text())
    return metrics


def avc_rows(metrics: dict[str, dict[str, Any]]) -> Rows:
    """Select the numbers of one seed for the table of AVC, retrieval and localization, nan where there is none.

    Args:
        metrics: {name: content of metrics.json}.

    Returns:
        {name: [AVC accuracy, four nDCG, three peak accuracies]}.
    """

    def ndcg(retrieval: dict[str, Any], prefix: str = "") -> list[float]:
        return [retrieval[direction][f"{prefix}ndcg"] for direction in DIRECTIONS]

    centers = metrics["AVOL-Net, from scratch"]["localization"]
    random_ndcg = ndcg(metrics["AVE-Net"]["retrieval"], "random_")
    rows = {"random; center": [0.5, *random_ndcg, *(centers[name] for name in CENTER_BASELINES)]}
    for name, parts in metrics.items():
        localization = parts.get("localization", {})
        peaks = [localization.get(measure, np.nan) for measure in PEAK_MEASURES]
        rows[name] = [parts["avc"]["accuracy"], *ndcg(parts["retrieval"]), *peaks]
        if name == "L3-Net":
            rows["L3-Net + CCA"] = [np.nan, *ndcg(parts["retrieval"]["baselines"]["cca"]), *[np.nan] * 3]
    return rows


def separation_rows(metrics: dict[str, float]) -> Rows:
    """Select the numbers of one seed for the table of separation, in dB and fractions.

    Args:
        metrics: the part "separation" of metrics.json.
    """
    no_other = [np.nan] * 5
    return {
        "the mixture, for every source": [0.0, metrics["sir_mixture"], np.nan, 0.0, np.nan, np.nan],
        "PixelPlayer": [metrics[name] for name in SEPARATION_COLUMNS.values()],
        "ideal binary mask": [metrics["nsdr_ideal_binary"], *no_other],
        "ideal ratio mask": [metrics["nsdr_ideal_ratio"], *no_other],
    }


def markdown_table(seeds: list[Rows], columns: Iterable[str]) -> str:
    """Format the mean over seeds, +- half of the range between the lowest and the highest.

    Args:
        seeds: rows of each seed.
        columns: titles of the numbers.
    """
    titles = list(columns)
    lines = ["| |" + "|".join(f" {title} " for title in titles) + "|", "|---|" + "---|" * len(titles)]
    for name in seeds[0]:
        values = np.array([rows[name] for rows in seeds])
        half_range = (values.max(0) - values.min(0)) / 2
        cells = [_cell(*pair) for pair in zip(values.mean(0), half_range, strict=True)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(mean: float, half_range: float) -> str:
    if np.isnan(mean):
        return "-"
    return _short(mean) + (f" ±{_short(half_range)}" if half_range > 5e-4 else "")


def _short(number: float) -> str:
    return f"{number:.3f}".removeprefix("0")


if __name__ == "__main__":
    main()
