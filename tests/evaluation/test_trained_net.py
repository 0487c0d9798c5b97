"""A trained net in Python: embeddings, probabilities of pairs and of locations."""

import contextlib
import inspect
import io
import re
import textwrap

import numpy as np
import pytest
import torch
from helpers import make_dataset, numbered, small_checkpoint, tone

from dataset.loading.loader import collate, make_sample
from dataset.transforms.frames import PairTransform
from evaluation.tasks.embeddings import embed_batches
from evaluation.trained_net import TrainedNet, load_trained_net
from utils import checkpoint
from utils.errors import UserError

RATE = 8000


@pytest.fixture(scope="module")
def ave(tmp_path_factory):
    path = small_checkpoint(tmp_path_factory.mktemp("ave") / "best.pt", **{"train.precision": "fp32"})
    return load_trained_net(path)


@pytest.fixture(scope="module")
def vol(tmp_path_factory):
    settings = {"model.name": "AVOLNet", "data.frame_size": 64, "data.resize_size": 64, "train.precision": "fp32"}
    return load_trained_net(small_checkpoint(tmp_path_factory.mktemp("vol") / "best.pt", **settings))


def clips(count=3, side=36):
    """(B, S, S, 3) frames and (B, rate) seconds of sound."""
    frames = np.stack([numbered(100 * k + 7, (side, side)) for k in range(count)])
    sounds = np.stack([tone(1, RATE, 200 + 150 * k, overtones=3) for k in range(count)])
    return frames, (32000 * sounds).astype(np.int16)


def test_the_example_of_the_docstring_runs(ave, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_dataset(tmp_path / "data/demo", train=0, val=0, test=1)
    (tmp_path / "runs/demo_AVENet").mkdir(parents=True)
    (tmp_path / "runs/demo_AVENet/best.pt").symlink_to(ave.path)
    example = re.search(r"\n( {4}net = .*?)\n\n", inspect.getdoc(TrainedNet), re.DOTALL)[1]
    lines = "from dataset.reading.clips import Clips\nfrom evaluation.trained_net import load_trained_net\n"
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(lines + textwrap.dedent(example), {})
    assert re.fullmatch(r"tensor\(\[\[0\.\d+\]\]\)\n", printed.getvalue())


@pytest.mark.parametrize("changes", [{}, {"eval.flip_tta": True}])
def test_embeddings_are_those_of_an_evaluation(ave, changes):
    net = load_trained_net(ave.path, changes)
    frames, sounds = clips()
    batch = collate([make_sample(*pair) for pair in zip(frames, sounds, strict=True)])
    transform = PairTransform(net.config, train=False)
    expected = embed_batches(net.model, [batch], transform, "fp32", flip=net.config.eval.flip_tta)
    v, a = net.embed_frames(frames), net.embed_sounds(sounds)
    assert torch.equal(v, expected[0]) and torch.equal(a, expected[1])
    assert v.shape == a.shape == (3, 16) and v.dtype == a.dtype == torch.float32
    assert not v.requires_grad and not a.requires_grad


def test_frames_of_any_side_are_resized(ave):
    colors = np.random.default_rng(0).integers(0, 256, (2, 1, 1, 3)).astype(np.uint8)
    small, large = (ave.embed_frames(colors.repeat(side, axis=1).repeat(side, axis=2)) for side in (24, 100))
    torch.testing.assert_close(small, large, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(small[0], small[1], atol=1e-2)


def test_the_running_average_of_the_weights_is_the_net_that_is_evaluated(ave, tmp_path):
    content = checkpoint.load(ave.path)
    average = {name: value * 0.5 if value.is_floating_point() else value for name, value in content["model"].items()}
    checkpoint.save(tmp_path / "best.pt", {**content, "ema": average})
    net = load_trained_net(tmp_path / "best.pt")
    for name, value in net.model.state_dict().items():
        torch.testing.assert_close(value.cpu(), average[name], rtol=0, atol=0)


def test_a_folded_net_has_the_same_embeddings(ave, vol):
    for net, side in ((ave, 36), (vol, 64)):
        frames, sounds = clips(side=side)
        folded = net.folded()
        if net is vol:  # in fp32
            assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.model.modules())
        torch.testing.assert_close(folded.embed_frames(frames), net.embed_frames(frames), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(folded.embed_sounds(sounds), net.embed_sounds(sounds), atol=1e-5, rtol=1e-5)
    half = load_trained_net(ave.path, {"train.precision": "bf16"})
    assert half.folded() is half


def test_correspondence_gives_the_probability_of_every_pair(ave):
    frames, sounds = clips(4)
    v, a = ave.embed_frames(frames), ave.embed_sounds(sounds[:3])
    found = ave.correspondence(v, a)
    assert found.shape == (4, 3) and not found.requires_grad
    torch.testing.assert_close(found, torch.sigmoid(ave.model.pair_logits(v, a)))


def test_localization_gives_the_probability_of_every_location(vol):
    frames, sounds = clips(2, 64)
    v, a = vol.embed_frames(frames), vol.embed_sounds(sounds)
    found = vol.localize(v, a)
    assert found.shape == (2, 4, 4) and found.min() >= 0 and found.max() <= 1 and not found.requires_grad
    best = torch.stack([found[k].max() for k in range(2)])
    torch.testing.assert_close(vol.correspondence(v, a).diagonal(), best)  # the score of a pair is its map's peak


def test_a_net_without_maps_or_embeddings_says_so_in_one_sentence(ave):
    v, a = ave.embed_frames(clips()[0]), ave.embed_sounds(clips()[1])
    with pytest.raises(UserError, match=r"best.pt holds AVENet, which has no localization maps: .* AVOLNet"):
        ave.localize(v, a)
    other = TrainedNet(torch.nn.Linear(2, 2), ave.config, {}, "other.pt")
    for use in (lambda: other.embed_frames(clips()[0]), lambda: other.embed_sounds(clips()[1])):
        with pytest.raises(UserError, match=r"other.pt .* embeds no frames and sounds"):
            use()
    with pytest.raises(UserError, match="scores no pairs"):
        other.correspondence(v, a)
    with pytest.raises(UserError, match="can't separate sounds"):
        _ = other.separating_net


def test_a_net_trained_by_infonce_compares_by_cosines_whatever_is_overridden(tmp_path):
    settings = {"model.name": "AVOLNet", "data.frame_size": 64, "data.resize_size": 64, "train.precision": "fp32"}
    path = small_checkpoint(tmp_path / "best.pt", **settings, **{"train.loss": "max_infonce"})
    for changes in ({}, {"train.loss": "avc"}):
        net = load_trained_net(path, changes)
        frames, sounds = clips(side=64)
        v, a = net.embed_frames(frames), net.embed_sounds(sounds)
        torch.testing.assert_close(v.norm(dim=1), torch.ones(len(v), *v.shape[2:]))
        scale, bias = net.model.conv7.weight.item(), net.model.conv7.bias.item()
        cosines = np.array([[np.max([v[i, :, y, x] @ a[j] for y in range(4) for x in range(4)]) for j in range(3)]
                            for i in range(3)])  # fmt: skip
        np.testing.assert_allclose(net.correspondence(v, a), 1 / (1 + np.exp(-scale * cosines - bias)), rtol=1e-4)
        assert net.localize(v, a).amax((1, 2)).numpy() == pytest.approx(net.correspondence(v, a).diagonal().numpy())
