"""Make odd clips, a video and a wav each: most are written by `ffmpeg`, in a tenth of a second."""

import random
import subprocess
from functools import cache

import imageio_ffmpeg
import numpy as np
import soundfile
from helpers import numbered, write_sound, write_video

SECONDS, RATE = 2.0, 16000
H264 = ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-threads", "1")
SWEEP = f"aevalsrc='0.4*sin(2*PI*(200*t+60*t*t))':s={RATE}"


@cache
def ffmpeg():
    return imageio_ffmpeg.get_ffmpeg_exe()


def run(*words, check=True):
    done = subprocess.run(
        [ffmpeg(), "-hide_banner", "-loglevel", "error", "-y", *map(str, words)], capture_output=True, check=False
    )
    if check and done.returncode:
        raise RuntimeError(done.stderr.decode()[-500:])


def film(mp4, container="mp4", codec=H264, seconds=SECONDS, fps=25, size="64x48", sound=None, aenc=("-c:a", "aac"),
         video="", more=(), before=()):  # fmt: skip
    """Write a video of moving blocks; with `sound` seconds of its own sound, 0 for none."""
    lasts = seconds if sound is None else sound
    words = [*before, "-f", "lavfi", "-i", f"testsrc2=size={size}:rate={fps}:duration={seconds}{video}"]
    if lasts:
        words += ["-f", "lavfi", "-i", f"{SWEEP}:d={lasts}", "-map", "0:v", "-map", "1:a", *aenc]
    run(*words, *codec, *more, "-f", container, mp4)


def sweep(seconds=SECONDS, rate=RATE):
    t = np.arange(round(seconds * rate)) / rate
    return 0.4 * np.sin(2 * np.pi * (200 * t + 60 * t**2))


def filmed(**options):
    """A clip with this video, and the wav of its sound."""

    def make(mp4, wav):
        film(mp4, **options)
        write_sound(wav, sweep(options.get("sound") or options.get("seconds", SECONDS)))

    return make


def heard(sound=None, rate=RATE, **options):
    """A usual video with this wav."""

    def make(mp4, wav):
        film(mp4)
        soundfile.write(wav, sweep(rate=rate) if sound is None else sound, rate, **{"format": "WAV", **options})

    return make


def transcoded(*words):
    """A usual video, and a file called .wav that ffmpeg wrote with these options."""

    def make(mp4, wav):
        film(mp4)
        run("-f", "lavfi", "-i", f"{SWEEP}:d={SECONDS}", *words, wav)

    return make


def changed(make, ruin, half=0):
    """A clip of which one file is damaged afterwards."""

    def do(mp4, wav):
        make(mp4, wav)
        ruin((mp4, wav)[half])

    return do


def replaced(position, length, content=None):
    """Overwrite bytes at a fraction of the file."""

    def ruin(path):
        data = bytearray(path.read_bytes())
        at = int(position * len(data))
        data[at : at + length] = random.Random(1).randbytes(length) if content is None else content
        path.write_bytes(data)

    return ruin


def overwritten(at, content):
    """Overwrite bytes at a position."""
    return lambda path: path.write_bytes(path.read_bytes()[:at] + content + path.read_bytes()[at + len(content) :])


def cut(fraction):
    return lambda path: path.write_bytes(path.read_bytes()[: int(fraction * path.stat().st_size)])


def appended(content):
    return lambda path: path.write_bytes(path.read_bytes() + content)


def bad_packets(container, codec, numbers, content=b"\xff\x00garbage" * 9, marked=True, **options):
    """Write a video, and copy it with other content in some packets: each can't be decoded; `marked`: as key frames."""

    def make(mp4, wav):
        import av

        film(mp4.with_suffix(".tmp"), container=container, codec=codec, **options)
        with av.open(str(mp4.with_suffix(".tmp"))) as source, av.open(str(mp4), "w", format=container) as out:
            streams = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
            count = 0
            for packet in source.demux():
                if not packet.size:
                    continue
                stream = streams[packet.stream.index]
                if packet.stream.type == "video":
                    if count in numbers:
                        bad = av.Packet(content)
                        bad.pts, bad.dts, bad.duration, bad.time_base = (
                            packet.pts, packet.dts, packet.duration, packet.time_base)  # fmt: skip
                        bad.is_keyframe = packet.is_keyframe
                        packet = bad
                    packet.is_keyframe &= marked
                    count += 1
                packet.stream = stream
                out.mux(packet)
        mp4.with_suffix(".tmp").unlink()
        write_sound(wav, sweep())

    return make


def slides(container, codec, times, last, sound=SECONDS * 2, more=()):
    """Pictures shown from these times on, the last one until `last`."""

    def make(mp4, wav):
        lengths = np.diff([*times, last])
        folder = mp4.parent
        listing = folder / "list.txt"
        lines = ["ffconcat version 1.0"]
        for k, length in enumerate(lengths):
            run("-f", "lavfi", "-i", f"testsrc2=size=64x48:rate=1:duration=1,hue=h={50 * k}", "-frames:v", "1",
                folder / f"{k}.png")  # fmt: skip
            lines += [f"file {k}.png", f"duration {length:.3f}"]
        listing.write_text("\n".join(lines) + "\n")
        words = ["-f", "concat", "-i", listing]
        if sound:
            words += ["-f", "lavfi", "-i", f"{SWEEP}:d={sound}", "-map", "0:v", "-map", "1:a"]
        run(*words, "-fps_mode", "passthrough", *codec, *more, "-f", container, mp4)
        for path in [listing, *folder.glob("*.png")]:
            path.unlink()
        write_sound(wav, sweep(sound or SECONDS))

    return make


def late(start, container="mp4"):
    def make(mp4, wav):
        count = round((SECONDS - start) * 25)
        write_video(mp4, [numbered(k) for k in range(count)], times=[start + k / 25 for k in range(count)],
                    sound=sweep(), container=container)  # fmt: skip
        write_sound(wav, sweep())

    return make


def copied(*words, container="mp4", source=("mp4", {"fps": 25})):
    """Copy the streams of a video of 4 s to another file with these options, without decoding."""

    def make(mp4, wav):
        first = mp4.with_suffix(".source")
        film(first, container=source[0], seconds=4, **source[1])
        run("-i", first, *words, "-c", "copy", "-f", container, mp4)
        first.unlink()
        write_sound(wav, sweep())

    return make


def joined(mp4, wav):
    """Two files one after the other, as a download that was resumed at the wrong place."""
    film(mp4)
    mp4.write_bytes(mp4.read_bytes() * 2)
    write_sound(wav, sweep())


def with_cover(mp4, wav):
    """Sound, with a cover picture in the place of a video."""
    run("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=1:duration=1", "-frames:v", "1", mp4.with_suffix(".png"))
    run("-f", "lavfi", "-i", f"{SWEEP}:d=2", "-i", mp4.with_suffix(".png"), "-map", "0", "-map", "1", "-c:v", "copy",
        "-disposition:v:0", "attached_pic", "-f", "mp4", mp4)  # fmt: skip
    mp4.with_suffix(".png").unlink()
    write_sound(wav, sweep())


def two_streams(first, second):
    def make(mp4, wav):
        run("-f", "lavfi", "-i", f"testsrc2=size={first}:rate=25:duration=2", "-f", "lavfi", "-i",
            f"testsrc=size={second}:rate=10:duration=2", "-f", "lavfi", "-i", f"{SWEEP}:d=2", "-map", "0", "-map", "1",
            "-map", "2", *H264, "-f", "mp4", mp4)  # fmt: skip
        write_sound(wav, sweep())

    return make
