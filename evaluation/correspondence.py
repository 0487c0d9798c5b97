"""Do they belong together? The pairs of a split through a net, over all and class by class."""

import numpy as np

from utils import avc
from utils.page_parts import common_classes


def judge(net, seen):
    """What metrics.json says of the pairs of a split.

    Args:
        net: a `Net`. seen: a `Seen`.

    Returns:
        dict: avc, of `utils.avc.measure` at the threshold that validation found; by_class, where there are labels:
        {"classes": mids, the most common ones, "called_a_match": of `utils.avc.class_confusion`, None for no pair}.
    """
    config, threshold = net.config, net.content["metrics"].get("threshold", 0.0)
    v, a, classes = seen.v.to(net.device), seen.a.to(net.device), common_classes(seen.labels)
    out = {"avc": avc.measure(*avc.score_groups(net.model.pair_logits, v, a, config.eval.group), threshold)}
    if classes:
        pairs = (net.model.pair_logits, v, a, seen.labels, classes, threshold, config.eval.group)
        called = avc.class_confusion(*pairs)
        shares = np.where(np.isnan(called), None, called.round(6)).tolist()
        out["by_class"] = {"classes": classes, "called_a_match": shares}
    return out
