"""Galleries of retrieval: the first results of some queries in each direction."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from evaluation.measures.ontology import MAX_RELEVANCE
from evaluation.measures.ranking import rank
from evaluation.measures.retrieval import DIRECTIONS
from evaluation.report.page_content import PageRetrieval
from evaluation.report.selection import first_of_each_class

QUERIES, RESULTS = 24, 8  # queries of a gallery, at most, and results of each
NEAR_RELEVANCE = MAX_RELEVANCE - 3  # of a related class: at most three steps in the ontology
MARKS = {
    "own": "its own clip", "same": "same class", "near": "related class", "far": "other class", "unknown": "no label",
}  # fmt: skip


@dataclass(frozen=True)
class GalleryResult:
    """A result of a query: a clip's index, and its mark, a key of MARKS."""

    index: int
    mark: str


@dataclass(frozen=True)
class GalleryRow:
    """A query, a clip's index, with its results, the nearest first."""

    query: int
    results: list[GalleryResult]


def retrieval_galleries(retrieval: PageRetrieval, labels: list[list[str]]) -> dict[str, list[GalleryRow]]:
    """Find the first results of some queries, clips of different classes, in each direction.

    Args:
        retrieval: the vectors of N clips, their relevance, and what ranks them.
        labels: N lists of mids.

    Returns:
        {direction: a row for each query}.
    """
    sides, queries = {"im": retrieval.v, "aud": retrieval.a}, np.array(first_of_each_class(labels, QUERIES), int)
    galleries = {}
    for direction in DIRECTIONS:
        query_side, _, result_side = direction.partition("-")
        same = query_side == result_side
        if retrieval.cross_scores and not same:
            similarity = retrieval.cross_scores(direction, queries)
        else:
            differences = (sides[result_side] - sides[query_side][query] for query in queries)
            similarity = np.stack([-(difference**2).sum(1) for difference in differences])
        nearest = rank(similarity, queries if same else None)[:, :RESULTS].tolist()
        galleries[direction] = [
            GalleryRow(query, [GalleryResult(k, result_mark(query, k, retrieval.relevance, labels)) for k in results])
            for query, results in zip(queries.tolist(), nearest, strict=True)
        ]
    return galleries


def result_mark(query: int, result: int, relevance: Callable[[int, int], float], labels: list[list[str]]) -> str:
    """Mark how a result is related to its query.

    Args:
        query: index of a clip.
        result: index of a clip.
        relevance: as of `evaluation.report.page_content.PageRetrieval`.
        labels: N lists of mids.

    Returns:
        A key of MARKS.
    """
    if result == query:
        return "own"
    value = relevance(query, result)
    if value < 0 or not labels[query] or not labels[result]:
        return "unknown"
    return "same" if value == MAX_RELEVANCE else "near" if value >= NEAR_RELEVANCE else "far"
