"""split.json, the note that train_val_split_small.py keeps in its output: its settings, and the split of each clip."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple, cast

from dataset.making.splits.recordings import NAME_RULES, NameRule
from dataset.reading.annotations import is_valid_id, load_json
from dataset.reading.names import normalize_name
from utils.errors import UserError
from utils.files import is_empty_folder, write_json

FILE_NAME = "split.json"


class SplitNote(NamedTuple):
    """What an earlier run noted.

    Attributes:
        clips: {clip: split}.
        rule: by which names were grouped into recordings; None: there was no such run, or --group.
    """

    clips: dict[str, str]
    rule: NameRule | None


def read_note(out: Path, settings: dict[str, Any], splits: Collection[str]) -> SplitNote:
    """Read the note of an earlier run of the same settings; an empty one if there was none.

    Args:
        out: the output folder; it need not exist.
        settings: of this run.
        splits: names of the splits.

    Raises:
        UserError: the folder holds something else, or a dataset of other settings.
    """
    path = out / FILE_NAME
    if not path.exists():
        if out.exists() and not is_empty_folder(out):
            raise UserError(f"{out} is not empty and was not made by this script: choose a new or an empty folder")
        return SplitNote({}, None)
    content = load_json(path, "the settings of this script")
    if not isinstance(content, dict) or not isinstance(content.get("settings"), dict):
        raise UserError(f"{path} is damaged: choose another folder")
    clips, rule = content.get("clips"), content.get("rule")
    if not isinstance(clips, dict) or not all(is_valid_id(clip) and isinstance(s, str) for clip, s in clips.items()):
        raise UserError(f"{path} is damaged: choose another folder")
    earlier = content["settings"]
    changed = [key for key in settings | earlier if settings.get(key) != earlier.get(key)]
    if clips and changed:
        raise UserError(
            f"{out} was made with other settings ({', '.join(sorted(changed))}), see {path}: choose another folder, or "
            "use the same"
        )
    if not set(clips.values()) <= set(splits) or rule not in (None, *NAME_RULES):
        raise UserError(f"{path} is damaged: choose another folder")
    clips = {normalize_name(clip): split for clip, split in clips.items()}
    return SplitNote(clips, cast(NameRule | None, rule if clips else None))


def write_note(out: Path, settings: dict[str, Any], note: SplitNote) -> None:
    """Write the note.

    Args:
        out: the output folder.
        settings: of this run.
        note: what to keep.

    Raises:
        OSError: it can't be written.
    """
    write_json(out / FILE_NAME, {"settings": settings, "rule": note.rule, "clips": note.clips})
