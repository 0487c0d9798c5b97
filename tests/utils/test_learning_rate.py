"""The learning rate at each step: schedules, warm-up, and groups that learn faster."""

import math

import pytest
from toy_training import config, lines, toy, train

from configs.schema import Train
from utils.optimizers import learning_rate


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
