"""Over 250 odd clips by name, each a video and a wav: some are whole and only unusual, some are damaged."""

import random
from functools import partial
from pathlib import Path

import numpy as np
from clip_cases import BAD_SOUNDS, BAD_VIDEOS
from helpers import tone, write_sound
from odd_files import (
    H264,
    RATE,
    SECONDS,
    appended,
    bad_packets,
    changed,
    copied,
    cut,
    film,
    filmed,
    heard,
    joined,
    late,
    overwritten,
    replaced,
    slides,
    sweep,
    transcoded,
    two_streams,
    with_cover,
)  # fmt: skip

CODECS = {
    "h264": H264, "h264 444": ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv444p"),
    "h264 10 bit": ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p10le"),
    "mpeg4": ("-c:v", "mpeg4"), "mpeg2": ("-c:v", "mpeg2video"), "mjpeg": ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p"),
    "vp8": ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8"), "ffv1": ("-c:v", "ffv1"),
    "vp9": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"), "png": ("-c:v", "png"),
    "hevc": ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:pools=1"),
    "raw": ("-c:v", "rawvideo", "-pix_fmt", "yuv420p"), "prores": ("-c:v", "prores_ks"),
    "wmv2": ("-c:v", "wmv2"), "flv1": ("-c:v", "flv1"), "theora": ("-c:v", "libtheora"),
}  # fmt: skip
IN_CONTAINERS = [
    ("matroska", "h264"), ("matroska", "vp9"), ("matroska", "ffv1"), ("matroska", "mjpeg"), ("matroska", "hevc"),
    ("matroska", "mpeg4"), ("matroska", "raw"), ("webm", "vp8"), ("webm", "vp9"), ("avi", "mpeg4"), ("avi", "mjpeg"),
    ("avi", "h264"), ("avi", "raw"), ("mpegts", "h264"), ("mpegts", "mpeg2"), ("mpegts", "hevc"), ("mpeg", "mpeg2"),
    ("flv", "h264"), ("flv", "flv1"), ("asf", "wmv2"), ("ogg", "theora"), ("mov", "h264"), ("mov", "prores"),
    ("mov", "png"), ("mov", "mjpeg"), ("mp4", "hevc"), ("mp4", "mpeg4"), ("mp4", "vp9"), ("mp4", "h264 444"),
    ("mp4", "h264 10 bit"), ("mp4", "mjpeg"), ("3gp", "mpeg4"), ("nut", "mpeg4"), ("ismv", "h264"),
]  # fmt: skip
AUDIO = {"webm": ("-c:a", "libopus"), "ogg": ("-c:a", "libvorbis"), "mpeg": ("-c:a", "mp2"), "avi": ("-c:a", "mp3"),
         "flv": ("-c:a", "mp3", "-ar", "22050"), "asf": ("-c:a", "wmav2")}  # fmt: skip


def oddities():
    """{name: make(mp4, wav)} of all odd clips."""
    found = {"usual": filmed(), "usual without its own sound": filmed(sound=0)}
    for container, codec in IN_CONTAINERS:
        audio = AUDIO.get(container, ("-c:a", "aac"))
        found[f"{codec} in {container}"] = filmed(container=container, codec=CODECS[codec], aenc=audio)
    for fps in (1, 2, 5, 10, 12.5, 30000 / 1001, 50, 60, 120):
        found[f"{fps:.4g} frames per second"] = filmed(fps=fps)
    for container in ("mp4", "matroska", "mpegts", "avi"):
        audio = AUDIO.get(container, ("-c:a", "aac"))
        for extra in (-0.5, 0.35, 0.5, 2.0):
            found[f"sound longer by {extra} s in {container}"] = filmed(
                container=container, sound=SECONDS + extra, aenc=audio)  # fmt: skip
    for container, codec in (("mp4", "h264"), ("matroska", "h264"), ("webm", "vp9"), ("matroska", "mjpeg")):
        more = ("-c:a", "libopus") if container == "webm" else ()
        shapes = {"a still": ([0], 4), "two slides": ([0, 2], 4), "slides": ([0, 0.5, 1.7, 2.0, 3.1], 4),
                  "a slide that ends early": ([0, 1.0], 1.5)}  # fmt: skip
        for name, (times, last) in shapes.items():
            found[f"{name}, {codec} in {container}"] = slides(container, CODECS[codec], times, last, more=more)
        found[f"a still without sound, {codec} in {container}"] = slides(container, CODECS[codec], [0], 3, sound=0)
    for start in (0.03, 0.3, 0.7, 1.2):
        for container in ("mp4", "matroska"):
            found[f"first frame at {start} s in {container}"] = late(start, container)
    return found | _structures() | _damages() | _sounds()


def _structures():
    copy = {
        "cut without a key frame, mp4": copied("-ss", "0.7", "-t", "2"),
        "cut without a key frame, mkv": copied("-ss", "0.7", "-t", "2", container="matroska"),
        "cut without a key frame, ts": copied("-ss", "0.7", "-t", "2", container="mpegts"),
        "times shifted by -0.2 s": copied("-t", "2", "-output_ts_offset", "-0.2", "-avoid_negative_ts", "disabled"),
        "times shifted by 5 s": copied("-t", "2", "-output_ts_offset", "5"),
        "mkv, times shifted by 5 s": copied("-t", "2", "-output_ts_offset", "5", container="matroska"),
        "fragments": copied("-t", "2", "-movflags", "frag_keyframe+empty_moov"),
        "fragments of a frame each": filmed(more=("-bf", "0", "-movflags", "frag_every_frame+empty_moov")),
        "no key frame is marked": bad_packets("matroska", H264, set(), marked=False),
        "index in front": copied("-t", "2", "-movflags", "faststart"),
        "live mkv without lengths": copied("-t", "2", "-live", "1", container="matroska"),
        "bitstream of h264": copied("-t", "2", "-an", container="h264"),
        "with data and chapters": copied("-t", "2", "-metadata", "title=x\ny"),
    }
    gop = {"gop": 250, "open": "open-gop=1:keyint=12:bframes=3:b-adapt=0:scenecut=0"}
    return copy | {
        "one key frame": filmed(more=("-g", gop["gop"])),
        "open groups of pictures": filmed(more=("-x264-params", gop["open"])),
        "open groups of pictures in mkv": filmed(container="matroska", more=("-x264-params", gop["open"])),
        "open groups, cut": copied("-ss", "0.6", "-t", "2", source=("mp4", {"more": ("-x264-params", gop["open"])})),
        "many B frames": filmed(more=("-bf", "8", "-b_strategy", "0")),
        "intra only": filmed(more=("-g", "1")),
        "mpeg4 with B frames in avi": filmed(container="avi", codec=("-c:v", "mpeg4", "-bf", "2"), aenc=AUDIO["avi"]),
        "interlaced": filmed(more=("-flags", "+ildct+ilme", "-x264opts", "tff=1")),
        "grey": filmed(codec=(*H264[:-4], "-pix_fmt", "gray")),
        "wide pixels": filmed(more=("-vf", "setsar=2")),
        "odd sizes": filmed(size="63x47", codec=("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv444p")),
        "tiny": filmed(size="16x16"),
        "very wide": filmed(size="1024x16"),
        "variable rate": filmed(more=("-vf", "select='not(mod(n,3))+lt(n,20)'", "-fps_mode", "vfr")),
        "a pause of a second": filmed(more=("-vf", "select='lt(n,15)+gt(n,40)'", "-fps_mode", "vfr")),
        "two video streams": two_streams("64x48", "128x96"),
        "two video streams, the better first": two_streams("128x96", "32x32"),
        "a cover picture for a video": with_cover,
        "two files joined": joined,
        "garbage at the end": changed(filmed(), appended(random.Random(0).randbytes(3000))),
        "zeros at the end": changed(filmed(), appended(bytes(3000))),
        "a web page at the end": changed(filmed(), appended(b"<html>504</html>")),
        "an ffconcat script": lambda mp4, wav: (write_sound(wav, sweep()), mp4.write_text("ffconcat version 1.0\n")),
        "a folder": lambda mp4, wav: (write_sound(wav, sweep()), mp4.mkdir()),
        "a dangling link": lambda mp4, wav: (write_sound(wav, sweep()), mp4.symlink_to("nowhere")),
    }  # fmt: skip


def _damages():
    usual = filmed(codec=(*H264, "-g", "10"))
    found = {f"mp4: {name}": changed(usual, ruin) for name, (ruin, _) in BAD_VIDEOS.items() if "hole" not in name
             and "damaged in" not in name and "64 bits" not in name}  # fmt: skip
    for seconds in (0.2, 0.45, 0.52, 0.96, 1.0, 1.04):
        found[f"video of {seconds} s"] = partial(_short, seconds, SECONDS)
        found[f"wav of {seconds} s"] = partial(_short, SECONDS, seconds)
    for container, codec in (("mp4", "h264"), ("matroska", "h264"), ("matroska", "mjpeg"), ("avi", "mjpeg"),
                             ("avi", "mpeg4"), ("mpegts", "h264"), ("matroska", "vp9"), ("mp4", "mpeg4")):  # fmt: skip
        audio = AUDIO.get(container, ("-c:a", "aac"))
        for name, numbers in (("first", {0}), ("middle", {24}), ("last", {49})):
            if (name, container) == ("first", "mpegts"):
                continue  # ffmpeg doesn't write it
            found[f"{name} packet of garbage, {codec} in {container}"] = bad_packets(
                container, CODECS[codec], numbers, aenc=audio)  # fmt: skip
        found[f"an empty packet, {codec} in {container}"] = bad_packets(
            container, CODECS[codec], {24}, content=b"\0", aenc=audio)  # fmt: skip
    for container in ("matroska", "mpegts", "avi", "flv"):
        audio = AUDIO.get(container, ("-c:a", "aac"))
        made = filmed(container=container, codec=CODECS["mpeg4" if container == "avi" else "h264"], aenc=audio)
        found[f"{container}, cut in the middle"] = changed(made, cut(0.6))
        found[f"{container}, last bytes gone"] = changed(made, cut(0.985))
        found[f"{container}, bytes replaced"] = changed(made, replaced(0.5, 400))
    for position in (0.02, 0.3, 0.6, 0.97):
        found[f"bytes replaced at {position}"] = changed(usual, replaced(position, 200))
        found[f"zeros at {position}"] = changed(usual, replaced(position, 200, bytes(200)))
    return found


def _short(video, sound, mp4, wav):
    film(mp4, seconds=video, sound=0)
    write_sound(wav, sweep(sound))


def _sounds():
    found = {f"wav: {name}": changed(filmed(), ruin, half=1) for name, (ruin, _) in BAD_SOUNDS.items()}
    for subtype in ("PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610"):
        found[f"wav of {subtype}"] = heard(subtype=subtype)
    for kind in ("WAVEX", "RF64", "W64", "AIFF", "FLAC", "OGG", "AU", "CAF", "MP3"):
        found[f"{kind} called wav"] = heard(format=kind)
    for rate in (4000, 8000, 11025, 22050, 44100, 44056, 96000, 192000):
        found[f"wav of {rate} Hz"] = heard(rate=rate)
    for channels in (2, 6, 9):
        found[f"wav of {channels} channels"] = heard(np.repeat(sweep()[:, None], channels, 1))
    found |= {
        "aac called wav": transcoded("-c:a", "aac", "-f", "adts"),
        "m4a called wav": transcoded("-c:a", "aac", "-f", "mp4"),
        "mp3 called wav": transcoded("-c:a", "mp3", "-f", "mp3"),
        "wav with an mp3 in it": transcoded("-c:a", "mp3", "-f", "wav"),
        "wav, cut": changed(filmed(), cut(0.75), half=1),
        "wav, cut at an odd byte": changed(filmed(), lambda p: p.write_bytes(p.read_bytes()[:-333]), half=1),
        "wav, no length": changed(filmed(), overwritten(0, b"RIFF\xff\xff\xff\xff"), half=1),
        "wav, length 0": changed(filmed(), overwritten(40, bytes(4)), half=1),
        "wav, garbage at the end": changed(filmed(), appended(b"LISTxxxxxxxxx" * 9), half=1),
        "wav, half of it silent": heard(np.concatenate([np.zeros(RATE), sweep()[RATE:]])),
        "wav, clipped": heard(np.clip(9 * sweep(), -1, 1)),
        "wav, one click in silence": heard(np.eye(1, 2 * RATE, RATE)[0]),
        "wav, faint noise": heard(1e-4 * np.random.default_rng(0).standard_normal(2 * RATE)),
        "wav, steady value": heard(np.full(2 * RATE, 0.25)),
        "wav, late by 60 ms": heard(np.concatenate([np.zeros(960), sweep()])),
        "wav, another sound": heard(tone(2, RATE)),
        "a folder for a wav": lambda mp4, wav: (film(mp4), wav.mkdir()),
        "no wav": lambda mp4, wav: film(mp4),
    }  # fmt: skip
    return found


def make_oddity(make, folder: Path, clip="a"):
    """Write one odd clip into the folder of a split; returns its two paths."""
    mp4, wav = folder / "video" / f"{clip}.mp4", folder / "audio" / f"{clip}.wav"
    for path in (mp4, wav):
        path.parent.mkdir(parents=True, exist_ok=True)
    make(mp4, wav)
    return mp4, wav
