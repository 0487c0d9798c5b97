"""A clip that can't be used is refused in one clear sentence; an unusual one is read all the same."""

import struct

import av
import numpy as np
import pytest
from clip_cases import (
    A_TONE,
    BAD_SOUNDS,
    BAD_VIDEOS,
    clips_of,
    cut,
    muxed,
    read_all,
    with_a_hole,
    with_a_size_of_64_bits,
    without_pictures,
)
from helpers import make_clip, read_number

from dataset.reading.errors import ClipError


def is_one_clear_sentence(message, path, clip="bad"):
    """It names the file and the clip, and says what to do."""
    parts = (str(path), f"remove clip {clip}", "--data.on_error skip")
    return all(part in message for part in parts) and "\n" not in message


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
