"""Settings of short runs, and how to start, stop and check them."""

import dataclasses
import os
import subprocess
import time

from kill_and_resume import REPOSITORY, SMALL, one_thread

from configs.schema import Augment
from utils.run import read_log

DEMO = "configs/demo_AVENet.py"
# Next to no augmentation: a run of seconds has no time for it.
PLAIN = {f"augment.{field.name}": 0 for field in dataclasses.fields(Augment) if field.type is float}
PLAIN |= {"augment.crop_min": 0.9, "augment.crop_max": 1, "augment.gain": 0.1, "data.misalignment": 0.1}
# 24 training clips: 6 steps an epoch. Dropout and a running average, so that an evaluation in the wrong mode or of the
# wrong weights shows.
SETTINGS = SMALL | PLAIN | {
    "model.dropout": 0.1, "train.ema": 0.9, "train.epochs": 20, "train.lr": 3e-3, "train.workers": 0,
    "train.save_every": 7, "train.save_seconds": 0, "train.log_every": 1, "train.validate_every": 5,
}  # fmt: skip
STEPS = 120


def run(words):
    """Run a script in a process of its own, to its end."""
    return subprocess.run(words, cwd=REPOSITORY, env=one_thread(), capture_output=True, text=True, timeout=300)


def lines(run_dir, kind):
    return [line for line in read_log(run_dir) if line["kind"] == kind]


def contents(folder):
    """{path: (bytes, time of the last change)} of all files below a folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def one_sentence(done, *parts):
    """A user's mistake: exit code 2 and one line on stderr that holds `parts`; no traceback.

    A training that has begun says before on which device.
    """
    said = [line for line in done.stderr.strip().splitlines() if not line.startswith("training on ")]
    assert done.returncode == 2, done.stderr
    assert len(said) == 1 and said[0].startswith("error: "), done.stderr
    for part in parts:
        assert str(part) in said[0]
    return True


def stop_at(script, step, number, words, run_dir, to_group=False):
    """Start a training by the fixture `script`, send it a signal once it has logged `step`; the finished process."""

    def stop(process):
        deadline = time.monotonic() + 120
        while not any(line["step"] >= step for line in read_log(run_dir)):
            os.kill(process, 0)  # it lives: else ProcessLookupError
            assert time.monotonic() < deadline
            time.sleep(0.02)
        (os.killpg if to_group else os.kill)(process, number)

    return script(words, stop)
