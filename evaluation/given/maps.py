"""Read localization maps that another program wrote: DIR/CLIP.npy, one array (h, w) of each clip.

An array covers the whole frame, row 0 at its top; larger values mean that the sound rather comes from there. Values may
have any range: only their order within a map counts.
"""

from pathlib import Path

import numpy as np

from evaluation.given.account import FORM
from evaluation.measures.localization import BENCHMARK_SIZE
from evaluation.measures.map_overlap import upsample
from utils.errors import UserError
from utils.files import regular_size

SMALLEST = 1e-30  # largest value of a map that float32 holds well; 1 / SMALLEST is the greatest
FLAT = 1e-3  # of a map's largest value: less between its values is lost in float32
MOST_LOCATIONS = 4096 * 4096  # of a map


def read_map(path: Path) -> np.ndarray:
    """Read one map from the npy file `path`: (h, w) float32.

    Raises:
        UserError: it can't be read, is no array (h, w) of numbers, or has a NaN.
    """
    try:
        regular_size(path)
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror or error}): {FORM}") from None
    except (ValueError, EOFError, MemoryError):  # MemoryError: by its header it holds terabytes
        raise UserError(f"{path} is damaged, or no npy file of plain numbers: write it with np.save") from None
    if not isinstance(array, np.ndarray) or array.ndim != 2 or not array.size or array.dtype.kind not in "fiub":
        found = f"{array.shape} {array.dtype}" if isinstance(array, np.ndarray) else "an npz file"
        raise UserError(f"{path} must hold one map, (h, w) numbers, and holds {found}: {FORM}")
    if array.size > MOST_LOCATIONS:
        raise UserError(f"{path} holds a map of {array.shape[0]} x {array.shape[1]} locations: write smaller ones")
    if not np.isfinite(array).all():
        raise UserError(f"{path} has a NaN or infinity: a net that fails has no figures")
    return _to_float32(array)


def _to_float32(array: np.ndarray) -> np.ndarray:
    """Convert a map; where float32 can't tell its values apart, they are moved and scaled to 0..1."""
    largest = float(np.abs(array.astype(np.longdouble)).max())
    if not largest:
        return array.astype(np.float32)
    values = array.astype(np.float64) / largest
    low, high = values.min(), values.max()
    if SMALLEST < largest < 1 / SMALLEST and high - low > FLAT:
        return array.astype(np.float32)
    return ((values - low) / (high - low) if high > low else values).astype(np.float32)


def read_maps(folder: Path, clips: list[str]) -> np.ndarray:
    """Read the maps of clips.

    Args:
        folder: that holds them.
        clips: N names.

    Returns:
        (N, h, w) float32; maps of different sizes, or that aren't square, are interpolated to BENCHMARK_SIZE x
        BENCHMARK_SIZE.

    Raises:
        UserError: as `read_map`.
    """
    maps = [read_map(folder / f"{clip}.npy") for clip in clips]
    if len({side for one in maps for side in one.shape}) > 1:
        maps = [upsample(one[None], BENCHMARK_SIZE)[0] for one in maps]
    return np.stack(maps)


def list_maps(folder: Path) -> list[str]:
    """List the clips that have a map in `folder`.

    Raises:
        UserError: there is no such folder, or no map in it.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: give --maps one with an array CLIP.npy of each clip")
    names = sorted(path.stem for path in folder.glob("*.npy"))
    if not names:
        raise UserError(f"{folder} has no maps, CLIP.npy: {FORM}")
    return names
