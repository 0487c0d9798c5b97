"""Every place that resamples a sound, judged by tones: what must remain, and what must not come back as an alias."""

import re
import threading
from pathlib import Path
from types import SimpleNamespace

import librosa
import numpy as np
import pytest
from clip_cases import clips_of
from helpers import make_clip, numbered, write_genres, write_sound, write_video

from collection.search_index import SearchIndex
from configs.schema import Mix
from data import build_shards
from dataset.making.checks.clip_checks import check_clip
from dataset.making.checks.sync import COMPARE_RATE, read_track
from dataset.making.clips.cut import cut_clip
from dataset.making.shards.shard_writer import ShardSettings
from dataset.mixes import MixtureDataset
from dataset.pairs import PairDataset
from dataset.reading.audio import AudioReader, filter_margin, resample, resample_part, to_int16
from dataset.reading.media import read_audio
from dataset.reading.media_folder import MediaItem
from dataset.reading.moments import iter_moments
from dataset.reading.shards import ShardedClips

SECONDS = 2.0
AMPLITUDE = 0.5
KEPT = (0.02, 0.5, 0.85, 0.9)  # of the lower Nyquist frequency
REMOVED = (1.02, 1.05, 1.1, 1.3, 1.7, 1.98)


def sine(frequency, rate, seconds=SECONDS):
    return AMPLITUDE * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate + 0.3)


def decibels(sound, frequency=None, rate=1):
    """Level of a tone in int16 samples, or of all of the middle, relative to a tone of AMPLITUDE."""
    middle = sound[len(sound) // 4 : -len(sound) // 4].astype(float) / 32768
    if frequency is None:
        return 10 * np.log10(2 * np.mean(np.square(middle)) / AMPLITUDE**2 + 1e-15)
    window = np.hanning(len(middle))
    phase = np.exp(-2j * np.pi * frequency / rate * np.arange(len(middle)))
    return 20 * np.log10(2 * np.abs(np.sum(middle * window * phase)) / window.sum() / AMPLITUDE)


def from_reader(wav, rate):
    with AudioReader("a", wav) as reader:
        return reader.waveform(0, reader.num_samples(rate), rate)


def from_seconds(wav, rate):
    with AudioReader("a", wav) as reader:
        return reader.sound(1.0, rate)


def from_pairs(wav, rate):
    return PairDataset(clips_of(wav.parents[1]), 32, rate, 0.2)[0, 0]["sound"]


def from_mixes(wav, rate):
    data = SimpleNamespace(resize_size=32, sample_rate=rate, frame_step=0.2)
    return MixtureDataset(clips_of(wav.parents[1]), data, Mix(samples=rate, frames=1), middle=True)[0, 0]["sound"]


def from_shards(wav, rate):
    """Stored at `rate`; a test of the shards compares what they resample themselves."""
    split, target = wav.parents[1], wav.parents[2] / "shards"
    write_genres(split)
    settings = ShardSettings(fps=5, size=32, square=True, quality=90, rate=rate, clips=1)
    build_shards.build(split.parent, target, settings, 1, "stop")
    with ShardedClips(target, split.name).open(0) as clip:
        return clip.full_waveform(rate)


def from_embedding(wav, rate):
    return np.concatenate([m.sound for m in iter_moments(MediaItem(wav.name, "sound", wav.name, wav.parent), 32, rate)])


def from_search(wav, rate):
    """The search page decodes a second at 48 kHz and gives it to the net at the net's rate."""
    heard = []
    index = SearchIndex.__new__(SearchIndex)
    index.rate, index._embedding = rate, threading.Lock()
    index.net = SimpleNamespace(embed_sounds=lambda sounds: heard.append(sounds[0]) or [None])
    index._embed_sound(read_audio(wav))
    return heard[0]


def from_import(wav, rate):
    assert rate == 48000
    return read_audio(wav)


def from_cut(wav, rate):
    assert rate == 48000
    mp4 = wav.parents[1] / "video" / f"{wav.stem}.mp4"
    out = [wav.parent / name for name in ("cut.mp4", "cut.wav")]
    cut_clip(mp4, wav, 0.0, SECONDS, *out)
    return from_reader(out[1], rate)


def from_check(wav, rate):
    """The sound track of a video, which `check_clip` compares with the wav."""
    assert rate == COMPARE_RATE
    return to_int16(read_track(wav, 0.0, SECONDS))


DOORS = [
    (from_reader, 48000, 16000),
    (from_reader, 44100, 16000),
    (from_reader, 44056, 11025),
    (from_reader, 96000, 48000),
    (from_seconds, 44100, 11025),
    (from_pairs, 48000, 16000),
    (from_mixes, 44100, 11025),
    (from_shards, 48000, 16000),
    (from_embedding, 44100, 16000),
    (from_search, 48000, 16000),
    (from_import, 192000, 48000),
    (from_cut, 96000, 48000),
    (from_check, 44100, 16000),
]


@pytest.mark.parametrize(("door", "native", "rate"), DOORS, ids=[f"{d.__name__}-{n}-{r}" for d, n, r in DOORS])
def test_tones_remain_and_nothing_comes_back_as_an_alias(folder, door, native, rate):
    pictures = [numbered(0)] * 10
    for number, share in enumerate(KEPT + REMOVED):
        place = folder.parent / str(number) / "train"
        frequency = share * rate / 2
        wav = place / "audio" / "a.wav"
        write_sound(wav, sine(frequency, native), native, "PCM_24")
        write_video(place / "video" / "a.mp4", pictures, fps=5)
        sound = door(wav, rate)
        assert len(sound) >= rate and sound.dtype == np.int16
        if share < 1:
            assert decibels(sound, frequency, rate) == pytest.approx(0, abs=0.02), share
        else:
            assert decibels(sound) < -80, share


@pytest.mark.parametrize(("native", "rate"), [(8000, 48000), (11025, 16000), (22050, 48000), (44100, 48000)])
def test_a_higher_rate_adds_no_image_of_a_tone(tmp_path, native, rate):
    for share in (0.1, 0.9):
        frequency = share * native / 2
        write_sound(tmp_path / "a.wav", sine(frequency, native), native, "FLOAT")
        sound = from_reader(tmp_path / "a.wav", rate)
        assert decibels(sound, frequency, rate) == pytest.approx(0, abs=0.02)
        middle = slice(rate // 4, -rate // 4)
        phase = 2 * np.pi * frequency * np.arange(len(sound))[middle] / rate + 0.3
        tone, heard = np.stack([np.sin(phase), np.cos(phase)], 1), sound[middle] / 32768
        (gain, shifted), *_ = np.linalg.lstsq(tone, heard, rcond=None)
        assert abs(shifted / gain) < 1e-4  # no delay
        assert decibels(32768 * (heard - tone @ [gain, shifted])) < -80  # and nothing else


def resample_between_silence(sound, native, rate):
    """The oracle: librosa's resampling of the whole sound at once, with seconds of silence before and after it."""
    padded = np.pad(sound.astype(float), 2 * native)
    whole = librosa.resample(padded, orig_sr=native, target_sr=rate, res_type="soxr_vhq")
    return whole[2 * rate :][: -(-len(sound) * rate // native)]


RATES = [
    *((48000, 16000), (44100, 16000), (22050, 48000), (11025, 48000), (8000, 48000), (96000, 48000), (384000, 16000)),
    *((44056, 16000), (1000, 48000), (37800, 11025), (16000, 44100), (192000, 8000), (44101, 48000), (47999, 16000)),
]


@pytest.mark.parametrize(("native", "rate"), RATES)
def test_a_part_is_the_same_to_the_last_bit_as_in_the_whole(native, rate):
    sound = np.random.default_rng(0).uniform(-1.1, 1.1, round(3.3 * native)).astype(np.float32)
    whole = to_int16(resample(sound, native, rate))
    assert np.abs(whole - to_int16(resample_between_silence(sound, native, rate)).astype(int)).max() <= 1
    assert len(whole) == -(-len(sound) * rate // native)

    def read(start, count):
        assert count <= native + 2 * filter_margin(native, rate)  # what is read at once is bounded
        out = np.zeros(count, np.float32)
        low, high = max(start, 0), max(min(start + count, len(sound)), 0)
        out[low - start : high - start] = sound[low:high]
        return out

    for start in (0, 1, 777, rate // 2 + 13, 2 * rate + 1, len(whole) - rate):
        assert np.array_equal(resample_part(read, start, rate, native, rate), whole[start : start + rate])


def test_short_sounds_keep_their_length():
    for native, rate in RATES:
        for count in (0, 1, 2, 7):
            assert len(resample(np.ones(count, np.float32), native, rate)) == -(-count * rate // native)


def test_a_wav_at_another_rate_is_in_step_with_its_video(folder):
    for native in (8000, 22050, 44100, 48000, 96000):
        noise = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * native)
        mp4, wav = make_clip(folder, "a", seconds=3, sound=noise, rate=native, aac=True)
        result = check_clip("a", mp4, wav)
        assert result.kind == "ok" and abs(result.offset_ms) < 0.1, native


def test_no_other_place_resamples_sound():
    root = Path(__file__).parents[2]
    others = re.compile(r"\bsoxr\.|resample_poly|signal\.resample|AudioResampler|librosa\.resample|\baresample\b")
    files = [path for name in ("*.py", "*/*.py", "*/*/*.py") for path in root.glob(name)]
    found = [path.relative_to(root).as_posix() for path in files if path.parts[len(root.parts)] != "tests"]
    users = [name for name in found if others.search((root / name).read_text(encoding="utf-8"))]
    users = sorted(name for name in users if not name.startswith((".", "runs")))
    speed = (
        "dataset/making/checks/repair.py"  # plays a sound slightly faster, with the same library at the same quality
    )
    assert [name for name in users if name != speed] == ["dataset/reading/audio.py"]
