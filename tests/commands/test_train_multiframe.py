"""AVE+MF and AVE+OF from end to end, as a user runs them: train, stop, resume, evaluate, on a few tiny clips."""

import json
import signal

import pytest
from helpers import make_dataset
from kill_and_resume import SMALL, command, compare, train_command
from training import stop_at

from configs.schema import Config
from utils import checkpoint
from utils.config import override
from utils.errors import UserError
from utils.run import read_log

SETTINGS = SMALL | {
    "data.cache_gb": 0, "train.epochs": 8, "train.lr": 3e-3, "train.workers": 1, "train.save_every": 7,
    "train.log_every": 1, "train.validate_every": 4, "model.dropout": 0.1, "train.ema": 0.9,
}  # fmt: skip
STEPS = 32
NETS = {
    "AVENet_MF": {"model.name": "AVENet_MF", "data.frames": 8},
    "AVENet_OF": {"model.name": "AVENet_OF", "data.flow": "dis", "data.flow_fields": 3},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "clips", train=16, val=6, test=6, boxes=False)


@pytest.mark.parametrize("name", ["AVENet_MF", pytest.param("AVENet_OF", marks=pytest.mark.slow)])
def test_train_resume_and_evaluate(name, data, tmp_path, script):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    settings, config = SETTINGS | NETS[name], ("--config", f"configs/demo_{name}.py")
    done = script(train_command(data, whole, settings, *config))
    assert done.returncode == 0 and f"eval.py --checkpoint {whole / 'best.pt'}" in done.stdout, done.stderr
    steps = [line["step"] for line in read_log(whole) if line["kind"] == "train"]
    assert steps == list(range(1, STEPS + 1)) and checkpoint.load(whole / "last.pt")["config"]["model"]["name"] == name

    # Stopped and resumed, it ends bit for bit the same, also with flow that the first run computed.
    assert stop_at(script, 5, signal.SIGTERM, train_command(data, parts, settings, *config), parts).returncode == 130
    assert checkpoint.load(parts / "last.pt")["step"] < STEPS
    done = script(train_command(data, parts, settings, *config, "--resume"))
    assert done.returncode == 0, done.stderr
    assert compare(whole, parts) == []

    done = script(command("eval.py", {"checkpoint": parts / "best.pt"}))
    assert done.returncode == 0, done.stderr
    metrics = json.loads((parts / "eval_test" / "metrics.json").read_text())
    assert metrics["model"] == name and metrics["clips"] == 6
    assert 0 <= metrics["avc"]["auc"] <= 1 and 0 < metrics["retrieval"]["aud-im"]["ndcg"] <= 1
    kept = {split: len(list((data / split).glob("flow_dis_36/*"))) for split in ("train", "val", "test")}
    assert kept == ({"train": 16, "val": 6, "test": 6} if name == "AVENet_OF" else {"train": 0, "val": 0, "test": 0})


MF, OF = NETS["AVENet_MF"], NETS["AVENet_OF"]


@pytest.mark.parametrize(
    ("settings", "changes", "setting"),
    [
        (MF, {"data.frames": 7}, "data.frames"),
        (MF, {"data.frames": 1}, "data.frames"),
        (MF, {"model.name": "AVENet"}, "data.frames"),
        (MF, {"data.flow": "dis"}, "data.flow"),
        (MF, {"data.cache_gb": 1}, "data.cache_gb"),
        ({}, {"model.name": "AVENet_OF"}, "data.flow"),
        (OF, {"data.cache_gb": 1}, "data.cache_gb"),
        ({}, {"data.flow": "dis"}, "data.flow"),
        (OF, {"data.flow_fields": 0}, "data.flow_fields"),
    ],
)
def test_a_net_and_frames_that_do_not_go_together_are_refused(settings, changes, setting):
    config = override(Config(), settings)
    with pytest.raises(UserError, match=setting):
        override(config, changes)


def test_an_unwritable_flow_folder_stops_training_in_one_sentence(data, tmp_path, script):
    (tmp_path / "file").write_text("")
    settings = SETTINGS | NETS["AVENet_OF"] | {"data.flow_dir": tmp_path / "file"}
    done = script(train_command(data, tmp_path / "run", settings))
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
    assert "--data.flow_dir" in done.stderr and not (tmp_path / "run").exists()
