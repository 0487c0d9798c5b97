"""Galleries of retrieval: the first results of some queries in each direction."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from evaluation.measures.ontology import MAX_RELEVANCE
from evaluation.measures.ranking import rank
from evaluation.measures.retrieval import DIRECTIONS
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


def retrieval_galleries(
    v: np.ndarray, a: np.ndarray, labels: list[list[str]], relevance: Callable[[int, int], float]
) -> dict[str, list[GalleryRow]]:
    """Find the first results of some queries, clips of different classes, in each direction.

    Args:
        v: (N, D) float, of the frames.
        a: (N, D) float, of the sounds.
        labels: N lists of mids.
        relevance: maps two clips' indices to 0..MAX_RELEVANCE, see `evaluation.measures.ontology.clip_relevance`.

    Returns:
        {direction: a row for each query}.
    """
    sides, queries = {"im": v, "aud": a}, first_of_each_class(labels, QUERIES)
    galleries = {}
    for direction in DIRECTIONS:
        query_side, _, result_side = direction.partition("-")
        distances = np.stack([((sides[result_side] - sides[query_side][query]) ** 2).sum(1) for query in queries])
        nearest = rank(-distances, np.array(queries) if query_side == result_side else None)[:, :RESULTS].tolist()
        galleries[direction] = [
            GalleryRow(query, [GalleryResult(k, result_mark(query, k, relevance, labels)) for k in results])
            for query, results in zip(queries, nearest, strict=True)
        ]
    return galleries


def result_mark(query: int, result: int, relevance: Callable[[int, int], float], labels: list[list[str]]) -> str:
    """Mark how a result is related to its query.

    Args:
        query: index of a clip.
        result: index of a clip.
        relevance: as for `retrieval_galleries`.
        labels: as for `retrieval_galleries`.

    Returns:
        A key of MARKS.
    """
    if result == query:
        return "own"
    if not labels[query] or not labels[result]:
        return "unknown"
    value = relevance(query, result)
    return "same" if value == MAX_RELEVANCE else "near" if value >= NEAR_RELEVANCE else "far"
