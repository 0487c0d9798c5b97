"""Do they belong together? The pairs of a split through a net, over all and class by class."""

import numpy as np

from evaluation.measures import correspondence
from evaluation.measures.correspondence import avc_measures, calibrate_threshold, score_groups
from evaluation.report.galleries import common_classes
from utils.errors import UserError


def evaluate_avc(net, seen):
    """What metrics.json says of the pairs of a split.

    Args:
        net: a `Net`. seen: a `Seen`.

    Returns:
        dict: avc, of `evaluation.measures.correspondence.avc_measures` at the threshold that validation found; by_class, where there are labels:
        {"classes": mids, the most common ones, "called_a_match": of `evaluation.measures.correspondence.class_confusion`, None for no pair}.
    """
    config, threshold = net.config, net.content["metrics"].get("threshold", 0.0)
    v, a, classes = seen.v.to(net.device), seen.a.to(net.device), common_classes(seen.labels)
    out = {
        "avc": correspondence.avc_measures(
            *correspondence.score_groups(net.model.pair_logits, v, a, config.eval.group), threshold
        )
    }
    if classes:
        pairs = (net.model.pair_logits, v, a, seen.labels, classes, threshold, config.eval.group)
        called = correspondence.class_confusion(*pairs)
        shares = np.where(np.isnan(called), None, called.round(6)).tolist()
        out["by_class"] = {"classes": classes, "called_a_match": shares}
    return out


def validate_avc(model, found, group, device, split):
    """AVC measures of a validation split, with the threshold that fits it best.

    Args:
        model: a net of `models`. found: what `evaluation.tasks.embeddings.embed_batches` returned. group: of `score_groups`.
        split: what to call the split in a message.

    Raises:
        UserError: fewer than two clips.
    """
    if not found or len(found[0]) < 2:
        raise UserError(f"{split} has fewer than 2 readable clips: validation needs mismatches")
    v, a, *_ = found
    matches, mismatches = score_groups(model.pair_logits, v.to(device), a.to(device), group)
    return avc_measures(matches, mismatches, calibrate_threshold(matches, mismatches))
