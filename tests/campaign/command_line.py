"""Campaign: words on the command line that make no sense."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.campaign.case import Case, refusal, run_command

SCRIPTS = (
    "train_AVENet.py",
    "train_VOLNet.py",
    "train_PixelPlayer.py",
    "eval.py",
    "embed.py",
    "search.py",
    "separate.py",
    "benchmark.py",
    "data/check_data.py",
    "data/build_shards.py",
    "data/train_val_split_small.py",
    "data/select_data_by_genre.py",
    "data/make_demo_data.py",
    "data/download_metadata.py",
    "data/download_video_audio.py",
)
WORDS = (["--no_such_option"], ["--no_such_option", "1"], ["a", "b", "c", "d", "e"])


def cases() -> Iterator[Case]:
    """Give each script unknown options and too many arguments."""
    for script in SCRIPTS:
        for number, words in enumerate(WORDS):
            yield Case(f"{script}_{number}", partial(_refused, script, words))


def _refused(script: str, words: list[str], folder: Path) -> str:
    return refusal(run_command([script, *words], cwd=folder))
