"""The training loop on a toy net with batches in memory: what it learns, logs, keeps, and how it stops and goes on."""

import dataclasses
import json
import math
import os
import signal
import time

import pytest
import torch
from torch import nn

from configs.schema import Config, Model, Train
from utils import checkpoint, health
from utils.config import CONFIG_VERSION, from_dict
from utils.engine import autocast, fit
from utils.errors import UserError
from utils.optimizers import learning_rate, update_ema
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
    settings = {"epochs": 2, "lr": 1e-2, "log_every": 1, "save_every": 5, "precision": "fp32"} | train
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
    """All that a run ends with, except its times."""
    last, best = checkpoint.load(folder / "run/last.pt"), checkpoint.load(folder / "run/best.pt")
    kept = {name: last[name] for name in ("model", "ema", "optimizer", "step", "metrics", "best")}
    log = [{k: v for k, v in line.items() if k != "seconds"} for line in read_log(folder / "run")]
    return {"last": kept, "best": {name: best[name] for name in ("model", "ema", "step", "metrics")}, "log": log}


# ---------------------------------------------------------------------------------------------------- learning rate


@pytest.mark.parametrize(("epochs", "steps_per_epoch"), [(100, 1), (100, 7), (33, 13), (160, 45)])
def test_the_papers_schedule_multiplies_by_094_every_16_epochs(epochs, steps_per_epoch):
    settings = Train(lr=0.5, epochs=epochs, schedule="step")
    for k in range(epochs * steps_per_epoch):
        found = learning_rate(settings, k / (epochs * steps_per_epoch))
        assert found == pytest.approx(0.5 * 0.94 ** (k // (16 * steps_per_epoch)), rel=1e-12)


def test_the_cosine_goes_from_the_full_rate_to_0_after_a_linear_warm_up():
    settings = Train(lr=2.0, schedule="cosine", warmup=0.2)
    assert [learning_rate(settings, p) for p in (0.05, 0.1, 0.15)] == pytest.approx([0.5, 1.0, 1.5])
    assert [learning_rate(settings, p) for p in (0.2, 0.4, 0.6, 1.0)] == pytest.approx(
        [2.0, 1 + math.cos(math.pi / 4), 1.0, 0.0], abs=1e-12
    )
    rates = [learning_rate(settings, p / 1000) for p in range(1001)]
    peak = rates.index(max(rates))
    assert peak == 200 and rates == sorted(rates[:200]) + sorted(rates[200:], reverse=True)
    assert 0 < rates[0] < 0.01  # the first step is small, but one


def test_warm_up_goes_before_the_papers_schedule_too():
    settings = Train(lr=1.0, epochs=100, schedule="step", warmup=0.1)
    assert learning_rate(settings, 0.05) == pytest.approx(0.5)
    assert learning_rate(settings, 0.1) == 1.0 and learning_rate(settings, 0.33) == pytest.approx(0.94**2)


def test_the_loop_follows_the_schedule_step_by_step(tmp_path):
    train(config(tmp_path, schedule="cosine", warmup=0.25))
    expected = [1e-2 * p for p in (0.001, 1 / 3, 2 / 3)]
    expected += [1e-2 * (1 + math.cos(math.pi * k / 9)) / 2 for k in range(9)]
    assert [line["lr"] for line in lines(tmp_path, "train")] == pytest.approx(expected)


def test_a_group_learns_as_many_times_faster_as_its_scale_says(tmp_path):
    """Adam's first step moves every weight by the learning rate, whatever the gradient."""
    model = toy()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    body = [p for name, p in model.named_parameters() if not name.startswith("last")]
    groups = [{"params": body, "lr_scale": 1.0}, {"params": list(model.last.parameters()), "lr_scale": 20.0}]
    train(config(tmp_path, epochs=1, weight_decay=0.0), model, param_groups=groups, steps_per_epoch=1)
    assert (model.last.weight - before["last.weight"]).abs().max().item() == pytest.approx(0.2, rel=1e-3)
    assert (model.first.weight - before["first.weight"]).abs().max().item() == pytest.approx(0.01, rel=1e-3)


# ------------------------------------------------------------------------------------------------- what is learned


def test_the_loop_is_a_plain_loop_with_adam(tmp_path):
    model, _ = train(config(tmp_path, weight_decay=0.1), toy(norm=False))
    plain = toy(norm=False)
    optimizer = torch.optim.Adam(plain.parameters(), lr=1e-2, weight_decay=0.1)
    losses = []
    for number in range(12):
        loss, _ = step(plain, batch_of(number))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value)
    assert [line["loss"] for line in lines(tmp_path, "train")] == pytest.approx(losses, rel=1e-5)


@pytest.mark.parametrize(
    "chosen",
    [{"adam": ("adam", ""), "muon": ("muon", "old.pt")}, {"adam": ("auto", "old.pt"), "muon": ("auto", "")}],
    ids=["named", "auto"],
)
def test_muon_moves_the_convolutions_and_adam_the_rest(tmp_path, chosen):
    """By `auto` the start decides: another net's weights, or a random one."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.last = nn.Conv2d(1, 6, 2), nn.Linear(6, 1)

        def forward(self, x):
            return self.last(self.conv(x.view(-1, 1, 2, 2)).flatten(1))[:, 0]

    nets = {}
    for name, (setting, start) in chosen.items():
        torch.manual_seed(0)
        nets[name] = Net()
        before = nets[name].conv.weight.detach().clone()
        settings = config(tmp_path / name, epochs=1, weight_decay=0.0, optimizer=setting, lr_muon=3.0)
        settings = dataclasses.replace(settings, model=Model(init_from=start))
        train(
            settings,
            nets[name],
            param_groups=[{"params": list(nets[name].parameters()), "lr_scale": 2.0}],
            steps_per_epoch=1,
        )
        moved = (nets[name].conv.weight - before).flatten(1)
        if name == "adam":
            torch.testing.assert_close(moved.abs(), torch.full_like(moved, 2e-2), atol=1e-4, rtol=0)
        else:  # 6 x 4: its singular values are alike and times sqrt(6 / 4) about 3 times as large as the others' step
            sizes = torch.linalg.svdvals(moved) / (6e-2 * 1.5**0.5)
            assert sizes.max() < 1.3 and sizes[0] > 0.6
    for name in ("conv.bias", "last.weight", "last.bias"):
        torch.testing.assert_close(nets["muon"].state_dict()[name], nets["adam"].state_dict()[name])


def test_accumulated_batches_equal_one_bigger_batch(tmp_path):
    """Without batch norm, whose statistics are those of the small batches; the decay would show a gradient that is the
    sum instead of the mean, which Adam by itself hides."""

    def joined(start):
        for n in range(start, 1000):
            parts = [batch_of(4 * n + k) for k in range(4)]
            yield {name: torch.cat([part[name] for part in parts]) for name in ("indices", "x", "y")}

    small, _ = train(config(tmp_path / "small", grad_accum_steps=4, weight_decay=0.5), toy(norm=False))
    big, _ = train(config(tmp_path / "big", weight_decay=0.5), toy(norm=False), batches=joined)
    for name, value in big.state_dict().items():
        torch.testing.assert_close(small.state_dict()[name], value, atol=1e-5, rtol=1e-4)
    losses = [[line["loss"] for line in lines(tmp_path / which, "train")] for which in ("small", "big")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_line_of_the_log_is_the_mean_since_the_line_before(tmp_path):
    train(config(tmp_path / "each"))
    train(config(tmp_path / "some", log_every=4))
    each, some = lines(tmp_path / "each", "train"), lines(tmp_path / "some", "train")
    assert [line["step"] for line in some] == [4, 8, 12]
    for k, line in enumerate(some):
        for name in ("loss", "accuracy"):
            assert line[name] == pytest.approx(sum(e[name] for e in each[4 * k : 4 * k + 4]) / 4)


def test_what_a_step_tells_only_later_is_the_mean_of_the_steps_that_told_it(tmp_path):
    def later(model, batch):
        loss, found = step(model, batch)
        return loss, found | ({"told": torch.tensor(0.5)} if batch["number"] >= 6 else {})

    train(config(tmp_path, log_every=4, save_every=7), step=later)
    assert [line.get("told") for line in lines(tmp_path, "train")] == [None, 0.5, 0.5]


def test_a_run_of_before_such_means_goes_on(tmp_path):
    settings = config(tmp_path, log_every=4, save_every=6)
    train(dataclasses.replace(settings, train=dataclasses.replace(settings.train, epochs=1)))
    content = checkpoint.load(tmp_path / "run/last.pt")
    assert content["summed"] == {"loss": 2, "accuracy": 2}
    checkpoint.save(tmp_path / "run/last.pt", {k: v for k, v in content.items() if k != "format"} | {"summed": 2})
    train(config(tmp_path / "whole", log_every=4, save_every=6))
    train(settings, resume=True)
    ours, whole = ([line["accuracy"] for line in lines(folder, "train")] for folder in (tmp_path, tmp_path / "whole"))
    assert ours[:2] == whole[:2]


def test_metrics_that_were_renamed_keep_their_means_and_their_curves(tmp_path):
    """In the log of a run that an older version began, and between its last line and its checkpoint."""

    def scaled(model, batch):
        loss, metrics = step(model, batch)
        return loss, metrics | {"logit_scale": torch.tensor(float(batch["number"]))}

    settings = config(tmp_path, log_every=4, save_every=6)
    first_epoch = dataclasses.replace(settings, train=dataclasses.replace(settings.train, epochs=1))
    train(first_epoch, step=scaled)
    log = tmp_path / "run/log.jsonl"
    log.write_text(log.read_text().replace("logit_scale", "slope"))
    content = checkpoint.load(tmp_path / "run/last.pt")
    for name in ("sums", "summed"):
        content[name]["slope"] = content[name].pop("logit_scale")
    checkpoint.save(tmp_path / "run/last.pt", {k: v for k, v in content.items() if k != "format"})
    assert read_log(tmp_path / "run")[0]["logit_scale"] == 1.5
    train(settings, resume=True, step=scaled)
    assert [line["logit_scale"] for line in lines(tmp_path, "train")] == [1.5, 5.5, 9.5]
    assert "slope" not in log.read_text()


def test_the_running_average_equals_a_plain_loop_and_is_what_is_evaluated_and_kept(tmp_path):
    weights, evaluated = [], []

    def watched(model, batch):
        weights.append({name: value.clone().float() for name, value in model.state_dict().items()})
        return step(model, batch)

    def judge(model):
        assert not model.training and not torch.is_grad_enabled()
        evaluated.append({name: value.clone() for name, value in model.state_dict().items()})
        return evaluate(model)

    train(config(tmp_path, ema=0.5), step=watched, evaluate=judge)
    last = checkpoint.load(tmp_path / "run/last.pt")
    weights.append({name: value.float() for name, value in last["model"].items()})
    average = weights[0]
    for n, new in enumerate(weights[1:], 1):
        decay = min(0.5, (1 + n) / (10 + n))  # young averages forget the start fast
        average = {name: decay * average[name] + (1 - decay) * new[name] for name in new}
    for name, value in average.items():
        exact = weights[-1][name] if "num_batches" in name else value  # counted, not averaged
        torch.testing.assert_close(last["ema"][name].float(), exact, atol=1e-5, rtol=1e-4)
    assert same(evaluated[-1], last["ema"]) and not same(last["ema"], last["model"])
    assert same(checkpoint.evaluated_weights(last), last["ema"])


def test_without_a_running_average_the_weights_themselves_are_evaluated(tmp_path):
    evaluated = []

    def judge(model):
        assert not model.training
        evaluated.append({name: value.clone() for name, value in model.state_dict().items()})
        return evaluate(model)

    train(config(tmp_path), evaluate=judge)
    last = checkpoint.load(tmp_path / "run/last.pt")
    assert last["ema"] is None and same(evaluated[-1], checkpoint.evaluated_weights(last))


def test_average_into_moves_statistics_along_and_copies_counts():
    average, model = toy(), toy()
    with torch.no_grad():
        for value in model.state_dict().values():
            value.add_(2)
    before = {name: value.clone() for name, value in average.state_dict().items()}
    update_ema(average, model, 0.75)
    for name, value in average.state_dict().items():
        torch.testing.assert_close(value, before[name] + (2 if value.dtype == torch.int64 else 0.5))


def test_training_is_in_training_mode_again_after_a_validation(tmp_path):
    modes = []

    def watched(model, batch):
        modes.append(model.training)
        return step(model, batch)

    train(config(tmp_path), step=watched)
    assert modes == [True] * 12


def test_best_pt_is_that_of_the_best_validation_and_last_pt_the_last(tmp_path):
    scores = iter([0.6, 0.9, 0.7, 0.8])
    _, best = train(config(tmp_path, epochs=4), evaluate=lambda model: {"auc": next(scores), "loss": 1.0})
    kept, last = checkpoint.load(tmp_path / "run/best.pt"), checkpoint.load(tmp_path / "run/last.pt")
    assert best == kept["metrics"] == last["best"] == {"auc": 0.9, "loss": 1.0, "step": 12}
    assert (kept["step"], last["step"]) == (12, 24)
    assert [line["auc"] for line in lines(tmp_path, "val")] == [0.6, 0.9, 0.7, 0.8]


def test_a_later_state_within_a_standard_error_of_the_highest_value_is_kept_across_a_resume(tmp_path):
    """The bound is one error below the highest of all, also where a lower value was kept in between."""
    values = iter([0.90, 0.89, 0.875, 0.85])

    def evaluate(model):
        return {"auc": next(values), "auc_error": 0.02}

    _, best = train(config(tmp_path, epochs=2), evaluate=evaluate)
    assert (best["auc"], best["step"]) == (0.89, 12)
    _, best = train(config(tmp_path, epochs=3), resume=True, evaluate=evaluate)
    assert (best["auc"], best["step"]) == (0.89, 12)  # 0.875 is more than 0.02 below 0.90


def test_validation_comes_when_it_is_due_and_at_the_end(tmp_path):
    train(config(tmp_path, epochs=5, validate_every=2))
    assert [line["step"] for line in lines(tmp_path, "val")] == [12, 24, 30]


def test_a_checkpoint_holds_its_config(tmp_path):
    settings = config(tmp_path)
    train(settings)
    for name in ("last.pt", "best.pt"):
        content = checkpoint.load(tmp_path / "run" / name)
        assert from_dict(content["config"]) == settings and content["config_version"] == CONFIG_VERSION
    assert from_dict(json.loads((tmp_path / "run/config.json").read_text())) == settings


def test_a_run_by_the_clock_ends_in_time_with_the_schedule_at_its_end(tmp_path):
    begin = time.monotonic()
    _, best = train(
        config(tmp_path, max_minutes=0.02, schedule="cosine", log_every=10, save_every=10**6), steps_per_epoch=10**6
    )
    passed = time.monotonic() - begin
    last = checkpoint.load(tmp_path / "run/last.pt")
    assert 1.2 <= last["seconds"] <= passed < 20 and best["step"] == last["step"] > 12  # its epochs don't count
    rates = [line["lr"] for line in lines(tmp_path, "train")]
    assert rates == sorted(rates, reverse=True) and rates[-1] < 0.3 * rates[0]


def test_precision_follows_the_setting():
    def product(precision):
        with autocast(torch.device("cpu"), precision):
            return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype

    assert product("bf16") == torch.bfloat16 and product("fp32") == torch.float32
    features = torch.cpu.get_capabilities()  # bf16 without the instructions for it is slower than float32
    able = any(features.get(name) for name in ("avx512_bf16", "amx_bf16", "arm_bf16"))
    assert product("auto") == (torch.bfloat16 if able else torch.float32)


# ------------------------------------------------------------------------------------------------- stop and go on


def test_a_loss_that_is_not_finite_stops_the_run_and_spares_the_checkpoint(tmp_path):
    def breaks(model, batch):
        loss, metrics = step(model, batch)
        return (loss * math.nan if batch["number"] == 7 else loss), metrics

    with pytest.raises(UserError, match=r"not finite at step 10: lower --train\.lr.*last\.pt is from before"):
        train(config(tmp_path, epochs=9, log_every=1000), steps_per_epoch=1000, step=breaks)
    last = checkpoint.load(tmp_path / "run/last.pt")
    assert last["step"] == 5 and all(torch.isfinite(value).all() for value in last["model"].values())
    assert not (tmp_path / "run/best.pt").exists()


@pytest.mark.parametrize("validate_at", [5, 1000])
def test_weights_that_are_not_finite_after_a_finite_loss_reach_no_checkpoint(tmp_path, validate_at):
    """The gradient of a square root at 0: the loss looks fine, every weight behind it is nan."""

    def breaks(model, batch):
        loss, metrics = step(model, batch)
        if batch["number"] == 4:
            loss = loss + (0 * sum(p.sum() for p in model.parameters())).sqrt()
        return loss, metrics

    with pytest.raises(UserError, match=r"not finite at step 5.*no checkpoint"):
        train(config(tmp_path, log_every=1000), steps_per_epoch=validate_at, step=breaks)
    assert not (tmp_path / "run/last.pt").exists() and not (tmp_path / "run/best.pt").exists()


def test_a_loss_that_is_not_finite_is_noticed_at_the_next_line_of_the_log(tmp_path):
    with pytest.raises(UserError, match="at step 3"):
        train(config(tmp_path, log_every=3), step=lambda m, b: (step(m, b)[0] * math.inf, {}))
    assert lines(tmp_path, "train") == []


HARD = {"ema": 0.9, "grad_accum_steps": 2, "schedule": "cosine", "warmup": 0.2, "log_every": 4}  # all that has a state


def test_a_resumed_run_continues_bit_for_bit(tmp_path):
    """Killed after every single step in turn, with checkpoints at steps 3, 6, 9, 12."""
    train(config(tmp_path / "whole", save_every=3, **HARD))
    expected = outcome(tmp_path / "whole")
    for killed_at in range(1, 12):
        folder = tmp_path / f"killed{killed_at}"

        def dies(model, batch, killed_at=killed_at):
            if batch["number"] == 2 * killed_at + 1:
                raise RuntimeError("killed")
            return step(model, batch)

        settings = config(folder, save_every=3, **HARD)
        with pytest.raises(RuntimeError, match="killed"):
            train(settings, step=dies)
        torch.manual_seed(killed_at)  # another process has another state of the global generator
        train(settings, toy() if killed_at < 3 else Toy(), resume=True)  # before a checkpoint: from the start
        assert same(outcome(folder), expected), f"killed at step {killed_at}"


def test_a_resumed_run_asks_for_the_batch_it_would_have_seen(tmp_path):
    asked = []

    def watched(start):
        asked.append(start)
        return batches(start)

    train(config(tmp_path, epochs=1, grad_accum_steps=3), batches=watched)
    train(config(tmp_path, epochs=2, grad_accum_steps=3), resume=True, batches=watched)
    assert asked == [0, 18]


def test_a_killed_runs_log_is_cut_back_to_its_checkpoint(tmp_path):
    """Lines later than last.pt are written again; one that the kill cut short doesn't get in the way."""

    def dies(model, batch):
        if batch["number"] == 8:
            raise RuntimeError("killed")
        return step(model, batch)

    settings = config(tmp_path, epochs=3)
    with pytest.raises(RuntimeError, match="killed"):
        train(settings, step=dies)
    log = tmp_path / "run/log.jsonl"
    assert [line["step"] for line in lines(tmp_path, "train")] == list(range(1, 9))
    assert checkpoint.load(tmp_path / "run/last.pt")["step"] == 6
    with open(log, "a") as file:
        file.write('{"kind": "train", "step": 9, "lo')
    (tmp_path / "run/.last.pt.123.tmp").write_bytes(b"half a checkpoint")
    train(settings, resume=True)
    assert [line["step"] for line in lines(tmp_path, "train")] == list(range(1, 19))
    assert [line["step"] for line in lines(tmp_path, "val")] == [6, 12, 18]
    assert len(log.read_text().splitlines()) == 18 + 3
    assert not list((tmp_path / "run").glob(".*"))


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_anew(tmp_path, capsys):
    def dies(model, batch):
        if batch["number"] == 3:
            raise RuntimeError("killed")
        return step(model, batch)

    with pytest.raises(RuntimeError, match="killed"):
        train(config(tmp_path / "a"), step=dies)
    train(config(tmp_path / "a"), resume=True)
    assert "no checkpoint yet: starting from the beginning" in capsys.readouterr().err
    train(config(tmp_path / "b"))
    assert same(outcome(tmp_path / "a"), outcome(tmp_path / "b"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_writes_a_checkpoint_says_how_to_resume_and_loses_nothing(tmp_path, capsys, number):
    def interrupted(model, batch):
        if batch["number"] == 3:
            os.kill(os.getpid(), number)
        return step(model, batch)

    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as stop:
        train(config(tmp_path / "a"), step=interrupted)
    assert stop.value.code == 130 and signal.getsignal(number) == before
    assert checkpoint.load(tmp_path / "a/run/last.pt")["step"] == 4
    assert "stopped at step 4" in (said := capsys.readouterr().err) and "--resume" in said
    train(config(tmp_path / "a"), resume=True)
    assert "resuming" in capsys.readouterr().err
    train(config(tmp_path / "b"))
    assert same(outcome(tmp_path / "a"), outcome(tmp_path / "b"))


def test_a_second_interrupt_does_not_wait(tmp_path):
    def interrupted(model, batch):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return step(model, batch)

    with pytest.raises(KeyboardInterrupt):
        train(config(tmp_path), step=interrupted)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_batch_that_is_too_large_for_the_gpu_is_one_sentence(tmp_path):
    def full(model, batch):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(UserError, match=r"lower --train\.batch_size \(128\) and.* raise --train\.grad_accum_steps"):
        train(config(tmp_path), step=full)


def test_a_complete_run_has_nothing_left_and_more_epochs_go_on(tmp_path, capsys):
    model, best = train(config(tmp_path))
    before = outcome(tmp_path)
    again, best_again = train(config(tmp_path), resume=True)
    assert "is complete at step 12" in capsys.readouterr().err
    assert best_again == best and same(again.state_dict(), model.state_dict()) and same(outcome(tmp_path), before)
    train(config(tmp_path, epochs=3), resume=True)
    assert checkpoint.load(tmp_path / "run/last.pt")["step"] == 18


def test_a_stall_is_told_once_with_its_cause(tmp_path, capsys):
    asked = []

    def diagnose(means):
        asked.append(means)
        alike = means | {"accuracy": 0.5, "logit_std": 0.001, "cosine_frames": 0.1, "cosine_sounds": 0.1}
        return health.diagnose_avc(alike | {"logit_scale": (-0.3 if len(asked) < 4 else 0.3) * len(asked)})

    train(config(tmp_path, epochs=2, log_every=10, save_every=1000), steps_per_epoch=75, diagnose=diagnose)
    warnings = lines(tmp_path, "warning")  # not before it had a chance to learn; a new cause is new
    assert [line["step"] for line in warnings] == [100, 130]
    assert "logit scale is -0.30" in warnings[0]["message"] and "last_layer_lr_mult" in warnings[1]["message"]
    assert capsys.readouterr().err.count("warning: training is stuck") == 2
    assert len(asked) == 6 and {"loss", "accuracy"} <= asked[0].keys()


def test_no_diagnosis_no_warning(tmp_path):
    train(config(tmp_path, log_every=10, save_every=1000), steps_per_epoch=75, diagnose=lambda means: None)
    assert lines(tmp_path, "warning") == []


# --------------------------------------------------------------------------------------------------- run directory


@pytest.mark.parametrize("name", ["last.pt", "best.pt", "log.jsonl"])
def test_a_directory_that_holds_a_run_is_never_overwritten(tmp_path, name):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / name).write_bytes(b"precious")
    with pytest.raises(UserError, match=rf"run already holds a run \({name}\): resume .*--resume.*--train\.run_dir"):
        Run(config(tmp_path))
    assert (folder / name).read_bytes() == b"precious" and len(list(folder.iterdir())) == 1


def test_a_finished_run_is_refused_and_stays_as_it_is(tmp_path):
    train(config(tmp_path))
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="already holds a run"):
        train(config(tmp_path))
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_a_start_that_failed_before_its_first_step_holds_no_run(tmp_path):
    Run(config(tmp_path))
    Run(config(tmp_path))


def test_other_files_in_the_directory_are_left_alone(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/notes.txt").write_text("mine")
    train(config(tmp_path))
    assert (tmp_path / "run/notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "change",
    [{"lr": 0.5}, {"grad_accum_steps": 2}, {"ema": 0.9}, {"seed": 1}, {"schedule": "cosine"}, {"batch_size": 64}],
)
def test_a_run_is_not_resumed_with_settings_that_change_what_it_learns(tmp_path, change):
    train(config(tmp_path))
    (name, value), *_ = change.items()
    with pytest.raises(UserError, match=rf"started with train\.{name} \S+, not {value}: resume it with the same"):
        Run(config(tmp_path, **change), resume=True)
    other = dataclasses.replace(config(tmp_path), model=dataclasses.replace(Config().model, width=8))
    with pytest.raises(UserError, match=r"model\.width 64, not 8"):
        Run(other, resume=True)


def test_a_run_is_resumed_with_settings_that_change_where_it_reads_and_how_long_it_runs(tmp_path):
    train(config(tmp_path))
    moved = config(tmp_path, epochs=9, max_minutes=3.0, workers=0, log_every=7, save_every=8)
    moved = dataclasses.replace(moved, data=dataclasses.replace(moved.data, root="elsewhere", cache_gb=2.0))
    run = Run(dataclasses.replace(moved, eval=dataclasses.replace(moved.eval, k=5)), resume=True)
    assert run.resumed["step"] == 12
    assert from_dict(json.loads((tmp_path / "run/config.json").read_text())).train.epochs == 9


def test_a_damaged_last_pt_is_one_sentence(tmp_path):
    train(config(tmp_path))
    last = tmp_path / "run/last.pt"
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"last\.pt is damaged"):
        Run(config(tmp_path), resume=True)


def test_a_copy_of_best_pt_cannot_be_resumed_and_says_so(tmp_path):
    train(config(tmp_path))
    (tmp_path / "run/last.pt").write_bytes((tmp_path / "run/best.pt").read_bytes())
    with pytest.raises(UserError, match=r"last\.pt can't be resumed.*--model\.init_from"):
        Run(config(tmp_path), resume=True)


def test_a_run_directory_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UserError, match=r"run directory .*run can't be written .*--train\.run_dir"):
        Run(config(tmp_path))


# ---------------------------------------------------------------------------------------------------- skipped clips


class Split:
    def __init__(self, **skipped):
        self.skipped = skipped


def test_skipped_clips_are_listed_once_each_also_over_a_resume(tmp_path, capsys):
    for resume in (False, True):
        run = Run(config(tmp_path), resume)
        skipped = run.skip_handler("skip", {"train": Split(a="a has no sound"), "val": Split()})
        skipped("b", "b is damaged")
        skipped("b", "b is damaged")
        run.write("train", 0, loss=1.0)
        run.close()
        found = [(line["clip"], line["reason"]) for line in lines(tmp_path, "skipped")]
        assert found == [("a", "a has no sound"), ("b", "b is damaged")]
        if not resume:
            train_later(run)
    assert "skipped (2): b is damaged" in capsys.readouterr().err


def train_later(run):
    """Leave a checkpoint to resume from, as the loop would."""
    settings = dataclasses.asdict(run.config)
    checkpoint.save(run.last, {"config": settings, "step": 1, "optimizer": {}, "model": {}})


def test_a_clip_that_cannot_be_read_stops_the_run_by_default(tmp_path):
    with pytest.raises(UserError, match="a has no sound"):
        Run(config(tmp_path)).skip_handler("stop", {"train": Split(a="a has no sound")})
