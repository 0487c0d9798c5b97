"""A toy net trained by the real loop, with batches in memory."""

import dataclasses

import torch
from torch import nn

from configs.schema import Config, Train
from utils import checkpoint
from utils.engine import fit
from utils.run import Run, read_log


class Toy(nn.Module):
    """Two layers, with everything that could go wrong in a resume: batch norm, dropout."""

    def __init__(self, norm=True):
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.norm = nn.BatchNorm1d(8) if norm else nn.Identity()
        self.drop = nn.Dropout(0.3 if norm else 0.0)
        self.last = nn.Linear(8, 1)

    def forward(self, x):
        return self.last(self.drop(torch.relu(self.norm(self.first(x)))))[:, 0]


def toy(norm=True):
    torch.manual_seed(0)
    return Toy(norm)


def batch_of(number, size=6):
    """Batch number `number`, always the same."""
    x = torch.randn(size, 4, generator=torch.Generator().manual_seed(number))
    return {"indices": torch.arange(size), "x": x, "y": x.sum(1), "number": number}


def batches(start):
    """Endless batches from number `start`, as the data's loader gives them."""
    while True:
        yield batch_of(start)
        start += 1


def step(model, batch):
    loss = (model(batch["x"]) - batch["y"]).square().mean()
    return loss, {"accuracy": (loss < 1).float()}


def evaluate(model):
    batch = batch_of(10_000, 64)
    return {"auc": -(model(batch["x"]) - batch["y"]).square().mean().item()}


def config(folder, **train):
    """Twelve steps, two epochs of six, with a line of the log for each, unless told otherwise."""
    settings = {"epochs": 2, "lr": 1e-2, "log_every": 1, "save_every": 5, "save_seconds": 0} | train
    settings = {"precision": "fp32"} | settings
    return dataclasses.replace(Config(), train=Train(run_dir=str(folder / "run"), **settings))


def train(config, model=None, resume=False, param_groups=None, steps_per_epoch=6, batches=batches, step=step,
          evaluate=evaluate, diagnose=None):  # fmt: skip
    """Run the loop; returns the model and what `fit` returned."""
    model = toy() if model is None else model
    best = fit(
        model, Run(config, resume),
        param_groups=param_groups or [{"params": list(model.parameters()), "lr_scale": 1.0}], batches=batches,
        steps_per_epoch=steps_per_epoch, step=step, evaluate=evaluate, best="auc", diagnose=diagnose,
    )  # fmt: skip
    return model, best


def lines(folder, kind):
    return [line for line in read_log(folder / "run") if line["kind"] == kind]


def same(one, other):
    """Whether two nested structures of tensors and numbers are equal, bit for bit."""
    if torch.is_tensor(one):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def outcome(folder):
    """All that a run ends with, except its times and how often it was started."""
    last, best = checkpoint.load(folder / "run/last.pt"), checkpoint.load(folder / "run/best.pt")
    kept = {name: last[name] for name in ("model", "ema", "optimizer", "step", "metrics", "best")}
    log = [line for line in read_log(folder / "run") if line["kind"] != "start"]
    log = [{k: v for k, v in line.items() if k not in ("seconds", "waiting")} for line in log]
    return {"last": kept, "best": {name: best[name] for name in ("model", "ema", "step", "metrics")}, "log": log}
