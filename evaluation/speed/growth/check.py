"""How data/check_data.py grows with the number of clips, beside the reading of each clip, which takes 30 ms."""

import json
import tempfile
from pathlib import Path

from evaluation.speed.growth.resource_use import command_use

ROOT = Path(__file__).parents[3]  # of the repository


def measure(size: int) -> dict[str, float]:
    """Measure the check of clips that are empty files, so that reading them takes no time, and a check resumed.

    The first check refuses all clips, the worst that can be; the other one finds the results of clips that are ok.

    Args:
        size: clips.

    Returns:
        "cpu_seconds", "peak_mb": of the first, beyond those of a dataset of one clip; "resumed_cpu_seconds",
        "resumed_peak_mb": of the other.
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
        first = command_use(words)
        _make_ok(Path(folder, "check.results.jsonl"))
        return first | {f"resumed_{name}": value for name, value in command_use(words).items()}


def _make_ok(path: Path) -> None:
    """Rewrite kept results so that all clips are ok, and no two the same."""
    head, *lines = path.read_text().splitlines()
    with open(path, "w") as file:
        print(head, file=file)
        for k, line in enumerate(lines):
            ok = {"kind": "ok", "message": "", "seconds": 10.0, "loudness": -20.0, "digest": f"{k:064x}"}
            print(json.dumps(json.loads(line) | ok), file=file)
