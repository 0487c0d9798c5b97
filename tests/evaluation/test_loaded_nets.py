"""`models.load`: whatever form a picture or a sound has, it is the picture and the sound that embed.py would read."""

import csv
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
import soundfile
import torch
from helpers import numbered, small_checkpoint, small_pixelplayer, tone
from PIL import Image

import embed
import models
from evaluation.loaded_nets import LoadedNet, MapNet, PairNet, SeparationNet, SoundNet
from utils.errors import UserError

PHOTOS = Path(sklearn.datasets.__file__).parent / "images"  # real ones, 640 x 427
VOL = {"model.name": "AVOLNet", "data.frame_size": 64, "data.resize_size": 72, "train.precision": "fp32"}


@pytest.fixture(scope="module")
def ave(tmp_path_factory):
    path = small_checkpoint(tmp_path_factory.mktemp("ave") / "best.pt", **{"train.precision": "fp32"})
    return models.load(path)


@pytest.fixture(scope="module")
def vol(tmp_path_factory):
    return models.load(small_checkpoint(tmp_path_factory.mktemp("vol") / "best.pt", **VOL))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with two photos and three sounds of other rates, lengths and channels."""
    folder = tmp_path_factory.mktemp("files")
    for name in ("china.jpg", "flower.jpg"):
        (folder / name).write_bytes((PHOTOS / name).read_bytes())
    stereo = np.stack([tone(3.0, 44100, 300), tone(3.0, 44100, 700)], 1)
    sounds = {"stereo.wav": (stereo, 44100), "low.wav": (tone(1.7, 11025, 500, overtones=4), 11025)}
    sounds["same.flac"] = tone(1.0, 8000, 900), 8000
    for name, (sound, rate) in sounds.items():  # not without noise: what lies below a pure tone is rounding
        noise = 0.003 * np.random.default_rng(0).standard_normal(sound.shape)
        soundfile.write(folder / name, sound + noise, rate)
    return folder


@pytest.fixture(scope="module")
def embedded(files, ave, tmp_path_factory):
    """{(file, time): vector} that embed.py writes.

    In batches of one, as the tests embed: others round differently, which an untrained net enlarges to 2e-6 (a trained
    one of the demo to 2e-7).
    """
    out = tmp_path_factory.mktemp("out") / "emb"
    words = ["--checkpoint", ave.net.path, "--input", str(files), "--out", str(out), "--eval.batch_size", "1"]
    got = embed.main(words)
    with open(f"{out}.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(got.times)
    return {
        (got.file_of(row)[0], got.times[row]): got.frames[row] if got.has_frame[row] else got.sounds[row]
        for row in range(len(got.times))
    }


def test_embeddings_are_those_that_embed_writes(ave, files, embedded):
    photos = [files / "china.jpg", files / "flower.jpg"]
    for path in photos:
        np.testing.assert_allclose(ave.embed_frames(path)[0], embedded[path.name, 0.0], atol=1e-6)
    seconds = [(name, time) for name, time in embedded if not name.endswith("jpg")]
    assert len(seconds) == 3 + 2 + 1
    for name, time in seconds:
        np.testing.assert_allclose(ave.embed_sounds(files / name, time=time)[0], embedded[name, time], atol=1e-6)


def test_a_sound_without_a_time_is_cut_in_the_middle(ave, files, embedded):
    np.testing.assert_allclose(ave.embed_sounds(files / "stereo.wav")[0], embedded["stereo.wav", 1.5], atol=1e-6)


def test_all_forms_of_a_picture_give_the_same_embedding(ave):
    image = Image.open(PHOTOS / "china.jpg")
    array = np.array(image)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    forms = [
        PHOTOS / "china.jpg", str(PHOTOS / "china.jpg"), image, array, tensor, tensor.permute(1, 2, 0), array / 255,
        tensor.double() / 255, np.float32(array / 255), array[None], tensor[None], [array], (image,),
        np.dstack([array, array[:, :, :1]]), (one for one in [array]),
    ]  # fmt: skip
    expected = ave.embed_frames(PHOTOS / "china.jpg")
    assert expected.shape == (1, 16) and expected.dtype == torch.float32
    for form in forms:
        torch.testing.assert_close(ave.embed_frames(form), expected, atol=1e-6, rtol=0)
    np.testing.assert_array_equal(ave.embed_frames(np.array([PHOTOS / "china.jpg"], object)), expected)
    over = np.where(array == 255, 1.001, array / 255)  # as resized floats are
    torch.testing.assert_close(ave.embed_frames(over), expected, atol=1e-6, rtol=0)
    grey = array[:, :, 0]
    for deep in (Image.fromarray(grey.astype(np.uint16) * 257), Image.fromarray(np.float32(grey / 255))):
        torch.testing.assert_close(ave.embed_frames(deep), ave.embed_frames(grey), atol=1e-6, rtol=0)
    torch.testing.assert_close(ave.embed_frames(grey), ave.embed_frames(np.stack([grey] * 3, 2)), atol=1e-6, rtol=0)


def test_all_forms_of_a_sound_give_the_same_embedding(ave):
    wave = np.rint(tone(2.0, 22050, 440, overtones=3) * 32767).astype(np.int16)
    real = wave / 32768
    forms = [
        real, np.float32(real), torch.from_numpy(wave), torch.from_numpy(real), wave.astype(np.int32) * 65536, [wave],
        wave.astype(">i2"), wave[None],
        real.tolist(), [np.stack([real, real], 1)], [torch.from_numpy(np.stack([real, real]))],
    ]  # fmt: skip
    expected = ave.embed_sounds(wave, 22050)
    assert expected.shape == (1, 16)
    for form in forms:
        torch.testing.assert_close(ave.embed_sounds(form, 22050), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(ave.embed_sounds(wave, 22050.0), expected)
    assert (ave.embed_sounds(wave, 16000) - expected).abs().max() > 1e-3  # another rate is another sound


def test_lists_of_any_sizes_are_embedded_in_batches(ave):
    sides = [(20, 30), (64, 48), (200, 7)] * 30
    pictures = [numbered(100 + k, size) for k, size in enumerate(sides)]
    assert len(pictures) > ave.net.config.eval.batch_size
    together, alone = ave.embed_frames(pictures), ave.embed_frames(pictures[75])
    assert together.shape == (90, 16)
    torch.testing.assert_close(together[75:76], alone, atol=1e-5, rtol=0)


def test_pairs_are_scored_as_the_net_scores_them(ave):
    pictures, waves = [numbered(k, (40, 40)) for k in (5, 900, 3000)], [tone(1, 8000, 300), tone(1.5, 8000, 800)]
    found = ave.correspondence(pictures, waves, 8000)
    assert found.shape == (3, 2) and found.min() >= 0 and found.max() <= 1
    v, a = ave.embed_frames(pictures), ave.embed_sounds(waves, 8000)
    torch.testing.assert_close(found, torch.sigmoid(ave.net.model.pair_logits(v, a)), atol=1e-5, rtol=0)


def test_maps_have_the_size_of_their_pictures(vol):
    pictures, waves = (
        [numbered(9, (100, 60)), numbered(70, (33, 130))],
        np.stack([tone(1, 8000, f) for f in (300, 700)]),
    )
    maps = vol.localize(pictures, waves, 8000)
    assert [tuple(one.shape) for one in maps] == [(60, 100), (130, 33)]
    assert all(one.min() >= 0 and one.max() <= 1 and not one.requires_grad for one in maps)
    # Between locations they are interpolated: a map at the net's own resolution is as bright.
    best = vol.correspondence(pictures, waves, 8000).diagonal()
    for one, score in zip(maps, best, strict=True):
        assert one.max() == pytest.approx(score.item(), abs=0.02)
    with pytest.raises(UserError, match="there are 2 pictures and 1 wave: give one sound for each"):
        vol.localize(pictures, waves[0], 8000)


def test_the_map_of_a_mirrored_picture_is_the_mirrored_map(vol):
    picture, wave = numbered(77, (96, 64)), tone(1, 8000, 300)
    flipped = models.load(vol.net.path, {"eval.flip_tta": True})
    left, right = (flipped.localize(one, wave, 8000)[0] for one in (picture, picture[:, ::-1]))
    torch.testing.assert_close(left, right.flip(1), atol=2e-3, rtol=0)


def test_inference_mode_and_float64(vol):
    picture, wave = numbered(77, (50, 64)), tone(1, 8000, 300)
    before = vol.embed_frames(picture), vol.embed_sounds(wave, 8000), vol.localize(picture, wave, 8000)[0]
    double = models.load(vol.net.path).to(torch.float64)
    with torch.inference_mode():
        after = double.embed_frames(picture), double.embed_sounds(wave, 8000), double.localize(picture, wave, 8000)[0]
    for one, other in zip(before, after, strict=True):
        assert other.dtype == torch.float64
        torch.testing.assert_close(one.double(), other, atol=1e-5, rtol=0)
    assert double.to("cpu") is double and str(double.device) == "cpu"
    for target, message in (
        (torch.float16, "can't be moved to torch.float16: take torch.float32"), ("meta", "meta, which holds no values"),
        ("nonsense", r"can't be moved to \['nonsense'\]: Expected one of"), (torch.int32, "torch.int32"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=message):
            double.to(target)


def test_each_net_has_what_it_can_do_and_only_that(ave, vol, tmp_path):
    pixels = models.load(small_pixelplayer(tmp_path / "p/best.pt"))
    frames = models.load(
        small_checkpoint(tmp_path / "m/best.pt", **{"model.name": "AVENet_MF", "data.frames": 8, "data.cache_gb": 0})
    )
    every = {"embed_frames", "embed_sounds", "correspondence", "localize", "separate"}
    for net, kind in ((ave, PairNet), (vol, MapNet), (pixels, SeparationNet), (frames, PairNet)):
        assert type(net) is kind and {name for name in every if hasattr(net, name)} == {*net.methods}
        assert all(name in repr(net) for name in net.methods) and net.net.path in repr(net)
    assert issubclass(SoundNet, LoadedNet) and not hasattr(SoundNet, "embed_frames")
    stack = np.stack([numbered(k, (40, 40)) for k in range(8)])
    assert (
        frames.embed_frames([stack, list(stack)]).shape == frames.embed_frames(np.stack([stack] * 2)).shape == (2, 16)
    )
    with pytest.raises(UserError, match=r"this net takes 8 frames of a clip, 0.04 s apart, not 1"):
        frames.embed_frames([stack[0]])


def closed_image():
    image = Image.new("RGB", (4, 4))
    image.close()
    return image


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        ([], "there are no pictures: give at least one"),
        (torch.zeros(2, 3, 8, 8, device="meta"), "a picture is a tensor on the device meta, without values"),
        (torch.zeros(8, 8, 3).to_sparse(), "that is nested, sparse or quantized: give a dense one"),
        ({"photo": np.zeros((8, 8, 3), np.uint8)}, "pictures can't be of type dict"),
        (b"photo.jpg", "pictures can't be of type bytes"),
        (Image.new("RGB", (0, 5)), "a picture has 0 x 5 pixels"),
        (Image.new("L", (20_000, 12_000)), "a picture of 20000 x 12000 pixels is too large"),
        (Image.new("I", (4, 4)), "32 bits, mode I, and an unknown range"),
        (Image.fromarray(np.full((4, 4), 9, np.float32)), "values from 9 to 9: give uint8, or float in 0..1"),
        (closed_image(), r"a picture of Pillow can't be read \(Operation on closed image\): give another one"),
        (np.zeros((8, 8, 3), complex), "can't be of type ndarray of complex128"),
        (np.zeros((0, 8, 8, 3), np.uint8), "there are no pictures"),
        (
            np.array([np.zeros((4, 4, 3)), np.zeros((5, 5, 3))], object),
            "different sizes don't fit into one array: give a",
        ),
        (np.zeros((8, 8, 5), np.uint8), r"a picture has the shape \(8, 8, 5\): give \(H, W, 3\)"),
        (np.zeros((2, 2, 8, 8, 3), np.uint8), r"pictures have the shape \(2, 2, 8, 8, 3\)"),
        (np.full((8, 8, 3), np.nan), "a picture holds NaN or infinity"),
        (np.full((8, 8, 3), 255.0), "values from 255 to 255: give uint8, or float in 0..1"),
        (np.zeros((8, 8, 3), np.int64), "a picture is of type int64: give uint8"),
        (np.zeros((0, 8, 3), np.uint8), "a picture has the shape"),
        (7, "pictures can't be of type int"),
        ([None], "a picture can't be of type NoneType"),
        ([[np.zeros((8, 8, 3), np.uint8)]], r"a picture has the shape \(1, 8, 8, 3\)"),
        (np.array(["missing.jpg"]), "missing.jpg is missing"),
        ("missing.jpg", "missing.jpg is missing"),
        (Path(__file__), "can't be read as an image"),
    ],
)
def test_bad_pictures_are_one_sentence(ave, pictures, message):
    with pytest.raises(UserError, match=message):
        ave.embed_frames(pictures)


@pytest.mark.parametrize(
    ("waves", "rate", "message"),
    [
        ([], 8000, "there are no waves: give at least one"),
        (np.zeros((0, 8000)), 8000, "there are no waves"),
        (torch.zeros(8000, device="meta"), 8000, "a sound is a tensor on the device meta"),
        ({"wave": np.zeros(8000)}, 8000, "waves can't be of type dict"),
        ((np.zeros(8000), 8000), 8000, "waves hold the number 8000 beside sounds: give a sample rate as rate="),
        ([np.zeros((0, 8000))], 8000, r"a sound has the shape \(0, 8000\)"),
        (np.zeros(8000), np.complex64(8000), "rate is .*8000"),
        (np.zeros(8000), 0, "rate is 0, but must be a whole number of 1,000 to 1,000,000 Hz"),
        (np.zeros(8000), -8000, "rate is -8000"),
        (np.zeros(8000), 8000.5, "rate is 8000.5"),
        (np.zeros(8000), float("nan"), "rate is nan"),
        (np.zeros(8000), "8000", "rate is '8000'"),
        (np.zeros(8000), True, "rate is True"),
        (np.zeros(8000), None, "rate is missing: an array of samples needs its sample rate, in Hz"),
        (np.full(8000, np.nan), 8000, "a sound holds samples that are not numbers"),
        (np.r_[np.zeros(8000), np.inf], 8000, "a sound holds samples that are not numbers"),
        (np.full(8000, 3e4), 8000, "reaches 3e.04, but full scale is 1: give int16, or divide"),
        (np.zeros(4000), 8000, r"wave 0 lasts 0.50 s, shorter than one second .*, or pad=True"),
        ([np.zeros(8000), np.zeros(10)], 8000, "wave 1 lasts 1.25 ms"),
        (np.array([np.zeros(3), np.zeros(4)], object), 8000, "different lengths don't fit into one array"),
        (
            np.zeros((8000, 2)),
            8000,
            r"waves have the shape \(8000, 2\), as one sound of 2 channels: give a list, \[wave\]",
        ),
        (np.zeros((1, 2, 8000)), 8000, r"waves have the shape \(1, 2, 8000\)"),
        (np.zeros(8000, complex), 8000, "a sound can't be of type ndarray of complex128"),
        (np.zeros(8000, np.int64), 8000, "a sound is of type int64"),
        ("missing.wav", None, "missing.wav"),
        (Path(__file__), None, "test_loaded_nets.py"),
    ],
)
def test_bad_waves_are_one_sentence(ave, waves, rate, message):
    with pytest.raises(UserError, match=message):
        ave.embed_sounds(waves, rate)


def test_a_short_sound_is_padded_on_request_as_embed_does_it(ave, tmp_path):
    wave = np.rint(32767 * tone(0.6, 8000, 500)).astype(np.int16)
    soundfile.write(tmp_path / "short.wav", wave, 8000)
    got = embed.main(["--checkpoint", ave.net.path, "--input", str(tmp_path), "--out", str(tmp_path / "emb"), "--pad"])
    for found in (ave.embed_sounds(tmp_path / "short.wav", pad=True), ave.embed_sounds(wave, 8000, pad=True)):
        np.testing.assert_allclose(found[0], got.sounds[0], atol=1e-6)
    with pytest.raises(UserError, match=r"time is 3, but wave 0 lasts from 0 to 0.60 s"):
        ave.embed_sounds(wave, 8000, time=3, pad=True)
