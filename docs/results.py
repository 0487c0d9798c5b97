"""Train the demo's nets under equal conditions and print the tables of results.md: mean and half range over the seeds.

    python -m docs.results                    # more than two hours on 2 cores; --seeds 0 takes a third of it
    python -m docs.results --name ave_net     # one row: its figures, time, and the hash of its weights
    python -m docs.results --list             # the names of the rows

Every net of the first table sees the same clips, the same augmentation and the same number of steps. If it is
interrupted, the same command resumes.
"""

import argparse
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import eval as evaluate
import train_AVENet
import train_PixelPlayer
import train_VOLNet
from docs import demo_time
from evaluation.measures.retrieval import DIRECTIONS
from utils import checkpoint
from utils.errors import UserError, exit_on_user_error
from utils.run import read_log

Rows = dict[str, list[float]]  # {name of the row: its numbers}


class Training(NamedTuple):
    """A training of the tables.

    Attributes:
        name: for --name.
        main: of its script.
        config: its file.
        flags: more of the command line.
        init_from: the row, a key of TRAININGS, whose weights it starts from; "": random ones.
    """

    name: str
    main: Callable[[list[str]], Any]
    config: str
    flags: str = ""
    init_from: str = ""


TRAININGS = {
    "L3-Net": Training("l3_net", train_AVENet.main, "configs/demo_L3Net.py"),
    "AVE-Net": Training("ave_net", train_AVENet.main, "configs/demo_AVENet.py"),
    "AVOL-Net, from scratch": Training("avol_net_scratch", train_VOLNet.main, "configs/demo_VOLNet.py"),
    "AVOL-Net, from AVE-Net": Training(
        "avol_net", train_VOLNet.main, "configs/demo_VOLNet.py", "--train.epochs 10", "AVE-Net"
    ),
    "AVE-Net, make demo": Training("demo_ave_net", train_AVENet.main, *demo_time.TRAININGS[0]),
    "AVOL-Net, make demo": Training(
        "demo_avol_net", train_VOLNet.main, *demo_time.TRAININGS[1], init_from="AVE-Net, make demo"
    ),
    "PixelPlayer": Training("pixelplayer", train_PixelPlayer.main, "configs/demo_PixelPlayer.py"),
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
    parser.add_argument("--name", help="train and evaluate this row alone, and what it starts from")
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    args = parser.parse_args()
    if args.list:
        print("\n".join(f"{training.name:18}{title}" for title, training in TRAININGS.items()))
        return
    if args.name:
        reproduce(args.name, args.seeds, Path(args.out), args.root)
        return
    seeds = [train_and_evaluate(seed, Path(args.out) / str(seed), args.root) for seed in args.seeds]
    separation = [metrics.pop("PixelPlayer")["separation"] for metrics in seeds]
    print("\n" + markdown_table([avc_rows(metrics) for metrics in seeds], AVC_COLUMNS))
    print("\n" + markdown_table([separation_rows(metrics) for metrics in separation], SEPARATION_COLUMNS))


def reproduce(name: str, seeds: Iterable[int], folder: Path, root: str) -> None:
    """Train and evaluate one row, and print what results.md states of it.

    Args:
        name: of a row.
        seeds: of its trainings.
        folder: for the runs.
        root: of the dataset.

    Raises:
        UserError: there is no such row.
    """
    titles = {training.name: title for title, training in TRAININGS.items()}
    if name not in titles:
        raise UserError(f"there is no row {name!r}: the rows are {', '.join(titles)}")
    wanted = [title for title in (TRAININGS[titles[name]].init_from, titles[name]) if title]
    for seed in seeds:
        train_and_evaluate(seed, folder / str(seed), root, wanted)
        run = run_folder(folder / str(seed), titles[name])
        seconds = max((line.get("seconds", 0) for line in read_log(run)), default=0)
        print(f"{name}, seed {seed}: {seconds / 3600:.2f} h of training, weights {weights_hash(run / 'best.pt')}")


def run_folder(folder: Path, title: str) -> Path:
    """Name the folder of a row's run: `title` without spaces and commas, in `folder`."""
    return folder / title.replace(", ", "_").replace(" ", "_")


def weights_hash(path: Path) -> str:
    """Compute the SHA-256 of the weights that are evaluated of a checkpoint, `path`: names and values, its first 16."""
    digest = hashlib.sha256()
    for name, values in sorted(checkpoint.evaluated_weights(checkpoint.load(path)).items()):
        digest.update(name.encode() + values.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def train_and_evaluate(
    seed: int, folder: Path, root: str, wanted: Iterable[str] = tuple(TRAININGS)
) -> dict[str, dict[str, Any]]:
    """Train and evaluate nets, except those that an earlier run has finished.

    Args:
        seed: of the trainings.
        folder: for the runs.
        root: of the dataset.
        wanted: keys of TRAININGS.

    Returns:
        {name: content of metrics.json}.
    """
    metrics = {}
    for name in wanted:
        training, run = TRAININGS[name], run_folder(folder, name)
        settings = {"data.root": root, "train.seed": str(seed), "train.run_dir": str(run)}
        if training.init_from:
            settings["model.init_from"] = str(run_folder(folder, training.init_from) / "best.pt")
        results = run / "eval_test" / "metrics.json"
        if not results.exists():
            words = [word for setting, value in settings.items() for word in (f"--{setting}", value)]
            training.main(["--config", training.config, "--resume", *training.flags.split(), *words])
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
    with exit_on_user_error():
        main()
