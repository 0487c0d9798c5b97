"""Campaign: checkpoints that are damaged, foreign, or hold what makes no sense."""

import copy
import functools
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.campaign.case import ROOT, Case, refusal, run_command
from tests.campaign.material import material, words_of
from tests.campaign.settings import limit_memory

Change = Callable[[dict[str, Any]], None]  # of a checkpoint's content
READERS = ("eval", "embed", "init_from", "resume")  # what reads a broken checkpoint


class Code:
    """What a pickle must not run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


class Mine(Tensor):
    """A subclass of a tensor."""


# {name: the tensor that takes a weight's place}
TENSORS: dict[str, Callable[[Tensor], Any]] = {
    "int": lambda w: w.int(),
    "bool": lambda w: w.bool(),
    "complex": lambda w: w.to(torch.complex64),
    "float8": lambda w: w.to(torch.float8_e4m3fn),
    "sparse": lambda w: w.to_sparse(),
    "quantized": lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8),
    "meta": lambda w: w.to("meta"),
    "nested": lambda w: torch.nested.nested_tensor([w.flatten(), w.flatten()[:1]]),
    "subclass": lambda w: w.as_subclass(Mine),
    "expanded": lambda w: torch.zeros(1).expand(w.shape),
    "terabytes": lambda w: torch.zeros(1).expand(10**12),
    "empty": lambda w: w[:0],
    "scalar": lambda w: w.flatten()[0],
    "transposed": lambda w: w.flatten()[None],
    "nan": lambda w: torch.full_like(w, torch.nan),
    "one nan": lambda w: torch.where(torch.arange(w.numel()).view(w.shape) == 0, torch.nan, w),
    "inf": lambda w: torch.full_like(w, -torch.inf),
    "number": lambda w: 1.0,
    "none": lambda w: None,
    "list": lambda w: w.tolist(),
    "text": lambda w: "weights",
    "code": lambda w: Code(),
    "array": lambda w: w.numpy(),
}
UNFIT = ("int", "empty", "scalar", "transposed")  # weights that `model.init_from` leaves out, and says so
VALUES = (None, -1, 10**400, float("nan"), "x", [], {}, True, torch.ones(2), b"x")
KEYS = ("model", "ema", "config", "config_version", "format", "step")
RESUME_KEYS = ("metrics", "optimizer", "seconds", "best", "highest", "sums", "summed", "last_validation")
# Values that a key may have: {key: indices into VALUES}.
ALLOWED = {"ema": {0, 6}, "metrics": {6}, "best": {6}, "sums": {6}, "summed": {6}, "highest": {1, 2, 3}}
# Stored settings that make no sense; what may be overridden or is no matter for some readers is not among them.
STORED = {
    "model.width": (0, -1, 10**9, 2000, 10**400, 1.5, "x", None, [4], torch.ones(1), float("nan"), True),
    "model.dim": (0, 10**9, "x"),
    "model.name": ("Net", "", None, ["AVENet"], {}, 3, "PixelPlayer" * 1000),
    "model.vision": ("x", None, 3),
    "spectrogram.n_fft": (0, -512, 10**12, 10**400, "x"),
    "spectrogram.n_mels": (-1, 8, 10**9),
    "spectrogram.hop": (0.0, -1.0, 1e-300, float("inf")),
    "data.sample_rate": (0, 10**12, -1),
    "data.frame_size": (0, 10**9, 16),
    "data.root": ("", "x" * 5000, "a\0b", None, 3, ["x"]),
    "train.ema": (2.0, float("nan")),
    "eval.batch_size": (0, -1, 10**12),
    "eval.k": (0, 10**400),
    "nowhere.setting": (1,),
    "train.no_such": (1,),
}


def cases() -> Iterator[Case]:
    """Give each reader files that are no checkpoints, and checkpoints of which a part is broken."""
    for reader in READERS:
        for name in FILES:
            yield Case(f"{reader}_file_{name}", partial(_read, reader, FILES[name]))
        for name, tensor in TENSORS.items():
            if reader == "init_from" and name in UNFIT:
                continue
            yield Case(f"{reader}_weight_{name}", partial(_read_changed, reader, partial(_weight, tensor)))
        for key in (*KEYS, *(RESUME_KEYS if reader == "resume" else ())):
            for number, value in enumerate(VALUES):
                if number not in ALLOWED.get(key, ()) and not (
                    reader in READERS[2:] and key == "config" and value == {}
                ):
                    change = partial(_set, key, value)
                    yield Case(f"{reader}_{key}_{number}", partial(_read_changed, reader, change))
            if key not in ("ema", "config_version"):
                yield Case(f"{reader}_no_{key}", partial(_read_changed, reader, partial(_drop, key)))
        for name, change in CHANGES.items():
            allowed = reader == "init_from" and name == "weight_missing"  # it takes the others, and says so
            if not allowed and (reader == "resume" or not name.startswith("optimizer")):
                yield Case(f"{reader}_{name}", partial(_read_changed, reader, change))
    for reader in ("eval", "embed"):  # whatever they compute; the checkpoint itself is sound
        yield Case(f"{reader}_huge_weights", partial(_read_changed, reader, _huge_weights, name="not finite"))
    for setting, values in STORED.items():
        for number, value in enumerate(values):
            change = partial(_store, setting, value)
            yield Case(f"stored_{setting}_{number}", partial(_read_changed, READERS[number % 2], change))
    for size in range(0, 100, 4):  # percent
        yield Case(f"truncated_{size}", partial(_read, READERS[size % 2], partial(_truncate, size)))


# ------------------------------------------------------------------------------------------------------------ readers


@functools.cache
def trained() -> Path:
    """Train a net for an epoch: the folder of its run."""
    folder = material() / "trained"
    done = run_command(words_of("train_AVENet", material(), folder)[1:])
    assert done.code == 0, done.text
    return folder


def _read(reader: str, make: Callable[[Path], None], folder: Path, must_name: str = "") -> str:
    """Let a reader read the file that `make` makes; it must refuse it, and name it (or what `must_name` says)."""
    name, run = "last.pt" if reader == "resume" else "broken.pt", folder / "run"
    shutil.copytree(trained(), run)
    path = run / name
    path.unlink(missing_ok=True)
    make(path)
    if reader == "resume":
        words = [*words_of("train_AVENet", material(), run)[1:], "--resume", "--train.epochs", "2"]
    elif reader == "init_from":
        words = [*words_of("train_AVENet", material(), folder / "new")[1:], "--model.init_from", str(path)]
    else:
        words = [*words_of(reader, material(), folder / "out")[1:], "--checkpoint", str(path)]
    words = [str(ROOT / word) if word.startswith("configs/") else word for word in words]
    found = refusal(run_command(words, cwd=folder, limit=60, prepare=limit_memory), must_name or name)
    return found or ("the pickle's code was run" if (folder / "executed").exists() else "")


def _read_changed(reader: str, change: Change, folder: Path, name: str = "") -> str:
    content = torch.load(trained() / "last.pt", weights_only=True)
    change(content)
    return _read(reader, partial(_save, content), folder, name)


def _save(content: object, path: Path) -> None:
    torch.save(content, path)


# ------------------------------------------------------------------------------------------------------------ changes


def _weight(tensor: Callable[[Tensor], Any], content: dict[str, Any]) -> None:
    """Replace a weight of the net and of the running average."""
    for key in ("model", "ema"):
        if content[key]:
            content[key]["vision.conv1_1.0.weight"] = tensor(content[key]["vision.conv1_1.0.weight"])


def _set(key: str, value: object, content: dict[str, Any]) -> None:
    content[key] = value
    if key == "model":
        content["ema"] = None  # else nobody would look at it


def _drop(key: str, content: dict[str, Any]) -> None:
    del content[key]


def _store(setting: str, value: object, content: dict[str, Any]) -> None:
    section, name = setting.split(".")
    content["config"].setdefault(section, {})[name] = value


def _all_weights(change: Callable[[str], str | None], content: dict[str, Any]) -> None:
    """Rename the weights, and leave out those whose new name is None."""
    for key in ("model", "ema"):
        if content[key]:
            content[key] = {change(name): value for name, value in content[key].items() if change(name)}


def _optimizer(change: Callable[[dict[Any, Any]], object], content: dict[str, Any]) -> None:
    for optimizer in content["optimizer"]:
        change(optimizer)


def _states(change: Callable[[dict[str, Any]], object], content: dict[str, Any]) -> None:
    for optimizer in content["optimizer"]:
        for state in optimizer["state"].values():
            change(state)


def _each(tensor: Callable[[Tensor], Any], state: dict[str, Any]) -> None:
    for name in state:
        state[name] = tensor(state[name])


def _negative_variance(content: dict[str, Any]) -> None:
    for key in ("model", "ema"):
        for name in content[key] or ():
            if name.endswith("running_var"):
                content[key][name] -= 100


def _huge_weights(content: dict[str, Any]) -> None:
    for key in ("model", "ema"):
        for value in (content[key] or {}).values():
            if value.is_floating_point() and value.ndim > 1:
                value *= 1e30


CHANGES: dict[str, Change] = {
    "no_weights": partial(_all_weights, lambda name: None),
    "weight_missing": partial(_all_weights, lambda name: None if name.endswith("fc1.weight") else name),
    "other_names": partial(_all_weights, lambda name: f"module.{name}"),
    "negative_variance": _negative_variance,
    "newer_format": partial(_set, "format", 2),
    "newer_version": partial(_set, "config_version", 99),
    "config_flat": partial(_set, "config", {"train.lr": 1}),
    "config_nested": partial(_set, "config", {"train": {"lr": {"x": 1}}}),
    "config_keys": partial(_set, "config", {1: {2: 3}}),
    "config_other": partial(_set, "config", {"lr": {"initial": 0.1}}),
    "huge_step": partial(_set, "step", 10**18),
    "optimizer_none": partial(_set, "optimizer", [None]),
    "optimizer_three": partial(_set, "optimizer", [{}, {}, {}]),
    "optimizer_empty": partial(_optimizer, lambda o: o.clear()),
    "optimizer_no_state": partial(_optimizer, lambda o: o.pop("state")),
    "optimizer_text": partial(_optimizer, lambda o: o.update(state="x")),
    "optimizer_index": partial(_optimizer, lambda o: o.update(state={10**6: {}})),
    "optimizer_names": partial(_optimizer, lambda o: o.update(state={"a": {}})),
    "optimizer_values": partial(_optimizer, lambda o: o.update(state={0: 1})),
    "optimizer_lacks": partial(_states, lambda s: s.popitem()),
    "optimizer_more": partial(_states, lambda s: s.update(more=torch.ones(1))),
    "optimizer_nan": partial(_states, partial(_each, lambda t: t * torch.nan)),
    "optimizer_shape": partial(_states, partial(_each, lambda t: torch.zeros(7))),
    "optimizer_terabytes": partial(_states, partial(_each, lambda t: torch.zeros(1).expand(10**12))),
    "optimizer_meta": partial(_states, partial(_each, lambda t: t.to("meta"))),
    "optimizer_sparse": partial(_states, partial(_each, lambda t: t.to_sparse() if t.ndim else t.bool())),
}


# -------------------------------------------------------------------------------------------------------------- files


def _truncate(percent: int, path: Path) -> None:
    whole = (trained() / "best.pt").read_bytes()
    path.write_bytes(whole[: len(whole) * percent // 100])


def _flip(path: Path) -> None:
    """Change bytes of the pickled part."""
    whole = bytearray((trained() / "best.pt").read_bytes())
    for index in range(200, 4000, 37):
        whole[index] ^= 0xFF
    path.write_bytes(whole)


def _script(path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))


def _safetensors(path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x/readme.txt", "nothing")


def _bomb(path: Path) -> None:
    """Pack a checkpoint's archive again, compressed, with 8 GB of zeros that take 8 MB."""
    with zipfile.ZipFile(trained() / "best.pt") as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for entry in source.infolist():
            file.writestr(entry.filename, source.read(entry))


def _sparse(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(5 * 10**9)


FILES: dict[str, Callable[[Path], Any]] = {
    "missing": lambda path: None,
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "zero": lambda path: path.symlink_to("/dev/zero"),
    "null": lambda path: path.symlink_to("/dev/null"),
    "loop": lambda path: path.symlink_to(path.name),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("weights"),
    "html": lambda path: path.write_text("<!doctype html><title>404</title>"),
    "binary": lambda path: path.write_bytes(bytes(range(256)) * 99),
    "sparse_5_gb": _sparse,
    "flipped": _flip,
    "script": _script,
    "safetensors": _safetensors,
    "zip": _zip,
    "compressed": _bomb,
    "code": partial(_save, {"format": 1, "model": Code()}),
    "module": partial(_save, torch.nn.Linear(2, 2)),
    "list": partial(_save, [1, 2]),
    "tensor": partial(_save, torch.ones(2)),
    "other_project": partial(_save, {"state_dict": {"w": torch.ones(2)}, "epoch": 3}),
    "bare_weights": partial(_save, {"fc.weight": torch.ones(2)}),
    "deep": partial(_save, functools.reduce(lambda inner, _: [inner], range(300), copy.copy([]))),
}
