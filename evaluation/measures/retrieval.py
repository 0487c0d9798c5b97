"""Retrieval in four directions: nDCG@k over the ontology, recall, median rank, mean average precision.

Each is compared with a random ranking, computed exactly. Pure functions on arrays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from evaluation.measures.measure import Detail, Headline, Measure, Section, Values, compute_measures
from evaluation.measures.ontology import MAX_RELEVANCE, Ontology, clip_relevance
from evaluation.measures.ranking import rank_by_distance
from evaluation.measures.ranking_scores import (
    Gain,
    average_precision,
    gains,
    miss_probability,
    ndcg,
    random_average_precision,
)

RECALLS = (1, 5, 10)


# ------------------------------------------------------------------------------------------------- rank a collection


@dataclass(frozen=True)
class Rankings:
    """Input of the retrieval measures of one direction: the rankings of Q queries.

    Attributes:
        ndcg, random_ndcg: (Q,) nDCG@k, and its expectation for a random ranking.
        first_hit: (Q,) int, rank of the first hit, 1 is best; num_items + 1 if it was not reached. Across modalities
            only the query's own clip is a hit; within one, any other clip with the query's labels (relevance 20).
        num_hits: (Q,) int, hits in the collection.
        average_precision, random_average_precision: (Q,) over the clips that share a label with the query, nan for a
            query without one.
        num_items: clips that a query ranks.
        full: whether all items were ranked. If not, there is no average precision, and first_hit may not be reached.
    """

    ndcg: np.ndarray
    random_ndcg: np.ndarray
    first_hit: np.ndarray
    num_hits: np.ndarray
    average_precision: np.ndarray
    random_average_precision: np.ndarray
    num_items: int
    full: bool

    @cached_property
    def random_miss(self) -> np.ndarray:
        """(num_items,) probability that a random ranking has no hit among its first 1, 2, ... results."""
        return miss_probability(self.num_hits, self.num_items)


class _LabelSetStats(NamedTuple):
    """Statistics that depend on a query's set of labels alone, for each of U sets.

    ideal: (U, min(k, items)) largest gains of the whole collection, descending. mean_gain: (U,) of the collection.
    num_relevant: (U,) int64 clips of the collection that share a label with the query.
    """

    ideal: np.ndarray
    mean_gain: np.ndarray
    num_relevant: np.ndarray


def _label_set_stats(
    relevance_table: np.ndarray, label_set: np.ndarray, gain_of: np.ndarray, exclude_self: bool, k: int
) -> _LabelSetStats:
    """Count the clips of each relevance to each set of labels, `gain_of` (21,) being what a relevance counts."""
    num_sets, num_items = len(relevance_table), len(label_set) - exclude_self
    num_clips = np.bincount(label_set, minlength=num_sets)
    counts = np.stack([np.bincount(row, num_clips, MAX_RELEVANCE + 1) for row in relevance_table])  # (U, 21)
    if exclude_self:
        counts[np.arange(num_sets), np.diagonal(relevance_table)] -= num_clips > 0
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
    relevance_table: np.ndarray,
    label_set: np.ndarray,
    *,
    same_modality: bool = False,
    k: int = 30,
    gain: Gain = "exponential",
    full_ranking: bool = True,
    query_indices: np.ndarray | None = None,
    chunk: int | None = None,
) -> Rankings:
    """Rank the collection for each query by Euclidean distance, ties in a fixed random order.

    Args:
        queries: (N, D) float; row i and row i of `collection` are of the same clip.
        collection: (N, D) float.
        relevance_table: (U, U) int, from `evaluation.measures.ontology.clip_relevance`.
        label_set: (N,) int in 0..U-1, of the same.
        same_modality: queries and collection are the same embeddings: each query is left out of its collection.
        k: of nDCG@k.
        gain: as for `gains`.
        full_ranking: rank the whole collection. Without, only the first results are ranked, in half of the time.
        query_indices: (Q,) int, the clips that are queries; None for all. The collection stays whole.
        chunk: queries at a time, which bounds the memory; by default some 50 MB, or 16 queries.
    """
    query_indices = np.arange(len(queries)) if query_indices is None else query_indices
    query_sets, num_queries = label_set[query_indices], len(query_indices)
    num_items = len(collection) - same_modality
    num_ranked = num_items if full_ranking else min(max(k, *RECALLS), num_items)
    gain_of = gains(np.arange(MAX_RELEVANCE + 1), gain)
    stats = _label_set_stats(relevance_table, label_set, gain_of, same_modality, k)

    ndcgs, first_hit = np.zeros(num_queries), np.zeros(num_queries, np.int64)
    precisions = np.full(num_queries, np.nan)
    chunks = rank_by_distance(queries, query_indices, collection, num_ranked, same_modality, chunk)
    for rows, items, own_rank in chunks:
        sets = query_sets[rows]
        relevance = relevance_table[sets[:, None], label_set[items]]
        relevant = relevance == MAX_RELEVANCE
        ndcgs[rows] = ndcg(gain_of[relevance[:, :k]], stats.ideal[sets], k)
        first_hit[rows] = own_rank
        if same_modality:
            first_hit[rows] = np.where(relevant.any(1), relevant.argmax(1) + 1, num_items + 1)
        if full_ranking:
            precisions[rows], _ = average_precision(relevant)

    mean_gains = np.repeat(stats.mean_gain[:, None], min(k, num_items), 1)  # the expectation at each position
    num_relevant = stats.num_relevant[query_sets]
    return Rankings(
        ndcg=ndcgs,
        random_ndcg=ndcg(mean_gains, stats.ideal, k)[query_sets],
        first_hit=first_hit,
        num_hits=num_relevant if same_modality else np.ones(num_queries, np.int64),
        average_precision=precisions,
        random_average_precision=random_average_precision(num_relevant, num_items),
        num_items=num_items,
        full=full_ranking,
    )


# --------------------------------------------------------------------------------------------------- the measures


def recall(rankings: Rankings, n: int) -> float:
    """Compute recall@n: the fraction of the queries of `rankings` with a hit among the first `n` results."""
    return (rankings.first_hit <= min(n, rankings.num_items)).mean()  # beyond all items: no hit


def random_recall(rankings: Rankings, n: int) -> float:
    """Compute what random rankings reach of `recall` among the first `n` results, for the queries of `rankings`."""
    return 1 - rankings.random_miss[min(n, rankings.num_items) - 1]


def mean_average_precision(rankings: Rankings) -> float | None:
    """Compute mAP over the queries of `rankings` that share a label with any clip; 0 without one."""
    has_hits = np.isfinite(rankings.average_precision)
    return (rankings.average_precision[has_hits].mean() if has_hits.any() else 0.0) if rankings.full else None


def random_mean_average_precision(rankings: Rankings) -> float:
    """Compute what random rankings reach of mAP, for the queries of `rankings`."""
    has_hits = np.isfinite(rankings.average_precision)
    return rankings.random_average_precision[has_hits].mean() if has_hits.any() else 0.0


def median_rank(rankings: Rankings) -> float | None:
    """Compute the median over the queries of `rankings` of the rank of the first hit."""
    return float(np.median(rankings.first_hit)) if rankings.full else None


def random_median_rank(rankings: Rankings) -> float:
    """Compute the rank by which half of the random rankings for the queries of `rankings` have a hit."""
    return float(np.searchsorted(-rankings.random_miss, -0.5) + 1)


RANDOM = "a random ranking"
RECALL = (
    "fraction of the queries with the right clip among the first k results: the query's own clip across modalities, "
    "any clip with its labels within one"
)

RETRIEVAL = Section[Rankings](
    key="retrieval",
    title="Retrieval",
    about="Each clip's frame and sound search the frames and sounds of all clips (OtS sec. 4.2, table 1). Relevance is "
    "20 minus the number of steps between two classes in AudioSet's ontology.",
    measures=(
        Measure(
            "ndcg", "nDCG@{k}",
            "how relevant the first results are, and how early the relevant ones come; 1 is the ideal order",
            lambda r: r.ndcg.mean(), lambda r: r.random_ndcg.mean(), RANDOM,
            headlines=(
                Headline(4, "sound to frame, nDCG", "aud-im"),
                Headline(5, "frame to sound, nDCG", "im-aud"),
                Headline(7, "frame to frame, nDCG", "im-im"),
            ),
        ),
        *(
            Measure(f"recall@{n}", f"recall@{n}", RECALL, partial(recall, n=n), partial(random_recall, n=n), RANDOM)
            for n in RECALLS
        ),
        Measure(
            "map", "mAP", "mean average precision of the clips that share a label with the query",
            mean_average_precision, random_mean_average_precision, RANDOM,
        ),
        Measure(
            "median_rank", "median rank", "rank of the first right clip; 1 is the best",
            median_rank, random_median_rank, RANDOM, lower_is_better=True, unit="rank",
        ),
    ),
    details=(
        Detail("k", "results that count in nDCG"),
        Detail("labels", "distinct labels", "{} labels"),
        Detail("queries", "clips that are queries, if not all", "{} queries"),
        Detail("ontology", "file of the class graph", "ontology {}"),
        Detail("gain", "what a result of relevance r counts: 2^r - 1 (exponential) or r (linear)", "gain {}"),
        Detail("random", "nDCG of a random ranking, mean of the four directions"),
        Detail("components", "components of the CCA, in a comparison model"),
    ),
    groups={
        "im-im": "frame to frame", "im-aud": "frame to sound", "aud-im": "sound to frame", "aud-aud": "sound to sound",
    },
    group_details=(Detail("ndcg_of", "nDCG of the queries with each label"),),
    comparisons={("baselines", name): name for name in ("cca", "vgg16", "vgg16+cca")},
    compared=("ndcg",),
)  # fmt: skip
DIRECTIONS = tuple(RETRIEVAL.groups)  # query - collection


def retrieve(
    queries: np.ndarray, collection: np.ndarray, relevance_table: np.ndarray, label_set: np.ndarray, **options: Any
) -> Values:
    """Compute all measures of one direction, see `RETRIEVAL`, each also as random_KEY, what a random ranking gets.

    Args:
        queries, collection, relevance_table, label_set: as for `rank_collection`.
        options: further arguments of `rank_collection`. Without full_ranking there is neither median_rank nor map.
    """
    return compute_measures(RETRIEVAL, rank_collection(queries, collection, relevance_table, label_set, **options))


def four_directions(
    v: np.ndarray,
    a: np.ndarray,
    clip_labels: Sequence[Sequence[str]],
    ontology: Ontology,
    k: int = 30,
    gain: Gain = "exponential",
    full_ranking: bool = True,
    queries: int = 0,
) -> Values:
    """Compute retrieval among N clips, one frame and one second of sound each (OtS sec. 4.2): metrics.json's section.

    Args:
        v, a: (N, D) float embeddings of frames and sounds.
        clip_labels: N lists of AudioSet mids; all labels of a clip count.
        ontology: gives the relevance of labels to each other.
        k, gain, full_ranking: as for `rank_collection`.
        queries: how many clips are queries, drawn once and for all; 0 for all. With Q of them the standard error of the
            mean is the queries' standard deviation / sqrt(Q). All of a million clips would be 10^12 products.

    Returns:
        `RETRIEVAL`'s details, and for each direction its measures.
    """
    relevance_table, label_set = clip_relevance(clip_labels, ontology)
    out: Values = {"k": k, "gain": gain, "labels": len({label for labels in clip_labels for label in labels})}
    out["ontology"] = ontology.source
    query_indices = np.arange(len(v))
    if 0 < queries < len(v):
        out["queries"] = queries
        query_indices = np.sort(np.random.default_rng(0).choice(len(v), queries, replace=False))
    queries_of_label: dict[str, list[int]] = {}
    for query, clip in enumerate(query_indices.tolist()):
        for label in dict.fromkeys(clip_labels[clip]):
            queries_of_label.setdefault(label, []).append(query)
    sides = {"im": v, "aud": a}
    for direction in DIRECTIONS:
        query_side, _, collection_side = direction.partition("-")
        rankings = rank_collection(
            sides[query_side], sides[collection_side], relevance_table, label_set, k=k, gain=gain,
            same_modality=query_side == collection_side, full_ranking=full_ranking, query_indices=query_indices,
        )  # fmt: skip
        by_label = {label: float(rankings.ndcg[rows].mean()) for label, rows in queries_of_label.items()}
        out[direction] = compute_measures(RETRIEVAL, rankings) | ({"ndcg_of": by_label} if by_label else {})
    out["random"] = float(np.mean([out[direction]["random_ndcg"] for direction in DIRECTIONS]))
    return out
