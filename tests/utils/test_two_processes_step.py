"""Several processes train weights that are unused at the start of a run, and compiled modules, as one process does."""

import shutil

import pytest
import torch
from processes import import_once, together
from torch import nn
from toy_training import batch_of, config

from configs.schema import Train
from utils import distributed, engine
from utils.engine import fit
from utils.kernels import compile_encoders
from utils.run import Run

UNTIL = 0.35  # of the run: then the second layer learns too


class Branches(nn.Module):
    """Two layers, of which the second one has no gradient at the start of a run."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 1), nn.Linear(4, 1)


def step(model, batch):
    answer = model.first(batch["x"])[:, 0]
    if batch["progress"] >= UNTIL:
        answer = answer + model.second(batch["x"])[:, 0]
    return (answer - batch["y"]).square().mean(), {}


def own_rows(start):
    """Each process's part of every batch."""
    number, count = distributed.rank(), distributed.world_size()
    while True:
        batch = batch_of(start)
        yield {key: value[number::count] if torch.is_tensor(value) else value for key, value in batch.items()}
        start += 1


def run(folder, compile=False):
    """Train; returns the weights at the end and how often a search began or ended: [whether it searches]."""
    searches, average = [], engine.average_gradients

    def record(module, unused):
        searches.append(unused)
        return average(module, unused)

    engine.average_gradients = record
    torch.manual_seed(0)
    model = Branches()
    compile_encoders([model.first], Train(compile=compile))
    fit(
        model, Run(config(folder, grad_accum_steps=2, compile=compile)),
        param_groups=[{"params": list(model.parameters()), "lr_scale": 1.0}], batches=own_rows, steps_per_epoch=6,
        step=step, evaluate=lambda model: {"auc": 0.5}, best="auc", unused_until=UNTIL,
    )  # fmt: skip
    engine.average_gradients = average
    return {name: value.clone() for name, value in model.state_dict().items()}, searches


@pytest.fixture(autouse=True, scope="module")
def _imports_once():
    yield from import_once()


def test_the_search_ends_when_all_weights_are_used_and_two_processes_train_as_one(tmp_path):
    alone, _ = run(tmp_path / "alone")
    both = together(2, tmp_path, run, tmp_path / "both")
    assert [process.code for process in both] == [0, 0], [process.err for process in both]
    for weights, searches in (process.result for process in both):
        assert searches == [True, False]
        for name, value in alone.items():
            torch.testing.assert_close(weights[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler: install g++")
def test_two_processes_train_compiled_as_one_does_without(tmp_path):
    alone, _ = run(tmp_path / "alone")
    both = together(2, tmp_path, run, tmp_path / "both", True)
    assert [process.code for process in both] == [0, 0], [process.err for process in both]
    assert "compiled encoders" in "".join(process.err for process in both)
    for weights, _ in (process.result for process in both):
        assert weights.keys() == alone.keys()
        for name, value in alone.items():
            torch.testing.assert_close(weights[name], value, rtol=1e-5, atol=1e-6)
