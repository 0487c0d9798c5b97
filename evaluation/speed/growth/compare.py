"""How eval.py --compare grows with the length of a run: its log is read and its curves are thinned."""

import json
import tempfile
from pathlib import Path

from evaluation.report.curves import COMPARED_CURVES, ThinnedLog, compare_charts
from evaluation.speed.growth.resource_use import measure_use
from utils.run import iterate_log

METRICS = 20  # of a line


def measure(size: int) -> dict[str, float]:
    """Measure how the log of a made-up run is read and drawn.

    Args:
        size: lines of the log.

    Returns:
        "cpu_seconds", "peak_mb" (see `measure_use`), "log_size", MB.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "log.jsonl")
        with open(path, "w", encoding="utf-8") as file:
            for step in range(size):
                values = {f"metric_{k}": step / (k + 1) for k in range(METRICS)}
                line = {"kind": "train", "step": step, "seconds": step / 10, "loss": 1 / (step + 1), "auc": 0.5}
                file.write(json.dumps(line | values) + "\n")
        with measure_use() as use:
            compare_charts({"run": ThinnedLog(iterate_log(folder), COMPARED_CURVES)})
        return use | {"log_size": path.stat().st_size / 1e6}
