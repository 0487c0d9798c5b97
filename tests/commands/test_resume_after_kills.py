"""tests/kill_and_resume.py, in its short and its long form."""

import pytest
from kill_and_resume import main


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_a_run_killed_at_random_moments_ends_bit_for_bit_like_one_never_killed(kills, tmp_path):
    assert main(kills, seed=3, folder=tmp_path) == []
