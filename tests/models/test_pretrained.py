"""Encoders that start from given weights: files of other nets, a hub out of reach, what training changes of them."""

import copy
import os
import socket
import time

import pytest
import timm
import torch
from helpers import small_checkpoint
from safetensors.torch import save_file
from torch import nn
from torchvision.models import resnet34

from configs.schema import Config, Data, Model, Train
from evaluation.trained_net import load_trained_net
from models import build_net, pretrained
from models.encoders import build_vision_encoder
from models.pretrained import learning_rates, load_encoder_weights, set_up_encoders
from utils import checkpoint
from utils.errors import UserError
from utils.muon import Muon
from utils.optimizers import build_optimizers, pair_with_average, update_ema

SMALL_NET = "test_resnet"  # timm's smallest with batch norm, 0.5 M weights
CPU = torch.device("cpu")


def random_net(name=SMALL_NET):
    """A net of timm with random weights and statistics."""
    torch.manual_seed(1)
    net = timm.create_model(name).train()
    with torch.no_grad():
        net(torch.randn(4, 3, 64, 64))
    return net


def weights_file(folder, name=SMALL_NET):
    net, file = random_net(name), str(folder / "weights.pth")
    torch.save(net.state_dict(), file)
    return net, file


def started(file, **train):
    """An AVE-Net whose frames' encoder starts from a file, and its config."""
    config = Config(
        data=Data(frame_size=64),
        model=Model(vision=SMALL_NET, vision_weights=file, width=4, dim=8),
        train=Train(lr=1e-2, **train),
    )
    torch.manual_seed(0)
    net = build_net(config.model)
    set_up_encoders(net, config, [], resumed=False)
    return net, config


# --------------------------------------------------------------------------------------------------------- bad files


def whole(**changes):
    return random_net().state_dict() | changes


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda: random_net("regnety_002").state_dict(), "doesn't hold weights of test_resnet: it lacks conv1"),
        (lambda: {k: v for k, v in whole().items() if k != "bn1.bias"}, r"it lacks bn1\.bias; give a file of that net"),
        (lambda: whole(**{"bn1.bias": torch.zeros(3)}), r"it has bn1\.bias of shape \(3,\), not \("),
        (lambda: whole(**{"layer1.7.conv1.weight": torch.zeros(3)}), r"it also has layer1\.7\.conv1\.weight"),
        (lambda: whole(**{"bn1.bias": torch.full_like(whole()["bn1.bias"], torch.nan)}), "holds NaN or infinity"),
        (lambda: whole(**{"bn1.bias": torch.zeros(32).to_sparse()}), r"its weight bn1\.bias is sparse"),
        (lambda: whole(**{"bn1.bias": "x"}), r"its weight bn1\.bias is no tensor but str"),
        (lambda: [1, 2], "holds no weights"),
        (lambda: torch.zeros(3), "holds no weights"),
    ],
)
def test_weights_of_another_net_are_refused(content, words, tmp_path):
    file = str(tmp_path / "weights.pth")
    torch.save(content(), file)
    encoder = build_vision_encoder(Model(vision=SMALL_NET))
    before = copy.deepcopy(encoder.state_dict())
    with pytest.raises(UserError, match=words) as error:
        load_encoder_weights(encoder, SMALL_NET, file)
    assert file in str(error.value) and "\n" not in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("encoder", ["resnet18", SMALL_NET])
def test_files_that_are_no_weights_are_refused_by_name(suffix, encoder, tmp_path):
    net = build_vision_encoder(Model(vision=encoder))
    path = tmp_path / f"weights.{suffix}"
    good = tmp_path / f"good.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(random_net().state_dict(), good)
    bad = {
        "empty": b"", "text": b"not weights", "zeros": bytes(5000), "cut": good.read_bytes()[:-1000],
        "header": b"\xff" * 8 + good.read_bytes()[8:], "python": b"cos\nsystem\n(S'echo'\ntR.",
    }  # fmt: skip
    for content in bad.values():
        path.write_bytes(content)
        with pytest.raises(UserError, match=str(path)) as error:
            load_encoder_weights(net, encoder, str(path))
        assert "\n" not in str(error.value)
    path.unlink()
    for make in (lambda: None, path.mkdir, lambda: (path.rmdir(), os.mkfifo(path))):
        make()  # no file, a folder, a pipe
        with pytest.raises(UserError, match=str(path)):
            load_encoder_weights(net, encoder, str(path))


def test_a_resnet34_is_no_resnet18(tmp_path):
    """It has all weights of a ResNet-18, and others."""
    file = str(tmp_path / "resnet34.pth")
    torch.save(resnet34(weights=None).state_dict(), file)
    for encoder in ("resnet18", "resnet10t"):
        with pytest.raises(UserError, match="hold"):
            load_encoder_weights(build_vision_encoder(Model(vision=encoder, vision_weights=file)), encoder, file)


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_weights_may_lie_in_a_training_scripts_checkpoint_with_another_head(key, tmp_path):
    net, file = random_net(), str(tmp_path / "weights.pth")
    torch.save({key: {**net.state_dict(), "projector.weight": torch.zeros(2)}, "epoch": 3}, file)
    encoder = build_vision_encoder(Model(vision=SMALL_NET))
    load_encoder_weights(encoder, SMALL_NET, file)
    assert torch.equal(encoder.net.conv1[0].weight, net.conv1[0].weight)


@pytest.mark.parametrize("setting", ["model.vision_weights", "model.sound_weights"])
def test_without_a_network_the_file_to_bring_is_named(setting, monkeypatch):
    def offline(*_, pretrained=False, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(UserError) as error:
        pretrained._download("resnet50", setting)
    assert str(error.value) == (
        "the weights of resnet50 could not be downloaded (ConnectionError): bring the file model.safetensors from "
        f"https://huggingface.co/timm/resnet50.a1_in1k, and give its path with --{setting} FILE"
    )


def test_without_an_address_of_the_hub_nothing_is_tried_for_a_minute(monkeypatch, tmp_path):
    def no_address(*_):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_address)
    monkeypatch.setattr(pretrained, "getproxies", dict)
    start = time.monotonic()
    with pytest.raises(UserError, match=r"resnet10t could not be downloaded .*model\.safetensors from .*resnet10t"):
        pretrained._download("resnet10t", "model.vision_weights")
    assert time.monotonic() - start < 20


def test_a_net_that_nobody_published_weights_of_says_so(monkeypatch):
    monkeypatch.setattr(timm.models, "get_pretrained_cfg", lambda name: None)
    with pytest.raises(UserError, match="no published weights of no_such_net: set model"):
        pretrained._download("no_such_net", "model.vision_weights")


# ----------------------------------------------------------------------------------------------- what training changes


def train(net, config, steps=3):
    """Some steps of training; returns the optimizers and the average of the weights."""
    groups = net.parameter_groups(20.0, False, learning_rates(config))
    optimizers, average = build_optimizers(config, groups, CPU), copy.deepcopy(net)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = config.train.lr * group["lr_scale"]
    for _ in range(steps):
        net.train()
        logits = net(torch.randn(4, 3, 64, 64), torch.randn(4, 1, 64, 50))[2]
        nn.functional.cross_entropy(logits, torch.arange(4)).backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        update_ema(pair_with_average(average, net), 0.5)
    return optimizers, average


@pytest.mark.parametrize("optimizer", ["adam", "muon", "sgd", "auto"])
def test_a_frozen_encoder_stays_bit_for_bit(optimizer, tmp_path):
    theirs, file = weights_file(tmp_path)
    net, config = started(file, lr_vision=0.0, optimizer=optimizer, freeze_norm=False)
    fc1 = net.vision_fc1.weight.detach().clone()
    _, average = train(net, config)
    assert not torch.equal(net.vision_fc1.weight, fc1)
    for trained in (net, average):
        for name, value in trained.vision.net.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[name]), name


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_a_trained_encoder_changes_slowly_and_keeps_its_statistics(optimizer, tmp_path):
    theirs, file = weights_file(tmp_path)
    start = theirs.state_dict()
    change = {}
    for rate in (0.05, 1.0):
        net, config = started(file, lr_vision=rate, optimizer=optimizer)
        _, average = train(net, config)
        own, averaged = net.vision.net.state_dict(), average.vision.net.state_dict()["conv1.0.weight"]
        assert not torch.equal(averaged, start["conv1.0.weight"]) and not torch.equal(averaged, own["conv1.0.weight"])
        change[rate] = (own["conv1.0.weight"] - start["conv1.0.weight"]).abs().mean().item()
        for name in own:
            if "running" in name or "tracked" in name:
                assert torch.equal(own[name], start[name]), name
        assert not torch.equal(net.audio.conv1_1[1].running_mean, torch.zeros(4))  # the other encoder's are trained
    assert 0 < change[0.05] < 0.2 * change[1.0]


def test_statistics_are_trained_where_that_is_asked_for(tmp_path):
    theirs, file = weights_file(tmp_path)
    net, config = started(file, freeze_norm=False)
    train(net, config)
    statistics = {name for name in theirs.state_dict() if name.endswith("running_mean")}
    own = net.vision.net.state_dict()
    assert statistics and not any(torch.equal(own[name], theirs.state_dict()[name]) for name in statistics)


@pytest.mark.parametrize("name", ["AVENet", "AVOLNet", "L3Net", "PixelPlayer"])
def test_muon_never_trains_pretrained_weights(name, tmp_path):
    _, file = weights_file(tmp_path)
    model = Model(name=name, vision=SMALL_NET, vision_weights=file, width=4)
    config = Config(model=model, train=Train(optimizer="auto"))
    net = build_net(model)
    set_up_encoders(net, config, [], resumed=False)
    if name == "PixelPlayer":
        groups, encoder = net.parameter_groups(0.05, 1.0, 20.0), net.frames.body
    else:
        groups, encoder = net.parameter_groups(20.0, False, learning_rates(config)), net.vision
    optimizers = build_optimizers(config, groups, CPU)
    muon = {id(p) for one in optimizers if isinstance(one, Muon) for group in one.param_groups for p in group["params"]}
    given = {id(p) for p in encoder.parameters()}
    assert muon and not muon & given
    (rates,) = {
        group["lr_scale"] for one in optimizers for group in one.param_groups for p in group["params"] if id(p) in given
    }
    everything = [id(p) for one in optimizers for group in one.param_groups for p in group["params"]]
    assert rates == 0.05 and sorted(everything) == sorted(id(p) for p in net.parameters())


# ----------------------------------------------------------------------------------------- checkpoints and other starts


def test_a_checkpoint_needs_neither_the_file_nor_the_hub(tmp_path, monkeypatch):
    _, file = weights_file(tmp_path)
    path = small_checkpoint(
        tmp_path / "best.pt", **{"model.vision": SMALL_NET, "model.vision_weights": file, "data.frame_size": 32}
    )
    os.unlink(file)
    monkeypatch.setattr(pretrained, "load_encoder_weights", None)
    fc2 = load_trained_net(path).model.vision_fc2
    assert fc2.in_features == 2 * fc2.out_features  # the default pool of given weights


def test_a_checkpoint_of_a_timm_with_other_names_says_which(tmp_path):
    path = small_checkpoint(tmp_path / "best.pt", **{"model.vision": SMALL_NET})
    content = checkpoint.load(path)
    content["model"]["vision.net.stem.weight"] = content["model"].pop("vision.net.conv1.0.weight")
    checkpoint.save(path, content)
    with pytest.raises(UserError) as error:
        load_trained_net(path)
    assert (
        f"2 weights don't fit AVENet, the first is vision.net.conv1.0.weight; that is a layer of {SMALL_NET} of timm "
        f"{timm.__version__}: install the version of timm that the run had"
    ) in str(error.value)


def test_a_size_that_the_net_cant_take_is_refused_at_evaluation_too(tmp_path):
    path = small_checkpoint(tmp_path / "best.pt", **{"model.vision": "test_vit", "data.frame_size": 32})
    load_trained_net(path)
    with pytest.raises(UserError, match=r"best\.pt: model\.vision test_vit can't take frames of 40 x 40 .*32"):
        load_trained_net(path, {"data.frame_size": 40, "data.resize_size": 40})


def test_an_avolnet_starts_from_an_avenets_encoder_not_from_the_file(tmp_path):
    _, file = weights_file(tmp_path)
    net, config = started(file)
    train(net, config, steps=1)
    checkpoint.save(tmp_path / "best.pt", {
        "model": net.state_dict(), "ema": None, "config": {}, "step": 1, "metrics": {}
    })  # fmt: skip
    for name, encoder in (("AVOLNet", "vision"), ("PixelPlayer", "frames.body")):
        model = Model(name=name, vision=SMALL_NET, vision_weights=file, width=4, dim=8)
        other = build_net(model)
        taken = checkpoint.init_from(other, tmp_path / "best.pt")
        set_up_encoders(other, Config(model=model), taken, resumed=False)
        own = other.get_submodule(encoder).state_dict()
        assert all(torch.equal(own[key], value) for key, value in net.vision.state_dict().items())
        if name == "AVOLNet":  # a map of one location: its maximum is its mean
            features = torch.randn(2, other.vision.channels, 1, 1)
            hidden = net.vision_fc1(features.flatten(1)).relu()
            wanted = net.vision_fc2(torch.cat([hidden, hidden], 1))
            vectors = other.conv6(other.conv5(features).relu()).flatten(1)
            torch.testing.assert_close(vectors, wanted, rtol=1e-4, atol=1e-5)


def test_an_encoder_of_which_only_some_weights_fit_starts_from_its_file(tmp_path):
    theirs, file = weights_file(tmp_path)
    net, config = started(file)
    taken = ["vision.net.conv1.0.weight"]
    nn.init.zeros_(net.vision.net.conv1[0].weight)
    set_up_encoders(net, config, taken, resumed=False)
    assert torch.equal(net.vision.net.conv1[0].weight, theirs.conv1[0].weight)
    set_up_encoders(net, config, [f"vision.{name}" for name in net.vision.state_dict()], resumed=False)
    with torch.no_grad():
        net.vision.net.conv1[0].weight.zero_()
    set_up_encoders(net, config, [], resumed=True)
    assert not net.vision.net.conv1[0].weight.any() and net.fixed_statistics == ("vision",)
