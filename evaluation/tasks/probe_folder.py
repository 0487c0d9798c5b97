"""The linear probe, or fine-tuning, of a net on any folder of classes, in folds: `eval.py --probe_folder`."""

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dataset.reading.media_folder import MediaItem, find_media
from evaluation.file_embedding import Collection, EmbedOptions, embed_files, join_collections, refuse_multiframe
from evaluation.measures.probe import assign_folds, cross_validate
from evaluation.tasks.finetune import kept_statistics
from evaluation.tasks.finetune_folder import FileMoments, fine_tune_files
from evaluation.tasks.probe import PooledFeatures, probed_models
from evaluation.tasks.task import TaskResult
from evaluation.trained_net import TrainedNet
from utils.config import Config
from utils.errors import UserError
from utils.files import read_text
from utils.progress_bar import progress_bar

ESC_LIST, ESC_COLUMNS = "meta/esc50.csv", {"filename", "fold", "category"}  # of ESC-50


def probe_folder(
    net: TrainedNet, folder: Path, out: Path, untrained: bool = False, tasks: Sequence[str] = ("probe",)
) -> TaskResult:
    """Probe a net on a folder of classes by cross-validation. A file's features are the mean over its seconds.

    Args:
        net: the trained net.
        folder: of ESC-50's layout (audio/*.wav and meta/esc50.csv), or with a subfolder of videos, images or sounds
            for each class.
        out: folder of the results.
        untrained: also probe a net with fresh weights.
        tasks: "probe", "finetune" or both.

    Returns:
        The section of each task, such as "probe": {"files": readable files, "folds", "audio" and "vision" (measures of
        `cross_validate`, or of `fine_tune_files`) where files have sound or frames, "untrained": the same of the fresh
        net}.

    Raises:
        UserError: the folder has no classes, or a class has too few files.
    """
    refuse_multiframe(net)
    items, skipped = find_media(folder)
    esc_list = folder / ESC_LIST
    classes, folds = read_esc_list(esc_list) if esc_list.exists() else (_subfolder_classes(items), None)
    skipped.pop(ESC_LIST, None)  # it was read
    items = [item for item in items if item.name in classes]
    if not items:
        raise UserError(f"{folder} holds no classes: make a subfolder for each class, or {ESC_LIST} as ESC-50 has it")
    sections: dict[str, dict[str, Any]] = {task: {} for task in tasks}
    for name, model in probed_models(net, untrained).items():
        with progress_bar(len(items), "file", log_interval=1) as bar:
            parts = []
            for part in embed_files(replace(net, model=model), items, EmbedOptions(), os.cpu_count() or 1):
                parts.append(part)
                bar.update(len(part.about["files"]))
        features = join_collections(parts, {})
        sides = list(_labelled_files(features, items, classes, folds))
        for task, measures in sections.items():
            rows: dict[str, Any] = {"files": len(items) - len(features.about["skipped"])}
            for files in sides:
                if task == "probe":
                    found = cross_validate(files.features, files.labels, files.folds)
                else:
                    found = _fine_tune_side(
                        net.config, model, files, files.side in kept_statistics(net.config, name), out
                    )
                rows[files.side] = found | {"files": len(files.items)}
                rows["folds"] = len(np.unique(files.folds))
            measures |= {name: rows} if name else rows
        skipped |= features.about["skipped"]
    return TaskResult(sections, len(items) - len(features.about["skipped"]), skipped)


class _LabelledFiles(NamedTuple):
    """The files that have frames ("vision"), or sounds ("audio")."""

    side: str
    items: list[MediaItem]
    features: np.ndarray  # (N, D) float64, means over the moments of a file
    labels: list[str]
    folds: np.ndarray  # (N,) int


def _labelled_files(
    features: Collection, items: Sequence[MediaItem], classes: dict[str, str], folds: dict[str, int] | None
) -> Iterator[_LabelledFiles]:
    """Yield the files that have frames, and those that have sounds, where there are any."""
    sides = {
        "vision": (features.frames, features.has_frame),
        "audio": (features.sounds, features.has_sound),
    }
    for side, (vectors, present) in sides.items():
        files, means = _mean_by_file(vectors[present], features.files[present])
        if len(files):
            own = [items[file] for file in files]
            labels = [classes[item.name] for item in own]
            own_folds = np.array([folds[item.name] for item in own]) if folds else assign_folds(labels)
            yield _LabelledFiles(side, own, means, labels, own_folds)


def _fine_tune_side(
    config: Config, model: PooledFeatures, files: _LabelledFiles, keep_statistics: bool, out: Path
) -> dict[str, Any]:
    """Fine-tune the encoder of the frames or of the sounds on all folds but one, for each fold."""
    moments, encoder = FileMoments(files.items, files.side, config, out), getattr(model.net, files.side)
    flip = model.net.flip_frames if config.eval.flip_tta else None
    return fine_tune_files(encoder, moments, files.features, files.labels, files.folds, config, keep_statistics, flip)


def _mean_by_file(vectors: np.ndarray, file_of_row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average the rows (N, D) of each file: the (F,) files and (F, D) float64 means."""
    files, rows = np.unique(file_of_row, return_inverse=True)
    sums = np.zeros((len(files), vectors.shape[1]))
    np.add.at(sums, rows, vectors)
    return files, sums / np.bincount(rows, minlength=len(files))[:, None]


def _subfolder_classes(items: Sequence[MediaItem]) -> dict[str, str]:
    """{name of a file: name of the first folder in it}."""
    return {item.name: item.name.partition("/")[0] for item in items if "/" in item.name}


def read_esc_list(path: Path) -> tuple[dict[str, str], dict[str, int]]:
    """Read the list of ESC-50 (`path`): {file name: class} and {file name: fold}.

    Raises:
        UserError: it can't be read or has other columns.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path), newline="")))
        if not rows or not set(rows[0]) >= ESC_COLUMNS:
            raise ValueError
        names = [f"audio/{row['filename']}" for row in rows]
        classes = {name: row["category"] for name, row in zip(names, rows, strict=True)}
        return classes, {name: int(row["fold"]) for name, row in zip(names, rows, strict=True)}
    except (OSError, ValueError, TypeError, csv.Error):
        raise UserError(f"{path} must be a list with the columns filename, fold, category, as ESC-50 has it") from None
