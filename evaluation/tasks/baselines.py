"""Baselines of retrieval (OtS Table 1): features of L3-Net or VGG16, as they are or aligned by a CCA."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from dataset.reading.reader import ClipDataset
from evaluation.measures.cca import fit_cca, project_cca
from evaluation.tasks.embeddings import as_eval_split, embed_split, open_eval_split, retrieval_vectors
from evaluation.trained_net import TrainedNet
from models.interfaces import FrameSoundEncoder
from utils.config import Config

Measure = Callable[[np.ndarray, np.ndarray], dict[str, Any]]


def baseline_retrieval(
    names: Iterable[str],
    net: TrainedNet,
    clips: ClipDataset,
    v: np.ndarray,
    a: np.ndarray,
    measure: Measure,
    vgg16: str = "imagenet",
) -> dict[str, dict[str, Any]]:
    """Measure retrieval by the named baselines.

    Args:
        names: of BASELINES.
        net: the trained net, whose sounds and settings the baselines share.
        clips: the measured ones.
        v: (N, D) float32, the net's vectors of the split's frames.
        a: (N, D) float32, those of its sounds.
        measure: maps vectors of N frames and N sounds to the measures of the four directions.
        vgg16: file of VGG16's weights, or "imagenet" to download them.

    Returns:
        {baseline: its measures}; "vgg16" has the direction im-im alone, a CCA its number of components too.
    """
    rows: dict[str, dict[str, Any]] = {}
    if "cca" in names:
        rows["cca"] = _measure_aligned(net.encoder, net.config, v, a, measure)
    if "vgg16" in names or "vgg16+cca" in names:
        from models.vgg import ReplacedFrames, vgg16_features  # torchvision takes seconds to import

        encoder = ReplacedFrames(vgg16_features(vgg16), net.encoder).to(net.device)
        data = dataclasses.replace(net.config.data, frame_size=224, resize_size=256, frames=1, flow="none")
        config = dataclasses.replace(net.config, data=data)
        v, a = retrieval_vectors(encoder, embed_split(encoder, config, as_eval_split(config, clips)))
        if "vgg16" in names:
            rows["vgg16"] = {key: values for key, values in measure(v, v).items() if key == "im-im"}
        if "vgg16+cca" in names:
            rows["vgg16+cca"] = _measure_aligned(encoder, config, v, a, measure)
    return rows


def _measure_aligned(
    encoder: FrameSoundEncoder, config: Config, v: np.ndarray, a: np.ndarray, measure: Measure
) -> dict[str, Any]:
    """Measure (N, D) vectors of the frames and sounds after a CCA that is fitted on the train split."""
    train = embed_split(encoder, config, open_eval_split(config, "train"))
    cca = fit_cca(*retrieval_vectors(encoder, train))
    return measure(*project_cca(cca, v, a)) | {"components": len(cca.correlations)}
