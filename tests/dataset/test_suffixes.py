"""One table of suffixes for all scripts, without case; each of its formats can be opened; folders are listed once."""

import os
import unicodedata
from pathlib import Path

import av
import numpy as np
import pytest
from helpers import numbered, tone, write_sound, write_video
from PIL import Image

from dataset.reading import media_folder
from dataset.reading.container import open_media
from dataset.reading.file_tree import list_files, match_sounds
from dataset.reading.suffixes import KIND_OF_SUFFIX, SUFFIXES, media_kind
from utils.errors import UserError

# libav's muxer of each suffix, where its name isn't the suffix itself.
MUXERS = {
    "m4v": "mp4", "qt": "mov", "f4v": "mp4", "mkv": "matroska", "mka": "matroska", "webm": "matroska",
    "weba": "matroska", "divx": "avi", "mpg": "mpeg", "mpe": "mpeg", "vob": "vob", "m2v": "mpeg2video", "ts": "mpegts",
    "mts": "mpegts", "m2ts": "mpegts", "m2t": "mpegts", "3gpp": "3gp", "ogv": "ogg", "ogm": "ogg", "oga": "ogg",
    "wmv": "asf", "wma": "asf", "wave": "wav", "aif": "aiff", "aifc": "aiff", "m4a": "ipod", "m4b": "ipod",
    "aac": "adts", "opus": "ogg",
}  # fmt: skip
VIDEO_CODECS = {"flv": "flv", "f4v": "libx264", "mxf": "mpeg2video", "m2v": "mpeg2video", "mpg": "mpeg2video", "mpe": "mpeg2video",  # noqa: E501
                "mpeg": "mpeg2video", "vob": "mpeg2video", "ogv": "libvpx", "ogm": "libvpx"}  # fmt: skip
SOUND_CODECS = {
    "wav": "pcm_s16le", "wave": "pcm_s16le", "w64": "pcm_s16le", "flac": "flac", "aif": "pcm_s16be",
    "aiff": "pcm_s16be", "aifc": "pcm_s16be", "caf": "pcm_s16le", "mp3": "libmp3lame", "mp2": "mp2", "ogg": "libopus",
    "oga": "libopus", "opus": "libopus", "wma": "libmp3lame", "weba": "libopus", "ac3": "ac3",
}  # fmt: skip


def write_media(path, suffix):
    """Write a quarter of a second in the format of a suffix."""
    if suffix == "amr":  # libav has no encoder: a head and frames without sound
        path.write_bytes(b"#!AMR\n" + bytes([0x7C]) * 20)
        return
    is_video = suffix in SUFFIXES["video"].split()
    with av.open(str(path), "w", format=MUXERS.get(suffix, suffix)) as out:
        if is_video:
            stream = out.add_stream(VIDEO_CODECS.get(suffix, "mpeg4"), rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            frames = [av.VideoFrame.from_ndarray(numbered(k), format="rgb24") for k in range(6)]
        else:
            stream = out.add_stream(SOUND_CODECS.get(suffix, "aac"), rate=48000, layout="mono")
            sound = np.int16(10000 * tone(0.25, 48000))[None]
            frames = [av.AudioFrame.from_ndarray(sound, format="s16", layout="mono")]
            frames[0].sample_rate = 48000
        for frame in (*frames, None):
            out.mux(stream.encode(frame))


@pytest.mark.parametrize("suffix", SUFFIXES["video"].split() + SUFFIXES["sound"].split())
def test_every_suffix_has_a_format_that_the_reader_opens(tmp_path, suffix):
    path = tmp_path / f"a.{suffix.upper()}"
    write_media(path, suffix)
    kind = media_kind(path)
    assert kind is not None
    with open_media(path) as container:
        assert [stream.type for stream in container.streams] == ["audio" if kind == "sound" else "video"]


def test_images_have_suffixes_too_and_no_suffix_is_named_twice():
    assert media_kind(Path("a.JPeG")) == "image"
    names = [name for suffixes in SUFFIXES.values() for name in suffixes.split()]
    assert len(names) == len(set(names)) == len(KIND_OF_SUFFIX)


def test_linked_folders_are_followed_once_without_loops(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    for path in (root / "b" / "x.mp4", root / "b" / ".x.mp4", root / "b" / "._x.mp4", elsewhere / "y.mp4"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (root / "a").symlink_to(root / "b")  # comes before the folder itself
    (root / "loop").symlink_to(root)
    (root / "b" / "up").symlink_to("..")
    (root / "far").symlink_to(elsewhere)
    (root / "again").symlink_to(elsewhere)
    (root / "broken.mp4").symlink_to("nowhere")
    os.mkfifo(root / "pipe.mp4")
    tree = list_files(root)
    assert [path.relative_to(root).as_posix() for path in tree.files] == ["again/y.mp4", "b/x.mp4"]
    found = {path.relative_to(root).as_posix(): reason for path, reason in tree.skipped.items()}
    assert found == {
        "a": "leads to a folder that is listed already",
        "loop": "leads to a folder that is listed already",
        "b/up": "leads to a folder that is listed already",
        "far": "leads to a folder that is listed already",
        "broken.mp4": "is a broken link",
        "pipe.mp4": "is not a regular file",
        "b/.x.mp4": "is hidden",
        "b/._x.mp4": "is hidden",
    }
    assert list_files(root, exclude=[root / "b"]).files == [root / "again" / "y.mp4"]


def test_the_sound_of_a_video_is_found_whatever_the_case_and_the_spelling(tmp_path):
    decomposed, composed = (unicodedata.normalize(form, "Größe") for form in ("NFD", "NFC"))
    names = ["A001.MP4", "A001.WAV", "b.mov", "B.Wav", "b.mp3", "c.mp4", "c.flac", "C.wav", f"{decomposed}.mp4",
             f"{composed}.wav", "alone.wav", "mute.mp4", "video/d.mp4", "audio/d.wav", "video/d.wav"]  # fmt: skip
    matched, unused = match_sounds([tmp_path / name for name in names])
    found = {video.name: sound.relative_to(tmp_path).as_posix() for video, sound in matched.items()}
    assert found == {
        "A001.MP4": "A001.WAV",
        "b.mov": "b.mp3",  # the name as it is comes before one of another case
        "c.mp4": "c.flac",
        f"{decomposed}.mp4": f"{composed}.wav",
        "d.mp4": "audio/d.wav",
    }
    assert unused == {}
    matched, unused = match_sounds([tmp_path / name for name in ("a.mp4", "a.mp3", "a.WAV")])
    assert matched == {tmp_path / "a.mp4": tmp_path / "a.WAV"} and unused == {tmp_path / "a.mp3": tmp_path / "a.mp4"}


def test_what_embedding_passes_over_is_named(tmp_path):
    write_video(tmp_path / "A.MTS", [numbered(1)] * 30, container="mpegts")
    write_sound(tmp_path / "A.WAV", tone(1.2, 8000), 8000)
    write_sound(tmp_path / "a.aif.xyz", tone(1.2, 8000), 8000)
    Image.fromarray(numbered(1)).save(tmp_path / "p.PNG")
    (tmp_path / ".DS_Store").touch()
    items, skipped = media_folder.find_media(tmp_path)
    assert [(item.name, item.kind, item.sound_name) for item in items] == [
        ("A.MTS", "video", "A.WAV"),
        ("p.PNG", "image", "p.PNG"),
    ]
    assert skipped == {"a.aif.xyz": "has no known suffix (.xyz)", ".DS_Store": "is hidden"}
    with pytest.raises(UserError, match="holds no video, image or sound"):
        media_folder.find_media(tmp_path / "a.aif.xyz")
