"""Find a trained net's weights: a checkpoint's file, a run's folder, an export's folder, or an address with a hash."""

import hashlib
import http.client
import json
import math
import os
import re
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urlsplit

import torch

from utils import checkpoint
from utils.errors import UserError, first_line
from utils.files import atomic_write, read_text
from utils.tensors import load_tensors

EXPORT_CONFIG, EXPORT_WEIGHTS = "config.json", "model.safetensors"  # in a folder of export.py
ADDRESS_FORM = "https://HOST/best.pt#sha256=64 HEXADECIMAL DIGITS"
TIMEOUT = 30.0  # of each answer of a server, seconds
BLOCK_BYTES = 2**20


def find_checkpoint(source: str | Path) -> Path:
    """Find what `read_checkpoint` reads; an address is downloaded once, into torch.hub's folder.

    Args:
        source: best.pt or last.pt of a run; the run's folder, of which best.pt is taken; a folder of export.py; or
            https://HOST/best.pt#sha256=HASH.

    Returns:
        the path of a file, or of a folder of export.py.

    Raises:
        UserError: a folder holds no weights, an address has no hash or isn't https, or the download fails.
    """
    if not isinstance(source, str | os.PathLike):
        raise UserError(f"a checkpoint can't be of type {type(source).__name__}: give the path of its file or folder")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", str(source)):
        return _download(str(source))
    path = Path(source)
    if path.name == EXPORT_WEIGHTS and os.path.isfile(path.parent / EXPORT_CONFIG):
        return path.parent
    if not os.path.isdir(path):  # pathlib raises for a name that is too long
        return path
    if (path / "best.pt").is_file():
        return path / "best.pt"
    if (path / EXPORT_WEIGHTS).is_file():
        return path
    last = f"; {path / 'last.pt'} is the state of a run that has no validation yet" * (path / "last.pt").is_file()
    raise UserError(
        f"folder {path} holds no trained net, neither best.pt of a run nor {EXPORT_WEIGHTS} of export.py: give another "
        f"one, or a checkpoint's file{last}"
    )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint, or what export.py wrote of one.

    Args:
        path: of `find_checkpoint`.

    Returns:
        a checkpoint's content, see docs/checkpoints.md; that of an export has the evaluated weights as "model".

    Raises:
        UserError: it is missing, damaged, of another program or a newer version.
    """
    if not os.path.isdir(path):
        return checkpoint.load(path)
    try:
        content = json.loads(read_text(path / EXPORT_CONFIG))
        weights = load_tensors(path / EXPORT_WEIGHTS, "weights", "export the net again")
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        reason = getattr(error, "strerror", None) or "it is no JSON"
        raise UserError(f"{path} is no complete folder of export.py ({reason}): export the net again") from None
    checkpoint.check_versions(content, path)
    return content | {"model": weights, "ema": None}


def _download(address: str) -> Path:
    """Download a file once, and check its hash before it gets its name."""
    try:
        address, fragment = urldefrag(address)
        _ = urlsplit(address).port
    except ValueError as error:
        raise UserError(f"{address} is no valid address ({first_line(error)}): give one, as {ADDRESS_FORM}") from None
    wanted = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", fragment)
    if urlsplit(address).scheme != "https":
        raise UserError(f"{address} is no https address: give one, as {ADDRESS_FORM}, or download the file")
    if not wanted:
        raise UserError(
            f"{address} has no hash, by which a changed or damaged file is found: give {ADDRESS_FORM}, which "
            "`sha256sum best.pt` prints"
        )
    expected = wanted[1].lower()
    path = Path(torch.hub.get_dir()) / "checkpoints" / f"{expected}.pt"
    if path.is_file() and _hash_file(path) == expected:
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(address, timeout=TIMEOUT) as answer, atomic_write(path) as file:
            found, limit = hashlib.sha256(), answer.length or math.inf
            while block := answer.read(BLOCK_BYTES):
                found.update(block)
                file.write(block)
            if found.hexdigest() != expected:
                short = "; it ended early" * (file.tell() < limit < math.inf)
                raise UserError(
                    f"{address} has the SHA-256 {found.hexdigest()}, not {expected}{short}: check the address, and "
                    "whether the file was replaced"
                )
    except UserError:
        raise
    except (OSError, ValueError, http.client.HTTPException) as error:  # URLError is an OSError
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise UserError(f"{address} can't be downloaded ({reason}): check the address and the network") from None
    return path


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
