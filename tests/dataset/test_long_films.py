"""Long films: every reader and writer takes the memory of a few seconds, however long the film is."""

import resource
import subprocess
import sys
import tracemalloc
from math import inf
from pathlib import Path

import av
import numpy as np
import pytest
from helpers import numbered, write_genres

from dataset.loading.cache import ClipCache
from dataset.making.checks.clip_checks import check_clip
from dataset.making.clips.cut import cut_clip
from dataset.making.shards.shard_writer import ShardClip, ShardJob, ShardSettings, build_shard
from dataset.pairs import PairDataset
from dataset.reading.audio import AudioReader
from dataset.reading.clips import Clips
from dataset.reading.errors import ClipError
from dataset.reading.media import stream_audio
from dataset.reading.media_folder import MediaItem
from dataset.reading.moments import iter_moments
from dataset.reading.wav import write_wav

RATE = 16000
MINUTES = 1, 4
MAX_GROWTH = 2.5e6  # bytes. Three minutes of sound at 48 kHz are 17 MB as int16 and 35 MB as float
LIMIT = 500  # of a process, MB


def write_film(path, minutes):
    """Write a film of noise and of one small frame a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", format="mp4") as out:
        video = out.add_stream("libx264", rate=1, options={"preset": "ultrafast", "g": "20", "threads": "1"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = out.add_stream("aac", rate=RATE, layout="mono")
        for second in range(60 * minutes):
            out.mux(video.encode(av.VideoFrame.from_ndarray(numbered(second % 4096), format="rgb24")))
            block = rng.uniform(-0.3, 0.3, (1, RATE)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = RATE, second * RATE
            out.mux(audio.encode(frame))
        out.mux(video.encode())
        out.mux(audio.encode())


def take_sound(split):
    write_wav(split / "x.wav", stream_audio(split / "video" / "a.mp4"))


def cut(split):
    mp4 = split / "video" / "a.mp4"
    cut_clip(mp4, mp4, 0.0, inf, split / "x.mp4", split / "x.wav", fps=0)


def check(split):
    assert check_clip("a", split / "video" / "a.mp4", split / "audio" / "a.wav").kind == "ok"


def build(split):
    settings = ShardSettings(fps=1.0, size=48, square=True, quality=90, rate=RATE, clips=1)
    build_shard(split, split, ShardJob("0", 0, [ShardClip("a", [], [], 0, 0)], "", {}), settings, "stop")


def embed(split):
    mp4 = split / "video" / "a.mp4"
    for _ in iter_moments(MediaItem(mp4.name, "video", mp4.name, mp4.parent), 48, 48000):
        pass


def train(split):
    write_genres(split)
    pairs = PairDataset(Clips(split.parent, "train"), 48, 48000, 0.2, cache_gb=0.002)
    assert all("error" not in pairs[epoch, 0] for epoch in range(3))


def look_for_sound(split):
    """A wav is read to its end to find that it is silent."""
    wav = split / "silent.wav"
    with AudioReader("a", split / "audio" / "a.wav") as clip:
        write_wav(wav, (0 * part for part in clip.stream_waveform(RATE)), RATE)
    with AudioReader("a", wav) as clip, pytest.raises(ClipError, match="silent"):
        clip.sound(0.5, 48000)


DOORS = (take_sound, cut, check, build, embed, train, look_for_sound)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Split folders of one clip: {minutes: folder}."""
    root = tmp_path_factory.mktemp("films")
    folders = {minutes: root / str(minutes) / "train" for minutes in MINUTES}
    for minutes, folder in folders.items():
        write_film(folder / "video" / "a.mp4", minutes)
        (folder / "audio").mkdir()
        write_wav(folder / "audio" / "a.wav", stream_audio(folder / "video" / "a.mp4"))
    return folders


@pytest.mark.parametrize("door", DOORS)
def test_memory_does_not_grow_with_the_length_of_a_film(films, door):
    peaks = []
    for folder in films.values():
        tracemalloc.start()
        door(folder)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < MAX_GROWTH


def test_the_streamed_sound_is_that_of_the_whole(films):
    with AudioReader("a", films[1] / "audio" / "a.wav") as clip:
        parts = list(clip.stream_waveform(RATE))
        assert max(map(len, parts)) <= 10 * RATE
        assert np.array_equal(np.concatenate(parts), clip.waveform(0, clip.num_samples(RATE), RATE))


def test_the_cache_refuses_a_film_before_it_is_decoded(films):
    cache = ClipCache(1, 0.001)
    assert cache.worth_filling(0, 10**6) and not cache.worth_filling(0, 10**6 + 1)


# ---------------------------------------------------------------------------------------------------- three hours


@pytest.fixture(scope="module")
def three_hours(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long") / "train"
    write_film(folder / "video" / "a.mp4", 180)
    (folder / "audio").mkdir()
    write_wav(folder / "audio" / "a.wav", stream_audio(folder / "video" / "a.mp4"))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS)
def test_three_hours_take_less_than_500_mb(three_hours, door):
    """In a process of its own; torch, which training imports, is not counted."""
    code = f"import test_long_films as t; t.measure(t.{door.__name__}, {str(three_hours)!r})"
    here = Path(__file__).resolve()
    places = [str(here.parents[2]), str(here.parents[1]), str(here.parent)]
    done = subprocess.run([sys.executable, "-c", f"import sys; sys.path[:0] = {places}; {code}"], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert float(done.stdout) < LIMIT


def measure(door, folder):
    """Print by how many MB the peak of this process grows."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    door(Path(folder))
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
