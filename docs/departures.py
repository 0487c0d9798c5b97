"""Measure what each departure from the paper buys: the table of departures.md.

    OMP_NUM_THREADS=1 python -m docs.departures           # about an hour on 2 cores; --seeds 0 takes a third of it

Trains demo_AVENet.py, then with one departure taken back at a time, then with all of them taken back. Interrupted, the
same command resumes.
"""

import argparse
import json
from pathlib import Path

import eval as evaluate
import train_AVENet
from docs.results import markdown_table
from evaluation.measures.retrieval import DIRECTIONS
from utils.run import read_log

PAPER_VALUES = {
    "one negative for each positive": {"train.negatives": "one"},
    "no data-dependent initialization": {"train.data_dependent_init": "false"},
    "fc3 starts as PyTorch's default, with the right sign": {"model.logit_scale": "0.7"},
    "fc3 learns as the other layers do": {"train.last_layer_lr_mult": "1", "train.last_layer_decay": "true"},
}
ROWS = {
    "demo_AVENet.py": {},
    **PAPER_VALUES,
    "all four: the paper's start and loss": {
        name: value for settings in PAPER_VALUES.values() for name, value in settings.items()
    },
}
COLUMNS = ("validation AUC, 3rd epoch", "6th", "test AUC", "AVC", *DIRECTIONS)


def main() -> None:
    """Train and evaluate what is not finished, and print the table: mean over the seeds, +- half of the range."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data.root", dest="root", default="data/demo", help="the dataset [data/demo]")
    parser.add_argument("--out", default="runs/departures", help="folder for the runs [runs/departures]")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of the trainings [0 1 2]")
    parser.add_argument("--epochs", default="10", help="of each training [10]")
    args = parser.parse_args()
    tables = []
    for seed in args.seeds:
        folder = Path(args.out) / str(seed)
        common = {"data.root": args.root, "train.seed": str(seed), "train.epochs": args.epochs}
        numbered = enumerate(ROWS.items())
        tables.append({name: measure(given | common, folder / str(k)) for k, (name, given) in numbered})
    print("\n" + markdown_table(tables, COLUMNS))


def measure(settings: dict[str, str], run: Path) -> list[float]:
    """Train demo_AVENet.py with some settings changed, unless the run is finished, and read its figures.

    Args:
        settings: {setting: value}.
        run: folder of the run.

    Returns:
        A number for each of `COLUMNS`.
    """
    metrics_file = run / "eval_test" / "metrics.json"
    if not metrics_file.exists():
        given = {"train.run_dir": str(run), **settings}
        words = [word for name, value in given.items() for word in (f"--{name}", value)]
        train_AVENet.main(["--config", "configs/demo_AVENet.py", "--resume", *words])
        evaluate.main(["--checkpoint", str(run / "best.pt")])
    metrics = json.loads(metrics_file.read_text())
    validations = [line for line in read_log(run) if line["kind"] == "val"]
    early = [line["auc"] for line in validations][:2]  # demo_AVENet.py validates every third epoch
    ndcg = [metrics["retrieval"][direction]["ndcg"] for direction in DIRECTIONS]
    return [*early, metrics["avc"]["auc"], metrics["avc"]["accuracy"], *ndcg]


if __name__ == "__main__":
    main()
