"""The linear probe of a net: on a split with its labels, or on any folder of classes in folds.

What is probed are the features that each encoder's global max pool gives, before fc1, 8 * width numbers: the same in
all nets, AVOL-Net with its maps too, and what the encoders learned whatever the head makes of it. On the demo AVE-Net's
128 numbers behind fc2 gave the same from its frames, mAP .974.
"""

import csv
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from dataset.reading import media_folder
from evaluation.file_embedding import embed_files, refuse_multiframe
from evaluation.measures import probe
from evaluation.tasks.embeddings import embed_split, open_eval_split
from models import build_net
from models.avenet import global_max_pool
from utils.errors import UserError

SIDES = {"vision": "frames", "audio": "sounds"}
ESC = {"filename", "fold", "category"}  # columns of ESC-50's meta/esc50.csv


class PooledFeatures(nn.Module):
    """A net as an encoder of pooled features: what `evaluation.tasks.embeddings.embed_batches` and `evaluation.file_embedding` need of one.

    Args:
        net: any net of `models` with encoders `vision` and `audio`.
    """

    def __init__(self, net):
        super().__init__()
        self.net = net

    def embed_frames(self, frames):
        """As of the nets of `models`: -> (B, 8 * width) float32."""
        return global_max_pool(self.net.vision(frames))

    def embed_with_flip(self, frames):
        """The mean of a frame's and its mirror image's."""
        return (self.embed_frames(frames) + self.embed_frames(self.net.flip_frames(frames))) / 2

    def embed_sounds(self, spectrograms):
        """(B, 1, F, T) -> (B, 8 * width) float32."""
        return global_max_pool(self.net.audio(spectrograms))

    def frame_vectors(self, v):
        """The features themselves."""
        return v

    sound_vectors = frame_vectors


def probe_split(net, split, untrained=False):
    """Fit on the train split, chosen on val, measured on another: metrics.json's "probe".

    Args:
        net: a `Net`. split: the measured one. untrained: also of a net of the same form with fresh weights.

    Returns:
        {"audio": measures of `evaluation.measures.probe.linear_probe`, "vision": the same, "train_clips", "test_clips"}, and "untrained",
        the same of the fresh net.
    """
    out = {}
    for name, model in [("", net.model)] + [("untrained", _fresh(net))] * untrained:
        train, val, test = (_seen(model, net.config, part) for part in ("train", "val", split))
        rows = {"train_clips": len(train.labels), "test_clips": len(test.labels)}
        for side, part in (("audio", "a"), ("vision", "v")):
            sets = [(getattr(seen, part).numpy(), seen.labels) for seen in (train, test, val)]
            rows[side] = probe.linear_probe(*sets[0], *sets[1], chooser=sets[2])
        out |= {name: rows} if name else rows
    return out


def _seen(model, config, split):
    return embed_split(PooledFeatures(model), config, *open_eval_split(config, split))


def _fresh(net):
    torch.manual_seed(0)
    return build_net(net.config.model, net.config.data.flow_fields).to(net.device)


def probe_folder(net, folder, untrained=False):
    """Folds of a folder of classes: metrics.json's "probe".

    Args:
        net: a `Net`. folder: of ESC-50's layout (audio/*.wav and meta/esc50.csv), or with a folder for each class.
            Videos, pictures and sounds; the features of a file are the mean over its seconds.
        untrained: as of `of_split`.

    Returns:
        ({"audio", "vision": measures of `evaluation.measures.probe.cross_validate` where the files have it, "files", "folds"}, and
        "untrained"; {name: reason} of the files that can't be read).

    Raises:
        UserError: not such a folder, or too few files of a class.
    """
    refuse_multiframe(net)
    items, skipped = media_folder.find_media(Path(folder))
    esc = Path(folder) / "meta" / "esc50.csv"
    classes, folds = _esc(esc) if esc.exists() else (_by_subfolder(items), None)
    items = [item for item in items if item.name in classes]
    if not items:
        raise UserError(f"{folder} holds no class: make a folder for each, or meta/esc50.csv as ESC-50 has it")
    out = {"files": len(items)}
    for name, model in [("", net.model)] + [("untrained", _fresh(net))] * untrained:
        with tqdm(total=len(items), unit="file", mininterval=1) as bar:
            found = embed_files(
                replace(net, model=PooledFeatures(model).eval()), items, 1.0, os.cpu_count() or 1, bar.update
            )
        rows = {}
        for side, part in SIDES.items():
            files, features = _of_files(found, part)
            names = [items[k].name for k in files]
            if names:
                labels = [classes[one] for one in names]
                own = np.array([folds[one] for one in names]) if folds else probe.assign_folds(labels)
                rows[side] = probe.cross_validate(features, labels, own) | {"files": len(names)}
                rows["folds"] = len(np.unique(own))
        out |= {name: rows} if name else rows
        skipped |= found.about["skipped"]
    return out | {"files": out["files"] - len(found.about["skipped"])}, skipped


def _by_subfolder(items):
    """{name of a file: name of the folder directly below the given one}."""
    return {item.name: item.name.partition("/")[0] for item in items if "/" in item.name}


def _esc(path):
    """({name of a file: class}, {name: fold}) of ESC-50's own list."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        if not rows or not set(rows[0]) >= ESC:
            raise ValueError
        names = [f"audio/{row['filename']}" for row in rows]
        classes = {name: row["category"] for name, row in zip(names, rows, strict=True)}
        return classes, {name: int(row["fold"]) for name, row in zip(names, rows, strict=True)}
    except (OSError, ValueError, TypeError, csv.Error):
        raise UserError(f"{path} is not ESC-50's list: it must have the columns filename, fold, category") from None


def _of_files(found, part):
    """(numbers of the files that have such a part, (F, D) the means over their seconds)."""
    there = getattr(found, f"has_{part[:-1]}")
    files, rows = np.unique(found.files[there], return_inverse=True)
    sums = np.zeros((len(files), getattr(found, part).shape[1]))
    np.add.at(sums, rows, getattr(found, part)[there])
    return files, sums / np.bincount(rows, minlength=len(files))[:, None]
