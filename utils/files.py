"""Files that are there whole or not at all."""

import json
import os
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path):
    """`with replacing(path) as file:` writes a binary file in one step: a reader, or a kill, finds the old file or the
    new one, never a part.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # a full disk shall not stay full of halves
        raise


def write_text(path, text):
    """Write a text file in one step, as `replacing` does."""
    with atomic_write(path) as file:
        file.write(text.encode())


def write_json(path, value):
    """Write JSON as `write_text` does."""
    write_text(path, json.dumps(value, indent=0, ensure_ascii=False) + "\n")
