"""Sound files of every kind, valid and broken: {name: (make, must)}.

`make(path)` writes the file. `must` is "pass", "refuse", or "" where both are right, as long as all agree.
"""

import os
import shutil
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

Make = Callable[[Path], object]

SECONDS, RATE = 2.3, 16000
LEFT_OUT = ("RAW", "SD2")  # formats of soundfile without a header, or with a second file
CHANNELS = range(1, 9)
RATES = (
    1, 10, 100, 1000, 2000, 4000, 7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 37800, 44056, 44099, 44100,
    44101, 47952, 48000, 50000, 64000, 88200, 96000, 176400, 192000, 352800, 384000, 768000, 1_000_000, 2**31 - 1,
)  # fmt: skip
VALID_RATES = range(1000, 384_001)  # which must be read


def noise(rate: int = RATE, channels: int = 1, seconds: float = SECONDS) -> np.ndarray:
    """Make noise: (samples, channels) float64."""
    return np.random.default_rng(1).uniform(-0.8, 0.8, (round(seconds * rate), channels))


def files() -> Iterator[tuple[str, Make, str]]:
    """Yield (name, make, must)."""
    for kind in soundfile.available_formats():
        for subtype in soundfile.available_subtypes(kind) if kind not in LEFT_OUT else ():
            yield f"format_{kind}_{subtype}", partial(_format, kind, subtype), ""
    for channels in CHANNELS:
        for subtype in ("PCM_16", "FLOAT"):
            yield f"channels_{channels}_{subtype}", partial(_write, noise(channels=channels), RATE, subtype), "pass"
    for rate in RATES:
        yield f"rate_{rate}", partial(_stated_rate, rate), "pass" if rate in VALID_RATES else ""
    for name, (samples, must) in contents().items():
        yield f"content_{name}", partial(_write, samples, RATE, "FLOAT"), must
    for count in (0, 1, 2, 160, RATE - 1, RATE, RATE + 1):
        must = "pass" if count >= RATE else "refuse"
        yield f"samples_{count}", partial(_write, noise()[:count], RATE, "PCM_16"), must
    for name, (change, must) in HEADERS.items():
        yield f"header_{name}", partial(_changed, change), must
    for name, (make, must) in OTHERS.items():
        yield f"other_{name}", make, must


def contents() -> dict[str, tuple[np.ndarray, str]]:
    """Sounds whose samples are odd, by name: (samples, must)."""
    sound, count = noise(), round(SECONDS * RATE)

    def with_value(value: float, at: int) -> np.ndarray:
        changed = sound.copy()
        changed[at] = value
        return changed

    odd = {
        f"{name}_at_{place}": (with_value(value, at), "refuse")
        for name, value in (("nan", np.nan), ("infinity", np.inf), ("minus_infinity", -np.inf))
        for place, at in (("start", 0), ("middle", count // 2), ("end", count - 1))
    }
    half = np.concatenate([np.zeros((count // 2, 1)), sound[count // 2 :]])
    return odd | {
        "silence": (np.zeros((count, 1)), "refuse"),
        "negative_zeros": (-np.zeros((count, 1)), "refuse"),
        "below_16_bits": (1e-6 * sound, "refuse"),
        "opposite_channels": (np.concatenate([sound, -sound], 1), "refuse"),
        "one_sample": (with_value(0.5, 5) * (np.arange(count) == 5)[:, None], "pass"),
        "silent_start": (half, "pass"),
        "silent_end": (half[::-1], "pass"),
        "constant": (np.full((count, 1), 0.5), "pass"),
        "full_scale": (np.sign(sound), "pass"),
        "clipped": (5 * sound, "pass"),
        "large": (1e20 * sound, "pass"),
        "denormal": (sound + 1e-310, "pass"),
        "one_channel_silent": (np.concatenate([sound, 0 * sound], 1), "pass"),
        "nan_in_one_channel": (np.concatenate([sound, with_value(np.nan, 9)], 1), "refuse"),
    }


def _write(samples: np.ndarray, rate: int, subtype: str, path: Path) -> None:
    soundfile.write(path, samples, rate, subtype, format="WAV")


def _format(kind: str, subtype: str, path: Path) -> None:
    """Write a format under the name .wav, at a rate and with the channels that it takes; what it can't do is a wav."""
    for rate, channels in ((RATE, 2), (RATE, 1), (44100, 1), (8000, 1), (48000, 1)):
        try:
            soundfile.write(path, noise(rate, channels), rate, subtype, format=kind)
            return
        except (soundfile.LibsndfileError, ValueError):
            continue
    _write(noise(), RATE, "PCM_16", path)


def _stated_rate(rate: int, path: Path) -> None:
    """Write at most 400,000 samples of a wav that states this rate."""
    samples = noise(1, 1, min(max(2.3 * rate, 40.0), 900_000))
    _write(samples, RATE, "PCM_16", path)
    content = bytearray(path.read_bytes())
    content[24:32] = struct.pack("<II", rate, min(2 * rate, 2**32 - 1))
    path.write_bytes(content)


def _changed(change: Callable[[bytes], bytes], path: Path) -> None:
    _write(noise(), RATE, "PCM_16", path)
    path.write_bytes(change(path.read_bytes()))


def _field(at: int, code: str, value: int) -> Callable[[bytes], bytes]:
    """Set a number of the header."""
    return lambda wav: wav[:at] + struct.pack(code, value) + wav[at + struct.calcsize(code) :]


def _chunk(name: bytes, content: bytes, stated: int | None = None) -> bytes:
    size = len(content) if stated is None else stated
    return name + struct.pack("<I", size) + content + bytes(len(content) % 2)


def _before_data(chunk: bytes) -> Callable[[bytes], bytes]:
    return lambda wav: wav[:36] + chunk + wav[36:]


LENGTH = round(SECONDS * RATE) * 2  # bytes of the samples
HEADERS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    **{
        f"cut_to_{percent}_percent": (lambda wav, p=percent: wav[: len(wav) * p // 100], "")  # type: ignore[misc]
        for percent in (1, 10, 50, 90, 99)
    },
    **{f"cut_to_{count}_bytes": (lambda wav, n=count: wav[:n], "refuse") for count in (1, 4, 12, 20, 36, 43, 44, 45)},  # type: ignore[misc]
    "data_longer_than_stated": (_field(40, "<I", LENGTH // 2), ""),
    "data_shorter_than_stated": (_field(40, "<I", 2 * LENGTH), ""),
    "data_of_odd_size": (_field(40, "<I", LENGTH - 1), ""),
    "data_of_size_0": (_field(40, "<I", 0), ""),
    "data_of_unknown_size": (_field(40, "<I", 2**32 - 1), ""),
    "riff_of_size_0": (_field(4, "<I", 0), ""),
    "riff_of_unknown_size": (_field(4, "<I", 2**32 - 1), ""),
    "no_format": (lambda wav: wav[:12] + wav[36:], "refuse"),
    "format_after_data": (lambda wav: wav[:12] + wav[36:] + wav[12:36], ""),
    "no_data": (lambda wav: wav[:36], "refuse"),
    "two_data_parts": (lambda wav: wav + wav[36:], ""),
    "big_endian_name": (lambda wav: b"RIFX" + wav[4:], ""),
    "no_wave": (lambda wav: wav[:8] + b"AVI " + wav[12:], ""),
    "lower_case": (lambda wav: b"riff" + wav[4:], ""),
    "garbage_after": (lambda wav: wav + bytes(range(256)) * 20, ""),
    "garbage_before": (lambda wav: b"\0" * 100 + wav, ""),
    "id3_before": (lambda wav: b"ID3\x03\0\0\0\0\0\x0a" + bytes(10) + wav, ""),
    "list": (_before_data(_chunk(b"LIST", b"INFOINAM\x04\0\0\0abc\0")), "pass"),
    "list_of_odd_size": (_before_data(_chunk(b"LIST", b"INFOINAM\x03\0\0\0abc")), ""),
    "bext": (_before_data(_chunk(b"bext", bytes(602))), "pass"),
    "junk_of_a_megabyte": (_before_data(_chunk(b"JUNK", bytes(2**20))), "pass"),
    "part_of_unknown_size": (_before_data(_chunk(b"JUNK", bytes(20), 2**32 - 1)), ""),
    "part_longer_than_the_file": (_before_data(_chunk(b"LIST", bytes(20), 10**6)), ""),
    "a_thousand_parts": (_before_data(_chunk(b"JUNK", bytes(10)) * 1000), "pass"),
    "loops": (_before_data(_chunk(b"smpl", bytes(36))), "pass"),
    "cues": (_before_data(_chunk(b"cue ", struct.pack("<I", 2**31))), ""),
    **{f"{count}_channels": (_field(22, "<H", count), "") for count in (0, 2, 255, 1025, 65535)},
    **{f"rate_of_{rate}": (_field(24, "<I", rate), "") for rate in (0, 2**32 - 1)},
    **{f"block_of_{size}": (_field(32, "<H", size), "") for size in (0, 1, 3, 65535)},
    **{f"bits_{bits}": (_field(34, "<H", bits), "") for bits in (0, 1, 8, 12, 24, 64, 65535)},
    **{f"codec_{codec}": (_field(20, "<H", codec), "") for codec in (0, 2, 3, 6, 7, 17, 49, 80, 85, 0xFFFE, 0xFFFF)},
}


def _empty_folder(path: Path) -> None:
    path.mkdir()


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def _bytes(content: bytes) -> Make:
    return lambda path: path.write_bytes(content)


def _swapped(path: Path) -> None:
    """A flac after a wav's header."""
    flac = path.with_suffix(".flac")
    soundfile.write(flac, noise(), RATE)
    path.write_bytes(b"RIFF\0\0\0\0WAVE" + flac.read_bytes())


OTHERS: dict[str, tuple[Make, str]] = {
    "nothing": (lambda path: None, "refuse"),
    "empty": (_bytes(b""), "refuse"),
    "folder": (_empty_folder, "refuse"),
    "link_to_itself": (_loop, "refuse"),
    "link_to_nothing": (lambda path: path.symlink_to("gone.wav"), "refuse"),
    "pipe": (lambda path: os.mkfifo(path), "refuse"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "refuse"),
    "text": (_bytes(b"RIFF is not enough\n" * 50), "refuse"),
    "zeros": (_bytes(bytes(100_000)), "refuse"),
    "ones": (_bytes(b"\xff" * 100_000), "refuse"),
    "random": (_bytes(np.random.default_rng(3).bytes(100_000)), "refuse"),
    "image": (_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000)), "refuse"),
    "zip": (_bytes(b"PK\x03\x04" + bytes(1000)), "refuse"),
    "playlist": (_bytes(b"#EXTM3U\nfile:///etc/passwd\n"), "refuse"),
    "flac_in_a_wav": (_swapped, "refuse"),
    "unreadable": (lambda path: (_write(noise(), RATE, "PCM_16", path), path.chmod(0)), ""),
    "sparse": (lambda path: (path.write_bytes(b"RIFF"), os.truncate(path, 10**9)), "refuse"),
    "name_twice": (lambda path: (_write(noise(), RATE, "PCM_16", path), shutil.copy(path, f"{path}.wav")), "pass"),
}  # fmt: skip
