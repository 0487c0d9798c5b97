"""The suffixes by which files are taken for videos, images and sounds, compared without case: the only such table."""

from pathlib import PurePath
from typing import Literal

MediaKind = Literal["video", "image", "sound"]

# Each has a format of `dataset.reading.container.FORMATS`, or of `dataset.reading.images.IMAGE_FORMATS`.
SUFFIXES: dict[MediaKind, str] = {
    "video": (
        "mp4 m4v mov qt mkv webm avi divx mpg mpeg mpe m2v vob ts mts m2ts m2t 3gp 3g2 3gpp ogv ogm wmv asf flv f4v mxf"
    ),
    "image": "jpg jpeg png webp bmp gif tif tiff",
    # The first ones are preferred where several sounds belong to one video.
    "sound": "wav wave flac aif aiff aifc w64 caf m4a m4b aac mp3 mp2 ogg oga opus wma mka weba ac3 amr",
}
KIND_OF_SUFFIX: dict[str, MediaKind] = {
    f".{suffix}": kind for kind, suffixes in SUFFIXES.items() for suffix in suffixes.split()
}


def media_kind(path: PurePath) -> MediaKind | None:
    """Tell by its suffix whether a file, `path`, is a video, an image or a sound; None for any other."""
    return KIND_OF_SUFFIX.get(path.suffix.lower())
