"""Folders of sounds without frames, as mirrors of AudioSet are: they are no dataset, but can be embedded and probed."""

import itertools
import os
from pathlib import Path, PurePath

from dataset.reading.suffixes import media_kind
from utils.errors import UserError

SCANNED = 10_000  # files that are looked at
SOUNDS_HINT = "embed.py and eval.py --probe_folder take folders of sounds"


def refuse_sounds_alone(folder: Path) -> None:
    """Refuse a `folder` that holds sounds, itself or below it, and nothing with a picture.

    Raises:
        UserError: says what takes sounds.
    """
    files = (PurePath(name) for _, _, names in os.walk(folder) for name in names if not name.startswith("."))
    kinds = {media_kind(path) for path in itertools.islice(files, SCANNED)}
    if "sound" in kinds and not kinds & {"video", "image"}:
        raise UserError(f"{folder} holds sounds alone, and a clip needs frames: {SOUNDS_HINT}")


def refuse_tars(folder: Path) -> None:
    """Refuse a `folder` of tars, itself or in the folders of its splits.

    Raises:
        UserError: says how they become shards.
    """
    if any(itertools.chain(folder.glob("*.tar"), folder.glob("*/*.tar"))):
        raise UserError(
            f"{folder} holds tars, which are read as shards only: `python data/build_shards.py {folder} DST` makes "
            "shards of them"
        )
