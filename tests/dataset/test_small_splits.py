"""When a split is too small to measure on."""

import numpy as np
import pytest

from dataset.small_splits import warn_of_small_splits


def test_the_standard_error_is_that_of_repeated_draws():
    accuracies = np.random.default_rng(0).binomial(25, 0.5, 100_000) / 25
    assert f"±{accuracies.std():.2f} (" in warn_of_small_splits({"val": 25})


@pytest.mark.parametrize(("counts", "said"), [
    ({"val": 100, "test": 5000}, ""),
    ({"train": 3, "val": 100}, ""),
    ({"val": 0}, ""),
    ({"train": 80, "val": 1}, "val has 1 clip: an accuracy measured there has a standard error of up to ±0.50 "),
    ({"val": 25, "test": 4}, "val has 25 clips and test has 4 clips: an accuracy measured there has a standard error "
                             "of up to ±0.10 and ±0.25 "),
])  # fmt: skip
def test_a_small_split_is_told_in_one_sentence(counts, said):
    told = warn_of_small_splits(counts)
    assert told.startswith(said) and "\n" not in told and bool(told) == bool(said)
