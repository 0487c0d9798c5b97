"""The tables of report.html by class: how well each class is retrieved, and which sound is taken for which frame."""

from typing import Any, NamedTuple

from evaluation.measures.retrieval import DIRECTIONS
from evaluation.report.page_content import PageClips
from evaluation.report.selection import common_classes

Rows = list[list[float | None]]


class ClassTables(NamedTuple):
    """Tables of the C most common classes.

    names: C names. counts: clips of each. num_classes: classes of the split. ndcg: (C, 4), of each direction, or None.
    called: (C, C), fraction of the pairs of a frame (row) and a sound that are called a match, or None.
    """

    names: list[str]
    counts: list[int]
    num_classes: int
    ndcg: Rows | None
    called: Rows | None


def class_tables(metrics: dict[str, Any], clips: PageClips) -> ClassTables | None:
    """Collect the tables by class.

    Args:
        metrics: content of metrics.json.
        clips: of the split.

    Returns:
        The tables; None without labels or measures by class.
    """
    mids = common_classes(clips.labels)
    if not mids or not ("retrieval" in metrics or "by_class" in metrics):
        return None
    return ClassTables(
        names=[clips.class_name(mid) for mid in mids],
        counts=[sum(mid in labels for labels in clips.labels) for mid in mids],
        num_classes=len({mid for labels in clips.labels for mid in labels}),
        ndcg=_ndcg_rows(metrics["retrieval"], mids) if "random" in metrics.get("retrieval", {}) else None,
        called=_called_rows(metrics["by_class"], mids) if "by_class" in metrics else None,
    )


def _ndcg_rows(retrieval: dict[str, Any], mids: list[str]) -> Rows:
    by_direction = [retrieval.get(direction, {}).get("ndcg_of", {}) for direction in DIRECTIONS]
    return [[ndcg_of.get(mid) for ndcg_of in by_direction] for mid in mids]


def _called_rows(by_class: dict[str, Any], mids: list[str]) -> Rows | None:
    row_of, table = {mid: row for row, mid in enumerate(by_class["classes"])}, by_class["called_a_match"]
    if not all(mid in row_of for mid in mids):
        return None
    return [[table[row_of[i]][row_of[j]] for j in mids] for i in mids]
