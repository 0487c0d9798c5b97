"""Any folder of videos, pictures and sounds: what is found in it, and which frame and second belong to an instant."""

import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest
from helpers import make_clip, numbered, read_number, tone, write_sound, write_video
from PIL import Image

from dataset.loading.prefetch import MAX_OPEN_STREAMS, prefetch
from dataset.reading import errors, media_folder, moments
from dataset.reading.clip_reader import ClipReader

RATE = 8000


def item(path, kind=""):
    return media_folder.MediaItem(path.name, kind or media_folder.KIND_OF_SUFFIX[path.suffix], path.name, path.parent)


def seen(path, rate=RATE, hop=1.0):
    return list(moments.iter_moments(item(path), 48, rate, hop))


def test_a_folder_is_searched_by_suffix_and_a_split_of_ours_is_one_item_a_clip(tmp_path):
    make_clip(tmp_path / "test", "one")
    for name in ("pictures/deep/A.JPG", "song.Mp3", "notes.txt", ".hidden/x.jpg", "audio/alone.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    items, strange = media_folder.find_media(tmp_path)
    found = {(one.name, one.kind, one.sound_name) for one in items}
    assert found == {
        ("test/video/one.mp4", "video", "test/audio/one.wav"),
        ("pictures/deep/A.JPG", "image", "pictures/deep/A.JPG"),
        ("song.Mp3", "sound", "song.Mp3"),
        ("audio/alone.wav", "sound", "audio/alone.wav"),
    }
    assert strange == {"notes.txt": "has no known suffix (.txt)", ".hidden": "is hidden"}
    assert media_folder.find_media(tmp_path / "song.Mp3")[0] == [
        media_folder.MediaItem("song.Mp3", "sound", "song.Mp3", tmp_path)
    ]


def test_a_name_that_cannot_be_written_is_listed_and_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "a\nb.wav").touch()
    (tmp_path / "fine.wav").touch()
    items, strange = media_folder.find_media(tmp_path)
    assert [one.name for one in items] == ["fine.wav"] and list(strange) == ["a\nb.wav"]
    with pytest.raises(media_folder.UserError, match="no file or folder"):
        media_folder.find_media(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(media_folder.UserError, match="holds no video"):
        media_folder.find_media(tmp_path / "empty")


@pytest.mark.parametrize("native", [8000, 11025, 44100])
@pytest.mark.parametrize("hop", [0.3, 1.0, 5.0])
def test_frames_and_sounds_are_those_that_training_sees_at_the_same_instant(tmp_path, native, hop):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, round(9.4 * native))
    make_clip(tmp_path, "x", seconds=9.4, fps=10, sound=noise, rate=native)
    one = media_folder.MediaItem("video/x.mp4", "video", "audio/x.wav", tmp_path)
    found = list(moments.iter_moments(one, 48, RATE, hop))
    assert [moment.time for moment in found] == pytest.approx(np.arange(0.5, 8.9 + 1e-6, hop), abs=1e-4)
    with ClipReader("x", one.path, one.sound) as clip:
        for moment in found:
            assert np.array_equal(moment.frame, clip.frame(moment.time, 48))
            assert np.array_equal(moment.sound, clip.sound(moment.time, RATE))


def test_silent_seconds_have_no_sound_and_a_silent_file_is_refused(tmp_path):
    sound = np.concatenate([tone(1.0, RATE), np.zeros(RATE), tone(1.0, RATE)])
    write_sound(tmp_path / "x.wav", sound, RATE)
    assert [moment.time for moment in seen(tmp_path / "x.wav")] == [0.5, 2.5]
    write_sound(tmp_path / "silent.wav", np.zeros(2 * RATE), RATE)
    with pytest.raises(errors.MediaError, match="silent"):
        seen(tmp_path / "silent.wav")


def test_a_picture_is_turned_upright_and_shown_whole(tmp_path):
    image = Image.fromarray(numbered(1234, (64, 48))).rotate(90, expand=True)
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    image.save(tmp_path / "x.png", exif=exif)
    (found,) = seen(tmp_path / "x.png")
    assert read_number(found.frame) == 1234 and found.sound is None and found.time == 0


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.jpg", b"\xff\xd8\xff\xe0 not one", "image"),
        ("x.png", b"", "is empty"),
        ("x.mp4", b"nothing" * 99, "can't be opened"),
        ("x.wav", b"RIFF\x00\x00", "can't be opened"),
        ("list.mp4", b"#EXTM3U\nfile:///etc/passwd\n", "can't be opened"),  # would have another file read
    ],
)
def test_what_cannot_be_read_says_why_without_its_path(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(errors.MediaError, match=reason) as refused:
        seen(tmp_path / name)
    assert str(tmp_path) not in refused.value.reason and refused.value.kind == "damaged"


def test_pictures_and_frames_of_absurd_size_are_refused_before_they_are_decoded(tmp_path):
    for side, reason in ((9000, "9000 x 9000"), (30000, "900000000 pixels")):
        Image.new("1", (side, side)).save(tmp_path / "x.png")
        begin = time.perf_counter()
        with pytest.raises(errors.MediaError, match=reason):
            seen(tmp_path / "x.png")
        assert time.perf_counter() - begin < 0.5


def test_what_a_file_is_its_content_says(tmp_path):
    write_video(tmp_path / "a.jpg", [numbered(1)] * 10)
    write_sound(tmp_path / "b.mp4", tone(1, RATE), RATE)
    Image.fromarray(numbered(1)).save(tmp_path / "c.wav", format="PNG")
    assert [media_folder.detect_kind(tmp_path / name) for name in ("a.jpg", "b.mp4", "c.wav")] == [
        "video",
        "sound",
        "image",
    ]
    (tmp_path / "d.png").write_bytes(b"%PDF-1.4")
    with pytest.raises(errors.MediaError):
        media_folder.detect_kind(tmp_path / "d.png")


def test_a_still_keeps_its_shape_and_a_second_is_the_rows_own(tmp_path):
    make_clip(tmp_path, "x", seconds=3, fps=10, size=(96, 48), click_at=1.6)
    one = media_folder.MediaItem("video/x.mp4", "video", "audio/x.wav", tmp_path)
    image = media_folder.frame_image(one, 2.05, 48)
    assert image.size == (48, 24) and read_number(np.asarray(image)) == 20
    sound = media_folder.sound_around(one, 1.5)
    assert len(sound) == 48000 and abs(np.abs(sound.astype(int)).argmax() / 48000 - 0.6) < 0.01


def test_a_sound_with_a_cover_is_a_sound(tmp_path):
    with av.open(str(tmp_path / "x.mp3"), "w") as out:
        audio, cover = out.add_stream("libmp3lame", rate=44100), out.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        out.mux(cover.encode(frame) + cover.encode())
        sound = av.AudioFrame.from_ndarray(np.float32(tone(2.2, 44100))[None], format="fltp", layout="mono")
        sound.sample_rate = 44100
        out.mux(audio.encode(sound) + audio.encode())
    assert media_folder.detect_kind(Path(tmp_path / "x.mp3")) == "sound"
    assert [moment.frame for moment in seen(tmp_path / "x.mp3")] == [None, None]


def test_streams_are_read_ahead_in_order_and_an_error_ends_one_only():
    def stream(number):
        yield from (10 * number + k for k in range(3))
        if number == 1:
            raise ValueError("damaged")

    found = list(prefetch([stream(number) for number in range(4)], threads=3))
    values = [(number, str(element)) for number, element in found]
    expected = [(n, str(10 * n + k)) for n in range(4) for k in range(3)]
    assert [pair for pair in values if pair[1].isdigit()] == expected
    assert (1, "damaged") in values and sum(element is None for _, element in found) == 4


def test_reading_ahead_is_bounded_and_ends_with_its_reader():
    begun = []

    def stream(number):
        begun.append(number)
        yield number

    reader = prefetch([stream(number) for number in range(1000)], threads=2)
    next(reader)
    time.sleep(0.3)
    assert len(begun) <= MAX_OPEN_STREAMS
    before = threading.active_count()
    reader.close()
    time.sleep(0.5)
    assert threading.active_count() == before - 2
