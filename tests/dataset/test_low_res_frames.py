"""Smaller frames early in a run: when they end, what they show, and what can't be combined with them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from transform_cases import OFF, batch_of

from configs import few_clips_AVENet
from configs.rules import config_errors
from configs.schema import Config, Data, Spectrogram, Train
from dataset.transforms.frames import PairTransform, shrink_frames


def config(until=0.5, size=40, **data):
    return Config(
        data=Data(frame_size=80, resize_size=96, sample_rate=8000, **data),
        spectrogram=Spectrogram(window=0.032, hop=0.02, n_fft=256),
        augment=OFF,
        train=Train(low_res_until=until, low_res_size=size),
    )


@pytest.mark.parametrize(("progress", "side"), [(0.0, 40), (0.499, 40), (0.5, 80), (1.0, 80)])
def test_frames_are_small_until_that_part_of_the_run_and_in_training_only(progress, side):
    batch = batch_of(config()) | {"progress": progress}
    assert PairTransform(config(), train=True)(batch)[0].shape[-1] == side
    assert PairTransform(config(), train=False)(batch)[0].shape[-1] == 80


def test_small_frames_are_those_that_pillow_makes_of_the_large_ones():
    frames = torch.rand(2, 3, 80, 80)
    small = shrink_frames(frames, 40)
    for ours, large in zip(small.flatten(0, 1), frames.flatten(0, 1), strict=True):
        oracle = Image.fromarray(large.numpy()).resize((40, 40), Image.Resampling.BILINEAR)
        torch.testing.assert_close(ours, torch.from_numpy(np.array(oracle)), atol=1e-5, rtol=0)


def test_several_frames_keep_their_order_and_flow_its_motion_relative_to_the_frame():
    stack = torch.rand(2, 3, 4, 16, 16)
    torch.testing.assert_close(shrink_frames(stack, 8)[:, :, 2], shrink_frames(stack[:, :, 2], 8))
    flow = torch.full((1, 5, 16, 16), 6.0)  # 6 of 16 pixels
    assert shrink_frames(flow, 8)[:, 3:].allclose(torch.tensor(3.0)) and shrink_frames(flow, 8)[:, :3].allclose(
        flow[0, 0, 0, 0]
    )


def test_settings_that_do_not_fit_are_named():
    assert config_errors(config(size=96)) == ["train.low_res_size must be at most data.frame_size"]
    assert not config_errors(config(until=0.0, size=96))
    few = few_clips_AVENet.config
    (error,) = config_errors(replace(few, train=replace(few.train, low_res_until=0.3)))
    assert error.startswith("train.low_res_until must be 0 for a frozen encoder's features")
