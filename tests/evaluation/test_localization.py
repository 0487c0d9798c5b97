"""Localisation measures against hand-worked frames: peaks, boxes, distractors, cIoU and its area."""

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import auc as area

from evaluation.measures.boxes import box_mask, is_in_box, map_peaks
from evaluation.measures.localization import box_measures, peak_fraction, region_measures
from evaluation.measures.map_overlap import ciou, upsample
from evaluation.report import heatmaps
from evaluation.report.ranked_maps import rank_heatmaps


def bump(x, y, size=64, width=0.1):
    """A map that is largest at (x, y), both in 0..1: (size, size)."""
    line = (np.arange(size) + 0.5) / size
    return np.exp(-((line[None] - x) ** 2 + (line[:, None] - y) ** 2) / width**2).astype(np.float32)


def entry(x0, y0, x1, y1, sounding=True):
    return {"box": [x0, y0, x1, y1], "sounding": sounding}


def test_a_peak_is_where_the_map_is_largest_x_to_the_right_y_down():
    found = map_peaks(np.stack([bump(0.8, 0.3), bump(0.1, 0.6)]))
    np.testing.assert_allclose(found, [[0.8, 0.3], [0.1, 0.6]], atol=1 / 64)
    assert map_peaks(np.zeros((1, 4, 4))).tolist() == [[0.125, 0.125]]


def test_upsampling_is_bilinear_between_the_centres_of_the_cells():
    small = np.array([[[0.0, 1.0], [2.0, 3.0]]])
    big = upsample(small, 8)[0]
    # Cell centres of 2 x 2 are at 0.25 and 0.75; pixel centres of 8 x 8 at (k + 0.5) / 8; flat outside.
    share = np.clip(((np.arange(8) + 0.5) / 8 - 0.25) / 0.5, 0, 1)
    np.testing.assert_allclose(big, share[None] + 2 * share[:, None], atol=1e-6)


def test_the_peak_of_a_cell_is_found_in_that_cell_after_upsampling():
    """A map is shifted against its picture if corners are aligned: at the edges by half a cell."""
    for row in range(7):
        for column in range(7):
            small = np.zeros((1, 7, 7))
            small[0, row, column] = 1
            ((x, y),) = map_peaks(upsample(small, 224))
            assert (int(x * 7), int(y * 7)) == (column, row)


@pytest.mark.parametrize(("side", "size"), [(7, 112), (14, 224), (7, 100)])
def test_the_peak_of_every_cell_is_its_centre_in_measures_pictures_and_page(side, size, tmp_path):
    """At the border too, where the interpolated map is as large from the cell's centre to the frame's edge."""
    half = 0.2 / side
    for row, column in ((0, 0), (0, side - 1), (side - 1, 2), (3, 0), (2, 3)):
        cells = np.zeros((1, side, side))
        cells[0, row, column] = 5
        x, y = (column + 0.5) / side, (row + 0.5) / side
        around = entry(x - half, y - half, x + half, y + half)
        found, _ = box_measures(cells, [[around]], size)
        assert found["peak_accuracy"] == 1 and found["random_accuracy"] == pytest.approx(side**-2)
        (best, *_) = rank_heatmaps(cells, [[around]]).parts["Best"]
        assert best.peak == pytest.approx((x, y)) and best.hit
        frame = np.zeros((size, size, 3), np.uint8)
        heatmaps.write_localization_images(tmp_path, cells, [[around]], ["clip"], ["name"], lambda k, f=frame: f)
        drawn = np.asarray(Image.open(tmp_path / "clip.jpg").convert("L"), float)
        width = max(size, heatmaps.MIN_SIDE)
        over_map = drawn[:width, width + heatmaps.GAP : 2 * width + heatmaps.GAP]
        cross = over_map > 230  # white on the map's colours
        middle = np.argwhere(cross).mean(0)
        assert middle == pytest.approx([y * width, x * width], abs=3)


def test_a_mask_covers_the_pixels_whose_centres_the_boxes_hold():
    mask = box_mask([(0.25, 0, 0.5, 1), (0.9, 0.9, 1, 1)], 8)
    expected = np.zeros((8, 8))
    expected[:, 2:4] = 1
    expected[7, 7] = 1
    np.testing.assert_array_equal(mask, expected)
    assert box_mask([], 8).sum() == 0


def test_inside_holds_for_any_of_the_boxes():
    boxes = [(0, 0, 0.2, 0.2), (0.5, 0.5, 1, 1)]
    assert is_in_box((0.1, 0.1), boxes) and is_in_box((0.5, 0.9), boxes)
    assert not is_in_box((0.1, 0.6), boxes) and not is_in_box((0.1, 0.1), [])


def test_peaks_centres_and_distractors_by_hand():
    frames = [
        [entry(0.7, 0.7, 0.9, 0.9)],  # found, off centre
        [entry(0.4, 0.4, 0.6, 0.6)],  # missed, at the centre
        [entry(0.1, 0.1, 0.3, 0.3), entry(0.6, 0.6, 0.9, 0.9, sounding=False)],  # peak on the silent one
        [entry(0.1, 0.1, 0.3, 0.3), entry(0.4, 0.4, 0.9, 0.9, sounding=False)],  # found; centre on the silent one
        [entry(0.1, 0.1, 0.6, 0.6), entry(0.4, 0.4, 0.9, 0.9, sounding=False)],  # centre on both: found
        [entry(0.1, 0.1, 0.3, 0.3), entry(0.6, 0.6, 0.9, 0.9, sounding=False)],  # peak on neither
    ]  # fmt: skip
    places = [(0.8, 0.8), (0.1, 0.9), (0.7, 0.7), (0.2, 0.2), (0.2, 0.2), (0.9, 0.1)]
    found, _ = box_measures(np.stack([bump(x, y) for x, y in places]), frames)
    assert found["peak_accuracy"] == pytest.approx(3 / 6) and found["centre_accuracy"] == pytest.approx(2 / 6)
    assert found["two_object_accuracy"] == pytest.approx(2 / 4) and found["two_object_centre"] == pytest.approx(1 / 4)
    assert found["distractor_accuracy"] == pytest.approx(1 / 4) and found["distractor_centre"] == pytest.approx(1 / 4)
    assert (found["frames"], found["two_object_frames"]) == (6, 4)
    assert found["random_accuracy"] == pytest.approx((0.04 * 5 + 0.25) / 6, abs=0.01)


def test_the_fraction_of_peaks_alone_is_the_same_and_passes_over_frames_without_a_sounding_object():
    frames = [[entry(0.7, 0.7, 0.9, 0.9)], [entry(0.1, 0.1, 0.3, 0.3)], [entry(0.1, 0.1, 0.9, 0.9, sounding=False)], []]
    maps = np.stack([bump(0.8, 0.8)] * 4)
    assert peak_fraction(maps, frames) == box_measures(maps[:2], frames[:2])[0]["peak_accuracy"] == 0.5
    assert peak_fraction(maps[2:], frames[2:]) is None


def test_without_a_second_object_its_measures_are_zero_and_counted_so():
    found, _ = box_measures(bump(0.5, 0.5)[None], [[entry(0.4, 0.4, 0.6, 0.6)]])
    assert found["two_object_frames"] == 0 and found["two_object_accuracy"] == found["distractor_accuracy"] == 0
    assert found["peak_accuracy"] == found["centre_accuracy"] == 1


def test_ciou_by_hand():
    """4 x 4: the prediction is the half of the pixels above the median, whatever the scale of the map."""
    ramp = np.arange(16.0).reshape(4, 4)  # predicts the lower two rows
    truth = np.zeros((4, 4))
    truth[1:3] = 1  # one of its two rows is met; the prediction has 4 pixels outside
    assert ciou(ramp[None], truth[None]) == pytest.approx([4 / (8 + 4)])
    assert ciou(ramp[None] * 1e-3 - 7, truth[None]) == pytest.approx([4 / 12])
    # Two annotators of whom one marked more: the truth is 1 where they agree, half elsewhere.
    truth = np.zeros((4, 4))
    truth[3], truth[2] = 1, 0.5
    assert ciou(ramp[None], truth[None]) == pytest.approx([1.0])
    truth[0] = 0.5
    assert ciou(ramp[None], truth[None]) == pytest.approx([(4 + 2) / (4 + 2 + 2)])
    assert ciou(ramp[None], np.zeros((1, 4, 4))) == pytest.approx([0.0])


def test_ciou_equals_a_plain_loop_over_pixels():
    rng = np.random.default_rng(0)
    maps, truths = rng.normal(size=(20, 9, 9)), rng.choice([0, 0.5, 1], (20, 9, 9), p=[0.6, 0.1, 0.3])
    for value, one, truth in zip(ciou(maps, truths), maps, truths, strict=True):
        middle, hit, union = np.median(one), 0.0, 0.0
        for p, g in zip(one.ravel(), truth.ravel(), strict=True):
            hit += g * (p > middle)
            union += g + (p > middle and g == 0)
        assert value == pytest.approx(hit / union)


def test_area_is_that_of_the_shares_over_21_thresholds():
    rng = np.random.default_rng(1)
    maps, truths = rng.normal(size=(30, 8, 8)), (rng.random((30, 8, 8)) < 0.5).astype(float)
    maps += 2 * truths * rng.random((30, 1, 1))
    values, steps = ciou(maps, truths), [k / 20 for k in range(21)]
    found, _ = region_measures(maps, lambda k: truths[k], 8)
    assert found["ciou@0.5"] == pytest.approx((values >= 0.5).mean())
    assert found["auc"] == pytest.approx(area(steps, [(values >= t).mean() for t in steps]))
    assert 0 < found["ciou@0.5"] < 1


def test_the_centres_row_is_the_half_of_the_picture_around_the_centre():
    truth = box_mask([(0.35, 0.35, 0.65, 0.65)], 64)[None]
    found, _ = region_measures(bump(0.05, 0.05)[None], lambda k: truth[k], 64)
    assert found["ciou@0.5"] == 0 and found["ciou@0.5_centre"] == 0  # 9% of the picture against half of it
    truth = box_mask([(0.15, 0.15, 0.85, 0.85)], 64)[None]
    found, _ = region_measures(bump(0.05, 0.05)[None], lambda k: truth[k], 64)
    assert found["ciou@0.5_centre"] == 1
