"""Files made by hand: odd streams, absurd numbers in headers and indexes, time stamps that jump, no files at all."""

import os
import random
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from tests.campaign.media_files import H264, ffmpeg

Maker = Callable[[Path, Path, Path], Path]  # (folder, an ordinary mp4, an ordinary mkv) -> the file
BIG = 0x7FFFFFFF


def mux(suffix: str, *options: str, extra: str = "") -> Maker:
    """Copy the mp4 with `options` of ffmpeg, into a container by its `suffix`; `extra`: a second input, as lavfi."""

    def make(folder: Path, mp4: Path, _: Path) -> Path:
        more = ("-f", "lavfi", "-i", extra) if extra else ()
        ffmpeg("-i", mp4, *more, "-c", "copy", *options, folder / f"x.{suffix}")
        return folder / f"x.{suffix}"

    return make


def with_cover(suffix: str, first: bool, only: bool = False) -> Maker:
    """Add a cover picture, before the video or after it, or in its place."""

    def make(folder: Path, mp4: Path, _: Path) -> Path:
        cover, path = folder / "cover.png", folder / f"x.{suffix}"
        ffmpeg("-f", "lavfi", "-i", "color=red:s=200x200", "-frames:v", 1, cover)
        maps = ["-map", "1:v", "-map", "0:v"] if first else ["-map", "0:v", "-map", "1:v"]
        maps = ["-map", "1:v"] if only else maps
        number = 0 if first or only else 1
        ffmpeg(
            "-i", mp4, "-i", cover, *maps, "-map", "0:a", "-c", "copy", f"-disposition:v:{number}", "attached_pic", path
        )
        return path

    return make


def patched(box: bytes, offset: int, form: str, *values: int, source: str = "mp4", every: bool = False) -> Maker:
    """Write numbers `offset` bytes after the name of a `box`, or every one of this name."""

    def make(folder: Path, mp4: Path, mkv: Path) -> Path:
        path = folder / f"x.{source}"
        content = bytearray((mp4 if source == "mp4" else mkv).read_bytes())
        place = content.find(box)
        assert place >= 0, box
        while place >= 0:
            struct.pack_into(form, content, place + len(box) + offset, *values)
            place = content.find(box, place + 1) if every else -1
        path.write_bytes(content)
        return path

    return make


def holding(name: str, content: Callable[[], bytes]) -> Maker:
    """Write a file of this content."""

    def make(folder: Path, _mp4: Path, _mkv: Path) -> Path:
        (folder / name).write_bytes(content())
        return folder / name

    return make


def joined(suffix: str, *sizes_and_rates: tuple[str, int]) -> Maker:
    """Join streams of other sizes and sample rates in a transport stream or mpeg: they change in the middle."""

    def make(folder: Path, _mp4: Path, _mkv: Path) -> Path:
        path = folder / f"x.{suffix}"
        for k, (size, rate) in enumerate(sizes_and_rates):
            ffmpeg("-f", "lavfi", "-i", f"testsrc2=s={size}:d=2", "-f", "lavfi", "-i",
                f"anoisesrc=d=2:r={rate}:a=0.2", *H264,
                   "-c:a", "aac", "-output_ts_offset", 2 * k, folder / "part.ts")  # fmt: skip
            with path.open("ab") as file:
                file.write((folder / "part.ts").read_bytes())
        return path

    return make


def with_edits(count: int, duration: int, media_time: int) -> Maker:
    """Give the video an edit list of many entries."""

    def make(folder: Path, mp4: Path, _: Path) -> Path:
        content = mp4.read_bytes()
        place = content.find(b"elst") - 4
        old = int.from_bytes(content[place : place + 4], "big")
        entries = struct.pack(">IiI", duration, media_time, 0x10000) * count
        box = struct.pack(">I4sII", 16 + len(entries), b"elst", 0, count) + entries
        out = bytearray(content[:place] + box + content[place + old :])
        for name in (b"edts", b"trak", b"moov"):  # the index lies behind the samples: only these grow
            start = out.rfind(name, 0, place) - 4
            size = int.from_bytes(out[start : start + 4], "big") + len(box) - old
            struct.pack_into(">I", out, start, size)
        (folder / "x.mp4").write_bytes(out)
        return folder / "x.mp4"

    return make


def nested(folder: Path, mp4: Path, _: Path) -> Path:
    """Write boxes in boxes in boxes."""
    content = b""
    for _level in range(20000):
        content = struct.pack(">I4s", len(content) + 8, b"moov") + content[:200000]
    (folder / "x.mp4").write_bytes(mp4.read_bytes()[:32] + content)
    return folder / "x.mp4"


def special(kind: str) -> Maker:
    """Make what isn't a regular file."""

    def make(folder: Path, mp4: Path, _: Path) -> Path:
        path = folder / "odd.mp4"
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(str(path))
        elif kind == "empty":
            path.touch()
        elif kind == "sparse":
            with path.open("wb") as file:
                file.truncate(3 * 2**30)
        else:
            path.symlink_to({"loop": path, "dangling": folder / "gone"}.get(kind, Path(kind)))
        return path

    return make


def renamed(name: str, of_mkv: bool) -> Maker:
    """Give a good file the name of another format."""

    def make(folder: Path, mp4: Path, mkv: Path) -> Path:
        (folder / name).write_bytes((mkv if of_mkv else mp4).read_bytes())
        return folder / name

    return make


def stamped(suffix: str, expression: str, stream: str = "v") -> Maker:
    """Change the time stamps of a stream."""
    return mux(suffix, f"-bsf:{stream}", f"setts=ts={expression}")


def _ts_noise() -> bytes:
    noise = random.Random(3)
    return b"".join(b"\x47" + noise.randbytes(187) for _ in range(4000))


def _big_jpeg_film() -> bytes:
    """Raw MJPEG frames whose headers say 30000 x 30000, in an avi as ffmpeg writes it."""
    head = (
        b"\xff\xd8\xff\xc0\x00\x11\x08" + struct.pack(">HH", 30000, 30000) + b"\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01"
    )
    frame = head + b"\xff\xda\x00\x0c\x03\x01\x00\x02\x11\x03\x11\x00\x3f\x00" + bytes(500) + b"\xff\xd9"
    return frame * 40


MADE: dict[str, tuple[Maker, str]] = {
    **{f"not_a_file_{kind.strip('/').replace('/', '_')}": (special(kind), "refuse") for kind in
       ("fifo", "folder", "socket", "empty", "sparse", "loop", "dangling", "/dev/zero", "/dev/stdin", "/dev/full",
           "/dev/tty",
        "/proc/self/mem", "/proc/kmsg")},
    "two_videos": (mux("mkv", "-map", "0:v", "-map", "1:v", "-map", "0:a", "-c:v:1", "ffv1",
                       extra="color=red:s=320x240:d=3"), "pass"),
    "two_videos_default": (mux("mkv", "-map", "1:v", "-map", "0:v", "-map", "0:a", "-c:v:0", "mpeg4",
        "-disposition:v:0", "0",
                               "-disposition:v:1", "default", extra="color=red:s=32x24:d=3"), "pass"),
    "two_sounds": (mux("mkv", "-map", "0:v", "-map", "1:a", "-map", "0:a", "-c:a:0", "flac", extra="sine=d=3"), "pass"),
    **{f"cover_{suffix}_{first}": (with_cover(suffix, first), "pass") for suffix in ("mp4", "mov") for first in (True,
        False)},
    "cover_mkv": (with_cover("mkv", False), "pass"),
    "cover_only": (with_cover("mp4", True, only=True), "refuse"),
    "chapters": (mux("mkv", "-metadata", "title=\u00e9\u4e2d", "-metadata:s:v", "language=xxx"), "pass"),
    "sound_only": (mux("mp4", "-vn"), "refuse"),
    "mkv_named_mp4": (renamed("x.mp4", True), "pass"),
    "mp4_named_mkv": (renamed("x.mkv", False), "pass"),
    "mp4_named_wav": (renamed("x.wav", False), "pass"),
    "changes_size": (joined("ts", ("64x48", 48000), ("96x64", 48000)), ""),
    "changes_rate": (joined("ts", ("64x48", 48000), ("64x48", 44100)), ""),
    "colors_nobody_converts": (mux("mp4", "-bsf:v", "h264_metadata=matrix_coefficients=8"), "refuse"),
    "colors_change_in_the_middle": (mux("ts", "-bsf:v", "h264_metadata=matrix_coefficients=10,noise=drop=0"), "refuse"),
    "stamps_equal": (stamped("mkv", "0"), ""),
    "stamps_back": (stamped("mkv", "PTS-mod(N\\,5)*80"), ""),
    "stamps_jump": (stamped("mkv", "PTS+gt(N\\,40)*1000000000"), ""),
    "stamps_jump_mp4": (stamped("mp4", "PTS+gt(N\\,40)*1000000000"), ""),
    "stamps_huge": (stamped("mkv", "PTS+4000000000000000"), ""),
    "stamps_negative": (stamped("mkv", "PTS-100000"), ""),
    "sound_stamps_jump": (stamped("mkv", "PTS+gt(N\\,20)*1000000000", "a"), ""),
    "sound_stamps_back": (stamped("mkv", "PTS-mod(N\\,9)*90", "a"), ""),
    "packets_dropped": (mux("mkv", "-bsf:v", "noise=drop=mod(n\\,7)-6"), ""),
    "packets_damaged": (mux("mkv", "-bsf:v", "noise=amount=200"), ""),
    "many_edits": (with_edits(60000, 1, 0), ""),
    "long_edits": (with_edits(200, BIG, 0), ""),
    "empty_edits": (with_edits(50, BIG, -1), ""),
    "edit_beyond_the_end": (with_edits(1, 3000, BIG), ""),
    "nested": (nested, "refuse"),
    **{f"{box.decode()}_{name}": (patched(box, offset, form, *values, every=True), "") for name, box, offset, form,
        values in (
        ("count", b"stsz", 8, ">I", (BIG,)), ("constant", b"stsz", 4, ">II", (1, BIG)), ("count", b"stts", 4, ">I",
            (BIG,)),
        ("long", b"stts", 8, ">II", (BIG, 1)), ("slow", b"stts", 12, ">I", (BIG,)), ("still", b"stts", 12, ">I", (0,)),
        ("count", b"stco", 4, ">I", (BIG,)), ("far", b"stco", 8, ">I", (BIG,)), ("count", b"stsc", 4, ">I", (BIG,)),
        ("many", b"stsc", 12, ">I", (BIG,)), ("none", b"stsc", 12, ">I", (0,)), ("long", b"mvhd", 12, ">II", (1000,
            BIG)),
        ("scale", b"mvhd", 12, ">I", (0,)), ("scale", b"mdhd", 12, ">I", (0,)), ("scale1", b"mdhd", 12, ">I", (1,)),
        ("fine", b"mdhd", 12, ">I", (BIG,)), ("long", b"mdhd", 16, ">I", (BIG,)), ("size", b"avc1", 24, ">HH", (30000,
            30000)),
        ("none", b"avc1", 24, ">HH", (0, 0)), ("rate", b"mp4a", 24, ">I", (1 << 16,)), ("matrix", b"tkhd", 40, ">9I",
            (BIG,) * 9),
        ("flat", b"tkhd", 40, ">9I", (0,) * 9), ("loop", b"mdia", -8, ">I", (8,)), ("grown", b"trak", -8, ">I", (BIG,)),
    )},
    "mkv_duration": (patched(b"\x44\x89\x88", 0, ">d", 1e15, source="mkv"), ""),  # type: ignore[arg-type]
    "mkv_scale_0": (patched(b"\x2a\xd7\xb1\x83", 0, ">3B", 0, 0, 0, source="mkv"), ""),
    "mkv_scale_big": (patched(b"\x2a\xd7\xb1\x83", 0, ">3B", 255, 255, 255, source="mkv"), ""),
    "mkv_empty_clusters": (holding("x.mkv", lambda: bytes.fromhex("1a45dfa3a3") + bytes(35) + b"\x18\x53\x80\x67\x01"
                                   + b"\xff" * 7 + b"\x1f\x43\xb6\x75\x80" * 400000), "refuse"),
    "ts_noise": (holding("x.ts", _ts_noise), "refuse"),
    "mp3_zeros": (holding("x.mp3", lambda: bytes(3_000_000)), "refuse"),
    "mp3_noise": (holding("x.mp3", lambda: b"\xff\xfb\x90\x00" + random.Random(1).randbytes(500_000)), "refuse"),
    "id3": (holding("x.mp3", lambda: b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + bytes(5_000_000)), "refuse"),
    "aac_noise": (holding("x.aac", lambda: b"\xff\xf1\x50\x80\x02\x1f\xfc" * 90000), "refuse"),
    "big_jpegs": (holding("x.avi", _big_jpeg_film), "refuse"),
    "noise": (holding("x.mp4", lambda: random.Random(2).randbytes(300_000)), "refuse"),
    "web_page": (holding("x.mp4", lambda: b"<html>429 Too Many Requests</html>"), "refuse"),
    "zeros": (holding("x.mp4", lambda: bytes(2_000_000)), "refuse"),
    "flv_noise": (holding("x.flv", lambda: b"FLV\x01\x05\0\0\0\x09\0\0\0\0" + random.Random(4).randbytes(300_000)),
        "refuse"),
    "ogg_noise": (holding("x.ogv",
        lambda: (b"OggS\0\2" + bytes(20) + b"\x01\x1e" + random.Random(5).randbytes(30)) * 9000),
                  "refuse"),
    "mpeg_noise": (holding("x.mpg", lambda: b"\0\0\1\xba" + random.Random(6).randbytes(400_000)), "refuse"),
    "asf_noise": (holding("x.wmv", lambda: bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + b"\xff" * 99999),
        "refuse"),
    "avi_noise": (holding("x.avi", lambda: b"RIFF\xff\xff\xff\x7fAVI LIST" + random.Random(7).randbytes(300_000)),
        "refuse"),
}  # fmt: skip
