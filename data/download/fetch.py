"""Download one video from its site to one or two files, by yt-dlp's Python API.

yt-dlp gets nothing from a file unchecked: ids are YouTube ids, file names are ours, and it reads no settings, plugins,
playlists or caches.
"""

import io
import os
import shutil
import threading
from pathlib import Path
from typing import Any, NamedTuple

os.environ["YTDLP_NO_PLUGINS"] = "1"  # it would import them from the folders that Python searches
import imageio_ffmpeg
from yt_dlp import YoutubeDL
from yt_dlp.cookies import YoutubeDLCookieJar
from yt_dlp.utils import DownloadCancelled

from data.download.failures import Failure, failure_of
from data.download.settings import DownloadSettings
from dataset.reading.container import DOWNLOAD_OPTIONS
from utils.errors import UserError
from utils.files import read_text

MAX_BYTES = 4 * 2**30  # of one file: ten hours of a small format
PROTOCOLS = ("http", "https", "http_dash_segments")  # in HLS the time stamps begin anywhere: no exact cut
COPY_SOUND = ["-xerror", "-c:a", "copy"]  # -xerror: a broken connection is an error, not the end of the video


class DownloadedFiles(NamedTuple):
    """The files of a video.

    Attributes:
        video: file with the frames.
        sound: file with the sound, often the same.
        duration: of the whole video, seconds; None if the site doesn't state it.
    """

    video: Path
    sound: Path
    duration: float | None


def read_cookies(path: str) -> str:
    """Read the text of a file of cookies, `path`: yt-dlp would write to the file itself.

    Raises:
        UserError: it can't be read or has another format.
    """
    try:
        text = read_text(path)
        YoutubeDLCookieJar(path).load()
        return text
    except OSError as error:  # also http.cookiejar's LoadError
        reason = error.strerror or "it is not in Netscape's format, which browser add-ons and yt-dlp write"
        raise UserError(f"--cookies {path} can't be read ({reason}): export it again") from None
    except UnicodeDecodeError:
        raise UserError(f"--cookies {path} can't be read (it is not text): export it again") from None


def find_ffmpeg(folder: Path) -> None:
    """Make sure that yt-dlp finds an ffmpeg, which it needs for sections: the system's, or a package's, in `folder`."""
    if not shutil.which("ffmpeg"):
        (folder / "bin").mkdir()
        (folder / "bin" / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
        os.environ["PATH"] = f"{folder / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"


def choose_formats(formats: list[dict[str, Any]], height: int) -> list[dict[str, Any]]:
    """Choose the formats to download: video and sound separately, or one format that has both.

    Video: the largest of at most `height` lines, otherwise the smallest above; of equal ones H.264. Sound: the best,
    by yt-dlp's order. Separate files need no merging, and a small video doesn't come with poor sound.

    Args:
        formats: yt-dlp's list, worst first.
        height: pixels.

    Returns:
        Copies with another key, "part": "video" or "sound", for the file's name.

    Raises:
        Failure: the video has no sound, or no frames.
    """
    usable = [f for f in formats if f.get("protocol") in PROTOCOLS and not f.get("has_drm")]
    with_video, with_sound = ([f for f in usable if f.get(key) != "none"] for key in ("vcodec", "acodec"))
    videos = [f for f in with_video if f not in with_sound]
    sounds = [f for f in with_sound if f not in with_video]
    both = [f for f in with_video if f in with_sound]

    def rank(video: dict[str, Any]) -> tuple[bool, int, bool]:
        lines = video.get("height") or 0
        fits = lines <= height
        return fits, lines if fits else -lines, (video.get("vcodec") or "").startswith("avc")

    def best(videos: list[dict[str, Any]]) -> dict[str, Any]:
        chosen: dict[str, Any] = max(reversed(videos), key=rank)  # of equal ones yt-dlp's best
        return {**chosen, "part": "video"}

    if videos and sounds:
        return [best(videos), {**sounds[-1], "part": "sound"}]
    if both:
        return [best(both)]
    if videos:
        raise Failure("no audio", "there is no sound")
    if sounds:
        raise Failure("no picture", "there is no video stream")
    return []


class YtDlpLog:
    """The logger of yt-dlp.

    Attributes:
        is_too_large: whether a file was larger than `MAX_BYTES`, of which a message is the only sign.
    """

    is_too_large = False

    def debug(self, message: str) -> None:
        """Handle a `message` that yt-dlp would print."""
        self.is_too_large |= "larger than max-filesize" in message

    def warning(self, message: str) -> None:
        """Ignore a `message`: errors come as exceptions, and warnings don't concern the user."""

    error = warning


def make_downloader(stop: threading.Event, settings: DownloadSettings) -> YoutubeDL:
    """Create a `YoutubeDL` for one worker; it keeps its connections and the site's player from clip to clip.

    Args:
        stop: ends a download when it is set.
        settings: of the run.
    """

    def cancel(_: dict) -> None:
        if stop.is_set():
            raise DownloadCancelled

    def refuse_live(info: dict[str, Any], incomplete: bool = False) -> None:
        if info.get("is_live") or info.get("live_status") == "is_upcoming":
            raise Failure("other", "a live stream that has not ended")

    ffmpeg_input = [*DOWNLOAD_OPTIONS, "-rw_timeout", str(int(settings.timeout * 1e6))]
    options = {
        "logger": YtDlpLog(), "quiet": True, "noprogress": True, "color": "never", "cachedir": False,
        "noplaylist": True, "extract_flat": "in_playlist", "match_filter": refuse_live,
        "format": lambda info: choose_formats(info["formats"], settings.height),
        "outtmpl": {"default": "%(part)s.%(ext)s"}, "restrictfilenames": True, "updatetime": False, "fixup": "never",
        "max_filesize": MAX_BYTES, "socket_timeout": settings.timeout, "proxy": settings.proxy,
        "progress_hooks": [cancel],
        # We retry ourselves, with a back-off. A fragment that is missing must not be left out silently.
        "retries": 0, "extractor_retries": 0, "file_access_retries": 0,
        "fragment_retries": settings.retries, "skip_unavailable_fragments": False,
        "external_downloader_args": {"ffmpeg_i": ffmpeg_input, "ffmpeg_o": COPY_SOUND},
        "force_keyframes_at_cuts": True,
    }  # fmt: skip
    options |= {"ratelimit": settings.rate * 1000} if settings.rate else {}
    options |= {"cookiefile": io.StringIO(settings.cookies)} if settings.cookies else {}
    return YoutubeDL(options)


def download_video(
    downloader: YoutubeDL, url: str, folder: Path, section: tuple[float, float] | None = None
) -> DownloadedFiles:
    """Download one video, or a section of it.

    Args:
        downloader: from `make_downloader`.
        url: address of the video.
        folder: for its files; a download that an earlier try left there is resumed.
        section: start and end, seconds; time 0 of the files is its start. None downloads the whole video.

    Raises:
        Failure: with its kind.
    """
    downloader.params["paths"] = {"home": str(folder.resolve())}
    downloader.params["logger"].is_too_large = False
    if section:
        downloader.params["download_ranges"] = lambda *_: [{"start_time": section[0], "end_time": section[1]}]
    try:
        info = downloader.extract_info(url)
    except Exception as error:
        raise failure_of(error) from error
    if downloader.params["logger"].is_too_large:
        raise Failure("too large", f"larger than {MAX_BYTES / 2**30:.0f} GB")
    if not info or info.get("_type", "video") != "video":
        raise Failure("other", "the page holds no video of its own, or several")
    video = _complete_file(folder, "video")
    if video is None:
        raise Failure("other", "yt-dlp gave no file and no reason")
    return DownloadedFiles(video, _complete_file(folder, "sound") or video, info.get("duration"))


def _complete_file(folder: Path, part: str) -> Path | None:
    files = [file for file in folder.glob(f"{part}.*") if file.suffix not in (".part", ".ytdl")]
    return files[0] if files else None
