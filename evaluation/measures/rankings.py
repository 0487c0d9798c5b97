"""Rank a collection for each query, and keep what the measures of retrieval are computed from.

A clip without labels is neither relevant nor irrelevant: it is no query of the measures by label, and no item of the
collection that they rank.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from evaluation.measures.ontology import MAX_RELEVANCE, SetRelevance
from evaluation.measures.ranking import DistanceFunction, euclidean_distances, rank_by_distance
from evaluation.measures.ranking_scores import (
    Gain,
    average_precision,
    gains,
    miss_probability,
    ndcg,
    random_average_precision,
)

RECALLS = (1, 5, 10)
SETS_AT_ONCE = 64  # sets of labels whose relevance to all others is in memory


@dataclass(frozen=True)
class Rankings:
    """Input of the retrieval measures of one direction: the rankings of Q queries.

    Attributes:
        labelled: (Q,) bool, queries with labels. The arrays below that go by labels are of these L queries alone.
        ndcg, random_ndcg: (L,) nDCG@k, and its expectation for a random ranking.
        average_precision, random_average_precision: (L,) over the clips that share a label with the query, nan for a
            query without one.
        first_hit: (Q,) or (L,) int, rank of the first hit, 1 is best; num_items + 1 if it was not reached. Across
            modalities only the query's own clip is a hit, whatever its labels; within one, any other clip with the
            query's labels (relevance 20).
        num_hits: (Q,) or (L,) int, hits in the collection.
        num_items: clips that a query of `first_hit` ranks.
        full: whether all items were ranked. If not, there is no average precision, and first_hit may not be reached.
    """

    labelled: np.ndarray
    ndcg: np.ndarray
    random_ndcg: np.ndarray
    average_precision: np.ndarray
    random_average_precision: np.ndarray
    first_hit: np.ndarray
    num_hits: np.ndarray
    num_items: int
    full: bool

    @cached_property
    def random_miss(self) -> np.ndarray:
        """(num_items,) probability that a random ranking has no hit among its first 1, 2, ... results."""
        return miss_probability(self.num_hits, self.num_items)

    @cached_property
    def shares_label(self) -> np.ndarray:
        """(L,) bool, queries that share a label with a clip of the collection."""
        return np.isfinite(self.random_average_precision)


class _LabelSetStats(NamedTuple):
    """Statistics that depend on a query's set of labels alone, for each of S sets.

    ideal: (S, min(k, items)) largest gains of the whole collection, descending. mean_gain: (S,) of the collection.
    num_relevant: (S,) int64 clips of the collection that share a label with the query.
    """

    ideal: np.ndarray
    mean_gain: np.ndarray
    num_relevant: np.ndarray

    def random_ndcg(self, k: int) -> np.ndarray:
        """(S,) expected nDCG@k of a random ranking: each position has the mean gain."""
        return ndcg(np.repeat(self.mean_gain[:, None], self.ideal.shape[1], 1), self.ideal, k)


def _first_relevant(relevance: np.ndarray, num_items: int) -> np.ndarray:
    """(q,) rank of the first result of relevance 20 of rankings (q, n), `num_items` + 1 without one."""
    relevant = relevance == MAX_RELEVANCE
    return np.where(relevant.any(1), relevant.argmax(1) + 1, num_items + 1)


def _label_set_stats(
    relevance: SetRelevance | np.ndarray,
    sets: np.ndarray,
    label_set: np.ndarray,
    gain_of: np.ndarray,
    exclude_self: bool,
    k: int,
) -> _LabelSetStats:
    """Count the clips of each relevance to each of `sets` (S,), `gain_of` (21,) being what a relevance counts."""
    num_items = max(len(label_set) - exclude_self, 0)
    num_clips = np.bincount(label_set, minlength=len(relevance))
    counts = np.zeros((len(sets), MAX_RELEVANCE + 1))
    for start in range(0, len(sets), SETS_AT_ONCE):
        chunk = sets[start : start + SETS_AT_ONCE]
        rows = relevance[chunk]
        counts[start : start + len(chunk)] = [np.bincount(row, num_clips, MAX_RELEVANCE + 1) for row in rows]
        if exclude_self:
            own = np.arange(len(chunk))
            counts[start + own, rows[own, chunk]] -= num_clips[chunk] > 0
    # In the ideal order the first clips are those of relevance 20, then come those of 19, ...: at each position it is
    # 20 minus the number of relevances whose clips all come before it.
    filled = np.cumsum(counts[:, ::-1], 1)
    positions = np.arange(min(k, num_items))
    passed = sum(filled[:, [n]] <= positions for n in range(MAX_RELEVANCE))
    num_relevant = counts[:, MAX_RELEVANCE].astype(np.int64)
    return _LabelSetStats(gain_of[MAX_RELEVANCE - passed], counts @ gain_of / max(num_items, 1), num_relevant)


def rank_collection(
    queries: np.ndarray,
    collection: np.ndarray,
    relevance: SetRelevance | np.ndarray,
    label_set: np.ndarray,
    *,
    same_modality: bool = False,
    k: int = 30,
    gain: Gain = "exponential",
    full_ranking: bool = True,
    query_indices: np.ndarray | None = None,
    labelled: np.ndarray | None = None,
    distances: DistanceFunction | None = None,
    chunk: int | None = None,
) -> Rankings:
    """Rank the collection for each query by distance, ties in a random order of each query's own.

    Args:
        queries, collection: (N, D) float; row i of both is of the same clip.
        relevance, label_set: of `ontology.clip_relevance`, label_set (N,) int; a table (U, U) will do as relevance.
        same_modality: queries and collection are the same embeddings: each query is left out of its collection.
        k, gain: of nDCG@k, and as for `gains`.
        full_ranking: rank the whole collection. Without, only the first results are ranked, in half of the time.
        query_indices: (Q,) int, the clips that are queries; None for all. The collection stays whole.
        labelled: (N,) bool, clips with labels; None for all. The others count in the rank of a query's own clip alone.
        distances: of the queries to the collection; None for the Euclidean distances of their vectors.
        chunk: as for `rank_by_distance`.
    """
    labelled = np.ones(len(label_set), bool) if labelled is None else labelled
    query_indices = np.arange(len(queries)) if query_indices is None else query_indices
    if same_modality:  # only labels say what is right
        query_indices = query_indices[labelled[query_indices]]
    num_items, query_sets = int(labelled.sum()) - same_modality, label_set[query_indices]
    num_ranked = num_items if full_ranking else min(max(k, *RECALLS), num_items)
    gain_of = gains(np.arange(MAX_RELEVANCE + 1), gain)
    sets, set_of = np.unique(query_sets, return_inverse=True)
    stats = _label_set_stats(relevance, sets, label_set[labelled], gain_of, same_modality, k)
    ndcgs, precisions = np.zeros(len(query_indices)), np.full(len(query_indices), np.nan)
    first_hit = np.zeros(len(query_indices), np.int64)
    distances = distances or euclidean_distances(queries, query_indices, collection)
    chunks = rank_by_distance(distances, query_indices, len(collection), num_ranked, same_modality, ~labelled, chunk)
    for rows, items, own_rank in chunks:
        found = relevance[query_sets[rows]][np.arange(len(items))[:, None], label_set[items]]
        ndcgs[rows] = ndcg(gain_of[found[:, :k]], stats.ideal[set_of[rows]], k)
        first_hit[rows] = _first_relevant(found, num_items) if same_modality else own_rank
        if full_ranking:
            precisions[rows], _ = average_precision(found == MAX_RELEVANCE)
    by_label = labelled[query_indices]
    sets = set_of[by_label]
    return Rankings(
        labelled=by_label,
        ndcg=ndcgs[by_label],
        random_ndcg=stats.random_ndcg(k)[sets],
        average_precision=precisions[by_label],
        random_average_precision=random_average_precision(stats.num_relevant[sets], num_items),
        first_hit=first_hit,
        num_hits=stats.num_relevant[sets] if same_modality else np.ones(len(query_indices), np.int64),
        num_items=num_items if same_modality else len(collection),
        full=full_ranking,
    )
