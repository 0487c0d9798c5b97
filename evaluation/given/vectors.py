"""Read embeddings that another program wrote: an npz file with rows of clip, modality and vector.

    clip       (R,) text: the clip's name, as in vid2genre.json
    modality   (R,) text: "frame" or "sound"
    vector     (R, D) numbers, finite and not all 0; they are compared by their cosine
    time       (R,) seconds, optional: of several rows of a clip the one nearest to the evaluated time is measured
    log_odds   (F, S), optional: that the file's k-th row of a frame and its l-th row of a sound belong together
    threshold  a number, optional: log_odds above it are called a match; 0 without it
    ranked_by  "vector" or "log_odds", optional: what orders the results of a search across modalities

`eval.py --checkpoint FILE --write_embeddings NAME.npz` writes this form. A collection of embed.py is read as well.
"""

import json
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from evaluation.given.account import FORM
from utils.errors import UserError
from utils.files import regular_size

MODALITIES = ("frame", "sound")
REQUIRED = ("clip", "modality", "vector")
COLLECTION = ("frames", "sounds", "has_frame", "has_sound", "times", "files", "about")  # of embed.py
MOST_LOG_ODDS = 1e30  # in float32 their differences overflow above it
UNIT = 1e-5  # vectors whose length differs by less from 1 are taken as they are


class GivenVectors(NamedTuple):
    """The rows of a file of embeddings.

    Attributes:
        path: of the file.
        clips: R names.
        modalities: R of MODALITIES.
        vectors: (R, D) float32, unit vectors.
        times: (R,) float64, seconds, or None.
        log_odds: (frames, sounds) float32, in the order of their rows, or None.
        threshold: of the log-odds.
        ranks_by_log_odds: they order the results of a search across modalities.
    """

    path: Path
    clips: list[str]
    modalities: list[str]
    vectors: np.ndarray
    times: np.ndarray | None = None
    log_odds: np.ndarray | None = None
    threshold: float = 0.0
    ranks_by_log_odds: bool = False


def read_vectors(path: Path) -> GivenVectors:
    """Read the npz file `path`, without executing any code in it.

    Raises:
        UserError: it can't be read, lacks an array, or a row has another form.
    """
    try:
        regular_size(path)
        content = np.load(path, allow_pickle=False)
        if not isinstance(content, np.lib.npyio.NpzFile):
            raise UserError(f"{path} is a single array, and an npz file of several is asked for: {FORM}")
        with content:
            arrays = {name: content[name] for name in content.files}
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror or error}): give --embeddings an npz file") from None
    except MemoryError:
        raise UserError(
            f"{path} has an array that doesn't fit into memory: it is damaged, or has too many rows"
        ) from None
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path} is damaged, or no npz file of plain arrays (names as np.array(names, dtype=str)): {FORM}"
        ) from None
    if "about" in arrays and "clip" not in arrays:
        return _read_collection(path, arrays)
    if absent := [name for name in REQUIRED if name not in arrays]:
        found = ", ".join(sorted(arrays)[:8]) or "none"
        raise UserError(f"{path} lacks the array {' and '.join(absent)} and has {found}: {FORM}")
    return _read_rows(path, arrays)


def _read_rows(path: Path, arrays: dict[str, np.ndarray]) -> GivenVectors:
    clips, modalities = (_texts(path, name, arrays[name]) for name in ("clip", "modality"))
    vectors = _numbers(path, "vector", arrays["vector"], 2)
    rows = {"clip": len(clips), "modality": len(modalities), "vector": len(vectors)}
    times = _numbers(path, "time", arrays["time"], 1) if "time" in arrays else None
    rows |= {"time": len(times)} if times is not None else {}
    if len(set(rows.values())) > 1:
        found = ", ".join(f"{name} {count}" for name, count in rows.items())
        raise UserError(f"{path} must have as many rows in each array, and has {found}: {FORM}")
    if not len(clips):
        raise UserError(f"{path} has no rows: {FORM}")
    for row, modality in enumerate(modalities):
        if modality not in MODALITIES:
            raise UserError(
                f"{path}, row {row} (clip {clips[row]}) has the modality {modality!r}: write frame or sound"
            )
    if lone := [modality for modality in MODALITIES if modality not in modalities]:
        raise UserError(f"{path} has no row of a {lone[0]}: a clip is measured by its frame and its sound")
    vectors = _unit_vectors(path, vectors, [f"row {row} (clip {clip})" for row, clip in enumerate(clips)])
    log_odds = _log_odds(path, arrays["log_odds"], modalities) if "log_odds" in arrays else None
    ranked_by = str(arrays["ranked_by"]) if "ranked_by" in arrays else "vector"
    if ranked_by not in ("vector", "log_odds") or (ranked_by == "log_odds" and log_odds is None):
        raise UserError(f"{path} has ranked_by {ranked_by!r}: write vector, or log_odds with the array log_odds")
    threshold = float(_numbers(path, "threshold", arrays["threshold"], 0)) if "threshold" in arrays else 0.0
    return GivenVectors(path, clips, modalities, vectors, times, log_odds, threshold, ranked_by == "log_odds")


def _texts(path: Path, name: str, array: np.ndarray) -> list[str]:
    if array.ndim != 1 or array.dtype.kind not in "US":
        raise UserError(
            f"the array {name} of {path} must be (rows,) text and is {array.shape} {array.dtype}: "
            "np.array(names, dtype=str)"
        )
    return [text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in array.tolist()]


def _numbers(path: Path, name: str, array: np.ndarray, dims: int) -> np.ndarray:
    if array.ndim != dims or array.dtype.kind not in "fiu":
        form = ("a number", "(rows,) numbers", "(rows, D) numbers")[dims]
        raise UserError(f"the array {name} of {path} must be {form} and is {array.shape} {array.dtype}: {FORM}")
    values = array.astype(np.float64)
    if not np.isfinite(values).all():
        row = f", row {int(np.argwhere(~np.isfinite(values))[0][0])}" if dims else ""
        raise UserError(f"the array {name} of {path} has a NaN or infinity{row}: a net that fails has no figures")
    return values


def _unit_vectors(path: Path, vectors: np.ndarray, names: list[str]) -> np.ndarray:
    """Normalize vectors, (R, D) float64, but for those that are normalized already."""
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(vectors, axis=1)
    if not np.isfinite(norms).all():
        raise UserError(f"{path}, {names[int(np.argmax(norms))]} has a vector of infinite length: divide the vectors")
    if (norms == 0).any():
        raise UserError(
            f"{path}, {names[int(norms.argmin())]} has a vector of zeros, which has no direction: leave it out"
        )
    scales = np.where(np.abs(norms - 1) < UNIT, 1.0, norms)
    return (vectors / scales[:, None]).astype(np.float32)


def _log_odds(path: Path, array: np.ndarray, modalities: list[str]) -> np.ndarray:
    wanted = tuple(modalities.count(modality) for modality in MODALITIES)
    values = _numbers(path, "log_odds", array, 2)
    if values.shape != wanted:
        raise UserError(
            f"the array log_odds of {path} is {values.shape} and must be (frames, sounds), {wanted}: {FORM}"
        )
    if np.abs(values).max(initial=0) > MOST_LOG_ODDS:
        raise UserError(
            f"the array log_odds of {path} has values above {MOST_LOG_ODDS:g}: log(p / (1 - p)) is asked for"
        )
    return values.astype(np.float32)


def _read_collection(path: Path, arrays: dict[str, Any]) -> GivenVectors:
    """Read a collection of embed.py: its files' names are the clips'."""
    try:
        files = [PurePosixPath(entry[0]).stem for entry in json.loads(arrays["about"].tobytes())["files"]]
        has = [arrays["has_frame"].astype(bool), arrays["has_sound"].astype(bool)]
        clips, modalities, vectors, times = list[str](), list[str](), [], []
        for modality, name, rows in zip(MODALITIES, ("frames", "sounds"), has, strict=True):
            clips += [files[index] for index in arrays["files"][rows]]
            modalities += [modality] * int(rows.sum())
            vectors.append(arrays[name][rows])
            times.append(arrays["times"][rows])
        rows = {"clip": np.array(clips), "modality": np.array(modalities), "vector": np.concatenate(vectors)}
    except (KeyError, ValueError, IndexError, TypeError):
        raise UserError(f"{path} is a damaged collection: make it again with embed.py") from None
    return _read_rows(path, rows | {"time": np.concatenate(times)})
