"""InfoNCE, silence as negatives: the losses by their definitions, what they train, and what a checkpoint keeps."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from configs.schema import Model
from models import build_net
from models.avenet import AVENet
from models.avolnet import AVOLNet
from models.contrast import Temperature, infonce_loss
from models.losses import avc_loss, contrastive_loss, make_avc_step
from utils import checkpoint
from utils.health import diagnose_avc, ranking_metrics


def infonce_by_definition(to_sounds, to_frames, scale, first, extra, share):
    """Mean over both directions of -log(own / (own + all weighted others)), term by term."""
    count, clips = len(to_sounds), to_sounds.shape[1] - extra
    total = 0.0
    for i in range(count):
        own = math.exp(scale * to_sounds[i, first + i])
        others = sum(math.exp(scale * to_sounds[i, j]) for j in range(clips) if j != first + i)
        silent = sum(math.exp(scale * to_sounds[i, j]) for j in range(clips, clips + extra))
        if extra:
            others = (1 - share) * others + share * (clips - 1) * silent / extra
        total -= math.log(own / (own + others)) / count / 2
        frames = [math.exp(scale * to_frames[i, j]) for j in range(clips)]
        total -= math.log(frames[first + i] / sum(frames)) / count / 2
    return total


@pytest.mark.parametrize(
    ("clips", "first", "extra", "share"), [(5, 0, 0, 0), (9, 3, 0, 0), (5, 0, 3, 0.4), (9, 4, 2, 0.9)]
)
def test_infonce_is_the_formula_in_both_directions(clips, first, extra, share):
    draw = np.random.default_rng(0)
    to_sounds, to_frames = draw.uniform(-1, 1, (5, clips + extra)), draw.uniform(-1, 1, (5, clips))
    found = infonce_loss(torch.tensor(to_sounds), torch.tensor(to_frames), 1 / 0.07, first, extra, share)
    expected = infonce_by_definition(to_sounds, to_frames, 1 / 0.07, first, extra, share)
    assert found.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("negatives", ["all", "one"])
def test_silence_has_its_share_of_the_negatives_and_positives_stay_half(negatives):
    logits = torch.randn(4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found, accuracy = avc_loss(logits, negatives, 0, 3, 0.25)

    def log1pexp(x):
        return math.log(1 + math.exp(x))

    rows = logits.tolist()
    pairs = [(i, j) for i in range(4) for j in range(4) if (j == (i + 1) % 4 if negatives == "one" else j != i)]
    others = np.mean([log1pexp(rows[i][j]) for i, j in pairs])
    silent = np.mean([log1pexp(rows[i][j]) for i in range(4) for j in range(4, 7)])
    positives = np.mean([log1pexp(-rows[i][i]) for i in range(4)])
    assert found.item() == pytest.approx(positives / 2 + (0.75 * others + 0.25 * silent) / 2)
    assert accuracy == avc_loss(logits[:, :4], negatives)[1]


def test_the_similarity_of_a_location_net_is_its_largest_cosine_and_so_are_its_map_and_pair_score():
    torch.manual_seed(0)
    net = AVOLNet(width=2, dim=6, similarity="cosine").double()  # batch norm by the batch: locations differ
    with torch.no_grad():
        net.conv7.weight.fill_(3.0)
        net.conv7.bias.fill_(-1.0)
        v = net.embed_frames(torch.randn(3, 3, 48, 32, dtype=torch.float64))
        flipped = net.embed_with_flip(torch.randn(3, 3, 48, 32, dtype=torch.float64))
        a = net.embed_sounds(torch.randn(3, 1, 48, 32, dtype=torch.float64))
        raw = net.conv6(F.relu(net.conv5(net.vision(torch.ones(1, 3, 32, 32, dtype=torch.float64)))))
        ones = net.embed_frames(torch.ones(1, 3, 32, 32, dtype=torch.float64))
        similarities, pairs, maps = net.largest_cosines(v, a), net.pair_logits(v, a), net.location_logits(v, a)
    for vectors in (v, flipped, a):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones_like(vectors[:, 0]))
    torch.testing.assert_close(ones, raw / raw.norm(dim=1, keepdim=True))
    v, a = v.numpy(), a.numpy()
    for i in range(3):
        for j in range(3):
            cosines = [[v[i, :, y, x] @ a[j] for x in range(v.shape[3])] for y in range(v.shape[2])]
            assert similarities[i, j].item() == pytest.approx(np.max(cosines))
            assert pairs[i, j].item() == pytest.approx(3 * np.max(cosines) - 1)
            if i == j:
                np.testing.assert_allclose(maps[i], 3 * np.array(cosines) - 1, rtol=1e-9)


# ---------------------------------------------------------------------------------------------------------- training


class Transform:
    """Takes the inputs as they are; silence is the log of nothing, noise is alike everywhere."""

    def __call__(self, batch):
        return batch["frames"], batch["sounds"]

    def silence_and_noise(self, batch, count):
        made = torch.full((count, *batch["sounds"].shape[1:]), -1.6)
        made[1::2] = torch.randn(made[1::2].shape) / 4
        return made


def clips(count, seed, kinds=4, positions=4):
    """Clips of some kinds: a square of its kind's color at a random place, and a tone of its kind's height."""
    draw = torch.Generator().manual_seed(seed)
    kind = torch.arange(count) % kinds
    colors = torch.randn(kinds, 3, generator=torch.Generator().manual_seed(9)) * 3
    frames, sounds = (
        torch.randn(count, 3, 32, 32, generator=draw) / 4,
        torch.randn(count, 1, 48, 32, generator=draw) / 4,
    )
    sounds = sounds - 1
    for i in range(count):
        place = torch.randint(positions, (2,), generator=draw) * 8
        frames[i, :, place[0] : place[0] + 8, place[1] : place[1] + 8] += colors[kind[i]][:, None, None]
        sounds[i, :, 10 * kind[i] : 10 * kind[i] + 6] += 3
    return {"frames": frames, "sounds": sounds, "gather": None}


def trained(net, steps=40, learned=False, **settings):
    """Train a net on batches of four different clips each; returns the metrics of the last steps."""
    torch.manual_seed(0)
    net.data_dependent_init(*Transform()(clips(64, 0)))
    if learned:
        net.learn_temperature(0.07)
    step = make_avc_step(Transform(), **settings)
    groups = net.parameter_groups(20.0)
    optimizer = torch.optim.Adam([{**g, "lr": 2e-3 * g.pop("lr_scale")} for g in groups])
    history = []
    net.train()
    for number in range(steps):
        loss, metrics = step(net, clips(4, number + 1) if number % 2 else clips(16, number + 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append({name: float(value) for name, value in metrics.items()})
    return {name: np.mean([line[name] for line in history[-10:]]) for name in history[0]}


def net_of(name, kind):
    torch.manual_seed(1)
    return (
        AVENet(width=4, dim=16) if name == "AVENet" else AVOLNet(4, 16, similarity="dot" if kind == "avc" else "cosine")
    )


def own_kind_scores_higher(net):
    """In eval mode: the AUC and the accuracy at threshold 0 of pairs of the same kind against pairs of other kinds."""
    batch = clips(32, 10_000)
    with torch.no_grad():
        logits = net.eval()(batch["frames"], batch["sounds"])[2]
    same = (torch.arange(32)[:, None] - torch.arange(32)) % 4 == 0
    auc = (logits[same][:, None] > logits[~same]).double().mean().item()
    return auc, ((logits[same] > 0).double().mean() + (logits[~same] <= 0).double().mean()).item() / 2


@pytest.mark.parametrize(
    ("name", "kind"),
    [("AVENet", "avc"), ("AVENet", "infonce"), ("AVOLNet", "avc"), ("AVOLNet", "infonce"), ("AVOLNet", "max_infonce")],
)
def test_a_net_learns_by_each_loss_and_its_pair_logits_are_calibrated(name, kind):
    net = net_of(name, kind)
    metrics = trained(net, 60, kind=kind, learned=kind != "avc", silence=0.25)
    auc, accuracy = own_kind_scores_higher(net)
    assert auc > 0.75 and accuracy > 0.65, (auc, accuracy)
    assert diagnose_avc(metrics) is None
    if kind != "avc":
        assert 0.01 <= metrics["temperature"] != pytest.approx(0.07, rel=1e-3)
        assert metrics["batch_auc"] > 0.7 and metrics["batch_recall"] > metrics["batch_recall_chance"]


@pytest.mark.parametrize("kind", ["avc", "max_infonce"])
def test_silence_as_a_negative_darkens_the_map_of_silence(kind):
    batch, largest = clips(16, 10_000), {}
    for share in (0.0, 0.5):
        net = net_of("AVOLNet", kind)
        metrics = trained(net, kind=kind, silence=share)
        assert ("silence_accuracy" in metrics) == (share > 0)
        with torch.no_grad():
            v, a = net.eval().embed_frames(batch["frames"]), net.embed_sounds(batch["sounds"])
            silence = net.embed_sounds(torch.full_like(batch["sounds"], -1.6))
            maps, silent_maps = net.location_logits(v, a).amax((1, 2)), net.location_logits(v, silence).amax((1, 2))
        largest[share] = silent_maps.mean().item()
        if share:
            assert (
                metrics["silence_accuracy"] > 0.8 and (silent_maps < 0).all() and maps.mean() > silent_maps.mean() + 1
            )
    assert largest[0.5] < largest[0.0] - 0.3


@pytest.mark.parametrize(("name", "kind"), [("AVENet", "infonce"), ("AVOLNet", "infonce"), ("AVOLNet", "max_infonce")])
def test_embeddings_learn_from_infonce_alone_and_the_last_layer_from_pairs_alone(name, kind):
    net, batch = net_of(name, kind).double(), {k: v for k, v in clips(8, 0).items() if k != "gather"}
    frames, sounds = (values.double() for values in batch.values())
    v, a = net.embed_frames(frames), net.embed_sounds(sounds)
    loss, metrics = contrastive_loss(net, v, a, kind, 0.1)
    if kind == "max_infonce":
        cosines = torch.einsum("ndyx,md->nmyx", v, a).amax((2, 3))
    else:
        means = v if name == "AVENet" else F.normalize(v.mean((2, 3)), dim=1)
        cosines = means @ a.T
    contrast = infonce_loss(cosines, cosines.T, 10.0)
    last = net.get_submodule(net.logit_layer)
    body = [p for p in net.parameters() if all(p is not one for one in last.parameters())]
    torch.testing.assert_close(loss, contrast + avc_loss(net.pair_logits(v, a))[0])
    torch.testing.assert_close(metrics["loss_contrast"], contrast.detach())
    for found, expected in zip(
        torch.autograd.grad(loss, body, retain_graph=True),
        torch.autograd.grad(contrast, body, retain_graph=True),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)
    fit = avc_loss(net.pair_logits(v, a))[0]
    for found, expected in zip(
        torch.autograd.grad(loss, list(last.parameters()), retain_graph=True),
        torch.autograd.grad(fit, list(last.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)


# ------------------------------------------------------------------------------------------------------- temperature


def test_a_learned_temperature_starts_where_it_is_told_stays_above_a_hundredth_and_comes_back():
    temperature = Temperature(0.07)
    assert 1 / temperature().item() == pytest.approx(0.07)
    with torch.no_grad():
        temperature.log_scale.fill_(9.0)
    scale = temperature()
    assert scale.item() == pytest.approx(100, rel=1e-5)
    scale.backward()
    assert temperature.log_scale.grad.item() == pytest.approx(100, rel=1e-5)  # not 0: it can go down again


def test_the_optimizer_gets_the_temperature_once_and_without_decay():
    net = AVENet(width=2, dim=4)
    plain = net.parameter_groups(20.0, True)
    net.learn_temperature(0.1)
    *groups, last = net.parameter_groups(20.0, True)
    assert [p is net.temperature.log_scale for p in last["params"]] == [True] and last["weight_decay"] == 0
    assert [len(group["params"]) for group in groups] == [len(group["params"]) for group in plain]


def test_evaluation_needs_no_temperature(tmp_path):
    net = build_net(Model(name="AVOLNet", width=2, dim=4), similarity="cosine")
    net.learn_temperature(0.1)
    path = tmp_path / "best.pt"
    fresh = build_net(Model(name="AVOLNet", width=2, dim=4), similarity="cosine")
    checkpoint.load_weights(fresh, net.state_dict(), path)
    assert torch.equal(fresh.conv6.weight, net.conv6.weight) and fresh.similarity == "cosine"


# ------------------------------------------------------------------------------------------------------------ health


def test_ranking_metrics_equal_a_plain_loop_ties_are_no_success():
    scores = np.random.default_rng(0).integers(0, 4, (5, 9)).astype(float)
    found = {name: value.item() for name, value in ranking_metrics(torch.tensor(scores), 3).items()}
    others = [[scores[i, j] for j in range(9) if j != 3 + i] for i in range(5)]
    first = [scores[i, 3 + i] > max(others[i]) for i in range(5)]
    below = [(scores[i, 3 + i] > x) + (scores[i, 3 + i] == x) / 2 for i in range(5) for x in others[i]]
    assert found == pytest.approx(
        {"batch_recall": np.mean(first), "batch_recall_chance": 1 / 9, "batch_auc": np.mean(below)}
    )
    alike = ranking_metrics(torch.zeros(5, 5))
    assert alike["batch_recall"] == 0 and alike["batch_auc"] == 0.5


LEARNING = {
    "accuracy": 0.5, "batch_auc": 0.78, "batch_recall": 0.2, "batch_recall_chance": 0.03, "logit_std": 0.01,
    "cosine_frames": 0.1, "cosine_sounds": 0.1, "logit_scale": -1.0,
}  # fmt: skip


def test_the_alarm_judges_infonce_by_its_ranking():
    assert diagnose_avc(LEARNING) is None  # whatever the threshold and the last layer say
    assert "stuck at chance (batch_auc 0.510)" in diagnose_avc(LEARNING | {"batch_auc": 0.51})
    assert "belong together" in diagnose_avc(LEARNING | {"batch_auc": 0.51})
    assert "all sounds have nearly the same" in diagnose_avc(LEARNING | {"batch_auc": 0.5, "cosine_sounds": 0.9})
    assert "logit scale" in diagnose_avc({k: v for k, v in LEARNING.items() if k != "batch_auc"})
