"""What people hold, pictures and sounds of any size, type and rate, as what the nets take: squares and int16 samples.

Files are read as embed.py reads them, so that the same file has the same embedding.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from dataset.reading.audio import format_seconds, read_padded, resample_part, sound_samples, too_short
from dataset.reading.images import open_image, resize_square
from dataset.reading.limits import MAX_PIXELS, MAX_RATE, MIN_RATE
from dataset.reading.media import stream_samples
from dataset.reading.moments import HALF, sound_start
from dataset.reading.sound_buffer import SoundBuffer
from utils.errors import UserError

Pictures = str | Path | Image.Image | np.ndarray | Tensor | Iterable[Any]
Waves = str | Path | np.ndarray | Tensor | Iterable[Any]
MOST_CHANNELS = 8  # of a sound: an array of more rows than that and as few columns is one sound, not many
CHANNELS = (1, 3, 4)  # of a picture: grey, RGB, RGB and alpha
LOUDEST = 2.0  # of a sound of float samples: full scale is 1, and a resampled or compressed one may exceed it a little


# ---------------------------------------------------------------------------------------------------------- pictures


class Stack(list[Any]):
    """The T pictures that a net of several frames takes as one."""


def list_pictures(pictures: Pictures, frames: int = 1) -> list[Any]:
    """Divide what a program gives into pictures, without opening them.

    Args:
        pictures: one picture or several, see `open_picture`; an array with one dimension more holds several.
        frames: T of a net of several frames, of which each item is T pictures.

    Returns:
        One item for each picture, or for each T of them.

    Raises:
        UserError: there are none, or an array holds pictures of different sizes.
    """
    single = 3 if frames == 1 else 4  # dimensions of an item
    pictures = _names(pictures)
    if isinstance(pictures, str | Path | Image.Image):
        items: list[Any] = [pictures]
    elif isinstance(pictures, np.ndarray | Tensor):
        if isinstance(pictures, np.ndarray) and pictures.dtype == object:
            raise UserError("pictures of different sizes don't fit into one array: give a list of them")
        if not single - 1 <= pictures.ndim <= single + 1:
            raise UserError(
                f"pictures have the shape {tuple(pictures.shape)}: give (H, W, 3), (N, H, W, 3), or a list of pictures"
            )
        items = list(pictures) if pictures.ndim == single + 1 else [pictures]
    else:
        items = _list(pictures, "pictures")
    if not items:
        raise UserError("there are no pictures: give at least one")
    return items if frames == 1 else [_stack_of(item, frames) for item in items]


def _names(values: Any) -> Any:
    """An array of text as a list of paths; all else as it is."""
    return values.tolist() if isinstance(values, np.ndarray) and values.dtype.kind == "U" else values


def _stack_of(item: Any, frames: int) -> Stack:
    """The T pictures of an item for a net of several frames."""
    pictures = list_pictures(item)
    if len(pictures) != frames:
        raise UserError(
            f"this net takes {frames} frames of a clip, 0.04 s apart, not {len(pictures)}: give (N, T, H, W, 3)"
        )
    return Stack(pictures)


def _list(values: Any, what: str) -> list[Any]:
    try:
        return list(values)
    except TypeError:
        raise UserError(f"{what} can't be of type {type(values).__name__}: give arrays, tensors or paths") from None


def open_picture(picture: Any) -> Image.Image:
    """Open or convert a picture: RGB, upright.

    Args:
        picture: the path of an image file; an image of Pillow; or an array or tensor (H, W), (H, W, C) or (C, H, W),
            with C 1, 3 or 4, uint8 or float in 0..1.

    Raises:
        UserError: the file can't be read, or the values aren't those of a picture.
    """
    if isinstance(picture, str | Path):
        return open_image(Path(picture))
    if isinstance(picture, Image.Image):
        image = ImageOps.exif_transpose(picture)
        return (image or picture).convert("RGB")
    values = to_array(picture, "a picture")
    if values.ndim == 3:
        first = isinstance(picture, Tensor) and values.shape[0] in CHANNELS  # torchvision's order
        if (first or values.shape[-1] not in CHANNELS) and values.shape[0] in CHANNELS:
            values = values.transpose(1, 2, 0)
        values = values[:, :, 0] if values.shape[-1] == 1 else values
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[-1] not in CHANNELS) or not values.size:
        raise UserError(f"a picture has the shape {values.shape}: give (H, W, 3) or (3, H, W)")
    if values.shape[0] * values.shape[1] > MAX_PIXELS:
        raise UserError(f"a picture of {values.shape[1]} x {values.shape[0]} pixels is too large: shrink it")
    return Image.fromarray(_to_bytes(values)).convert("RGB")


def _to_bytes(values: np.ndarray) -> np.ndarray:
    """The pixels of a picture as uint8."""
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    if values.dtype.kind != "f":
        raise UserError(f"a picture is of type {values.dtype}: give uint8, or float in 0..1")
    if not np.isfinite(values).all():
        raise UserError("a picture holds NaN or infinity: give uint8, or float in 0..1")
    if values.min() < 0 or values.max() > 1:
        raise UserError(
            f"a picture of floats has values from {values.min():.3g} to {values.max():.3g}: give uint8, or float in "
            "0..1, not normalized"
        )
    return np.rint(values.astype(np.float64) * 255).astype(np.uint8)


def to_array(values: Any, what: str) -> np.ndarray:
    """Convert an array, a tensor on any device, or lists of numbers.

    Args:
        values: of any type.
        what: they are, for messages, such as "a picture".

    Raises:
        UserError: they are something else.
    """
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values
    try:
        array = np.asarray(values)
    except (ValueError, TypeError):  # lists of different lengths
        array = np.empty(0, object)
    if array.dtype.kind not in "fiub":
        raise UserError(f"{what} can't be of type {type(values).__name__}: give an array, a tensor or a path")
    return array


def to_squares(items: list[Any], size: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Open pictures and resize each as a whole to a square.

    Args:
        items: of `list_pictures`.
        size: side of the squares, pixels.

    Returns:
        (N, size, size, 3) uint8, or (N, T, size, size, 3) of items of T pictures; and of each item (height, width) of
        its (first) picture.
    """
    squares, sizes = [], []
    for item in items:
        images = [open_picture(picture) for picture in (item if isinstance(item, Stack) else [item])]
        found = np.stack([resize_square(image, size) for image in images])
        squares.append(found if isinstance(item, Stack) else found[0])
        sizes.append((images[0].height, images[0].width))
    return np.stack(squares), sizes


# -------------------------------------------------------------------------------------------------------------- waves


def list_waves(waves: Waves) -> list[Any]:
    """Divide what a program gives into sounds, without opening them.

    Args:
        waves: one sound or several, see `open_wave`; an array of two dimensions holds several.

    Raises:
        UserError: there are none, or an array holds sounds of different lengths.
    """
    waves = _names(waves)
    if isinstance(waves, str | Path):
        items: list[Any] = [waves]
    elif isinstance(waves, np.ndarray | Tensor):
        if isinstance(waves, np.ndarray) and waves.dtype == object:
            raise UserError("sounds of different lengths don't fit into one array: give a list of them")
        if waves.ndim not in (1, 2):
            raise UserError(f"waves have the shape {tuple(waves.shape)}: give (samples,), (N, samples), or a list")
        if waves.ndim == 2 and waves.shape[1] <= MOST_CHANNELS < waves.shape[0]:
            raise UserError(
                f"waves have the shape {tuple(waves.shape)}, as one sound of {waves.shape[1]} channels: give a list, "
                "[wave], and its channels are averaged"
            )
        items = list(waves) if waves.ndim == 2 else [waves]
    else:
        items = _list(waves, "waves")
        if items and all(isinstance(item, int | float | np.number) for item in items):
            items = [items]
    if not items:
        raise UserError("there are no waves: give at least one")
    return items


def open_wave(wave: Any, rate: float | None) -> tuple[np.ndarray, int]:
    """Read or convert a sound.

    Args:
        wave: the path of a sound or video file; or an array, tensor or list (samples,), float in -1..1, or int16, int32
            or uint8 as wav files hold them. Channels, (samples, C) or (C, samples), are averaged.
        rate: of an array, Hz; a file has its own.

    Returns:
        (samples,) float32 in -1..1, and the rate, Hz.

    Raises:
        UserError: the file can't be read, there is no rate, or the values aren't those of a sound.
    """
    check_rate(rate)
    if isinstance(wave, str | Path):
        return _read_wave(Path(wave))
    if rate is None:
        raise UserError("rate is missing: an array of samples needs its sample rate, in Hz")
    values = to_array(wave, "a sound")
    if values.ndim not in (1, 2):
        raise UserError(f"a sound has the shape {values.shape}: give (samples,)")
    samples = _to_float(values)
    if samples.ndim == 2:
        samples = samples.mean(int(np.argmin(samples.shape)), dtype=np.float32)
    return samples, int(rate)


def check_rate(rate: float | None) -> None:
    """Raise a `UserError` if `rate`, Hz, is no sample rate of a sound; None is that of a file."""
    is_number = isinstance(rate, int | float | np.number) and not isinstance(rate, bool)
    if rate is not None and not (is_number and MIN_RATE <= rate <= MAX_RATE and rate == int(rate)):
        raise UserError(f"rate is {rate!r}, but must be a whole number of {MIN_RATE:,} to {MAX_RATE:,} Hz")


def _to_float(values: np.ndarray) -> np.ndarray:
    """Samples as float32 in -1..1."""
    if values.dtype in (np.int16, np.int32):
        return (values / -float(np.iinfo(values.dtype).min)).astype(np.float32)
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - 128) / 128
    if values.dtype.kind != "f":
        raise UserError(f"a sound is of type {values.dtype}: give float in -1..1, or int16")
    if not np.isfinite(values).all():
        raise UserError("a sound holds samples that are not numbers (NaN or infinite): give float in -1..1, or int16")
    peak = float(np.abs(values).max(initial=0))
    if peak > LOUDEST:
        raise UserError(
            f"a sound of floats reaches {peak:.4g}, but full scale is 1: give int16, or divide the samples by 32768"
        )
    return values.astype(np.float32)


def _read_wave(path: Path) -> tuple[np.ndarray, int]:
    buffer, rate = SoundBuffer(path), 0
    for begin, samples, rate in stream_samples(path, -1.0, inf):
        buffer.add(begin, samples, rate)
    return buffer.read(0, max(buffer.end, 0)), rate


def cut_sounds(
    items: list[Any], rate: float | None, net_rate: int, seconds: float, time: float | None = None, pad: bool = False
) -> np.ndarray:
    """Cut a sound of the net's length and rate from each wave.

    Args:
        items: of `list_waves`.
        rate: of arrays, Hz.
        net_rate: data.sample_rate, Hz.
        seconds: data.seconds.
        time: the middle of the sound that is cut, seconds; None: the middle of the wave. It is moved inside the wave.
        pad: add silence at the end of a wave that is shorter.

    Returns:
        (N, samples) int16.

    Raises:
        UserError: as `open_wave`; a wave is shorter, or ends before `time`.
    """
    count, cut = sound_samples(seconds, net_rate), []
    for number, item in enumerate(items):
        samples, native = open_wave(item, rate)
        name = str(item) if isinstance(item, str | Path) else f"wave {number}"
        total, length = len(samples) * net_rate // native, len(samples) / native
        if total < count and not (pad and total):
            raise UserError(
                f"{name} {too_short(length, seconds)} of sound that the net takes: give a longer one, or pad=True, "
                "which adds silence"
            )
        if time is not None and not (isinstance(time, int | float | np.number) and 0 <= time <= length):
            raise UserError(f"time is {time!r}, but {name} lasts from 0 to {format_seconds(length)}")
        middle = length / 2 if time is None else time
        start = sound_start(round((middle - HALF) * net_rate), net_rate, seconds, max(total, count))
        cut.append(resample_part(partial(read_padded, samples), start, count, native, net_rate))
    return np.stack(cut)


def batches(items: list[Any], size: int) -> Iterator[list[Any]]:
    """Yield `items` in lists of up to `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
