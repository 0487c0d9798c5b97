"""Campaign: lists and tables that a user names (json, csv, text) and that are something else."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.campaign.case import ROOT, Case, refusal, run_command
from tests.campaign.material import material, words_of
from tests.campaign.settings import limit_memory


def _sparse(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(5 * 10**9)


# What stands in the place of a list: {name: how it is made}.
FILES: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "zero": lambda path: path.symlink_to("/dev/zero"),
    "loop": lambda path: path.symlink_to(path.name),
    "sparse": _sparse,
    "binary": lambda path: path.write_bytes(bytes(range(256)) * 99),
    "latin1": lambda path: path.write_bytes("caf\xe9".encode("latin-1")),
    "utf16": lambda path: path.write_text("[]", encoding="utf-16"),
    "nul": lambda path: path.write_bytes(b"a,b\0c\n" * 9),
    "html": lambda path: path.write_text("<!doctype html><title>404</title>\n"),
    "deep": lambda path: path.write_text("[" * 100_000),
    "long_line": lambda path: path.write_text("x" * 10**7),
    "digits": lambda path: path.write_text("9" * 10**5),
    "quote": lambda path: path.write_text('a,"b\n' * 9),
}
# JSON that is valid and holds something else.
VALUES: tuple[object, ...] = (
    None, 1, "x", {"a": 1}, [1], [[]], [["x"]], [["x", "x"]], [["x", 1]], [{}], [None],
    [{"id": 1, "name": 2, "child_ids": 3}], [{"id": "a", "name": "b", "child_ids": [1]}], {"x": []}, {"x": [1]},
    {"x": [["/m/1"]]}, {"../x": ["/m/1"]}, {"a\0b": []}, {"": []}, {"x": None}, {"\ud800": ["\ud800"]},
)  # fmt: skip
READERS = ("ontology", "pairs", "labels", "metrics", "segments", "genres", "classes", "split_csv", "group", "cookies")
JSON_READERS = ("ontology", "pairs", "labels", "metrics")


def cases() -> Iterator[Case]:
    """Give each reader of a list files that are none, and those of json other contents."""
    for reader in READERS:
        for name, make in FILES.items():
            yield Case(f"{reader}_{name}", partial(_read, reader, make))
    for reader in JSON_READERS:
        for number, value in enumerate(VALUES):
            yield Case(f"{reader}_json_{number}", partial(_read, reader, partial(_write, value)))


def _write(value: object, path: Path) -> None:
    path.write_text(json.dumps(value))


def _read(reader: str, make: Callable[[Path], object], folder: Path) -> str:
    """Let a script read the list that `make` makes: it must refuse it and name it."""
    path = folder / "list.json"
    words = _words(reader, path, folder)
    target = {"labels": folder / "clips/val/vid2genre.json", "metrics": folder / "run/metrics.json"}.get(reader, path)
    target.unlink(missing_ok=True)
    make(target)
    words = [str(ROOT / word) if word.startswith("configs/") else word for word in words]
    name = {"metrics": "run", "labels": "clips/val"}.get(reader, target.name)
    return refusal(run_command(words, cwd=folder, limit=60, prepare=limit_memory), name)


def _words(reader: str, path: Path, folder: Path) -> list[str]:
    """Give the words that let a script read the list at `path`."""
    source, out = material(), folder / "out"
    if reader == "ontology":
        return [*words_of("eval", source, out)[1:], "--eval.ontology", str(path)]
    if reader == "pairs":
        return ["eval.py", "--checkpoint", str(source / "separator.pt"), "--out", str(out), "--mix.pairs", str(path)]
    if reader == "labels":
        shutil.copytree(source / "clips", folder / "clips")
        return [*words_of("train_AVENet", source, out)[1:], "--data.root", str(folder / "clips")]
    if reader == "metrics":
        runs = [folder / "run", folder / "other"]
        for run in runs:
            run.mkdir()
        (runs[1] / "metrics.json").write_text("{}")
        return ["eval.py", "--compare", *map(str, runs)]
    select = ["data/select_data_by_genre.py", "--out", str(out), "--infos", str(source / "infos")]
    if reader == "segments":
        return [*select, "--csv", str(path), "--genres", str(source / "infos/classes.txt")]
    if reader == "genres":
        return [*select, "--clips", str(source / "clips/train"), "--genres", str(path)]
    if reader == "classes":
        shutil.copytree(source / "infos", folder / "infos")
        select = ["data/select_data_by_genre.py", "--out", str(out), "--clips", str(source / "clips/train")]
        return [*select, "--infos", str(folder / "infos"), "--genres", str(path)]
    if reader == "cookies":
        (folder / "segments.csv").write_text('abcdefghijk, 0.000, 10.000, "/m/02hnl"\n')
        words = ["data/download_video_audio.py", "--csv", str(folder / "segments.csv"), "--out", str(out)]
        return [*words, "--cookies", str(path)]
    option = {"split_csv": "--csv", "group": "--group"}[reader]
    return [*words_of("data/train_val_split_small", source, out)[1:], option, str(path)]
