"""Measures for sounds that aren't in the frame, against loops and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import auc as area
from sklearn.metrics import average_precision_score

from evaluation.measures.map_overlap import region_overlap, upsample
from evaluation.measures.negative_sounds import (
    NegativePairs,
    areas_above,
    average_precision,
    confidences,
    constant_confidence,
    dark_and_right,
    dark_area,
    light_maps,
    max_f1,
    negative_measures,
)
from evaluation.tasks.negative_sounds import OFFSCREEN_DRAWS, offscreen_sounds


def random_pairs(seed, sounding=40, negative=25, levels=None):
    rng = np.random.default_rng(seed)
    own, other = rng.normal(0.5, 1, sounding), rng.normal(0, 1, negative)
    if levels:  # ties
        own, other = own.round(levels), other.round(levels)
    ciou = rng.random(sounding)
    owner = rng.integers(0, sounding, negative)
    return NegativePairs(own, ciou >= 0.5, rng.random(sounding), ciou, other, rng.random(negative), owner)


def curve_by_loops(pairs):
    """(precision, recall) at each different confidence, from the highest on, straight from the definition."""
    points = []
    for t in sorted({*pairs.confidence, *pairs.negative_confidence}, reverse=True):
        true = sum(c >= t and found for c, found in zip(pairs.confidence, pairs.localized, strict=True))
        false = sum(c >= t and not found for c, found in zip(pairs.confidence, pairs.localized, strict=True))
        false += sum(c >= t for c in pairs.negative_confidence)
        missed = sum(c < t for c in pairs.confidence)
        points.append((true / (true + false), true / (true + missed) if true + missed else 0.0))
    return points


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("levels", [None, 1, 0])
def test_average_precision_and_f1_equal_a_loop_over_confidences(seed, levels):
    pairs = random_pairs(seed, levels=levels)
    last = expected = best = 0.0
    for precision, recall in curve_by_loops(pairs):
        expected += (recall - last) * precision
        last = recall
        best = max(best, 2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    assert average_precision(pairs) == pytest.approx(expected, abs=1e-12)
    assert max_f1(pairs) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("levels", [None, 1])
def test_where_every_object_is_found_it_is_the_usual_average_precision(levels):
    pairs = random_pairs(1, levels=levels)
    pairs = NegativePairs(pairs.confidence, np.ones(40, bool), *list(vars(pairs).values())[2:])
    truth = np.r_[np.ones(40), np.zeros(25)]
    expected = average_precision_score(truth, np.r_[pairs.confidence, pairs.negative_confidence])
    assert average_precision(pairs) == pytest.approx(expected, abs=1e-12)


def test_weights_repeat_frames_with_their_negative_pairs():
    pairs, rng = random_pairs(7, levels=1), np.random.default_rng(7)
    weights = rng.integers(0, 3, 40)
    own = np.repeat(np.arange(40), weights)
    negative = np.repeat(np.arange(25), weights[pairs.owner])
    repeated = NegativePairs(
        pairs.confidence[own], pairs.localized[own], pairs.area[own], pairs.ciou[own],
        pairs.negative_confidence[negative], pairs.negative_area[negative], np.zeros(len(negative), int),
    )  # fmt: skip
    assert average_precision(pairs, weights) == pytest.approx(average_precision(repeated), abs=1e-12)
    assert max_f1(pairs, weights) == pytest.approx(max_f1(repeated), abs=1e-12)


def test_a_constant_confidence_is_judged_by_what_it_calls_all_at_once():
    pairs = constant_confidence(random_pairs(2))
    precision, recall = pairs.localized.sum() / 65, 1.0
    assert average_precision(pairs) == pytest.approx(precision)
    assert max_f1(pairs) == pytest.approx(2 * precision * recall / (precision + recall))


def test_nothing_found_is_zero():
    pairs = random_pairs(3)
    nothing = NegativePairs(pairs.confidence, np.zeros(40, bool), *list(vars(pairs).values())[2:])
    assert average_precision(nothing) == max_f1(nothing) == 0


def test_a_confidence_is_the_mean_of_the_highest_quarter():
    maps = np.random.default_rng(0).normal(size=(5, 8, 8))
    expected = [np.mean(sorted(one.ravel())[-16:]) for one in maps]
    np.testing.assert_allclose(confidences(maps), expected)


def test_lit_areas_and_their_overlap():
    rng = np.random.default_rng(1)
    maps, truths = rng.normal(size=(6, 4, 4)), (rng.random((6, 20, 20)) > 0.6).astype(float)
    found = light_maps(maps, 20, 0.3, lambda k: truths[k])
    large = upsample(maps, 20)
    np.testing.assert_allclose(found.area, [np.mean([p > 0.3 for p in one.ravel()]) for one in large])
    np.testing.assert_allclose(found.ciou, region_overlap(large > 0.3, truths))
    np.testing.assert_allclose(found.confidence, confidences(large))
    assert areas_above(np.full((1, 3, 3), 0.3), 0.3).tolist() == [0]


def test_dark_areas_and_f_by_hand():
    areas = np.array([0.0, 0.1, 0.5, 1.0])
    steps = np.linspace(0, 1, 21)
    assert dark_area(areas) == pytest.approx(area(steps, [np.mean(areas <= step + 1e-9) for step in steps]))
    assert dark_and_right(np.array([0.2, 0.4]), areas) == pytest.approx(2 * 0.3 * 0.6 / 0.9)
    assert dark_and_right(np.zeros(2), np.ones(2)) == 0


def test_a_group_holds_each_measure_with_what_a_deaf_net_gets():
    pairs = random_pairs(4)
    found = negative_measures(pairs)
    assert found["pia"] == pytest.approx(pairs.negative_area.mean()) and found["own_pia"] == pytest.approx(
        pairs.area.mean()
    )
    assert found["f"] == pytest.approx(dark_and_right(pairs.ciou, pairs.negative_area))
    assert found["constant_ap"] == pytest.approx(pairs.localized.sum() / 65) and found["pairs"] == 25
    assert found["own_auc_n"] == pytest.approx(dark_area(pairs.area))


def test_sounds_from_off_screen_share_no_label_with_the_frame():
    rng = np.random.default_rng(5)
    labels = [list(rng.choice(["a", "b", "c"], rng.integers(1, 3), replace=False)) for _ in range(30)]
    frames = [2, 5, 11, 17]
    rows, sounds, notes = offscreen_sounds(labels, frames)
    possible = [k for k in frames if any(not set(labels[k]) & set(other) for other in labels)]
    assert len(rows) == len(sounds) == OFFSCREEN_DRAWS * len(possible)
    for row, sound in zip(rows, sounds, strict=True):
        assert not set(labels[frames[row]]) & set(labels[sound])
    assert rows.tolist() == np.tile([frames.index(k) for k in possible], OFFSCREEN_DRAWS).tolist() and not notes
    again = offscreen_sounds(labels, frames)
    assert (again[1] == sounds).all()
    assert len({tuple(part) for part in np.split(sounds, OFFSCREEN_DRAWS)}) > 1


def test_without_other_labels_it_is_said():
    rows, sounds, notes = offscreen_sounds([["a"], ["a"], ["a", "b"]], [0, 2])
    assert not len(rows) and not len(sounds) and "for 2 frames no clip has other labels" in notes[0]
    rows, sounds, notes = offscreen_sounds([[], [], []], [0, 1])
    assert len(rows) == 2 * OFFSCREEN_DRAWS and "no labels" in notes[0]
    assert all(sound != row for row, sound in zip(rows, sounds, strict=True))


def test_other_sounds_of_the_same_picture_or_video_are_not_from_off_screen():
    pictures = np.array([0, 0, 0, 1, 1, 2])
    rows, sounds, _ = offscreen_sounds([[] for _ in pictures], [0, 4], pictures)
    assert len(rows) == 2 * OFFSCREEN_DRAWS
    assert {(row, pictures[sound]) for row, sound in zip(rows, sounds, strict=True)} == {(0, 1), (0, 2), (1, 0), (1, 2)}
