"""Files that are there whole or not at all."""

import json
import os
from pathlib import Path


def write_text(path, text):
    """Write a text file in one step: a reader, or a kill, finds the old file or the new one, never a part."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # a full disk shall not stay full of halves
        raise


def write_json(path, value):
    """Write JSON as `write_text` does."""
    write_text(path, json.dumps(value, indent=0, ensure_ascii=False) + "\n")
