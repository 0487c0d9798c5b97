"""Correspondence: the loss, its measures against scikit-learn, the threshold, and the diagnosis of a stall."""

import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from evaluation.measures import correspondence
from models import losses
from models.avenet import AVENet
from utils import health


def scored(seed=0, matches=40, mismatches=400, apart=1.5, scale=2.0, shift=0.0):
    """Logits of matches and mismatches, two overlapping bells."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=matches) + apart) * scale + shift, rng.normal(size=mismatches) * scale + shift


# ------------------------------------------------------------------------------------------------------------ loss


@pytest.mark.parametrize("negatives", ["all", "one"])
@pytest.mark.parametrize("count", [2, 3, 7])
def test_loss_and_accuracy_equal_a_plain_loop(negatives, count):
    logits = 3 * torch.randn(count, count, generator=torch.Generator().manual_seed(count))
    matches, mismatches = [], []
    for i in range(count):
        for j in range(count):
            # Two-way softmax of (0, logit): its cross-entropy for "match" is -log of the share of the second.
            share = 1 / (1 + math.exp(-logits[i, j].item()))
            if i == j:
                matches.append((-math.log(share), share > 0.5))
            elif negatives == "all" or j == (i + 1) % count:
                mismatches.append((-math.log(1 - share), share <= 0.5))
    expected = np.mean([np.mean(matches, 0), np.mean(mismatches, 0)], 0)  # half each
    loss, accuracy = losses.avc_loss(logits, negatives)
    assert loss.item() == pytest.approx(expected[0], rel=1e-5)
    assert accuracy.item() == pytest.approx(expected[1], abs=1e-6)


def test_loss_pulls_matches_up_and_mismatches_down_with_equal_total_weight():
    """However many mismatches there are, they weigh as much as the matches: no gain from a constant answer."""
    for negatives in ("all", "one"):
        logits = torch.zeros(6, 6, requires_grad=True)
        losses.avc_loss(logits, negatives)[0].backward()
        matches = logits.grad.diagonal()
        assert (matches < 0).all() and (logits.grad - torch.diag(matches) >= 0).all()
        assert matches.sum().item() == pytest.approx(-0.25) and logits.grad.sum().item() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("negatives", ["all", "one"])
def test_equal_logits_are_chance(negatives):
    loss, accuracy = losses.avc_loss(torch.zeros(5, 5), negatives)
    assert loss.item() == pytest.approx(math.log(2)) and accuracy.item() == 0.5
    assert losses.avc_loss(torch.full((5, 5), 3.0), negatives)[1].item() == 0.5


def test_loss_is_finite_for_extreme_logits():
    logits = torch.full((4, 4), 200.0).fill_diagonal_(-200.0).requires_grad_()
    loss, accuracy = losses.avc_loss(logits)
    loss.backward()
    assert loss.item() == pytest.approx(200) and accuracy.item() == 0 and torch.isfinite(logits.grad).all()


# -------------------------------------------------------------------------------------------------------- measures


@pytest.mark.parametrize("ties", [False, True])
def test_measures_equal_scikit_learn(ties):
    matches, mismatches = scored()
    if ties:
        matches, mismatches = matches.round(), mismatches.round()
        assert len(np.unique(np.concatenate([matches, mismatches]))) < 20
    logits = np.concatenate([matches, mismatches])
    truth = np.repeat([1, 0], [40, 400])
    half_each = np.repeat([0.5 / 40, 0.5 / 400], [40, 400])
    found = correspondence.avc_measures(matches, mismatches)
    assert found["auc"] == pytest.approx(roc_auc_score(truth, logits), abs=1e-12)
    shares = [np.mean((m > mismatches) + 0.5 * (m == mismatches)) for m in matches]
    lost = [np.mean((matches > m) + 0.5 * (matches == m)) for m in mismatches]  # DeLong et al., 1988
    assert found["auc_error"] == pytest.approx((np.var(shares, ddof=1) / 40 + np.var(lost, ddof=1) / 400) ** 0.5)
    assert found["loss"] == pytest.approx(log_loss(truth, 1 / (1 + np.exp(-logits)), sample_weight=half_each), rel=1e-9)
    assert found["accuracy"] == pytest.approx(np.average((logits > 0) == truth, weights=half_each))
    assert found["pairs"] == 440 and found["threshold"] == 0


def test_threshold_moves_the_accuracy_and_nothing_else():
    matches, mismatches = scored(shift=30.0)
    plain, moved = (
        correspondence.avc_measures(matches, mismatches),
        correspondence.avc_measures(matches, mismatches, 31.0),
    )
    assert plain["accuracy"] == plain["accuracy_raw"] == moved["accuracy_raw"] == 0.5
    assert moved["accuracy"] == np.mean([(matches > 31).mean(), (mismatches <= 31).mean()]) > 0.7
    assert moved["threshold"] == 31 and (moved["auc"], moved["loss"]) == (plain["auc"], plain["loss"])


def test_chance_values():
    """Equal logits, and logits that know nothing: accuracy and AUC 0.5, loss ln 2."""
    found = correspondence.avc_measures(np.zeros(10), np.zeros(90))
    assert (found["accuracy"], found["auc"], found["loss"]) == (0.5, 0.5, pytest.approx(math.log(2)))
    found = correspondence.avc_measures(*scored(matches=5000, mismatches=5000, apart=0))
    assert found["accuracy"] == pytest.approx(0.5, abs=0.02) and found["auc"] == pytest.approx(0.5, abs=0.02)


def test_perfect_and_inverted_logits():
    found = correspondence.avc_measures([5.0, 700.0], [-5.0, -4.0, -700.0])
    assert found["accuracy"] == found["auc"] == 1 and found["loss"] < 0.01
    found = correspondence.avc_measures([-5.0, -2000.0], [5.0, 4.0, 2000.0])
    assert found["accuracy"] == found["auc"] == 0 and math.isfinite(found["loss"])


# ------------------------------------------------------------------------------------------------------- threshold


@pytest.mark.parametrize("seed", range(6))
def test_calibration_equals_a_balanced_logistic_regression(seed):
    rng = np.random.default_rng(seed)
    matches, mismatches = scored(
        seed, matches=int(rng.integers(10, 80)), mismatches=int(rng.integers(50, 900)), apart=rng.uniform(0.5, 3),
        scale=10 ** rng.uniform(-1, 1), shift=20 * rng.normal(),
    )  # fmt: skip
    if seed % 2:  # a few far outliers, on which a plain Newton step overshoots
        mismatches[:2] += 40 * mismatches.std()
    x, truth = np.concatenate([matches, mismatches]), np.repeat([1, 0], [len(matches), len(mismatches)])
    centre, scale = x.mean(), x.std()
    fitted = LogisticRegression(C=1e8, class_weight="balanced", tol=1e-10, max_iter=10_000)
    fitted.fit(((x - centre) / scale)[:, None], truth)
    assert fitted.coef_[0, 0] > 0
    expected = centre - scale * fitted.intercept_[0] / fitted.coef_[0, 0]
    assert correspondence.calibrate_threshold(matches, mismatches) == pytest.approx(expected, abs=2e-3 * scale)


def test_shifted_logits_get_their_accuracy_back_by_the_threshold():
    """What happens in long runs: the order of the pairs is fine, but the net's own threshold has drifted."""
    right = correspondence.avc_measures(*scored(seed=1, shift=-1.5))["accuracy"]  # bells at -1.5 and +1.5
    threshold = correspondence.calibrate_threshold(*scored(seed=2, shift=9.0))  # another sample, as validation is
    drifted = correspondence.avc_measures(*scored(seed=1, shift=9.0), threshold)
    assert drifted["accuracy_raw"] < 0.55
    assert drifted["accuracy"] == pytest.approx(right, abs=0.03) and right > 0.7


def test_calibration_of_separable_pairs_lies_between_them():
    assert 2 < correspondence.calibrate_threshold([8.0, 9.0, 10.0], [-1.0, 0.0, 2.0]) < 8
    assert 1e-6 < correspondence.calibrate_threshold([1e3], [1e-6]) < 1e3


@pytest.mark.parametrize(
    ("matches", "mismatches"),
    [([2.0] * 5, [2.0] * 20), ([-1.0, 1.0], [-1.0, 1.0]), ([0.0, 1.0, 2.0], [3.0, 4.0, 5.0])],
    ids=["equal", "same distribution", "inverted"],
)
def test_logits_that_tell_nothing_leave_the_threshold_alone(matches, mismatches):
    assert correspondence.calibrate_threshold(np.array(matches), np.array(mismatches)) == 0.0


# ----------------------------------------------------------------------------------------------------- fixed pairs


def numbered(v, a):
    """As a net's pair_logits: says which frame and which sound a logit is of."""
    return 1000 * v[:, None] + a[None]


@pytest.mark.parametrize(("count", "largest"), [(103, 20), (20, 20), (21, 20), (3, 2), (2, 2)])
def test_every_clip_is_matched_once_and_mismatched_with_all_of_its_group(count, largest):
    clips = torch.arange(count)
    matches, mismatches = correspondence.score_groups(numbered, clips, clips, largest)
    assert sorted(matches) == [1001 * i for i in range(count)]
    partners = {i: {i} for i in range(count)}
    for logit in mismatches:
        frame, sound = divmod(int(logit), 1000)
        assert frame != sound
        partners[frame].add(sound)
    assert len(mismatches) == sum(len(group) - 1 for group in partners.values())  # none twice
    sizes = sorted(len(group) for group in {frozenset(group) for group in partners.values()})
    assert sum(sizes) == count  # groups don't overlap
    assert sizes[-1] <= largest and sizes[-1] - sizes[0] <= 1 and len(sizes) == math.ceil(count / largest)


def test_groups_are_random_and_the_same_every_time():
    clips = torch.arange(100)
    first, again = (correspondence.score_groups(numbered, clips, clips, 10)[1] for _ in range(2))
    assert np.array_equal(first, again)
    frames, sounds = np.divmod(first, 1000)
    assert (
        np.abs(frames - sounds).mean() > 20
    )  # neighbours in a sorted split are alike, and not what a group is made of


def test_one_group_scores_the_full_matrix():
    net = AVENet(width=1, dim=8)
    v, a = (F.normalize(torch.randn(12, 8, generator=torch.Generator().manual_seed(s)), dim=1) for s in (0, 1))
    matches, mismatches = correspondence.score_groups(net.pair_logits, v, a)
    full = net.pair_logits(v, a).detach().numpy()
    np.testing.assert_allclose(np.sort(matches), np.sort(np.diag(full)), rtol=1e-5)
    np.testing.assert_allclose(np.sort(mismatches), np.sort(full[~np.eye(12, dtype=bool)]), rtol=1e-5)


# ---------------------------------------------------------------------------------------------------------- health


def test_health_equals_a_plain_loop():
    generator = torch.Generator().manual_seed(0)
    v, a = (F.normalize(torch.randn(6, 5, generator=generator) + 0.5, dim=1) for _ in range(2))
    logits = torch.randn(6, 6, generator=generator)
    found = {name: value.item() for name, value in health.health_metrics(v, a, logits, torch.tensor(3.0)).items()}
    plain = {name: value.item() for name, value in health.health_metrics(v, a, logits).items()}
    v, a = v.double().numpy(), a.double().numpy()
    others = [(i, j) for i in range(6) for j in range(6) if i != j]
    assert found == pytest.approx({
        "logit_std": np.std(logits.double().numpy(), ddof=1),
        "distance_std": np.std([np.linalg.norm(x - y) for x in v for y in a], ddof=1),
        "cosine_frames": np.mean([v[i] @ v[j] for i, j in others]),
        "cosine_sounds": np.mean([a[i] @ a[j] for i, j in others]),
        "cosine_gap": np.mean([v[i] @ a[i] for i in range(6)]) - np.mean([v[i] @ a[j] for i, j in others]),
        "logit_scale": 3.0,
    }, abs=1e-5)  # fmt: skip
    # A net that doesn't compare the two vectors has no distances between them to tell of.
    assert plain == {name: found[name] for name in ("logit_std", "cosine_frames", "cosine_sounds")}


HEALTHY = {"accuracy": 0.8, "logit_std": 3.0, "cosine_frames": 0.1, "cosine_sounds": 0.1, "logit_scale": 12.0}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"logit_scale": -0.7}, r"logit scale is -0\.70, so dissimilar pairs count as matches"),
        ({"cosine_frames": 0.95}, r"all frames have nearly the same embedding \(cosine 0\.95.*data_dependent_init"),
        ({"cosine_sounds": 0.95}, r"all sounds have nearly the same embedding \(cosine 0\.95.*data_dependent_init"),
        ({"logit_std": 0.03}, r"nearly equal \(standard deviation 0\.030\).*last_layer_lr_mult"),
        ({}, "don't predict their sounds"),
    ],
    ids=["sign", "frames alike", "sounds alike", "equal logits", "data"],
)
def test_diagnosis_names_the_cause_of_a_stall(changes, words):
    assert re.search(words, health.diagnose_avc(HEALTHY | {"accuracy": 0.5} | changes))
    assert health.diagnose_avc(HEALTHY | changes) is None  # it is no stall where it learns


def toy_run(steps, start=True, learnable=True):
    """Train two linear branches and AVE-Net's decision on clips whose frame and sound share a hidden cause.

    Returns the mean metrics of the last 20 steps, as the training loop hands them to `diagnose`.
    """
    torch.manual_seed(0)
    mix_v, mix_a = torch.randn(2, 6, 12)
    net = AVENet(width=1, dim=8)
    branches = torch.nn.ModuleList([torch.nn.Linear(12, 8), torch.nn.Linear(12, 8)])
    if not start:  # every clip is embedded alike
        with torch.no_grad():
            for branch in branches:
                branch.weight.mul_(0.02)
                branch.bias.fill_(1.0)
    optimizer = torch.optim.Adam([*branches.parameters(), *net.fc3.parameters()], lr=1e-2 if start else 1e-6)
    history = []
    for _ in range(steps):
        cause = torch.randn(2, 32, 6)
        frames, sounds = cause[0] @ mix_v, cause[0 if learnable else 1] @ mix_a
        v, a = (F.normalize(branch(x), dim=1) for branch, x in zip(branches, (frames, sounds), strict=True))
        logits = net.pair_logits(v, a)
        loss, accuracy = losses.avc_loss(logits)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(
            {
                "accuracy": accuracy,
                **health.health_metrics(v.detach(), a.detach(), logits.detach(), net.logit_scale()),
            }
        )
    return {name: float(np.mean([float(step[name]) for step in history[-20:]])) for name in history[0]}


def test_diagnosis_of_real_training_is_silent_when_it_learns_and_right_when_it_does_not():
    learned = toy_run(150)
    assert learned["accuracy"] > 0.7 and health.diagnose_avc(learned) is None
    assert "nearly the same embedding" in health.diagnose_avc(toy_run(30, start=False))
    assert "belong together" in health.diagnose_avc(toy_run(60, learnable=False))


def test_diagnosis_is_silent_where_nothing_is_known_of_the_net():
    assert health.diagnose_avc({"accuracy": 0.5}) is None
