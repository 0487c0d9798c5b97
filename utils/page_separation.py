"""The separated sounds of an evaluation, as OUT/separation holds them, for the report page.

pairs.json                                          [{"folder", "classes": [name, name], FIGURE: number, ...}, ...]
FOLDER/{mixture,pred_1,pred_2,true_1,true_2}.wav
FOLDER/NAME.png, NAME_1.png, NAME_2.png             any pictures, of the mixture, of the first source, of the second
"""

import json
import math
import re
from pathlib import Path
from urllib.parse import quote

from utils.errors import UserError

MOST = 12  # pairs on the page


def separated(out):
    """The pairs of OUT/separation/pairs.json with the files that lie beside it.

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
        content = json.loads(path.read_text(encoding="utf-8"))
        pairs = content["pairs"] if isinstance(content, dict) and "pairs" in content else content
        pairs = list(pairs.items()) if isinstance(pairs, dict) else [(_folder_of(pair), pair) for pair in pairs]
        return [_pair(path.parent, str(name), pair) for name, pair in pairs[:MOST]]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is not of its form ({error}): evaluate again, or remove it") from None


def _folder_of(pair):
    if not isinstance(pair, dict) or "folder" not in pair:
        raise ValueError("a pair names no folder")
    return pair["folder"]


def _pair(root, name, pair):
    folder = root / name
    if not folder.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{name!r} leads out of its folder")
    files = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    classes = pair["classes"]
    classes = [", ".join(one) if isinstance(one, list) else str(one) for one in classes]

    def link(file):
        return f"separation/{quote(name)}/{quote(file)}" if file in files else None

    def pictures(number):
        """Those of one source, or (0) of the mixture: NAME_1.png belongs to the first source."""
        found = [file for file in files if re.search(r"\.(png|jpe?g)$", file)]
        of = {file: int(m[1]) if (m := re.search(r"_(\d)\.\w+$", file)) else 0 for file in found}
        stem = re.compile(r"(_\d)?\.\w+$")
        return [(stem.sub("", file).replace("_", " "), link(file)) for file in found if of[file] == number]

    sources = [
        {"name": one, "pred": link(f"pred_{k}.wav"), "true": link(f"true_{k}.wav"), "pictures": pictures(k)}
        for k, one in enumerate(classes[:2], 1)
    ]
    figures = [
        (key.upper() if len(key) < 5 else key.replace("_", " "), value)
        for key, value in pair.items()
        if isinstance(value, float) and math.isfinite(value)
    ]
    return {
        "title": " + ".join(classes[:2]), "figures": figures, "sources": sources,
        "mixture": link("mixture.wav"), "pictures": pictures(0),
    }  # fmt: skip
