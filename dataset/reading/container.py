"""Open a media file for reading, safely: the only place that does, see tests/dataset/test_opening.py.

A file may come from anywhere. Only container formats of a list are read, and no other file or address that it names:
neither playlists and scripts, nor references inside of a video. What isn't a regular file is never opened.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Literal, cast

import av
from av.container import InputContainer

from dataset.reading.errors import MediaError, error_reason
from dataset.reading.limits import MAX_PIXELS, refuse_huge, refuse_long, require_file
from dataset.reading.upright import MATRICES

StreamKind = Literal["video", "audio"]

# What may be opened, by libav's names. Playlists, scripts and lists of files are not.
FORMATS = "mp4,matroska,mpegts,mpeg,mpegvideo,avi,flv,asf,ogg,wav,w64,mp3,aac,flac,aiff,caf,ac3,amr,mxf"
OPTIONS = {"format_whitelist": FORMATS, "protocol_whitelist": "file", "max_pixels": str(MAX_PIXELS)}
OPENCV_OPTIONS = f"format_whitelist;{FORMATS}|protocol_whitelist;file"  # the same for OpenCV, in its own notation
# For ffmpeg reading the address of a video: no file of this computer, whatever the site sends.
DOWNLOAD_OPTIONS = (
    *("-format_whitelist", f"{FORMATS},dash"),
    *("-protocol_whitelist", "http,https,tcp,tls,httpproxy,crypto"),
)
# How files begin that are no media, in lower case, and what they are.
OTHER_FILES = {
    b"ffconcat": "an ffconcat script",
    b"#extm3u": "a playlist",
    b"[playlist]": "a playlist",
    b"[reference]": "a playlist",
    b"<asx": "a playlist",
    b"<smil": "a playlist",
    b"v=0": "a session description (SDP)",
    b"\x89png": "an image",
    b"gif8": "an image",
    b"\xff\xd8\xff": "an image",
    b"bm": "an image",
    b"pk\x03\x04": "a zip file",
    b"%pdf": "a PDF",
}
XML_FILES = {b"<mpd": "a playlist (DASH)", b"<smoothstreaming": "a playlist", b"<html": "a web page"}
# Names of the top-level parts ("boxes") of an mp4 file.
MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"sidx", b"styp", b"mfra", b"uuid", b"udta")


def open_media(path: Path | str) -> InputContainer:
    """Open a video or audio file for decoding, in a `with` statement: only formats of `FORMATS`, and no other file.

    Args:
        path: of the file. However it is named, it is the name of a file: `http:x.mp4`, `concat:a|b`, `%03d.mp4`.

    Raises:
        MediaError: it is missing, no regular file, empty, can't be opened, or isn't media.
    """
    require_file(path)
    try:
        # With "file:" in front, the rest of a name is never taken for a protocol or an option.
        return cast(InputContainer, av.open(f"file:{path}", options=OPTIONS, metadata_errors="replace"))
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = _describe_content(path) or error_reason(error)
        raise MediaError("damaged", path, f"can't be opened as a video or sound: {reason}") from error


def best_stream(container: InputContainer, kind: StreamKind, path: Path | str) -> av.stream.Stream:
    """Choose the stream of a file to read, ready for decoding: the same one for every reader.

    It is libav's choice: what is marked as default, then what has the highest bit rate. A cover picture is no video.

    Args:
        container: open file.
        kind: "video" or "audio".
        path: of the file, for messages.

    Raises:
        MediaError: there is none, it has an unknown format, or frames of too many pixels, or lasts too long.
    """
    refuse_long(path, (container.duration or 0) / av.time_base)
    streams = media_streams(container, kind)
    if not streams:
        raise MediaError("no picture" if kind == "video" else "no sound", path, f"has no {kind} stream")
    decodable = [stream for stream in streams if stream.codec_context is not None]
    if not decodable:
        raise MediaError("damaged", path, f"has a {kind} stream of an unknown format")
    best = container.streams.best(kind)
    stream = best if best in decodable else decodable[0]
    if isinstance(stream, av.VideoStream):
        refuse_huge(path, stream.codec_context.width, stream.codec_context.height)
        if stream.codec_context.colorspace not in MATRICES:
            number = stream.codec_context.colorspace
            raise MediaError(
                "damaged", path, f"has colors in a form that can't be converted (matrix {number} of H.273)"
            )
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    stream.codec_context.thread_count = 1  # several files are read at once: processes share the cores
    return stream


def media_streams(container: InputContainer, kind: StreamKind) -> list[av.stream.Stream]:
    """List the streams of a kind, without cover pictures.

    Args:
        container: open file.
        kind: "video" or "audio".
    """
    cover = av.stream.Disposition.attached_pic
    return [stream for stream in container.streams if stream.type == kind and not stream.disposition & cover]


def demux(container: InputContainer, *streams: av.stream.Stream) -> Iterator[av.Packet]:
    """Read the packets of an open file from where it is, then an empty one for each stream, which flushes its decoder.

    Args:
        container: open file.
        streams: of which packets are wanted; by default of all.
    """
    try:
        yield from container.demux(*streams)
    except IndexError:  # damage looked like a further stream: PyAV fails when it flushes that one, the last one
        return


def is_truncated(path: Path) -> bool:
    """Check whether the last part of the mp4 at `path` ends beyond the end of the file, as after a partial download."""
    size, position = path.stat().st_size, 0
    with open(path, "rb") as file:
        while position + 8 <= size:
            file.seek(position)
            head = file.read(16)
            length = int.from_bytes(head[:4], "big")
            if length == 1:  # a size of 64 bits follows the name
                length = int.from_bytes(head[8:16], "big")
            if head[4:8] not in MP4_BOXES or length < 8:  # another format, or a part that reaches to the end
                return False
            position += length
    return position > size


def seconds_per_tick(stream: av.stream.Stream) -> Fraction:
    """Return the time base of a `stream`: seconds per tick of its time stamps."""
    assert stream.time_base is not None  # libav sets it for every stream that it opens
    return stream.time_base


def _describe_content(path: Path | str) -> str:
    """What a file is that isn't media, "" if that isn't known."""
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError:
        return ""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    found = [what for mark, what in OTHER_FILES.items() if start.startswith(mark)]
    if not found and start.startswith(b"<"):
        found = [what for mark, what in XML_FILES.items() if mark in start]
    if not found and start[:4] == b"riff" and start[8:12] == b"webp":
        found = ["an image"]
    if not found and _is_text(head):
        found = ["a text"]
    return f"it is {found[0]}" if found else ""


def _is_text(head: bytes) -> bool:
    text = head.decode("utf-8", "ignore")
    is_whole = len(text.encode()) > len(head) - 4  # a letter may be cut at the end
    return is_whole and all(letter.isprintable() or letter in "\t\r\n\f\v\ufeff" for letter in text)
