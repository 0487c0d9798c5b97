"""Libraries that are compared with where they are installed; none of them is needed."""

import importlib
import importlib.metadata
from collections.abc import Iterable
from typing import Any, NamedTuple


class Library(NamedTuple):
    """A library that may be installed.

    Attributes:
        module: its name in Python.
        package: its name for pip.
    """

    module: str
    package: str

    def load(self, part: str = "") -> Any:
        """Import it, or a `part` of it such as "decoders"; None if it is missing, or lacks what it needs itself."""
        try:
            return importlib.import_module(f"{self.module}.{part}" if part else self.module)
        except (ImportError, OSError, RuntimeError):  # torchcodec without FFmpeg raises a RuntimeError
            return None

    def version(self) -> str:
        """Get the version that is installed."""
        return importlib.metadata.version(self.package)


TORCHCODEC = Library("torchcodec.decoders", "torchcodec")
DECORD = Library("decord", "decord")
WEBDATASET = Library("webdataset", "webdataset")
LITDATA = Library("litdata", "litdata")
STREAMING = Library("streaming", "mosaicml-streaming")
FFCV = Library("ffcv", "ffcv")
PYAV, OPENCV = Library("av", "av"), Library("cv2", "opencv-contrib-python-headless")  # these are required
LIBRARIES = (TORCHCODEC, DECORD, WEBDATASET, LITDATA, STREAMING, FFCV)


def missing_packages(libraries: Iterable[Library]) -> list[str]:
    """List the packages of `libraries` that can't be imported."""
    return [library.package for library in libraries if library.load() is None]
