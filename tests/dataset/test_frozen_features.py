"""Features of a frozen encoder: those of the frames themselves, computed once, and training on them reads no clips."""

import json
import os
import shutil
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from helpers import make_clip, numbered, read_number, write_genres
from torch import nn
from torch.nn.functional import interpolate

from configs.schema import Augment, Config, Data, Spectrogram, Train
from dataset.data_module import AVCDataModule
from dataset.features import computing, frozen
from dataset.features.frozen import open_features
from dataset.features.pairs import FeatureDataset
from dataset.loading.loader import collate
from dataset.pairs import PairDataset
from dataset.reading.clips import Clips
from dataset.transforms.frames import FRAME_MEAN, FRAME_STD, PairTransform
from utils.errors import UserError

CLIPS, SECONDS, RATE, FPS, SIZE = 6, 2.0, 2000, 25, 32


class Encoder:
    """A frozen encoder: one strided convolution; the first channel is the mean of each block."""

    def __init__(self, seed=0):
        torch.manual_seed(seed)
        self.conv = nn.Conv2d(3, 5, 8, stride=8)
        self.about = {"encoder": "blocks", "stride": 8, "weights": f"seed {seed}"}
        self.calls = 0

    def __call__(self, frames):
        self.calls += 1
        return self.conv(frames)


def ramp(clip):
    """A sound in which every sample tells where it is: int16."""
    count = round(SECONDS * RATE)
    return (np.arange(count) + clip * count - 30000).astype(np.int16)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Clips whose every picture and every sample tell the clip and the time."""
    root = tmp_path_factory.mktemp("features")
    for split in ("train", "val"):
        for clip in range(CLIPS):
            pictures = [numbered(64 * clip + k) for k in range(round(SECONDS * FPS))]
            make_clip(root / split, f"{clip:02d}", SECONDS, FPS, rate=RATE, pictures=pictures, sound=ramp(clip))
        write_genres(root / split)
    return root


@pytest.fixture
def root(source, tmp_path):
    """A copy of the clips that a test may change."""
    return shutil.copytree(source, tmp_path / "clips")


DEFAULT = Augment()


def settings(root, augment=DEFAULT, workers=0, on_error="stop", **data):
    common = {
        "frame_size": SIZE, "resize_size": SIZE, "sample_rate": RATE, "feature_frames": 3, "misalignment": 0.3
    }  # fmt: skip
    return Config(
        data=Data(root=str(root), on_error=on_error, **(common | data)),
        spectrogram=Spectrogram(n_mels=16),
        augment=augment,
        train=Train(batch_size=4, workers=workers),
    )


def compute(config, encoder=None, log=None, skipped=None):
    """The features of the training clips; `log` and `skipped` get what is printed and left out."""

    def on_skip(clip, message):
        if skipped is None:
            raise UserError(message)
        skipped[clip] = message

    clips = Clips(config.data.root, "train", config.data.on_error)
    return open_features(config, clips, encoder or Encoder(), "cpu", (log if log is not None else []).append, on_skip)


def folders(root):
    return sorted(path.name for path in (root / "train").iterdir() if "features" in path.name)


# ----------------------------------------------------------------------------------------------------------- content


def test_plain_views_are_the_encoders_features_of_the_frames_at_their_times(root):
    encoder, features = Encoder(), compute(settings(root))
    assert features.maps.shape == (CLIPS, 3, 4, 5, 4, 4) and features.maps.dtype == np.float16
    mean, std = (np.array(values, np.float32) for values in (FRAME_MEAN, FRAME_STD))
    clips = Clips(root, "train")
    for row, clip in enumerate(clips.ids):
        with clips.open(row) as opened:
            # Three equal parts of the times 0.52 ... 1.48 s, and the frame in the middle of each.
            assert features.times[features.rows[clip]] == pytest.approx([0.68, 1.0, 1.32], abs=0.021)
            for number, time in enumerate(features.times[row]):
                frame = opened.frame(float(time), SIZE)
                assert read_number(frame) == 64 * row + round(time * FPS)
                pixels = torch.from_numpy((frame / np.float32(255) - mean) / std).permute(2, 0, 1)[None]
                with torch.no_grad():
                    both = [encoder(pixels)[0], encoder(pixels.flip(-1))[0]]
                for view, wanted in enumerate(both):
                    np.testing.assert_allclose(features.maps[row, number, view], wanted, rtol=2e-3, atol=2e-3)


def test_augmented_views_differ_and_depend_on_no_other_clip(root):
    first = compute(settings(root))
    views = first.maps.reshape(CLIPS * 3, 4, -1).astype(float)
    for one, other in ((2, 0), (2, 1), (3, 0), (3, 1), (3, 2)):
        assert np.abs(views[:, one] - views[:, other]).max(1).min() > 0.02
    picture = torch.from_numpy(numbered(1234, (SIZE, SIZE))).repeat(2, 1, 1, 1)
    one, other = computing.make_views(picture, ["clip 0", "clip 1"], settings(root))
    assert torch.equal(one[:2], other[:2]) and all((one[view] - other[view]).abs().max() > 0.02 for view in (2, 3))
    shutil.rmtree(root / "train" / folders(root)[0])
    for kind in ("video/00.mp4", "audio/00.wav"):
        os.unlink(root / "train" / kind)
    write_genres(root / "train")
    assert np.array_equal(compute(settings(root, workers=2)).maps, first.maps[1:])


def test_frames_are_smaller_than_they_were_read_as_evaluation_makes_them(root):
    features, encoder = compute(settings(root, resize_size=2 * SIZE, feature_views=1)), Encoder()
    with Clips(root, "train").open(0) as clip:
        frame = torch.from_numpy(clip.frame(float(features.times[0, 0]), 2 * SIZE)).permute(2, 0, 1)[None] / 255
    small = interpolate(frame, size=(SIZE, SIZE), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(values)[:, None, None] for values in (FRAME_MEAN, FRAME_STD))
    with torch.no_grad():
        wanted = encoder((small - mean) / std)[0]
    np.testing.assert_allclose(features.maps[0, 0, 0], wanted, rtol=2e-3, atol=2e-3)


def test_without_flips_no_view_is_mirrored(root):
    views = compute(settings(root, augment=Augment(flip=False), feature_views=2)).maps.astype(float)
    assert np.abs(views[:, :, 1] - views[:, :, 0, :, :, ::-1]).max() > 0.1
    about = json.loads((root / "train" / folders(root)[0] / "about.json").read_text())
    assert about["views"] == ["plain", "augmented"] and about["augment"]["crop_min"] == Augment.crop_min


# ----------------------------------------------------------------------------------------------------------- samples


def test_a_sample_has_the_sound_around_its_frame_as_from_the_clip_itself(root):
    config, clips = settings(root), Clips(root, "train")
    pairs = FeatureDataset(clips, compute(config), RATE, config.data.misalignment, seed=5)
    reference = PairDataset(clips, SIZE, RATE, 0.04, config.data.misalignment, seed=5)
    seen = set()
    for epoch in range(20):
        for index in range(CLIPS):
            sample, (draw,) = pairs[epoch, index], reference._draw([(epoch, index)])
            with clips.open(index) as clip:
                wanted = clip.sound(sample["time"] + reference._sound_offset(draw), RATE)
            assert np.array_equal(sample["sound"], wanted)
            assert sample["seed"] == draw.seed
            row = pairs.features.maps[index].reshape(12, -1)
            equal = np.flatnonzero((row == sample["features"].reshape(-1)).all(1))  # a picture may be its mirror image
            assert sample["time"] in pairs.features.times[index, equal // 4]
            seen.add((index, int(equal[0])))
    assert len(seen) > 0.6 * CLIPS * 12  # of 20 draws of 12 each: 82% on average, less those images


def test_several_moments_are_one_frame_of_each_part(root):
    config, clips = settings(root, feature_frames=6, feature_views=2), Clips(root, "train")
    pairs = FeatureDataset(clips, compute(config), RATE, 0.0, moments=3)
    batch = collate([pairs[0, index] for index in range(CLIPS)])
    assert batch["features"].shape == (CLIPS, 3, 5, 4, 4) and batch["sounds"].shape == (CLIPS, 3, RATE)
    starts = batch["sounds"][:, :, 0].long() + 30000 - torch.arange(CLIPS)[:, None] * round(SECONDS * RATE)
    parts = (starts / RATE + 0.5 - 0.5) // (1.0 / 3)  # of the second in which the middles of sounds lie
    assert parts.tolist() == [[0, 1, 2]] * CLIPS
    frames, _ = PairTransform(config, train=True)(batch)
    assert torch.equal(frames[CLIPS:][:CLIPS], batch["features"][:, 1].float())


def batches(config, count, start=0):
    data = AVCDataModule(config, "cpu")
    with torch.no_grad():
        data.use_features(config, Encoder(), lambda line: None, lambda clip, message: None)
    return list(islice(data.train_batches(start, lambda clip, message: None), count))


def test_batches_depend_neither_on_loader_processes_nor_on_a_restart(root):
    wanted = batches(settings(root), 4)
    again = batches(settings(root, workers=2), 2) + batches(settings(root, workers=1), 2, start=2)
    for one, other in zip(wanted, again, strict=True):
        assert one.keys() == other.keys() and "frames" not in one
        assert all(torch.equal(one[name], other[name]) for name in ("features", "sounds", "seeds", "indices", "times"))


def test_several_samples_of_a_clip_follow_each_other_where_asked(root):
    pair = batches(settings(root, samples_per_decode=2), 2)
    assert torch.equal(pair[0]["indices"], pair[1]["indices"]) and not torch.equal(pair[0]["seeds"], pair[1]["seeds"])


def test_training_opens_no_video_and_no_sound_file(root):
    wanted = batches(settings(root), 3)
    for path in [*(root / "train/video").iterdir(), *(root / "train/audio").iterdir()]:
        before = path.stat()
        path.write_bytes(b"x" * before.st_size)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = batches(settings(root, workers=1), 3)
    assert all(torch.equal(one["features"], other["features"]) for one, other in zip(wanted, again, strict=True))


def test_blend_mixes_the_features_of_the_next_clip_and_other_augmentation_leaves_them(root):
    config = settings(root, augment=Augment(blend=0.5, brightness=0.9))
    (batch,) = batches(config, 1)
    plain, spectrograms = PairTransform(config, train=False)(batch)
    assert torch.equal(plain, batch["features"].float()) and spectrograms.shape[:2] == (4, 1)
    mixed, _ = PairTransform(config, train=True)(batch)
    weights = ((mixed - plain) / (plain.roll(1, 0) - plain)).flatten(1)  # NaN where the two are equal
    middle = weights.nanmedian(1, keepdim=True).values
    assert ((middle > 0) & (middle < 0.5)).all() and (weights - middle).abs().nanmedian() < 1e-3


# --------------------------------------------------------------------------------------------------- when it computes


def test_features_are_computed_once_and_anew_after_a_change(root):
    log, encoder = [], Encoder()
    compute(settings(root), encoder, log)
    calls = encoder.calls
    compute(settings(root, augment=Augment(gain=0.3, blend=0.2)), encoder, log)  # sounds and blends are not in it
    assert encoder.calls == calls and len(folders(root)) == 1
    assert log[0].endswith(f"{folders(root)[0]} (computed in 0 s)") and log[1].startswith("frames' features: read from")
    changes = (
        lambda: compute(settings(root), Encoder(1), log),  # other weights
        lambda: compute(settings(root, augment=Augment(hue=0.1)), encoder, log),
        lambda: compute(settings(root, feature_frames=2), encoder, log),
        lambda: compute(settings(root, feature_views=1), encoder, log),
        lambda: compute(settings(root, resize_size=40), encoder, log),
        lambda: (os.utime(root / "train/video/01.mp4"), compute(settings(root), encoder, log)),
    )
    for count, change in enumerate(changes, 2):
        change()
        assert len(folders(root)) == count and "computed in" in log[-1]
    compute(settings(root, features_dir=str(root / "elsewhere")), encoder, log)
    assert list((root / "elsewhere/train").iterdir()) and len(folders(root)) == 7


class Stop(BaseException):
    """In the place of a signal."""


def test_an_interrupted_computation_leaves_nothing_that_counts_as_complete(root, monkeypatch):
    whole = compute(settings(root, features_dir=str(root / "whole")))

    class Interrupted(Encoder):
        def __call__(self, frames):
            if self.calls:
                raise Stop
            return super().__call__(frames)

    monkeypatch.setattr(computing, "FRAMES_AT_ONCE", 6)
    with pytest.raises(Stop):
        compute(settings(root), Interrupted())
    assert folders(root) == []
    name = next((root / "whole/train").iterdir()).name
    (root / "train" / f".{name}.tmp").mkdir()  # of one that was killed
    (root / "train" / f".{name}.tmp/features.npy").write_bytes(b"half")
    assert np.array_equal(compute(settings(root)).maps, whole.maps)
    assert folders(root) == [name] and not list((root / "train").glob(".*"))


@pytest.mark.parametrize("name", ["features.npy", "times.npy", "sounds.npy", "ends.npy", "about.json"])
@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "other"])
def test_damaged_features_are_computed_anew(root, name, damage):
    whole = compute(settings(root)).maps.copy()
    path = root / "train" / folders(root)[0] / name
    content = path.read_bytes()
    other = (
        b"[]" if name == "about.json" else (path.parent / f"{'ends' if name[0] == 't' else 'times'}.npy").read_bytes()
    )
    path.write_bytes({"cut": content[:-5], "empty": b"", "gone": b"", "other": other}[damage])
    if damage == "gone":
        path.unlink()
    log = []
    assert np.array_equal(compute(settings(root), log=log).maps, whole) and "computed in" in log[0]
    assert path.read_bytes() == content


def test_a_disk_without_space_is_one_sentence_with_the_folder_and_the_size(root, monkeypatch):
    usage = shutil.disk_usage(root)
    monkeypatch.setattr(computing.shutil, "disk_usage", lambda path: usage._replace(free=10_000))
    need = CLIPS * (3 * 4 * 5 * 4 * 4 * 2 + 2 * round(SECONDS * RATE)) / 1e9
    with pytest.raises(UserError, match=rf"{root}/train need {need:.2f} GB, and 0\.00 GB are free: .*features_dir"):
        compute(settings(root))
    assert folders(root) == []

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.undo()
    monkeypatch.setattr(computing._GrowingArray, "add", full)
    with pytest.raises(UserError, match=r"train/features_blocks_\w+ can't be written \(No space left on device\)"):
        compute(settings(root))
    assert folders(root) == []


def test_clips_that_cannot_be_read_obey_on_error(root):
    (root / "train/video/02.mp4").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"02\.mp4"):
        compute(settings(root))
    assert folders(root) == []
    for _ in range(2):  # computed; read
        skipped = {}
        features = compute(settings(root, on_error="skip"), skipped=skipped)
        assert list(skipped) == ["02"] and "02.mp4" in skipped["02"] and len(features.maps) == CLIPS - 1
    with pytest.raises(UserError, match=r"02\.mp4"):
        compute(settings(root))
    pairs = FeatureDataset(Clips(root, "train"), features, RATE)
    assert pairs[0, 2]["error"] == skipped["02"]
    assert np.array_equal(pairs[0, 3]["sound"], ramp(3)[round((pairs[0, 3]["time"] - 0.5) * RATE) :][:RATE])


def test_features_beyond_16_bits_and_a_url_are_refused(root):
    class Loud(Encoder):
        def __call__(self, frames):
            return super().__call__(frames) * 1e6

    with pytest.raises(UserError, match=r"blocks are too large for 16 bits: set --data\.feature_views 0"):
        compute(settings(root), Loud())
    remote = settings(root)
    remote = replace(remote, data=replace(remote.data, root="memory://there"))
    with pytest.raises(UserError, match=r"can't be kept at memory://there: set --data\.features_dir"):
        open_features(remote, Clips(root, "train"), Encoder(), "cpu", print, print)


def test_a_version_of_the_format_of_its_own(root, monkeypatch):
    compute(settings(root))
    monkeypatch.setattr(frozen, "FORMAT_VERSION", 99)
    compute(settings(root))
    assert len(folders(root)) == 2
