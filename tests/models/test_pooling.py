"""How scores and features of locations become one: written anew as loops over locations."""

import numpy as np
import pytest
import torch

from models.avenet import AVENet
from models.avolnet import AVOLNet
from models.layers import max_and_salient_mean


def test_the_salient_mean_weighs_locations_by_the_cube_of_their_features_norm():
    hidden, features = torch.randn(2, 3, 2, 2), torch.randn(2, 5, 2, 2)
    pooled = max_and_salient_mean(hidden, features).numpy()
    for clip in range(2):
        weights = [np.sqrt(sum(features[clip, :, y, x].numpy() ** 2)) ** 3 for y in range(2) for x in range(2)]
        values = [hidden[clip, :, y, x].numpy() for y in range(2) for x in range(2)]
        mean = sum(weight * value for weight, value in zip(weights, values, strict=True)) / sum(weights)
        assert pooled[clip] == pytest.approx([*np.max(values, 0), *mean], rel=1e-5)


def test_features_that_are_all_zero_have_a_pool():
    assert max_and_salient_mean(torch.ones(1, 2, 2, 2), torch.zeros(1, 3, 2, 2)).tolist() == [[1, 1, 0, 0]]


def test_a_net_with_the_local_pool_projects_each_location():
    net = AVENet(width=2, dim=4, vision_pool="local").eval()
    frames = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        features = net.vision(frames)  # (3, 16, 4, 4)
        rows = features.permute(0, 2, 3, 1).reshape(3, -1, 16)  # a list of locations
        hidden = net.vision_fc1(rows).relu()
        weights = rows.norm(dim=2, keepdim=True) ** 3
        mean = (hidden * weights).sum(1) / weights.sum(1)
        wanted = net.vision_fc2(torch.cat([hidden.max(1).values, mean], 1))
        wanted = wanted / wanted.norm(dim=1, keepdim=True)
        torch.testing.assert_close(net.embed_frames(frames), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
@pytest.mark.parametrize("mean_weight", [0.0, 0.3, 1.0])
def test_a_pairs_score_mixes_the_best_location_with_the_mean(similarity, mean_weight):
    net = AVOLNet(width=2, dim=4, similarity=similarity, mean_weight=mean_weight).eval()
    with torch.no_grad():
        net.conv7.weight.fill_(1.5)
        net.conv7.bias.fill_(-0.2)
        v, a = net.embed_frames(torch.randn(2, 3, 64, 64)), net.embed_sounds(torch.randn(3, 1, 32, 32))
        logits = net.pair_logits(v, a).numpy()
    for n in range(2):
        for m in range(3):
            places = [float(v[n, :, y, x] @ a[m]) for y in range(4) for x in range(4)]
            score = (1 - mean_weight) * max(places) + mean_weight * sum(places) / len(places)
            assert logits[n, m] == pytest.approx(1.5 * score - 0.2, rel=1e-4, abs=1e-5)


def test_dropout_drops_whole_channels_of_the_frames_features_in_training_alone():
    torch.manual_seed(0)
    net = AVOLNet(width=2, dim=4, dropout=0.5)
    features = torch.ones(1, 16, 4, 4)
    seen = []
    net.conv5.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0]))
    net.train().embed_frames(features)
    assert {len(set(channel.flatten().tolist())) for channel in seen[0][0]} == {1}  # all of it or nothing
    assert 0 < (seen[0] == 0).float().mean() < 1
    net.eval().embed_frames(features)
    assert torch.equal(seen[1], features)
