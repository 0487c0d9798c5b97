"""The training loop on a toy net with batches in memory: what it learns, logs, validates and keeps."""

import dataclasses
import json
import re
import time
from pathlib import Path

import pytest
import torch
from torch import nn
from toy_training import batch_of, config, evaluate, lines, same, step, toy, train

from configs.schema import Model
from utils import checkpoint
from utils.config import CONFIG_VERSION, from_dict
from utils.optimizers import pair_with_average, update_ema
from utils.precision import autocast, resolve_precision


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
    assert lines(tmp_path, "train")[0]["logit_scale"] == 1.5
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


def test_the_keys_of_a_checkpoint_are_those_of_the_documentation(tmp_path):
    page = (Path(__file__).parents[2] / "docs/checkpoints.md").read_text(encoding="utf-8")
    table = page.partition("## Keys")[2].partition("\n## ")[0]
    keys = [key for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for key in re.findall(r"`(\w+)`", row)]
    train(config(tmp_path))
    assert sorted(checkpoint.load(tmp_path / "run/last.pt")) == sorted(keys)
    assert sorted(checkpoint.load(tmp_path / "run/best.pt")) == sorted(keys[: keys.index("metrics") + 1])


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
    update_ema(pair_with_average(average, model), 0.75)
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
        config(tmp_path, max_minutes=0.05, schedule="cosine", log_every=1, save_every=10**6), steps_per_epoch=10**6
    )
    passed = time.monotonic() - begin
    last = checkpoint.load(tmp_path / "run/last.pt")
    assert 3 <= last["seconds"] <= passed < 20 and best["step"] == last["step"] > 12  # its epochs don't count
    rates = [line["lr"] for line in lines(tmp_path, "train")]
    assert rates == sorted(rates, reverse=True) and rates[-1] < 0.3 * rates[0]


def test_precision_follows_the_setting():
    def product(precision):
        with autocast(torch.device("cpu"), precision):
            return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype

    assert product("bf16") == torch.bfloat16 and product("fp32") == torch.float32
    able = resolve_precision(torch.device("cpu"), "auto") == "bf16"  # without instructions for it float32 is faster
    assert product("auto") == (torch.bfloat16 if able else torch.float32)
