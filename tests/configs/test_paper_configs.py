"""paper_*.py train as the papers say, and config_*.py depart from them only where the page of departures says so."""

from pathlib import Path

import pytest

from utils.config import list_settings, load_config

# What OtS sec. 3.1, 3.3 and 5 state, and paper_facts; settings of the nets' sizes are the defaults of the schema.
PAPER = {
    "data.frame_size": 224, "data.sample_rate": 48000, "data.misalignment": 1.0, "model.width": 64, "model.dim": 128,
    "model.dropout": 0.0, "train.batch_size": 2048, "train.optimizer": "adam", "train.weight_decay": 1e-5,
    "train.schedule": "step", "train.warmup": 0.0, "train.ema": 0.0, "train.negatives": "one", "train.gather": "rank",
    "train.data_dependent_init": False, "train.last_layer_lr_mult": 1.0, "train.last_layer_decay": True,
    "train.precision": "fp32", "augment.gain": 0.1, "augment.ramp": 0.0, "eval.flip_tta": False, "eval.k": 30,
    "spectrogram.window": 0.01, "spectrogram.hop": 0.005, "spectrogram.n_mels": 0,
}  # fmt: skip
DEPARTURES = {"train.negatives", "train.data_dependent_init", "train.last_layer_lr_mult", "train.last_layer_decay"}


def settings(name):
    return {name: setting.value for name, setting in list_settings(load_config(f"configs/{name}.py")).items()}


@pytest.mark.parametrize("net", ["AVENet", "VOLNet"])
def test_the_papers_config_has_the_papers_values(net):
    paper = settings(f"paper_{net}")
    assert {name: paper[name] for name in PAPER} == PAPER


@pytest.mark.parametrize(("net", "more"), [("AVENet", {"model.logit_scale"}), ("VOLNet", set())])
def test_the_full_size_config_departs_where_it_says(net, more):
    paper, ours = settings(f"paper_{net}"), settings(f"config_{net}")
    different = {name for name in paper if paper[name] != ours[name]} - {"train.run_dir", "train.precision"}
    assert different == DEPARTURES | more
    text = Path("configs/config_AVENet.py").read_text(encoding="utf-8")
    assert all(name in text for name in DEPARTURES | more)
