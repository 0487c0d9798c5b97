"""Sums of metrics: each by its name, weighted, and apart from what they were computed from."""

import torch

from utils.metric_sums import add_metrics


def test_each_metric_is_added_to_its_sum_and_new_ones_begin_at_zero():
    sums = add_metrics({}, {"loss": torch.tensor(2.0), "accuracy": torch.tensor(0.5, dtype=torch.bfloat16)}, 3.0)
    sums = add_metrics(sums, {"loss": torch.tensor(1.0, requires_grad=True), "overflows": torch.tensor(1)})
    assert {name: value.item() for name, value in sums.items()} == {"loss": 7.0, "accuracy": 1.5, "overflows": 1.0}
    assert all(value.dtype == torch.float32 and not value.requires_grad for value in sums.values())


def test_a_metric_that_is_a_weight_stays_as_it_is():
    weight = torch.tensor(3.0)
    sums = add_metrics({}, {"scale": weight})
    sums = add_metrics(sums, {"scale": weight})
    assert weight == 3 and sums["scale"] == 6
