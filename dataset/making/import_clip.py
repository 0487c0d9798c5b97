"""Import one video into a split: cut or link it, extract its sound, check the result."""

import os
from math import inf
from pathlib import Path

from dataset.making.checks import check_clip
from dataset.making.cut import cut_clip
from dataset.making.link_files import Method, link_or_copy, temporary_path
from dataset.reading.audio import write_wav
from dataset.reading.clips import clip_files
from dataset.reading.errors import MediaError
from dataset.reading.media import read_audio


def import_clip(clip: str, video: Path, wav: Path | None, folder: Path, by: Method) -> str:
    """Import one clip into the folder of a split, if it is fit for training.

    Args:
        clip: its id.
        video: any video file; one that is not an mp4 is re-encoded.
        wav: its sound, or None: then it is extracted from the video.
        folder: of the split, with video/ and audio/.
        by: how mp4 and wav get there.

    Returns:
        Why it was left out, or "".
    """
    mp4_target, wav_target = clip_files(folder, clip)
    if mp4_target.is_file() and wav_target.is_file():
        return ""
    mp4_temporary, wav_temporary = temporary_path(mp4_target), temporary_path(wav_target)
    wav = wav_target if wav_target.is_file() else wav  # an earlier run was stopped between the two
    try:
        if video.suffix.lower() != ".mp4":
            cut_clip(video, wav or video, 0.0, inf, mp4_temporary, wav_temporary, fps=0)
        elif wav is None:
            write_wav(wav_temporary, read_audio(video))
        mp4 = mp4_temporary if mp4_temporary.exists() else video
        wav = wav or wav_temporary
        result = check_clip(clip, mp4, wav)
        if result.kind != "ok":
            return result.message
        for source, target, temporary in ((wav, wav_target, wav_temporary), (mp4, mp4_target, mp4_temporary)):
            if source == temporary:
                os.replace(temporary, target)
            elif source != target:
                link_or_copy(source, target, by)
    except MediaError as error:
        return error.reason if error.path == video else str(error)
    except OSError as error:
        return f"can't be read or written ({error.strerror})"
    finally:
        mp4_temporary.unlink(missing_ok=True)
        wav_temporary.unlink(missing_ok=True)
    return ""
