"""The only training loop. It knows nothing of what is learned: step, batches and evaluation are handed in."""

import contextlib
import copy
import math
import signal
import time
from collections import Counter

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from utils import checkpoint, distributed
from utils.config import to_dict
from utils.errors import UserError
from utils.optimizers import build_optimizers, learning_rate, update_ema
from utils.progress import ProgressBar


def pick_device():
    """The first GPU, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(device, precision):
    """A context that runs the nets in bf16 where `precision` and the hardware say so, else in fp32."""
    if device.type == "cuda":
        able = torch.cuda.is_bf16_supported()
    else:  # without these instructions bf16 is emulated, slower than fp32
        features = torch.cpu.get_capabilities()
        able = bool(features.get("avx512_bf16") or features.get("amx_bf16") or features.get("arm_bf16"))
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16" or (precision == "auto" and able))


def to_device(batch, device):
    """Move the tensors of a batch, without waiting where memory is pinned."""
    return {k: v.to(device, non_blocking=True) if torch.is_tensor(v) else v for k, v in batch.items()}


def channels_last(model):
    """Lay out the weights of 2-D convolutions as their kernels are fastest; returns the model.

    `model.to(memory_format=...)` does the same, but refuses a net that has 3-D convolutions too.
    """
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)
    return model


def fit(model, run, *, groups, batches, steps_per_epoch, step, evaluate, best, diagnose=None):
    """Train until the run's epochs or minutes are over.

    Args:
        model: on its device, started. A run that is resumed gets the checkpoint's weights.
        run: a `utils.run.Run`; its config says how to train.
        groups: optimizer groups, dicts with "params" and "lr_scale" (how many times train.lr it learns at).
        batches: callable (start) -> iterable of collated batches, beginning with batch number `start`, without end.
        steps_per_epoch: updates in an epoch.
        step: callable (model, batch) -> (loss, dict of scalar tensors); the batch also has "progress", the share of
            the run that is done, 0..1, and "sizes", the list of the numbers of clips of each process.
        evaluate: callable (model) -> dict of floats, on the validation split, in eval mode; process 0's counts.
        best: name of the evaluation's measure, larger is better, that best.pt is chosen by. Where the evaluation also
            has its standard error, as `NAME_error`, a later state that is within one error of the highest value so far
            is taken: differences below that are chance, and the end is what the schedule was made for (the
            one-standard-error rule of Breiman et al., Classification and Regression Trees, 1984, sec. 3.4.3).
        diagnose: callable (dict of mean metrics) -> a sentence if training is stuck, else None.

    Returns:
        dict: the validation metrics of best.pt.

    Of several processes (utils/distributed.py), each calls this with its own share of every batch; gradients are
    averaged, process 0 writes and speaks, and all stop at the same step.

    Raises:
        UserError: the loss or a weight is not finite, or a batch doesn't fit into the GPU's memory.
        SystemExit(130): interrupted, if only one of the processes was; a checkpoint was written.
    """
    return _Fit(model, run, groups, batches, steps_per_epoch, step, evaluate, best, diagnose).run_all()


class _Step(nn.Module):
    """A step as a module's forward, which is all that DistributedDataParallel looks at."""

    def __init__(self, model, step):
        super().__init__()
        self.model, self.step = model, step

    def forward(self, batch):
        return self.step(self.model, batch)


class _Fit:
    """State of one call of `fit`; all of it is in last.pt."""

    def __init__(self, model, run, groups, batches, steps_per_epoch, step, evaluate, best, diagnose):
        self.model = channels_last(model)
        self.run, self.train, self.batches = run, run.config.train, batches
        self.step_fn, self.evaluate, self.best_name, self.diagnose = _Step(model, step), evaluate, best, diagnose
        self.steps_per_epoch = steps_per_epoch
        self.device = next(model.parameters()).device
        self.ranks = distributed.world_size()
        if self.ranks > 1:  # sends process 0's weights to all, so that no difference in rounding is left at the start
            parts = self.train.avc_warmup > 0  # of the net learn at first: their gradients aren't waited for
            self.step_fn = DistributedDataParallel(self.step_fn, find_unused_parameters=parts)
        self.optimizers = build_optimizers(run.config, groups, self.device)
        self.average = copy.deepcopy(model).requires_grad_(False) if self.train.ema else None
        self.step, self.seconds, self.metrics, self.best, self.highest = 0, 0.0, {}, {}, -math.inf
        self.sums, self.summed = {}, Counter()  # of the metrics since the last line of the log, on the device
        self.stop_signal, self.last_validation, self.said = None, 0.0, set()
        if run.resumed:
            self._restore(run.resumed)
        self.stopping, self.clock = False, self.seconds  # of several processes: what they agreed on, see _agree

    # ------------------------------------------------------------------------------------------------ checkpoints

    def _content(self):
        return {"model": self.model.state_dict(), "ema": self.average.state_dict() if self.average else None,
                "config": to_dict(self.run.config), "step": self.step, "metrics": self.metrics}  # fmt: skip

    def save(self):
        """Write last.pt: all that resuming needs."""
        self._check_finite()
        self._write(self.run.last, self._content() | {
            "optimizer": [optimizer.state_dict() for optimizer in self.optimizers],
            "seconds": self._elapsed(), "best": self.best, "highest": self.highest, "sums": self.sums,
            "summed": dict(self.summed), "last_validation": self.last_validation,
        })  # fmt: skip

    def _write(self, path, content):
        if distributed.rank() == 0:
            checkpoint.save(path, content)

    def _restore(self, content):
        checkpoint.load_weights(self.model, content["model"], self.run.last)
        if self.average:
            checkpoint.load_weights(self.average, content["ema"], self.run.last)
        for optimizer, state in zip(self.optimizers, content["optimizer"], strict=True):
            optimizer.load_state_dict(state)
        for name in ("step", "seconds", "metrics", "best", "highest", "last_validation"):
            setattr(self, name, content[name])
        self.sums, summed = {name: value.to(self.device) for name, value in content["sums"].items()}, content["summed"]
        self.summed = Counter(summed if isinstance(summed, dict) else dict.fromkeys(self.sums, summed))  # once a number
        self.run.log_message(f"resuming {self.run.folder} at step {self.step}, after {self.seconds / 60:.1f} minutes")

    def _check_finite(self):
        self.sums = distributed.mean_over_ranks(self.sums)  # all processes find the same
        learned = [self.sums["loss"]] if self.sums else []
        learned += [parameter.detach() for parameter in self.model.parameters()]
        if not torch.stack([torch.isfinite(values).all() for values in learned]).all():  # one wait for the device
            raise UserError(
                f"the loss or a weight is not finite at step {self.step}: lower --train.lr, or try --train.precision "
                f"fp32; {self.run.last if self.run.last.exists() else 'no checkpoint'} is from before"
            )

    # ------------------------------------------------------------------------------------------------------- time

    def _elapsed(self):
        return self.seconds + time.monotonic() - self.started

    def _now(self):
        """How far the run is, in what its bar counts: seconds if it goes by the clock, else steps."""
        return self._elapsed() if self.train.max_minutes else self.step

    def _agree(self, clips):
        """The numbers of clips of all processes, a list; and, by the way, when to stop and what time it is.

        Once for each batch, between the hosts: the device goes on with what it has. So all processes leave the loop at
        the same step, whichever of them heard the signal, and go by process 0's clock.
        """
        if self.ranks == 1:
            return [clips]
        sizes, stops, clocks = zip(
            *distributed.all_gather_numbers(clips, self.stop_signal is not None, self._elapsed()), strict=True
        )
        self.stopping, self.clock = any(stops), clocks[0]
        return [int(size) for size in sizes]

    def _stopping(self):
        return self.stop_signal is not None if self.ranks == 1 else self.stopping

    def progress(self):
        """Share of the run that is done, 0..1: of its minutes if it goes by the clock, else of its epochs."""
        if self.train.max_minutes:
            # The validation that ends the run is part of its minutes.
            budget = max(self.train.max_minutes * 60 - self.last_validation, 1e-9)
            return min((self._elapsed() if self.ranks == 1 else self.clock) / budget, 1.0)
        return min(self.step / (self.train.epochs * self.steps_per_epoch), 1.0)

    # ------------------------------------------------------------------------------------------------------- loop

    def run_all(self):
        self.started = time.monotonic()
        handlers = {s: signal.signal(s, self._on_signal) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._loop()
        except torch.OutOfMemoryError:
            raise UserError(
                f"a batch doesn't fit into the GPU's memory: lower --train.batch_size ({self.train.batch_size}) and, "
                "for as many clips an update, raise --train.grad_accum_steps by the same factor"
            ) from None
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            self.run.close()
        return self.best

    def _on_signal(self, number, _):
        if self.stop_signal is not None:  # a second Ctrl-C doesn't wait for the step
            raise KeyboardInterrupt
        self.stop_signal = number

    def _loop(self):
        if self.progress() >= 1 and self.metrics.get("step") == self.step:
            self.run.log_message(f"{self.run.folder} is complete at step {self.step}; nothing is left to train")
            return
        if self.ranks > 1:
            clips = self.train.batch_size
            self.run.log_message(
                f"{self.ranks} processes: {clips * self.train.grad_accum_steps} clips an update, in batches of {clips}, "
                f"{clips // self.ranks} of them a process"
            )
        source = iter(self.batches(self.step * self.train.grad_accum_steps))
        bar = ProgressBar(self.train, self.steps_per_epoch, self._now())
        while self.progress() < 1:
            count = self._update(source)
            bar.move(self._now(), count)
            at_epoch_end = self.step % self.steps_per_epoch == 0
            if self.step % self.train.log_every == 0:
                self._log(bar)
            if at_epoch_end and (self.step // self.steps_per_epoch) % self.train.validate_every == 0:
                self._validate(bar)
            elif self.step % self.train.save_every == 0 and self.progress() < 1:  # the last step is validated first
                self.save()
            if self._stopping():
                self.save()
                distributed.all_gather_object(
                    None
                )  # none ends before the file is whole: torchrun would end the writer too
                bar.close()
                self.run.log_message(
                    f"stopped at step {self.step}; {self.run.last} is written: go on by the same command with --resume"
                )
                raise SystemExit(130)
        if self.metrics.get("step") != self.step:  # also where a run was stopped just before it
            self._validate(bar)
        bar.close()

    def _update(self, source):
        """One update of the weights from `grad_accum_steps` batches; returns the number of clips, of all processes."""
        progress = self.progress()
        rate = learning_rate(self.train, progress)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group["lr_scale"]
        self.model.train()
        clips = 0
        for k in range(self.train.grad_accum_steps):
            batch = next(source)
            sizes = self._agree(len(batch["indices"]))
            batch = {**to_device(batch, self.device), "progress": progress, "sizes": sizes}
            clips += sum(sizes)
            # 1, unless unreadable clips were left out: every clip of a batch counts the same, wherever it is.
            weight = len(batch["indices"]) * self.ranks / sum(sizes)
            # Whatever draws from the global generator (dropout) depends on (seed, batch) alone: nothing to store.
            # Only now, with the batch at hand: a loader that has just started drew from it as well.
            # And on the process, or the same would be dropped of different clips.
            number = self.train.seed * 1_000_003 + self.step * self.train.grad_accum_steps + k
            torch.manual_seed(number + distributed.rank() * 2**53)
            with self._averaged(k == self.train.grad_accum_steps - 1):
                with autocast(self.device, self.train.precision):
                    loss, metrics = self.step_fn(batch)
                (loss * weight / self.train.grad_accum_steps).backward()
            for name, value in {"loss": loss.detach(), **metrics}.items():
                self.sums[name] = self.sums.get(name, 0) + value.detach().float() * weight
                self.summed[name] += 1
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        if self.average:  # short runs' averages shall not be held back by the first weights
            update_ema(self.average, self.model, min(self.train.ema, (1 + self.step) / (10 + self.step)))
        return clips

    def _averaged(self, last):
        """A context whose gradients are averaged over the processes if its batch is the `last` of an update."""
        return contextlib.nullcontext() if last or self.ranks == 1 else self.step_fn.no_sync()

    def _log(self, bar):
        self._check_finite()
        self.run.sync_skipped()
        means = {name: value.item() / self.summed[name] for name, value in self.sums.items()}
        self.sums, self.summed = {}, Counter()
        rate = self.optimizers[0].param_groups[0]["lr"]
        self.run.write(
            "train",
            self.step,
            epoch=self.step / self.steps_per_epoch,
            seconds=round(self._elapsed(), 2),
            lr=rate,
            **means,
        )
        bar.show(means)
        problem = self.diagnose(means) if self.diagnose and self.progress() > 0.1 and self.step >= 100 else None
        cause = "".join(c for c in problem or "" if not c.isdigit())  # its numbers change from line to line
        if problem and cause not in self.said:  # say it once, not at each line
            self.said.add(cause)
            self.run.log_message(f"warning: {problem}")
            self.run.write("warning", self.step, message=problem)

    def _validate(self, bar):
        begin = time.monotonic()
        evaluated = self.average or self.model
        evaluated.eval()
        distributed.broadcast_buffers(evaluated)
        with torch.no_grad():
            metrics = {**self.evaluate(evaluated), "step": self.step}
        self.metrics, self.last_validation = distributed.broadcast_object((metrics, time.monotonic() - begin))
        self.run.sync_skipped()
        values = {name: value for name, value in self.metrics.items() if name != "step"}
        self.run.write(
            "val", self.step, epoch=self.step / self.steps_per_epoch, seconds=round(self._elapsed(), 2), **values
        )
        shown = "  ".join(f"{name} {value:.3f}" for name, value in values.items() if isinstance(value, float))
        self.run.log_message(f"step {self.step}, epoch {self.step / self.steps_per_epoch:.1f}, validation: {shown}")
        value = self.metrics[self.best_name]
        self.highest = max(self.highest, value)
        if value >= self.highest - self.metrics.get(f"{self.best_name}_error", 0.0):
            self.best = self.metrics
            self._check_finite()
            self._write(self.run.best, self._content())
        self.save()
