"""Moments of files of any length: a row's time is the midpoint of its second, its frame is the one shown then."""

import numpy as np
import pytest
import soundfile
from helpers import numbered, read_number, tone, write_sound, write_video
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dataset.reading.audio import AudioReader
from dataset.reading.errors import MediaError
from dataset.reading.media_folder import KIND_OF_SUFFIX, MediaItem, sound_around
from dataset.reading.moments import iter_moments

RATE = 8000
FPS = 10


def item(path, sound=None):
    return MediaItem(path.name, KIND_OF_SUFFIX[path.suffix], (sound or path).name, path.parent)


def ramp(count):
    """Samples that tell their own number: (count,) int16, from 1 on."""
    return (np.arange(count) % 32000 + 1).astype(np.int16)


def written(path, count, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, ramp(count), rate, subtype="PCM_16")
    return path


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(RATE, 6 * RATE), hop=st.sampled_from([0.04, 0.3, 0.5, 0.75, 1.0, 1.3, 2.0, 5.0]))
@example(count=2 * RATE + RATE // 2, hop=1.0)  # a remainder of exactly half a second
@example(count=2 * RATE + RATE // 2 - 1, hop=1.0)
@example(count=RATE, hop=0.04)
@example(count=RATE + 1, hop=1.0)
def test_times_are_midpoints_and_the_rows_cover_the_sound(tmp_path, count, hop):
    samples = ramp(count)
    found = list(iter_moments(item(written(tmp_path / "x.wav", count)), 32, RATE, hop))
    begins = [round((moment.time - 0.5) * RATE) for moment in found]
    for begin, moment in zip(begins, found, strict=True):  # the second is the one around its time, nothing is padded
        assert 0 <= begin <= count - RATE
        assert np.array_equal(moment.sound, samples[begin : begin + RATE])
    grid = [round(k * hop * RATE) for k in range(1000) if round(k * hop * RATE) + RATE <= count]
    assert begins[: len(grid)] == grid and len(begins) - len(grid) in (0, 1)
    assert begins == sorted(set(begins))
    left = count - (grid[-1] + RATE)
    if hop <= 1.0 and left * 2 >= RATE:  # half a second or more: the last second has a row
        assert begins[-1] == count - RATE
    if hop <= 1.0:
        covered = np.zeros(count, bool)
        for begin in begins:
            covered[begin : begin + RATE] = True
        assert (~covered).sum() * 2 < RATE and covered[: begins[-1] + RATE].all()


@pytest.mark.parametrize(
    ("seconds", "times"),
    [(2.4, [0.5, 1.5]), (2.5, [0.5, 1.5, 2.0]), (2.6, [0.5, 1.5, 2.1]), (3.0, [0.5, 1.5, 2.5]), (1.0, [0.5])],
)
def test_a_video_with_and_without_sound_has_the_same_times(tmp_path, seconds, times):
    pictures = [numbered(k) for k in range(round(seconds * FPS))]
    write_video(tmp_path / "mute.mp4", pictures, fps=FPS)
    write_video(tmp_path / "x.mp4", pictures, fps=FPS)
    written(tmp_path / "x.wav", round(seconds * RATE))
    mute = list(iter_moments(item(tmp_path / "mute.mp4"), 48, RATE))
    both = list(iter_moments(item(tmp_path / "x.mp4", tmp_path / "x.wav"), 48, RATE))
    for found in (mute, both):
        assert [moment.time for moment in found] == pytest.approx(times, abs=1e-4)
        # The frame shown at a time: of 10 a second, number k from k / 10 s on.
        assert [read_number(moment.frame) for moment in found] == [int(time * FPS + 1e-6) for time in times]
    for moment in both:  # what the search page plays is what was embedded
        heard = sound_around(item(tmp_path / "x.wav"), moment.time)[:: 48000 // RATE][100:-100]
        assert np.abs(heard.astype(int) - moment.sound[100:-100]).max() < 40


def test_frames_of_a_short_hop_have_one_last_moment(tmp_path):
    write_video(tmp_path / "mute.mp4", [numbered(k) for k in range(23)], fps=FPS)
    found = list(iter_moments(item(tmp_path / "mute.mp4"), 48, RATE, 0.25))
    assert [moment.time for moment in found] == pytest.approx([0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 1.8])
    assert [read_number(moment.frame) for moment in found] == [5, 7, 10, 12, 15, 17, 18]


def test_a_video_that_lasts_longer_than_its_sound_goes_on_with_frames_alone(tmp_path):
    write_video(tmp_path / "x.mp4", [numbered(k) for k in range(40)], fps=FPS)
    written(tmp_path / "x.wav", round(1.6 * RATE))
    found = list(iter_moments(item(tmp_path / "x.mp4", tmp_path / "x.wav"), 48, RATE))
    assert [moment.time for moment in found] == pytest.approx([0.5, 1.1, 2.5, 3.5])
    assert [read_number(moment.frame) for moment in found] == [5, 11, 25, 35]
    assert [moment.sound is not None for moment in found] == [True, True, False, False]
    assert np.array_equal(found[1].sound, ramp(round(1.6 * RATE))[-RATE:])


def test_a_sound_that_lasts_longer_than_its_video_goes_on_alone(tmp_path):
    write_video(tmp_path / "x.mp4", [numbered(k) for k in range(12)], fps=FPS)
    written(tmp_path / "x.wav", round(3.7 * RATE))
    found = list(iter_moments(item(tmp_path / "x.mp4", tmp_path / "x.wav"), 48, RATE))
    assert [moment.time for moment in found] == pytest.approx([0.5, 1.5, 2.5, 3.2])
    assert [moment.frame is None for moment in found] == [False, True, True, True]


# ------------------------------------------------------------------------------------------------------------ padding


@pytest.mark.parametrize("seconds", [0.004, 0.3, 0.999])
@pytest.mark.parametrize("rate", [RATE, 44100])
def test_a_short_sound_is_refused_or_padded_at_its_end(tmp_path, seconds, rate):
    path = written(tmp_path / "x.wav", round(seconds * rate), rate)
    with pytest.raises(MediaError, match="of sound, less than 1 s") as refused:
        list(iter_moments(item(path), 32, RATE))
    assert refused.value.kind == "short"
    (found,) = iter_moments(item(path), 32, RATE, pad=True)
    assert found.time == 0.5 and found.sound.shape == (RATE,) and found.sound[: int(seconds * RATE)].any()
    assert not found.sound[round(seconds * RATE) + 200 :].any()  # beyond the filter of the resampler
    if rate == RATE:
        assert np.array_equal(found.sound[: round(seconds * RATE)], ramp(round(seconds * RATE)))


def test_longer_sounds_are_not_padded(tmp_path):
    path = written(tmp_path / "x.wav", round(2.3 * RATE))
    plain, padded = (list(iter_moments(item(path), 32, RATE, pad=pad)) for pad in (False, True))
    assert [moment.time for moment in plain] == [moment.time for moment in padded] == [0.5, 1.5]


def test_a_short_video_keeps_its_last_frame_with_padding(tmp_path):
    write_video(tmp_path / "x.mp4", [numbered(k) for k in range(3)], fps=FPS)
    written(tmp_path / "x.wav", round(0.3 * RATE))
    for one, has_sound in ((item(tmp_path / "x.mp4", tmp_path / "x.wav"), True), (item(tmp_path / "x.mp4"), False)):
        with pytest.raises(MediaError, match=r"frames for 0.30 s, less than 0.5 s"):
            list(iter_moments(one, 48, RATE))
        (found,) = iter_moments(one, 48, RATE, pad=True)
        assert (found.time, read_number(found.frame), found.sound is not None) == (0.5, 2, has_sound)


def test_what_is_too_short_beside_the_other_is_said(tmp_path):
    write_video(tmp_path / "x.mp4", [numbered(k) for k in range(8)], fps=FPS)
    written(tmp_path / "x.wav", round(0.8 * RATE))
    said = []
    (found,) = iter_moments(item(tmp_path / "x.mp4", tmp_path / "x.wav"), 48, RATE, on_left_out=said.append)
    assert found.sound is None and read_number(found.frame) == 5 and said == ["lasts 0.80 s, shorter than one second"]
    write_video(tmp_path / "y.mp4", [numbered(k) for k in range(3)], fps=FPS)
    write_sound(tmp_path / "y.wav", tone(2, RATE), RATE)
    said.clear()
    found = list(iter_moments(item(tmp_path / "y.mp4", tmp_path / "y.wav"), 48, RATE, on_left_out=said.append))
    assert len(found) == 2 and said == ["shows frames for 0.30 s, less than 0.5 s"]
    said.clear()
    write_video(tmp_path / "mute.mp4", [numbered(k) for k in range(30)], fps=FPS)
    list(iter_moments(item(tmp_path / "mute.mp4"), 48, RATE, on_left_out=said.append))
    assert said == []  # it has no sound that could be left out


def test_a_sound_of_an_absurd_rate_is_refused_at_once(tmp_path):
    """A file of 35 KB at 1 Hz lasts five hours, and each second is resampled from 320 s."""
    written(tmp_path / "x.wav", 17_600, 1)
    with pytest.raises(MediaError, match="has a sample rate of 1 Hz: 1,000 to 1,000,000 Hz are read"):
        list(iter_moments(item(tmp_path / "x.wav"), 32, RATE))
    with pytest.raises(MediaError, match="has a sample rate of 1 Hz"), AudioReader("x", tmp_path / "x.wav"):
        pass
