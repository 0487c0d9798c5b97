"""AVE-Net: the paper's table of shapes and sizes, unit embeddings, a decision by distance alone, a good start."""

import math

import numpy as np
import pytest
import torch
from helpers import relative_error
from torch import nn

from configs.schema import Model
from models import MODELS, build_net
from models.avenet import AVCNet, AVENet, ConvEncoder
from utils.errors import UserError


def small(seed=0, **settings):
    """A net that is small enough for many forward passes."""
    torch.manual_seed(seed)
    return AVENet(**{"width": 4, "dim": 16} | settings)


def inputs(count, seed=0, side=32, leading=(3,)):
    """Random frames, (count, *leading, side, side), and spectrograms."""
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randn(count, *leading, side, side, generator=generator)
    return frames, torch.randn(count, 1, 48, 32, generator=generator)


def test_layer_outputs_have_the_shapes_of_the_papers_table():
    """The table of OtS fig. 2 as height x width x channels; the pools are those between its rows."""
    table = {
        "vision": {
            "conv1_1": (112, 112, 64), "conv1_2": (112, 112, 64),
            "pool1": (56, 56, 64), "conv2_1": (56, 56, 128), "conv2_2": (56, 56, 128),
            "pool2": (28, 28, 128), "conv3_1": (28, 28, 256), "conv3_2": (28, 28, 256),
            "pool3": (14, 14, 256), "conv4_1": (14, 14, 512), "conv4_2": (14, 14, 512),
        },
        "audio": {
            "conv1_1": (129, 100, 64), "conv1_2": (129, 100, 64),
            "pool1": (64, 50, 64), "conv2_1": (64, 50, 128), "conv2_2": (64, 50, 128),
            "pool2": (32, 25, 128), "conv3_1": (32, 25, 256), "conv3_2": (32, 25, 256),
            "pool3": (16, 12, 256), "conv4_1": (16, 12, 512), "conv4_2": (16, 12, 512),
        },
    }  # fmt: skip
    net, seen = AVENet().eval(), {"vision": {}, "audio": {}}
    for side, encoder in (("vision", net.vision), ("audio", net.audio)):
        for name, layer in encoder.named_children():
            layer.register_forward_hook(
                lambda _, __, out, side=side, name=name: seen[side].update(
                    {name: (out.shape[2], out.shape[3], out.shape[1])}
                )
            )
    with torch.no_grad():
        v, a, logits = net(torch.randn(1, 3, 224, 224), torch.randn(1, 1, 257, 200))
    assert seen == table
    assert v.shape == a.shape == (1, 128) and logits.shape == (1, 1)


def test_every_convolution_is_followed_by_batch_norm_and_relu_and_pools_are_2x2_max():
    for channels in (3, 1):
        kinds = [type(layer) for layer in ConvEncoder(channels, 4).modules() if not list(layer.children())]
        pair = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 2
        assert kinds == [*pair, nn.MaxPool2d, *pair, nn.MaxPool2d, *pair, nn.MaxPool2d, *pair]


def test_parameter_counts_are_those_worked_out_by_hand():
    def count(module):
        return sum(p.numel() for p in module.parameters())

    def convolution(channels_in, channels_out):
        return 3 * 3 * channels_in * channels_out + 2 * channels_out  # no bias; batch norm's scale and shift

    chain = (64, 64, 128, 128, 256, 256, 512, 512)  # channels after conv1_1 ... conv4_2
    rest = sum(convolution(chain[i], chain[i + 1]) for i in range(7))
    assert rest == 36_992 + 73_984 + 147_712 + 295_424 + 590_336 + 1_180_672 + 2_360_320
    net = AVENet()
    assert count(net.vision) == 1_728 + 128 + rest
    assert count(net.audio) == 576 + 128 + rest
    for fc1, fc2 in ((net.vision_fc1, net.vision_fc2), (net.audio_fc1, net.audio_fc2)):
        assert count(fc1) == 512 * 128 + 128 == 65_664
        assert count(fc2) == 128 * 128 + 128 == 16_512
    assert count(net.fc3) == 2 + 2
    assert count(net) == 4_687_296 + 4_686_144 + 2 * (65_664 + 16_512) + 4 == 9_537_796


def test_embeddings_are_unit_vectors_whatever_the_input():
    net = small().eval()
    frames, sounds = inputs(5)
    with torch.no_grad():
        for v in (net.embed_frames(frames * 30), net.embed_sounds(sounds * 0.01 + 7)):
            assert v.shape == (5, 16) and v.dtype == torch.float32
            torch.testing.assert_close(v.norm(dim=1), torch.ones(5))


def test_pair_logits_are_the_two_way_softmax_of_fc3_on_the_euclidean_distance():
    """Worked out naively in float64: distance, fc3's two outputs, softmax, log-odds of the second, "match"."""
    net = small()
    torch.manual_seed(1)
    with torch.no_grad():
        net.fc3.weight.normal_()
        net.fc3.bias.normal_()
    v, a = (nn.functional.normalize(torch.randn(n, 16), dim=1) for n in (5, 3))
    weight, bias = net.fc3.weight.detach().double().numpy()[:, 0], net.fc3.bias.detach().double().numpy()
    expected = np.empty((5, 3))
    for i in range(5):
        for j in range(3):
            distance = math.sqrt(((v[i].double() - a[j].double()) ** 2).sum())
            outputs = np.exp(weight * distance + bias)
            share = outputs / outputs.sum()
            expected[i, j] = math.log(share[1] / share[0])
    np.testing.assert_allclose(net.pair_logits(v, a).detach().numpy(), expected, rtol=1e-5, atol=1e-5)


def test_fc3_starts_so_that_a_small_distance_means_a_match():
    """logit = 12 (1.2 - d), whatever the seed: the default start has a random sign (OtS sec. 3.1)."""
    v = torch.eye(2)
    a = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])  # distances 0 and 2 from v[0], sqrt(2) from v[1]
    for seed in range(4):
        net = small(seed, dim=2)
        logits = net.pair_logits(v, a)
        expected = [[12 * 1.2, 12 * (1.2 - 2)], [12 * (1.2 - math.sqrt(2))] * 2]
        torch.testing.assert_close(logits, torch.tensor(expected), atol=2e-3, rtol=0)
        assert net.logit_scale().item() == 12


def test_forward_scores_all_pairs_of_the_embeddings_with_matches_on_the_diagonal():
    net = small().eval()
    frames, sounds = inputs(4)
    v, a, logits = net(frames, sounds)
    torch.testing.assert_close(v, net.embed_frames(frames))
    torch.testing.assert_close(a, net.embed_sounds(sounds))
    torch.testing.assert_close(logits, net.pair_logits(v, a))
    assert logits.shape == (4, 4)
    torch.testing.assert_close(logits[1, 2], net.pair_logits(v[1:2], a[2:3])[0, 0])  # rows are frames


def test_gradient_is_finite_where_two_embeddings_are_equal():
    """The slope of a square root at 0 is infinite: without a floor one such pair makes every weight nan."""
    net = small()
    v = torch.eye(3, 16)  # exact, so that no rounding hides the zero
    a = v.clone().requires_grad_()
    v.requires_grad_()
    net.pair_logits(v, a).sum().backward()
    for grad in (v.grad, a.grad, net.fc3.weight.grad, net.fc3.bias.grad):
        assert torch.isfinite(grad).all() and grad.abs().max() > 0


def test_start_from_data_spreads_every_output_dimension():
    """Mean 0 and deviation 1 before the L2 norm, on these clips; different clips no longer point the same way."""
    net = small(dim=24)
    frames, sounds = inputs(64)
    outputs = {}
    net.vision_fc2.register_forward_hook(lambda _, __, out: outputs.update(v=out))
    net.audio_fc2.register_forward_hook(lambda _, __, out: outputs.update(a=out))

    def alike():
        with torch.no_grad():
            v, a, _ = net.train()(frames, sounds)
        return [((x @ x.T).sum() - 64).item() / (64 * 63) for x in (v, a)]

    before = alike()
    names = {name: tensor.shape for name, tensor in net.state_dict().items()}
    kept = {n: p.clone() for n, p in net.named_parameters() if "fc2" not in n}
    fc3 = net.fc3.weight.clone()
    net.data_dependent_init(frames, sounds)
    after = alike()
    for out in outputs.values():
        torch.testing.assert_close(out.mean(0), torch.zeros(24), atol=2e-4, rtol=0)
        torch.testing.assert_close(out.std(0), torch.ones(24), atol=2e-4, rtol=0)
    assert min(before) > 0.8 and max(map(abs, after)) < 0.1
    # Same architecture, and nothing but the last layers was touched.
    assert {name: tensor.shape for name, tensor in net.state_dict().items()} == names
    assert all(torch.equal(kept[name], dict(net.named_parameters())[name]) for name in kept)
    assert torch.equal(net.fc3.weight, fc3)


def test_start_from_data_survives_a_dimension_that_never_changes():
    net = small()
    with torch.no_grad():
        net.audio_fc2.weight[3] = 0
    net.data_dependent_init(*inputs(16))
    assert all(torch.isfinite(tensor).all() for tensor in net.state_dict().values())


def test_under_bf16_autocast_the_encoders_run_in_bf16_and_the_head_in_float32():
    """Distances are differences of nearly equal numbers: in bf16 an embedding can't tell 0.99 from 0.995."""
    net, seen = small(), {}
    frames, sounds = inputs(8)
    net.data_dependent_init(frames, sounds)
    net.eval()
    for name in ("vision", "audio", "vision_fc1", "vision_fc2", "audio_fc1", "audio_fc2"):
        getattr(net, name).register_forward_hook(lambda _, __, out, name=name: seen.update({name: out.dtype}))
    with torch.no_grad():
        exact = net(frames, sounds)
        with torch.autocast("cpu", torch.bfloat16):
            v, a, logits = net(frames, sounds)
    assert {seen.pop("vision"), seen.pop("audio")} == {torch.bfloat16}
    assert set(seen.values()) == {v.dtype, a.dtype, logits.dtype} == {torch.float32}
    torch.testing.assert_close(v.norm(dim=1), torch.ones(8))
    # The decision itself loses nothing: from these very embeddings it is what float32 makes of them.
    assert relative_error(logits, net.pair_logits(v, a).detach()) < 1e-6
    assert (logits - exact[2]).abs().max() < 1.0  # of a range of 24


def test_parameter_groups_hold_every_weight_once_and_fc3_learns_faster():
    net = small()
    body, decision = net.parameter_groups(20.0)
    grouped = [id(p) for group in (body, decision) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in net.parameters())
    assert {id(p) for p in decision["params"]} == {id(p) for p in net.fc3.parameters()}
    assert body["lr_scale"] == 1.0 and decision["lr_scale"] == 20.0
    assert decision["weight_decay"] == 0.0  # a decayed slope would pull the logits together
    assert "weight_decay" not in net.parameter_groups(20.0, last_layer_decay=True)[1]


@pytest.mark.parametrize("scale", [0.7, 12.0])
def test_the_first_logits_fall_with_the_distance_as_steeply_as_the_setting_says(scale):
    net = build_net(Model(width=2, dim=2, logit_scale=scale))
    v, a = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    expected = [scale * (1.2 - distance) for distance in (1e-4, 2**0.5, 2.0)]  # of equal vectors: the floor, 1e-4
    assert net.pair_logits(v, a)[0].tolist() == pytest.approx(expected, rel=1e-4)


def test_dropout_acts_in_training_only():
    net = small(dropout=0.5)
    frames, _ = inputs(4)
    with torch.no_grad():
        assert not torch.equal(net.train().embed_frames(frames), net.embed_frames(frames))
        assert torch.equal(net.eval().embed_frames(frames), net.embed_frames(frames))


def test_build_follows_the_settings_and_refuses_an_unknown_net():
    net = build_net(Model(width=6, dim=20, dropout=0.25))
    assert net.vision.channels == 48 and net.vision_fc2.out_features == 20 and net.dropout.p == 0.25
    with pytest.raises(UserError, match=r"no net 'AVNet'.*model\.name.*AVENet"):
        build_net(Model(name="AVNet"))


LEADING = {"AVENet_MF": (3, 9), "AVENet_OF": (23,)}  # what comes before height and width in their frames


EMBEDDING = sorted(name for name, net in MODELS.items() if issubclass(net, AVCNet))  # not the net that parts sounds


@pytest.mark.parametrize("name", EMBEDDING)
def test_every_net_answers_the_same_four_calls(name):
    """One training step and one evaluation serve all nets; `width` 4 keeps it quick."""
    torch.manual_seed(0)
    net = build_net(Model(name=name, width=4)).eval()
    frames, sounds = inputs(3, side=64, leading=LEADING.get(name, (3,)))
    with torch.no_grad():
        v, a, logits = net(frames, sounds)
        assert torch.equal(v, net.embed_frames(frames)) and torch.equal(a, net.embed_sounds(sounds))
        assert logits.shape == (3, 3) and torch.isfinite(logits).all()
        assert net.pair_logits(v[:2], a).shape == (2, 3)


@pytest.mark.parametrize("name", EMBEDDING)
def test_a_frame_and_its_mirror_image_are_embedded_alike_together(name):
    torch.manual_seed(0)
    net = build_net(Model(name=name, width=4)).eval()
    frames, _ = inputs(3, side=64, leading=LEADING.get(name, (3,)))
    with torch.no_grad():
        v, turned = net.embed_with_flip(frames), net.embed_with_flip(net.flip_frames(frames))
        # A map turns with its frame; a vector stays.
        torch.testing.assert_close(v, turned.flip(-1) if v.dim() == 4 else turned, atol=1e-5, rtol=1e-4)
        assert v.shape == net.embed_frames(frames).shape
        if name.startswith("AVENet"):
            torch.testing.assert_close(v.norm(dim=1), torch.ones(3))
