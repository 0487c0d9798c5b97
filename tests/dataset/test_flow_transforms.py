"""Optical flow is changed as its pictures are."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import FixedDraws, numbered, read_number
from moving_pictures import SIZE, coloured, moved
from transform_cases import OFF

from dataset.random_stream import RandomStream
from dataset.reading import flow as F
from dataset.transforms import frames as T
from dataset.transforms.geometry import FLOW_STEP


def always(share):
    """Draws of one sample that all fall at the same place between their bounds: 0 the lowest, 1 the highest."""
    return FixedDraws(share, 1)


def constant(u, v, size=SIZE, fields=2):
    """Flow of (u, v) pixels everywhere, as the loader gives it: (1, size, size, 2 * fields) int8."""
    field = F.quantize(np.broadcast_to(np.float32([u, v]), (size, size, 2)))
    return torch.from_numpy(np.concatenate([field] * fields, 2))[None]


CHANGES = {
    "nothing": ({}, 0.5),
    "a flip": ({"flip": True}, 0.2),
    "a zoom into a corner": ({"crop_min": 0.6, "crop_max": 0.6}, 0.8),
    "a turn": ({"rotation": 40.0}, 0.9),
    "a stretch": ({"stretch": 0.5}, 0.9),
    "all together": ({"flip": True, "crop_min": 0.8, "crop_max": 0.8, "rotation": 25.0, "stretch": 0.3}, 0.15),
    "a frame shrunk": ({"crop_min": 1.3, "crop_max": 1.3}, 0.5),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("size", [SIZE, 96])
def test_changed_flow_is_the_flow_of_changed_pictures(change, size):
    """DIS on the changed pictures is the oracle; draws all fall at one place of their range."""
    settings, share = CHANGES[change]
    augment = None if change == "nothing" else replace(OFF, **settings)
    pictures = [coloured(moved(dx, dy, seed=3)) for dx, dy in ((0, 0), (3, -1))]
    field = F.flow_estimator("dis")(pictures[0][..., 0], pictures[1][..., 0])
    flows = torch.from_numpy(F.quantize(field))[None]
    seen = [T.prepare_frames(torch.from_numpy(p)[None], size, augment, always(share), flows) for p in pictures]
    assert seen[0].shape == (1, 5, size, size)
    grey = [((s[0, 0] * T.FRAME_STD[0] + T.FRAME_MEAN[0]) * 255).clamp(0, 255).byte().numpy() for s in seen]
    oracle = F.flow_estimator("dis")(*map(np.ascontiguousarray, grey))
    inner = slice(size // 4, -size // 4)
    ours = seen[0][0, 3:].permute(1, 2, 0).numpy()[inner, inner]
    assert np.abs(np.median(ours - oracle[inner, inner], (0, 1))).max() < 0.25
    assert np.abs(ours).max() > 1


def changed_constant(augment, share, size=SIZE):
    """Flow of 4 pixels to the right and 2 up, changed: (4, size, size)."""
    black = torch.zeros(1, SIZE, SIZE, 3, dtype=torch.uint8)
    return T.prepare_frames(black, size, augment, always(share), constant(4, -2))[0, 3:]


def near(*wanted):
    return pytest.approx(list(wanted) * 2, abs=FLOW_STEP)


def test_a_flip_negates_u_and_a_zoom_scales_both():
    def vectors(*arguments):
        return changed_constant(*arguments)[:, 16:-16, 16:-16].mean((1, 2)).tolist()

    assert vectors(None, 0.5) == near(4, -2)
    assert vectors(None, 0.5, 2 * SIZE) == near(8, -4)  # in pixels of the result
    assert vectors(replace(OFF, flip=True), 0.2) == near(-4, -2)
    assert vectors(replace(OFF, crop_min=0.5, crop_max=0.5), 0.5) == near(8, -4)


@pytest.mark.parametrize(
    ("row", "column", "u", "v"), [(32, 32, 2, -1), (32, 5, -2, -1), (32, 60, -2, -1), (5, 32, 2, 1), (5, 5, -2, 1)]
)
def test_beyond_the_frames_edge_motion_is_mirrored_with_the_picture(row, column, u, v):
    shrunk = changed_constant(replace(OFF, crop_min=2.0, crop_max=2.0), 0.5)
    assert shrunk[:, row, column].tolist() == near(u, v)


def test_colours_erasing_and_blending_leave_the_flow_alone():
    colours = replace(OFF, brightness=0.4, saturation=0.5, contrast=0.4, channel_gain=0.3, erase=0.5, blend=0.5)
    assert torch.equal(changed_constant(colours, 0.9), changed_constant(OFF, 0.9))


def test_all_frames_of_a_sample_are_changed_alike():
    """Eight times the same picture comes out as eight times what becomes of the picture alone."""
    everything = replace(
        OFF, crop_min=0.6, crop_max=0.9, flip=True, rotation=20, stretch=0.3, brightness=0.3, contrast=0.4,
        saturation=0.5, channel_gain=0.3, grey=0.3, erase=0.5, blend=0.3,
    )  # fmt: skip
    pictures = torch.randint(0, 256, (6, 40, 40, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    draws = RandomStream(torch.arange(6))

    for augment in (None, everything):
        alone = T.prepare_frames(pictures, 32, augment, draws)  # (6, 3, 32, 32)
        several = T.prepare_frames(pictures[:, None].repeat(1, 8, 1, 1, 1), 32, augment, draws)
        assert several.shape == (6, 3, 8, 32, 32)
        assert torch.allclose(several, alone[:, :, None].expand_as(several), atol=1e-4)


def test_frames_keep_their_order():
    pictures = torch.from_numpy(np.stack([numbered(k, (48, 48)) for k in range(9)]))[None]
    out = T.prepare_frames(pictures, 32)  # (1, 3, 9, 32, 32)
    shown = out * torch.tensor(T.FRAME_STD)[:, None, None, None] + torch.tensor(T.FRAME_MEAN)[:, None, None, None]
    assert [read_number(frame * 255) for frame in shown[0].permute(1, 2, 3, 0).numpy()] == list(range(9))
