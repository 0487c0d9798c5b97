"""Any folder of videos, images and sounds: list its files, tell what a file is, show a row's frame and its sound."""

from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from PIL import Image

from dataset.reading.annotations import is_printable_text
from dataset.reading.audio import SAMPLE_RATE, SOUND_SECONDS, sound_samples
from dataset.reading.clip_reader import TIME_TOLERANCE
from dataset.reading.container import media_streams, open_media
from dataset.reading.errors import MediaError
from dataset.reading.file_tree import FileTree, list_files, match_sounds
from dataset.reading.images import IMAGE_FORMATS, open_image
from dataset.reading.limits import MAX_PIXELS, refuse_huge, require_file
from dataset.reading.media import read_audio, stream_frames
from dataset.reading.suffixes import KIND_OF_SUFFIX, MediaKind, media_kind
from dataset.reading.upright import to_upright_rgb, upright_size
from utils.errors import UserError


class MediaItem(NamedTuple):
    """A file to embed, and where its sound is.

    Attributes:
        name: of the file, below `root`.
        kind: "video", "image" or "sound".
        sound_name: `name`, or the sound file that belongs to a video, see `dataset.reading.file_tree.match_sounds`.
        root: the folder.
    """

    name: str
    kind: MediaKind
    sound_name: str
    root: Path

    @property
    def path(self) -> Path:
        """Path of the file."""
        return self.root / self.name

    @property
    def sound(self) -> Path:
        """Path of its sound."""
        return self.root / self.sound_name


def find_media(source: Path) -> tuple[list[MediaItem], dict[str, str]]:
    """List what can be embedded: the videos, images and sounds of a folder and those below it, by their suffixes.

    A video and the sound file that belongs to it are one item: NAME.mp4 with NAME.wav, also in video/ and audio/.

    Args:
        source: the folder, or a single file.

    Returns:
        (items, skipped): the items sorted by name; {name: reason} of what is passed over: hidden, of another suffix,
            seen already through a link, or of a name that can't be written.

    Raises:
        UserError: there is no such file or folder, or nothing in it.
    """
    if not source.exists():
        raise UserError(f"there is no file or folder {source}: set --input to one with videos, images or sounds")
    root = source.parent if source.is_file() else source
    try:
        tree = FileTree([source], {}) if source.is_file() else list_files(source)
    except OSError as error:
        raise UserError(f"{source} can't be listed ({error.strerror}): set --input to another folder") from None
    sounds, unused = match_sounds(tree.files)
    skipped = dict(tree.skipped)
    skipped |= {path: f"is not the sound of {video.name}: {sounds[video].name} is" for path, video in unused.items()}
    items: list[MediaItem] = []
    taken = set(sounds.values())
    for path in tree.files:
        name, kind = path.relative_to(root).as_posix(), media_kind(path)
        if path in taken or path in skipped:
            continue
        if kind is None:
            skipped[path] = f"has no known suffix ({path.suffix or path.name})"
        elif not is_printable_text(name):
            skipped[path] = "its name is not printable text"
        else:
            items.append(MediaItem(name, kind, sounds.get(path, path).relative_to(root).as_posix(), root))
    if not items:
        hint = (
            "unpack its tars first"
            if any(path.suffix == ".tar" for path in skipped)
            else "set --input to another folder"
        )
        raise UserError(
            f"{source} holds no video, image or sound with a known suffix ({' '.join(KIND_OF_SUFFIX)}): {hint}"
        )
    names = {path: path.relative_to(root).as_posix().encode("utf-8", "backslashreplace").decode() for path in skipped}
    return sorted(items), {names[path]: reason for path, reason in skipped.items()}


def detect_kind(path: Path) -> MediaKind:
    """Detect whether the file at `path` is an image, a video or a sound by its content, whatever its name.

    Raises:
        MediaError: none of these.
    """
    require_file(path)
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            refuse_huge(path, *image.size)
            return "image"
    except MediaError:
        raise
    except Image.DecompressionBombError:
        raise MediaError("too large", path, f"has more pixels than {MAX_PIXELS // 10**6} million") from None
    except (OSError, ValueError, SyntaxError, EOFError):
        pass
    with open_media(path) as container:
        has_frames = bool(media_streams(container, "video"))
        if not has_frames and not media_streams(container, "audio"):
            raise MediaError("no picture", path, "holds neither frames nor sound")
        return "video" if has_frames else "sound"


def frame_image(item: MediaItem, time: float, largest: int = 320) -> Image.Image:
    """Read the frame of a video shown at a time, or the image, in its own shape.

    Args:
        item: the file.
        time: seconds.
        largest: longest side of the result, pixels.

    Raises:
        MediaError: it can't be read.
    """
    if item.kind == "image":
        image = open_image(item.path)
    else:
        shown = shown_frame(item.path, time)
        image = Image.fromarray(to_upright_rgb(shown, *upright_size(shown)))
    image.thumbnail((largest, largest))
    return image


def shown_frame(path: Path, time: float) -> av.VideoFrame:
    """Decode the frame of a video that is shown at a time.

    Args:
        path: of the video.
        time: seconds.

    Raises:
        MediaError: it can't be read, or there is none.
    """
    shown = None
    for begin, frame in stream_frames(path, "video", time, time + TIME_TOLERANCE):
        if shown is not None and begin > time + TIME_TOLERANCE:
            break
        shown = frame
    if shown is None:
        raise MediaError("no picture", path, f"shows no frame at {time:.2f} s")
    return shown


def sound_around(item: MediaItem, time: float, seconds: float = SOUND_SECONDS) -> np.ndarray:
    """Read the sound around a time, moved inside the file at its ends: (samples,) int16 mono at 48 kHz.

    Args:
        item: the file.
        time: seconds.
        seconds: length of the sound.

    Raises:
        MediaError: it can't be read.
    """
    start = max(time - seconds / 2, 0.0)
    sound = read_audio(item.sound, start, start + seconds)
    lacking = sound_samples(seconds, SAMPLE_RATE) - len(sound)
    if lacking <= 0 or not start:
        return sound
    start = max(start - lacking / SAMPLE_RATE, 0.0)
    return read_audio(item.sound, start, start + seconds)
