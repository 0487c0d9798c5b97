"""Optical flow: the right number of pixels, around the right frame, computed once, never a stale or damaged one."""

import sys

import numpy as np
import pytest
import torch
from helpers import make_clip, numbered, read_number, write_genres
from moving_pictures import SIZE, coloured, moved

from configs.schema import Data
from dataset.loading.loader import collate
from dataset.pairs import PairDataset
from dataset.reading import flow as F
from dataset.reading.clips import Clips
from dataset.reading.errors import ClipError
from dataset.reading.flow import FlowCache, open_flow_cache
from dataset.transforms.geometry import FLOW_STEP
from utils.errors import UserError

METHODS = ("tvl1", "dis", "farneback")


def make_split(root, clips=3, seconds=1.6):
    """Clips whose picture moves to the right and back, the first by 1 pixel a frame, the second by 2, ..."""
    for clip in range(clips):
        steps = [(clip + 1) * min(k % 12, 12 - k % 12) for k in range(round(seconds * 25))]
        pictures = [coloured(moved(step, 0)) for step in steps]
        make_clip(root / "train", f"c{clip}", seconds, 25, (SIZE, SIZE), 2000, pictures=pictures, gop=1)
    write_genres(root / "train")
    return Clips(root, "train")


@pytest.fixture
def clips(tmp_path):
    return make_split(tmp_path / "data")


@pytest.fixture
def counted(monkeypatch):
    """A list that grows by one with each flow field that is computed."""
    calls, real = [], F.flow_estimator
    monkeypatch.setattr(F, "flow_estimator", lambda method: lambda *pair: calls.append(1) or real(method)(*pair))
    return calls


# ---------------------------------------------------------------------------------------------------------- fields


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (2, 0), (-1, 3), (4, -2)])
def test_the_flow_of_a_moved_picture_is_its_motion_in_pixels(method, dx, dy):
    field = F.flow_estimator(method)(moved(0, 0), moved(dx, dy))
    assert field.shape == (SIZE, SIZE, 2) and field.dtype == np.float32
    inner = field[12:-12, 12:-12]
    assert np.abs(np.median(inner, (0, 1)) - (dx, dy)).max() < 0.15
    assert np.abs(inner - (dx, dy)).mean() < 0.4


def test_eight_bits_hold_twenty_pixels():
    field = np.array([[[0, 0.1], [-3.03, 19.99], [20.0, -20.0], [99, -99]]], np.float32)
    kept = F.quantize(field)
    assert kept.dtype == np.int8 and np.abs(kept).max() == 127
    assert np.abs(kept * FLOW_STEP - field.clip(-20, 20)).max() <= FLOW_STEP / 2 + 1e-6


@pytest.mark.parametrize(
    ("time", "first"),
    [(0.8, 15), (0.81, 15), (0.83, 16), (0.52, 8), (1.08, 22), (0.0, 0), (0.12, 0), (1.3, 27), (1.56, 29)],
)
def test_the_fields_are_those_around_the_instant_and_lie_inside_the_clip(clips, tmp_path, time, first):
    """40 frames, 39 fields."""
    flow = FlowCache("farneback", SIZE, 10, tmp_path / "flow")
    with clips.open(0) as clip:
        fields = flow(clip, time)
    assert fields.shape == (SIZE, SIZE, 20) and fields.dtype == np.int8
    with np.load(tmp_path / "flow" / f"flow_farneback_{SIZE}" / "c0.npz") as kept:
        assert set(kept) == {"about", *map(str, range(39))}
        assert np.array_equal(fields, np.concatenate([kept[str(k)] for k in range(first, first + 10)], 2))


def test_the_middle_field_begins_at_the_frame(tmp_path):
    """A picture that jumps once: the jump is field 20, from frame 20 to 21, and is seen where it should be."""
    pictures = [coloured(moved(3 * (k > 20), 0)) for k in range(40)]
    make_clip(tmp_path / "train", "jump", 1.6, 25, (SIZE, SIZE), 2000, pictures=pictures, gop=1)
    write_genres(tmp_path / "train")
    flow = FlowCache("dis", SIZE, 10, tmp_path)
    with Clips(tmp_path, "train").open(0) as clip:
        for frame in range(16, 26):
            fields = flow(clip, frame * 0.04)
            strength = np.abs(fields[12:-12, 12:-12, 0::2].astype(int)).mean((0, 1))
            assert strength.argmax() == 20 - (frame - 5)
            assert strength.max() > 15 and np.sort(strength)[-2] < 3


# ----------------------------------------------------------------------------------------------------------- on disk


def test_flow_is_computed_once_and_kept(clips, tmp_path, counted):
    flow = FlowCache("dis", SIZE, 10, tmp_path / "flow")
    with clips.open(0) as clip:
        ours = flow(clip, 0.8)
        assert len(counted) == 39
        path = tmp_path / "flow" / f"flow_dis_{SIZE}" / "c0.npz"
        written = path.stat().st_mtime_ns
        again, other = flow(clip, 0.8), flow(clip, 0.6)
    assert len(counted) == 39 and path.stat().st_mtime_ns == written
    assert np.array_equal(ours, again) and not np.array_equal(ours, other)
    assert [p.name for p in path.parent.iterdir()] == ["c0.npz"]  # no half-written file beside it
    with clips.open(0) as clip:  # another process, another number of fields: the same file
        fewer = FlowCache("dis", SIZE, 4, tmp_path / "flow")(clip, 0.8)
    assert len(counted) == 39 and np.array_equal(fewer, ours[:, :, 6:14])


def test_other_methods_and_sizes_have_folders_of_their_own(clips, tmp_path, counted):
    with clips.open(0) as clip:
        for method, size in (("dis", SIZE), ("farneback", SIZE), ("dis", 48)):
            assert FlowCache(method, size, 10, tmp_path / "flow")(clip, 0.8).shape == (size, size, 20)
    assert len(counted) == 3 * 39
    assert {p.name for p in (tmp_path / "flow").iterdir()} == {"flow_dis_64", "flow_farneback_64", "flow_dis_48"}


def damage_bits(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : len(content) // 3 + 2000] = bytes(2000)
    path.write_bytes(content)


DAMAGE = {
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-500]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not flow"),
    "other bits": damage_bits,
    "another form": lambda path: np.savez(path, other=np.zeros(3)),
    "another size": lambda path: np.savez(
        path, about=np.load(path)["about"], **{str(k): np.zeros((8, 8, 2), np.int8) for k in range(39)}
    ),
    "of another form": lambda path: np.savez(
        path, **{name: value if name != "about" else "form 0" for name, value in np.load(path).items()}
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_or_stale_file_is_computed_anew(clips, tmp_path, counted, damage):
    flow = FlowCache("dis", SIZE, 10, tmp_path / "flow")
    with clips.open(0) as clip:
        ours = [flow(clip, time) for time in (0.2, 0.8, 1.4)]
        DAMAGE[damage](tmp_path / "flow" / f"flow_dis_{SIZE}" / "c0.npz")
        assert all(np.array_equal(flow(clip, time), field) for time, field in zip((0.2, 0.8, 1.4), ours, strict=True))
        assert len(counted) == 2 * 39
        flow(clip, 0.8)
    assert len(counted) == 2 * 39


def test_flow_of_another_video_of_the_same_name_is_not_used(clips, tmp_path, counted):
    flow = FlowCache("dis", SIZE, 10, tmp_path / "flow")
    with clips.open(0) as clip:
        before = flow(clip, 0.8)
    (clips.folder / "video" / "c2.mp4").replace(clips.folder / "video" / "c0.mp4")
    with clips.open(0) as clip:
        assert not np.array_equal(flow(clip, 0.8), before)
    assert len(counted) == 2 * 39


def test_a_folder_that_cannot_be_written_is_named_at_once(clips, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/train/flow_dis_64 can't be written \(.*--data\.flow_dir"):
        open_flow_cache(Data(flow="dis", resize_size=SIZE, flow_dir=str(tmp_path / "file")), clips)


def test_a_full_disk_stops_with_its_reason_and_leaves_nothing_half_written(clips, tmp_path, monkeypatch):
    pairs = PairDataset(clips, SIZE, 2000, 0.04, flow=FlowCache("dis", SIZE, 10, tmp_path / "flow"))

    def full(file, **_):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    assert "No space left on device" in pairs[0, 0]["error"] and "--data.flow_dir" in pairs[0, 0]["error"]
    assert list((tmp_path / "flow" / f"flow_dis_{SIZE}").iterdir()) == []


def test_opencv_missing_is_said_in_one_sentence(clips, monkeypatch):
    F.import_cv2.cache_clear()
    F.flow_estimator.cache_clear()
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match=r"data\.flow needs OpenCV.*pip install opencv-contrib-python-headless"):
        open_flow_cache(Data(flow="dis", resize_size=SIZE), clips)
    assert open_flow_cache(Data(), clips) is None  # and without flow nobody asks for it
    F.import_cv2.cache_clear()


def test_flow_lies_beside_the_split_unless_told_otherwise(clips, tmp_path):
    beside = open_flow_cache(Data(root=str(tmp_path / "data"), flow="dis", resize_size=SIZE), clips)
    assert beside.folder == tmp_path / "data" / "train" / "flow_dis_64"
    elsewhere = open_flow_cache(Data(flow="dis", resize_size=SIZE, flow_dir=str(tmp_path / "else")), clips)
    assert elsewhere.folder == tmp_path / "else" / "train" / "flow_dis_64"
    assert len(Clips(tmp_path / "data", "train")) == 3  # the folder doesn't disturb the split


# -------------------------------------------------------------------------------------------------------- samples


def test_samples_have_flow_of_their_instant_and_the_frame_sound_and_draws_of_plain_ones(clips, tmp_path):
    options = dict(resize_size=SIZE, sample_rate=2000, frame_step=0.04, misalignment=0.3, seed=2)
    flow = FlowCache("dis", SIZE, 4, tmp_path / "flow")
    plain, ours = PairDataset(clips, **options), PairDataset(clips, **options, flow=flow)
    for key in [(epoch, index) for epoch in range(3) for index in range(3)]:
        a, b = plain[key], ours[key]
        assert a.keys() | {"flow"} == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)
        with clips.open(key[1]) as clip:
            assert np.array_equal(b["flow"], flow(clip, b["time"]))
    batch = collate([ours[0, k] for k in range(3)])
    assert batch["flows"].shape == (3, SIZE, SIZE, 8) and batch["flows"].dtype == torch.int8
    assert "flows" not in collate([plain[0, k] for k in range(3)])


def test_several_frames_are_the_consecutive_ones_around_the_instant(tmp_path):
    for clip in range(3):
        pictures = [numbered(64 * clip + k) for k in range(50)]
        make_clip(tmp_path / "train", f"{clip}", 2.0, 25, rate=2000, pictures=pictures)
    write_genres(tmp_path / "train")
    clips = Clips(tmp_path, "train")
    options = dict(resize_size=32, sample_rate=2000, frame_step=0.04, seed=1)
    for frames in (25, 9, 8):
        plain, ours = PairDataset(clips, **options), PairDataset(clips, **options, frames=frames)
        for key in [(epoch, index) for epoch in range(20) for index in range(3)]:
            sample = ours[key]
            assert sample["frame"].shape == (frames, 32, 32, 3)
            assert np.array_equal(sample["sound"], plain[key]["sound"]) and sample["time"] == plain[key]["time"]
            numbers = [read_number(frame) - 64 * key[1] for frame in sample["frame"]]
            first = min(max(round(sample["time"] * 25) - frames // 2, 0), 50 - frames)
            assert numbers == list(range(first, first + frames))
    batch = collate([ours[0, k] for k in range(3)])
    assert batch["frames"].shape == (3, 8, 32, 32, 3)


def test_frames_near_the_ends_are_moved_inside_as_a_whole(tmp_path):
    make_clip(tmp_path / "train", "a", 1.4, 25, rate=2000)
    write_genres(tmp_path / "train")
    with Clips(tmp_path, "train").open(0) as clip:
        for time, first in ((0.0, 0), (0.4, 0), (0.48, 0), (0.52, 1), (0.8, 8), (0.92, 10), (1.2, 10), (1.39, 10)):
            assert [read_number(f) for f in clip.frame_stack(time, 25, 32)] == list(range(first, first + 25))
        with pytest.raises(ClipError, match="shorter than 40 frames"):
            clip.frame_stack(0.7, 40, 32)
