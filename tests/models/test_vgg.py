"""The VGG16 baseline: its layer, its weights from the hub's folder or a file, and one sentence for what goes wrong."""

import urllib.error
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import vgg16

from models import vgg
from utils.errors import UserError


class Small(nn.Module):
    """A net of VGG's parts in the same order, thousands of times smaller."""

    def __init__(self, init_weights=True, classes=4):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.ReLU(True), nn.MaxPool2d(2))
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(98, 6), nn.ReLU(True), nn.Dropout(), nn.Linear(6, 5), nn.ReLU(True), nn.Dropout(),
            nn.Linear(5, classes),
        )  # fmt: skip


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Small nets in the place of 528 MB, an empty hub folder, and no network: its path in the hub folder."""
    monkeypatch.setattr(vgg, "vgg16", Small)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)

    def offline(*_, **__):
        raise urllib.error.URLError(OSError(101, "Network is unreachable"))

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    return tmp_path / "cache" / "hub" / "checkpoints" / "vgg16-397923af.pth"


def saved(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def refusal(weights):
    with pytest.raises(UserError) as caught:
        vgg.vgg16_features(weights)
    message = str(caught.value)
    assert "\n" not in message and "vgg16-397923af.pth" in message
    return message


def test_it_is_torchvisions_vgg16_up_to_the_4096_of_its_last_hidden_layer():
    with torch.device("meta"):  # shapes only
        net = vgg.VGG16Features(vgg16(init_weights=False))
        for side in (32, 224):
            assert net.embed_frames(torch.empty(2, 3, side, side)).shape == (2, 4096)
    assert sum(weight.numel() for weight in net.parameters()) == 138_357_544 - 4096 * 1000 - 1000  # but for the classes
    assert vgg.URL.startswith("https://download.pytorch.org/") and vgg.FILE == "vgg16-397923af.pth"


def test_embeddings_are_the_last_hidden_layer_at_unit_length(small):
    whole = Small().eval()
    nn.init.ones_(whole.classifier[3].bias)  # or the ReLU may leave nothing of a random layer of 5
    net = vgg.vgg16_features(saved(small.parent / "mine.pth", whole.state_dict()))
    frames = torch.randn(3, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    heard = []
    whole.classifier[6].register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0]))
    whole.classifier(whole.avgpool(whole.features(frames)).flatten(1))
    for mode in (False, True):  # nothing is random, whatever the mode
        v = net.train(mode).embed_frames(frames)
        assert v.dtype == torch.float32 and torch.allclose(v, F.normalize(heard[0], dim=1), atol=1e-6)
        assert torch.allclose(v.norm(dim=1), torch.ones(3), atol=1e-5) and (v >= 0).all() and not v.requires_grad


def test_weights_come_from_the_hubs_folder_if_they_are_there_without_a_download(small):
    weights = Small().state_dict()
    saved(small, weights)
    net = vgg.vgg16_features("imagenet")
    assert torch.equal(net.hidden[0].weight, weights["classifier.0.weight"]) and not net.training
    assert next(net.parameters()).device.type == "cpu" and not any(p.requires_grad for p in net.parameters())


def test_weights_are_downloaded_only_when_asked_for_and_then_checked_by_their_digits(small, monkeypatch):
    calls = []

    def download(url, path, digits, **_):
        calls.append((url, Path(path), digits))
        saved(small, Small().state_dict())

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    vgg.vgg16_features(saved(small.parent / "mine.pth", Small().state_dict()))
    assert calls == []
    for _ in range(2):
        vgg.vgg16_features("imagenet")
    assert calls == [("https://download.pytorch.org/models/vgg16-397923af.pth", small, "397923af")]


def test_half_precision_weights_are_taken_too(small):
    net = vgg.vgg16_features(saved(small.parent / "half.pth", Small().half().state_dict()))
    assert net.embed_frames(torch.zeros(1, 3, 20, 20)).dtype == torch.float32


def test_without_a_network_the_sentence_says_where_to_put_the_file(small):
    message = refusal("imagenet")
    assert "could not be downloaded from https://download.pytorch.org" in message and "unreachable" in message
    assert f"into {small.parent}, or give its path" in message


def test_a_download_that_arrives_damaged_is_refused(small, monkeypatch):
    def download(*_, **__):
        raise RuntimeError('invalid hash value (expected "397923af", got "00")')

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    assert "could not be downloaded from" in (message := refusal("imagenet")) and "invalid hash value" in message


class Code:
    def __reduce__(self):
        return Path.touch, (Path("touched"),)


def cut(path):
    path.write_bytes(path.read_bytes()[:-200])


BAD = {
    "cut short": (cut, "damaged"),
    "empty": (lambda path: path.write_bytes(b""), "damaged"),
    "a web page": (lambda path: path.write_bytes(b"<html>404</html>"), "damaged"),
    "code": (lambda path: torch.save({"features.0.weight": Code()}, path), "damaged"),
    "no table": (lambda path: torch.save([1, 2], path), "does not hold the weights of torchvision's VGG16"),
    "a number for a weight": (lambda path: torch.save({"features.0.weight": 1}, path), "does not hold the weights"),
    "other shapes": (lambda path: torch.save(Small(classes=9).state_dict(), path), "does not hold the weights"),
    "a weight too few": (lambda path: torch.save(dict([*Small().state_dict().items()][1:]), path), "does not hold"),
}


@pytest.mark.parametrize(("ruin", "reason"), BAD.values(), ids=BAD)
def test_a_bad_file_is_refused_in_one_sentence(small, monkeypatch, tmp_path, ruin, reason):
    monkeypatch.chdir(tmp_path)
    for weights in (small, "imagenet"):
        saved(small, Small().state_dict())
        ruin(small)
        message = refusal(weights)
        assert reason in message and str(small.parent) in message
    assert not Path("touched").exists()


def test_a_file_that_is_not_there_is_named(small, tmp_path):
    assert f"{tmp_path}/none.pth (No such file or directory)" in refusal(tmp_path / "none.pth")
    assert f"{tmp_path} (Is a directory)" in refusal(str(tmp_path))
