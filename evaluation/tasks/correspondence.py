"""Task "avc": which frames and sounds belong to the same clip, over all pairs and class by class (OtS sec. 3)."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from evaluation.measures.correspondence import (
    avc_measures,
    calibrate_threshold,
    class_confusion,
    group_sizes,
    join_group_rows,
    score_group_rows,
    score_groups,
)
from evaluation.pair_scores import mean_pair_logits
from evaluation.report.selection import common_classes
from evaluation.tasks.embeddings import Embeddings, SplitEmbeddings, gather_clips
from evaluation.tasks.task import EvalContext, TaskResult
from evaluation.trained_net import TrainedNet
from models.interfaces import EmbeddingNet
from utils import distributed
from utils.errors import UserError


class CorrespondenceTask:
    """Accuracy, AUC and loss of pairs, for every net that scores pairs."""

    name = "avc"

    def applies_to(self, model: nn.Module) -> bool:
        """Check whether `model` scores pairs."""
        return isinstance(model, EmbeddingNet)

    def run(self, context: EvalContext) -> TaskResult:
        """Measure the pairs of the split of `context`: the sections "avc" and, with labels, "by_class".

        With data.moments, also the pairs of clips, whose logit is the mean over aligned moments: "clip" in "avc".
        """
        sections = evaluate_avc(context.net, context.embeddings)
        if context.config.data.moments > 1:
            clips = evaluate_avc(context.net, context.moments)["avc"]
            sections["avc"]["clip"] = clips | {"moments": context.config.data.moments}
        return context.embedding_result(sections, notes=context.moment_notes())


def evaluate_avc(net: TrainedNet, embeddings: SplitEmbeddings) -> dict[str, Any]:
    """Measure the pairs of a split, at the threshold that its run calibrated on the validation split.

    Args:
        net: the net that embedded the split.
        embeddings: of N clips; at several moments each, their logits are averaged.

    Returns:
        Sections of metrics.json: "avc", from `avc_measures`; "by_class", if clips have labels: {"classes": the most
        common mids, "called_a_match": from `class_confusion`, None where there is no pair}.
    """
    model, group_size, threshold = (
        net.embedding_net,
        net.config.eval.group,
        net.content["metrics"].get("threshold", 0.0),
    )
    pair_logits = partial(mean_pair_logits, model.pair_logits) if embeddings.moments > 1 else model.pair_logits
    v, a, classes = embeddings.v.to(net.device), embeddings.a.to(net.device), common_classes(embeddings.labels)
    positives, negatives = score_groups(pair_logits, v, a, group_size)
    sections: dict[str, Any] = {"avc": avc_measures(positives, negatives, threshold, group_sizes(len(v), group_size))}
    if classes:
        called = class_confusion(pair_logits, v, a, embeddings.labels, classes, threshold, group_size)
        fractions = [[None if math.isnan(value) else value for value in row] for row in called.round(6).tolist()]
        sections["by_class"] = {"classes": classes, "called_a_match": fractions}
    return sections


def validate_avc(
    model: EmbeddingNet, embeddings: Embeddings, group_size: int, device: torch.device | str, split: Path | str
) -> dict[str, float]:
    """Measure the pairs of a validation split, at the threshold that fits them best.

    Of several processes, each scores its own frames with the sounds of all, and all get the measures: sounds and logits
    are gathered, not the frames, of which a localizing net's are large.

    Args:
        model: the net, on `device`.
        embeddings: of the split, see `evaluation.tasks.embeddings.embed_batches`; of several processes its own clips.
        group_size: each clip is paired with all clips of its group, at most this many.
        device: of the net.
        split: the split's name or folder, for the error message.

    Returns:
        The measures of `avc_measures`.

    Raises:
        UserError: fewer than two clips could be read.
    """
    indices, a = gather_clips(embeddings.indices, embeddings.a)
    if len(indices) < 2:
        raise UserError(f"{split} has fewer than 2 readable clips: validation needs pairs of different clips")
    a, positions = a.to(device), torch.searchsorted(indices, embeddings.indices).numpy()

    def pair_logits(frames: Tensor, sounds: Tensor) -> Tensor:
        return model.pair_logits(frames.to(device), sounds)

    rows = score_group_rows(pair_logits, embeddings.v, a, positions, group_size)
    positives, negatives = join_group_rows(distributed.all_gather_object((positions, rows)), group_size)
    threshold = calibrate_threshold(positives, negatives)
    return avc_measures(positives, negatives, threshold, group_sizes(len(indices), group_size))
