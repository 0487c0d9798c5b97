"""Import clips into a dataset: first each one is cut or encoded where needed, and checked; then it gets its place."""

import errno
import os
from math import inf
from pathlib import Path
from typing import NamedTuple

from dataset.making.checks.clip_checks import check_clip
from dataset.making.clips.cut import cut_clip
from dataset.making.clips.link_files import Method, link_or_copy, temporary_path
from dataset.reading.errors import MediaError, error_reason
from dataset.reading.media import stream_audio
from dataset.reading.wav import write_wav
from utils.errors import UserError

WAV_SUFFIXES = (".wav", ".wave")
# What says that a disk is full, broken or read-only, and not that it has no links.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)


class ClipSource(NamedTuple):
    """What a clip is made of.

    Attributes:
        clip: its id.
        origin: id of the `dataset.making.clips.find_videos.SourceVideo`: the clip's, unless it is cut out of a longer
            one.
        video: any video file.
        sound: file with its sound, or None: then it is the video's own.
        start, end: seconds to cut out; 0 and infinity: all of it.
    """

    clip: str
    origin: str
    video: Path
    sound: Path | None
    start: float = 0.0
    end: float = inf

    @property
    def is_encoded(self) -> bool:
        """Whether frames and sound are encoded again: a cut, and every file that isn't called mp4."""
        return self.end < inf or self.video.suffix.lower() != ".mp4"

    @property
    def has_wav(self) -> bool:
        """Whether the clip's wav is the sound file itself."""
        return not self.is_encoded and self.sound is not None and self.sound.suffix.lower() in WAV_SUFFIXES


def target_files(folder: Path, clip: str) -> tuple[Path, Path]:
    """Return the paths to write a clip's mp4 and wav to.

    Args:
        folder: of a split, or of prepared clips.
        clip: its id.
    """
    return folder / "video" / f"{clip}.mp4", folder / "audio" / f"{clip}.wav"


def prepare_clip(source: ClipSource, prepared: Path, wav: Path | None = None) -> tuple[str, str]:
    """Check whether a clip is fit for training, and write those of its files that the source lacks.

    Args:
        source: of the clip.
        prepared: folder for the written files, with video/ and audio/.
        wav: its wav, where an earlier run has moved it already.

    Returns:
        (kind, reason): why it is left out; ("ok", "") if it isn't.

    Raises:
        UserError: a file can't be written, which isn't the clip's fault.
    """
    targets = target_files(prepared, source.clip)
    mp4_temporary, wav_temporary = map(temporary_path, targets)
    sound = wav or source.sound
    try:
        if source.is_encoded:
            cut_clip(source.video, sound or source.video, source.start, source.end, mp4_temporary, wav_temporary, fps=0)
        elif wav is None and not source.has_wav:
            write_wav(wav_temporary, stream_audio(sound or source.video))
        temporaries = (mp4_temporary, wav_temporary)
        mp4, wav = (
            written if written.exists() else given
            for written, given in zip(temporaries, (source.video, sound or source.video), strict=True)
        )
        result = check_clip(source.clip, mp4, wav)
        if result.kind != "ok":
            return result.kind, result.message
        for written, target in zip(temporaries, targets, strict=True):
            if written.exists():
                os.replace(written, target)
    except MediaError as error:
        return error.kind, error.reason if error.path == source.video else str(error)
    except OSError as error:
        raise write_error(error, prepared.parent) from None
    finally:
        mp4_temporary.unlink(missing_ok=True)
        wav_temporary.unlink(missing_ok=True)
    return "ok", ""


def place_clip(source: ClipSource, prepared: Path, folder: Path, by: Method) -> None:
    """Put the files of a prepared clip into the folder of its split, unless an earlier run did so.

    Args:
        source: of the clip.
        prepared: folder of the written files.
        folder: of the split, with video/ and audio/.
        by: how the user's own files get there.

    Raises:
        UserError: they can't be written there.
    """
    written, targets = target_files(prepared, source.clip), target_files(folder, source.clip)
    # The mp4 comes last: where it is, the clip is complete.
    for made, target, given in reversed(list(zip(written, targets, (source.video, source.sound), strict=True))):
        try:
            if made.exists():
                os.replace(made, target)
            elif not target.exists() and given is not None:
                link_or_copy(given, target, by)
        except OSError as error:
            raise write_error(error, target) from None


def try_links(folder: Path) -> None:
    """Refuse a `folder` in which no links can be made, as on FAT, some network disks and Windows.

    Raises:
        UserError: says what to do.
    """
    probe = temporary_path(folder / "link")
    try:
        probe.unlink(missing_ok=True)
        probe.symlink_to(folder.resolve())
        probe.unlink()
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise write_error(error, folder) from None
        reason = error_reason(error)
        raise UserError(f"links can't be made in {folder} ({reason}): add --by copy, or choose another OUT") from None


def write_error(error: OSError, path: Path) -> UserError:
    """Describe that a file can't be written.

    Args:
        error: of the system.
        path: what was to be written, or its folder.
    """
    reason = error_reason(error)
    return UserError(f"{path} can't be written ({reason}): free space or choose another OUT, then repeat the command")
