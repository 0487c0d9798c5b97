"""search.py: which tabs its checkpoints give, what it refuses, and that it serves them."""

import os
import re
import subprocess
import urllib.request
from pathlib import Path

import pytest
import torch
from helpers import small_checkpoint
from kill_and_resume import command

import search
from collection import storage
from collection.page_nets import choose_nets
from collection.search_index import open_search_index
from utils.errors import UserError


@pytest.fixture(scope="module")
def ave(folder):
    return small_checkpoint(folder.parent / "ave.pt", seed=3)


def tasks(nets):
    return {task: Path(path).name for task, (path, _) in nets.tasks.items()}


def test_each_checkpoint_gets_the_tab_of_what_it_can_do(folder, nets):
    name = str(folder.parent / "emb")
    alone = choose_nets("", [str(nets["apart"]), str(nets["where"])], "", {})
    assert alone.index is None and tasks(alone) == {"where": "best.pt", "apart": "pixels.pt"}
    collection = choose_nets(name, [], "", {})  # of an AVOL-Net, which also localizes
    assert collection.index and tasks(collection) == {"where": "best.pt"}
    both = choose_nets(name, [str(nets["apart"]), str(nets["where"])], "", {"train.precision": "fp32"})
    assert tasks(both) == tasks(alone) and both.tasks["where"][1]["train.precision"] == "fp32"
    assert search.describe_page(alone) == "AVOLNet; PixelPlayer"
    assert search.describe_page(both).endswith("AVOLNet; PixelPlayer")


@pytest.mark.parametrize(("name", "checkpoints", "files", "changes", "said"), [
    ("", [], "", {}, "nothing to show: give --collection NAME, --checkpoint FILE"),
    ("", ["where"], "folder", {}, "--files is the folder of a collection"),
    ("", ["ave"], "", {}, "holds AVENet, which neither localizes nor separates"),
    ("emb", ["ave"], "", {}, "holds AVENet, which neither localizes nor separates"),
    ("", ["where", "other"], "", {}, "localize sounding objects: give one checkpoint for each task"),
    ("emb", ["other"], "", {}, "localize sounding objects: give one checkpoint for each task"),
    ("emb", [], "", {"eval.flip_tta": "false"}, "--eval.flip_tta can't be changed here"),
    ("", ["where"], "", {"mix.sources": "3"}, "mix.sources"),
    ("", ["missing"], "", {}, "missing.pt"),
    ("emb", ["missing"], "", {}, "missing.pt"),
])  # fmt: skip
def test_refused_combinations_are_one_sentence(folder, nets, ave, name, checkpoints, files, changes, said):
    other = folder.parent / "other.pt"
    if not other.exists():
        small_checkpoint(other, seed=1, **{"model.name": "AVOLNet"})
    paths = {**nets, "ave": ave, "other": other, "missing": folder.parent / "missing.pt"}
    with pytest.raises(UserError) as error:
        choose_nets(name and str(folder.parent / name), [str(paths[one]) for one in checkpoints], files, changes)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_search_computes_in_the_precision_that_is_given(folder):
    collection = storage.load_collection(folder.parent / "emb.npz")
    index = open_search_index(collection, changes={"train.precision": "fp32"})
    assert index.net.config.train.precision == "fp32"
    assert index.net.embed_frames(torch.zeros(1, 36, 36, 3, dtype=torch.uint8).numpy()).dtype == torch.float32


@pytest.mark.slow
def test_the_script_serves_the_tabs_and_leaves_nothing_behind(nets, tmp_path):
    words = command("search.py", {"checkpoint": nets["apart"]}, "--checkpoint", nets["where"], "--port", 0)
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            address = re.match(r"http://\S+", server.stdout.readline())[0]
            page = urllib.request.urlopen(address, timeout=30).read().decode()
            assert "What sounds where" in page and "Take apart" in page and "panel-search" not in page
            assert len(list(tmp_path.iterdir())) == 1
        finally:
            server.terminate()
        assert server.wait(60) == 0  # to stop it is how it is meant to end
    assert list(tmp_path.iterdir()) == []
