"""Reading clips: the right frame, the right second of sound."""

import av
import librosa
import numpy as np
import pytest
import soundfile
from clip_cases import clips_of
from helpers import click, make_clip, numbered, read_number, tone, write_sound, write_video


def stamps(mp4):
    """The times at which the pictures of a video are shown, seconds, from its packets alone."""
    with av.open(str(mp4)) as file:
        return sorted(float(p.pts * p.time_base) for p in file.demux(video=0) if p.pts is not None)


def whole(wav, rate):
    """The oracle for sounds: the whole file in double precision, averaged and resampled at once, int16 units."""
    sound, native = soundfile.read(wav, always_2d=True)
    sound = sound.mean(1)
    if rate != native:
        padded = np.pad(sound, native)
        sound = librosa.resample(padded, orig_sr=native, target_sr=rate, res_type="soxr_vhq")[rate:-rate]
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


# ------------------------------------------------------------------------------------------------------ bad folders


def test_click_helper_puts_its_click_where_it_says():
    sound = click(2, 16000, 1.25)
    assert np.flatnonzero(sound > 0.5)[[0, -1]].tolist() == [20000, 20015]
