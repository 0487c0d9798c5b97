"""Sounds that people hold, of any type and rate, as int16 samples that the nets take; `picture_inputs` has pictures.

Files are read as embed.py reads them, so that the same file has the same embedding.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dataset.making.text import count_text
from dataset.reading.audio import format_seconds, read_padded, resample_part, sound_samples, too_short
from dataset.reading.limits import MAX_RATE, MIN_RATE
from dataset.reading.media import stream_samples
from dataset.reading.moments import HALF, sound_start
from dataset.reading.sound_buffer import SoundBuffer
from utils.errors import UserError

Waves = str | Path | np.ndarray | Tensor | Iterable[Any]
MOST_CHANNELS = 8  # of a sound: an array of more rows than that and as few columns is one sound, not many
LOUDEST = 2.0  # of a sound of float samples: full scale is 1, and a resampled or compressed one may exceed it a little


def as_paths(values: Any, what: str) -> Any:
    """Convert names of files to what is read as such: a path of any type to a `Path`, an array of names to a list.

    Args:
        values: what a program gives: names, arrays, pictures, or a list of them.
        what: they are, for messages, such as "pictures".

    Returns:
        `values`, or the names in them.

    Raises:
        UserError: they are bytes, or a table, whose keys would be taken for names.
    """
    if isinstance(values, Mapping | bytes | bytearray) or hasattr(values, "columns"):
        raise UserError(f"{what} can't be of type {type(values).__name__}: give arrays, tensors, paths or a list")
    if isinstance(values, os.PathLike):
        return Path(values)
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "OU":
        return values
    names = values.tolist()
    is_list = isinstance(names, list) and all(isinstance(name, str | os.PathLike) for name in names)
    return names if is_list or isinstance(names, str) else values


def refuse_ragged(values: np.ndarray | Tensor, described: str) -> None:
    """Raise a UserError for an array whose items may have different shapes.

    Args:
        values: an array or tensor.
        described: what they are, for the message, such as "pictures of different sizes".
    """
    if values.is_nested if isinstance(values, Tensor) else values.dtype == object:
        raise UserError(f"{described} don't fit into one array: give a list of them")


def as_list(values: Any, what: str) -> list[Any]:
    """List several items.

    Args:
        values: that can be iterated over; paths of other types than `Path` become one.
        what: they are, for messages, such as "pictures".

    Raises:
        UserError: they can't be iterated over.
    """
    try:
        items = list(np.asarray(values) if isinstance(values, memoryview) else values)
    except TypeError:
        raise UserError(f"{what} can't be of type {type(values).__name__}: give arrays, tensors or paths") from None
    return [Path(item) if isinstance(item, os.PathLike) else item for item in items]


def to_array(values: Any, what: str) -> np.ndarray:
    """Convert an array, a tensor on any device, or lists of numbers.

    Args:
        values: of any type.
        what: they are, for messages, such as "a picture".

    Raises:
        UserError: they are something else.
    """
    if isinstance(values, Tensor):
        if values.is_meta or values.is_nested or values.layout != torch.strided or values.is_quantized:
            kind = "on the device meta, without values" if values.is_meta else "that is nested, sparse or quantized"
            raise UserError(f"{what} is a tensor {kind}: give a dense one with values")
        values = values.detach().cpu()
        values = values.float() if values.dtype.is_floating_point and values.dtype.itemsize <= 2 else values
    try:
        array = np.asarray(values)
    except (ValueError, TypeError):  # lists of different lengths
        array = np.empty(0, object)
    if array.dtype.kind not in "fiub":
        kind = f"{type(values).__name__} of {array.dtype}" if hasattr(values, "dtype") else type(values).__name__
        raise UserError(f"{what} can't be of type {kind}: give an array or tensor of numbers, or a path")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def batches(items: list[Any], size: int) -> Iterator[list[Any]]:
    """Yield `items` in lists of up to `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def list_waves(waves: Waves) -> list[Any]:
    """Divide what a program gives into sounds, without opening them.

    Args:
        waves: one sound or several, see `open_wave`; an array of two dimensions holds several.

    Raises:
        UserError: there are none, or an array holds sounds of different lengths.
    """
    waves = as_paths(waves, "waves")
    if isinstance(waves, str | Path):
        items: list[Any] = [waves]
    elif isinstance(waves, np.ndarray | Tensor):
        refuse_ragged(waves, "sounds of different lengths")
        if waves.ndim not in (1, 2):
            raise UserError(f"waves have the shape {tuple(waves.shape)}: give (samples,), (N, samples), or a list")
        if waves.ndim == 2 and waves.shape[1] <= MOST_CHANNELS < waves.shape[0]:
            raise UserError(
                f"waves have the shape {tuple(waves.shape)}, as one sound of {count_text(waves.shape[1], 'channel')}: "
                "give a list, [wave], and its channels are averaged"
            )
        items = list(waves) if waves.ndim == 2 else [waves]
    else:
        items = as_list(waves, "waves")
        numbers = [item for item in items if isinstance(item, int | float | np.number)]
        if len(numbers) == len(items) > 0:
            items = [items]
        elif numbers:
            raise UserError(f"waves hold the number {numbers[0]} beside sounds: give a sample rate as rate=")
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
    wave = as_paths(wave, "a sound")
    if isinstance(wave, str | Path):
        return _read_wave(Path(wave))
    if rate is None:
        raise UserError("rate is missing: an array of samples needs its sample rate, in Hz")
    values = to_array(wave, "a sound")
    if values.ndim not in (1, 2) or (values.ndim == 2 and not values.size):
        raise UserError(f"a sound has the shape {values.shape}: give (samples,)")
    samples = _to_float(values)
    if samples.ndim == 2:
        samples = samples.mean(int(np.argmin(samples.shape)), dtype=np.float32)
    return samples, int(rate)


def is_number(value: object) -> bool:
    """Check that a `value` is a real number, not a truth value."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def check_rate(rate: float | None) -> None:
    """Raise a `UserError` if `rate`, Hz, is no sample rate of a sound; None is that of a file."""
    if rate is not None and not (is_number(rate) and MIN_RATE <= rate <= MAX_RATE and rate == int(rate)):
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
    if not rate:
        raise UserError(f"{path} holds no sound, 0 samples: leave it out")
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
        if time is not None and not (is_number(time) and 0 <= time <= length):
            raise UserError(f"time is {time!r}, but {name} lasts from 0 to {format_seconds(length)}")
        middle = length / 2 if time is None else time
        start = sound_start(round((middle - HALF) * net_rate), net_rate, seconds, max(total, count))
        cut.append(resample_part(partial(read_padded, samples), start, count, native, net_rate))
    return np.stack(cut)
