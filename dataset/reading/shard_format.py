"""The files of shards: shards.json and the index of each shard; `dataset.reading.shards` describes all of them."""

import hashlib
from pathlib import Path
from typing import Any, NotRequired, TypedDict, TypeGuard, cast

import numpy as np

from dataset.reading.annotations import load_json
from dataset.reading.errors import MediaError, error_reason
from dataset.reading.remote import as_path, is_url, read_bytes
from utils.errors import UserError

VERSION = 1  # of the format; increment it when the format changes
MANIFEST, UNFINISHED_MANIFEST = "shards.json", "unfinished.json"  # the second exists while shards are being built
# A clip: the first of its rows in FRAME and how many; where its samples begin in the tar, how many; the last time of a
# frame with a second of sound around it, and of any frame, seconds.
CLIP_DTYPE = np.dtype([("first", "<i8"), ("frames", "<i8"), ("sound", "<i8"), ("samples", "<i8"),
                 ("last", "<f8"), ("video_end", "<f8")])  # fmt: skip
FRAME_DTYPE = np.dtype([("time", "<f8"), ("offset", "<i8"), ("bytes", "<i8")])
INDEX_HEADER = 16  # bytes: the numbers of rows of both
REBUILD_HINT = "remove this file and repeat `python data/build_shards.py SRC DST`, which builds it again"


class ShardEntry(TypedDict):
    """A shard's entry in shards.json: the ids of its clips, {id: reason} of those left out, sizes and checksums.

    Of clips in tars, those that can't be read are no part of the dataset: "left_out" has their {id: (kind, reason)}.
    """

    name: str
    ids: list[str]
    skipped: dict[str, str]
    source: str
    tar_bytes: int
    tar_sha256: str
    index_bytes: int
    index_sha256: str
    left_out: NotRequired[dict[str, tuple[str, str]]]


class Manifest(TypedDict):
    """The content of shards.json."""

    version: int
    settings: dict[str, Any]  # options of data/build_shards.py
    missing: dict[str, dict[str, str]]  # {split: {id: reason}} of the clips without files in the source
    splits: dict[str, list[ShardEntry]]


def is_shards(root: Path | str) -> bool:
    """Check whether `root` holds shards, finished or not; a URL is always taken for shards."""
    return is_url(root) or any((Path(root) / name).exists() for name in (MANIFEST, UNFINISHED_MANIFEST))


def shard_files(folder: Path, shard: ShardEntry) -> list[tuple[Path, int]]:
    """List the files of a shard: [(path of its tar, size in bytes), (path of its index, size in bytes)].

    Args:
        folder: of the split.
        shard: its entry in shards.json.
    """
    return [
        (folder / f"{shard['name']}.tar", shard["tar_bytes"]),
        (folder / f"{shard['name']}.index", shard["index_bytes"]),
    ]


def read_manifest(root: Path | str, name: str = MANIFEST) -> Manifest:
    """Read ROOT/shards.json.

    Args:
        root: folder or URL of the shards.
        name: of the file.

    Raises:
        UserError: the shards are unfinished, of another version, or the file is damaged.
    """
    path = as_path(root) / name
    if name == MANIFEST and (as_path(root) / UNFINISHED_MANIFEST).exists():
        raise UserError(f"the shards {root} are unfinished: repeat `python data/build_shards.py SRC {root}`")
    manifest = load_json(path, "what data/build_shards.py wrote")
    if not isinstance(manifest, dict) or manifest.get("version") != VERSION:
        raise UserError(f"{path} is not of version {VERSION} of the shards: build them again with data/build_shards.py")
    try:
        shards = [shard for split in manifest["splits"].values() for shard in split]
        is_valid = all(is_valid_entry(shard) for shard in shards) and isinstance(manifest["missing"], dict)
        is_valid = is_valid and all(
            manifest["settings"][key] > 0 for key in ("fps", "size", "rate", "quality", "clips")
        )
    except (KeyError, TypeError, AttributeError):
        is_valid = False
    if not is_valid:
        raise UserError(f"{path} is damaged: build the shards again with data/build_shards.py")
    return cast(Manifest, manifest)


def is_valid_entry(shard: object) -> TypeGuard[ShardEntry]:
    """Check that a value of JSON, `shard`, is a shard's entry in shards.json."""
    types = {"name": str, "ids": list, "skipped": dict, "tar_bytes": int, "index_bytes": int,
             "tar_sha256": str, "index_sha256": str}  # fmt: skip
    return isinstance(shard, dict) and all(isinstance(shard.get(key), kind) for key, kind in types.items())


def read_index(path: Path, sha256: str) -> tuple[np.ndarray, np.ndarray]:
    """Read a shard's index: its rows of `CLIP_DTYPE` and of `FRAME_DTYPE`.

    Args:
        path: of the file, or its URL.
        sha256: its checksum, from shards.json.

    Raises:
        MediaError: it is missing or not what was written.
    """
    try:
        content = read_bytes(path)
    except OSError as error:
        raise MediaError("storage", path, f"can't be read ({error_reason(error)})", REBUILD_HINT) from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise MediaError("damaged", path, "is damaged (its SHA-256 differs)", REBUILD_HINT)
    clips, frames = np.frombuffer(content, "<i8", 2).tolist()
    rows = np.frombuffer(content, CLIP_DTYPE, clips, INDEX_HEADER)
    return rows, np.frombuffer(content, FRAME_DTYPE, frames, INDEX_HEADER + rows.nbytes)


def pack_index(clips: list[tuple], frames: list[tuple]) -> bytes:
    """Encode an index: the two numbers of rows, then the rows.

    Args:
        clips: rows of `CLIP_DTYPE`.
        frames: rows of `FRAME_DTYPE`.
    """
    rows = np.array([len(clips), len(frames)], "<i8"), np.array(clips, CLIP_DTYPE), np.array(frames, FRAME_DTYPE)
    return b"".join(part.tobytes() for part in rows)
