"""Datasets of frames and sounds, as EZ-VSL and Sound of Pixels keep them: read as Pillow and scipy read them."""

import json
import shutil
import wave

import av
import numpy as np
import pytest
import soundfile
from helpers import MIDS, make_clip, numbered, read_number, tone, write_genres, write_json, write_sound
from PIL import Image
from scipy.io import wavfile

from configs.schema import Config
from dataset.pairs import PairDataset
from dataset.reading.errors import ClipError
from dataset.reading.picture_clips import PictureClips
from dataset.reading.reader import OpenClip, open_clips, open_split
from utils.config import override
from utils.errors import UserError

RATE, FPS = 8000, 8


def write_picture(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def write_wav(path, samples, rate=RATE):
    """Write int16 samples, (n,) or (n, channels), with the standard library."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(samples.astype("<i2").tobytes())


def noise(seconds, seed=0, channels=()):
    return np.random.default_rng(seed).integers(-9000, 9000, (round(seconds * RATE), *channels), np.int16)


def single(folder, clip="a", seconds=3.0, suffix="png"):
    """A clip of one picture, which shows the number 77."""
    write_picture(folder / "frames" / f"{clip}.{suffix}", numbered(77))
    write_wav(folder / "audio" / f"{clip}.wav", noise(seconds))


def sequence(folder, clip="a", count=24, rate=FPS, name="{:06d}.png", first=1):
    """A clip of `count` frames, which show their positions 0, 1, ..., and its sound."""
    for k in range(count):
        write_picture(folder / "frames" / clip / name.format(k + first), numbered(k))
    write_wav(folder / "audio" / f"{clip}.wav", noise(count / rate))
    write_json(folder.parent / "frames.json", {"rate": rate})


# ------------------------------------------------------------------------------------------------------ one picture


def test_a_picture_and_its_sound_are_those_of_pillow_and_scipy(folder):
    pixels = np.random.default_rng(1).integers(0, 256, (48, 48, 3), np.uint8)
    write_picture(folder / "frames" / "a.png", pixels)
    write_wav(folder / "audio" / "a.wav", noise(3))
    write_wav(folder / "audio" / "b.wav", noise(1, 1))
    write_picture(folder / "frames" / "b.JPG", pixels[:32], quality=95)
    write_genres(folder, {"a": [MIDS[0]], "b": []})
    clips = open_clips(folder.parent, "train")
    assert type(clips) is PictureClips and clips.ids == ["a", "b"] and clips.labels == [[MIDS[0]], []]
    whole = wavfile.read(folder / "audio" / "a.wav")[1]
    with clips.open(0) as clip:
        assert isinstance(clip, OpenClip) and (clip.first, clip.last, clip.video_end) == (0.5, 2.5, 3.0)
        for time in (0.0, 0.5, 1.7301, 3.0):  # the picture is shown over the whole sound
            assert np.array_equal(clip.frame(time, 48), pixels)
        assert np.array_equal(clip.frames([0.5, 1, 2], 48, crop=0.5), np.stack([pixels] * 3))
        assert np.array_equal(clip.sound(1.2, RATE), whole[5600:13600])
        assert np.array_equal(clip.full_waveform(RATE), whole)
        halved = Image.fromarray(pixels).resize((24, 24), Image.Resampling.BOX)
        assert np.abs(clip.frame(1, 24).astype(int) - np.asarray(halved, int)).max() <= 1
    with clips.open(1) as clip:
        assert clip.first == clip.last == 0.5  # a second of sound has one time
        decoded = np.asarray(Image.open(folder / "frames" / "b.JPG"), int)  # 48 x 32, squeezed to a square
        squeezed = decoded.reshape(16, 2, 16, 3, 3).mean((1, 3))
        off = np.abs(clip.frame(0.5, 16) - squeezed)
        assert off.max() <= 8 and off.mean() <= 2  # the scaler of videos computes in YUV


def test_pictures_are_shown_upright_and_in_rgb(folder):
    pixels = numbered(1234, (64, 48))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter to the right
    write_picture(folder / "frames" / "turned.jpg", np.rot90(pixels).copy(), exif=exif, quality=95)
    write_picture(folder / "frames" / "grey.webp", pixels[:, :, 0], lossless=True)
    for clip in ("turned", "grey"):
        write_wav(folder / "audio" / f"{clip}.wav", noise(1.5))
    clips = open_clips(folder.parent, "train")
    for index in range(2):
        with clips.open(index) as clip:
            assert read_number(clip.frame(1, 64)) == 1234


def test_nets_of_several_frames_are_refused_where_clips_have_one(folder):
    single(folder)
    for settings in ({"model.name": "AVENet_MF", "data.frames": 8}, {"model.name": "AVENet_OF", "data.flow": "dis"}):
        config = override(Config(), {"data.root": str(folder.parent), **settings})
        with pytest.raises(UserError, match=r"^data\.frames and data\.flow need several frames .* clip a: train a net"):
            open_split(config.data, "train")


# -------------------------------------------------------------------------------------------------- frames at a rate


@pytest.mark.parametrize(("name", "first"), [("{:06d}.png", 1), ("{:d}.png", 0), ("clip2_frame-{:d}.png", 1)])
def test_frame_n_is_shown_from_the_end_of_the_one_before(folder, name, first):
    sequence(folder, name=name, first=first)  # not padded, 10 comes before 2 in a sorted list
    with open_clips(folder.parent, "train").open(0) as clip:
        times = [0, 0.124, 0.125, 0.249, 0.25, 1.3, 2.874, 2.875, clip.video_end]
        assert [read_number(frame) for frame in clip.frames(times, 48)] == [0, 0, 1, 1, 2, 10, 22, 23, 23]
        assert clip.first == 0.5 and clip.last == 2.5 and 2.99 < clip.video_end < 3
        stack = clip.frame_stack(1.0, 9, 48)  # 0.04 s apart, as of a video
        assert [read_number(frame) for frame in stack] == [int((0.84 + 0.04 * k) * FPS + 1e-6) for k in range(9)]


def test_frames_end_before_a_longer_sound(folder):
    sequence(folder)
    write_wav(folder / "audio" / "a.wav", noise(5))
    with open_clips(folder.parent, "train").open(0) as clip:
        assert clip.last == clip.video_end < 3


def test_gaps_may_be_allowed(folder):
    sequence(folder)
    (folder / "frames" / "a" / "000011.png").unlink()
    write_json(folder / "frames.json", {"rate": 4, "gaps": True})  # a split's own goes before that of the dataset
    with open_clips(folder.parent, "train").open(0) as clip:
        assert [read_number(frame) for frame in clip.frames([2.3, 2.6, 2.75], 48)] == [9, 9, 11]


def test_samples_are_those_of_the_video_that_the_frames_were_taken_from(tmp_path):
    video, frames = tmp_path / "video", tmp_path / "frames_of_it"
    for k, clip in enumerate("ab"):
        pictures = [numbered(100 * k + n, (48, 48)) for n in range(50)]
        mp4, wav = make_clip(video / "train", clip, fps=25, rate=RATE, pictures=pictures, pitch=300 + 200 * k)
        with av.open(str(mp4)) as container:
            for n, frame in enumerate(container.decode(video=0), 1):
                write_picture(frames / "train" / "frames" / clip / f"{n:05d}.png", frame.to_ndarray(format="rgb24"))
        (frames / "train" / "audio").mkdir(exist_ok=True)
        shutil.copy(wav, frames / "train" / "audio")
    write_genres(video / "train")
    write_json(frames / "frames.json", {"rate": 25})
    for options in ({}, {"cache_gb": 0.01}, {"frames": 5}, {"moments": 3}):
        ones, others = (PairDataset(open_clips(r, "train"), 48, RATE, 0.04, 0.1, **options) for r in (video, frames))
        for key in [(epoch, index) for epoch in range(2) for index in range(2)]:
            one, other = ones[key], others[key]
            assert one["time"] == other["time"] and np.array_equal(one["sound"], other["sound"])
            assert np.array_equal(one["frame"], other["frame"])


# ------------------------------------------------------------------------------------------------------------ layouts


def test_class_folders_give_labels_and_folders_may_be_named_like_videos(folder):
    sequence(folder, "flute/x1.mp4")
    sequence(folder, "tuba/x2")
    single(folder, "x3")
    shutil.move(folder / "audio" / "flute" / "x1.mp4.wav", folder / "audio" / "flute" / "x1.wav")
    clips = open_clips(folder.parent, "train")
    assert clips.ids == ["x1", "x2", "x3"] and clips.labels == [["flute"], ["tuba"], []]
    with clips.open(0) as clip:
        assert read_number(clip.frame(1, 48)) == 8
    write_genres(folder, {"x2": [MIDS[1]], "x3": []})  # a table decides which clips there are
    clips = open_clips(folder.parent, "train")
    assert clips.ids == ["x2", "x3"] and clips.labels == [[MIDS[1]], []]


def test_a_folder_with_videos_is_read_as_one_of_videos(folder):
    make_clip(folder, "a")
    write_genres(folder)
    single(folder)
    assert type(open_clips(folder.parent, "train")) is not PictureClips


def test_a_changed_frame_is_another_version(folder):
    sequence(folder)
    single(folder, "b")
    clips = open_clips(folder.parent, "train")
    before = [clips.version(k) for k in range(2)]
    assert before == [open_clips(folder.parent, "train").version(k) for k in range(2)]
    write_picture(folder / "frames" / "a" / "000009.png", numbered(500))
    write_picture(folder / "frames" / "b.png", numbered(500))
    after = [clips.version(k) for k in range(2)]
    assert all(one != two for one, two in zip(before, after, strict=True))


@pytest.mark.parametrize("kind", ["single", "sequence"])
def test_shards_give_the_same_samples(folder, tmp_path, make_shards, kind):
    for clip in "abc":
        (single if kind == "single" else sequence)(folder, clip)
    write_json(folder / "boxes.json", {"a": [{"time": 1.3, "box": [0, 0, 1, 1], "label": "x", "sounding": True}]})
    make_shards(folder.parent, tmp_path / "shards", fps=FPS)
    ones, others = (
        PairDataset(open_clips(root, "train"), 48, RATE, 1 / FPS, annotated=True)
        for root in (folder.parent, tmp_path / "shards")
    )
    assert ones.clips.ids == others.clips.ids and ones.clips.labels == others.clips.labels
    for key in [(epoch, index) for epoch in range(3) for index in range(3)]:
        one, other = ones[key], others[key]
        assert one["time"] == other["time"] and np.array_equal(one["sound"], other["sound"])
        assert np.abs(np.subtract(one["frame"], other["frame"], dtype=np.int16)).max() <= 12  # by JPEG
        assert read_number(np.asarray(one["frame"])) == read_number(np.asarray(other["frame"]))
    make_shards(folder.parent, tmp_path / "shards", fps=FPS)  # complete: nothing to do
    write_picture(folder / "frames" / "d.png", numbered(1))
    with pytest.raises(ClipError, match="has no sound file of clip d"):
        make_shards(folder.parent, tmp_path / "more")


# ----------------------------------------------------------------------------------------------- what can't be read


def lossy(folder):
    (folder / "audio" / "a.wav").rename(folder / "audio" / "a.mp3")


DAMAGE = {
    "no picture": (lambda f: (f / "frames/a.png").unlink(), "missing", "train has no frames of clip a: add it"),
    "no sound": (lambda f: (f / "audio/a.wav").unlink(), "missing", "train has no sound file of clip a: add it"),
    "cut picture": (lambda f: cut(f / "frames/a.png"), "damaged", "frames/a.png can't be read as an image"),
    "empty picture": (lambda f: (f / "frames/a.png").write_bytes(b""), "damaged", "frames/a.png is empty"),
    "cut sound": (lambda f: cut(f / "audio/a.wav", 1e-4), "damaged", "audio/a.wav can't be read as a wav"),
    "brief sound": (lambda f: write_wav(f / "audio/a.wav", noise(0.7)), "short", "audio/a.wav lasts 0.70 s"),
    "silence": (lambda f: write_wav(f / "audio/a.wav", 0 * noise(2)), "silent", "audio/a.wav is silent"),
    "mp3": (lossy, "no sound", "audio/a.mp3 is of a format of sound .* ffmpeg -i a.mp3 a.wav"),
}  # fmt: skip
FRAME_DAMAGE = {
    "gap": (lambda f: (f / "000007.png").unlink(), "damaged", 'frames/a lacks frame 7, .* "gaps": true'),
    "late start": (lambda f: (f / "000001.png").unlink(), "damaged", "frames/a lacks frame 1,"),
    "twice": (lambda f: shutil.copy(f / "000001.png", f / "1.png"), "damaged", "frames/a holds frame 1 twice"),
    "no number": (lambda f: shutil.copy(f / "000001.png", f / "cover.png"), "damaged", "cover.png has no number"),
    "cut frame": (lambda f: cut(f / "000011.png"), "damaged", "frames/a/000011.png can't be read as an image"),
    "no frames": (lambda f: [path.unlink() for path in f.iterdir()], "no picture", "frames/a holds no frames"),
    "few frames": (lambda f: [p.unlink() for p in sorted(f.iterdir())[3:]], "short", "frames/a lasts 0.38 s"),
}  # fmt: skip


def cut(path, share=0.5):
    path.write_bytes(path.read_bytes()[: round(path.stat().st_size * share)])


def read_all(root):
    clips = open_clips(root, "train")
    with clips.open(0) as clip:
        clip.frames(clip.frame_times(), 32)
        clip.full_waveform(RATE)


@pytest.mark.parametrize("case", [*DAMAGE, *FRAME_DAMAGE])
def test_what_cannot_be_read_is_named(folder, case):
    damage, kind, message = (DAMAGE | FRAME_DAMAGE)[case]
    (single if case in DAMAGE else sequence)(folder)
    single(folder, "b")
    damage(folder if case in DAMAGE else folder / "frames" / "a")
    with pytest.raises(ClipError, match=message) as raised:
        read_all(folder.parent)
    assert raised.value.kind == kind and raised.value.clip == "a"
    skipping = open_clips(folder.parent, "train", "skip")
    assert (list(skipping.skipped) == ["a"]) == (kind == "missing") and "b" in skipping.ids


@pytest.mark.parametrize(
    "text",
    [None, "", "8", "[8]", "{}", '{"rate": 0}', '{"rate": -8}', '{"rate": "8"}', '{"rate": true}', '{"rate": NaN}',
     '{"rate": 1e9}', '{"rate": 8, "gaps": 1}', '{"rate": 8, "fps": 8}'],
)  # fmt: skip
def test_a_rate_must_be_given(folder, text):
    sequence(folder)
    path = folder.parent / "frames.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(UserError) as raised:
        open_clips(folder.parent, "train")
    said = str(raised.value)
    assert '{"rate": ' in said and str(path) in said and "\n" not in said.removesuffix("\n")


def test_two_pictures_of_one_clip_are_refused_and_of_two_sounds_the_wav_is_read(folder):
    single(folder)
    (folder / "audio" / "a.mp3").write_bytes(b"not read")
    with open_clips(folder.parent, "train").open(0) as clip:
        assert clip.audio_file.name == "a.wav"
    write_picture(folder / "frames" / "a.jpg", numbered(1))
    with pytest.raises(UserError, match=r"a\.jpg and .*a\.png are both of clip a"):
        open_clips(folder.parent, "train")


def test_splits_and_folders_that_are_missing(folder):
    single(folder)
    with pytest.raises(UserError, match="has no split 'val'"):
        open_clips(folder.parent, "val")
    with pytest.raises(UserError, match=r"val is missing; move frames/ and audio/ of its clips to .*train/val"):
        open_clips(folder, "val")  # all in one folder, as EZ-VSL's test sets are
    (folder.parent / "val" / "audio").mkdir(parents=True)
    with pytest.raises(UserError, match="val/frames is missing"):
        open_clips(folder.parent, "val")
    shutil.rmtree(folder / "audio")
    with pytest.raises(UserError, match=r"train/audio is missing: clips are frames/ID\.jpg and audio/ID\.wav"):
        open_clips(folder.parent, "train")
    (folder / "audio").mkdir()
    with pytest.raises(UserError, match=r"split .*train is empty"):
        open_clips(folder.parent, "train", "skip")


def test_a_table_of_boxes_is_read(folder):
    single(folder)
    box = {"time": 1.0, "box": [0.1, 0.1, 0.5, 0.5], "label": MIDS[0], "sounding": True}
    (folder / "boxes.json").write_text(json.dumps({"a": [box]}))
    clips = open_clips(folder.parent, "train")
    assert clips.annotated_times(0) == [1.0] and clips.boxes_at(0, 1.0) == [box]


def test_other_sounds_without_loss_are_read(folder):
    single(folder)
    write_sound(folder / "audio" / "a.wav", tone(2, RATE), RATE)
    samples = wavfile.read(folder / "audio" / "a.wav")[1]
    soundfile.write(folder / "audio" / "a.flac", samples, RATE)
    (folder / "audio" / "a.wav").unlink()
    with open_clips(folder.parent, "train").open(0) as clip:
        assert np.array_equal(clip.sound(1.3, RATE), samples[6400:14400])
