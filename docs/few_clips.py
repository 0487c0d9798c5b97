"""Measure what to expect from few clips: the tables of few_clips.md.

    python -m docs.few_clips --data.root DIR --clips 100 300 1000

Trains each recipe on random parts of the training clips, for equally many steps, and evaluates on the test split.
Interrupted, the same command resumes.
"""

import argparse
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import eval as evaluate
import train_AVENet
import train_VOLNet
from docs.results import markdown_table
from evaluation.measures.retrieval import DIRECTIONS
from utils.config import load_config
from utils.files import write_json

Main = Callable[[list[str]], Any]
COLUMNS = ("AVC", "AUC", *DIRECTIONS, "peak", "two objects")


class Recipe(NamedTuple):
    """A training: its script's `main`, its config, and settings that differ from the config's."""

    main: Main
    config: str
    settings: dict[str, str] = {}  # noqa: RUF012 - nobody changes it


AVE, VOL = (train_AVENet.main, "configs/few_clips_AVENet.py"), (train_VOLNet.main, "configs/few_clips_VOLNet.py")
RECIPES = {
    "AVE-Net from scratch": Recipe(train_AVENet.main, "configs/demo_AVENet.py"),
    "AVE-Net for few clips": Recipe(*AVE),
    "AVE-Net, frozen": Recipe(*AVE, {"train.tuned_stages": "0", "train.lr_vision": "0"}),
    "AVE-Net, `train.loss avc`": Recipe(*AVE, {"train.loss": "avc"}),
    "AVE-Net, `model.vision_pool max`": Recipe(*AVE, {"model.vision_pool": "max"}),
    "AVE-Net, `train.data_dependent_init true`": Recipe(*AVE, {"train.data_dependent_init": "true"}),
    "AVOL-Net from scratch": Recipe(train_VOLNet.main, "configs/demo_VOLNet.py"),
    "AVOL-Net for few clips": Recipe(*VOL),
    "AVOL-Net, `train.tuned_stages 2`": Recipe(*VOL, {"train.tuned_stages": "2", "train.lr_vision": "0.05"}),
    "AVOL-Net, `train.loss avc`": Recipe(*VOL, {"train.loss": "avc"}),
    "AVOL-Net, `model.mean_weight 0`": Recipe(*VOL, {"model.mean_weight": "0"}),
    "AVOL-Net, `train.data_dependent_init true`": Recipe(*VOL, {"train.data_dependent_init": "true"}),
}


def main() -> None:
    """Train and evaluate what is not finished, and print a table for each number of clips: mean, +- half the range."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data.root", dest="root", default="data/demo", help="the dataset [data/demo]")
    parser.add_argument("--out", default="runs/few_clips", help="folder for the runs [runs/few_clips]")
    parser.add_argument("--clips", nargs="+", type=int, default=[100, 300, 1000], help="in training [100 300 1000]")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of the trainings [0 1 2]")
    parser.add_argument("--steps", type=int, default=540, help="of each training [540]")
    numbered = "\n".join(f"{number}: {name}" for number, name in enumerate(RECIPES))
    every = list(range(len(RECIPES)))
    parser.add_argument("--recipes", nargs="+", type=int, default=every, help=f"their numbers [all]\n{numbered}")
    args = parser.parse_args()
    chosen = [list(RECIPES.items())[number] for number in args.recipes]
    for clips in args.clips:
        tables = []
        for seed in args.seeds:
            folder = Path(args.out) / f"{clips}_{seed}"
            root = take_part(Path(args.root), folder / "data", clips, seed)
            tables.append({name: measure(recipe, root, folder, clips, seed, args.steps) for name, recipe in chosen})
        print(f"\n{clips} clips\n\n" + markdown_table(tables, COLUMNS), flush=True)


def take_part(root: Path, folder: Path, clips: int, seed: int) -> Path:
    """Make a dataset of links with a random part of the training clips, and all others.

    Args:
        root: of the dataset.
        folder: of the new one.
        clips: in its training split.
        seed: of the choice.

    Returns:
        `folder`.
    """
    if (folder / "train" / "vid2genre.json").exists():
        return folder
    labels = json.loads((root / "train" / "vid2genre.json").read_text())
    chosen = random.Random(seed).sample(sorted(labels), clips)
    for part, suffix in (("video", "mp4"), ("audio", "wav")):
        (folder / "train" / part).mkdir(parents=True, exist_ok=True)
        for clip in chosen:
            link = folder / "train" / part / f"{clip}.{suffix}"
            link.unlink(missing_ok=True)
            link.symlink_to((root / "train" / part / link.name).resolve())
    for split in ("val", "test"):
        if not (folder / split).exists():
            (folder / split).symlink_to((root / split).resolve())
    write_json(folder / "train" / "vid2genre.json", {clip: labels[clip] for clip in chosen})
    return folder


def measure(recipe: Recipe, root: Path, folder: Path, clips: int, seed: int, steps: int) -> list[float]:
    """Train a recipe unless it is finished, and read its figures.

    Args:
        recipe: what to train.
        root: of the dataset.
        folder: for the runs.
        clips: in training.
        seed: of the training.
        steps: of the training, rounded to whole epochs.

    Returns:
        A number for each of `COLUMNS`; NaN for the places of AVE-Net, which has none.
    """
    name = "_".join([Path(recipe.config).stem, *recipe.settings.values()])
    metrics_file = folder / name / "eval_test" / "metrics.json"
    if not metrics_file.exists():
        batch = min(load_config(recipe.config).train.batch_size, clips)
        epochs = max(round(steps / (clips // batch)), 1)
        given = {
            "data.root": str(root), "train.run_dir": str(folder / name), "train.seed": str(seed),
            "train.batch_size": str(batch), "train.epochs": str(epochs),
            "train.validate_every": str(max(epochs // 6, 1)), **recipe.settings,
        }  # fmt: skip
        words = [word for setting, value in given.items() for word in (f"--{setting}", value)]
        recipe.main(["--config", recipe.config, "--resume", *words])
        evaluate.main(["--checkpoint", str(folder / name / "best.pt")])
    metrics = json.loads(metrics_file.read_text())
    ndcg = [metrics["retrieval"][direction]["ndcg"] for direction in DIRECTIONS]
    places = metrics.get("localization", {})
    found = [places.get(key, float("nan")) for key in ("peak_accuracy", "two_object_accuracy")]
    return [metrics["avc"]["accuracy"], metrics["avc"]["auc"], *ndcg, *found]


if __name__ == "__main__":
    main()
