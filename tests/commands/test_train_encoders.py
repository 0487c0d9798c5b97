"""Nets whose encoders start from given weights, from end to end: trained, resumed, evaluated, embedded, separated."""

import json
import os

import numpy as np
import pytest
import timm
import torch
from helpers import make_dataset
from kill_and_resume import SMALL, train_command
from torchvision.models import resnet18
from training import PLAIN

import embed
import eval as evaluate
import separate
import train_AVENet
import train_PixelPlayer
import train_VOLNet
from collection import storage
from collection.query import Query
from collection.search_index import open_search_index
from dataset.reading.moments import Moment
from evaluation.trained_net import load_trained_net
from utils import checkpoint

pytestmark = pytest.mark.slow
SETTINGS = SMALL | PLAIN | {
    "data.frame_size": 64, "data.resize_size": 64, "train.epochs": 2, "train.lr": 3e-3, "train.workers": 0,
    "train.ema": 0.9, "train.save_every": 50, "train.log_every": 2, "train.batch_size": 8,
}  # fmt: skip
LITE0 = {"model.vision": "efficientnet_lite0", "model.vision_weights": "imagenet"}
MIX = {
    "data.frame_size": 64, "data.resize_size": 64, "data.sample_rate": 8000, "mix.samples": 8159, "mix.n_fft": 510,
    "mix.hop": 255, "mix.freq_bins": 32, "model.width": 4, "model.sound_width": 4, "model.num_channels": 4,
    "model.unet_depth": 3, "train.batch_size": 4, "train.epochs": 2, "train.workers": 0, "train.avc_warmup": 0.25,
    "train.validate_every": 2,
}  # fmt: skip
SCRIPTS = {"AVENet": train_AVENet, "L3Net": train_AVENet, "VOLNet": train_VOLNet, "PixelPlayer": train_PixelPlayer}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "clips", train=16, val=8, test=8)


def train(data, run_dir, net, settings, *words):
    """Train in this process; returns last.pt."""
    words = train_command(data, run_dir, settings, *words, config=f"configs/demo_{net}.py")
    SCRIPTS[net].main(words[2:])
    return checkpoint.load(run_dir / "last.pt")


@pytest.fixture(scope="module")
def avenet(data, tmp_path_factory):
    """An AVE-Net with EfficientNet-Lite0, fine-tuned."""
    folder = tmp_path_factory.mktemp("run") / "ave"
    train(data, folder, "AVENet", SETTINGS | LITE0)
    return folder


def encoder_of(content, prefix="vision.net."):
    return {name.removeprefix(prefix): value for name, value in content["model"].items() if name.startswith(prefix)}


def test_a_fine_tuned_encoder_is_evaluated_embedded_and_searched(avenet, data, tmp_path):
    net = load_trained_net(avenet / "best.pt")
    assert net.model.vision_fc2.in_features == 2 * 16  # maximum and weighted mean
    evaluate.main(["--checkpoint", str(avenet / "best.pt"), "--out", str(tmp_path / "eval")])
    measured = json.loads((tmp_path / "eval/metrics.json").read_text())
    assert 0 <= measured["avc"]["auc"] <= 1 and measured["retrieval"]["im-aud"]["ndcg"] > 0
    embed.main(["--checkpoint", str(avenet / "best.pt"), "--input", str(data / "test"), "--out", str(tmp_path / "emb")])
    collection = storage.load_collection(tmp_path / "emb.npz")
    assert collection.frames.shape[1] == 16
    found = open_search_index(collection).search(
        Query("image", [Moment(0.0, np.zeros((64, 64, 3), np.uint8), None)], None)
    )
    assert len(found["by"]["image"]["sounds"]["items"]) == 8


def test_avolnet_goes_on_from_avenet_and_pixelplayer_too(avenet, data, tmp_path):
    start = {"model.init_from": avenet / "best.pt", "train.lr_vision": 0}
    tuned = encoder_of(checkpoint.load(avenet / "best.pt") | {"model": checkpoint.load(avenet / "best.pt")["ema"]})
    content = train(data, tmp_path / "vol", "VOLNet", SETTINGS | LITE0 | start | {"model.vision_stride": 16})
    assert all(torch.equal(value, tuned[name]) for name, value in encoder_of(content).items())
    assert load_trained_net(tmp_path / "vol/best.pt").embed_frames(np.zeros((1, 64, 64, 3), np.uint8)).shape == (
        1, 16, 4, 4,
    )  # fmt: skip
    content = train(data, tmp_path / "pixel", "PixelPlayer", MIX | LITE0 | start)
    assert all(torch.equal(value, tuned[name]) for name, value in encoder_of(content, "frames.body.net.").items())
    video = sorted((data / "test/video").glob("*.mp4"))[0]
    separate.main([
        "--checkpoint", str(tmp_path / "pixel/best.pt"), "--video", str(video), "--out", str(tmp_path / "out"),
        "--at", "0.3,0.3",
    ])  # fmt: skip
    assert list((tmp_path / "out").glob("*.wav"))


@pytest.mark.parametrize("net", ["AVENet", "VOLNet", "L3Net", "PixelPlayer"])
def test_torchvisions_resnet_trains_in_every_net_at_the_demos_width_and_is_used_without_its_file(net, data, tmp_path):
    torch.manual_seed(0)
    theirs, file = resnet18(weights=None), tmp_path / "resnet18.pth"
    torch.save(theirs.state_dict(), file)
    settings = (MIX if net == "PixelPlayer" else SETTINGS) | {
        "model.vision": "resnet18", "model.vision_weights": file, "train.lr_vision": 0, "train.epochs": 1,
        **({"model.init_from": ""} if net == "VOLNet" else {}),
    }  # fmt: skip
    content = train(data, tmp_path / "run", net, settings)
    own = encoder_of(content, "frames.body." if net == "PixelPlayer" else "vision.")
    assert own and [name for name, value in own.items() if not torch.equal(value, theirs.state_dict()[name])] == []
    os.unlink(file)
    load_trained_net(tmp_path / "run/best.pt")


@pytest.mark.parametrize("rate", [0, 0.05])
def test_a_run_with_pretrained_encoders_of_frames_and_sounds_resumes_bit_for_bit(rate, data, tmp_path):
    file = tmp_path / "weights.pth"
    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet").state_dict(), file)
    settings = SETTINGS | {
        "model.vision": "test_resnet", "model.vision_weights": file, "train.lr_vision": rate,
        "model.sound": "test_resnet", "model.sound_weights": file, "train.lr_sound": rate, "train.schedule": "step",
        "train.optimizer": "auto",
    }  # fmt: skip
    whole = train(data, tmp_path / "whole", "AVENet", settings)
    train(data, tmp_path / "parts", "AVENet", settings | {"train.epochs": 1})
    os.unlink(file)  # a run has its own weights
    parts = train(data, tmp_path / "parts", "AVENet", settings, "--resume")
    for kept in ("model", "ema"):
        assert all(torch.equal(value, parts[kept][name]) for name, value in whole[kept].items())
