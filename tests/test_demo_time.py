"""The time that `make demo` announces, and that it runs the trainings that the time is computed of."""

import re
from pathlib import Path

import pytest

from docs import demo_time

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("file", ["Makefile", "README.md", "README.zh-CN.md"])
def test_each_place_that_lists_the_demos_trainings_has_the_same_settings(file):
    text = re.sub(r"\s*\\\s*", " ", (ROOT / file).read_text(encoding="utf-8"))
    for config, flags in demo_time.TRAININGS:
        line = next(line for line in text.splitlines() if f"--config {config}" in line)
        assert flags in line


def test_the_estimate_adds_up_clips_and_updates():
    """24 epochs of 46 updates, 60% of them at 64 px; then 8 epochs, half of them at 80 px; 1,820 clips."""
    fixed = demo_time.estimate_seconds(0, dict.fromkeys((64, 80, 112), 0.0), 2)
    clips = demo_time.estimate_seconds(0.5, dict.fromkeys((64, 80, 112), 0.0), 2) - fixed
    updates = demo_time.estimate_seconds(0, {64: 1.0, 80: 10.0, 112: 100.0}, 2) - fixed
    assert clips / demo_time.MORE_CLIPS == pytest.approx(1820 * 0.5 / 2)
    expected = 1104 * (0.6 * 1 + 0.4 * 100) + 368 * (0.5 * 10 + 0.5 * 100)
    assert updates == pytest.approx(expected)


def test_the_announcement_is_one_line_with_minutes_and_precision(capsys, monkeypatch):
    monkeypatch.setattr(demo_time, "time_updates", lambda config, size, seconds: 0.01 * size)
    monkeypatch.setattr(demo_time, "time_clip", lambda: 0.1)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    demo_time.main()
    assert re.fullmatch(
        r"from start to end the demo takes some \d+ minutes on the CPU of this machine "
        r"\(\d+ cores, (bf16|fp32, .*)\)\n",
        capsys.readouterr().out,
    )


def test_an_update_and_a_clip_are_measured():
    config = demo_time.configs()[0]
    assert 0 < demo_time.time_updates(config, 32, 0.0) < 60 and 0 < demo_time.time_clip() < 60
