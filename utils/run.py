"""A run's directory: its config, log and checkpoints. A directory that holds a run is never overwritten."""

import json
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from torch import nn
from tqdm import tqdm

from configs.schema import Config
from utils import checkpoint, distributed
from utils.agreement import Clips, check_shared_folder
from utils.config import Value, from_dict, old_frame_net, to_dict
from utils.errors import UserError
from utils.files import read_file, regular_size, write_text
from utils.live_report import LiveReport
from utils.locks import lock_folder
from utils.tensorboard_log import TensorBoardLog
from utils.wandb_log import WandbLog, require_wandb

# Settings that may differ when a run is resumed: they change where it reads and how long it runs, not what it learns.
FREE_ON_RESUME = (
    "data.root", "data.on_error", "data.cache_gb", "data.features_dir", "train.run_dir", "train.epochs",
    "train.max_minutes", "train.workers", "train.log", "train.log_every", "train.save_every",
    "train.save_seconds", "train.compile", "train.deterministic", "eval.",
)  # fmt: skip
# Metrics that were renamed: what logs of older versions call them.
RENAMED_METRICS = {
    "contrast": "mask_difference", "cosine_pairs": "cosine_gap", "distance_spread": "distance_std",
    "logit_spread": "logit_std", "matched": "avc_accuracy", "slope": "logit_scale",
}  # fmt: skip

SkipHandler = Callable[[str, str], None]  # called with the id and the error message of a clip that can't be read


class Split(Clips, Protocol):
    """Clips of a split, of which some could not be opened."""

    @property
    def skipped(self) -> Mapping[str, str]:
        """{id: error message} of those that could not."""
        ...


class Run:
    """An open run directory. Of several processes, only process 0 reads, writes and locks it.

    Args:
        config: the run's settings.
        resume: continue the run that the directory holds.

    Attributes:
        folder: the directory, train.run_dir.
        last, best: paths of the checkpoints.
        resumed: content of last.pt if the run is resumed, else None; in every process.
        state: "running", and after `close` "complete" or "stopped".

    Raises:
        UserError: the directory holds a run and `resume` is false, or a run with other settings and it is true; or
            another training is running in it.
    """

    def __init__(self, config: Config, resume: bool = False) -> None:
        self.config, self.folder = config, Path(config.train.run_dir)
        self.last, self.best = self.folder / "last.pt", self.folder / "best.pt"
        self.resumed: dict[str, Any] | None = None
        self.state = "running"
        self._log = self.folder / "log.jsonl"
        self._tracker: TensorBoardLog | WandbLog | None = None
        self._report: LiveReport | None = None
        self._on_skip: SkipHandler | None = None
        self._unsynced: list[tuple[str, str]] = []  # skipped by this process, not yet known to process 0
        self._lock = ExitStack()
        weakref.finalize(self, self._lock.close)  # a script that fails before `close` ends without it
        if distributed.rank() == 0:
            self._open(resume)
        check_shared_folder(self.folder)
        self.resumed = distributed.broadcast_object(self.resumed)

    # ---------------------------------------------------------------------------------------------------- opening

    def _open(self, resume: bool) -> None:
        self._lock.enter_context(lock_folder(self.folder, "--train.run_dir"))
        try:
            self._check_and_prepare(resume)
        except BaseException:
            self._lock.close()
            raise

    def _check_and_prepare(self, resume: bool) -> None:
        if self.config.train.log == "wandb":
            require_wandb()
        files = [name for name in ("last.pt", "best.pt", "log.jsonl", "config.json") if (self.folder / name).exists()]
        if files == ["log.jsonl", "config.json"] and self._is_log_of_starts():
            files = []  # left by a start that failed before its first step
        if files and not resume:
            raise UserError(
                f"{self.folder} already holds a run ({', '.join(files)}): resume it with --resume, or choose another "
                "directory with --train.run_dir"
            )
        if resume and self.last.exists():
            self.resumed = checkpoint.load(self.last)
            self._check_resumable(self.resumed)
        elif resume and self.best.exists():
            raise UserError(
                f"{self.folder} holds best.pt but no last.pt, from which the run could be resumed: start another run "
                "with another --train.run_dir and --model.init_from"
            )
        elif resume:
            self.log_message(f"{self.folder} holds no checkpoint yet: starting from the beginning")
        try:
            self._prepare_folder()
        except OSError as error:
            raise UserError(
                f"run directory {self.folder} can't be written ({error.strerror}): choose another one with "
                "--train.run_dir"
            ) from None

    def _is_log_of_starts(self) -> bool:
        """Whether the log has no lines but those that say on which device a start was."""
        count = len(read_file(self._log).splitlines())
        return [line["kind"] for line in read_log(self.folder)] == ["start"] * count

    def _check_resumable(self, content: dict[str, Any]) -> None:
        """Raise a UserError unless last.pt has all that resuming needs, and the settings of this run."""
        if "optimizer" not in content:
            raise UserError(
                f"{self.last} can't be resumed, it may be a copy of best.pt: start another run from it with "
                "--model.init_from"
            )
        checkpoint.check_content(content, self.last)
        started = from_dict(content["config"], self.last, content.get("config_version", 1))
        stored, differences = to_dict(started), list[tuple[str, Value, Value]]()
        for section, values in to_dict(self.config).items():
            for key, value in values.items():
                name, old = f"{section}.{key}", stored.get(section, {}).get(key, value)
                if old != value and not name.startswith(FREE_ON_RESUME):
                    differences.append((name, old, value))
        if differences:
            raise UserError(
                f"the run in {self.folder} was started with "
                f"{', '.join(f'{name} {old}, not {value}' for name, old, value in differences)}: resume it with the "
                f"same settings ({' '.join(f'--{name} {old}' for name, old, _ in differences)}), or choose another "
                "directory with --train.run_dir"
            )
        if note := old_frame_net(started, self.last):
            self.log_message(note)

    def _prepare_folder(self) -> None:
        """Remove files half-written by a kill, write config.json, cut the log back to the checkpoint."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("last.pt", "best.pt", "log.jsonl", "config.json", "report.html"):
            for temporary in self.folder.glob(f".{name}.*.tmp"):
                temporary.unlink()
        write_text(self.folder / "config.json", json.dumps(to_dict(self.config), indent=2) + "\n")
        lines = [line for line in read_log(self.folder) if self._is_before_checkpoint(line)]
        write_text(self._log, "".join(json.dumps(line) + "\n" for line in lines))

    def _is_before_checkpoint(self, line: dict[str, Any]) -> bool:
        """Whether a line of the log was written before last.pt: later ones will be written again."""
        if not self.resumed:
            return False
        step, validated = self.resumed["step"], (self.resumed.get("metrics") or {}).get("step", -1)
        return line.get("step", 0) <= (validated if line["kind"] == "val" else step)

    def init_from(self, model: nn.Module) -> list[str]:
        """Initialize `model` from model.init_from; return the names of weights taken. A resumed run has its own."""
        if self.resumed:
            checkpoint.load_weights(model, self.resumed["model"], self.last)
        if self.resumed or not self.config.model.init_from:
            return []
        path = self.config.model.init_from
        self._check_encoder(path)
        taken = checkpoint.init_from(model, path)
        self.log_message(checkpoint.describe_taken(model, taken, path))
        return taken

    def _check_encoder(self, path: str) -> None:
        """Raise a UserError if the encoder of a checkpoint isn't that of this run, though some of its weights fit."""
        content = checkpoint.load(path)
        other = from_dict(content.get("config"), path, content.get("config_version", 1))
        own, theirs = self.config.model.encoder, other.model.encoder
        resnets, both = {"resnet18", "resnet18_v3"}, {own, theirs}
        is_timm = not both & {"convnet", *resnets}  # whose nets name their weights alike
        if own != theirs and (both == resnets or is_timm):
            raise UserError(
                f"{path} has another encoder of frames ({theirs}) than this net ({own}), where its weights would give "
                f"other features: set --model.vision {theirs}, or leave --model.init_from out"
            )
        if note := old_frame_net(other, path):
            self.log_message(note)

    # ---------------------------------------------------------------------------------------------------- writing

    def write(self, kind: str, step: int, **values: float | str) -> None:
        """Append a line to log.jsonl, and its numbers to TensorBoard; in process 0.

        Args:
            kind: of the line, such as "train" or "val".
            step: updates so far.
            values: of the line, by name.
        """
        if distributed.rank():
            return
        numbers = {f"{kind}/{name}": value for name, value in values.items() if isinstance(value, (int, float))}
        try:
            with open(self._log, "a", encoding="utf-8") as file:
                file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
            self._tracker = self._tracker or self._start_tracker(step)
            if self._tracker:
                self._tracker.write(step, numbers)
        except OSError as error:
            raise UserError(
                f"the log in {self.folder} can't be written ({error.strerror}): free some disk space, then resume with "
                "--resume"
            ) from error
        if self._report:
            self._report.update(now=kind == "val")

    def _start_tracker(self, step: int) -> TensorBoardLog | WandbLog | None:
        if self.config.train.log == "wandb":
            return WandbLog(self.folder, to_dict(self.config))
        return TensorBoardLog(self.folder / "tensorboard", step) if self.config.train.log == "tensorboard" else None

    def keep_report(self, write: Callable[["Run"], object]) -> None:
        """Keep a page of the run up to date: after each validation, and every minute; in process 0.

        Args:
            write: writes the page of a run. If it fails, this is said once, and training goes on.
        """
        page = self.folder / "report.html"
        if not distributed.rank():
            self._report = LiveReport(
                lambda: write(self),
                lambda reason: self.log_message(f"warning: {page} can't be written, training goes on ({reason})"),
            )

    def log_message(self, message: str) -> None:
        """Print a `message` on stderr, above the progress bar; in process 0."""
        if not distributed.rank():
            tqdm.write(message, file=sys.stderr)

    def print_best(self, summary: str) -> None:
        """Print how a finished run ended, and how to evaluate it; in process 0.

        Args:
            summary: of best.pt's validation.
        """
        if not distributed.rank():
            print(f"best validation: {summary}; {self.best}")
            print(f"next: python eval.py --checkpoint {self.best}")

    def close(self, complete: bool = False) -> None:
        """Release the directory's lock, end what tracks the run, and write its page for the last time.

        Args:
            complete: the training has come to its end; else it was stopped, or has failed.
        """
        self.state = "complete" if complete else "stopped"
        if self._report:
            self._report.update(now=True)
        if isinstance(self._tracker, WandbLog):
            self._tracker.close()
        self._lock.close()

    # ---------------------------------------------------------------------------------------------- skipped clips

    def skip_handler(self, on_error: str, splits: Mapping[str, Split]) -> SkipHandler:
        """Make the function that handles clips that can't be read, for `dataset.loading.loader.drop_unreadable`.

        Args:
            on_error: "stop" raises a UserError; "skip" counts each clip once and lists it in log.jsonl. Clips that
                other processes than 0 skip are listed at the next `sync_skipped`.
            splits: {name: clips}; those that could not be opened are handled first.

        Returns:
            (clip id, error message) -> None.
        """
        earlier = [line["clip"] for line in read_log(self.folder) if line["kind"] == "skipped"]  # of a resumed run
        known = set(distributed.broadcast_object(earlier))

        def on_skip(clip: str, message: str) -> None:
            if on_error == "stop":
                raise UserError(message)
            if clip not in known:
                known.add(clip)
                self._unsynced += [(clip, message)] if distributed.rank() else []
                self.log_message(f"skipped ({len(known)}): {message}")
                self.write("skipped", self.resumed["step"] if self.resumed else 0, clip=clip, reason=message)

        for clips in splits.values():
            for clip, message in clips.skipped.items():
                on_skip(clip, message)
        self._on_skip = on_skip
        return on_skip

    def sync_skipped(self) -> None:
        """List the clips in process 0 that other processes skipped; all processes call it together."""
        if distributed.world_size() > 1 and self._on_skip:
            for skipped in distributed.all_gather_object(self._unsynced):
                for clip, message in skipped:
                    self._on_skip(clip, message)
            self._unsynced = []


def read_log(folder: str | Path) -> list[dict[str, Any]]:
    """Read the lines of a run's log.jsonl, up to one that a kill truncated.

    Args:
        folder: the run's directory; without a log there are no lines.

    Returns:
        dicts with "kind", "step" and values; metrics have their names of today.
    """
    return list(iterate_log(folder))


def iterate_log(folder: str | Path) -> Iterator[dict[str, Any]]:
    """Read the lines of a run's log.jsonl as `read_log`, one at a time: the log of a long run has a GB.

    Args:
        folder: the run's directory; without a log there are no lines.
    """
    path = Path(folder) / "log.jsonl"
    if not path.exists():
        return
    regular_size(path)
    with open(path, "rb") as file:
        for text in file:
            try:
                line = json.loads(text.decode(errors="replace"))
            except (ValueError, RecursionError):
                return
            if not (isinstance(line, dict) and {"kind", "step"} <= line.keys()):
                return
            values: dict[str, Any] = line
            yield {RENAMED_METRICS.get(name, name): value for name, value in values.items()}
