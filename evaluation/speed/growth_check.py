"""How data/check_data.py grows with the number of clips, beside the reading of each clip, which takes 30 ms."""

import json
import tempfile
from pathlib import Path

from evaluation.speed.resource_use import command_use

ROOT = Path(__file__).parents[2]  # of the repository


def measure(size: int) -> dict[str, float]:
    """Measure the check of clips that are empty files, so that reading them takes no time, and the same check resumed.

    Args:
        size: clips.

    Returns:
        "cpu_seconds", "peak_mb": beyond those of a dataset of one clip; "resumed_cpu_seconds", when all have a result.
    """
    few, many = _check(1), _check(size)
    return {name: max(many[name] - few[name], 0.0) for name in many}


def _check(size: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        split = Path(folder, "train")
        for kind, suffix in (("video", "mp4"), ("audio", "wav")):
            (split / kind).mkdir(parents=True)
            for k in range(size):
                (split / kind / f"clip{k:07d}.{suffix}").touch()
        (split / "vid2genre.json").write_text(json.dumps({f"clip{k:07d}": [] for k in range(size)}))
        words = [str(ROOT / "data" / "check_data.py"), folder, "--workers", "1"]
        first, resumed = command_use(words), command_use(words)
        return first | {"resumed_cpu_seconds": resumed["cpu_seconds"]}
