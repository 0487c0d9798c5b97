"""The dilated ResNet-18 against torchvision's strided one; checkpoints whose ResNet-18 had another layout."""

import pytest
import torch
from helpers import relative_error, small_checkpoint
from torch import nn
from torchvision.models import resnet18

from evaluation.trained_net import load_trained_net
from models import build_net
from models.resnet import DilatedResNet18
from utils import checkpoint
from utils.config import override, to_dict
from utils.errors import UserError
from utils.run import Run


def torchvisions(ours):
    """torchvision's ResNet-18 with random weights and statistics, in eval mode; `ours` gets the same."""
    torch.manual_seed(0)
    theirs = resnet18(weights=None).eval()
    for layer in theirs.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for values in (layer.running_mean, layer.bias):
                nn.init.normal_(values)
            for values in (layer.running_var, layer.weight):
                nn.init.uniform_(values, 0.5, 1.5)
    ours.load_state_dict({name: value for name, value in theirs.state_dict().items() if not name.startswith("fc.")})
    return theirs


def features(net, frames):
    """What torchvision's net computes before its pool."""
    for name, layer in net.named_children():
        if name == "avgpool":
            return frames
        frames = layer(frames)
    raise AssertionError


@pytest.mark.parametrize("sides", [(64, 64), (224, 224), (96, 160), (75, 113), (33, 250)])
def test_every_second_location_is_what_the_strided_net_computes(sides):
    ours = DilatedResNet18().eval()
    theirs, frames = torchvisions(ours), torch.randn(2, 3, *sides)
    with torch.no_grad():
        found, wanted = ours(frames), features(theirs, frames)
    assert found.shape[2:] == tuple(-(-side // 16) for side in sides)
    assert found[..., ::2, ::2].shape == wanted.shape
    assert relative_error(found[..., ::2, ::2], wanted) < 1e-5


def test_the_layout_of_older_versions_dilates_the_stage_as_a_whole():
    ours = DilatedResNet18(first_dilation=2).eval()
    theirs, frames = torchvisions(ours), torch.randn(1, 3, 64, 96)
    for name in ("0.conv1", "0.downsample.0"):
        theirs.get_submodule(f"layer4.{name}").stride = (1, 1)
    for layer in theirs.layer4.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
            layer.dilation = layer.padding = (2, 2)
    with torch.no_grad():
        assert relative_error(ours(frames), features(theirs, frames)) < 1e-5


# ---------------------------------------------------------------------------------------------------- old checkpoints

PIXELPLAYER = {
    "model.name": "PixelPlayer", "model.num_channels": 4, "model.sound_width": 2, "model.unet_depth": 3,
    "mix.samples": 511, "mix.n_fft": 30, "mix.hop": 8, "mix.freq_bins": 16, "mix.frames": 1,
}  # fmt: skip
ADDED = ("mix.clip", "mix.frame_fit", "mix.log_floor", "model.unet_bias", "model.unet_init", "train.lr_vision_head")
NETS = [{"model.name": name, "model.vision": "resnet18"} for name in ("AVENet", "AVOLNet", "L3Net")]


def as_version_3(path, **settings):
    """A checkpoint of a net with a ResNet-18, as config version 3 wrote it."""
    if settings["model.name"] == "PixelPlayer":
        settings = {"model.unet_bias": True, "data.cache_gb": 0, **settings}
        path = pixelplayer_checkpoint(path, settings)
    else:
        path = small_checkpoint(path, **settings)
    content = checkpoint.load(path)
    for name in ADDED:
        section, key = name.split(".")
        content["config"].get(section, {}).pop(key, None)
    checkpoint.save(path, content | {"config_version": 3, "optimizer": []})
    return path


def pixelplayer_checkpoint(path, settings):
    """An untrained PixelPlayer: `small_checkpoint` starts nets of correspondence only."""
    from kill_and_resume import SMALL

    from configs.schema import Config

    known = {name: value for name, value in SMALL.items() if not name.startswith("train.negatives")}
    config = override(Config(), {**known, **settings})
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(
        path, {"config": to_dict(config), "model": build_net(config.model).state_dict(), "ema": None, "step": 0}
    )
    return path


@pytest.mark.parametrize("settings", [PIXELPLAYER, *NETS], ids=lambda settings: settings["model.name"])
def test_an_old_checkpoint_keeps_its_layout_and_says_so(tmp_path, capsys, settings):
    path = as_version_3(tmp_path / "best.pt", **settings)
    net = load_trained_net(path)
    body = net.model.frames.body if settings is PIXELPLAYER else net.model.vision
    assert net.config.model.vision == "resnet18_v3" and body.layer4[0].conv1.dilation == (2, 2)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and str(path) in said and "resnet18_v3" in said
    new = override(net.config, {"model.vision": "resnet18"})
    assert build_net(new.model).state_dict().keys() == net.model.state_dict().keys()


def test_an_old_checkpoint_without_a_resnet_says_nothing(tmp_path, capsys):
    path = as_version_3(tmp_path / "best.pt", **{"model.name": "AVENet"})
    assert load_trained_net(path).config.model.encoder == "convnet" and capsys.readouterr().err == ""


def test_an_old_run_is_resumed_in_its_layout_only(tmp_path, capsys):
    path = as_version_3(tmp_path / "run/last.pt", **PIXELPLAYER, **{"train.run_dir": str(tmp_path / "run")})
    old = load_trained_net(path).config
    new = override(old, {"model.vision": "resnet18", "mix.log_floor": 1e-10, "mix.clip": True})
    with pytest.raises(UserError) as refused:
        Run(new, resume=True)
    for option in ("--model.vision resnet18_v3", "--mix.log_floor 0.0001", "--mix.clip False"):  # all of them at once
        assert option in str(refused.value)
    assert "\n" not in str(refused.value)
    capsys.readouterr()
    Run(old, resume=True).close()
    assert "resnet18_v3" in capsys.readouterr().err


def test_a_resnet_of_one_layout_is_no_start_for_the_other(tmp_path, capsys):
    path = as_version_3(tmp_path / "best.pt", **NETS[0])
    old = load_trained_net(path).config
    start = {"model.init_from": str(path), "train.run_dir": str(tmp_path / "run")}
    config = override(old, start | {"model.vision": "resnet18"})
    with pytest.raises(UserError, match=r"another encoder of frames \(resnet18_v3\).*--model\.vision resnet18_v3"):
        Run(config).init_from(build_net(config.model))
    config = override(old, start | {"train.run_dir": str(tmp_path / "other")})
    net = build_net(config.model)
    assert len(Run(config).init_from(net)) == len(net.state_dict())


def test_a_start_says_what_was_taken_and_what_was_not(tmp_path, capsys):
    path = small_checkpoint(tmp_path / "best.pt")  # whose frame net has other layers
    start = {"model.vision": "resnet18", "model.init_from": str(path), "train.run_dir": str(tmp_path / "run")}
    config = override(load_trained_net(path).config, start)
    net = build_net(config.model)
    capsys.readouterr()
    taken = Run(config).init_from(net)
    (said,) = capsys.readouterr().err.strip().splitlines()
    own = net.state_dict()
    frames = [name for name in own if name.startswith("vision.")]
    assert f"{len(taken)} of {len(own)} weights taken from {path}" in said
    before, after = said.split("; not taken")
    assert "audio (" in before and f"vision ({len(frames)})" in after and "audio" not in after


def test_an_efficientnet_of_another_size_is_no_start_though_some_of_its_weights_fit(tmp_path):
    settings = {"model.vision": "efficientnet_lite2", "model.width": 4}
    path = small_checkpoint(tmp_path / "best.pt", **settings)
    config = override(
        load_trained_net(path).config,
        {"model.init_from": str(path), "model.vision": "efficientnet_lite0", "train.run_dir": str(tmp_path / "run")},
    )
    with pytest.raises(UserError, match=r"another encoder of frames \(efficientnet_lite2\) than this net \(efficien"):
        Run(config).init_from(build_net(config.model))
