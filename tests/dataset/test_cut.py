"""Cutting clips out of videos of every form: each picture and each sound stays at its own time."""

from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile
from helpers import numbered, read_number, tone, write_video

from dataset.making.clips.cut import cut_clip
from dataset.reading.audio import SAMPLE_RATE
from dataset.reading.clip_reader import ClipReader
from dataset.reading.errors import MediaError
from dataset.reading.media import read_audio

EVERY_40_MS = [k / 25 for k in range(150)]
UNEVEN = np.cumsum([0, *np.random.default_rng(1).choice([1 / 60, 1 / 30, 1 / 12, 0.3], 80)]).tolist()
CLICKS = (0.75, 3.5, 5.123)  # seconds


def clicks(seconds, rate, at=CLICKS):
    """A murmur with short bursts that begin at these times: (samples,) float."""
    wave = 0.01 * np.sin(np.arange(round(seconds * rate)) * 0.05)
    count = round(0.004 * rate)
    for first in (round(time * rate) for time in at if time + 0.01 < seconds):
        wave[first : first + count] += 0.8 * np.sin(np.arange(count) * 2 * np.pi * 1500 / rate)
    return wave


def onset(sound, rate, near):
    """When the burst nearest to `near` begins, seconds."""
    first = max(round((near - 0.1) * rate), 0)
    part = np.abs(sound[first : round((near + 0.1) * rate)])
    return (first + np.argmax(part > 0.35 * part.max())) / rate


def make_source(
    path, container, times=EVERY_40_MS, sound_from=0.0, rate=48000, channels=1, codecs=("libx264", "aac"),
    gop=250, b_frames=0, size=(64, 48), seconds=6.2, ratio=None, **options
):  # fmt: skip
    """Write a video whose picture k, numbered k, is shown from times[k] on, and that clicks at CLICKS.

    Args:
        sound_from: when the sound begins, seconds. ratio: shape of the pixels.
    """
    encoding = {"g": str(gop), "bf": str(b_frames), "threads": "1"}
    encoding |= {"libx264": {"preset": "veryfast"}, "mpeg4": {}}.get(
        codecs[0], {"deadline": "realtime", "cpu-used": "8"}
    )
    clock = Fraction(1, 25) if codecs[0] == "mpeg4" else Fraction(1, 90000)  # seconds a tick
    with av.open(str(path), "w", format=container, options=options) as out:
        video = out.add_stream(codecs[0], rate=25, options=encoding)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        video.codec_context.time_base = clock
        if ratio:
            video.codec_context.sample_aspect_ratio = ratio
        layout = "stereo" if channels == 2 else "mono"
        audio = out.add_stream(codecs[1], rate=rate, layout=layout, options={"b": "192k", "strict": "-2"})
        packets = []
        for k, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(numbered(k, size), format="rgb24")
            frame.pts, frame.time_base = round(time / clock), clock
            packets += video.encode(frame)
        packets += video.encode()
        wave = clicks(seconds, rate)[round(sound_from * rate) :].astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.stack([wave] * channels), format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, round(sound_from * rate), Fraction(1, rate)
        packets += audio.encode(frame)
        packets += audio.encode()
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):  # as files are: the two side by side
            out.mux(packet)
    return path


WEBM = dict(container="webm", codecs=("libvpx-vp9", "libopus"))
SOURCES = {
    "mp4": dict(container="mp4"),
    "mp4, 29.97 fps, 44.1 kHz stereo": dict(
        container="mp4", times=[k * 1001 / 30000 for k in range(185)], rate=44100, channels=2
    ),
    "mp4, uneven, one long GOP with B-frames": dict(container="mp4", times=UNEVEN, gop=1000, b_frames=3),
    "mp4, pictures from 0.5 s": dict(container="mp4", times=[0.5 + t for t in EVERY_40_MS], b_frames=2),
    "mp4, sound from 0.3 s": dict(container="mp4", sound_from=0.3, rate=44100),
    "mp4, fragments": dict(container="mp4", movflags="frag_keyframe+empty_moov", gop=30, b_frames=2),
    "mkv, 44.1 kHz": dict(container="matroska", rate=44100, b_frames=3),
    "mp4, pictures from 0.5 s, sound from 0.3 s": dict(
        container="mp4", times=[0.5 + t for t in EVERY_40_MS], sound_from=0.3
    ),
    "mkv, uneven, pictures from 0.5 s, sound from 0.3 s": dict(
        container="matroska", times=[0.5 + t for t in UNEVEN], sound_from=0.3
    ),
    "mkv, sound from 0.3 s": dict(container="matroska", sound_from=0.3, rate=44100, channels=2),
    "webm, 29.97 fps": dict(**WEBM, times=[k * 1001 / 30000 for k in range(185)]),
    "webm, sound from 0.3 s": dict(**WEBM, sound_from=0.3),
    "webm, Vorbis": dict(container="webm", codecs=("libvpx", "vorbis"), rate=44100, channels=2),
    "ts": dict(container="mpegts", gop=30, b_frames=2),
    "ts, pictures from 0.5 s": dict(container="mpegts", times=[0.5 + t for t in EVERY_40_MS], gop=1000),
    "ts, sound from 0.3 s": dict(container="mpegts", sound_from=0.3, b_frames=3, rate=44100),
    "avi": dict(container="avi", codecs=("mpeg4", "pcm_s16le"), rate=44100),
    "flv": dict(container="flv", rate=44100, b_frames=2),
}
CUTS = [(25, 0.0, 4.0), (0, 0.217, 2.3), (25, 3.217, 5.9), (0, 2.0, np.inf)]  # fps, start, end


@pytest.fixture(scope="module", params=SOURCES, ids=SOURCES.keys())
def source(request, tmp_path_factory):
    """(path, time of each picture, correction of the clock)."""
    how = SOURCES[request.param]
    path = make_source(tmp_path_factory.mktemp("source") / how["container"], **how)
    times = how.get("times", EVERY_40_MS)
    # A muxer may move all streams by the encoder's delay. And what a file without an absolute clock begins with, be it
    # the encoder's lead-in of some samples, players show at time 0.
    with av.open(str(path)) as file:
        first = min(p.pts * p.time_base for p in file.demux(video=0) if p.pts is not None)
        absolute = how["container"] in ("mp4", "matroska", "webm")
        shift = float(first) - times[0] - (0 if absolute else file.start_time / 1e6)
    return path, times, shift


def own_sound(mp4):
    """The sound track of an mp4 by its absolute time stamps, read independently: (samples,), rate."""
    out = np.zeros(20 * SAMPLE_RATE)
    with av.open(str(mp4)) as file:
        for frame in file.decode(audio=0):
            values = frame.to_ndarray()[0]
            first = round(frame.time * SAMPLE_RATE)
            out[max(first, 0) : first + len(values)] = values[max(-first, 0) :]
    return out


@pytest.mark.parametrize(("fps", "start", "end"), CUTS)
def test_every_picture_and_every_click_stays_at_its_time(source, tmp_path, fps, start, end):
    path, times, shift = source
    times = np.array(times) + shift
    slack = 0.0 if path.name in ("mp4", "mpegts", "avi") else 1e-3  # the others round times to a millisecond
    mp4, wav = tmp_path / "a.mp4", tmp_path / "a.wav"
    seconds = cut_clip(path, path, start, end, mp4, wav, fps=fps)
    assert seconds == pytest.approx(min(end, times[-1] + 0.04, 6.2 + shift) - start, abs=0.09)
    sound, rate = soundfile.read(wav)
    assert rate == 48000 and sound.ndim == 1 and len(sound) / rate == pytest.approx(seconds, abs=1e-3)
    track = own_sound(mp4)
    for at in CLICKS:
        if 0.05 < at + shift - start < seconds - 0.05:
            assert onset(sound, rate, at + shift - start) == pytest.approx(at + shift - start, abs=2e-3)
            assert onset(track, SAMPLE_RATE, at + shift - start) == pytest.approx(at + shift - start, abs=2e-3)
    with ClipReader("a", mp4, wav) as clip:
        if fps:
            wanted = np.arange(np.ceil(max(times[0] - start, 0.0) * 25), seconds * 25 - 1) / 25
            true = np.searchsorted(times, start + wanted + 6e-4, "right") - 1
            early = np.searchsorted(times, start + wanted - 6e-4, "right") - 1
        else:
            shown = np.flatnonzero((times > start + 2e-3) & (times < start + seconds - 2e-3))
            wanted = times[shown] - start + slack
            true, early = shown, shown
        found = [read_number(picture) for picture in clip.frames(wanted.tolist(), 32)]
        assert all(f in (a, b) for f, a, b in zip(found, true, early, strict=True)), (found, true)


def test_picture_and_sound_may_come_from_two_files(tmp_path):
    """As downloads in the best small formats do."""
    picture = make_source(tmp_path / "a", "mp4", b_frames=2)
    sound = make_source(tmp_path / "b", **WEBM, times=EVERY_40_MS[:10])
    cut_clip(picture, sound, 3.217, 5.217, tmp_path / "a.mp4", tmp_path / "a.wav")
    heard, rate = soundfile.read(tmp_path / "a.wav")
    assert onset(heard, rate, 0.283) == pytest.approx(0.283, abs=2e-3)
    with ClipReader("a", tmp_path / "a.mp4", tmp_path / "a.wav") as clip:
        assert read_number(clip.frame(1.0, 32)) == int(4.217 * 25)


def test_the_mp4_is_small_square_and_sought_fast(tmp_path):
    """At most 360 lines, pixels made square, a key frame each second, whatever the rhythm of the source."""
    path = make_source(tmp_path / "a", "mp4", size=(720, 540), ratio=Fraction(4, 3), times=UNEVEN[:40], b_frames=2)
    for fps in (25, 0):
        cut_clip(path, path, 0.3, 3.8, tmp_path / "a.mp4", tmp_path / "a.wav", fps=fps)
        with av.open(str(tmp_path / "a.mp4")) as file:
            stream = file.streams.video[0]
            assert (stream.width, stream.height, stream.codec.name) == (640, 360, "h264")
            assert stream.sample_aspect_ratio in (None, 0, 1)
            keys = [float(packet.pts * packet.time_base) for packet in file.demux(stream) if packet.is_keyframe]
        assert len(keys) >= 4 and np.diff([*keys, 3.5]).max() <= 1.0 + 1e-4
    small = make_source(tmp_path / "b", "mp4", size=(66, 50), times=EVERY_40_MS[:60], seconds=2.4)
    cut_clip(small, small, 0, 2, tmp_path / "b.mp4", tmp_path / "b.wav")
    with av.open(str(tmp_path / "b.mp4")) as file:
        assert (file.streams.video[0].width, file.streams.video[0].height) == (66, 50)  # never made larger


def test_slides_are_shown_until_the_next_one_and_to_the_end(tmp_path):
    path = make_source(tmp_path / "a", "mp4", times=[0, 1.3, 3.9, 6.1])
    for fps in (25, 0):
        seconds = cut_clip(path, path, 0.5, 3.5, tmp_path / "a.mp4", tmp_path / "a.wav", fps=fps)
        assert seconds == pytest.approx(3.0, abs=1e-3)
        with ClipReader("a", tmp_path / "a.mp4", tmp_path / "a.wav") as clip:
            assert clip.last == pytest.approx(2.5, abs=2e-3)
            assert [read_number(p) for p in clip.frames([0.5, 0.7, 0.81, 2.4], 32)] == [0, 0, 1, 1]


def test_rounded_time_stamps_make_no_clicks(tmp_path):
    """Matroska knows milliseconds only: sound put together by them would lose or double samples at each packet."""
    for container in ("matroska", "mp4"):
        pictures = [numbered(k) for k in range(100)]
        write_video(tmp_path / container, pictures, sound=tone(4.0, 44100, 300.0), rate=44100, container=container)
    assert np.array_equal(read_audio(tmp_path / "matroska", 0, 3), read_audio(tmp_path / "mp4", 0, 3))
    later = read_audio(tmp_path / "matroska", 2.4, 3.6) / 32768
    assert len(later) == round(1.2 * SAMPLE_RATE)
    # The tone's own slope; a jump of half a millisecond is 0.2. In the last one the resampler meets the end.
    assert np.abs(np.diff(later[:-48])).max() < 0.02


def test_a_cut_has_the_very_samples_of_the_whole(tmp_path):
    """A decoder that begins in the middle needs what came before: its first samples would be faded in."""
    make_source(tmp_path / "a", "mp4")
    whole = read_audio(tmp_path / "a").astype(int)
    for start in (2.0, 3.5, 4.25):
        part = read_audio(tmp_path / "a", start, start + 1.0)
        assert np.abs(part - whole[round(start * SAMPLE_RATE) :][:SAMPLE_RATE]).max() <= 1


def test_the_sound_is_where_its_time_stamps_say_and_zero_elsewhere(tmp_path):
    make_source(tmp_path / "a", "matroska", sound_from=0.3)
    sound = read_audio(tmp_path / "a", 0.1, 1.1)
    assert sound.dtype == np.int16 and sound.shape == (SAMPLE_RATE,)
    assert not sound[: round(0.17 * SAMPLE_RATE)].any() and sound[round(0.21 * SAMPLE_RATE) :].any()
    assert len(read_audio(tmp_path / "a", 7.0, 9.0)) == 0


def test_channels_are_averaged_and_every_depth_has_one_scale(tmp_path):
    ramp = np.linspace(-0.9, 0.9, 48000)
    for subtype, tolerance in (("PCM_U8", 300), ("PCM_16", 2), ("PCM_24", 2), ("FLOAT", 2)):
        soundfile.write(tmp_path / "a.wav", np.stack([ramp, 0 * ramp], 1), 48000, subtype=subtype)
        found = read_audio(tmp_path / "a.wav").astype(float)
        assert np.abs(found - ramp / 2 * 32768).max() < tolerance


# ------------------------------------------------------------------------------------------------------ bad sources


def first_part(path, share):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


BROKEN = {
    "mp4, index at the end": dict(container="mp4"),
    "mp4, index in front": dict(container="mp4", movflags="faststart"),
    "mp4, fragments": dict(container="mp4", movflags="frag_keyframe+empty_moov", gop=10),
    "mkv": dict(container="matroska"),
    "webm": WEBM,
}


@pytest.mark.parametrize("how", BROKEN.values(), ids=BROKEN)
def test_a_file_that_breaks_off_is_damaged_and_leaves_nothing(tmp_path, how):
    path = make_source(tmp_path / "a", size=(320, 240), **how)
    first_part(path, 0.6)
    for end in (6.0, np.inf):
        with pytest.raises(MediaError, match=r"is truncated|can't be opened|damaged") as caught:
            cut_clip(path, path, 1.0, end, tmp_path / "a.mp4", tmp_path / "a.wav")
        assert caught.value.kind == "damaged" and str(path) in str(caught.value)
        assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_stream_that_only_ends_before_the_other_is_whole(tmp_path):
    path = make_source(tmp_path / "a", "matroska", times=EVERY_40_MS[:75])
    assert cut_clip(path, path, 0.5, 6, tmp_path / "a.mp4", tmp_path / "a.wav") == pytest.approx(2.5, abs=0.03)
    assert soundfile.info(tmp_path / "a.wav").duration == pytest.approx(2.5, abs=0.03)
    path = make_source(tmp_path / "b", "matroska", seconds=2.2)
    assert cut_clip(path, path, 0.5, 6, tmp_path / "a.mp4", tmp_path / "a.wav") == pytest.approx(1.7, abs=0.03)


def of(content):
    return lambda path: path.write_bytes(content)


def without_sound(path):
    write_video(path, [numbered(k) for k in range(60)])


def without_picture(path):
    soundfile.write(path, tone(3, 16000), 16000, format="WAV")


def with_a_hole(path):
    make_source(path, "mp4", gop=30, size=(320, 240))
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as file:
        packet = [p for p in file.demux(video=0) if p.size][60]
        content[packet.pos + packet.size // 3 : packet.pos + packet.size] = bytes(packet.size - packet.size // 3)
    path.write_bytes(content)


BAD = {
    "missing": (lambda path: None, "missing", "is missing"),
    "empty": (of(b""), "damaged", "is empty"),
    "a web page": (of(b"<html>429 Too Many Requests</html>"), "damaged", "can't be opened"),
    "a playlist of other files": (of(b"#EXTM3U\n#EXTINF:5,\nb.ts\n#EXT-X-ENDLIST\n"), "damaged", "can't be opened"),
    "a list of files": (of(b"ffconcat version 1.0\nfile b.ts\n"), "damaged", "can't be opened"),
    "no sound": (without_sound, "no sound", "has no audio stream"),
    "no picture": (without_picture, "no picture", "has no video stream"),
    "a hole in a picture": (with_a_hole, "damaged", "is damaged"),
    "short": (lambda path: make_source(path, "mp4", EVERY_40_MS[:50], seconds=2), "short", "0.5. s of sound from 1.50"),
    "pictures that end early": (lambda path: make_source(path, "mp4", EVERY_40_MS[:50]), "short", "of video from"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "kind", "message"), BAD.values(), ids=BAD)
def test_what_cannot_be_cut_is_named_and_leaves_nothing(tmp_path, make, kind, message):
    make_source(tmp_path / "b.ts", "mpegts")
    make(tmp_path / "bad")
    mp4, wav = tmp_path / "a.mp4", tmp_path / "a.wav"
    with pytest.raises(MediaError, match=message) as caught:
        cut_clip(tmp_path / "bad", tmp_path / "bad", 1.5, 4.0, mp4, wav)
    assert caught.value.kind == kind and str(tmp_path / "bad") in str(caught.value) and "\n" not in str(caught.value)
    assert not mp4.exists() and not wav.exists()


@pytest.mark.parametrize("name", ["-i.mp4", "concat:b|c.mp4", "http:x.mp4", 'it\'s "so" %d é.mp4'])
def test_the_name_of_a_file_is_only_a_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    make_source(tmp_path / name, "mp4", EVERY_40_MS[:60], seconds=2.4)
    (tmp_path / "out").mkdir()
    cut_clip(name, name, 0.2, 2, f"out/{name}", "out/a.wav")
    with ClipReader("a", tmp_path / "out" / name, tmp_path / "out" / "a.wav") as clip:
        assert read_number(clip.frame(0.5, 32)) == 17
