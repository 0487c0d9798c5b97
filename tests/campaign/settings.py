"""Campaign: settings, options and config files that make no sense."""

import os
import resource
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import get_args

from configs.rules import LIMITS
from configs.schema import TRAIN_SCRIPTS
from tests.campaign.case import ROOT, Case, problem, refusal, run_command
from tests.campaign.material import material, words_of
from utils.config import DEFAULTS

MEMORY = 6 * 2**30  # of a command, bytes
NUMBERS = ("", "nan", "1e400", "true", "[1, 2]")
CHOICES = ("", "x", "None", "AUTO", "0")
SWITCHES = ("", "maybe", "2", "None")
PATHS = ("", "ZERO", "NULL", "MEMORY", "PIPE", "FOLDER", "x" * 5000, "/".join("x" * 2500), "a\nb", "~")
# Encoders that there are not, that can't have the stride or the input, or whose hub is out of reach; what is named.
ENCODERS = {
    "near": ({"model.vision": "resnet5"}, "resnet50"),
    "hub": ({"model.vision": "hf-hub:timm/resnet18"}, "model.vision"),
    "folder": ({"model.vision": "local-dir:."}, "model.vision"),
    "tag": ({"model.vision": "resnet50.best"}, "model.vision"),
    "case": ({"model.sound": "RESNET18"}, "model.sound"),
    "stride": ({"model.vision": "test_vit", "model.vision_stride": "8"}, "model.vision_stride"),
    "stride_of_ours": ({"model.vision": "convnet", "model.vision_stride": "8"}, "model.vision_stride"),
    "patches": ({"model.vision": "test_vit", "data.frame_size": "40", "data.resize_size": "40"}, "data.frame_size"),
    "one_size": ({"model.vision": "test_mambaout", "model.sound": "mixer_s32_224"}, "model.sound"),
    "offline": ({"model.vision": "regnety_002", "model.vision_weights": "imagenet"}, "model.vision_weights"),
    "offline_sound": ({"model.sound": "regnety_002", "model.sound_weights": "imagenet"}, "model.sound_weights"),
}
DEVICES = {"ZERO": "/dev/zero", "NULL": "/dev/null", "MEMORY": "/proc/self/mem"}
# Settings whose largest value only makes a run long.
LONG = ("model.sound_width", "train.epochs", "train.max_minutes", "mix.repeats", "data.samples_per_decode")
NET_SETTINGS = {
    "AVENet_MF": {"data.frames": "9", "data.cache_gb": "0"}, "AVENet_OF": {"data.flow": "dis", "data.cache_gb": "0"},
}  # fmt: skip
# {script: (its options for numbers, for paths, for names)}
OPTIONS = {
    "eval": (("pictures", "video"), ("checkpoint", "out", "probe_folder", "compare"), ("split", "tasks", "benchmark")),
    "embed": (("hop", "threads"), ("checkpoint", "input", "out"), ()),
    "separate": (("sources", "at"), ("checkpoint", "video", "sound", "out"), ()),
    "data/build_shards": (("fps", "size", "quality", "rate", "clips", "workers"), ("verify",), ("on_error",)),
    "data/check_data": (("most", "workers"), ("csv", "html"), ()),
    "data/train_val_split_small": (("val", "test", "seed", "workers", "cut", "every"), ("csv",), ("by", "group")),
    "data/make_demo_data": (("train", "val", "test", "seed", "sample_rate", "workers"), ("sheet",), ()),
    "data/select_data_by_genre": (("per_class", "seed"), ("infos", "genres", "clips"), ("match", "by")),
    "data/download_video_audio": (
        ("height", "fps", "workers", "sleep", "rate", "retries", "backoff", "timeout", "shard", "min_free", "seconds",
         "every"),
        ("csv", "cookies", "times", "label_map"), ("mode", "retry", "format", "part"),
    ),
    "search": (("port", "largest"), ("collection",), ()),
    "benchmark": ((), (), ("only", "device")),
}  # fmt: skip
OPTION_NUMBERS = ("", "nan", "1e400", "-1", "[1]", "99999999999", "9" * 5000)
# Config files, and values of `config` in one that imports the schema.
CONFIGS = {
    "syntax": b"config = (",
    "indent": b"  x = 1\nconfig = 2",
    "name": b"config = Confg()",
    "exit": b"import sys; sys.exit(3)",
    "raise": b"raise BaseExceptionGroup('x', [ValueError(1)])",
    "stop": b"raise StopIteration",
    "keyword": b"raise SystemExit('no')",
    "import": b"import nowhere_at_all",
    "relative": b"from . import demo_AVENet",
    "recursion": b"def f(): f()\nf()",
    "none": b"config = None",
    "dict": b"config = {'train': {'lr': 1}}",
    "empty": b"",
    "latin1": b"# caf\xe9\nconfig = 1",
    "nul": b"config = 1\x00",
    "utf16": b"\xff\xfec\x00o\x00n\x00f\x00i\x00g\x00 \x00=\x00 \x001\x00",
    "binary": bytes(range(256)) * 20,
    "bom": b"\xef\xbb\xbfconfig = 1",
    "memory": b"config = [0] * 10**12",
}
VALUES = {
    "class": b"config = Config",
    "section": b"config = Config(train=3)",
    "swapped": b"config = Config(data=Train())",
    "unknown": b"config = Config(train=Train(learning_rate=1))",
    "list": b"config = Config(train=Train(lr=[1]))",
    "nan": b"config = Config(train=Train(lr=float('nan')))",
    "huge": b"config = Config(train=Train(epochs=10**5000))",
    "zero_path": b"config = Config(data=Data(root='a\\0b'))",
    "path": b"from pathlib import Path\nconfig = Config(data=Data(root=Path('x')))",
    "tensor": b"import torch\nconfig = Config(train=Train(lr=torch.ones(3)))",
    "array": b"import numpy\nconfig = Config(model=Model(name=numpy.ones(3)))",
    "show": b"class A:\n def __repr__(self): raise ValueError\nconfig = Config(train=Train(lr=A()))",
}


def cases() -> Iterator[Case]:
    """Give every setting and every option values that make no sense, and the training config files."""
    for name in DEFAULTS:
        for number, value in enumerate(nonsense(name)):
            yield Case(f"{name}_{number}", partial(_train, name, value))
    for name, (settings, named) in ENCODERS.items():
        yield Case(f"encoder_{name}", partial(_encoder, settings, named))
    for number, value in enumerate(value for value in PATHS if value):
        for suffix in ("", ".safetensors"):
            yield Case(f"weights_{number}{suffix}", partial(_weights, value, suffix))
    for script, kinds in OPTIONS.items():
        for options, values in zip(kinds, (OPTION_NUMBERS, PATHS, CHOICES), strict=True):
            for option in options:
                for number, value in enumerate(values):
                    yield Case(f"{script}_{option}_{number}", partial(_run, script, option, value))
    schema = b"from configs.schema import *\n"
    for name, content in (CONFIGS | {name: schema + value for name, value in VALUES.items()}).items():
        yield Case(f"config_{name}", partial(_config, content))
    for name in ("PIPE", "FOLDER", "ZERO", "nowhere.py", "x" * 5000):
        yield Case(f"config_{name[:9]}", partial(_config_path, name))


def nonsense(name: str) -> list[str]:
    """List texts for a setting: of other types, out of its limits, and at their upper end."""
    kind = DEFAULTS[name].kind
    if name not in LIMITS:
        return list(SWITCHES if kind is bool else CHOICES if get_args(kind) else PATHS)
    least, most = (float(limit) for limit in LIMITS[name][1:-1].split(", "))
    beyond = [f"{least - 1:g}", f"{int(most) + 1}", "9" * 500]
    return [*NUMBERS, *beyond] + ([] if name in LONG else [f"{most:.0f}" if kind is int else repr(most)])


def limit_memory() -> None:
    """Let this process allocate MEMORY bytes at most: the machine is needed by others."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def fill(value: str, folder: Path) -> str:
    """Make what a value stands for in `folder`: a pipe, a folder, or a link to a device.

    Never the device itself: a script that replaces its output would, run by root, take it from the whole machine.
    """
    if value == "PIPE":
        os.mkfifo(folder / "pipe")
    if value in DEVICES:
        (folder / value).symlink_to(DEVICES[value])
    made = {"PIPE": str(folder / "pipe"), "FOLDER": str(folder)} | {name: str(folder / name) for name in DEVICES}
    return made.get(value, value)


def _train(name: str, value: str, folder: Path) -> str:
    net = DEFAULTS[name].nets[0]
    script, out = TRAIN_SCRIPTS[net].removesuffix(".py"), folder / "run"
    words = words_of(script, material(), out)[1:]
    words += ["--config", f"configs/demo_{net.replace('AVOL', 'VOL')}.py"]
    for other, text in NET_SETTINGS.get(net, {}).items():
        words += [f"--{other}", text]
    words = [str(ROOT / word) if word.startswith("configs/") else word for word in words]
    done = run_command([*words, f"--{name}={fill(value, folder)}"], cwd=folder, limit=60, prepare=limit_memory)
    is_path = DEFAULTS[name].kind is str
    shown = "frames" if name == "data.frames" else name  # what a refusal names
    found = problem(done, "" if is_path else "train.lr" if name.startswith("train.lr") else shown)
    moved = name == "train.run_dir"
    return found or ("" if done.code or moved or (out / "last.pt").exists() else "succeeds without last.pt")


def _encoder(settings: dict[str, str], named: str, folder: Path) -> str:
    words = words_of("train_AVENet", material(), folder / "run")[1:]
    words += [word for name, value in settings.items() for word in (f"--{name}", value)]
    return refusal(run_command(words, limit=60, prepare=limit_memory), named)


def _weights(value: str, suffix: str, folder: Path) -> str:
    path = fill(value, folder)
    if suffix and path != value:
        (folder / f"x{suffix}").symlink_to(path)
        path = str(folder / f"x{suffix}")
    return _encoder({"model.vision": "test_resnet", "model.vision_weights": path}, "weights", folder)


def _run(script: str, option: str, value: str, folder: Path) -> str:
    value = fill(value, folder)
    if script.startswith(("data/download", "search", "benchmark")):
        words = [f"{script}.py"]
        words += ["--csv", "nowhere.csv", "--out", str(folder / "out")] if "download" in script else []
        words += ["--collection", "nowhere"] if script == "search" else []
    else:
        words = words_of(script, material(), folder / "out")[1:]
    return problem(run_command([*words, f"--{option}={value}"], cwd=folder, limit=60, prepare=limit_memory))


def _config(content: bytes, folder: Path) -> str:
    path = folder / "mine.py"
    path.write_bytes(content)
    return refusal(run_command(["train_AVENet.py", "--config", path], limit=30, prepare=limit_memory), "mine.py")


def _config_path(name: str, folder: Path) -> str:
    path = fill(name, folder)
    return refusal(run_command(["train_AVENet.py", "--config", path], limit=30, prepare=limit_memory), "config file")
