"""Standard errors: each is how much the figure varies over other test clips, simulated anew."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from evaluation.measures import correspondence, localization, probe, separation
from evaluation.measures import negative_sounds as negatives
from evaluation.measures.registry import SECTIONS
from evaluation.measures.separation import MeanRatios, MixtureScore
from evaluation.measures.standard_errors import mean_error, median_error, pair_mean_error, shared_clip_error
from evaluation.report.notes import small_split_note

ROUNDS = 300  # simulated test splits: a standard deviation over them is known to 4%


def check(figures, errors, tolerance=0.2):
    """The mean of the errors is the standard deviation of the figures."""
    assert np.mean(errors) == pytest.approx(np.std(figures, ddof=1), rel=tolerance)


def test_of_means_and_medians():
    rng = np.random.default_rng(0)
    draws = rng.geometric(0.08, (ROUNDS, 80)).astype(float)
    check(draws.mean(1), [mean_error(one) for one in draws])
    check(np.median(draws, 1), [median_error(one) for one in draws])
    assert mean_error(draws[0, :1]) is median_error(draws[0, :1]) is None
    resampled = np.median(rng.choice(draws[0], (20_000, 80)), 1)
    assert median_error(draws[0]) == pytest.approx(resampled.std(), rel=0.15)  # of the bootstrap


def drawn_pairs(rng, sizes):
    """Logits of groups of clips, of which some frames and some sounds have higher ones with all others."""
    positives, negatives = [], []
    for size in sizes:
        frame, sound = 0.8 * rng.normal(size=(2, size))
        logits = frame[:, None] + sound[None] + 0.5 * rng.normal(size=(size, size))
        logits[np.eye(size, dtype=bool)] += 1 + rng.normal(size=size)
        positives.append(np.diag(logits))
        negatives.append(logits[~np.eye(size, dtype=bool)])
    return np.concatenate(positives), np.concatenate(negatives)


@pytest.mark.parametrize("key", ["accuracy", "auc", "loss", "accuracy_raw"])
@pytest.mark.parametrize("sizes", [[60], [21, 20, 20]])
def test_of_pairs_that_share_clips(key, sizes):
    """All pairs of a clip are right or wrong together: as independent ones, they would look far too certain."""
    rng = np.random.default_rng(1)
    found = [correspondence.avc_measures(*drawn_pairs(rng, sizes), 0.5, sizes) for _ in range(ROUNDS)]
    check([one[key] for one in found], [one[f"{key}_error"] for one in found])


def test_of_independent_pairs():
    rng = np.random.default_rng(2)
    found = [correspondence.avc_measures(rng.normal(1, 1, 40), rng.normal(0, 1, 70)) for _ in range(ROUNDS)]
    for key in ("auc", "accuracy", "loss"):
        check([one[key] for one in found], [one[f"{key}_error"] for one in found])
    assert pair_mean_error(np.ones(1), np.ones(5)) is None


def test_of_mixtures_that_share_clips():
    rng = np.random.default_rng(3)
    keys = ("nsdr", "nsdr_median", "sdr", "swap_consistency", "nsdr_share_of_ideal", "sir_above_mixture")
    figures: dict[str, list[float]] = {key: [] for key in keys}
    errors = {key: [] for key in figures}
    for _ in range(ROUNDS):
        hard, partner = rng.normal(size=60), rng.permutation(60)
        scores = [mixture_score(4 + hard[k] + hard[partner[k]] + 0.5 * rng.normal(), rng) for k in range(60)]
        found = separation.separation_summary(scores, [[k, int(partner[k])] for k in range(60)])
        for key, values in figures.items():
            values.append(found[key])
            errors[key].append(found[f"{key}_error"])
    for key in keys:
        check(figures[key], errors[key], 0.25)
    values = np.array([1.0, 2.0, 4.0])
    assert shared_clip_error(values, [[0, 1], [2, 3], [4, 5]]) == pytest.approx(mean_error(values))
    assert shared_clip_error(values[:1], [[0, 1]]) is None


def mixture_score(nsdr, rng):
    """A mixture whose estimates gain `nsdr` dB."""
    sdr = {"estimates": nsdr, "mixture": 0.0, "swapped": rng.normal(3, 2), "ideal_binary": 9 + 0.5 * nsdr}
    sir = {kind: 4.0 if kind == "mixture" else value for kind, value in sdr.items()}
    return MixtureScore({kind: MeanRatios(sdr[kind], sir[kind], 5.0, sdr[kind] - 1) for kind in sdr})


def test_of_localization():
    rng = np.random.default_rng(4)
    box, other = [0.1, 0.1, 0.55, 0.6], [0.6, 0.6, 0.9, 0.9]
    found = []
    for _ in range(ROUNDS // 3):
        frames = [
            [{"box": box, "sounding": True}, *([{"box": other, "sounding": False}] if rng.random() < 0.5 else [])]
            for _ in range(60)
        ]
        found.append(localization.box_measures(rng.normal(size=(60, 5, 5)), frames, 20)[0])
    for key in ("peak_accuracy", "two_object_accuracy", "distractor_accuracy", "auc", "ciou", "adaptive_auc"):
        check([one[key] for one in found], [one[f"{key}_error"] for one in found], 0.35)


def test_of_negative_sounds():
    rng = np.random.default_rng(6)
    found = []
    for _ in range(ROUNDS // 3):
        ease, ciou = rng.normal(size=80), rng.random(80)  # a frame's maps are alike, whatever the sound
        other = np.tile(ease, 3) + rng.normal(size=240)
        area = 1 / (1 + np.exp(-other))
        pairs = negatives.NegativePairs(
            ease + rng.normal(1, 1, 80), ciou > 0.4, rng.random(80), ciou, other, area, np.tile(np.arange(80), 3)
        )
        found.append(negatives.negative_measures(pairs))
    for key in ("pia", "auc_n", "f", "ap", "max_f1"):
        check([one[key] for one in found], [one[f"{key}_error"] for one in found], 0.35)


def test_of_the_probe():
    rng = np.random.default_rng(5)
    maps, errors, tops, top_errors = [], [], [], []
    for _ in range(ROUNDS):
        kind = rng.integers(0, 4, 100)
        scores, truth = np.eye(4)[kind] * 1.2 + rng.normal(size=(100, 4)), np.eye(4, dtype=bool)[kind]
        one = [probe.Predictions(scores, truth, np.ones(100, bool), 0)]
        found = probe.compute_measures(probe.PROBE, one)
        assert found["map"] == pytest.approx(average_precision_score(truth, scores))
        maps.append(found["map"])
        errors.append(found["map_error"])
        tops.append(found["top1"])
        top_errors.append(found["top1_error"])
    check(maps, errors, 0.25)
    check(tops, top_errors)
    folds = [probe.Predictions(scores, truth, np.ones(100, bool), 0)] * 4
    of_four = probe.compute_measures(probe.PROBE, folds)
    assert of_four["top1_error"] == pytest.approx(found["top1_error"] / 2)


def test_equal_scores_of_a_probe_are_chance_however_the_clips_are_sorted():
    truth = np.repeat(np.eye(4, dtype=bool), 100, 0)  # sorted by class
    constant = probe.Predictions(np.zeros((400, 4)), truth, np.ones(400, bool), 0)
    found = probe.compute_measures(probe.PROBE, [constant])
    assert found["top1"] == 0.25 and found["map"] == pytest.approx(found["chance"]["map"], abs=0.05)


def test_every_measure_declares_its_standard_error():
    for section in SECTIONS.values():
        for measure in section.measures:
            assert measure.error, f"{section.key}.{measure.key}"


def metrics(clips, **errors):
    avc = {"accuracy": 0.8, "auc": 0.9, "loss": 0.5} | {f"{key}_error": value for key, value in errors.items()}
    return {"model": "AVENet", "split": "test", "clips": clips, "skipped": 0, "avc": avc}


def test_a_split_is_called_small_below_100_clips_or_where_an_error_is_large():
    assert small_split_note(metrics(320, accuracy=0.02, auc=0.015)) is None
    few = small_split_note(metrics(40, accuracy=0.03, auc=0.02))
    assert few.startswith("40 clips are few") and "0.030 (accuracy)" in few
    large = small_split_note(metrics(320, accuracy=0.02, auc=0.05))
    assert large.startswith("320 clips are few") and "0.050 (AUC)" in large
    assert small_split_note(metrics(2)) == "2 clips are few for these figures"
