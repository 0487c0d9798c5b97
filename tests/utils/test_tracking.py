"""train.log: where the numbers of the log go beside log.jsonl."""

import json
import sys
from types import SimpleNamespace

import pytest

from utils.config import from_dict, load_config, override, to_dict
from utils.errors import UserError
from utils.run import Run


def make_run(folder, log, resume=False):
    changes = {"train.run_dir": str(folder), **({"train.log": log} if log else {})}
    return Run(override(load_config("configs/demo_AVENet.py"), changes), resume)


def write(run):
    run.write("train", 20, epoch=0.5, seconds=2.0, loss=0.6, device="cpu")
    run.close()
    return [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture
def wandb(monkeypatch):
    """In the place of the package: what was asked of it, as a list of calls."""
    calls = []
    run = SimpleNamespace(
        log=lambda values: calls.append(("log", values)), finish=lambda: calls.append(("finish",)),
        define_metric=lambda name, step_metric: calls.append(("metric", name, step_metric)),
    )  # fmt: skip
    module = SimpleNamespace(Error=KeyError, init=lambda **options: calls.append(("init", options)) or run)
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module, calls


def test_tensorboard_is_the_default_and_none_writes_the_log_alone(tmp_path):
    for name, log in (("a", None), ("b", "tensorboard"), ("c", "none")):
        (line,) = write(make_run(tmp_path / name, log))
        assert line["loss"] == 0.6
        assert bool(list((tmp_path / name).glob("tensorboard/events*"))) == (log != "none")


def test_a_config_from_before_the_setting_has_tensorboard(tmp_path):
    old = to_dict(load_config("configs/demo_AVENet.py"))
    del old["train"]["log"]
    assert from_dict(old, "old.pt").train.log == "tensorboard"


def test_wandb_gets_the_numbers_and_the_settings(tmp_path, wandb, monkeypatch):
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    _, calls = wandb
    run = make_run(tmp_path / "net", "wandb")
    assert not calls  # nothing starts before training does
    write(run)
    (_, options), metric, (_, values), end = calls
    assert (options["name"], options["dir"], options["resume"]) == ("net", str(tmp_path / "net"), "allow")
    assert options["config"]["train"]["log"] == "wandb" and options["project"]
    assert metric == ("metric", "*", "step") and end == ("finish",)
    assert values == {"train/loss": 0.6, "train/epoch": 0.5, "train/seconds": 2.0, "step": 20}
    assert not (tmp_path / "net" / "tensorboard").exists()

    run = make_run(tmp_path / "net", "wandb", resume=True)
    write(run)
    assert calls[4][1]["id"] == options["id"]  # the same run there


def test_wandb_that_does_not_start_is_one_sentence(tmp_path, wandb):
    def refuse(**options):
        raise KeyError("no key\nat all")

    wandb[0].init = refuse
    with pytest.raises(UserError, match=r"wandb can't start \('no key\\nat all'\): run wandb login, or set WANDB_MODE"):
        write(make_run(tmp_path / "net", "wandb"))


def test_a_missing_wandb_is_said_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"train\.log wandb needs the package wandb.*: pip install wandb, or set"):
        make_run(tmp_path / "net", "wandb")
    assert not (tmp_path / "net" / "config.json").exists()


def test_the_tracker_may_change_when_a_run_is_resumed():
    from utils.run import FREE_ON_RESUME

    assert "train.log" in FREE_ON_RESUME


def test_wandb_itself_writes_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    write(make_run(tmp_path / "net", "wandb"))
    (file,) = (tmp_path / "net" / "wandb").glob("offline-run-*/*.wandb")
    assert file.stat().st_size > 100 and b"train/loss" in file.read_bytes()
