"""Runs that stop: what a checkpoint keeps, how a resumed run continues, and what is said of it."""

import math
import os
import signal

import pytest
import torch
from toy_training import Toy, batches, config, evaluate, lines, outcome, same, step, toy, train

from utils import checkpoint, health
from utils.errors import UserError
from utils.run import Run


def test_a_loss_that_is_not_finite_stops_the_run_and_spares_the_checkpoint(tmp_path):
    def breaks(model, batch):
        loss, metrics = step(model, batch)
        return (loss * math.nan if batch["number"] == 7 else loss), metrics

    with pytest.raises(UserError, match=r"not finite at step 10: lower --train\.lr.*last\.pt is from before"):
        train(config(tmp_path, epochs=9, log_every=1000), steps_per_epoch=1000, step=breaks)
    last = checkpoint.load(tmp_path / "run/last.pt")
    assert last["step"] == 5 and all(torch.isfinite(value).all() for value in last["model"].values())
    assert not (tmp_path / "run/best.pt").exists()


@pytest.mark.parametrize("validate_at", [5, 1000])
def test_weights_that_are_not_finite_after_a_finite_loss_reach_no_checkpoint(tmp_path, validate_at):
    """The gradient of a square root at 0: the loss looks fine, every weight behind it is nan."""

    def breaks(model, batch):
        loss, metrics = step(model, batch)
        if batch["number"] == 4:
            loss = loss + (0 * sum(p.sum() for p in model.parameters())).sqrt()
        return loss, metrics

    with pytest.raises(UserError, match=r"not finite at step 5.*no checkpoint"):
        train(config(tmp_path, log_every=1000), steps_per_epoch=validate_at, step=breaks)
    assert not (tmp_path / "run/last.pt").exists() and not (tmp_path / "run/best.pt").exists()


def test_a_loss_that_is_not_finite_is_noticed_at_the_next_line_of_the_log(tmp_path):
    with pytest.raises(UserError, match="at step 3"):
        train(config(tmp_path, log_every=3), step=lambda m, b: (step(m, b)[0] * math.inf, {}))
    assert lines(tmp_path, "train") == []


HARD = {"ema": 0.9, "grad_accum_steps": 2, "schedule": "cosine", "warmup": 0.2, "log_every": 4}  # all that has a state


def test_a_resumed_run_continues_bit_for_bit(tmp_path):
    """Killed after each single step, with checkpoints at steps 3, 6, 9, 12."""
    train(config(tmp_path / "whole", save_every=3, **HARD))
    expected = outcome(tmp_path / "whole")
    for killed_at in range(1, 12):
        folder = tmp_path / f"killed{killed_at}"

        def dies(model, batch, killed_at=killed_at):
            if batch["number"] == 2 * killed_at + 1:
                raise RuntimeError("killed")
            return step(model, batch)

        settings = config(folder, save_every=3, **HARD)
        with pytest.raises(RuntimeError, match="killed"):
            train(settings, step=dies)
        torch.manual_seed(killed_at)  # another process has another state of the global generator
        train(settings, toy() if killed_at < 3 else Toy(), resume=True)  # before a checkpoint: from the start
        assert same(outcome(folder), expected), f"killed at step {killed_at}"


def test_a_resumed_run_asks_for_the_batch_it_would_have_seen(tmp_path):
    asked = []

    def watched(start):
        asked.append(start)
        return batches(start)

    train(config(tmp_path, epochs=1, grad_accum_steps=3), batches=watched)
    train(config(tmp_path, epochs=2, grad_accum_steps=3), resume=True, batches=watched)
    assert asked == [0, 18]


def test_a_killed_runs_log_is_cut_back_to_its_checkpoint(tmp_path):
    """Lines later than last.pt are written again; one that the kill cut short doesn't get in the way."""

    def dies(model, batch):
        if batch["number"] == 8:
            raise RuntimeError("killed")
        return step(model, batch)

    settings = config(tmp_path, epochs=3)
    with pytest.raises(RuntimeError, match="killed"):
        train(settings, step=dies)
    log = tmp_path / "run/log.jsonl"
    assert [line["step"] for line in lines(tmp_path, "train")] == list(range(1, 9))
    assert checkpoint.load(tmp_path / "run/last.pt")["step"] == 6
    with open(log, "a") as file:
        file.write('{"kind": "train", "step": 9, "lo')
    (tmp_path / "run/.last.pt.123.tmp").write_bytes(b"half a checkpoint")
    train(settings, resume=True)
    assert [line["step"] for line in lines(tmp_path, "train")] == list(range(1, 19))
    assert [line["step"] for line in lines(tmp_path, "val")] == [6, 12, 18]
    assert [line["step"] for line in lines(tmp_path, "start")] == [0, 6]
    assert len(log.read_text().splitlines()) == 2 + 18 + 3
    assert not list((tmp_path / "run").glob(".*"))


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_anew(tmp_path, capsys):
    def dies(model, batch):
        if batch["number"] == 3:
            raise RuntimeError("killed")
        return step(model, batch)

    with pytest.raises(RuntimeError, match="killed"):
        train(config(tmp_path / "a"), step=dies)
    train(config(tmp_path / "a"), resume=True)
    assert "no checkpoint yet: starting from the beginning" in capsys.readouterr().err
    train(config(tmp_path / "b"))
    assert same(outcome(tmp_path / "a"), outcome(tmp_path / "b"))


@pytest.mark.parametrize("step_of_error", [6, 12])  # the first validation, and the last
@pytest.mark.parametrize("place", ["before the line of the log", "after it"])
def test_an_error_in_a_validation_costs_no_step_and_the_resumed_run_validates_first(
    tmp_path, monkeypatch, step_of_error, place
):
    """Such as a clip of val that can't be read; or a kill after the line and before the checkpoint."""
    train(config(tmp_path / "whole"))
    validated = []

    def counted(model):
        validated.append(1)
        if len(validated) == step_of_error // 6 and place == "before the line of the log":
            raise UserError("clip x is damaged")
        return evaluate(model)

    def fail_after_line(run, message):
        if f"step {step_of_error}, epoch" in message and place == "after it":
            raise UserError("clip x is damaged")

    with monkeypatch.context() as patched:
        patched.setattr(Run, "log_message", fail_after_line)
        with pytest.raises(UserError, match="clip x is damaged"):
            train(config(tmp_path / "a"), evaluate=counted)
    assert checkpoint.load(tmp_path / "a/run/last.pt")["step"] == step_of_error
    steps = []
    train(config(tmp_path / "a"), resume=True, evaluate=evaluate, step=lambda *args: steps.append(1) or step(*args))
    assert len(steps) == 12 - step_of_error
    assert same(outcome(tmp_path / "a"), outcome(tmp_path / "whole"))


def test_a_closed_terminal_is_no_second_interrupt_and_nohup_stays_ignored(tmp_path):
    def hung_up(model, batch):
        if batch["number"] == 3:
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGHUP)
        return step(model, batch)

    with pytest.raises(SystemExit) as stop:
        train(config(tmp_path / "a"), step=hung_up)
    assert stop.value.code == 130 and checkpoint.load(tmp_path / "a/run/last.pt")["step"] == 4
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        train(config(tmp_path / "b"), step=hung_up)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert checkpoint.load(tmp_path / "b/run/last.pt")["step"] == 12


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_writes_a_checkpoint_says_how_to_resume_and_loses_nothing(tmp_path, capsys, number):
    def interrupted(model, batch):
        if batch["number"] == 3:
            os.kill(os.getpid(), number)
        return step(model, batch)

    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as stop:
        train(config(tmp_path / "a"), step=interrupted)
    assert stop.value.code == 130 and signal.getsignal(number) == before
    assert checkpoint.load(tmp_path / "a/run/last.pt")["step"] == 4
    assert "stopped at step 4" in (said := capsys.readouterr().err) and "--resume" in said
    train(config(tmp_path / "a"), resume=True)
    assert "resuming" in capsys.readouterr().err
    train(config(tmp_path / "b"))
    assert same(outcome(tmp_path / "a"), outcome(tmp_path / "b"))


def test_a_second_interrupt_does_not_wait(tmp_path):
    def interrupted(model, batch):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return step(model, batch)

    with pytest.raises(KeyboardInterrupt):
        train(config(tmp_path), step=interrupted)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_batch_that_is_too_large_for_the_gpu_is_one_sentence(tmp_path):
    def full(model, batch):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(UserError, match=r"lower --train\.batch_size \(128\) and.* raise --train\.grad_accum_steps"):
        train(config(tmp_path), step=full)


def test_a_validation_that_is_too_large_for_the_gpu_is_one_sentence_about_its_own_setting(tmp_path):
    def full(model):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(UserError, match=r"validation doesn't fit .* lower --eval\.batch_size \(\d+\)$"):
        train(config(tmp_path), evaluate=full)


def test_a_complete_run_has_nothing_left_and_more_epochs_go_on(tmp_path, capsys):
    model, best = train(config(tmp_path))
    before = outcome(tmp_path)
    again, best_again = train(config(tmp_path), resume=True)
    assert "is complete at step 12" in capsys.readouterr().err
    assert best_again == best and same(again.state_dict(), model.state_dict()) and same(outcome(tmp_path), before)
    train(config(tmp_path, epochs=3), resume=True)
    assert checkpoint.load(tmp_path / "run/last.pt")["step"] == 18


def test_a_stall_is_told_once_with_its_cause(tmp_path, capsys):
    asked = []

    def diagnose(means):
        asked.append(means)
        alike = means | {"accuracy": 0.5, "logit_std": 0.001, "cosine_frames": 0.1, "cosine_sounds": 0.1}
        return health.diagnose_avc(alike | {"logit_scale": (-0.3 if len(asked) < 4 else 0.3) * len(asked)})

    train(config(tmp_path, epochs=2, log_every=10, save_every=1000), steps_per_epoch=75, diagnose=diagnose)
    warnings = lines(tmp_path, "warning")  # not before it had a chance to learn; a new cause is new
    assert [line["step"] for line in warnings] == [100, 130]
    assert "logit scale is -0.30" in warnings[0]["message"] and "last_layer_lr_mult" in warnings[1]["message"]
    assert capsys.readouterr().err.count("warning: training is stuck") == 2
    assert len(asked) == 6 and {"loss", "accuracy"} <= asked[0].keys()


def test_no_diagnosis_no_warning(tmp_path):
    train(config(tmp_path, log_every=10, save_every=1000), steps_per_epoch=75, diagnose=lambda means: None)
    assert lines(tmp_path, "warning") == []
