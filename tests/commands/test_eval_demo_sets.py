"""The demo's test sets, from data/make_demo_data.py to eval.py's measures."""

import json

import pytest
from helpers import small_checkpoint
from kill_and_resume import command
from training import run


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo") / "set"
    done = run(command("data/make_demo_data.py", {"out": root, "train": 1, "val": 1, "test": 20, "workers": 1}))
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return small_checkpoint(tmp_path_factory.mktemp("net") / "best.pt", **{"model.name": "AVOLNet"})


def evaluate(net, benchmark, root, out):
    """What eval.py measures, and what it prints."""
    done = run(command("eval.py", {"checkpoint": net, "benchmark": benchmark, "data.root": root, "out": out}))
    assert done.returncode == 0, done.stderr
    return json.loads((out / "metrics.json").read_text()), done.stdout


@pytest.mark.slow
def test_duets_are_measured_as_is3(demo, net, tmp_path):
    metrics, said = evaluate(net, "is3", demo / "duets", tmp_path)
    assert (metrics["split"], metrics["clips"], metrics["skipped"]) == ("is3", 12, 0)  # two sounds of six pictures
    assert "12 frames, 6 with several sounds" in said
    found = metrics["localization"]
    assert 0 <= found["iiou"] <= 1 and found["iiou_centre"] < 0.1 and found["iiou_ceiling"] > 0.8
    assert metrics["negative_sounds"].keys() >= {"silence", "noise", "offscreen"}


@pytest.mark.slow
@pytest.mark.parametrize("part", ["s4", "ms3"])
def test_masks_are_measured_as_avsbench(demo, net, tmp_path, part):
    metrics, said = evaluate(net, f"avsbench_{part}", demo / "masks", tmp_path)
    assert (metrics["clips"], metrics["skipped"]) == (5, 0) and "mIoU" in said
