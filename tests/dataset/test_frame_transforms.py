"""Changes of frames: each does what its name says, and all together are the formulas in double precision."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from transform_cases import EVERYTHING, OFF, always, frames_of, plain, random_draws, seen

from dataset.transforms import frames as T


def test_without_augmentation_a_frame_is_normalised_only():
    frames = frames_of()
    out = T.prepare_frames(frames, 64)
    assert out.shape == (2, 3, 64, 64) and out.dtype == torch.float32
    by_hand = (frames.numpy() / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert np.abs(out.permute(0, 2, 3, 1).numpy() - by_hand).max() < 1e-5


def test_without_augmentation_the_whole_frame_is_resized_as_pillow_does():
    frames = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)  # pixel noise: aliasing would show
    for size in (48, 20):
        oracle = [
            np.asarray(Image.fromarray(f.numpy()).resize((size, size), Image.Resampling.BILINEAR)) for f in frames
        ]
        ours = seen(frames, size).permute(0, 2, 3, 1).numpy() * 255
        assert np.abs(ours - np.stack(oracle)).max() < 1.01


def test_a_crop_reaches_from_one_corner_to_the_other():
    frames, half = frames_of(), replace(OFF, crop_min=0.5, crop_max=0.5)
    for share, first in ((0.0, 0), (0.5, 16), (1.0, 32)):
        wanted = plain(frames)[:, :, first : first + 32, first : first + 32]
        assert torch.allclose(seen(frames, 32, half, always(share)), wanted, atol=1e-5)
    zoomed = seen(frames, 64, half, always(0.5))  # enlarged to the same size
    assert torch.allclose(torch.nn.functional.avg_pool2d(zoomed, 2), plain(frames)[:, :, 16:48, 16:48], atol=0.02)


def test_a_crop_above_1_shrinks_the_frame():
    frames = frames_of()
    out = seen(frames, 64, replace(OFF, crop_min=2.0, crop_max=2.0), always(0.5))
    wanted = torch.nn.functional.avg_pool2d(plain(frames), 2)
    assert torch.allclose(out[:, :, 16:48, 16:48], wanted, atol=0.02)


def test_a_flip_mirrors_left_and_right():
    frames, flip = frames_of(), replace(OFF, flip=True)
    assert torch.allclose(seen(frames, 64, flip, always(0.2)), plain(frames).flip(3), atol=1e-5)
    assert torch.allclose(seen(frames, 64, flip, always(0.8)), plain(frames), atol=1e-5)


def test_a_rotation_turns_the_frame():
    frames, turn = frames_of(), replace(OFF, rotation=90)
    turned = [seen(frames, 64, turn, always(share)) for share in (0.0, 1.0)]
    wanted = [torch.rot90(plain(frames), k, (2, 3)) for k in (1, 3)]
    found = {k for out in turned for k in (0, 1) if torch.allclose(out, wanted[k], atol=1e-4)}
    assert found == {0, 1}  # one each way


def test_a_stretch_changes_the_aspect_ratio_both_ways_and_keeps_the_area():
    frame = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    frame[:, 22:42, 22:42] = 200
    sizes = []
    for share in (0.0, 0.5, 1.0):
        out = seen(frame, 64, replace(OFF, stretch=0.44), always(share, 1))[0, 0] > 0.4
        sizes.append((int(out.any(1).sum()), int(out.any(0).sum())))
    assert sizes[1] == (20, 20)
    assert sorted(sizes[0]) == pytest.approx([20 / 1.2, 20 * 1.2], abs=1.5)
    assert sizes[0] == sizes[2][::-1]


def test_brightness_multiplies_and_clips():
    frames = frames_of()
    for share, factor in ((0.0, 0.7), (1.0, 1.3)):
        out = seen(frames, 64, replace(OFF, brightness=0.3), always(share))
        assert torch.allclose(out, (plain(frames) * factor).clamp(0, 1), atol=1e-5)
    white = torch.full((2, 64, 64, 3), 250, dtype=torch.uint8)
    assert seen(white, 64, replace(OFF, brightness=0.3), always(1.0)).max() < 1 + 1e-5


def test_saturation_moves_towards_grey_and_away_and_grey_loses_all_colour():
    frames = frames_of()
    luma = (plain(frames) * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    for share, factor in ((0.0, 0.6), (1.0, 1.4)):
        out = seen(frames, 64, replace(OFF, saturation=0.4), always(share))
        assert torch.allclose(out, (luma + factor * (plain(frames) - luma)).clamp(0, 1), atol=1e-5)
    grey = seen(frames, 64, replace(OFF, grey=0.5), always(0.49))
    assert torch.allclose(grey, luma.expand_as(grey), atol=1e-5)
    assert torch.allclose(seen(frames, 64, replace(OFF, grey=0.5), always(0.51)), plain(frames), atol=1e-5)


def test_contrast_turns_around_each_channels_mean():
    frames = frames_of()
    mean = plain(frames).mean((2, 3), keepdim=True)
    for share, factor in ((0.0, 0.7), (1.0, 1.3)):
        out = seen(frames, 64, replace(OFF, contrast=0.3), always(share))
        assert torch.allclose(out, mean + factor * (plain(frames) - mean), atol=1e-5)


def test_channel_gains_are_drawn_for_each_channel():
    frames = frames_of()
    out = seen(frames, 64, replace(OFF, channel_gain=0.2), random_draws(2))
    gains = (out / plain(frames)).flatten(2)
    assert (gains.amax(2) - gains.amin(2)).max() < 1e-4  # one number for a whole channel
    assert len({round(gain, 4) for gain in gains[:, :, 0].flatten().tolist()}) == 6
    assert ((gains - 1).abs() <= 0.2 + 1e-4).all()


def test_erasing_sets_a_square_to_the_mean_colour_and_nothing_else():
    frames = frames_of()
    out = seen(frames, 64, replace(OFF, erase=0.5), always(0.5))  # half of the largest side, in the middle
    changed = (out - plain(frames)).abs().amax(1) > 1e-4
    for k in range(2):
        rows, columns = changed[k].any(1).nonzero().flatten(), changed[k].any(0).nonzero().flatten()
        assert rows.min() == columns.min() == 24 and rows.max() == columns.max() == 39
        inside = out[k, :, 24:40, 24:40]
        assert torch.allclose(inside, plain(frames)[k].mean((1, 2))[:, None, None].expand_as(inside), atol=1e-4)


def test_hue_turns_colours_around_grey():
    frames = frames_of()
    quarter, luma = (seen(frames, 64, replace(OFF, hue=h), always(1.0)) for h in (0.5, 0.0))
    weights = torch.tensor(T.LUMA_WEIGHTS)[:, None, None]
    for out in (quarter, luma):  # as bright as it was
        torch.testing.assert_close((out * weights).sum(1), (plain(frames) * weights).sum(1), atol=0.01, rtol=0)
    assert (quarter - plain(frames)).abs().mean() > 0.03
    there, back = (T.hue_rotation(torch.tensor([share])) for share in (0.3, -0.3))
    torch.testing.assert_close(there @ back, torch.eye(3)[None], atol=1e-5, rtol=0)
    torch.testing.assert_close(T.hue_rotation(torch.tensor([2.0])), torch.eye(3)[None], atol=1e-4, rtol=0)  # all round


def test_blending_adds_one_other_clips_frame():
    frames = frames_of(5)
    out = seen(frames, 64, replace(OFF, blend=0.4), always(0.5, 5))
    partners = []
    for k in range(5):
        by_hand = [0.8 * plain(frames)[k] + 0.2 * plain(frames)[other] for other in range(5)]
        partners += [other for other in range(5) if torch.allclose(out[k], by_hand[other], atol=1e-5)]
    assert sorted(partners) == list(range(5)) and all(k != other for k, other in enumerate(partners))
    assert torch.allclose(seen(frames, 64, replace(OFF, blend=0.4), always(0.0, 5)), plain(frames), atol=1e-5)


def test_all_changes_of_frames_together_are_the_formulas_in_double_precision():
    """Square, then blending, in colours from 0 to 1; what is faster does the same."""
    frames, augment, size = frames_of(5), replace(OFF, **EVERYTHING), 48
    ours = T.prepare_frames(frames, size, augment, random_draws(5))
    draws = random_draws(5)
    theta, (matrix, contrast) = T.random_affine(augment, draws).double(), T.random_color_matrix(augment, draws)
    half, x, y = T.random_erasing(augment, draws)[:, :, None, None].unbind(1)
    share = draws.uniform("blend", high=augment.blend)[:, None, None, None].double()

    grid = torch.nn.functional.affine_grid(theta, (5, 3, size, size), align_corners=False)
    cropped = torch.nn.functional.grid_sample(
        plain(frames).double(), grid, padding_mode="reflection", align_corners=False
    )
    coloured = torch.einsum("bij,bjhw->bihw", matrix.double(), cropped)
    mean = coloured.mean((2, 3), keepdim=True)
    coloured = (mean + contrast.double()[:, None, None, None] * (coloured - mean)).clamp(0, 1)
    places = torch.linspace(-1, 1, size)
    inside = ((places[:, None] - y).abs() < half) & ((places - x).abs() < half)
    erased = torch.where(inside[:, None], coloured.mean((2, 3), keepdim=True), coloured)
    blended = (1 - share) * erased + share * erased.roll(1, 0)
    mean, std = (torch.tensor(values).double()[:, None, None] for values in (T.FRAME_MEAN, T.FRAME_STD))
    assert (ours - (blended - mean) / std).abs().max() < 1e-5
