"""Read the separated sounds of mixtures that another program wrote, and write the mixtures for it.

DIR/mixtures.csv          a line for each mixture: folder, then the clip of each of its sources
DIR/FOLDER/mixture.wav    what is to be separated
DIR/FOLDER/frame_K.png    the frame of source K (frame_K_1.png, frame_K_2.png ... of several)
DIR/FOLDER/pred_K.wav     what the other program adds: its estimate of source K, as loud as in the mixture
"""

import csv
import io
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
from PIL import Image

from dataset.mixes import MixtureDataset
from dataset.reading.audio import to_int16
from dataset.reading.wav import write_wav
from utils.config import Config
from utils.errors import UserError, first_line
from utils.files import read_text, save_image, write_text

TABLE = "mixtures.csv"


class GivenSounds(NamedTuple):
    """Separated sounds in a folder.

    Attributes:
        folder: that holds them.
        folders: {clips of a mixture, in the order of its sounds: name of the folder of the first of its rows}.
        doubled: mixtures that several rows name.
    """

    folder: Path
    folders: dict[tuple[str, ...], str]
    doubled: list[str]

    def _order(self, clips: Sequence[str]) -> tuple[str, ...] | None:
        """The row of the mixture of `clips`: in the same order, or else in another one; None without any."""
        return next((order for order in itertools.permutations(clips) if order in self.folders), None)

    def files(self, clips: Sequence[str]) -> list[Path]:
        """List the files of the estimates of a mixture's `clips`; empty if no row names it."""
        order = self._order(clips)
        if order is None:
            return []
        return [self.folder / self.folders[order] / f"pred_{order.index(clip) + 1}.wav" for clip in clips]

    def has(self, clips: Sequence[str]) -> bool:
        """Check whether the mixture of `clips` has an estimate of each."""
        files = self.files(clips)
        return bool(files) and all(file.is_file() for file in files)

    def read(self, clips: Sequence[str], samples: int, rate: int) -> np.ndarray:
        """Read the estimates of a mixture.

        Args:
            clips: N, in the order of the result.
            samples: that each sound must have.
            rate: that each must have, Hz.

        Returns:
            (N, samples) float32.

        Raises:
            UserError: a wav can't be read, or has another rate, length or form.
        """
        return np.stack([read_sound(file, samples, rate) for file in self.files(clips)])


def read_sound(path: Path, samples: int, rate: int) -> np.ndarray:
    """Read a separated sound.

    Args:
        path: of the wav.
        samples: that it must have.
        rate: that it must have, Hz.

    Returns:
        (samples,) float32.

    Raises:
        UserError: it can't be read, or has another rate, length or form.
    """
    try:
        sound, found = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise UserError(f"{path} can't be read as a wav ({error}): write it again") from None
    if found != rate:
        raise UserError(f"{path} has {found} Hz and must have {rate}, as mixture.wav: resample it (data.sample_rate)")
    if sound.shape != (samples, 1):
        raise UserError(
            f"{path} has {len(sound)} samples in {sound.shape[1]} channels and must have {samples} in one, as "
            "mixture.wav: cut or pad nothing when separating"
        )
    if not np.isfinite(sound).all():
        raise UserError(f"{path} has a NaN or infinity: a net that fails has no figures")
    return sound[:, 0]


def read_mixture_table(folder: Path, sources: int) -> GivenSounds:
    """Read which mixture each folder holds.

    Args:
        folder: that has the table.
        sources: N, clips of a mixture (mix.sources).

    Raises:
        UserError: there is no table, or a line has another form.
    """
    path = folder / TABLE
    if not path.is_file():
        raise UserError(
            f"there is no {path}: write the mixtures with python eval.py --write_mixtures {folder}, then add the "
            "separated sounds, pred_1.wav ..., to their folders"
        )
    try:
        lines = list(csv.reader(io.StringIO(read_text(path))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no table ({first_line(error)}): take the one of --write_mixtures") from None
    folders, doubled = dict[tuple[str, ...], str](), list[str]()
    for number, cells in enumerate(lines, 1):
        if not cells or (number == 1 and cells[0] == "folder"):
            continue
        name, *clips = cells
        if len(set(clips)) != sources or len(clips) != sources:
            raise UserError(f"{path}, line {number} must name a folder and {sources} different clips (mix.sources)")
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise UserError(f"{path}, line {number} names {name!r}: its folders must lie in {folder}")
        if tuple(clips) in folders:
            doubled.append("+".join(clips))
        folders.setdefault(tuple(clips), name)
    return GivenSounds(folder, folders, doubled)


def write_mixtures(
    folder: Path, config: Config, dataset: MixtureDataset, mixtures: Sequence[list[int]]
) -> dict[str, str]:
    """Write mixtures for another program to separate.

    Args:
        folder: to write to.
        config: the settings.
        dataset: of the split, `dataset[0, index]` is a clip's frames and sound.
        mixtures: indices of the N clips of each.

    Returns:
        {clip: reason} of those that can't be read: their mixtures are left out.

    Raises:
        UserError: the folder can't be written, or no mixture's clips can be read.
    """
    unreadable, rows = dict[str, str](), [["folder", *(f"clip_{k + 1}" for k in range(config.mix.sources))]]
    try:
        for number, mixture in enumerate(mixtures, 1):
            samples = [dataset[0, index] for index in mixture]
            failed = {sample["clip"]: sample["error"] for sample in samples if "error" in sample}
            unreadable |= failed
            if not failed:
                name = f"{number:04d}"
                _write_mixture(folder / name, config.data.sample_rate, samples)
                rows.append([name, *(dataset.clips.ids[index] for index in mixture)])
        if len(rows) == 1:
            reason = next(iter(unreadable.values()), "there is none")
            raise UserError(f"no mixture of {dataset.clips.folder} can be written ({reason}): choose other clips")
        _write_rows(folder / TABLE, rows)
    except OSError as error:
        raise UserError(f"{folder} can't be written ({error.strerror}): choose another --write_mixtures") from None
    return unreadable


def _write_mixture(folder: Path, rate: int, samples: Sequence[Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    mixture = sum(sample["sound"].astype(np.float32) / 32768 for sample in samples) / len(samples)
    write_wav(folder / "mixture.wav", to_int16(mixture), rate)
    for k, sample in enumerate(samples, 1):
        frames = sample["frame"]
        several = frames.ndim == 4
        for t, frame in enumerate(frames if several else frames[None], 1):
            save_image(folder / (f"frame_{k}_{t}.png" if several else f"frame_{k}.png"), Image.fromarray(frame))


def _write_rows(path: Path, rows: Iterable[list[str]]) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    write_text(path, out.getvalue())
