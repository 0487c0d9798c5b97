"""What is refused before it is decoded: what isn't a regular file, sounds of absurd rates, frames too large."""

import stat
from pathlib import Path

from dataset.reading.errors import MediaError, error_reason

TIME_LIMIT = 60.0  # for reading a file from end to end, seconds, beside
SECONDS_PER_MEGABYTE = 20.0  # of its size: a lecture of an hour has 100 MB and is decoded in a few minutes
TIME_LIMIT_HELP = (  # of the option --time_limit of several scripts
    "a clip that takes longer to read is left out, seconds; and\n"
    f"{SECONDS_PER_MEGABYTE:g} s more for each MB of its files [{TIME_LIMIT:g}]"
)
MIN_RATE = 1000  # of a sound, Hz: at 1 Hz a file of 1 KB lasts 17 minutes
MAX_RATE = 1_000_000  # Hz: a second of more doesn't fit into memory; recorders for ultrasound reach half of it
MAX_SECONDS = 24 * 3600.0  # of a file: beyond it a time stamp is damaged, and a still would have endless rows
MAX_PIXELS = 50_000_000  # of an image or a frame: a larger one would take too much memory


def require_file(path: Path | str) -> None:
    """Refuse what isn't a regular file with content: a named pipe would be waited for, /dev/zero has no end.

    Args:
        path: of the file, or of a link to one.

    Raises:
        MediaError: it is missing, a folder, pipe or device, or empty.
    """
    try:
        status = Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        raise MediaError("missing", path, "is missing") from None
    except (OSError, ValueError) as error:  # ValueError: the name holds a zero byte
        raise MediaError("missing", path, f"can't be opened ({error_reason(error)})") from None
    if not stat.S_ISREG(status.st_mode):
        raise MediaError("damaged", path, "is not a regular file")
    if status.st_size == 0:
        raise MediaError("damaged", path, "is empty (0 bytes)")


def reading_limit(seconds: float, *paths: Path) -> float:
    """Compute the time limit for reading files from end to end, seconds.

    Args:
        seconds: for files of no size, the option --time_limit.
        paths: of the files; one that is missing has no size.
    """
    return seconds + SECONDS_PER_MEGABYTE * sum(map(size_of, paths)) / 1e6


def size_of(path: Path) -> int:
    """Count the bytes of a file, or of the files of a folder; 0 if `path` is missing."""
    if path.is_dir():
        return sum(inner.stat().st_size for inner in path.iterdir() if inner.is_file())
    return path.stat().st_size if path.is_file() else 0


def refuse_rate(path: Path | str, rate: int) -> None:
    """Refuse a sound of a sample rate that no sound has.

    Args:
        path: of its file, for the message.
        rate: Hz.

    Raises:
        MediaError: the rate is too low or too high.
    """
    if not MIN_RATE <= rate <= MAX_RATE:
        limits = f"{MIN_RATE:,} to {MAX_RATE:,} Hz"
        raise MediaError("damaged", path, f"has a sample rate of {rate} Hz: {limits} are read")


def refuse_long(path: Path | str, seconds: float) -> None:
    """Refuse a file that states to last longer than MAX_SECONDS, or holds such a time stamp.

    Args:
        path: of the file, for the message.
        seconds: its end.

    Raises:
        MediaError: it is too long.
    """
    if seconds > MAX_SECONDS:
        days = f"{seconds / 86400:,.1f} days" if seconds < 1e8 else "years"
        raise MediaError(
            "too large", path, f"lasts {days} by its time stamps: at most {MAX_SECONDS / 3600:g} hours are read"
        )


def refuse_huge(path: Path | str, width: int, height: int) -> None:
    """Refuse an image or a video of more than MAX_PIXELS pixels.

    Args:
        path: of its file, for the message.
        width, height: pixels.

    Raises:
        MediaError: it is too large.
    """
    if width * height > MAX_PIXELS:
        limit = f"at most {MAX_PIXELS // 10**6} million are read"
        raise MediaError("too large", path, f"is {width} x {height} pixels large: {limit}")
