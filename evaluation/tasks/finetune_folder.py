"""Fine-tuning of a net's encoders on any folder of classes, in folds: `eval.py --probe_folder DIR --tasks finetune`."""

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from dataset.loading.loader import Key, Sample, SampleDataset, make_sample
from dataset.loading.prefetch import prefetch
from dataset.reading.media_folder import MediaItem
from dataset.reading.moments import iter_moments
from evaluation.fine_tuning import FineTuner, LabelledClips, Start, fine_tune
from evaluation.measures.finetune import FineTuned, finetune_measures
from evaluation.measures.linear_classifier import fit_probe, indicators
from evaluation.measures.probe import Predictions, check_classes, predictions_of
from utils.config import Config
from utils.progress_bar import progress_bar


class FileMoments(SampleDataset):
    """The frames, or the sounds, of files at the moments at which embed.py embeds them.

    They are decoded once and lie in a file of the results' folder that has no name, and is gone when this is: 0.2 MB
    for a frame of 256 x 256, 0.1 MB for a second at 48 kHz.

    Args:
        items: files that can be read.
        side: "vision": the frames; "audio": the sounds.
        config: of the net.
        folder: of the results.

    Attributes:
        rows: of each file, those of its moments that have a frame, or a sound.
    """

    def __init__(self, items: Sequence[MediaItem], side: str, config: Config, folder: Path) -> None:
        self.side, data = side, config.data
        self.rows: list[list[int]] = [[] for _ in items]
        streams: list[Iterable[Any]] = [
            iter_moments(item, data.resize_size, data.sample_rate, seconds=data.seconds) for item in items
        ]
        count = 0
        with tempfile.TemporaryFile(dir=folder) as file, progress_bar(len(items), "file") as bar:
            for number, element in prefetch(streams, os.cpu_count() or 1):
                if isinstance(element, Exception):
                    raise element
                if element is None:
                    bar.update()
                    continue
                array = element.frame if side == "vision" else element.sound
                if array is not None:
                    shape, dtype = array.shape, array.dtype
                    file.write(array.tobytes())
                    self.rows[number].append(count)
                    count += 1
            file.flush()
            self._moments = np.memmap(file, dtype, "r", shape=(count, *shape))

    def __len__(self) -> int:
        return len(self._moments)

    def __getitem__(self, key: Key) -> Sample:
        moment = np.array(self._moments[key[1]])
        if self.side == "vision":
            return make_sample(moment, np.zeros(1, np.int16), key[1])
        return make_sample(np.zeros((1, 1, 3), np.uint8), moment, key[1])


def fine_tune_files(
    encoder: Any,
    moments: FileMoments,
    features: np.ndarray,
    labels: Sequence[str],
    folds: np.ndarray,
    config: Config,
    keep_statistics: bool,
    flip: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Any]:
    """Fine-tune an encoder on all folds but one, and measure that one, for each: a group of metrics.json's "finetune".

    Args:
        encoder: of the frames or of the sounds; it stays as it is.
        moments: of N files.
        features: (N, D) float, means of the encoder's features over the moments of each.
        labels: N class names.
        folds: (N,) int.
        config: of the net.
        keep_statistics: the encoder's batch norm statistics stay as they are.
        flip: as of `FineTuner`.

    Returns:
        the measures of `FINETUNE`, means over the folds, with chance and the linear probe; map_spread and top1_spread,
        classes; lr and epochs, lists of what was chosen in each fold.
    """
    tuner, by_tuned, by_probe = FineTuner(config, {}, 0, flip), list[Predictions](), list[Predictions]()
    chosen: dict[str, list[float]] = {"lr": [], "epochs": []}
    for fold in np.unique(folds):
        own, others = ([[labels[int(k)]] for k in np.flatnonzero(rows)] for rows in (folds == fold, folds != fold))
        names = check_classes(others, own)
        files = LabelledClips(moments, moments.rows, indicators([[label] for label in labels], names))
        train, test = files.chosen(folds != fold), files.chosen(folds == fold)
        start = Start(encoder, features[folds != fold], keep_statistics=keep_statistics)
        (tuned,) = fine_tune(tuner, {moments.side: start}, train)
        by_tuned.append(predictions_of(tuner.score([tuned], test)[0], own, names, train.truth))
        probe = fit_probe(start.features, train.truth, None)
        by_probe.append(predictions_of(probe.log_odds(features[folds == fold]), own, names, train.truth))
        chosen["lr"].append(tuned.rate)
        chosen["epochs"].append(tuned.epochs)
    return finetune_measures(FineTuned(by_tuned, by_probe)) | chosen | {"classes": len(set(labels))}
