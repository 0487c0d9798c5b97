"""One video from its site to a file or two, by yt-dlp's Python API.

Nothing that yt-dlp is given comes from a file unchecked: ids are YouTube ids, names of files are ours, and it reads no
settings, plugins, playlists or caches.
"""

import io
import os
import shutil
from pathlib import Path

os.environ["YTDLP_NO_PLUGINS"] = "1"  # it would import them from the folders that Python looks in
import imageio_ffmpeg
from yt_dlp import YoutubeDL
from yt_dlp.cookies import YoutubeDLCookieJar
from yt_dlp.utils import DownloadCancelled

from data.download.failures import Failure, failure_of
from utils.errors import UserError

MOST_BYTES = 4 * 2**30  # of one file: ten hours of a small format
PROTOCOLS = ("http", "https", "http_dash_segments")  # in HLS the time stamps begin anywhere: no exact cut
SOUND_AS_IT_IS = ["-xerror", "-c:a", "copy"]  # -xerror: a connection that breaks off is an error, not an end


def read_cookies(path):
    """The text of a cookies file; yt-dlp writes to what it is given, and the user's file is to stay as it is.

    Raises:
        UserError: it can't be read or has another form.
    """
    try:
        YoutubeDLCookieJar(path).load()
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:  # also http.cookiejar's LoadError
        why = error.strerror or "it is not in Netscape's form, as browsers' add-ons and yt-dlp write it"
        raise UserError(f"--cookies {path} can't be read ({why})") from None
    except UnicodeDecodeError:
        raise UserError(f"--cookies {path} can't be read (it is not text)") from None


def find_ffmpeg(folder):
    """Make sure that yt-dlp finds an ffmpeg, which it needs for sections: the system's, or the one of a package."""
    if not shutil.which("ffmpeg"):
        (folder / "bin").mkdir()
        (folder / "bin" / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
        os.environ["PATH"] = f"{folder / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"


def choose_formats(formats, height):
    """The formats to download, each a copy with "part": [picture, sound], or one that holds both.

    Of pictures: the largest of at most `height` lines, else the smallest above; of equal ones H.264. Of sounds: the
    best, by yt-dlp's order. Apart they need no merging, and a small picture doesn't come with a poor sound.

    Args:
        formats: yt-dlp's list of dicts, worst first.

    Raises:
        Failure: the video has no sound, or no picture.
    """
    usable = [f for f in formats if f.get("protocol") in PROTOCOLS and not f.get("has_drm")]
    shown, heard = ([f for f in usable if f.get(key) != "none"] for key in ("vcodec", "acodec"))
    pictures, sounds = [f for f in shown if f not in heard], [f for f in heard if f not in shown]
    both = [f for f in shown if f in heard]

    def rank(picture):
        lines = picture.get("height") or 0
        fits = lines <= height
        return fits, lines if fits else -lines, (picture.get("vcodec") or "").startswith("avc")

    def best(pictures):
        return {**max(reversed(pictures), key=rank), "part": "picture"}  # of equals the first: yt-dlp's best

    if pictures and sounds:
        return [best(pictures), {**sounds[-1], "part": "sound"}]
    if both:
        return [best(both)]
    if pictures or sounds:
        raise Failure(*(("no audio", "there is no sound") if pictures else ("no picture", "there is no picture")))
    return []


class Log:
    """Takes yt-dlp's messages; one of them is the only sign of a file that was too large."""

    too_large = False

    def debug(self, message):
        """Called with what yt-dlp would print."""
        self.too_large |= "larger than max-filesize" in message

    def warning(self, message):
        """Errors come as exceptions, and what is a warning only is not the user's business."""

    error = warning


def downloader(stop, height=360, rate=0, timeout=20, retries=3, cookies=None, proxy=None):
    """A `YoutubeDL` for one worker, which keeps its connections and the site's player from clip to clip.

    Args:
        stop: threading.Event that ends a download.
        rate: KB/s at most, 0 for any. timeout: seconds of silence. retries: of a fragment. cookies: text or None.
    """

    def watch(_):
        if stop.is_set():
            raise DownloadCancelled

    def refuse_live(info, incomplete=False):
        if info.get("is_live") or info.get("live_status") == "is_upcoming":
            raise Failure("other", "a live stream that has not ended")

    settings = {
        "logger": Log(), "quiet": True, "noprogress": True, "color": "never", "cachedir": False,
        "noplaylist": True, "extract_flat": "in_playlist", "match_filter": refuse_live,
        "format": lambda found: choose_formats(found["formats"], height),
        "outtmpl": {"default": "%(part)s.%(ext)s"}, "restrictfilenames": True, "updatetime": False, "fixup": "never",
        "max_filesize": MOST_BYTES, "socket_timeout": timeout, "proxy": proxy, "progress_hooks": [watch],
        # The retries are ours, with a back-off. A fragment that is missing must not be left out silently.
        "retries": 0, "extractor_retries": 0, "file_access_retries": 0,
        "fragment_retries": retries, "skip_unavailable_fragments": False,
        "external_downloader_args": {"ffmpeg_i": ["-rw_timeout", str(int(timeout * 1e6))], "ffmpeg_o": SOUND_AS_IT_IS},
        "force_keyframes_at_cuts": True,
    }  # fmt: skip
    settings |= {"ratelimit": rate * 1000} if rate else {}
    settings |= {"cookiefile": io.StringIO(cookies)} if cookies else {}
    return YoutubeDL(settings)


def fetch(ydl, url, folder, section=None):
    """Download one video.

    Args:
        ydl: of `downloader`. folder: for its files; what an earlier try left there is gone on with.
        section: (start, end) in seconds: only these are asked for; or None for the whole video.

    Returns:
        (file of the picture, file of the sound, seconds that the video lasts or None); often one file. Time 0 of a
        section's files is its start.

    Raises:
        Failure: with its class.
    """
    ydl.params["paths"] = {"home": str(folder.resolve())}
    ydl.params["logger"].too_large = False
    if section:
        ydl.params["download_ranges"] = lambda *_: [{"start_time": section[0], "end_time": section[1]}]
    try:
        info = ydl.extract_info(url)
    except Exception as error:
        raise failure_of(error) from error
    if ydl.params["logger"].too_large:
        raise Failure("too large", f"larger than {MOST_BYTES / 2**30:.0f} GB")
    if not info or info.get("_type", "video") != "video":
        raise Failure("other", "the page holds no video of its own, or several")
    picture = _whole(folder, "picture")
    if picture is None:
        raise Failure("other", "yt-dlp gave no file and no reason")
    return picture, _whole(folder, "sound") or picture, info.get("duration")


def _whole(folder, part):
    files = [file for file in folder.glob(f"{part}.*") if file.suffix not in (".part", ".ytdl")]
    return files[0] if files else None
