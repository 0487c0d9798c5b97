"""Damaged clips by name, and what reads them."""

import random
import struct

import av
import numpy as np
from helpers import numbered, tone, write_genres, write_sound, write_video

from dataset.reading.clips import Clips


def clips_of(folder, **options):
    """Open a split whose clips are all listed."""
    write_genres(folder)
    return Clips(folder.parent, folder.name, **options)


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


def read_all(clips, index):
    """Everything that training may ever read of a clip: every frame, and its sounds."""
    with clips.open(index) as clip:
        times = np.arange(clip.first, clip.last, 0.04).tolist()
        clip.frames(times, 32)
        [clip.frame(time, 32) for time in times]
        clip.sound(1.0, 16000)
