"""A run's directory: its config, its log, its checkpoints. One that holds a run is never overwritten."""

import json
import sys
from pathlib import Path

from utils import checkpoint, distributed
from utils.config import from_dict, to_dict
from utils.errors import UserError
from utils.files import write_text

# Settings that may differ when a run is resumed: they change where it reads and how long it runs, not what it learns.
FREE_ON_RESUME = (
    "data.root", "data.on_error", "data.cache_gb", "train.run_dir", "train.epochs", "train.max_minutes",
    "train.workers", "train.log_every", "train.save_every", "eval.",
)  # fmt: skip


def add_resume_option(parser):
    """Add `--resume` to a training script's argparse parser."""
    parser.add_argument("--resume", action="store_true", help="go on with the run in train.run_dir")


class Run:
    """An open run directory. Of several processes, number 0 alone reads and writes it.

    Args:
        config: the run's `Config`.
        resume: go on with what the directory holds.

    Attributes:
        folder: Path. last, best: paths of the checkpoints.
        resumed: content of last.pt if there is something to go on with, else None; in every process.

    Raises:
        UserError: the directory holds a run and `resume` is false, or a run of another config and it is true.
    """

    def __init__(self, config, resume=False):
        self.config, self.folder = config, Path(config.train.run_dir)
        self.last, self.best = self.folder / "last.pt", self.folder / "best.pt"
        self._log, self.resumed, self._board = self.folder / "log.jsonl", None, None
        self._skipped, self._unshared = None, []  # see skip_handler
        if distributed.rank() == 0:
            self._open(resume)
        self.resumed = distributed.broadcast_object(self.resumed)

    def _open(self, resume):
        holds = [name for name in ("last.pt", "best.pt", "log.jsonl", "config.json") if (self.folder / name).exists()]
        if holds == ["log.jsonl", "config.json"] and not self._log.stat().st_size:
            holds = []  # left by a start that failed before its first step
        if holds and not resume:
            raise UserError(
                f"{self.folder} holds a run already ({', '.join(holds)}): go on with it by --resume, or name another "
                "directory by --train.run_dir"
            )
        if resume and self.last.exists():
            self.resumed = checkpoint.load(self.last)
            if not {"config", "step", "optimizer"} <= self.resumed.keys():
                raise UserError(
                    f"{self.last} can't be resumed, it may be a copy of best.pt: start another run from it by "
                    "--model.init_from"
                )
            version = self.resumed.get("config_version", 1)
            self._check_same(to_dict(from_dict(self.resumed["config"], self.last, version)))
        elif resume:
            self.log_message(f"{self.folder} holds no checkpoint yet: starting from the beginning")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in ("last.pt", "best.pt", "log.jsonl", "config.json"):
                for half in self.folder.glob(f".{name}.*.tmp"):  # a kill cut its writing short
                    half.unlink()
            write_text(self.folder / "config.json", json.dumps(to_dict(self.config), indent=2) + "\n")
            # Lines later than the checkpoint will be written again.
            done = self.resumed["step"] if self.resumed else -1
            kept = [line for line in read_log(self.folder) if line.get("step", 0) <= done]
            write_text(self._log, "".join(json.dumps(line) + "\n" for line in kept))
        except OSError as error:
            raise UserError(
                f"run directory {self.folder} can't be written ({error.strerror}): name another by --train.run_dir"
            ) from None

    def _check_same(self, stored):
        for section, values in to_dict(self.config).items():
            for key, value in values.items():
                name, old = f"{section}.{key}", stored.get(section, {}).get(key, value)
                if old != value and not name.startswith(FREE_ON_RESUME):
                    raise UserError(
                        f"the run in {self.folder} was started with {name} {old}, not {value}: resume it with the same "
                        "settings, or start another by --train.run_dir"
                    )

    def write(self, kind, step, **values):
        """Append a line to log.jsonl, and its numbers to TensorBoard; in process 0."""
        if distributed.rank():
            return
        try:
            with open(self._log, "a", encoding="utf-8") as file:
                file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        except OSError as error:
            raise UserError(f"{self._log} can't be written ({error.strerror}): free some disk space") from error
        if self._board is None:
            from torch.utils.tensorboard import SummaryWriter  # slow to import: only a run that logs pays for it

            self._board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=step)
        for name, value in values.items():
            if isinstance(value, (int, float)):
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def log_message(self, message):
        """Tell the user, on stderr, beside the progress bar; in process 0."""
        if distributed.rank():
            return
        from tqdm import tqdm

        tqdm.write(message, file=sys.stderr)

    def skip_handler(self, on_error, splits):
        """How to treat clips that can't be read: a callable (clip id, message) for `dataset.loading.loader.drop_unreadable`.

        With on_error "stop" it raises; with "skip" it counts each clip once and lists it in log.jsonl, beginning with
        those that the `splits` ({name: Clips}) left out when they were opened. What other processes than 0 skip is
        listed at the next `sync_skipped`.
        """
        before = [line["clip"] for line in read_log(self.folder) if line["kind"] == "skipped"]  # before a resume
        seen = set(distributed.broadcast_object(before))

        def skipped(clip, message):
            if on_error == "stop":
                raise UserError(message)
            if clip not in seen:
                seen.add(clip)
                self._unshared += [(clip, message)] if distributed.rank() else []
                self.log_message(f"skipped ({len(seen)}): {message}")
                self.write("skipped", self.resumed["step"] if self.resumed else 0, clip=clip, reason=message)

        for clips in splits.values():
            for clip, message in clips.skipped.items():
                skipped(clip, message)
        self._skipped = skipped
        return skipped

    def sync_skipped(self):
        """Let process 0 list what the others skipped; all processes call it together."""
        if distributed.world_size() > 1:
            for share in distributed.all_gather_object(self._unshared):
                for clip, message in share:
                    self._skipped(clip, message)
            self._unshared = []

    def close(self):
        """Flush what is buffered."""
        if self._board is not None:
            self._board.close()


def read_log(folder):
    """The lines of a run's log.jsonl as a list of dicts; a last line that a kill cut short is left out."""
    path = Path(folder) / "log.jsonl"
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines
