"""Small inputs of every script, and what is wrong with the files that a script leaves."""

import atexit
import functools
import json
import os
import shutil
import tempfile
from pathlib import Path

import av
import numpy as np
import soundfile
import torch
from helpers import make_dataset, small_checkpoint, tone, write_json, write_video
from kill_and_resume import REPOSITORY, SETTINGS, command, train_command
from PIL import Image

from tests.campaign.case import run_command

TINY = SETTINGS | {"train.epochs": 1, "train.workers": 0, "train.grad_accum_steps": 1, "data.cache_gb": 0.01}
MIXTURES = {
    "data.sample_rate": 11025, "mix.samples": 11500, "mix.n_fft": 1022, "mix.hop": 500, "model.unet_depth": 3,
    "model.width": 4, "model.sound_width": 4, "model.num_channels": 4, "data.frame_size": 32, "data.resize_size": 36,
    "mix.freq_bins": 64,
}  # fmt: skip
# Scripts that write into a folder, by the name that `words_of` knows.
WRITERS = (
    "train_AVENet", "train_VOLNet", "train_PixelPlayer", "eval", "embed", "separate", "data/build_shards",
    "data/train_val_split_small", "data/make_demo_data", "data/check_data", "data/select_data_by_genre",
)  # fmt: skip
QUICK = ("eval", "embed", "data/build_shards", "data/train_val_split_small", "data/check_data", "train_AVENet")


@functools.cache
def material() -> Path:
    """Make the inputs once: a folder with datasets, videos, AudioSet's lists and checkpoints."""
    root = Path(tempfile.mkdtemp(prefix="material_"))
    atexit.register(_remove_by_its_maker, root, os.getpid())
    make_material(root)
    return root


def _remove_by_its_maker(root: Path, maker: int) -> None:
    if os.getpid() == maker:  # not by a forked child
        shutil.rmtree(root, ignore_errors=True)


def make_material(root: Path) -> None:
    """Make the inputs in an empty folder `root`."""
    make_dataset(root / "clips", train=8, val=4, test=4)
    pictures = list(np.random.default_rng(0).integers(0, 255, (15, 64, 64, 3), np.uint8))
    for number in range(4):
        write_video(root / f"videos/film{number}.mp4", pictures, 10, sound=tone(1.5, 16000, 300 + 100 * number))
    small_checkpoint(root / "net/best.pt", **{"data.root": str(root / "clips")})
    separator(root / "separator.pt", root)
    classes = json.loads((REPOSITORY / "data/demo_ontology.json").read_text())
    write_json(root / "infos/ontology.json", classes)
    rows = [f'{number},{entry["id"]},"{entry["name"]}"' for number, entry in enumerate(classes)]
    (root / "infos/class_labels_indices.csv").write_text("\n".join(["index,mid,display_name", *rows]) + "\n")
    (root / "infos/classes.txt").write_text("\n".join(entry["id"] for entry in classes) + "\n")


def separator(path: Path, root: Path) -> None:
    """Write a checkpoint of a PixelPlayer with fresh weights to `path`, of the dataset in `root`."""
    from configs.demo_PixelPlayer import config as demo
    from models import build_net
    from utils import checkpoint
    from utils.config import override, to_dict

    config = override(demo, MIXTURES | {"data.root": str(root / "clips")})
    torch.manual_seed(1)
    content = {"config": to_dict(config), "model": build_net(config.model).state_dict(), "step": 0, "metrics": {}}
    checkpoint.save(path, content)


def words_of(name: str, source: Path, out: Path, workers: int = 1) -> list[str]:
    """Give the words that start a script which writes to a folder: [python, script, option, ...].

    Args:
        name: one of WRITERS.
        source: folder of `make_material`.
        out: folder to write to.
        workers: processes or threads.
    """
    if name.startswith("train"):
        net = name.removeprefix("train_")
        settings = (MIXTURES | {"train.batch_size": 4, "train.epochs": 1}) if net == "PixelPlayer" else TINY
        settings = settings | {"train.workers": workers - 1}
        settings |= {"model.init_from": ""} if net == "VOLNet" else {}
        config = f"configs/demo_{net}.py"
        return train_command(source / "clips", out, settings, script=f"{name}.py", config=config)
    net = {"checkpoint": source / "net/best.pt"}
    settings, *words = {
        "eval": (net | {"out": out, "pictures": 2, "video": 1},),
        "embed": (net | {"input": source / "videos", "out": out / "emb", "threads": workers},),
        "separate": (
            {"checkpoint": source / "separator.pt", "video": source / "videos/film0.mp4", "out": out},
            "--at", "0.1,0.5",
        ),
        "data/build_shards": ({"workers": workers}, source / "clips", out),
        "data/train_val_split_small": ({"workers": workers, "by": "copy"}, source / "videos", out),
        "data/make_demo_data": ({"out": out, "train": 1, "val": 1, "test": 1, "workers": workers},),
        "data/check_data": (
            {"workers": workers, "csv": out / "check.csv", "html": out / "check.html"}, source / "clips",
        ),
        "data/select_data_by_genre": (
            {"clips": source / "clips/train", "out": out, "infos": source / "infos", "by": "copy"},
            "--genres", source / "infos/classes.txt",
        ),
    }[name]  # fmt: skip
    return command(f"{name}.py", settings, *words)


def final_files(folder: Path) -> list[Path]:
    """List the files below `folder`, without locks, temporary files and what belongs to an unfinished run."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [p for p in files if not any(part.startswith(".") for part in p.relative_to(folder).parts)]


def leftovers(folder: Path) -> list[str]:
    """List what a script leaves of its work below `folder` although it has ended by itself."""
    marks = (".unfinished",)  # by which a split that failed is resumed
    names = [p for p in folder.rglob("*") if p.name.startswith(".") or p.suffix in (".tmp", ".part")]
    names = [path for path in names if path.name not in marks]
    return sorted(str(path.relative_to(folder)) for path in names)


def broken_files(folder: Path) -> str:
    """Describe the first file below `folder` that is half-written under its final name, "" if there is none."""
    for path in final_files(folder):
        try:
            _read(path)
        except Exception as error:  # each format has its own
            return f"{path.relative_to(folder)} is half-written: {type(error).__name__} {str(error)[:80]}"
    return ""


def _read(path: Path) -> None:
    """Read a file to its end as its suffix says; raise any error if that fails."""
    suffix = path.suffix
    if suffix == ".json":
        json.loads(path.read_text(encoding="utf-8-sig"))
    elif suffix == ".npz":
        with np.load(path) as arrays:
            assert all(arrays[name] is not None for name in arrays)
    elif suffix == ".pt":
        torch.load(path, weights_only=True)
    elif suffix in (".png", ".jpg"):
        with Image.open(path) as image:
            image.load()
    elif suffix in (".mp4", ".mp3"):
        with av.open(str(path)) as container:
            kind = "video" if suffix == ".mp4" else "audio"
            assert sum(1 for _ in container.decode(container.streams.best(kind))) > 0
    elif suffix == ".wav":
        with open(path, "rb") as file:
            assert len(soundfile.read(file)[0]) > 0
    elif suffix == ".html":
        assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
    elif suffix == ".csv":
        assert path.read_text(encoding="utf-8").endswith("\n")


def missing_files(folder: Path, name: str) -> str:
    """Describe the files that a script which reports success has not written, "" if none is missing.

    Args:
        folder: where it wrote.
        name: of the script.
    """
    missing = sorted(expected_files(name) - {str(p.relative_to(folder)) for p in final_files(folder)})
    return f"reports success without {', '.join(missing[:3])}" if missing else ""


def expected_files(name: str) -> set[str]:
    """List the files that a script `name` writes when nothing goes wrong."""
    return {path for path in _reference(name) if not path.startswith("tensorboard")}


def expected_size(name: str) -> int:
    """Count the bytes that a script `name` writes when nothing goes wrong."""
    return sum(_reference(name).values())


@functools.cache
def _reference(name: str) -> dict[str, int]:
    """Run a script once; {file: bytes that it takes on a disk with pages of 4 kB}."""
    with tempfile.TemporaryDirectory(prefix="expected_") as folder:
        out = Path(folder) / "out"
        out.mkdir()
        done = run_command(words_of(name, material(), out)[1:])
        assert done.code == 0, f"{name}: {done.text}"
        return {str(p.relative_to(out)): -(-p.stat().st_size // 4096) * 4096 for p in final_files(out)}
