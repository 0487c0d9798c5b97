"""The separated sounds of an evaluation, as OUT/separation holds them, for the report page.

pairs.json                           [{"folder", "classes": [name, ...], FIGURE: number in dB, ...}, ...]
FOLDER/mixture.wav, pred_1.wav, true_1.wav, ...                      of each source in turn
FOLDER/spectrogram.png, mask_1.png, frame_energy_1.png, ...          any pictures, of the mixture or of one source
"""

import json
import re
from pathlib import Path
from urllib.parse import quote

from utils.errors import UserError

MAX_EXAMPLES = 12  # pairs on the page
IMAGE_ORDER = (
    "frame energy",
    "frame",
    "spectrogram",
    "true spectrogram",
    "mask",
    "true mask",
)  # pictures, in this order


def separation_examples(out):
    """The pairs of OUT/separation/pairs.json that have sounds, with the files that lie beside it.

    Args:
        out: Path of the evaluation's folder.

    Returns:
        list of {"title", "figures": list of (name, number), "mixture", "pictures": list of (text, file),
        "sources": list of {"name", "pred", "true", "pictures"}}; files are links from OUT, None where there is none.
        Empty without pairs.json.

    Raises:
        UserError: pairs.json is not of its form.
    """
    path = Path(out) / "separation" / "pairs.json"
    if not path.exists():
        return []
    try:
        pairs = [pair for pair in json.loads(path.read_text(encoding="utf-8")) if pair.get("folder")]
        return [_pair(path.parent, str(pair["folder"]), pair) for pair in pairs[:MAX_EXAMPLES]]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is not of its form ({error}): evaluate again, or remove it") from None


def _pair(root, name, pair):
    folder, classes = root / name, list(map(str, pair["classes"]))
    if not folder.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{name!r} leads out of its folder")
    files = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def link(file):
        return f"separation/{quote(name)}/{quote(file)}" if file in files else None

    def pictures(number):
        """Those of one source, or of the mixture (0): NAME_1.png belongs to the first source."""
        found = [re.fullmatch(r"(.+?)(?:_(\d))?\.(?:png|jpe?g)", file) for file in files]
        found = [(one[1].replace("_", " "), link(one[0])) for one in found if one and int(one[2] or 0) == number]
        return sorted(
            found, key=lambda one: (IMAGE_ORDER.index(one[0]) if one[0] in IMAGE_ORDER else len(IMAGE_ORDER), one)
        )

    return {
        "title": " + ".join(classes), "mixture": link("mixture.wav"), "pictures": pictures(0),
        "figures": [(_said(key), value) for key, value in pair.items() if isinstance(value, float)],
        "sources": [
            {"name": one, "pred": link(f"pred_{k}.wav"), "true": link(f"true_{k}.wav"), "pictures": pictures(k)}
            for k, one in enumerate(classes, 1)
        ],
    }  # fmt: skip


def _said(key):
    """A figure's name for people: "nsdr_ideal_binary" is "NSDR ideal binary"."""
    return re.sub(r"\bn?s[dai]r\b", lambda found: found[0].upper(), key.replace("_", " "))
