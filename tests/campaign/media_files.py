"""Generated media: containers and codecs with oddities that are valid, and damage of all kinds."""

import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import imageio_ffmpeg
import numpy as np

SIZE = "64x48"
SECONDS = 3
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-threads", "1", "-pix_fmt", "yuv420p")
SOUND = ("-c:a", "aac", "-b:a", "64k")
# {name: (suffix, encoding)}: what ffmpeg writes of a picture and a sound of SECONDS.
CONTAINERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "mp4": ("mp4", (*H264, *SOUND)),
    "mp4_faststart": ("mp4", (*H264, *SOUND, "-movflags", "faststart")),
    "mp4_fragments": ("mp4", (*H264, *SOUND, "-movflags", "frag_keyframe+empty_moov", "-g", "10")),
    "mp4_hevc": ("mp4", ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:pools=1", *SOUND)),
    "mp4_mpeg4": ("mp4", ("-c:v", "mpeg4", "-bf", "2", *SOUND)),
    "mp4_av1": ("mp4", ("-c:v", "libsvtav1", "-preset", "12", *SOUND)),
    "mp4_mp3": ("mp4", (*H264, "-c:a", "libmp3lame")),
    "mov": ("mov", (*H264, "-c:a", "pcm_s16le")),
    "mov_prores": ("mov", ("-c:v", "prores", "-c:a", "pcm_s16le")),
    "mkv": ("mkv", (*H264, *SOUND)),
    "mkv_opus": ("mkv", (*H264, "-c:a", "libopus")),
    "mkv_ffv1": ("mkv", ("-c:v", "ffv1", "-c:a", "flac")),
    "mkv_mjpeg": ("mkv", ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-c:a", "pcm_s16le")),
    "mkv_vp8": ("mkv", ("-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libvorbis")),
    "webm_vp9": ("webm", ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus")),
    "webm_alpha": ("webm", ("-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", "-deadline", "realtime", "-c:a", "libopus")),
    "avi": ("avi", ("-c:v", "mpeg4", "-c:a", "libmp3lame")),
    "avi_h264": ("avi", (*H264, "-bf", "0", "-c:a", "pcm_s16le")),
    "flv": ("flv", (*H264, *SOUND)),
    "ts": ("ts", (*H264, *SOUND)),
    "mpg": ("mpg", ("-c:v", "mpeg2video", "-c:a", "mp2")),
    "mpg1": ("mpg", ("-c:v", "mpeg1video", "-c:a", "mp2")),
    "wmv": ("wmv", ("-c:v", "wmv2", "-c:a", "wmav2")),
    "ogv": ("ogv", ("-c:v", "libtheora", "-c:a", "libvorbis")),
    "3gp": ("3gp", (*H264, *SOUND)),
}
BFRAMES = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-threads", "1", "-preset", "fast", "-bf", "3")
# {name: (suffix, options before the inputs, options after them)}: valid, if odd.
ODDITIES: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    **{f"size_{size}": ("mkv", ("-s", size), ("-c:v", "ffv1", "-c:a", "flac")) for size in
       ("1x1", "2x2", "9x5", "63x47", "17x1", "8x200", "4096x2", "1000x16", "16x2160")},
    **{f"rate_{rate.replace('/', '_')}": ("mp4", ("-r", rate), (*H264, *SOUND)) for rate in
       ("1", "5", "12.5", "30000/1001", "60", "120", "1/2")},
    **{f"pixels_{pixels}": ("mkv", (), ("-c:v", "ffv1", "-pix_fmt", pixels, "-c:a", "flac")) for pixels in
       ("gray", "gray10le", "gray16le", "yuv411p", "yuv440p", "yuv444p16le", "yuva444p", "bgr0", "gbrp12le", "ya8")},
    **{f"h264_{pixels}": ("mp4", (), ("-c:v", "libx264", "-pix_fmt", pixels, "-threads", "1", *SOUND)) for pixels in
       ("yuvj420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "gray", "nv12")},
    **{f"colors_{space}_{levels}": ("mp4", (), (*H264, *SOUND, "-colorspace", space, "-color_range",
        levels)) for space in
       ("bt709", "bt470bg", "smpte170m", "bt2020nc", "fcc") for levels in ("tv", "pc")},
    **{f"hdr_{trc}": ("mp4", (), ("-c:v", "libx264", "-pix_fmt", "yuv420p10le", "-threads", "1", *SOUND, "-color_trc",
        trc,
                                  "-color_primaries", "bt2020", "-colorspace", "bt2020nc"))
       for trc in ("smpte2084", "arib-std-b67")},
    **{f"rotated_{angle}{flip}": ("mp4", ("-display_rotation", angle, *((f"-display_{flip}",) if flip else ())), ())
       for angle in ("90", "180", "270", "37") for flip in ("", "hflip", "vflip")},
    **{f"sound_at_{offset}": ("mp4", ("-itsoffset", offset), ()) for offset in ("0.3", "1", "-0.4", "-1")},
    **{f"copy_from_{start}_{suffix}": (suffix, ("-ss", start), ()) for start in ("0.5", "0.9")
       for suffix in ("mp4", "mkv", "ts", "mov")},
    "b_frames": ("mp4", (), (*BFRAMES, *SOUND)),
    "open_gop": ("mkv", (), (*BFRAMES, "-x264-params", "open-gop=1:keyint=10", *SOUND)),
    "open_gop_ts": ("ts", (), (*BFRAMES, "-x264-params", "open-gop=1:keyint=10", *SOUND)),
    "intra_refresh": ("mp4", (), (*BFRAMES, "-x264-params", "intra-refresh=1:keyint=30", *SOUND)),
    "one_key_frame": ("mp4", (), (*H264, "-g", "10000", *SOUND)),
    "all_key_frames": ("mp4", (), (*H264, "-g", "1", *SOUND)),
    "interlaced": ("mp4", (), ("-vf", "tinterlace=interleave_top,fieldorder=tff", *H264, "-flags", "+ilme+ildct",
        *SOUND)),
    "interlaced_mpeg2": ("mpg", (), ("-c:v", "mpeg2video", "-flags", "+ilme+ildct", "-c:a", "mp2")),
    "anamorphic": ("mp4", (), ("-vf", "setsar=64/45", *H264, *SOUND)),
    "anamorphic_4": ("mkv", (), ("-vf", "setsar=4", *H264, *SOUND)),
    "variable_rate": ("mp4", (), ("-vf", "select='not(mod(n,7))+lt(n,20)'", "-fps_mode", "vfr", *H264, *SOUND)),
    "variable_rate_mkv": ("mkv", (), ("-vf", "select='not(mod(n,11))+gt(n,50)'", "-fps_mode", "vfr", *H264, *SOUND)),
    "gap": ("mkv", (), ("-vf", "select='lt(n,20)+gt(n,45)'", "-fps_mode", "vfr", *H264, *SOUND)),
    "no_sound": ("mp4", (), (*H264, "-an")),
    "cropped": ("mkv", (), ("-c:v", "libx264", "-threads", "1", "-pix_fmt", "yuv420p", "-vf", "crop=50:38", *SOUND)),
    "low_rate_sound": ("mp4", (), (*H264, "-c:a", "aac", "-ar", "8000")),
    "six_channels": ("mkv", (), (*H264, "-c:a", "aac", "-ac", "6")),
    "timecode": ("mov", (), (*H264, "-c:a", "pcm_s16le", "-timecode", "01:00:00:00")),
    "time_base": ("mp4", (), (*H264, *SOUND, "-video_track_timescale", "7")),
    "fine_time_base": ("mp4", (), (*H264, *SOUND, "-video_track_timescale", "1000000")),
    "negative_dts": ("mp4", (), (*BFRAMES, *SOUND, "-movflags", "negative_cts_offsets")),
    "no_edit_list": ("mp4", (), (*BFRAMES, *SOUND, "-use_editlist", "0")),
    "late_start": ("mkv", (), (*H264, *SOUND, "-output_ts_offset", "0.2")),
    "far_start_ts": ("ts", (), (*H264, *SOUND, "-output_ts_offset", "26000")),
    "cluster_live": ("mkv", (), (*H264, *SOUND, "-live", "1")),
    "short_sound": ("mkv", (), (*H264, "-c:a", "aac", "-af", "atrim=0:1.5")),
    "long_sound": ("mkv", (), (*H264, "-c:a", "aac", "-af", "apad=pad_dur=1")),
}  # fmt: skip


def ffmpeg(*words: str | Path | float) -> None:
    """Run ffmpeg with these `words`.

    Raises:
        RuntimeError: it fails; with its last words.
    """
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", "-y", *map(str, words)]
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace")[-300:])


def make_container(name: str, path: Path) -> None:
    """Write the file `path`, one of CONTAINERS by its `name`."""
    sources = ("-f", "lavfi", "-i", f"testsrc2=s={SIZE}:r=25:d={SECONDS}", "-f", "lavfi", "-i",
               f"anoisesrc=d={SECONDS}:a=0.3:seed=1:r=48000")  # fmt: skip
    ffmpeg(*sources, *CONTAINERS[name][1], path)


def make_oddity(name: str, base: Path, path: Path) -> None:
    """Write a valid, odd file.

    Args:
        name: one of ODDITIES.
        base: an ordinary mp4, for those that are copied.
        path: to write to.
    """
    _, before, after = ODDITIES[name]
    if name.startswith(("rotated", "copy_from")):
        ffmpeg(*before, "-i", base, "-c", "copy", path)
    elif name.startswith("sound_at"):
        ffmpeg("-i", base, *before, "-i", base, "-map", "0:v", "-map", "1:a", "-c", "copy", path)
    else:
        options = dict(zip(before[::2], before[1::2], strict=True))
        scale = f",scale={options['-s'].replace('x', ':')}" if "-s" in options else ""
        picture = f"testsrc2=s={SIZE}:r={options.get('-r', 25)}:d={SECONDS}{scale}"
        noise = f"anoisesrc=d={SECONDS}:a=0.3:seed=1:r=48000"
        ffmpeg("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", noise, *after, path)


def write_slides(path: Path, times: list[float], until: float, codec: tuple[str, ...] = H264) -> None:
    """Write pictures that are shown from `times` on, seconds, the last one `until` the sound ends.

    Args:
        path: mkv, webm or mp4.
        times, until: seconds.
        codec: options of the video's encoder.
    """
    shown = "+".join(f"eq(n,{round(time * 25)})" for time in times)
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s={SIZE}:r=25:d={until}", "-f", "lavfi", "-i",
        f"anoisesrc=d={until}:a=0.3:seed=1",
           "-vf", f"select='{shown}'", "-fps_mode", "vfr", *codec, "-c:a", "libopus", path)  # fmt: skip


Damage = Callable[[bytes, np.random.Generator], bytes]


@cache
def damages() -> dict[str, Damage]:
    """{name: how bytes are damaged}."""

    def truncate(content: bytes, rng: np.random.Generator) -> bytes:
        return content[: int(rng.integers(1, len(content)))]

    def flip(content: bytes, rng: np.random.Generator, count: int = 12) -> bytes:
        out = bytearray(content)
        for place in rng.integers(0, len(out), count):
            out[place] ^= 1 << int(rng.integers(8))
        return bytes(out)

    def zeros(content: bytes, rng: np.random.Generator) -> bytes:
        start, size = int(rng.integers(len(content))), int(rng.integers(16, 2000))
        return content[:start] + bytes(min(size, len(content) - start)) + content[start + size :]

    def swap(content: bytes, rng: np.random.Generator) -> bytes:
        size = len(content) // 16
        one, two = sorted(int(k) * size for k in rng.choice(16, 2, replace=False))
        out = bytearray(content)
        out[one : one + size], out[two : two + size] = content[two : two + size], content[one : one + size]
        return bytes(out)

    def drop(content: bytes, rng: np.random.Generator) -> bytes:
        start, size = int(rng.integers(len(content))), int(rng.integers(1, 3000))
        return content[:start] + content[start + size :]

    def numbers(content: bytes, rng: np.random.Generator) -> bytes:
        """Write extreme numbers over the head, or the index at the end."""
        out, region = bytearray(content), min(len(content), 3000)
        for _ in range(6):
            place = int(rng.integers(region)) if rng.random() < 0.5 else len(out) - 1 - int(rng.integers(region))
            out[place : place + 4] = [b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", bytes(4), b"\0\0\0\1"][rng.integers(4)]
        return bytes(out[: len(content)])

    def noise(content: bytes, rng: np.random.Generator) -> bytes:
        start, size = int(rng.integers(len(content))), int(rng.integers(16, 4000))
        return content[:start] + rng.bytes(min(size, len(content) - start)) + content[start + size :]

    return {"truncate": truncate, "flip": flip, "zeros": zeros, "swap": swap, "drop": drop, "numbers": numbers,
            "noise": noise}  # fmt: skip
