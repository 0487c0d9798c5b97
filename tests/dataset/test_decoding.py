"""Decoding only what is asked for: the same pictures, fewer of them decoded."""

import io

import av
import numpy as np
import pytest
from helpers import make_clip, numbered, read_number, tone, write_sound, write_video
from PIL import Image

from dataset.making.checks.clip_checks import check_clip
from dataset.making.clips.cut import cut_clip
from dataset.making.shards.shard_writer import ShardClip, store_clip
from dataset.reading.audio import to_mono
from dataset.reading.clip_reader import ClipReader, decode_at
from dataset.reading.media import stream_frames


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A video of noise, in which every picture differs, of which others refer to half."""
    path, rng = tmp_path_factory.mktemp("films") / "noise.mp4", np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(75)]
    write_video(path, pictures, gop=25, b_frames=3, x264="b-adapt=0:scenecut=0")
    return path


def opened(path):
    container = av.open(str(path))
    container.streams.video[0].codec_context.thread_count = 1
    return container, container.streams.video[0]


def everything(path):
    """{time: picture} of all frames."""
    container, stream = opened(path)
    return {frame.time: frame.to_ndarray(format="rgb24") for frame in container.decode(stream)}


@pytest.mark.parametrize("seed", range(4))
def test_what_is_shown_is_what_a_decoder_of_everything_shows(film, seed):
    whole = everything(film)
    asked = sorted(np.random.default_rng(seed).choice(list(whole), 6, replace=False).tolist())
    found = {frame.time: frame.to_ndarray(format="rgb24") for frame in decode_at(*opened(film), asked)}
    assert set(asked) <= found.keys()
    assert list(found) == sorted(found)
    assert all(np.array_equal(found[time], whole[time]) for time in found)
    if asked[-1] < max(whole):  # by the next one a reader knows until when the last was shown
        assert min(time for time in whole if time > asked[-1]) in found


def test_what_nobody_asks_for_and_no_picture_refers_to_is_not_decoded(film):
    times = [0.0, 2.96]
    assert 25 < len(list(decode_at(*opened(film), times))) < 55 < len(everything(film))


def test_all_is_decoded_where_the_format_does_not_tell(tmp_path):
    """In a transport stream H.264 has no lengths to walk along."""
    write_video(tmp_path / "a.ts", [np.full((48, 64, 3), 9 * k, np.uint8) for k in range(25)], b_frames=3,
                container="mpegts")  # fmt: skip
    container, stream = opened(tmp_path / "a.ts")
    begin = float(stream.start_time * stream.time_base)
    assert len(list(decode_at(container, stream, [begin, begin + 0.96]))) == 25


def test_a_container_can_be_asked_again(tmp_path):
    """Also after a pass that was left half-way."""
    mp4, _ = make_clip(tmp_path / "train", "a", b_frames=3)
    container, stream = opened(mp4)
    for time in (1.0, 0.2, 1.6):
        frames = decode_at(container, stream, [time, time + 0.2])
        assert next(frames).time <= time + 1e-4
        del frames


@pytest.mark.parametrize("turn", [90, -90, 180])
def test_what_a_phone_films_lying_down_is_trained_on_upright(tmp_path, turn):
    """As a frame, in a shard, cut, and in the list of what was checked."""
    upright = [numbered(k, (48, 64)) for k in range(50)]
    lying = [np.ascontiguousarray(np.rot90(picture, -turn // 90)) for picture in upright]
    mp4, wav = tmp_path / "video" / "a.mp4", tmp_path / "audio" / "a.wav"
    write_video(mp4, lying, turn=turn, sound=tone(2.0, 16000))
    write_sound(wav, tone(2.0, 16000))
    with ClipReader("a", mp4, wav) as clip:
        assert read_number(clip.frame(1.0, 48)) == 25
    settings = {"rate": 16000, "fps": 1, "size": 48, "square": False, "quality": 90}
    tar = io.BytesIO()
    frames = store_clip(tar, "0", tmp_path, ShardClip("a", [], [], 0, 0), settings).frames
    pictures = [Image.open(io.BytesIO(tar.getvalue()[first : first + size])) for _, first, size in frames]
    assert [read_number(np.asarray(one)) for one in pictures] == [0, 25] and pictures[0].size == (48, 64)
    cut_clip(mp4, wav, 0.0, 2.0, tmp_path / "cut.mp4", tmp_path / "cut.wav", height=60)
    found = everything(tmp_path / "cut.mp4")
    assert read_number(found[1.0]) == 25 and found[1.0].shape == (60, 44, 3)
    write_sound(wav, np.zeros(32000))
    thumbnail = Image.open(io.BytesIO(check_clip("a", mp4, wav).thumbnail))
    assert thumbnail.width < thumbnail.height and read_number(np.asarray(thumbnail)) < 50


@pytest.mark.parametrize(("container", "kind"), [("matroska", "audio"), ("mpegts", "video"), ("mp4", "audio")])
def test_a_late_part_of_a_film_is_not_decoded_from_the_beginning(tmp_path, container, kind):
    """Cutting a film of hours into clips would take days: matroska's sound and mpegts' frames are sought too far."""
    pictures = [numbered(k) for k in range(400)]
    write_video(tmp_path / "a", pictures, fps=5, gop=25, sound=tone(80, 16000), rate=16000, container=container)
    for start in (50.0, 71.3):
        times = [time for time, _ in stream_frames(tmp_path / "a", kind, start, start + 1)]
        assert times[0] <= start + 1e-3 and times[0] > start - 20 and times[-1] >= start + 1


@pytest.mark.parametrize(("name", "kind"), [("s16", np.int16), ("s32", np.int32), ("s64", np.int64)])
def test_whole_numbers_of_any_width_are_the_same_sound(name, kind):
    values = np.array([[-1.0, 0.5], [0.25, 0.25], [0.1234567, 0.1234567]])  # of two channels
    frame = av.AudioFrame(format=name, layout="stereo", samples=3)
    frame.sample_rate = 8000
    data = (values * 2.0 ** (8 * np.dtype(kind).itemsize - 1)).astype(kind).tobytes()
    frame.planes[0].update(data.ljust(frame.planes[0].buffer_size, b"\0"))
    step = 2.0**-15 if name == "s16" else 1e-7  # wider numbers keep what float32 holds
    assert to_mono(frame) == pytest.approx([-0.25, 0.25, 0.1234567], abs=step)
