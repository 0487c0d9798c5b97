"""Campaign: sound files of every format, rate, number of channels and content, whole and broken, as the wav of a clip.

Promised: no traceback, crash or hang; what check_data passes, training reads from end to end, and the other way round;
what is read is the file's sound to the sample: its channels averaged, resampled as librosa does. The same file alone is
embedded and imported, or refused in one sentence.
"""

from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import librosa
import numpy as np
import soundfile

from tests.campaign.case import Case
from tests.campaign.media import shared_folder
from tests.campaign.media_doors import CHECK_ONLY, MACHINE_WORDS, in_child
from tests.campaign.media_files import make_container
from tests.campaign.sound_files import Make, files

RATES = (16000, 48000)  # at which training might read
ROUNDING = 1.01  # largest difference from the definition, int16 steps
FAR_RATES = 400_000, 1000  # beyond these rates a definition takes too long
LOSSY = ("format_OGG", "format_MP3", "format_WAV_MPEG", "format_CAF_ALAC")  # decoders differ by rounding


def cases() -> Iterator[Case]:
    """Yield the files of `sound_files`."""
    for name, make, must in files():
        yield Case(name, partial(_read, name, make, must))


@cache
def _video() -> Path:
    path = shared_folder() / "beside_sounds.mp4"
    make_container("mkv_mjpeg", path.with_suffix(".mkv"))
    return path.with_suffix(".mkv")


def _read(name: str, make: Make, must: str, folder: Path) -> str:
    wav, video = folder / "x.wav", _video()
    make(wav)
    return in_child(lambda: problem(video, wav, must, exact=not name.startswith(LOSSY)))


def problem(video: Path, wav: Path, must: str, exact: bool = True) -> str:
    """Read a sound through every door: what is wrong, "" if nothing.

    Args:
        video: of the clip.
        wav: its sound.
        must: see `sound_files`.
        exact: whether the samples are compared with the definition.
    """
    from dataset.making.checks.clip_checks import check_clip
    from dataset.reading.audio import AudioReader
    from dataset.reading.errors import MediaError

    checked = check_clip("x", video, wav)
    sounds: dict[int, np.ndarray] = {}
    try:
        with AudioReader("x", wav) as clip:
            native = clip.native_rate
            for rate in (native, *RATES):
                parts = [part for part, _ in zip(clip.stream_waveform(rate), range(12), strict=False)]
                sounds[rate] = np.concatenate(parts)
        refusal = ""
    except MediaError as error:
        refusal = str(error)
    for text in (checked.message, refusal):
        if "\n" in text or MACHINE_WORDS.search(text.replace(str(wav), "")):
            return f"not a plain sentence: {text!r}"
    passes = checked.kind in ("ok", *CHECK_ONLY)
    if passes == bool(refusal):
        return f"check_data says {checked.kind} {checked.message!r}, training {refusal or 'reads it'!r}"
    if (must == "pass" and refusal) or (must == "refuse" and passes):
        return f"must {must}: {refusal or 'is read'}"
    return _other_doors(wav) or ("" if refusal or not exact else _difference(wav, native, sounds))


def _other_doors(wav: Path) -> str:
    """Embed and import a sound that lies alone."""
    from dataset.reading.errors import MediaError
    from dataset.reading.media import stream_audio
    from dataset.reading.media_folder import MediaItem
    from dataset.reading.moments import iter_moments

    for read in (
        lambda: iter_moments(MediaItem(wav.name, "sound", wav.name, wav.parent), 32, 16000),
        lambda: stream_audio(wav),
    ):
        try:
            for _ in zip(read(), range(200), strict=False):
                pass
        except MediaError as error:
            text = str(error)
            if "\n" in text or MACHINE_WORDS.search(text.replace(str(wav), "")):
                return f"not a plain sentence: {text!r}"
    return ""


def _difference(wav: Path, native: int, sounds: dict[int, np.ndarray]) -> str:
    """Compare what was read with its definition."""
    if not FAR_RATES[1] <= native <= FAR_RATES[0]:
        return ""
    whole = soundfile.read(wav, dtype="float64", always_2d=True)[0].mean(1)
    for rate, sound in sounds.items():
        wanted = whole
        if rate != native:
            padded = np.pad(whole, native)
            wanted = librosa.resample(padded, orig_sr=native, target_sr=rate, res_type="soxr_vhq")[rate:]
        wanted = np.clip(np.rint(wanted[: len(sound)] * 32768), -32768, 32767)
        if len(sound) != len(whole) * rate // native or len(wanted) != len(sound):
            return f"has {len(sound)} samples at {rate} Hz, not {len(whole) * rate // native}"
        if (away := np.abs(sound - wanted).max()) > ROUNDING:
            return f"differs by {away:.0f} steps at {rate} Hz"
    return ""
