"""Read the separated mixtures of an evaluation from OUT/separation, for report.html.

pairs.json                                        [{"folder", "classes": [name, ...], FIGURE: number in dB, ...}, ...]
FOLDER/mixture.wav, pred_1.wav, true_1.wav, ...                 the mixture; of each source the estimate and the truth
FOLDER/spectrogram.png, mask_1.png, frame_energy_1.png, ...     any images, of the mixture or (NAME_1) of a source
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from utils.errors import UserError
from utils.files import read_text

MAX_EXAMPLES = 12
IMAGE_NAME = re.compile(r"(.+?)(?:_(\d))?\.(?:png|jpe?g)")  # NAME_1.png is of the first source
IMAGE_ORDER = ("frame energy", "frame", "spectrogram", "true spectrogram", "mask", "true mask")


@dataclass(frozen=True)
class Link:
    """A file that the page shows: its caption, and its URL relative to the page."""

    text: str
    file: str


@dataclass(frozen=True)
class SourceExample:
    """A source of a mixture: its classes, URLs of its estimated and true sound (None if missing), and its images."""

    name: str
    pred: str | None
    true: str | None
    images: list[Link]


@dataclass(frozen=True)
class MixtureExample:
    """A mixture: its classes, scores in dB, the URL of its sound (None if missing), its images and sources."""

    title: str
    figures: list[tuple[str, float]]
    mixture: str | None
    images: list[Link]
    sources: list[SourceExample]


def separation_examples(out: Path) -> list[MixtureExample]:
    """Read the mixtures of OUT/separation/pairs.json that have sounds, and find their files.

    Args:
        out: folder of the evaluation.

    Returns:
        Up to MAX_EXAMPLES mixtures; none without pairs.json.

    Raises:
        UserError: pairs.json has an invalid format.
    """
    path = out / "separation" / "pairs.json"
    if not path.exists():
        return []
    try:
        entries = [entry for entry in json.loads(read_text(path)) if entry.get("folder")]
        return [_read_example(path.parent, entry) for entry in entries[:MAX_EXAMPLES]]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} has an invalid format ({error}): evaluate again, or remove it") from None


def _read_example(root: Path, entry: dict[str, Any]) -> MixtureExample:
    """Read an entry of pairs.json, whose folder is below `root`."""
    name, classes = str(entry["folder"]), list(map(str, entry["classes"]))
    folder = root / name
    if not folder.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{name!r} is outside of {root}")
    files = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def url(file: str) -> str:
        return f"separation/{quote(name)}/{quote(file)}"

    def sound(stem: str) -> str | None:
        return url(f"{stem}.wav") if f"{stem}.wav" in files else None

    def images(number: int) -> list[Link]:
        """Images of a source, 1..N, or of the mixture, 0."""
        matches = [match for match in map(IMAGE_NAME.fullmatch, files) if match and int(match[2] or 0) == number]
        return sorted((Link(match[1].replace("_", " "), url(match[0])) for match in matches), key=_image_order)

    return MixtureExample(
        title=" + ".join(classes),
        figures=[(_figure_name(key), value) for key, value in entry.items() if isinstance(value, float)],
        mixture=sound("mixture"),
        images=images(0),
        sources=[
            SourceExample(label, sound(f"pred_{k}"), sound(f"true_{k}"), images(k))
            for k, label in enumerate(classes, 1)
        ],
    )


def _image_order(link: Link) -> tuple[int, str, str]:
    known = IMAGE_ORDER.index(link.text) if link.text in IMAGE_ORDER else len(IMAGE_ORDER)
    return known, link.text, link.file


def _figure_name(key: str) -> str:
    """The name of a score for people: "nsdr_ideal_binary" is "NSDR ideal binary"."""
    return re.sub(r"\bn?s[dai]r\b", lambda match: match[0].upper(), key.replace("_", " "))
