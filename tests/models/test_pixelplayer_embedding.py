"""PixelPlayer whose masks depend on the AVC branch's embedding of the frame (model.features_from embedding)."""

from dataclasses import replace

import pytest
import torch

from configs.schema import Model
from models import build_net
from models.avenet import AVENet, ConvEncoder
from models.losses import contrastive_loss, make_separation_step

SMALL = Model(
    name="PixelPlayer", vision="convnet", width=2, dim=8, num_channels=4, sound_width=2, unet_depth=2,
    unet_bias=True, unet_init="default", features_from="embedding", vision_pool="local",
)  # fmt: skip


@pytest.fixture
def net():
    torch.manual_seed(0)
    return build_net(SMALL).eval()


def test_features_are_a_function_of_the_embedding_alone(net):
    frames = torch.randn(3, 2, 3, 64, 64)
    features = net.frames.backbone_features(frames)
    vectors = net.match.embed_frames(features.flatten(2, 3))
    weight, bias = net.frames.head.weight[:, :, 0, 0], net.frames.head.bias
    assert torch.allclose(net.frame_features(frames), torch.sigmoid(vectors * 8**0.5 @ weight.T + bias), atol=1e-5)
    kept = features.transpose(1, 2)  # (B, T, C, h, w): maps that were computed before
    assert torch.equal(net.frame_features(kept), net.frame_features(frames))


@pytest.mark.parametrize("pool", ["max", "local"])
def test_a_pixels_features_are_those_of_a_frame_that_is_this_pixel(pool):
    net = build_net(replace(SMALL, vision_pool=pool)).eval()
    frames = torch.randn(2, 3, 64, 96)
    pixels = net.pixel_features(frames)
    maps = net.frames.body(frames)
    assert pixels.shape == (2, 4, 4, 6) == (2, 4, *maps.shape[2:])
    for row, column in ((0, 0), (2, 5), (3, 1)):
        alone = maps[:, None, :, row : row + 1, column : column + 1]
        assert torch.allclose(pixels[:, :, row, column], net.frame_features(alone), atol=1e-5)


def test_masks_and_matches_both_teach_the_embedding(net):
    net(torch.randn(2, 2, 1, 3, 32, 32), torch.randn(2, 1, 16, 16)).sum().backward()
    assert net.match.vision_fc1.weight.grad.abs().sum() > 0 and net.match.audio_fc1.weight.grad is None
    groups = net.parameter_groups(1.0, 1.0, 20.0)
    assert sum(len(group["params"]) for group in groups) == len(list(net.parameters()))


def test_initialization_from_data_spreads_the_features_of_clips(net):
    net.train()
    frames, sounds = torch.randn(32, 1, 3, 32, 32), torch.randn(32, 1, 32, 20)
    frames += torch.randn(32, 1, 3, 1, 1)  # frames of noise alone look alike
    net.data_dependent_init(frames, torch.randn(32, 1, 16, 16), sounds)
    logits = torch.logit(net.frame_features(frames)).detach()
    assert logits.mean(0).abs().max() < 0.2 and logits.std(0).tolist() == pytest.approx([2.0] * 4, rel=0.2)


def test_it_starts_from_an_avenet_whose_embedding_it_takes(net):
    ave = AVENet(2, 8, vision=ConvEncoder(3, 2), vision_pool="local").eval()
    weights = net.remap_state_dict(ave.state_dict())
    assert net.load_state_dict(weights, strict=False).unexpected_keys == []
    frames = torch.randn(3, 3, 64, 64)
    assert torch.allclose(net.match.embed_frames(net.frames.body(frames)), ave.embed_frames(frames), atol=1e-6)


class Transform:
    """Gives the batch's own tensors."""

    def __call__(self, batch):
        return batch["frames"], batch["waves"]

    def avc_spectrograms(self, batch):
        return batch["sounds"]


@pytest.mark.parametrize("kind", ["avc", "infonce"])
def test_the_branch_learns_alone_at_first_by_the_loss_that_is_asked_for(net, kind):
    batch = {
        "frames": torch.randn(4, 1, 3, 32, 32), "waves": torch.zeros(4, 10), "sounds": torch.randn(4, 1, 32, 20),
        "progress": 0.1,
    }  # fmt: skip
    step = make_separation_step(Transform(), None, None, "soft", 0.5, 0.2, kind, 0.25)
    loss, metrics = step(net, batch)
    features = net.frames.backbone_features(batch["frames"]).flatten(2, 3)
    v, a, _ = net.match(features, batch["sounds"])
    cosines = v @ a.T / 0.25
    wanted = (torch.nn.functional.cross_entropy(m, torch.arange(4)) for m in (cosines, cosines.T))
    infonce = sum(wanted) / 2
    if kind == "infonce":
        assert loss.item() == pytest.approx(contrastive_loss(net.match, v, a, kind, 0.25)[0].item(), rel=1e-4)
        fit = contrastive_loss(net.match, v, a, kind, 0.25)[1]["loss_avc"].item()
        assert loss.item() - fit == pytest.approx(infonce.item(), rel=1e-4)
    else:
        assert abs(loss.item() - infonce.item()) > 1e-3
    assert 0 <= metrics["avc_accuracy"] <= 1 and "loss_masks" not in metrics
