"""The only training loop. It doesn't know what is learned: step, batches and evaluation are arguments of `fit`."""

import contextlib
import copy
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from utils import checkpoint, distributed
from utils.clock import RunClock
from utils.config import CONFIG_VERSION, to_dict
from utils.device import BatchCopier, channels_last, describe_start, start_line
from utils.errors import UserError
from utils.kernels import eager, explain_kernel_errors
from utils.memory import explain_gpu_memory
from utils.metric_sums import add_metrics
from utils.optimizers import build_optimizers, learning_rate, pair_with_average, restore_optimizers, update_ema
from utils.precision import LossScaler, autocast, resolve_precision
from utils.progress import ProgressBar
from utils.run import RENAMED_METRICS, Run
from utils.step_module import StepModule, average_gradients, no_average
from utils.waiting import WaitTimer

Batch = dict[str, Any]  # of dataset.loading.loader.collate, on the device; `fit` adds "progress" and "gather"
Metrics = dict[str, float]
Step = Callable[[Any, Batch], tuple[Tensor, dict[str, Tensor]]]  # (model, batch) -> (loss, scalar metrics)
Evaluate = Callable[[Any], Metrics]  # (model) -> metrics of the validation split
Diagnose = Callable[[Metrics], str | None]  # (mean training metrics) -> a sentence if training is stuck


def fit(
    model: nn.Module,
    run: Run,
    *,
    param_groups: list[dict[str, Any]],
    batches: Callable[[int], Iterable[Batch]],
    steps_per_epoch: int,
    step: Step,
    evaluate: Evaluate,
    best: str,
    diagnose: Diagnose | None = None,
    unused_until: float = 0.0,
) -> Metrics:
    """Train a net until the epochs or minutes of its run are over.

    Of several processes (utils/distributed.py), each calls this with its own part of every batch; gradients are
    averaged, process 0 writes files and prints, and all stop at the same step.

    Args:
        model: on its device, initialized. If the run is resumed it gets the checkpoint's weights.
        run: its config says how to train.
        param_groups: for the optimizers, dicts with "params" and "lr_scale", a multiplier of train.lr.
        batches: (number of the first batch) -> endless collated batches from there on.
        steps_per_epoch: updates in an epoch.
        step: (model, batch) -> (loss, {name: scalar tensor}); the batch also has "progress", the fraction of the run
            that is done, 0..1, and "gather", a `utils.distributed.Gather` with train.gather "all", else None.
        evaluate: (model) -> metrics of the validation split, without gradients; process 0's count.
        best: the metric that chooses best.pt, larger is better. If the evaluation also has its standard error, as
            `NAME_error`, a later state within one error of the highest value so far is preferred: smaller differences
            are chance, and the learning-rate schedule is made for its end (the one-standard-error rule of Breiman et
            al., Classification and Regression Trees, 1984, sec. 3.4.3).
        diagnose: (mean training metrics) -> a sentence if training is stuck, else None.
        unused_until: fraction of the run up to which steps don't use all weights: several processes then search for
            unused ones, which takes time in each step.

    Returns:
        the validation metrics of best.pt.

    Raises:
        UserError: the loss or a weight is not finite, a batch doesn't fit into the GPU's memory, or torch can't do what
            train.compile or train.deterministic ask for.
        SystemExit(130): interrupted by a signal; a checkpoint was written.
    """
    trainer = _Trainer(model, run, param_groups, batches, steps_per_epoch, step, evaluate, best, diagnose, unused_until)
    return trainer.fit()


class _Trainer:
    """State of one call of `fit`; all that resuming needs is in last.pt."""

    def __init__(
        self, model: nn.Module, run: Run, param_groups: list[dict[str, Any]],
        batches: Callable[[int], Iterable[Batch]], steps_per_epoch: int, step: Step, evaluate: Evaluate,
        best_metric: str, diagnose: Diagnose | None, unused_until: float,
    ) -> None:  # fmt: skip
        self.model = channels_last(model)
        self.run, self.train, self.batches, self.steps_per_epoch = run, run.config.train, batches, steps_per_epoch
        self.evaluate, self.best_metric, self.diagnose = evaluate, best_metric, diagnose
        self.device, self.ranks = next(model.parameters()).device, distributed.world_size()
        self.unused_until, self.step_module = unused_until, StepModule(model, step)
        self.searches_unused = unused_until > 0
        self.step_fn = average_gradients(self.step_module, self.searches_unused)
        self.optimizers = build_optimizers(run.config, param_groups, self.device)
        self.precision = resolve_precision(self.device, self.train.precision)
        self.scaler = LossScaler(self.device, self.precision, self.optimizers)
        self.waits, self.copy_batch = WaitTimer(run.config, self.device), BatchCopier(self.device)
        self.ema_model = copy.deepcopy(model).requires_grad_(False) if self.train.ema else None
        self.ema_pairs = pair_with_average(self.ema_model, model) if self.ema_model else None
        self.clock = RunClock(self.train, steps_per_epoch)
        self.step, self.metrics, self.best, self.highest = 0, Metrics(), Metrics(), -math.inf
        # Sums of the training metrics since the last line of the log, on the device; how many batches had each.
        self.sums: dict[str, Tensor] = {}
        self.summed: Counter[str] = Counter()
        self.warned: set[str] = set()
        self.save_due, self.saved_at = False, 0.0  # when last.pt was written, in seconds of training time
        if run.resumed:
            self._restore(run.resumed)

    # ------------------------------------------------------------------------------------------------ checkpoints

    def _content(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "ema": self.ema_model.state_dict() if self.ema_model else None,
                "config": to_dict(self.run.config), "config_version": CONFIG_VERSION,
                "step": self.step, "metrics": self.metrics}  # fmt: skip

    def _save(self) -> None:
        """Write last.pt: all that resuming needs."""
        self.waits.pause()
        self._check_finite()
        self._write(self.run.last, self._content() | {
            "optimizer": [optimizer.state_dict() for optimizer in self.optimizers],
            "seconds": self.clock.elapsed(), "best": self.best, "highest": self.highest, "sums": self.sums,
            "summed": dict(self.summed), "last_validation": self.clock.last_validation,
            "scaler": self.scaler.state_dict(),
        })  # fmt: skip
        self.save_due, self.saved_at = False, self.clock.agreed_seconds()

    def _restore(self, content: dict[str, Any]) -> None:
        checkpoint.check_content(content, self.run.last, checkpoint.RESUME_FORM)
        checkpoint.load_weights(self.model, content["model"], self.run.last)
        if self.ema_model:
            checkpoint.load_weights(self.ema_model, content["ema"], self.run.last)
        restore_optimizers(self.optimizers, content["optimizer"], self.run.last)
        self.scaler.restore(content.get("scaler"), self.run.last)
        self.step, self.metrics, self.best = content["step"], content["metrics"], content["best"]
        self.highest = content["highest"]
        self.clock.seconds, self.clock.last_validation = content["seconds"], content["last_validation"]
        self.saved_at = self.clock.seconds
        summed = content["summed"]  # older versions stored one number for all metrics
        summed = summed if isinstance(summed, dict) else dict.fromkeys(content["sums"], summed)
        for name, value in content["sums"].items():
            new_name = RENAMED_METRICS.get(name, name)
            self.sums[new_name], self.summed[new_name] = value.to(self.device), summed[name]
        minutes = self.clock.seconds / 60
        self.run.log_message(f"resuming {self.run.folder} at step {self.step}, after {minutes:.1f} minutes")

    @staticmethod
    def _write(path: Path, content: dict[str, Any]) -> None:
        if distributed.rank() == 0:
            checkpoint.save(path, content)

    def _check_finite(self) -> None:
        self.sums = distributed.mean_over_ranks(self.sums)  # so that all processes see the same
        values = [self.sums["loss"]] if self.sums else []
        values += [value for value in self.model.state_dict().values() if value.is_floating_point()]
        if (
            self.scaler.exhausted or not torch.stack([torch.isfinite(value).all() for value in values]).all()
        ):  # waits for the device once
            raise UserError(
                f"the loss or a weight is not finite at step {self.step}: lower --train.lr, or try --train.precision "
                f"fp32; {self.run.last if self.run.last.exists() else 'no checkpoint'} is from before"
            )

    # ------------------------------------------------------------------------------------------------------- loop

    def fit(self) -> Metrics:
        self.clock.start()
        advice = (
            f"lower --train.batch_size ({self.train.batch_size}) and, for as many clips an update, raise "
            "--train.grad_accum_steps by the same factor"
        )
        complete = False
        try:
            with (
                self.clock.catch_signals(),
                explain_gpu_memory("a batch", advice),
                explain_kernel_errors(self.device, self.train.compile),
            ):
                self._loop()
            complete = True
        finally:
            self.run.close(complete)
        return self.best

    def _progress(self) -> float:
        return self.clock.progress(self.step)

    def _loop(self) -> None:
        if self._progress() >= 1 and self.metrics.get("step") == self.step:
            self.run.log_message(f"{self.run.folder} is complete at step {self.step}: nothing is left to train")
            return
        if self.ranks > 1:
            clips = self.train.batch_size
            self.run.log_message(
                f"{self.ranks} processes: {clips * self.train.grad_accum_steps} clips an update, in batches of "
                f"{clips}, {clips // self.ranks} of them a process"
            )
        if self._is_due_for_validation() and self.metrics.get("step") != self.step:
            self._validate()  # an earlier start ended in it
        started = describe_start(self.device, self.precision, self.train)
        self.run.log_message(start_line(started))
        self.run.write("start", self.step, **started)
        source = iter(self.batches(self.step * self.train.grad_accum_steps))
        bar = ProgressBar(self.train, self.steps_per_epoch, self.clock.position(self.step))
        while self._progress() < 1:
            clips = self._update(source)
            bar.move(self.clock.position(self.step), clips)
            if self.step % self.train.log_every == 0:
                self._log(bar)
            if self._is_due_for_validation():
                self._validate()
            elif self._is_due_for_saving() and self._progress() < 1:  # `_validate` saves the last step
                self._save()
            if self.clock.stopping():
                self._stop(bar)
        if self.metrics.get("step") != self.step:  # also if a run was stopped just before its last validation
            self._validate()
        bar.close()

    def _is_due_for_validation(self) -> bool:
        return self.step > 0 and self.step % (self.steps_per_epoch * self.train.validate_every) == 0

    def _is_due_for_saving(self) -> bool:
        """Whether steps enough have passed since the last save, and time enough: fast steps write no file a second."""
        self.save_due |= self.step % self.train.save_every == 0
        return self.save_due and self.clock.agreed_seconds() - self.saved_at >= self.train.save_seconds

    def _stop(self, bar: ProgressBar) -> None:
        self._save()
        distributed.all_gather_object(None)  # wait until the file is written: torchrun ends all when one ends
        bar.close()
        self.run.log_message(
            f"stopped at step {self.step}, {self.run.last} is written: resume with the same command and --resume"
        )
        raise SystemExit(130)

    def _update(self, source: Iterator[Batch]) -> int:
        """Update the weights once from `grad_accum_steps` batches; returns the number of clips of all processes."""
        progress = self._progress()
        rate = learning_rate(self.train, progress)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group["lr_scale"]
        if not self.model.training:  # a large net has hundreds of modules
            self.model.train()
        if self.searches_unused != (progress < self.unused_until):  # all processes have the same progress
            self.searches_unused = not self.searches_unused
            self.step_fn = self.step_module  # what the old one keeps for gradients is freed before the new one is made
            self.step_fn = average_gradients(self.step_module, self.searches_unused)
        clips = 0
        for k in range(self.train.grad_accum_steps):
            clips += self._accumulate(self.waits.next(source), progress, k)
        stepped = self.scaler.step()
        if self.scaler.enabled:
            self._add_metrics({"overflows": torch.full((), float(not stepped), device=self.device)})
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        if self.ema_pairs:  # with a smaller decay at first, or the random weights would dominate short runs
            update_ema(self.ema_pairs, min(self.train.ema, (1 + self.step) / (10 + self.step)))
        return clips

    def _accumulate(self, batch: Batch, progress: float, k: int) -> int:
        """Add the gradients of the k-th batch of an update; returns its number of clips, of all processes."""
        clips, accumulated = len(batch["indices"]), self.train.grad_accum_steps
        sizes = self._sync_ranks(clips)
        gather = distributed.Gather(sizes) if self.ranks > 1 and self.train.gather == "all" else None
        batch = {**self.copy_batch(batch), "progress": progress, "gather": gather}
        # Weight by this rank's clips (1.0 if none was skipped), so that every clip counts equally.
        weight = clips * self.ranks / sum(sizes)
        # Dropout and other draws from the global generator depend on (seed, batch, process) alone: there is no state to
        # store. Seeded only now, because a loader that has just started draws from it too.
        number = self.train.seed * 1_000_003 + self.step * accumulated + k
        torch.manual_seed(number + distributed.rank() * 2**53)
        with contextlib.nullcontext() if k == accumulated - 1 else no_average(self.step_fn):
            with autocast(self.device, self.precision):
                loss, metrics = self.step_fn(batch)
            self.scaler.backward(loss if weight == accumulated == 1 else loss * weight / accumulated)
        self._add_metrics({"loss": loss, **metrics}, weight)
        return sum(sizes)

    def _add_metrics(self, metrics: dict[str, Tensor], weight: float = 1.0) -> None:
        self.sums = add_metrics(self.sums, metrics, weight)
        self.summed.update(metrics.keys())

    def _sync_ranks(self, clips: int) -> list[int]:
        """Get the number of clips of each process in this batch; all agree on the time and on whether to stop."""
        return [clips] if self.ranks == 1 else self.clock.sync(clips)

    # -------------------------------------------------------------------------------------------- log, validation

    def _write_line(self, kind: str, **values: float) -> None:
        epoch, seconds = self.step / self.steps_per_epoch, round(self.clock.elapsed(), 2)
        self.run.write(kind, self.step, epoch=epoch, seconds=seconds, **values)

    def _log(self, bar: ProgressBar) -> None:
        self._check_finite()
        self.run.sync_skipped()
        means = {name: value.item() / self.summed[name] for name, value in self.sums.items()}
        self.sums, self.summed = {}, Counter()
        means["waiting"] = round(self.waits.share(), 4)
        if self.scaler.enabled:
            means["loss_scale"] = self.scaler.scale
        self._write_line("train", lr=self.optimizers[0].param_groups[0]["lr"], **means)
        bar.show(means)
        problem = self.diagnose(means) if self.diagnose and self._progress() > 0.1 and self.step >= 100 else None
        for message in filter(None, (problem, self.waits.problem())):
            self._warn(message)

    def _warn(self, problem: str) -> None:
        """Warn once for each cause."""
        cause = "".join(c for c in problem if not c.isdigit())  # the numbers differ from line to line
        if cause not in self.warned:
            self.warned.add(cause)
            self.run.log_message(f"warning: {problem}")
            self.run.write("warning", self.step, message=problem)

    def _validate(self) -> None:
        self._save()  # an error in a validation loses no step
        begin = time.monotonic()
        model = self.ema_model or self.model
        model.eval()
        distributed.broadcast_buffers(model)
        advice = f"lower --eval.batch_size ({self.run.config.eval.batch_size})"
        with torch.no_grad(), eager(self.train.compile), explain_gpu_memory("a batch of the validation", advice):
            metrics = {**self.evaluate(model), "step": self.step}
        self.metrics, self.clock.last_validation = distributed.broadcast_object((metrics, time.monotonic() - begin))
        self.run.sync_skipped()
        values = {name: value for name, value in self.metrics.items() if name != "step"}
        self._write_line("val", **values)
        text = "  ".join(f"{name} {value:.3f}" for name, value in values.items() if isinstance(value, float))
        self.run.log_message(f"step {self.step}, epoch {self.step / self.steps_per_epoch:.1f}, validation: {text}")
        value = self.metrics[self.best_metric]
        self.highest = max(self.highest, value)
        if value >= self.highest - self.metrics.get(f"{self.best_metric}_error", 0.0):
            self.best = self.metrics
            self._check_finite()
            self._write(self.run.best, self._content())
        self._save()
