"""Kill a short training with SIGKILL at random moments, resume it each time, compare it with one never killed.

    python tests/kill_and_resume.py --kills 20

Exit code 0: both ended with the same weights, optimizer, metrics and log, bit for bit, and the checkpoints could be
read after every kill. Some kills hit the start of the run, some a step, a validation or the writing of a checkpoint.
"""

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

import torch  # noqa: E402
from helpers import make_dataset  # noqa: E402

from utils import checkpoint  # noqa: E402
from utils.run import read_log  # noqa: E402

# A net and a dataset so small that a step takes milliseconds, with everything that keeps state from step to step:
# dropout, a running average, accumulated batches, a warm-up, augmentation, a loader process.
SMALL = {
    "data.frame_size": 32, "data.resize_size": 36, "data.sample_rate": 8000, "data.cache_gb": 0.02,
    "spectrogram.n_mels": 32, "model.width": 4, "model.dim": 16, "train.batch_size": 4,
}  # fmt: skip
SETTINGS = SMALL | {
    "model.dropout": 0.2, "train.grad_accum_steps": 2, "train.negatives": "one", "train.ema": 0.9, "train.workers": 1,
    "train.optimizer": "muon",
    "train.save_every": 2, "train.save_seconds": 0, "train.log_every": 3, "train.validate_every": 2,
}  # fmt: skip
STEPS_PER_EPOCH = 3  # of 24 clips
NOT_THE_SAME = {"seconds", "last_validation", "run_dir", "waiting"}  # what two equal runs may differ in


def command(script, settings=(), *words):
    """The words of `python SCRIPT WORDS --NAME VALUE ...`, to be run in the repository's root."""
    settings = [word for name, value in dict(settings).items() for word in (f"--{name}", str(value))]
    return [sys.executable, script, *map(str, words), *settings]


def train_command(root, run_dir, settings, *words, script="train_AVENet.py", config="configs/demo_AVENet.py"):
    """The words that train on the dataset `root` in `run_dir`."""
    places = {"data.root": root, "train.run_dir": run_dir}
    return command(script, {**places, **settings}, "--config", config, *words)


def one_thread():
    """The environment of a training that leaves the other cores alone."""
    return os.environ | {"OMP_NUM_THREADS": "1"}


def differences(one, other, place=""):
    """Where two nested dicts or lists of tensors and numbers differ, bit for bit: list of str."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        keys = [key for key in one if key not in NOT_THE_SAME]
        return [found for key in keys for found in differences(one[key], other[key], f"{place}/{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [found for k, (a, b) in pairs for found in differences(a, b, f"{place}/{k}")]
    if torch.is_tensor(one) and torch.is_tensor(other):
        return [] if one.dtype == other.dtype and torch.equal(one, other) else [place]
    return [] if type(one) is type(other) and one == other else [place]


def compare(one, other):
    """Where two finished run directories differ in their checkpoints, log and config: list of str."""
    found = []
    for name in ("last.pt", "best.pt"):
        found += differences(checkpoint.load(one / name), checkpoint.load(other / name), name)
    found += differences(learned(one), learned(other), "log.jsonl")
    found += differences(*(json.loads((run / "config.json").read_text()) for run in (one, other)), "config.json")
    return found


def learned(run_dir):
    """The lines of a run's log without those of its starts."""
    return [line for line in read_log(run_dir) if line["kind"] != "start"]


def live_and_kill(words, run_dir, rng, to_log):
    """Run `words` and kill it at a random moment. Returns (how, exit code): -9 killed, else it ended by itself."""
    seen = len(read_log(run_dir))
    how = rng.choice(["start", "step", "validating", "writing", "writing"])
    lines = rng.randint(1, 3)
    process = subprocess.Popen(words, **to_log)
    try:
        if how == "start":
            time.sleep(rng.uniform(0, 4))
        else:  # the start takes seconds and learns nothing: wait until it is past
            while process.poll() is None and len(read_log(run_dir)) < seen + lines:
                time.sleep(0.002)
            if how == "step":
                time.sleep(rng.uniform(0, 0.05))
            elif how == "validating":
                while process.poll() is None and not is_validating(run_dir):
                    time.sleep(0.001)
                time.sleep(rng.uniform(0, 0.05))
            else:
                before = checkpoint_files(run_dir)
                while process.poll() is None and checkpoint_files(run_dir) == before:
                    pass
                time.sleep(rng.choice([0, rng.uniform(0, 0.003)]))
    finally:
        process.kill()
    return how, process.wait()


def is_validating(run_dir):
    """Whether the last line of the log is of the step after which it validates."""
    last = read_log(run_dir)[-1:]
    step = last[0]["step"] if last and last[0]["kind"] == "train" else 1
    return step % (STEPS_PER_EPOCH * SETTINGS["train.validate_every"]) == 0


def checkpoint_files(run_dir):
    """What is seen to change while a checkpoint is written: {name: (size, time of the last change)}."""
    found = {}
    for path in run_dir.glob("*.pt*"):
        with contextlib.suppress(FileNotFoundError):  # renamed meanwhile
            found[path.name] = (path.stat().st_size, path.stat().st_mtime_ns)
    return found


def readable(run_dir):
    """The steps of the checkpoints that lie there; one that can't be read raises."""
    names = [name for name in ("last.pt", "best.pt") if (run_dir / name).exists()]
    found = {name: checkpoint.load(run_dir / name)["step"] for name in names}
    return ", ".join(f"{name} of step {step} is readable" for name, step in found.items()) or "no checkpoint yet"


def main(kills, seed, folder):
    """Run both, and return what differs: list of str, empty if all is well."""
    rng = random.Random(seed)
    root = make_dataset(folder / "data", train=24, val=6, test=0)
    settings = SETTINGS | {"train.epochs": (10 * kills + 30) // STEPS_PER_EPOCH}
    whole, killed = folder / "whole", folder / "killed"
    with open(folder / "output.txt", "w+") as log:
        to_log = {"cwd": REPOSITORY, "env": one_thread(), "stdout": log, "stderr": log}
        subprocess.run(train_command(root, whole, settings), check=True, **to_log)
        words = train_command(root, killed, settings, "--resume")
        for k in range(kills):
            before = set(killed.glob(".*.tmp"))
            how, code = live_and_kill(words, killed, rng, to_log)
            writing = set(killed.glob(".*.tmp")) - before  # its half-written file
            print(f"kill {k + 1:2}, {how:7}: {readable(killed)}{', amid a file' if writing else ''}", flush=True)
            if code != -9:
                log.seek(0)
                return [f"the run ended by itself with exit code {code} before kill {k + 1}:\n{log.read()}"]
        subprocess.run(words, check=True, **to_log)
    found = compare(whole, killed)
    if len(found) > 8:
        found[8:] = [f"and {len(found) - 8} more differences"]
    return found + [f"{path.name} was left behind" for path in killed.glob(".*.tmp")]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="how often it is killed [20]")
    parser.add_argument("--seed", type=int, default=0, help="of the moments [0]")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = main(args.kills, args.seed, Path(temporary))
    print("\n".join(found) or f"killed {args.kills} times, the run ended bit for bit like the one never killed")
    sys.exit(1 if found else 0)
