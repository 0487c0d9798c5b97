"""Overlap of maps and annotated regions against loops over pixels that are written from the definitions."""

import numpy as np
import pytest
from sklearn.metrics import auc as area

from evaluation.measures.localization import region_measures, several_sounds, size_classes
from evaluation.measures.map_overlap import (
    JUDGED,
    adaptive_ciou,
    best_maps,
    center_map,
    ciou,
    ciou_area,
    judge_maps,
    random_maps,
    upsample,
)

SIZE = 24


def by_pixels(one, truth, count=None):
    """CIoU of the pixels above the median, or of the `count` highest ones, by sorting and counting."""
    values = sorted(one.ravel().tolist())
    n = len(values)
    middle = values[n // 2] if n % 2 else (values[n // 2 - 1] + values[n // 2]) / 2
    if count is None:
        predicted = [p > middle for p in one.ravel()]
    elif count == n:
        predicted = [values[0] != values[-1]] * n
    else:
        predicted = [p > values[n - 1 - count] for p in one.ravel()]
    hit = sum(g for p, g in zip(predicted, truth.ravel(), strict=True) if p)
    union = truth.sum() + sum(p and g == 0 for p, g in zip(predicted, truth.ravel(), strict=True))
    return hit / union if union else 0.0


def as_published(one, truth):
    """The cIoU of the published evaluators: of S x S sorted values the half from the middle one on is predicted."""
    threshold = np.sort(one.ravel())[one.size // 2]
    predicted = one >= threshold
    return (predicted * truth).sum() / (truth.sum() + (predicted * (truth == 0)).sum())


def cases(seed):
    """Random maps and truths of three annotators' levels, with maps that have ties, are constant, or nearly so."""
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(40, 9, 9))
    maps[10:20] = rng.integers(0, 4, (10, 9, 9))
    maps[20] = 3.0
    maps[21] = 0
    maps[21, 4, 4] = 1
    truths = rng.choice([0, 0.5, 1], (40, 9, 9), p=[0.6, 0.1, 0.3])
    truths[30], truths[31], truths[32] = 0, 1, 0.5
    truths[20:22] = np.stack([np.ones((9, 9)), np.eye(9)])
    return maps, truths


@pytest.mark.parametrize("seed", range(5))
def test_both_overlaps_equal_a_count_of_pixels_with_ties_and_constant_maps(seed):
    maps, truths = cases(seed)
    half = [by_pixels(one, truth) for one, truth in zip(maps, truths, strict=True)]
    adaptive = [by_pixels(one, truth, int((truth > 0).sum())) for one, truth in zip(maps, truths, strict=True)]
    np.testing.assert_allclose(ciou(maps, truths), half, rtol=0, atol=1e-12)
    np.testing.assert_allclose(adaptive_ciou(maps, truths), adaptive, rtol=0, atol=1e-12)
    assert ciou(maps, truths)[20] == adaptive_ciou(maps, truths)[20] == 0  # constant


def test_maps_without_ties_get_what_the_published_evaluators_give():
    rng = np.random.default_rng(3)
    maps, truths = rng.normal(size=(20, 224, 224)), (rng.random((20, 1, 1)) > rng.random((20, 224, 224))).astype(float)
    expected = [as_published(one, truth) for one, truth in zip(maps, truths, strict=True)]
    np.testing.assert_allclose(ciou(maps, truths), expected, rtol=0, atol=1e-6)


def test_a_map_that_is_largest_on_the_region_has_an_adaptive_overlap_of_one():
    truth = np.zeros((1, 12, 12))
    truth[0, 2:5, 3:9] = 1
    assert adaptive_ciou(truth + np.random.default_rng(0).random(truth.shape) / 2, truth) == 1
    assert ciou(truth + np.random.default_rng(0).random(truth.shape) / 2, truth) == pytest.approx(18 / 72)


def frames(count=30, seed=0):
    """Rectangles of all sizes, (count, SIZE, SIZE)."""
    rng = np.random.default_rng(seed)
    truths = np.zeros((count, SIZE, SIZE), np.float32)
    for one in truths:
        height, width = rng.integers(2, SIZE, 2)
        top, left = rng.integers(0, SIZE - height), rng.integers(0, SIZE - width)
        one[top : top + height, left : left + width] = 1
    return truths


def test_what_maps_are_held_against_is_judged_by_the_same_rules(monkeypatch):
    truths = frames()
    maps = np.random.default_rng(1).normal(size=(len(truths), 6, 6))
    found, counts = judge_maps(maps, lambda k: truths[k], SIZE)
    assert set(found) == set(JUDGED) and (counts == truths.sum((1, 2))).all()
    np.testing.assert_allclose(found["map"].ciou, ciou(upsample(maps, SIZE), truths))
    np.testing.assert_allclose(found["map"].adaptive, adaptive_ciou(upsample(maps, SIZE), truths))
    center = np.broadcast_to(center_map(SIZE), truths.shape)
    np.testing.assert_allclose(found["center"].ciou, ciou(center, truths))
    np.testing.assert_allclose(found["center"].adaptive, adaptive_ciou(center, truths))
    np.testing.assert_allclose(found["whole"].ciou, truths.mean((1, 2)), rtol=1e-6)
    drawn = upsample(random_maps(np.arange(len(truths)), 6, 6), SIZE)
    np.testing.assert_allclose(found["random"].ciou, ciou(drawn, truths))
    others = np.random.default_rng(9).normal(size=maps.shape)
    anew, _ = judge_maps(others, lambda k: truths[k], SIZE)
    again, _ = judge_maps(others, lambda k: truths[k], SIZE, found)
    for name in JUDGED:
        np.testing.assert_array_equal(again[name].ciou, anew[name].ciou)
        np.testing.assert_array_equal(again[name].adaptive, anew[name].adaptive)
    monkeypatch.setattr("evaluation.measures.map_overlap.CHUNK_PIXELS", 4 * SIZE**2)
    again, _ = judge_maps(maps, lambda k: truths[k], SIZE)
    for name in JUDGED:
        np.testing.assert_array_equal(again[name].ciou, found[name].ciou)


def test_the_ceiling_is_what_the_sizes_of_the_regions_allow():
    """Half of the frame is predicted: with A annotated of N pixels no map gets more than min / max of A and N / 2."""
    truths = frames(200)
    found, counts = judge_maps(np.zeros((200, SIZE, SIZE)), lambda k: truths[k], SIZE)
    half = SIZE**2 / 2
    np.testing.assert_allclose(found["ceiling"].ciou, np.minimum(counts, half) / np.maximum(counts, half), atol=0.02)
    assert found["ceiling"].adaptive.min() > 0.97
    coarse, _ = judge_maps(np.zeros((200, 6, 6)), lambda k: truths[k], SIZE)
    assert 0.5 < coarse["ceiling"].adaptive.mean() < found["ceiling"].adaptive.mean()
    rng = np.random.default_rng(2)
    for _ in range(20):  # no other map of this size is better on average
        maps = best_maps(truths, 6, 6) + rng.normal(0, 0.3, (200, 6, 6))
        other, _ = judge_maps(maps, lambda k: truths[k], SIZE)
        assert other["map"].adaptive.mean() < coarse["ceiling"].adaptive.mean()
        assert other["map"].ciou.mean() < coarse["ceiling"].ciou.mean() + 1e-3


def test_the_section_holds_means_and_areas_of_the_overlaps():
    truths = frames(40)
    maps = best_maps(truths, 6, 6) + np.random.default_rng(0).normal(0, 0.3, (40, 6, 6))
    found, data = region_measures(maps, lambda k: truths[k], SIZE)
    half, adaptive = data.overlaps["map"].ciou, data.overlaps["map"].adaptive
    steps = np.linspace(0, 1, 21)
    for key, values in (("auc", half), ("adaptive_auc", adaptive)):
        assert found[key] == pytest.approx(area(steps, [(values >= step - 1e-9).mean() for step in steps]))
    assert found["ciou@0.5"] == (half >= 0.5).mean() and found["adaptive_ciou@0.5"] == (adaptive >= 0.5).mean()
    assert found["ciou"] == pytest.approx(half.mean()) and found["adaptive_ciou"] == pytest.approx(adaptive.mean())
    assert found["auc_ceiling"] == pytest.approx(ciou_area(data.overlaps["ceiling"].ciou))
    assert found["adaptive_auc_random"] < found["adaptive_auc"] < found["adaptive_auc_ceiling"]
    assert "adaptive_auc_whole" not in found and "iiou" not in found
    assert found["frames"] == 40 and found["size"] == SIZE
    names = size_classes(truths.mean((1, 2)))
    for name in set(names):
        assert found[f"ciou@0.5_{name}"] == pytest.approx((half[names == name] >= 0.5).mean())
        assert found[f"{name}_objects"] == (names == name).sum()


def test_sizes_are_those_of_squares_at_224_pixels():
    sides = np.array([1, 32, 33, 96, 97, 144, 145, 224])
    expected = ["small", "small", "medium", "medium", "large", "large", "huge", "huge"]
    assert size_classes(sides**2 / 224**2).tolist() == expected


def test_a_picture_with_several_sounds_counts_by_its_worst_map():
    values, pictures = np.array([0.9, 0.6, 0.7, 0.4, 0.8, 0.5]), np.array([3, 3, 1, 1, 2, 3])
    assert several_sounds(values, pictures).tolist() == [0.4, 0.5]
    truths = frames(6)
    maps = np.random.default_rng(0).normal(size=(6, 6, 6)) + best_maps(truths, 6, 6)
    found, data = region_measures(maps, lambda k: truths[k], SIZE, pictures)
    worst = [min(data.overlaps["map"].ciou[pictures == picture]) for picture in (1, 3)]
    assert found["iiou"] == np.mean([value >= 0.5 for value in worst]) and found["several_sounds"] == 2
    assert found["iauc"] == pytest.approx(ciou_area(np.array(worst)))
