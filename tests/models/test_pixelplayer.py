"""The nets of The Sound of Pixels against references in numpy and torchvision; masks; ImageNet's weights."""

import numpy as np
import pytest
import torch
from helpers import relative_error
from torchvision.models import ResNet18_Weights, resnet18

from configs.config_PixelPlayer import config as paper
from evaluation.measures.separation import snr_improvement
from models import build_net, imagenet
from models.avenet import AVENet, ConvEncoder
from models.losses import mask_loss
from models.pixelplayer import PixelPlayer, UNet
from models.resnet import DilatedResNet18
from utils import checkpoint
from utils.config import override
from utils.errors import UserError
from utils.health import diagnose_masks, mask_metrics
from utils.optimizers import build_optimizers, learning_rate

# ------------------------------------------------------------------------------------- the net in numpy, float64


def convolve(x, weight, bias, stride, pad):
    """A convolution as its definition says: (C, H, W) -> (O, H', W')."""
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    size = weight.shape[2]
    rows, columns = ((side - size) // stride + 1 for side in x.shape[1:])
    out = np.zeros((len(weight), rows, columns))
    for r in range(rows):
        for c in range(columns):
            part = x[:, r * stride : r * stride + size, c * stride : c * stride + size]
            out[:, r, c] = (weight * part).sum((1, 2, 3))
    return out + (0 if bias is None else bias[:, None, None])


def doubled(x):
    """Twice the size, bilinear, corners on corners."""
    for axis in (1, 2):
        n = x.shape[axis]
        place = np.linspace(0, n - 1, 2 * n)
        low = np.minimum(place.astype(int), max(n - 2, 0))
        share = np.expand_dims(place - low, [0, 3 - axis])
        x = np.take(x, low, axis) * (1 - share) + np.take(x, np.minimum(low + 1, n - 1), axis) * share
    return x


def normed(x, weights, name):
    mean, var, scale, shift = (
        weights[f"{name}.{k}"][:, None, None] for k in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / np.sqrt(var + 1e-5) * scale + shift


def reference(spectrogram, weights, levels, detail):
    """The U-Net of one spectrogram, (F, T) -> (K, F, T), in numpy's float64 from its weights by name."""
    x, seen = normed(spectrogram[None], weights, "norm"), []
    whole = x
    for k in range(levels):
        x = x if k == 0 else np.where(x > 0, x, 0.2 * x)
        x = convolve(x, weights[f"down.{k}.0.weight"], weights.get(f"down.{k}.0.bias"), 2, 1)
        x = normed(x, weights, f"down.{k}.1") if 0 < k < levels - 1 else x
        seen.append(x)
    x = seen[-1]
    for k in range(levels):
        x = x if k == 0 else np.concatenate([x, seen[levels - 1 - k]])
        x = doubled(np.maximum(x, 0))
        x = np.concatenate([x, whole]) if detail and k == levels - 1 else x
        x = convolve(x, weights[f"up.{k}.0.weight"], weights.get(f"up.{k}.0.bias"), 1, 1)
        x = normed(x, weights, f"up.{k}.1") if detail or k < levels - 1 else x
    if detail:
        x = convolve(np.maximum(x, 0), weights[f"up.{k}.3.weight"], weights[f"up.{k}.3.bias"], 1, 0)
    return x


def shaken(net):
    """All weights and statistics as if it had been trained: none of them at 0 or 1."""
    torch.manual_seed(1)
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.5 if "var" in name or value.ndim == 1 else torch.randn_like(value))
    return net.eval()


def in_numpy(net):
    return {name: value.double().numpy() for name, value in net.state_dict().items()}


@pytest.mark.parametrize(("detail", "bias"), [(False, False), (True, True), (False, True)])
@pytest.mark.parametrize(("levels", "rows", "columns"), [(2, 8, 4), (4, 16, 32), (5, 32, 32)])
def test_the_sound_net_equals_a_reference_in_float64(levels, rows, columns, detail, bias):
    net = shaken(UNet(3, 2, levels, detail, bias).double())
    assert sum("down" in name and "bias" in name for name in net.state_dict()) == levels - 2 + 2 * bias
    spectrograms = torch.randn(2, 1, rows, columns, dtype=torch.float64)
    found = net(spectrograms).detach().numpy()
    assert found.shape == (2, 3, rows, columns)
    for one, spectrogram in zip(found, spectrograms.numpy(), strict=True):
        wanted = reference(spectrogram[0], in_numpy(net), levels, detail)
        assert relative_error(one, wanted) < 1e-9


def test_the_papers_sound_net_has_7_levels_and_32_maps():
    net = build_net(paper.model).sounds
    assert [layer[0].out_channels for layer in net.down] == [64, 128, 256, 512, 512, 512, 512]
    assert [layer[0].out_channels for layer in net.up] == [512, 512, 512, 256, 128, 64, 32]
    seen = []
    net.down[-1].register_forward_hook(lambda *found: seen.append(found[2].shape))
    assert net.eval()(torch.zeros(1, 1, 256, 256)).shape == (1, 32, 256, 256) and seen == [(1, 512, 2, 2)]


def test_the_synthesizer_is_a_weighted_sum_of_maps_with_a_bias():
    net = shaken(PixelPlayer(5, 4, 2, 2))
    features, maps = torch.rand(3, 2, 5), torch.randn(3, 5, 8, 4)
    found = net.mask_logits(features, maps).detach().numpy()
    scale, bias = net.synthesizer.scale.detach().double().numpy(), net.synthesizer.bias.item()
    wanted = np.zeros((3, 2, 8, 4)) + bias
    for k in range(5):
        wanted += features.double().numpy()[:, :, k, None, None] * scale[k] * maps.double().numpy()[:, None, k]
    assert relative_error(found, wanted) < 1e-6


# ------------------------------------------------------------------------------------------------------ pictures


def test_features_are_the_maximum_over_frames_and_places():
    net = shaken(PixelPlayer(4, 2, 2, 2))
    frames = torch.randn(2, 3, 3, 32, 48)
    each = torch.stack([net.pixel_features(frames[:, t]) for t in range(3)], 1)  # (B, T, K, h, w)
    assert each.shape == (2, 3, 4, 2, 3)
    assert torch.allclose(net.frame_features(frames), each.amax((1, 3, 4)), atol=1e-6)


def test_a_pixels_mask_is_that_of_a_picture_with_its_features():
    net = shaken(PixelPlayer(4, 2, 2, 2))
    features, maps = torch.rand(4, 5, 3), torch.randn(4, 8, 8)
    masks = list(net.masks_at_pixels(features, maps, rows=2))
    assert [len(part) for part in masks] == [2, 2, 1]
    masks = torch.cat(masks)
    assert masks.shape == (5, 3, 8, 8)
    one = torch.sigmoid(net.mask_logits(features[:, 4, 2][None, None], maps[None]))
    assert torch.allclose(masks[4, 2], one[0, 0])


def test_forward_joins_pictures_with_the_mixture():
    net = shaken(PixelPlayer(4, 2, 2, 2))
    frames, spectrograms = torch.randn(2, 3, 1, 3, 32, 32), torch.randn(2, 1, 8, 8)
    logits = net(frames, spectrograms)
    assert logits.shape == (2, 3, 8, 8)
    wanted = net.mask_logits(net.frame_features(frames[1])[None], net.sound_maps(spectrograms[1:]))
    assert relative_error(logits[1:], wanted) < 1e-5  # logits reach 1,000


@pytest.mark.parametrize("detail", [False, True])
def test_a_start_from_data_makes_pictures_differ_and_changes_no_other_layer(detail):
    torch.manual_seed(0)
    net = PixelPlayer(6, 4, 4, 3, detail=detail)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    frames, spectrograms = torch.randn(32, 1, 3, 32, 32), torch.randn(32, 1, 16, 16)
    net.data_dependent_init(frames, spectrograms)
    features, maps = net.frame_features(frames).logit(), net.sound_maps(spectrograms)
    assert torch.allclose(features.std(0), torch.full((6,), 2.0), atol=0.05) and features.mean(0).abs().max() < 0.05
    assert torch.allclose(maps.std((0, 2, 3)), torch.ones(6), atol=0.05)
    changed = {name for name, p in net.named_parameters() if not torch.equal(p, before[name])}
    last = "sounds.up.2.3" if detail else "sounds.up.2.0"
    assert changed == {"frames.head.weight", "frames.head.bias", f"{last}.weight", f"{last}.bias"}


def test_the_plain_frame_net_starts_from_ave_nets_pictures(tmp_path):
    ave, net = AVENet(4, 16, 0.0), PixelPlayer(4, 4, 2, 2, ConvEncoder(3, 4))
    checkpoint.save(tmp_path / "best.pt", {"model": ave.state_dict(), "ema": None, "config": {}, "step": 0})
    taken = checkpoint.init_from(net, tmp_path / "best.pt")
    assert set(taken) == {f"frames.body.{name}" for name in net.frames.body.state_dict()}
    assert torch.equal(net.frames.body.conv4_2[0].weight, ave.vision.conv4_2[0].weight)
    net.add_avc_branch(width=4, dim=16)  # an AVE-Net: it takes the other weights
    assert set(checkpoint.init_from(net, tmp_path / "best.pt")) - set(taken) == {
        f"match.{name}" for name in ave.state_dict() if not name.startswith("vision.")
    }
    assert torch.equal(net.match.fc3.bias, ave.fc3.bias)


# -------------------------------------------------------------------------------------------- ImageNet's weights


def test_imagenets_weights_are_torchvisions(tmp_path):
    theirs, file = resnet18(weights=None), str(tmp_path / "resnet18.pth")
    torch.save(theirs.state_dict(), file)
    body = DilatedResNet18()
    imagenet.load_imagenet_resnet18(body, file)
    assert torch.equal(body.layer4[1].conv2.weight, theirs.layer4[1].conv2.weight)
    assert torch.equal(body.bn1.running_var, theirs.bn1.running_var) and body.conv1.weight.requires_grad
    larger = theirs.state_dict() | {"layer1.2.conv1.weight": torch.zeros(64, 64, 3, 3)}  # as a ResNet-34 has
    for content in ({"conv1.weight": theirs.conv1.weight}, larger):
        torch.save(content, file)
        with pytest.raises(UserError, match="does not hold the weights of torchvision's ResNet-18"):
            imagenet.load_imagenet_resnet18(body, file)


def test_without_a_network_imagenets_weights_are_asked_for_in_one_sentence(monkeypatch, tmp_path):
    def offline(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(UserError, match=r"Network is unreachable.*put the file resnet18-\w+\.pth into") as error:
        imagenet.load_imagenet_resnet18(DilatedResNet18(), "imagenet")
    assert "\n" not in str(error.value)
    assert ResNet18_Weights.IMAGENET1K_V1.url == imagenet.RESNET18


# ------------------------------------------------------------------------------------------------- loss, training


def test_the_loss_of_binary_masks_is_weighted_cross_entropy():
    logits, targets = torch.randn(2, 2, 3, 4), (torch.rand(2, 2, 3, 4) > 0.5).float()
    weights = torch.rand(2, 1, 3, 4)
    p = 1 / (1 + np.exp(-logits.double().numpy()))
    t, w = targets.double().numpy(), weights.double().numpy()
    wanted = (-(t * np.log(p) + (1 - t) * np.log(1 - p)) * w).mean()
    assert mask_loss(logits, targets, weights, "binary").item() == pytest.approx(wanted, rel=1e-5)
    assert mask_loss(logits, 3 * targets, weights, "ratio").item() == pytest.approx(
        (w * abs(p - 3 * t)).mean(), rel=1e-5
    )


def test_what_the_log_says_of_masks():
    targets = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    weights = torch.rand(1, 1, 4, 4)
    sure = (targets - 0.5) * 20
    found = mask_metrics(sure, targets, weights)
    assert found["accuracy"] == pytest.approx(1) and found["mask_difference"] == pytest.approx(1, abs=1e-3)
    found = mask_metrics(torch.ones(1, 2, 4, 4), targets, weights)
    assert found["accuracy"] == pytest.approx(0.5) and found["mask_difference"] == 0
    assert "frames" in diagnose_masks(found) and diagnose_masks({"mask_difference": 0.3}) is None
    assert "by chance" in diagnose_masks({"avc_accuracy": 0.51}) and diagnose_masks({"avc_accuracy": 0.8}) is None


def test_the_gain_is_0_for_the_mixture_and_counts_decibels():
    truths = torch.randn(3, 2, 1000)
    assert snr_improvement(truths, truths.sum(1, keepdim=True).expand_as(truths)).abs().max() < 1e-4
    nearer = truths + 0.1 * truths.flip(1)  # a tenth of the other source is left of it
    assert torch.allclose(snr_improvement(truths, nearer), torch.full((3,), 20.0), atol=1e-3)
    silent = truths * torch.tensor([1.0, 0.0])[:, None]
    assert snr_improvement(silent, silent).isnan().all()


def test_sgd_with_the_papers_rates_for_each_part():
    net, train = PixelPlayer(4, 2, 2, 2), paper.train
    (sgd,) = build_optimizers(
        paper,
        net.parameter_groups(train.lr_vision, train.lr_vision_head, train.last_layer_lr_mult),
        torch.device("cpu"),
    )
    assert isinstance(sgd, torch.optim.SGD)
    rates = {}
    for group in sgd.param_groups:
        assert group["momentum"] == 0.9 and group["weight_decay"] == 1e-4
        rates |= {id(p): group["lr_scale"] * learning_rate(train, 0.1) for p in group["params"]}
    assert len(rates) == len(list(net.parameters()))
    assert all(rates[id(p)] == pytest.approx(1e-4) for p in net.frames.body.parameters())
    for part in (net.sounds, net.synthesizer, net.frames.head):
        assert all(rates[id(p)] == pytest.approx(1e-3) for p in part.parameters())
    found = [learning_rate(train, epoch / 100) for epoch in (0, 39.9, 40, 79.9, 80, 100)]
    assert found == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])


def test_matches_are_learned_by_the_frame_net_too_and_have_no_part_in_masks():
    torch.manual_seed(0)
    net = PixelPlayer(4, 2, 2, 3, ConvEncoder(3, 2))
    net.add_avc_branch(width=2, dim=8)
    frames, sounds = torch.randn(5, 2, 3, 32, 32), torch.randn(5, 1, 32, 20)
    seen = net.frames.backbone_features(frames)
    assert seen.shape == (5, 16, 2, 2, 2) and torch.equal(net.pooled_features(seen), net.frame_features(frames))
    v, a, logits = net.match(seen, sounds)
    assert v.shape == a.shape == (5, 8) and logits.shape == (5, 5)
    logits.diagonal().sum().backward()
    assert net.frames.body.conv1_1[0].weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in [*net.sounds.parameters(), *net.frames.head.parameters()])
    net.zero_grad()
    net(torch.randn(2, 2, 1, 3, 32, 32), torch.randn(2, 1, 16, 16)).sum().backward()
    assert all(p.grad is None for p in net.match.parameters())
    groups = net.parameter_groups(lr_vision=0.5, lr_vision_head=0.5, last_layer_lr_mult=20)
    rates = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    assert len(rates) == len(list(net.parameters())) == sum(len(group["params"]) for group in groups)
    assert rates[id(net.match.fc3.weight)] == 20 and rates[id(net.frames.head.weight)] == 0.5


def test_a_net_that_learned_matches_parts_sounds_without_them(tmp_path):
    net, other = PixelPlayer(4, 2, 2, 2, ConvEncoder(3, 2)), PixelPlayer(4, 2, 2, 2, ConvEncoder(3, 2))
    net.add_avc_branch(width=2, dim=8)
    checkpoint.load_weights(other, net.state_dict(), "best.pt")
    assert torch.equal(other.frames.head.weight, net.frames.head.weight) and other.match is None
    with pytest.raises(UserError, match=r"match\.vision_fc1"):  # but they can't be missing where they are learned
        checkpoint.load_weights(net, other.state_dict(), "last.pt")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mix.sources": 1}, "mix.sources"),
        ({"mix.hop": 600}, "mix.hop"),
        ({"mix.samples": 1000}, "mix.samples"),
        ({"mix.freq_bins": 200}, "mix.freq_bins"),
        ({"mix.samples": 66000}, "mix.samples // mix.hop"),
        ({"model.unet_depth": 1}, "model.unet_depth"),
        ({"mix.n_fft": 1023}, "mix.n_fft"),
        ({"mix.volume": 1.0}, "mix.volume"),
        ({"mix.frames": 0}, "mix.frames"),
        ({"model.vision": "convnet"}, "model.vision_weights"),
        ({"train.momentum": 1.0}, "train.momentum"),
        ({"train.lr_vision": -1}, "train.lr_vision"),
        ({"train.avc_warmup": 0.2}, "train.avc_warmup needs train.avc_loss_weight"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes, said):
    with pytest.raises(UserError, match=said):
        override(paper, changes)


def test_the_sound_net_starts_with_the_random_weights_of_the_public_code():
    torch.manual_seed(0)
    net = build_net(paper.model).sounds
    for layer in net.modules():
        if isinstance(layer, torch.nn.Conv2d):
            assert layer.weight.std().item() == pytest.approx(1e-3, rel=0.1) and layer.weight.mean().abs() < 1e-4
        elif isinstance(layer, torch.nn.BatchNorm2d) and layer is not net.norm:
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.3)
            assert layer.weight.mean().item() == pytest.approx(1, abs=0.01) and not layer.bias.any()
    assert [name for name in net.state_dict() if name.endswith("0.bias")] == ["up.6.0.bias"]  # of the K maps alone
    default = UNet(4, 8, 3, init="default")
    assert default.down[1][0].weight.std() > 0.02 and default.down[1][1].weight.eq(1).all()
