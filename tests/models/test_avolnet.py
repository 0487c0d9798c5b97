"""AVOL-Net: the paper's sizes, the best place decides, background may answer low, a start that can learn."""

import numpy as np
import pytest
import torch
from test_models import inputs

from models.avenet import AVENet
from models.avolnet import AVOLNet
from models.l3net import L3Net
from utils import checkpoint


def small(seed=0, **settings):
    torch.manual_seed(seed)
    return AVOLNet(**{"width": 4, "dim": 16} | settings)


def test_shapes_and_parameters_are_the_papers():
    """Fig. 6: conv5 and conv6 are AVE-Net's fc1 and fc2 at each of 14 x 14 places; conv7 is one scale and one bias."""
    net, ave = AVOLNet().eval(), AVENet()
    with torch.no_grad():
        v, a = net.embed_frames(torch.randn(1, 3, 224, 224)), net.embed_sounds(torch.randn(1, 1, 257, 200))
    assert v.shape == (1, 128, 14, 14) and a.shape == (1, 128)
    assert net.pair_logits(v, a).shape == (1, 1) and net.location_logits(v, a).shape == (1, 14, 14)

    def count(module):
        return sum(p.numel() for p in module.parameters())

    assert count(net.conv7) == 2
    assert count(net) - count(net.conv7) == count(ave) - count(ave.fc3)


def test_logits_are_the_largest_scaled_products_over_the_places():
    net = small()
    with torch.no_grad():
        net.conv7.weight.fill_(0.7)
        net.conv7.bias.fill_(-1.3)
    v, a = torch.randn(5, 16, 3, 4), torch.randn(2, 16)
    expected = np.empty((5, 2))
    for i in range(5):
        for j in range(2):
            products = [float(v[i, :, y, x] @ a[j]) for y in range(3) for x in range(4)]
            expected[i, j] = max(0.7 * product - 1.3 for product in products)
    np.testing.assert_allclose(net.pair_logits(v, a).detach(), expected, rtol=1e-4, atol=1e-5)


def test_the_map_of_a_pair_holds_the_logit_at_its_best_place():
    net = small()
    v, a = torch.randn(6, 16, 3, 3), torch.randn(6, 16)
    maps = net.location_logits(v, a)
    torch.testing.assert_close(maps.amax((1, 2)), net.pair_logits(v, a).diagonal())
    assert maps[2, 0, 1].item() == pytest.approx((net.conv7.weight * (v[2, :, 0, 1] @ a[2]) + net.conv7.bias).item())


def test_no_place_is_normalised_so_background_can_answer_low():
    net = small()
    frames, sounds = inputs(4)
    net.data_dependent_init(frames, sounds)
    v, a = net.embed_frames(frames), net.embed_sounds(sounds)
    assert v.norm(dim=1).std() > 0.05 and a.norm(dim=1).std() > 0.05
    for side in (net.frame_vectors(v), net.sound_vectors(a)):  # what retrieval compares
        torch.testing.assert_close(side.norm(dim=1), torch.ones(4))


def test_a_place_sees_its_part_of_the_frame():
    """Change the right lower corner: places at the left upper end keep their vectors."""
    net = small()
    frames, sounds = inputs(8, side=224)
    net.data_dependent_init(frames, sounds)
    net.eval()
    frames = frames[:1]
    other = frames.clone()
    other[..., 160:, 160:] += 3
    with torch.no_grad():
        change = (net.embed_frames(frames) - net.embed_frames(other)).abs().amax(1)[0]
    assert change[12, 12] > 1e-4 and change[:3, :3].max() < 1e-6


def test_start_from_data_gives_logits_of_mean_0_and_deviation_1():
    net = small()
    frames, sounds = inputs(48, side=64)
    net.data_dependent_init(frames, sounds)
    _, a, logits = net.train()(frames, sounds)
    assert logits.mean().item() == pytest.approx(0, abs=0.02) and logits.std().item() == pytest.approx(1, abs=0.02)
    largest = net.vision(frames).amax((2, 3), keepdim=True)  # the frame's features, pooled first
    for outputs in (net.conv6(torch.relu(net.conv5(largest)))[:, :, 0, 0], a):
        torch.testing.assert_close(outputs.mean(0), torch.zeros(16), atol=1e-3, rtol=0)
        torch.testing.assert_close(outputs.std(0), torch.full((16,), 0.3), atol=2e-2, rtol=0)
    assert net.logit_scale() > 0


def test_it_starts_with_the_right_sign_whatever_the_seed():
    """A scale below 0 makes the pool pick the place that fits the sound least; PyTorch draws its sign."""
    assert all(small(seed).logit_scale() > 0 for seed in range(6))


def test_it_takes_over_ave_nets_weights(tmp_path):
    """On a frame of one place the two nets embed alike, but for the L2 norm."""
    torch.manual_seed(1)
    ave = AVENet(4, 16).eval()
    checkpoint.save(tmp_path / "ave.pt", {"model": ave.state_dict(), "ema": None, "config": {}, "step": 0})
    net = small(2)
    taken = checkpoint.init_from(net, tmp_path / "ave.pt")
    assert set(net.state_dict()) - set(taken) == {"conv7.weight", "conv7.bias"}
    net.eval()
    frames, sounds = inputs(5, side=16)
    v, a = net.embed_frames(frames), net.embed_sounds(sounds)
    assert v.shape == (5, 16, 1, 1)
    vectors = net.frame_vectors(v), net.sound_vectors(a)
    for ours, theirs in zip(vectors, (ave.embed_frames(frames), ave.embed_sounds(sounds)), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_start_decision_parts_matches_and_mismatches_by_four(monkeypatch):
    net = small()
    generator = torch.Generator().manual_seed(3)
    v, noise = torch.randn(24, 16, 2, 2, generator=generator), torch.randn(24, 16, generator=generator)
    monkeypatch.setattr(net, "embed_frames", lambda frames: v)  # of a net that has learned something
    monkeypatch.setattr(net, "embed_sounds", lambda sounds: v[:, :, 0, 1] + noise)
    net.calibrate_logits(None, None)
    logits = net(None, None)[2].detach()
    on = torch.eye(24, dtype=torch.bool)
    assert logits[on].mean().item() == pytest.approx(2, abs=1e-3)
    assert logits[~on].mean().item() == pytest.approx(-2, abs=1e-3)
    assert net.logit_scale() > 0


def test_the_third_answer_is_that_of_an_ave_net_with_the_same_weights(tmp_path):
    torch.manual_seed(1)
    ave = AVENet(4, 16)
    frames, sounds = inputs(6, side=64)
    ave.data_dependent_init(frames, sounds)
    checkpoint.save(tmp_path / "ave.pt", {"model": ave.state_dict(), "ema": None, "config": {}, "step": 0})
    net = small(2)
    checkpoint.init_from(net, tmp_path / "ave.pt")
    net.eval(), ave.eval()
    with torch.no_grad():
        third = net.forward_with_aux(frames, sounds)[4]
        torch.testing.assert_close(third, ave(frames, sounds)[2], atol=1e-4, rtol=1e-4)


def test_the_second_answer_pools_first_and_compares_afterwards():
    net = small()
    frames, sounds = inputs(4, side=64)
    net.data_dependent_init(frames, sounds)
    net.eval()
    with torch.no_grad():
        v, a, logits, pooled, _ = net.forward_with_aux(frames, sounds)
        for ours, theirs in zip((v, a, logits), net(frames, sounds), strict=True):
            torch.testing.assert_close(ours, theirs)
        features = net.vision(frames)
        largest = torch.stack([features[:, c].flatten(1).max(1).values for c in range(features.shape[1])], 1)
        vectors = net.conv6(torch.relu(net.conv5(largest[:, :, None, None])))[:, :, 0, 0]
        torch.testing.assert_close(pooled, net.logit_scale() * vectors @ a.T + net.conv7.bias)


def test_l3_net_classifies_concatenated_features():
    torch.manual_seed(0)
    net = L3Net(4, 16).eval()
    frames, sounds = inputs(4)
    with torch.no_grad():
        v, a, logits = net(frames, sounds)
        for i in range(4):
            for j in range(4):
                outputs = net.fc2(torch.relu(net.fc1(torch.cat([v[i], a[j]]))))
                share = torch.softmax(outputs, 0)
                assert logits[i, j].item() == pytest.approx(torch.log(share[1] / share[0]).item(), abs=1e-5)
    assert v.shape == a.shape == (4, 32) and v.min() >= 0


def test_l3_nets_sizes_are_the_papers():
    net = L3Net().eval()
    assert (net.fc1.in_features, net.fc1.out_features, net.fc2.out_features) == (1024, 128, 2)
    with torch.no_grad():
        v, a = net.embed_frames(torch.randn(1, 3, 224, 224)), net.embed_sounds(torch.randn(1, 1, 257, 200))
    assert v.shape == a.shape == (1, 512)


def test_l3_nets_start_from_data_spreads_its_logits():
    torch.manual_seed(0)
    net = L3Net(4, 16)
    frames, sounds = inputs(32, side=48)
    net.data_dependent_init(frames, sounds)
    logits = net.train()(frames, sounds)[2]
    assert logits.mean().item() == pytest.approx(0, abs=1e-3) and logits.std().item() == pytest.approx(1, abs=1e-3)
