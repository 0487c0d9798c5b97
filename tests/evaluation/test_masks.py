"""mIoU and F against masks: loops over pixels and thresholds, from AVSBench's definitions."""

import math

import numpy as np
import pytest

from evaluation.measures.map_overlap import upsample
from evaluation.measures.masks import MaskedFrames, MaskScores, f_curves, mask_iou, mask_measures, max_f, mean_iou

THRESHOLDS = np.linspace(0, 1 - 1e-10, 255).tolist()


def iou_by_hand(predicted, mask):
    pairs = list(zip(predicted.ravel().tolist(), mask.ravel().tolist(), strict=True))
    if not any(m for _, m in pairs):
        return sum(not p for p, _ in pairs) / len(pairs)
    return sum(p and m for p, m in pairs) / sum(p or m for p, m in pairs)


def f_by_hand(values, mask, threshold):
    predicted = [v >= threshold for v in values.ravel().tolist()]
    truth = mask.ravel().tolist()
    right = sum(p and m for p, m in zip(predicted, truth, strict=True))
    precision, recall = right / (sum(predicted) + 1e-20), right / (sum(truth) + 1e-20)
    return 1.3 * precision * recall / (0.3 * precision + recall) if right else 0.0


def random_masks(rng, count, size=6):
    masks = rng.random((count, size, size)) < rng.random((count, 1, 1))
    masks[0] = False
    masks[1] = True
    return masks


def test_iou_and_f_are_those_of_loops_over_pixels_ties_and_constant_maps_included():
    rng = np.random.default_rng(0)
    masks, values = random_masks(rng, 8), rng.random((8, 6, 6))
    values[2], values[3], values[4] = 0.5, 0.0, 1.0  # constant
    values[5] = rng.choice(THRESHOLDS, (6, 6))  # each pixel just reaches a threshold
    values[6] = np.round(values[6] * 4) / 4  # ties
    for found, one, mask in zip(mask_iou(values > 0.5, masks), values, masks, strict=True):
        assert found == pytest.approx(iou_by_hand(one > 0.5, mask), rel=1e-9)
    for curve, one, mask in zip(f_curves(values, masks), values, masks, strict=True):
        assert curve.tolist() == pytest.approx([f_by_hand(one, mask, t) for t in THRESHOLDS], rel=1e-6, abs=1e-12)


def test_the_largest_f_is_of_the_mean_curve_over_the_frames_with_a_mask():
    curves = np.zeros((3, 255))
    curves[0, 10], curves[1, 20], curves[2, 20] = 1.0, 0.8, 1.0  # the third frame has no mask
    frames = MaskedFrames(
        {"map": MaskScores(np.array([0.2, 0.4, 0.9]), curves)}, np.array([False, False, True]), np.arange(3)
    )
    assert max_f(frames) == pytest.approx(0.5) and mean_iou(frames) == pytest.approx(0.5)  # not (1 + .8) / 2
    assert max_f(frames, weights=np.array([0, 1, 1])) == pytest.approx(0.8)
    assert max_f(frames, weights=np.array([0, 0, 1])) is None


def test_the_section_is_of_sigmoids_above_the_threshold_of_validation():
    rng = np.random.default_rng(1)
    maps, masks = rng.normal(2, 2, (6, 3, 3)), random_masks(rng, 6, 12)
    values, table = mask_measures(maps, lambda k: masks[k].astype(np.float32), 12, 2.0, np.array([0, 0, 1, 1, 2, 2]))
    large = upsample(maps, 12).astype(float)
    odds = np.vectorize(lambda x: 1 / (1 + math.exp(2 - x)))(large)
    ious = [iou_by_hand(one > 2, mask) for one, mask in zip(large, masks, strict=True)]
    assert values["miou"] == pytest.approx(np.mean(ious), rel=1e-6) and table["iou"] == pytest.approx(ious, rel=1e-6)
    full = [k for k in range(6) if masks[k].any()]
    means = [np.mean([f_by_hand(odds[k], masks[k], t) for k in full]) for t in THRESHOLDS]
    assert values["max_f"] == pytest.approx(max(means), rel=1e-6)
    assert np.isnan(table["f"]).tolist() == [not mask.any() for mask in masks]
    assert np.nanmean(table["f"]) == pytest.approx(max(means), rel=1e-6)
    areas = masks.mean((1, 2))
    assert values["miou_whole"] == pytest.approx(areas.mean()) and values["miou_ceiling"] > values["miou_whole"]
    whole = [1.3 * area / (0.3 * area + 1) for area in areas[full]]
    assert values["max_f_whole"] == pytest.approx(np.mean(whole), rel=1e-6)
    assert values["empty_masks"] == 6 - len(full) and values["frames"] == 6
    assert 0 < values["miou_error"] < 0.5 and 0 < values["max_f_error"] < 0.5


def test_frames_of_one_video_make_the_error_larger_than_so_many_videos():
    """Five equal frames of a video are one sample: the error must not fall with their number."""
    rng = np.random.default_rng(2)
    maps, masks = rng.normal(0, 2, (20, 3, 3)), random_masks(rng, 20, 6)
    once, _ = mask_measures(maps, lambda k: masks[k], 6, 0.0, np.arange(20))
    many, _ = mask_measures(maps.repeat(5, 0), lambda k: masks[k // 5], 6, 0.0, np.arange(20).repeat(5))
    for key in ("miou", "max_f"):
        assert many[key] == pytest.approx(once[key], rel=1e-9)
        assert many[f"{key}_error"] == pytest.approx(once[f"{key}_error"], rel=1e-9)


def test_without_any_mask_there_is_no_f():
    values, table = mask_measures(np.full((3, 2, 2), -1.0), lambda k: np.zeros((4, 4)), 4, 0.0, np.arange(3))
    assert values["miou"] == 1 and "max_f" not in values and values["empty_masks"] == 3
    assert np.isnan(table["f"]).all()
