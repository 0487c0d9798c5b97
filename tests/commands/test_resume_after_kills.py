"""tests/kill_and_resume.py, in its short and its long form."""

import pytest
from kill_and_resume import main


@pytest.mark.slow
@pytest.mark.parametrize("kills", [3, 20])
def test_a_run_killed_at_random_moments_ends_bit_for_bit_like_one_never_killed(kills, tmp_path):
    assert main(kills, seed=3, folder=tmp_path) == []
