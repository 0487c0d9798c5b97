"""What the public code of The Sound of Pixels does with frames and sounds: crops, clipped volumes, the log floor."""

import numpy as np
import pytest
import torch
from helpers import make_clip, tone, write_genres

from configs.schema import Config
from dataset.loading.loader import collate
from dataset.mixes import MixtureDataset
from dataset.reading.reader import open_split
from dataset.reading.upright import crop_square
from dataset.transforms.mixtures import MixtureSTFT, MixtureTransform
from utils.config import override
from utils.errors import UserError

RATE = 8000
SETTINGS = {
    "model.name": "PixelPlayer", "model.unet_depth": 4, "data.sample_rate": RATE, "data.resize_size": 32,
    "data.frame_size": 32, "data.frame_step": 0.2, "mix.samples": 8160 - 1, "mix.n_fft": 510, "mix.hop": 170,
    "mix.freq_bins": 64, "mix.frames": 2, "mix.frame_stride": 0.4,
}  # fmt: skip


def config(root, **changes):
    where = {"data.root": str(root)}
    return override(Config(), SETTINGS | where | {name.replace("__", "."): value for name, value in changes.items()})


def slope(width, height):
    """A picture whose red grows from left to right and whose green grows downwards, both 0..250."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0] = np.linspace(0, 250, width)
    picture[..., 1] = np.linspace(0, 250, height)[:, None]
    return picture


@pytest.fixture(params=[(192, 64), (64, 192), (64, 64)], ids=["wide", "high", "square"], scope="module")
def data(request, tmp_path_factory):
    """One clip of 2 s in a split; (its root, width / height)."""
    root, (width, height) = tmp_path_factory.mktemp("fit"), request.param
    make_clip(root / "train", "one", 2.0, fps=10, rate=RATE, pictures=[slope(width, height)] * 20, sound=tone(2, RATE))
    write_genres(root / "train")
    return root, width / height


def ends(frame):
    """Where the frame's four sides lie in the picture, 0..1: left, right, top, bottom."""
    red, green = frame[..., 0].mean(0) / 250, frame[..., 1].mean(1) / 250
    half = (red[-1] - red[0]) / (len(red) - 1) / 2, (green[-1] - green[0]) / (len(green) - 1) / 2
    return np.array([red[0] - half[0], red[-1] + half[0], green[0] - half[1], green[-1] + half[1]])


def frames_of(settings, middle=False, count=60):
    mixes = MixtureDataset(open_split(settings.data, "train"), settings.data, settings.mix, middle=middle)
    return [mixes[epoch, 0]["frame"] for epoch in range(count)]


@pytest.mark.parametrize("from_shards", [False, True])
def test_a_crop_is_a_square_anywhere_along_the_longer_side(data, from_shards, tmp_path, make_shards):
    root, aspect = data
    if from_shards:
        make_shards(root, tmp_path / "shards")
        root = tmp_path / "shards"
    settings = config(root)
    found = np.array([[ends(frame) for frame in frames] for frames in frames_of(settings)])
    assert np.abs(found[:, 0] - found[:, 1]).max() < 0.02  # the frames of a sample are cut in the same way
    left, right, top, bottom = found[:, 0].T
    width, height = min(1 / aspect, 1), min(aspect, 1)  # of a square, as a fraction of the picture
    assert np.abs(right - left - width).max() < 0.04 and np.abs(bottom - top - height).max() < 0.04
    for start, size in ((left, width), (top, height)):
        assert start.min() < 0.06 and start.max() > (1 - size) - 0.06
        if size < 1:
            assert 0.25 < np.mean(start < (1 - size) / 2) < 0.75
    middle = ends(frames_of(settings, middle=True, count=1)[0][0])
    assert middle == pytest.approx([(1 - width) / 2, (1 + width) / 2, (1 - height) / 2, (1 + height) / 2], abs=0.04)


def test_a_squeezed_frame_is_the_whole_frame(data):
    for frames in frames_of(config(data[0], mix__frame_fit="squeeze"), count=3):
        assert ends(frames[0]) == pytest.approx([0, 1, 0, 1], abs=0.04)


def test_the_other_random_numbers_are_the_same_with_either_fit(data):
    one, other = (
        MixtureDataset(open_split(c.data, "train"), c.data, c.mix)[5, 0]
        for c in (config(data[0]), config(data[0], mix__frame_fit="squeeze"))
    )
    assert (one["sound"] == other["sound"]).all() and one["time"] == other["time"]


def test_a_cache_of_squares_is_refused():
    with pytest.raises(UserError, match=r"data\.cache_gb must be 0 with mix\.frame_fit crop"):
        config("data", data__cache_gb=1.0)


def test_crops_of_a_picture():
    picture = np.arange(5 * 9).reshape(5, 9)
    assert (crop_square(picture, 0.0) == picture[:, :5]).all() and (crop_square(picture, 1.0) == picture[:, 4:]).all()
    assert (crop_square(picture.T, 0.5) == picture.T[2:7]).all()


def test_sounds_are_clipped_after_their_random_volume(data):
    settings = config(data[0])
    batch = collate([MixtureDataset(open_split(settings.data, "train"), settings.data, settings.mix)[0, 0]] * 20)
    batch["seeds"] = torch.arange(20)
    batch["sounds"][:, :50] = 32767
    batch["sounds"][:, 50:100] = -32768
    _, free = MixtureTransform(config(data[0], mix__clip=False), train=True)(batch)
    _, clipped = MixtureTransform(settings, train=True)(batch)
    assert free.abs().max() > 1.2 and clipped.abs().max() == 1
    assert torch.equal(clipped, free.clamp(-1, 1))


def test_the_log_floor_is_added_to_the_magnitude():
    settings = config("data")
    for floor in (1e-10, 1e-4):
        stft = MixtureSTFT(config("data", mix__log_floor=floor).mix)
        silence = torch.zeros(1, settings.mix.n_fft // 2 + 1, 48, dtype=torch.complex64)
        assert torch.allclose(stft.net_input(silence), torch.tensor(np.log(floor), dtype=torch.float32))
    ones = torch.ones(1, settings.mix.n_fft // 2 + 1, 48, dtype=torch.complex64)
    assert torch.allclose(stft.net_input(ones), torch.tensor(np.log1p(1e-4), dtype=torch.float32), atol=1e-6)
