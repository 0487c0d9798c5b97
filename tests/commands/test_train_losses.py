"""Training by InfoNCE from end to end: it learns, resumes, and its checkpoint is evaluated as it was trained."""

import pytest
import torch
from helpers import make_dataset
from kill_and_resume import SMALL, train_command
from training import PLAIN, lines

import train_AVENet
import train_VOLNet
from evaluation.tasks.correspondence import evaluate_avc
from evaluation.tasks.embeddings import embed_split, open_eval_split
from evaluation.trained_net import load_trained_net
from utils import checkpoint

pytestmark = pytest.mark.slow
SETTINGS = SMALL | PLAIN | {
    "data.frame_size": 64, "data.resize_size": 64, "train.epochs": 16, "train.lr": 3e-3, "train.workers": 0,
    "train.ema": 0.9, "train.save_every": 50, "train.log_every": 2, "train.validate_every": 4, "train.batch_size": 8,
    "train.learn_temperature": "true", "train.silence": 0.25,
}  # fmt: skip
NETS = {"AVENet": (train_AVENet, "infonce"), "VOLNet": (train_VOLNet, "max_infonce")}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "clips", train=32, val=8, test=8)


def train(data, run_dir, net, *words, **settings):
    script, loss = NETS[net]
    words = train_command(
        data, run_dir, SETTINGS | {"train.loss": loss} | settings, *words, config=f"configs/demo_{net}.py"
    )
    script.main(words[2:])


@pytest.mark.parametrize("net", NETS)
def test_a_run_by_infonce_learns_and_is_evaluated_as_it_was_trained(net, data, tmp_path, capsys):
    train(data, tmp_path / "run", net)
    log = lines(tmp_path / "run", "train")
    assert log[-1]["batch_auc"] > 0.65 and log[-1]["batch_recall"] > log[-1]["batch_recall_chance"] == 1 / 8
    assert log[-1]["loss_contrast"] < log[0]["loss_contrast"] and log[-1]["silence_accuracy"] > 0.6
    assert log[-1]["temperature"] != pytest.approx(log[0]["temperature"], rel=1e-3)
    assert "warning" not in capsys.readouterr().err
    trained = load_trained_net(tmp_path / "run/best.pt")
    embeddings = embed_split(trained.model, trained.config, open_eval_split(trained.config, "train"))
    measured = evaluate_avc(trained, embeddings)["avc"]
    assert measured["auc"] > 0.7 and measured["accuracy"] > 0.6
    if net == "VOLNet":
        torch.testing.assert_close(embeddings.v.norm(dim=1), torch.ones_like(embeddings.v[:, 0]))
        pairs = trained.model.pair_logits(embeddings.v, embeddings.a).diagonal()
        torch.testing.assert_close(trained.model.location_logits(embeddings.v, embeddings.a).amax((1, 2)), pairs)


def test_a_run_by_infonce_resumes_bit_for_bit(data, tmp_path):
    short = {"train.epochs": 2, "train.validate_every": 1, "train.schedule": "step"}
    train(data, tmp_path / "whole", "VOLNet", **short)
    train(data, tmp_path / "parts", "VOLNet", **short | {"train.epochs": 1})
    train(data, tmp_path / "parts", "VOLNet", "--resume", **short)
    whole, parts = (checkpoint.load(tmp_path / run / "last.pt") for run in ("whole", "parts"))
    assert "temperature.log_scale" in whole["model"]
    assert all(torch.equal(whole["model"][name], parts["model"][name]) for name in whole["model"])
