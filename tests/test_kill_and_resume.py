"""The short form of tests/kill_and_resume.py."""

from kill_and_resume import main


def test_a_run_killed_at_random_moments_ends_bit_for_bit_like_one_never_killed(tmp_path):
    assert main(kills=3, seed=3, folder=tmp_path) == []
