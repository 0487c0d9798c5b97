"""The linear probe of a net on any folder of classes, in folds: `eval.py --probe_folder`."""

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dataset.reading.media_folder import MediaItem, find_media
from evaluation.file_embedding import Collection, EmbedOptions, embed_files, join_collections, refuse_multiframe
from evaluation.measures.probe import assign_folds, cross_validate
from evaluation.tasks.probe import probed_models
from evaluation.tasks.task import TaskResult
from evaluation.trained_net import TrainedNet
from utils.errors import UserError
from utils.files import read_text
from utils.progress_bar import progress_bar

ESC_LIST, ESC_COLUMNS = "meta/esc50.csv", {"filename", "fold", "category"}  # of ESC-50


def probe_folder(net: TrainedNet, folder: Path, untrained: bool = False) -> TaskResult:
    """Probe a net on a folder of classes by cross-validation. A file's features are the mean over its seconds.

    Args:
        net: the trained net.
        folder: of ESC-50's layout (audio/*.wav and meta/esc50.csv), or with a subfolder of videos, images or sounds
            for each class.
        untrained: also probe a net with fresh weights.

    Returns:
        The section "probe": {"files": readable files, "folds", "audio" and "vision" (measures of `cross_validate`)
        where files have sound or frames, "untrained": the same of the fresh net}.

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
    measures: dict[str, Any] = {"files": len(items)}
    for name, model in probed_models(net, untrained).items():
        with progress_bar(len(items), "file", log_interval=1) as bar:
            parts = []
            for part in embed_files(replace(net, model=model), items, EmbedOptions(), os.cpu_count() or 1):
                parts.append(part)
                bar.update(len(part.about["files"]))
        features = join_collections(parts, {})
        rows = _probe_files(features, items, classes, folds)
        measures |= {name: rows} if name else rows
        skipped |= features.about["skipped"]
        measures["files"] = len(items) - len(features.about["skipped"])
    return TaskResult({"probe": measures}, measures["files"], skipped)


def _probe_files(
    features: Collection, items: Sequence[MediaItem], classes: dict[str, str], folds: dict[str, int] | None
) -> dict[str, Any]:
    """Cross-validate the features of the frames and of the sounds of files, where there are any."""
    rows: dict[str, Any] = {}
    sides = {
        "vision": (features.frames, features.has_frame),
        "audio": (features.sounds, features.has_sound),
    }
    for side, (vectors, present) in sides.items():
        files, means = _mean_by_file(vectors[present], features.files[present])
        if len(files):
            names = [items[file].name for file in files]
            labels = [classes[name] for name in names]
            own_folds = np.array([folds[name] for name in names]) if folds else assign_folds(labels)
            rows[side] = cross_validate(means, labels, own_folds) | {"files": len(names)}
            rows["folds"] = len(np.unique(own_folds))
    return rows


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
