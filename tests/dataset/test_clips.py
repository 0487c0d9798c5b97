"""Reading clips: the right frame, the right second of sound, and one clear sentence for whatever is wrong."""

import json
import random
import struct

import av
import numpy as np
import pytest
import soundfile
from helpers import click, make_clip, numbered, read_number, tone, write_genres, write_json, write_sound, write_video
from scipy.signal import resample_poly

from dataset.reading.clips import Clips
from dataset.reading.errors import ClipError
from utils.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """An empty split, ROOT/train."""
    return tmp_path / "set" / "train"


def clips_of(folder, **options):
    """Open a split whose clips are all listed."""
    write_genres(folder)
    return Clips(folder.parent, folder.name, **options)


def stamps(mp4):
    """The times at which the pictures of a video are shown, seconds, from its packets alone."""
    with av.open(str(mp4)) as file:
        return sorted(float(p.pts * p.time_base) for p in file.demux(video=0) if p.pts is not None)


def whole(wav, rate):
    """The oracle for sounds: the whole file in double precision, averaged and resampled at once, int16 units."""
    sound, native = soundfile.read(wav, always_2d=True)
    sound = sound.mean(1)
    if rate != native:
        common = np.gcd(rate, native)
        sound = resample_poly(sound, rate // common, native // common)
    return np.clip(np.rint(sound * 32768), -32768, 32767)


# ----------------------------------------------------------------------------------------------------------- frames

EVERY_40_MS = [k / 25 for k in range(60)]
UNEVEN = [0.0, *np.cumsum(np.random.default_rng(0).choice([1 / 60, 1 / 30, 1 / 12, 0.3], 40)).tolist()]
RHYTHMS = {
    "constant rate": dict(times=EVERY_40_MS),
    "variable rate": dict(times=UNEVEN),
    "variable rate with B-frames": dict(times=UNEVEN, b_frames=3),
    "B-frames and short GOPs": dict(times=EVERY_40_MS, b_frames=3, gop=10),
    "one long GOP": dict(times=EVERY_40_MS, b_frames=2, gop=1000),
    "first picture at 0.7 s": dict(times=[0.7 + t for t in EVERY_40_MS]),
    "first picture at 0.7 s with B-frames": dict(times=[0.7 + t for t in EVERY_40_MS], b_frames=2),
    "slides": dict(times=[0, 1.3, 1.9, 2.0]),
}
# In these a seek ends at a key frame that is shown only after the wanted time.
MUXINGS = {
    "open GOPs": dict(times=EVERY_40_MS, gop=10, b_frames=3, x264="open-gop=1:b-adapt=0:scenecut=0:keyint=10"),
    "B-frames without an edit list": dict(times=EVERY_40_MS, gop=10, b_frames=3, use_editlist="0"),
    "fragments": dict(times=EVERY_40_MS, gop=10, b_frames=3, movflags="frag_keyframe+empty_moov"),
    "index at the front": dict(times=EVERY_40_MS, gop=10, movflags="faststart"),
}  # fmt: skip


@pytest.mark.parametrize("how", [*RHYTHMS.values(), *MUXINGS.values()], ids=[*RHYTHMS, *MUXINGS])
def test_the_frame_at_a_time_is_the_one_shown_then(folder, how):
    pictures = [numbered(k) for k in range(len(how["times"]))]
    write_video(folder / "video" / "a.mp4", pictures, sound=tone(2.4, 16000), **how)
    write_sound(folder / "audio" / "a.wav", tone(2.4, 16000))
    shown = stamps(folder / "video" / "a.mp4")
    if how in RHYTHMS.values():
        assert shown == pytest.approx(how["times"], abs=1e-4)
    with clips_of(folder).open(0) as clip:
        assert clip.first == 0.5 and clip.last == pytest.approx(1.9, abs=0.02)
        times = np.arange(clip.first, clip.last, 0.013).tolist()
        wanted = [max(np.searchsorted(shown, t + 1e-4, "right") - 1, 0) for t in times]
        one_by_one = [clip.frame(t, 32) for t in times]
        together = clip.frames(times, 32)
        backwards = [clip.frame(t, 32) for t in reversed(times)]  # nothing depends on what was read before
    assert [read_number(frame) for frame in one_by_one] == wanted
    assert together.shape == (len(times), 32, 32, 3) and together.dtype == np.uint8
    assert np.array_equal(together, one_by_one) and np.array_equal(together, backwards[::-1])


def test_a_title_in_another_encoding_does_not_matter(folder):
    make_clip(folder, "a")
    video = folder / "video" / "a.mp4"
    assert video.read_bytes().count(b"Lavf") == 1  # the name of the writing program, a text beside the pictures
    video.write_bytes(video.read_bytes().replace(b"Lavf", b"\xff\xfe\xe9\xfc"))
    with clips_of(folder).open(0) as clip:
        assert clip.frame(0.5, 32).shape == (32, 32, 3)


def test_a_frame_may_be_asked_for_at_the_very_time_it_appears(folder):
    """Frames are drawn from multiples of 1 / rate: rounding must not show the one before."""
    for fps in (25, 29.97, 30):
        make_clip(folder, "a", fps=fps)
        with clips_of(folder).open(0) as clip:
            # Time stamps are whole 1 / 90000 s; times are floats that miss them by up to half of that.
            numbers = [read_number(clip.frame(k / fps, 32)) for k in range(20, 40)]
        assert numbers == list(range(20, 40))


def test_a_frame_is_the_whole_picture_resized(folder):
    """Left red, right blue, in a wide picture: both are in the square, and the colours are the right way round."""
    picture = np.zeros((48, 128, 3), np.uint8)
    picture[:, :64, 0], picture[:, 64:, 2] = 255, 255
    make_clip(folder, "a", pictures=[picture] * 50)
    with clips_of(folder).open(0) as clip:
        frame = clip.frame(1.0, 40).astype(int)
    assert frame.shape == (40, 40, 3)
    assert np.abs(frame[:, :18] - [255, 0, 0]).max() < 40 and np.abs(frame[:, 22:] - [0, 0, 255]).max() < 40


# ----------------------------------------------------------------------------------------------------------- sounds


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_every_depth_and_number_of_channels_is_averaged_to_16_bit_mono(folder, subtype, channels):
    sound = np.random.default_rng(0).uniform(-0.9, 0.9, (16000, channels))
    _, wav = make_clip(folder, "a", sound=sound, rate=8000, subtype=subtype)
    with clips_of(folder).open(0) as clip:
        second, all_of_it = clip.sound(1.0, 8000), clip.full_waveform(8000)
    assert second.dtype == all_of_it.dtype == np.int16 and second.shape == (8000,)
    error = np.abs(all_of_it - whole(wav, 8000))
    assert error.max() <= 1 and error.mean() < 0.01  # rounded, not cut off
    assert np.array_equal(second, all_of_it[4000:12000])
    assert np.abs(all_of_it / 32768 - sound.mean(1)).max() < (1 / 128 + 1e-4 if subtype == "PCM_U8" else 1e-4)


@pytest.mark.parametrize(
    ("native", "rate"), [(44100, 16000), (16000, 48000), (48000, 16000), (22050, 48000), (8000, 8000)]
)
def test_resampling_a_second_equals_resampling_the_whole_file(folder, native, rate):
    sound = np.random.default_rng(0).uniform(-0.9, 0.9, round(1.7 * native) + 13)  # noise up to the highest frequency
    _, wav = make_clip(folder, "a", seconds=1.7, sound=sound, rate=native)
    oracle = whole(wav, rate)
    with clips_of(folder).open(0) as clip:
        everything = clip.full_waveform(rate)
        assert abs(len(everything) - len(oracle)) <= 1  # a last, incomplete sample may be left out
        assert np.abs(everything - oracle[: len(everything)]).max() <= 1
        for time in (clip.first, 0.6, 0.7777, 1.0123, clip.last):
            start = min(round((time - 0.5) * rate), len(everything) - rate)
            # To the last bit: whether a second comes from a kept clip or from the file changes nothing.
            assert np.array_equal(clip.sound(time, rate), everything[start : start + rate])


def test_a_second_near_an_end_is_moved_inside_the_clip(folder):
    make_clip(folder, "a")
    with clips_of(folder).open(0) as clip:
        everything = clip.full_waveform(16000)
        for time in (-3.0, 0.0, 0.2, 0.5):
            assert np.array_equal(clip.sound(time, 16000), everything[:16000])
        for time in (1.5, 1.7, 2.0, 9.0):
            assert np.array_equal(clip.sound(time, 16000), everything[-16000:])


@pytest.mark.parametrize(("native", "rate"), [(16000, 16000), (44100, 16000), (16000, 48000)])
@pytest.mark.parametrize("start", [0.0, 0.7])
def test_frame_and_sound_of_one_instant_belong_together(folder, native, rate, start):
    """A click sounds when picture 30 appears: it lies in the middle of that picture's second, to a millisecond."""
    times = [start + k / 25 for k in range(60)]
    make_clip(folder, "a", 3.2, rate=native, times=times, click_at=times[30], b_frames=2, aac=True)
    with clips_of(folder).open(0) as clip:
        assert [read_number(clip.frame(times[30] + early, 32)) for early in (-0.01, 0.0, 0.03)] == [29, 30, 30]
        for shift in (0.0, 0.123, -0.4):
            sound = np.abs(clip.sound(times[30] + shift, rate).astype(float))
            onset = np.argmax(sound > 0.5 * sound.max()) / rate
            assert onset == pytest.approx(0.5 - shift, abs=1e-3)


def test_a_silent_second_of_a_clip_with_sound_is_real_data(folder):
    sound = tone(4, 8000)
    sound[:16000] = 0
    make_clip(folder, "a", 4, sound=sound, rate=8000)
    with clips_of(folder).open(0) as clip:
        assert not clip.sound(1.0, 8000).any() and clip.sound(3.0, 8000).any()


def test_a_loud_float_wav_is_clipped_not_wrapped_around(folder):
    make_clip(folder, "a", sound=1.5 * np.sign(tone(2, 8000)), rate=8000, subtype="FLOAT")
    with clips_of(folder).open(0) as clip:
        assert set(np.unique(clip.sound(1.0, 8000))) <= {-32768, 0, 32767}


# -------------------------------------------------------------------------------------------------------- bad clips


def cut(share):
    """Keep the first `share` of a file's bytes."""
    return lambda path: path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def holding(content):
    """Replace a file's content."""
    return lambda path: path.write_bytes(content)


def muxed(**options):
    """Write the video anew with these options, or without pictures."""

    def write(path):
        write_video(path, [numbered(k) for k in range(50)], sound=tone(2, 16000), **options)

    return write


def without_pictures(path):
    with av.open(str(path), "w", format="mp4") as out:
        audio = out.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.float32(tone(2, 16000))[None], format="fltp", layout="mono")
        frame.sample_rate = 16000
        out.mux(audio.encode(frame))
        out.mux(audio.encode())


def in_turn(*steps):
    def do(path):
        for step in steps:
            step(path)

    return do


def of_unknown_codec(path):
    path.write_bytes(path.read_bytes().replace(b"avc1", b"xqz9"))


def with_a_hole(path, number=30):
    """Zeros in the place of most of one picture, as an incomplete download may leave them."""
    with av.open(str(path)) as file:
        packet = [p for p in file.demux(video=0) if p.size][number]
        start, end = packet.pos + packet.size // 3, packet.pos + packet.size
    content = path.read_bytes()
    path.write_bytes(content[:start] + bytes(end - start) + content[end:])


def with_a_size_of_64_bits(path):
    """The free space before the sound and pictures is there for this form of their size."""
    content = path.read_bytes()
    start = content.find(b"mdat") - 4
    assert content[start - 8 : start] == b"\0\0\0\x08free"
    size = int.from_bytes(content[start : start + 4], "big") + 8
    path.write_bytes(content[: start - 8] + struct.pack(">I4sQ", 1, b"mdat", size) + content[start + 8 :])


def of_rate_0(path):
    content = path.read_bytes()
    path.write_bytes(content[:24] + struct.pack("<I", 0) + content[28:])


def sounding(sound, **options):
    return lambda path: write_sound(path, sound, **options)


def lasting(seconds):
    return lambda path: write_video(path, [numbered(k) for k in range(round(seconds * 25))])


A_TONE = tone(2, 16000)
BAD_VIDEOS = {
    "zero bytes": (holding(b""), "is empty"),
    "garbage": (holding(random.Random(0).randbytes(20000)), "can't be opened as a video"),
    "a web page": (holding(b"<html><body>429 Too Many Requests</body></html>"), "can't be opened as a video"),
    "index at the end, cut in the middle": (cut(0.6), "is truncated"),
    "index at the end, last bytes gone": (cut(0.99), "is truncated"),
    "index in front, cut in the middle": (in_turn(muxed(movflags="faststart"), cut(0.6)), "is truncated"),
    "index in front, last bytes gone": (in_turn(muxed(movflags="faststart"), cut(0.99)), "is truncated"),
    "sizes of 64 bits, cut": (in_turn(with_a_size_of_64_bits, cut(0.9)), "is truncated"),
    "another container, cut": (in_turn(muxed(container="matroska"), cut(0.7)), "is truncated at|is damaged"),
    "fragments, cut": (in_turn(muxed(movflags="frag_keyframe+empty_moov"), cut(0.6)), "is truncated"),
    "sound only": (without_pictures, "has no video stream"),
    "unknown codec": (of_unknown_codec, "has a video stream of an unknown format"),
    "damaged in the middle": (with_a_hole, "is damaged"),
    "shorter than its sound's first half second": (lasting(0.4), "lasts 0.40 s"),
}
BAD_SOUNDS = {
    "zero bytes": (holding(b""), "is empty"),
    "garbage": (holding(random.Random(0).randbytes(20000)), "can't be read as a wav"),
    "header only in part": (cut(0.0003), "can't be read as a wav"),
    "rate of 0": (of_rate_0, "can't be read as a wav"),
    "shorter than a second": (sounding(A_TONE[:15999]), "shorter than one second"),
    "cut to less than a second": (cut(0.3), "lasts 0.60 s, shorter than one second"),
    "no samples": (sounding(A_TONE[:0]), "shorter than one second"),
    "silent": (sounding(0 * A_TONE), "is silent from start to end"),
    "silent in 16 bits": (sounding(1e-6 * A_TONE, subtype="FLOAT"), "is silent from start to end"),
    "channels that cancel out": (sounding(np.stack([A_TONE, -A_TONE], 1)), "is silent from start to end"),
    "not a number": (sounding(np.where(np.arange(32000) == 9000, np.nan, A_TONE), subtype="FLOAT"), "not numbers"),
    "infinite": (sounding(np.where(np.arange(32000) == 9000, np.inf, A_TONE), subtype="DOUBLE"), "not numbers"),
}  # fmt: skip


def is_one_clear_sentence(message, path, clip="bad"):
    """It names the file and the clip, and says what to do."""
    parts = (str(path), f"remove clip {clip}", "--data.on_error skip")
    return all(part in message for part in parts) and "\n" not in message


def read_all(clips, index):
    """Everything that training may ever read of a clip: every frame, and its sounds."""
    with clips.open(index) as clip:
        times = np.arange(clip.first, clip.last, 0.04).tolist()
        clip.frames(times, 32)
        [clip.frame(time, 32) for time in times]
        clip.sound(1.0, 16000)


def read_for_cache(clips, index):
    """What a cache keeps of a clip."""
    with clips.open(index) as clip:
        clip.frames(np.arange(clip.first, clip.last, 0.04).tolist(), 32)
        clip.full_waveform(16000)


@pytest.mark.parametrize(("kind", "ruin", "reason"), [
    *(pytest.param("video", *case, id=f"mp4: {name}") for name, case in BAD_VIDEOS.items()),
    *(pytest.param("audio", *case, id=f"wav: {name}") for name, case in BAD_SOUNDS.items()),
])  # fmt: skip
def test_a_bad_clip_is_refused_in_one_sentence(folder, kind, ruin, reason):
    files = dict(zip(("video", "audio"), make_clip(folder, "bad", aac=True, gop=10), strict=True))
    make_clip(folder, "good")
    ruin(files[kind])
    clips = clips_of(folder)
    with pytest.raises(ClipError, match=reason) as caught:
        read_all(clips, clips.ids.index("bad"))
    assert caught.value.clip == "bad" and is_one_clear_sentence(str(caught.value), files[kind])
    read_all(clips, clips.ids.index("good"))
    with pytest.raises(ClipError, match=reason):
        read_for_cache(clips, clips.ids.index("bad"))


@pytest.mark.parametrize("number", [21, 24, 29])
def test_a_picture_that_the_decoder_had_to_patch_up_is_refused(folder, number):
    """Nor is one that was predicted from it shown, up to the next key frame; all others are as good as ever."""
    mp4, _ = make_clip(folder, "bad")
    muxed(gop=10, x264="scenecut=0")(mp4)
    with_a_hole(mp4, number)
    with clips_of(folder).open(0) as clip:
        for k in [*range(13, number - 1), *range(30, 37)]:
            assert read_number(clip.frame(k / 25, 32)) == k
        for k in range(number, 30):
            with pytest.raises(ClipError, match="is damaged"):
                clip.frame(k / 25, 32)


def test_a_wav_that_ends_early_gives_what_is_there_and_no_zeros(folder):
    _, wav = make_clip(folder, "a", sound=0.5 + 0 * A_TONE)
    cut(0.75)(wav)  # the header still promises 2 s
    with clips_of(folder).open(0) as clip:
        assert clip.last == pytest.approx(1.0, abs=0.01)
        for time in (0.5, clip.last, 1.4):
            assert np.array_equal(clip.sound(time, 16000), np.full(16000, 16384))


def test_a_wav_of_unknown_length_is_read_to_its_end(folder):
    """A program that writes to a pipe can't know the length: it puts the largest number into the header."""
    _, wav = make_clip(folder, "a")
    content, size = wav.read_bytes(), struct.pack("<I", 0xFFFFFFFF)
    wav.write_bytes(content[:4] + size + content[8:40] + size + content[44:])
    with clips_of(folder).open(0) as clip:
        assert clip.last == pytest.approx(1.5, abs=0.01) and len(clip.full_waveform(16000)) == 32000


def test_a_file_that_vanishes_after_the_split_was_opened_is_named(folder):
    files = make_clip(folder, "bad")
    clips = clips_of(folder)
    for path in files:
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(ClipError, match="is missing") as caught:
            read_all(clips, 0)
        assert is_one_clear_sentence(str(caught.value), path)
        path.write_bytes(content)


@pytest.mark.parametrize("start", [0.0, 0.7])
def test_a_video_that_ends_before_its_sound_limits_the_times(folder, start):
    make_clip(folder, "a", 3.0, times=[start + k / 25 for k in range(30)])
    with clips_of(folder).open(0) as clip:
        assert clip.last == pytest.approx(start + 1.2, abs=0.01)
        assert read_number(clip.frame(clip.last, 32)) == 29


def test_a_file_of_another_container_is_read_as_well(folder):
    """Downloads are sometimes named .mp4 whatever they hold."""
    mp4, _ = make_clip(folder, "a")
    muxed(container="matroska", b_frames=2)(mp4)
    with clips_of(folder).open(0) as clip:
        assert [read_number(clip.frame(k / 25, 32)) for k in range(13, 37)] == list(range(13, 37))


def test_a_large_file_with_sizes_of_64_bits_is_read_as_well(folder):
    mp4, _ = make_clip(folder, "a")
    with_a_size_of_64_bits(mp4)
    with clips_of(folder).open(0) as clip:
        assert read_number(clip.frame(1.0, 32)) == 25


# ------------------------------------------------------------------------------------------------------ bad folders


def test_ids_are_sorted_and_labels_and_boxes_follow_them(folder):
    labels = {"b": ["/m/1", "/m/2"], "-a": ["/m/3"], "c": []}
    box = {"time": 0.2, "box": [0, 0.1, 0.5, 1], "label": "/m/1", "sounding": True}
    for clip in labels:
        make_clip(folder, clip)
    write_genres(folder, labels)
    clips = Clips(folder.parent, "train")
    assert clips.ids == ["-a", "b", "c"] and clips.labels == [["/m/3"], ["/m/1", "/m/2"], []] and len(clips) == 3
    assert clips.boxes == {} and clips.skipped == {}
    write_json(folder / "boxes.json", {"b": [box], "c": []})
    assert Clips(folder.parent, "train").boxes == {"b": [box], "c": []}


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("missing", ["video", "audio"])
def test_a_clip_without_one_of_its_files_stops_or_is_left_out(folder, missing, listed):
    files = dict(zip(("video", "audio"), make_clip(folder, "half"), strict=True))
    make_clip(folder, "good")
    files[missing].unlink()
    write_genres(folder, {"good": ["/m/1"], **({"half": ["/m/1"]} if listed else {})})
    with pytest.raises(
        ClipError, match=f"has no {missing} file of clip half: .*remove clip half.*on_error skip"
    ) as caught:
        Clips(folder.parent, "train")
    assert caught.value.clip == "half"
    clips = Clips(folder.parent, "train", on_error="skip")
    assert clips.ids == ["good"] and clips.labels == [["/m/1"]]
    assert list(clips.skipped) == ["half"] and f"no {missing} file" in clips.skipped["half"]
    assert len([path for path in files.values() if path.exists()]) == 1  # nothing of the user's is deleted


def test_a_listed_clip_without_any_file_stops_or_is_left_out(folder):
    make_clip(folder, "good")
    write_genres(folder, {"good": [], "ghost": []})
    with pytest.raises(ClipError, match="has no video and no audio file of clip ghost"):
        Clips(folder.parent, "train")
    assert list(Clips(folder.parent, "train", on_error="skip").skipped) == ["ghost"]


GENRES = {
    "missing": (None, "is missing"),
    "not JSON": ("{'a': []}", "is not valid JSON"),
    "cut short": ('{"good": ["/m/1"', "is not valid JSON"),
    "not text": (b"\xff\xfe\x00", "is not valid JSON"),
    "nested without end": ("[" * 100000, "is not valid JSON"),
    "a list": ('["good"]', "is not a table"),
    "a label that is no list": ('{"good": "/m/1"}', "has an invalid format at 'good'"),
    "labels that are numbers": ('{"good": [1, 2]}', "has an invalid format at 'good'"),
    "one bad entry among good ones": ('{"good": [], "other": null}', "has an invalid format at 'other'"),
    "an id that leads out of the folder": ('{"../good": []}', "has an invalid format at '../good'"),
    "an id with a slash": ('{"a/b": []}', "has an invalid format at 'a/b'"),
    "an id with a backslash": ('{"a\\\\b": []}', "has an invalid format at"),
    "an absolute path": ('{"/etc/passwd": []}', "has an invalid format at"),
    "an empty id": ('{"": []}', "has an invalid format at ''"),
    "the folder itself": ('{"..": []}', "has an invalid format at '..'"),
    "a zero byte": ('{"a\\u0000": []}', "has an invalid format at"),
}


@pytest.mark.parametrize(("content", "reason"), GENRES.values(), ids=GENRES)
def test_a_vid2genre_that_is_not_of_our_form_is_refused(folder, content, reason):
    make_clip(folder, "good")
    path = folder / "vid2genre.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for on_error in ("stop", "skip"):  # no clip is at fault: skipping doesn't help
        with pytest.raises(UserError) as caught:
            Clips(folder.parent, "train", on_error)
        message = str(caught.value)
        assert message.startswith(str(path)) and reason in message and "it must hold id: [mid, ...]" in message
        assert "\n" not in message and len(message) < len(str(path)) + 250


BOX = {"time": 0.0, "box": [0.1, 0.1, 0.2, 0.2], "label": "/m/1", "sounding": True}
BOXES = {
    "not JSON": "{",
    "a list": [BOX],
    "a box alone": {"good": BOX},
    "no time": {"good": [{key: value for key, value in BOX.items() if key != "time"}]},
    "three sides": {"good": [BOX | {"box": [0, 0, 1]}]},
    "sides in words": {"good": [BOX | {"box": ["0", "0", "1", "1"]}]},
    "a side that is no number": {"good": [BOX | {"box": [0, 0, float("nan"), 1]}]},
    "no label": {"good": [BOX | {"label": None}]},
    "sounding in words": {"good": [BOX | {"sounding": "yes"}]},
    "the second box is bad": {"good": [BOX, BOX | {"time": True}]},
}


@pytest.mark.parametrize("content", BOXES.values(), ids=BOXES)
def test_a_boxes_json_that_is_not_of_our_form_is_refused(folder, content):
    make_clip(folder, "good")
    write_genres(folder)
    path = folder / "boxes.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(UserError, match=r'it must hold id: \[\{"time"') as caught:
        Clips(folder.parent, "train")
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_is_named_with_what_to_do(folder, tmp_path):
    with pytest.raises(UserError, match=rf"no dataset folder {tmp_path}/nowhere: .*make_demo_data.*--data.root"):
        Clips(tmp_path / "nowhere", "train")
    make_clip(folder, "a")
    write_genres(folder)
    with pytest.raises(UserError, match=r"has no split 'val': .*set/val is missing"):
        Clips(folder.parent, "val")
    for kind in ("video", "audio"):
        other = tmp_path / kind / "train"
        make_clip(other, "a")
        write_genres(other)
        (other / kind).rename(other / "elsewhere")
        with pytest.raises(UserError, match=rf"{other}/{kind} is missing"):
            Clips(other.parent, "train", on_error="skip")


def test_an_empty_split_is_refused(folder):
    make_clip(folder, "a")
    write_genres(folder, {})
    with pytest.raises(UserError, match=r"set/train is empty"):
        Clips(folder.parent, "train")
    (folder / "audio" / "a.wav").unlink()
    write_genres(folder)
    with pytest.raises(UserError, match=r"set/train is empty"):  # nothing is left after skipping
        Clips(folder.parent, "train", on_error="skip")


def test_files_are_closed_whatever_happens(folder):
    """Thousands of clips are opened in a run; each that stays open is a file handle lost."""
    make_clip(folder, "bad")
    clips = clips_of(folder)
    kept = []
    with clips.open(0) as clip:
        kept.append(clip)
    without_pictures(folder / "video" / "bad.mp4")
    opened = type(clip)("bad", folder / "video" / "bad.mp4", folder / "audio" / "bad.wav")
    kept.append(opened)
    with pytest.raises(ClipError), opened:
        pass
    for clip in kept:
        assert clip._wav.closed
        with pytest.raises((AssertionError, av.FFmpegError, ValueError)):
            next(clip._container.demux())


def test_click_helper_puts_its_click_where_it_says():
    sound = click(2, 16000, 1.25)
    assert np.flatnonzero(sound > 0.5)[[0, -1]].tolist() == [20000, 20015]
