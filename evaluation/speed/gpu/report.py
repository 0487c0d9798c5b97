"""Measure training on a GPU in under ten minutes: all nets at full size, from memory and files, on all GPUs.

    make gpu
    python -m evaluation.speed.gpu.report --json gpu.json

Prints a table for docs/many_gpus.md. Each row is measured in a process of its own, so that one that fails, as the last
batch that doubles the one before, is a row with its reason. What doesn't fit into --minutes is left out, which its row
says; the most important rows come first.
"""

import utils.startup  # isort: skip  # noqa: F401

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from evaluation.speed.gpu import script_rates
from evaluation.speed.gpu.programs import run_program
from evaluation.speed.gpu.script_rates import Settings, log_rates, run_settings, train_words
from evaluation.speed.gpu.step_rates import Request
from evaluation.speed.timing import describe_machine, device_to_measure
from utils.errors import UserError, exit_on_user_error
from utils.files import write_json

ROW_SECONDS = 150.0  # that a row may take at most
TINY: Settings = {
    "data.frame_size": 32, "data.resize_size": 36, "data.sample_rate": 8000, "model.width": 4,
}  # fmt: skip


class Net(NamedTuple):
    """A net at full size.

    Attributes:
        name: of its config, without "config_".
        clips: of a batch on one GPU.
        settings: that differ from the config.
        tiny: further ones that make it tiny.
    """

    name: str
    clips: int
    settings: Settings
    tiny: Settings


NETS = {
    net.name: net
    for net in (
        Net("AVENet", 128, {}, {"model.dim": 16}),
        Net("VOLNet", 128, {}, {}),
        Net(
            "PixelPlayer", 20, {"model.vision_weights": "none"},
            {"mix.samples": 8064, "mix.n_fft": 256, "mix.hop": 128, "mix.freq_bins": 64, "model.sound_width": 4,
             "model.unet_depth": 4, "model.num_channels": 4, "mix.frames": 1},
        ),
        Net("L3Net", 128, {}, {}),
        Net("AVENet_MF", 16, {}, {"data.frames": 8}),
        Net("AVENet_OF", 128, {}, {"data.flow_fields": 2}),
    )
}  # fmt: skip
KINDS: dict[str, Settings] = {
    "fp32, no TF32": {"train.precision": "fp32", "train.tf32": False},
    "fp32, TF32 convolutions": {"train.precision": "fp32"},
    "fp16": {"train.precision": "fp16"},
    "bf16": {"train.precision": "bf16"},
    "bf16, compiled": {"train.precision": "bf16", "train.compile": True},
    "bf16, deterministic": {"train.precision": "bf16", "train.deterministic": True},
}


class Sizes(NamedTuple):
    """How large and how long things are.

    Attributes:
        doublings: of a batch at most.
        step_seconds: that each size of a batch is measured.
        train_minutes: of a training from files.
        seconds: length of a clip.
        workers: train.workers.
        processes: of torchrun.
    """

    doublings: int
    step_seconds: float
    train_minutes: float
    seconds: int
    workers: int
    processes: int


class Row(NamedTuple):
    """A row of the table; what was not measured is None.

    Attributes:
        title: what was measured.
        clips: of an update.
        rate: clips per second.
        spread: of the rate, a share of it.
        gib: most memory of the GPU.
        waiting: share of the time without a batch.
        note: further results, or why there are none.
    """

    title: str
    clips: int
    rate: float | None = None
    spread: float | None = None
    gib: float | None = None
    waiting: float | None = None
    note: str = ""


def table_line(row: Row) -> str:
    """Format a `row` as a line of a table in Markdown."""
    figures = (
        f"{row.clips:,}" if row.clips else "",
        "" if row.rate is None else f"{row.rate:,.0f}" if row.rate >= 10 else f"{row.rate:.1f}",
        "" if row.spread is None else f"{row.spread:.0%}",
        f"{row.gib:.1f} GiB" if row.gib else "",
        "" if row.waiting is None else f"{row.waiting:.0%}",
    )
    return f"| {row.title} | {' | '.join(figures)} | {row.note.replace('|', '/')} |"


class Report:
    """Measures rows and prints them, until its time is over.

    Args:
        device: "cuda" or "cpu".
        minutes: that all may take.
        tiny: measure tiny nets, to try the report itself.
        folder: for files.

    Attributes:
        rows: that were measured.
    """

    def __init__(self, device: str, minutes: float, tiny: bool, folder: Path) -> None:
        self.device, self.tiny, self.folder, self.rows = device, tiny, folder, list[Row]()
        self.end = time.monotonic() + 60 * minutes
        gpus = torch.cuda.device_count() if device == "cuda" else 2
        self.sizes = Sizes(1, 0.2, 0.1, 2, 1, 2) if tiny else Sizes(12, 1.5, 0.35, 10, -1, gpus)

    def left(self) -> float:
        """Seconds that the next row may take; 0 or less: none."""
        return min(self.end - time.monotonic(), ROW_SECONDS)

    def add(self, row: Row) -> None:
        """Add a `row` and print it."""
        self.rows.append(row)
        print(table_line(row), flush=True)

    def settings(self, name: str) -> Settings:
        """Get the settings of the net `name` that differ from its config."""
        net = NETS[name]
        return net.settings | (TINY | net.tiny if self.tiny else {})

    def clips(self, name: str) -> int:
        """Get the clips of a batch of the net `name`."""
        return 4 if self.tiny else NETS[name].clips

    # ----------------------------------------------------------------------------------------- from memory

    def steps(self, name: str, kind: str = "", doublings: int = 0) -> None:
        """Measure steps of a net on a batch in memory.

        Args:
            name: of the net.
            kind: a key of `KINDS`; "": as in its config.
            doublings: of the batch, at most.
        """
        title = f"{name}{f', {kind}' if kind else ''}, from memory"
        changes = {**self.settings(name), **KINDS.get(kind, {})}
        request = Request(
            f"configs/config_{name}.py", changes, self.device, self.clips(name), doublings, self.sizes.step_seconds
        )
        words = ["-m", "evaluation.speed.gpu.step_rates", json.dumps(request._asdict())]
        done = run_program(words, self.device, self.left())
        found = [json.loads(line) for line in done.lines if line.startswith("{")]
        for one in found:
            rates = one.get("rate"), one.get("spread"), one.get("gib")
            self.add(Row(title, one["clips"], *rates, note=one.get("failed", "")))
        if done.code != 0:
            clips = 2 * found[-1]["clips"] if found else request.clips
            self.add(Row(title, clips, note=done.reason))

    # ------------------------------------------------------------------------------------------ from files

    def train(self, title: str, root: Path, changes: Settings, clips: int, processes: int = 1) -> Row:
        """Train AVE-Net on files for a while; returns the row, which is not added.

        Args:
            title: of the row.
            root: of the dataset.
            changes: settings.
            clips: of a batch.
            processes: of torchrun.
        """
        run_dir = Path(tempfile.mkdtemp(prefix="run_", dir=self.folder)) / "run"
        more = {
            "train.max_minutes": self.sizes.train_minutes,
            "train.log_every": 2,
            "train.workers": self.sizes.workers,
        }
        settings = run_settings(root, run_dir, clips, {**self.settings("AVENet"), **more, **changes})
        done = run_program(train_words(settings, processes), self.device, self.left())
        rates = log_rates(run_dir, clips)
        if done.code != 0 or rates is None:
            return Row(title, clips, note=done.reason if done.code != 0 else "too few steps to measure")
        note = f"loss of the first steps {rates.loss:.4f}"
        return Row(title, clips, rates.rate.median, rates.rate.spread, None, rates.waiting, note)

    def files(self) -> None:
        """Train from mp4 and from shards, in one process and in several, and resume."""
        together, processes = self.clips("AVENet"), self.sizes.processes
        root = script_rates.make_dataset(self.folder, max(together * processes, 8), self.sizes.seconds)
        self.add(self.train("AVENet, from mp4", root, {}, together))
        self.add(self.train("AVENet, from mp4, 16 samples a visit", root, {"data.samples_per_decode": 16}, together))
        built = script_rates.make_shards(root, self.device, self.left())
        if built.code != 0:
            self.add(Row("shards", 0, note=built.reason))
            return
        shards = root.parent / "shards"
        from_shards = {"data.frame_step": 0.2}
        self.add(self.train("AVENet, from shards", shards, from_shards, together))
        self.resume(shards, from_shards)
        if processes < 2:
            self.add(Row("torchrun", 0, note="one GPU is visible: several processes are not measured"))
            return
        several = from_shards | {"train.gather": "all", "augment.blend": 0, "augment.mix": 0}
        backend = "nccl" if self.device == "cuda" else "gloo"
        one = self.train("AVENet, from shards, 1 process", shards, several, together * processes)
        self.add(one)
        title = f"AVENet, from shards, {processes} processes ({backend})"
        row = self.train(title, shards, several, together * processes, processes)
        if row.rate and one.rate:
            row = row._replace(note=f"{row.note}, {row.rate / one.rate:.2f} times one process")
        self.add(row)

    def resume(self, root: Path, changes: Settings) -> None:
        """Stop a training by a signal and resume it; compare with one that was not stopped.

        Args:
            root: of the dataset.
            changes: settings.
        """
        clips = 4
        steps_per_epoch = max(self.clips("AVENet") * self.sizes.processes, 8) // clips
        more = {
            "train.epochs": max(script_rates.RESUMED_STEPS // steps_per_epoch, 1), "train.log_every": 1,
            "train.deterministic": True, "train.workers": 1,
        }  # fmt: skip
        settings = run_settings(root, self.folder / "stopped", clips, {**self.settings("AVENet"), **changes, **more})
        try:
            note = script_rates.stop_and_resume(settings, self.device, self.left())
        except (RuntimeError, UserError, OSError) as error:
            note = f"{error}"
        self.add(Row("resumed against not stopped, train.deterministic", clips, note=note))

    # ------------------------------------------------------------------------------------------------ all

    def parts(self) -> list[tuple[str, Callable[[], None]]]:
        """List what is measured, the most important first: (title, how)."""
        most = self.sizes.doublings

        def steps(name: str, kind: str = "", doublings: int = 0) -> tuple[str, Callable[[], None]]:
            return f"{name} {kind}".strip(), lambda: self.steps(name, kind, doublings)

        return [
            *(steps(name, doublings=most) for name in ("AVENet", "VOLNet", "PixelPlayer")),
            *(steps("AVENet", kind) for kind in ("fp32, no TF32", "fp32, TF32 convolutions", "fp16", "bf16")),
            ("files", self.files),
            *([] if self.tiny else [steps("AVENet", "bf16, compiled")]),  # a minute on a CPU, however tiny
            steps("AVENet", "bf16, deterministic"),
            *(steps(name, doublings=most) for name in ("L3Net", "AVENet_MF", "AVENet_OF")),
        ]

    def run(self) -> None:
        """Measure all parts for which there is time."""
        print("| what | clips | clips/s | spread | memory | waiting | note |\n|---|---|---|---|---|---|---|")
        for title, measure in self.parts():
            if self.left() < 5:
                self.add(Row(title, 0, note="left out: the time was over"))
                continue
            try:
                measure()
            except (OSError, UserError) as error:
                self.add(Row(title, 0, note=f"{error}"))


def main(argv: list[str] | None = None) -> None:
    """Measure and print the table, write the JSON; `argv` is the command line, None for that of this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to FILE")
    parser.add_argument("--minutes", type=float, default=9.5, help="that all may take [9.5]")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="[cuda]")
    parser.add_argument("--tiny", action="store_true", help="measure tiny nets, to try this report itself")
    args = parser.parse_args(argv)
    begin, about = time.monotonic(), describe_machine(device_to_measure(args.device))
    print(", ".join(f"{name} {value}" for name, value in about.items()) + "\n")
    with tempfile.TemporaryDirectory(prefix="gpu_report_") as folder:
        report = Report(args.device, args.minutes, args.tiny, Path(folder))
        report.run()
    if args.json:
        rows: list[dict[str, Any]] = [row._asdict() for row in report.rows]
        write_json(args.json, {"machine": about, "seconds": round(time.monotonic() - begin), "rows": rows})


if __name__ == "__main__":
    with exit_on_user_error():
        main()
