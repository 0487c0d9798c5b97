"""Training on features of a frozen encoder: as training on the frames, stopped, resumed, by several processes."""

import json
import os
import shutil

import pytest
import timm
import torch
from helpers import make_dataset
from kill_and_resume import SMALL, train_command
from training import PLAIN, lines, run

import train_AVENet
import train_VOLNet
from utils import checkpoint
from utils.errors import UserError

# Every sampled time of a clip has its frame among the features: the frame is the same with and without them.
TIMES = {"data.frame_step": 0.1, "data.feature_frames": 6, "data.feature_views": 1}
SETTINGS = SMALL | PLAIN | TIMES | {
    "data.frame_size": 64, "data.resize_size": 64, "augment.crop_min": 1, "augment.crop_max": 1,
    "augment.flip": "false", "train.epochs": 3, "train.lr": 3e-3, "train.workers": 0, "train.batch_size": 8,
    "train.log_every": 1,
    "train.save_every": 50, "train.precision": "fp32", "train.lr_vision": 0, "train.optimizer": "adam",
}  # fmt: skip
LITE0 = {"model.vision": "efficientnet_lite0", "model.vision_weights": "imagenet"}
SCRIPTS = {"AVENet": train_AVENet, "L3Net": train_AVENet, "VOLNet": train_VOLNet}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "clips", train=16, val=6, test=0)


@pytest.fixture
def data(source, tmp_path):
    return shutil.copytree(source, tmp_path / "clips")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A small encoder's weights in a file."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("encoder") / "weights.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), file)
    return {"model.vision": "test_resnet", "model.vision_weights": file}


def train(data, run_dir, settings, *words, net="AVENet"):
    """Train in this process; returns last.pt."""
    words = train_command(data, run_dir, settings, *words, config=f"configs/demo_{net}.py")
    SCRIPTS[net].main(words[2:])
    return checkpoint.load(run_dir / "last.pt")


def folders(data):
    return [path.name for path in sorted((data / "train").iterdir()) if "features" in path.name]


@pytest.mark.parametrize("net", ["AVENet", *(pytest.param(net, marks=pytest.mark.slow) for net in ("VOLNet", "L3Net"))])
def test_training_on_plain_features_is_training_on_the_frames(net, data, encoder, tmp_path):
    settings = SETTINGS | encoder | ({"model.init_from": ""} if net == "VOLNet" else {})
    kept = train(data, tmp_path / "kept", settings, net=net)
    assert len(folders(data)) == 1
    frames = train(data, tmp_path / "frames", settings | {"data.feature_views": 0}, net=net)
    assert len(folders(data)) == 1
    for one, other in zip(lines(tmp_path / "kept", "train"), lines(tmp_path / "frames", "train"), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=2e-2)
    for name, value in frames["model"].items():
        if name.startswith("vision."):
            assert torch.equal(kept["model"][name], value), name
    start, end = (lines(tmp_path / "kept", "train")[k]["loss"] for k in (0, -1))
    assert start != pytest.approx(end, rel=2e-2)  # else the comparison above says little


@pytest.mark.parametrize("net", ["AVENet", pytest.param("VOLNet", marks=pytest.mark.slow)])
def test_tuning_the_last_stages_on_features_of_the_first_is_tuning_them_on_frames(net, data, encoder, tmp_path):
    settings = SETTINGS | encoder | {"train.lr_vision": 0.5, "train.tuned_stages": 2}
    settings |= {"model.init_from": ""} if net == "VOLNet" else {}
    kept = train(data, tmp_path / "kept", settings, net=net)
    assert len(folders(data)) == 1
    train(data, tmp_path / "frames", settings | {"data.feature_views": 0}, net=net)
    for one, other in zip(lines(tmp_path / "kept", "train"), lines(tmp_path / "frames", "train"), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=2e-2)
    start = torch.load(encoder["model.vision_weights"])
    for name, value in kept["model"].items():
        part = name.removeprefix("vision.net.")
        if part != name:
            learned = part.startswith(("layer3", "layer4")) and part.endswith(("weight", "bias"))
            assert torch.equal(value, start[part]) is not learned, name


def test_a_resumed_run_goes_on_to_tune_the_same_stages(data, encoder, tmp_path):
    settings = SETTINGS | encoder | {"train.lr_vision": 0.5, "train.tuned_stages": 1, "train.schedule": "step"}
    whole = train(data, tmp_path / "whole", settings)
    train(data, tmp_path / "parts", settings | {"train.epochs": 1})
    parts = train(data, tmp_path / "parts", settings, "--resume")
    assert len(folders(data)) == 1
    for name, value in whole["model"].items():
        torch.testing.assert_close(parts["model"][name], value, msg=name)


def test_the_features_of_a_resumed_run_are_those_of_its_own_encoder(data, encoder, tmp_path, capfd):
    weights = tmp_path / "weights.pth"
    settings = SETTINGS | encoder | {"model.vision_weights": shutil.copy(encoder["model.vision_weights"], weights)}
    whole = train(data, tmp_path / "whole", settings)
    train(data, tmp_path / "parts", settings | {"train.epochs": 1, "train.schedule": "step"})
    os.unlink(weights)
    capfd.readouterr()
    with pytest.raises(UserError, match=r"data\.feature_views 1, not 2"):
        train(data, tmp_path / "whole", settings | {"data.feature_views": 2}, "--resume")
    shutil.rmtree(tmp_path / "parts/tensorboard")
    parts = train(data, tmp_path / "parts", settings | {"train.schedule": "step"}, "--resume")
    assert f"frames' features: read from {data / 'train' / folders(data)[0]}" in capfd.readouterr().err
    assert len(folders(data)) == 1 and parts["step"] == whole["step"] == 6


def test_a_run_of_an_older_version_goes_on_with_frames(data, encoder, tmp_path):
    settings = SETTINGS | encoder | {"data.feature_views": 0}
    train(data, tmp_path / "run", settings | {"train.epochs": 1})
    content = checkpoint.load(tmp_path / "run/last.pt")
    for name in ("feature_views", "feature_frames", "features_dir"):
        del content["config"]["data"][name]
    checkpoint.save(tmp_path / "run/last.pt", content)
    resumed = {name: value for name, value in settings.items() if name != "data.feature_frames"}
    assert train(data, tmp_path / "run", resumed, "--resume")["step"] == 6
    assert folders(data) == []


@pytest.mark.slow
def test_two_processes_train_on_features_that_the_first_has_computed(data, encoder, tmp_path):
    words = train_command(data, tmp_path / "run", SETTINGS | encoder | {"train.gather": "all"})
    words = [words[0], "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *words[1:]]
    done = run(words)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("(computed in") == 1 and len(folders(data)) == 1
    assert checkpoint.load(tmp_path / "run/last.pt")["step"] == 6


@pytest.mark.slow
def test_efficientnet_lite0_as_a_user_trains_it(data, tmp_path):
    settings = SMALL | LITE0 | {"train.lr_vision": 0, "train.epochs": 1, "train.batch_size": 8, "train.workers": 2}
    first = run(train_command(data, tmp_path / "run", settings))
    assert first.returncode == 0 and "(computed in" in first.stderr, first.stderr
    about = json.loads((data / "train" / folders(data)[0] / "about.json").read_text())
    assert about["encoder"] == "efficientnet_lite0" and about["views"] == ["plain", "mirrored", *["augmented"] * 2]
    for path in [*(data / "train/video").iterdir()]:
        os.chmod(path, 0)
    again = run(train_command(data, tmp_path / "run", settings | {"train.epochs": 3}, "--resume"))
    assert again.returncode == 0 and "read from" in again.stderr, again.stderr
    assert checkpoint.load(tmp_path / "run/last.pt")["step"] == 6
