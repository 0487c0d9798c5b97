"""Files that name other files, or hold none of our media, under the names of videos and sounds."""

import io
import struct

from helpers import numbered, tone, write_video
from PIL import Image

HLS = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n{map}#EXTINF:2.0,\n{name}\n#EXT-X-ENDLIST\n"
DASH = """<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT2S"
 minBufferTime="PT1S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet mimeType="video/mp4">
<Representation id="1" bandwidth="1000" width="64" height="48"><BaseURL>{name}</BaseURL></Representation>
</AdaptationSet></Period></MPD>"""
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
TEXTS = {
    "ffconcat.mp4": "ffconcat version 1.0\nfile {name}\n",
    "ffconcat.wav": "ffconcat version 1.0\nfile '{path}'\n",
    "ffconcat.mkv": "ffconcat version 1.0\nfile file:{path}\nduration 2\n",
    "ffconcat_options.mp4": "ffconcat version 1.0\nfile {name}\noption safe 0\nstream\nexact_stream_id 1\n",
    "bom_ffconcat.mp4": "\ufeffffconcat version 1.0\nfile {name}\n",
    "list.mp4": "file {name}\nfile {name}\n",
    "hls.mp4": HLS.replace("{map}", ""),
    "hls_map.mp4": HLS.replace("{map}", '#EXT-X-MAP:URI="{name}"\n'),
    "hls_master.mkv": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000\n{name}\n",
    "hls_file.wav": HLS.replace("{map}", "").replace("{name}", "file://{path}"),
    "m3u.mp3": "{path}\n",
    "dash.mp4": DASH,
    "dash_webm.webm": DASH.replace("video/mp4", "video/webm"),
    "smooth.mp4": '<SmoothStreamingMedia MajorVersion="2"><StreamIndex Url="{name}"/></SmoothStreamingMedia>',
    "imf.mp4": '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"/>',
    "sdp.mp4": SDP,
    "sdp_file.mp4": SDP + "a=control:file://{path}\n",
    "rtsp.mp4": "rtsptextRTSP/1.0 200 OK\nrtsp://127.0.0.1/{name}\n",
    "pls.mp4": "[playlist]\nNumberOfEntries=1\nFile1={path}\n",
    "asx.wmv": '<asx version="3.0"><entry><ref href="{path}"/></entry></asx>',
    "reference.wmv": "[Reference]\nRef1=http://127.0.0.1/{name}\n",
    "smil.mp4": '<smil><body><video src="{name}"/></body></smil>',
    "cue.wav": 'FILE "{name}" WAVE\n  TRACK 01 AUDIO\n    INDEX 01 00:00:00\n',
    "avisynth.avi": 'DirectShowSource("{path}")\n',
    "vapoursynth.mp4": 'import vapoursynth as vs\nvs.core.ffms2.Source("{path}").set_output()\n',
    "lavfi.mp4": "movie={path}[out0];amovie={path}[out1]\n",
    "address.mp4": "concat:{path}|{path}\n",
    "address2.mp4": "subfile,,start,0,end,0,,:{path}\n",
    "address3.mp4": "file:{path}",
    "vobsub.mpg": "# VobSub index file, v7\nid: en, index: 0\ntimestamp: 00:00:01:000, filepos: 000000000\n",
    "tedcaptions.mp4": '{"captions":[{"duration":2000,"content":"a","startOfParagraph":true,"startTime":0}]}',
    "srt.mp4": "1\n00:00:00,000 --> 00:00:02,000\nwords\n\n",
    "vtt.mp4": "WEBVTT\n\n00:00.000 --> 00:02.000\nwords\n",
    "ass.mkv": "[Script Info]\nScriptType: v4.00+\n[Events]\nDialogue: 0,0:00:00.00,0:00:02.00,,,0,0,0,,words\n",
    "sami.avi": "<SAMI><BODY><SYNC Start=0><P>words</BODY></SAMI>",
    "microdvd.mp4": "{1}{50}words\n{51}{100}words\n",
    "mpl2.mp4": "[0][20]words\n[20][40]words\n",
    "lrc.mp3": "[ar:words]\n[00:00.00]words\n[00:01.00]words\n",
    "scc.mp4": "Scenarist_SCC V1.0\n\n00:00:00:00\t9420 9420\n",
    "metadata.mp4": ";FFMETADATA1\ntitle=words\n",
    "text.mp4": "These words are no film.\n" * 40,
    "screen.mp4": "\x1b[31mwords in red\x1b[0m\n" * 40,
    "page.mp4": "<!DOCTYPE html><html><body><video src='{name}'></video></body></html>",
    "svg.mp4": '<svg xmlns="http://www.w3.org/2000/svg"><image href="{name}"/></svg>',
    "xbm.mp4": "#define x_width 8\n#define x_height 1\nstatic char x_bits[] = { 0x01 };\n",
    "pgm.mp4": "P2\n2 1\n255\n0 255\n",
}
BINARIES = (
    "gif.mp4", "png.mp4", "jpeg.mov", "bmp.avi", "tiff.mp4", "webp.mkv", "y4m.mp4", "ivf.mkv", "h264.mp4",
    "reference.mov", "alias.mov",
)  # fmt: skip
IMAGES = BINARIES[:6]
NAMES = (*TEXTS, *BINARIES)


def make_files(folder):
    """Write all of NAMES, and neighbour.mp4, to which they refer, into a folder: {name: path}."""
    neighbour = folder / "neighbour.mp4"
    write_video(neighbour, [numbered(k) for k in range(50)], sound=tone(2, 16000), movflags="faststart")
    for name, text in TEXTS.items():
        text = text.replace("{name}", neighbour.name).replace("{path}", str(neighbour))
        (folder / name).write_text(text, encoding="utf-8")
    for name, content in zip(BINARIES, binaries(neighbour), strict=True):
        (folder / name).write_bytes(content)
    return {name: folder / name for name in (*NAMES, neighbour.name)}


def binaries(neighbour):
    """The contents of BINARIES."""
    frames = [Image.fromarray(numbered(k)) for k in range(30)]
    frames[0].save(gif := io.BytesIO(), "GIF", save_all=True, append_images=frames[1:], duration=100)
    yield gif.getvalue()
    for kind in ("PNG", "JPEG", "BMP", "TIFF", "WEBP"):
        frames[0].save(out := io.BytesIO(), kind)
        yield out.getvalue()
    yield b"YUV4MPEG2 W64 H48 F25:1 Ip A1:1 C420\n" + (b"FRAME\n" + bytes(64 * 48 * 3 // 2)) * 50
    yield (
        struct.pack("<4sHH4sHHIIII", b"DKIF", 0, 32, b"VP80", 64, 48, 25, 1, 1, 0) + struct.pack("<IQ", 4, 0) + b"abcd"
    )
    yield b"\0\0\0\1\x67\x42\xc0\x0a\xda\x04\x26\x40" * 60
    yield with_reference(neighbour, url_entry(neighbour))
    yield with_reference(neighbour, alias_entry(neighbour))


def with_reference(path, entry):
    """An mp4 whose samples lie in another file: its index, without the samples, and the place where they are."""
    content = path.read_bytes()
    start = content.find(b"moov") - 4
    moov = content[start : start + int.from_bytes(content[start : start + 4], "big")]
    while (at := moov.find(b"dref\0\0\0\0\0\0\0\1\0\0\0\x0curl \0\0\0\1")) >= 0:
        moov = moov[: at + 12] + entry + moov[at + 24 :]
        grown = len(entry) - 12
        for name in (b"dref", b"dinf", b"minf", b"mdia", b"trak"):
            box = moov.rfind(name, 0, at + 4) - 4
            size = int.from_bytes(moov[box : box + 4], "big") + grown
            moov = moov[:box] + struct.pack(">I", size) + moov[box + 4 :]
    return content[:start] + struct.pack(">I", len(moov)) + moov[4:]


def url_entry(path):
    """A reference by address."""
    body = b"url \0\0\0\0" + f"file://{path}".encode() + b"\0"
    return struct.pack(">I", len(body) + 4) + body


def alias_entry(path):
    """A reference as QuickTime writes it, to a file beside it and by its whole path."""
    name, whole = path.name.encode(), str(path).encode()
    fixed = bytes(10) + bytes([1]) + b"x".ljust(27, b"\0") + bytes(12) + bytes([len(name)]) + name.ljust(63, b"\0")
    fixed += bytes(16) + struct.pack(">HH", 1, 1) + bytes(16)
    records = struct.pack(">HH", 2, len(whole)) + whole + bytes(len(whole) % 2)
    records += struct.pack(">HH", 18, len(whole)) + whole + bytes(len(whole) % 2) + struct.pack(">hH", -1, 0)
    body = b"alis\0\0\0\0" + fixed + records
    return struct.pack(">I", len(body) + 4) + body
