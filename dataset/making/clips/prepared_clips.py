"""The clips that an unfinished import has prepared so far, so that the same command resumes it."""

import contextlib
import json
import shutil
from pathlib import Path

from dataset.making.clips.import_clip import ClipSource, target_files, write_error

FOLDER_NAME = ".unfinished"  # in the output folder


class PreparedClips:
    """A hidden folder of the output: the files written so far, and a list of the clips that passed the check.

    Args:
        out: the output folder, which exists.

    Attributes:
        folder: the hidden folder, with video/ and audio/.

    Raises:
        UserError: it can't be written.
    """

    def __init__(self, out: Path) -> None:
        self.folder = out / FOLDER_NAME
        self._list = self.folder / "passed.jsonl"
        try:
            for kind in ("video", "audio"):
                (self.folder / kind).mkdir(parents=True, exist_ok=True)
            for stale in self.folder.glob("*/.*.tmp"):
                stale.unlink()
            self._passed = set(self._list.read_text(encoding="utf-8").split("\n")) if self._list.exists() else set()
        except OSError as error:
            raise write_error(error, self.folder) from None

    def has(self, source: ClipSource) -> bool:
        """Check that the clip of `source` has passed, its files haven't changed since, and what was written is there.

        Raises:
            OSError: a file of the source is gone.
        """
        mp4, wav = target_files(self.folder, source.clip)
        is_written = (mp4.exists() or not source.is_encoded) and (wav.exists() or source.has_wav)
        return is_written and _signature(source) in self._passed

    def add(self, source: ClipSource) -> None:
        """Note that the clip of `source` has passed.

        Raises:
            OSError: the list can't be written.
        """
        with open(self._list, "a", encoding="utf-8") as file:
            file.write(_signature(source) + "\n")

    def remove(self) -> None:
        """Remove the folder, once all clips are in their places."""
        with contextlib.suppress(OSError):
            shutil.rmtree(self.folder)


def _signature(source: ClipSource) -> str:
    """A line that changes with the files of a clip."""
    files = [path for path in (source.video, source.sound) if path is not None]
    stamps = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return json.dumps([source.clip, source.start, source.end, *stamps])
