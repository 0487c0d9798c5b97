"""Retrieval in four directions: nDCG@k over the ontology, recall, median rank, mean average precision.

Each is compared with a random ranking, computed exactly. Pure functions on arrays.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from evaluation.measures.measure import Detail, Headline, Measure, Section, Values, compute_measures
from evaluation.measures.ontology import Ontology, SetRelevance, clip_relevance
from evaluation.measures.ranking import DistanceFunction
from evaluation.measures.ranking_scores import Gain, random_median_rank
from evaluation.measures.rankings import RECALLS, Rankings, rank_collection
from evaluation.measures.standard_errors import mean_error, median_error

# Scores of queries (Q,) across modalities with all N clips, in a direction of `RETRIEVAL`: (Q, N) float.
CrossScores = Callable[[str, np.ndarray], np.ndarray]
SCORES_AT_ONCE = 2**23  # for which they are called: 32 MB
MOST_QUERIES = 20_000  # clips up to which all are queries: the work grows with the square of their number
SOME_QUERIES = 4_000  # of more clips, a random choice: the standard error of an nDCG is at most .008


# --------------------------------------------------------------------------------------------------- the measures


def mean_ndcg(rankings: Rankings) -> float | None:
    """Compute the mean nDCG of the queries of `rankings` with labels: None without any."""
    return rankings.ndcg.mean() if len(rankings.ndcg) else None


def hits_among(rankings: Rankings, n: int) -> np.ndarray:
    """Check which queries of `rankings` have a hit among the first `n` results: bool; beyond all items is no hit."""
    return rankings.first_hit <= min(n, rankings.num_items)


def recall(rankings: Rankings, n: int) -> float:
    """Compute recall@n: the fraction of the queries of `rankings` with a hit among the first `n` results."""
    return hits_among(rankings, n).mean()


def recall_error(rankings: Rankings, n: int) -> float | None:
    """Compute the standard error of `recall` of `rankings` among the first `n` results."""
    return mean_error(hits_among(rankings, n))


def random_recall(rankings: Rankings, n: int) -> float:
    """Compute what random rankings reach of `recall` among the first `n` results, for the queries of `rankings`."""
    return 1 - rankings.random_miss[min(n, rankings.num_items) - 1]


def precisions(rankings: Rankings) -> np.ndarray:
    """Get the average precision of the queries of `rankings` that share a label with any clip: float64."""
    return rankings.average_precision[np.isfinite(rankings.average_precision)]


def mean_average_precision(rankings: Rankings) -> float | None:
    """Compute the mean of `precisions` of `rankings`; 0 without one, None without labels."""
    if not rankings.full or not rankings.labelled.any():
        return None
    values = precisions(rankings)
    return values.mean() if len(values) else 0.0


def random_mean_average_precision(rankings: Rankings) -> float:
    """Compute what random rankings reach of mAP, for the queries of `rankings`."""
    has_hits = np.isfinite(rankings.average_precision)
    return rankings.random_average_precision[has_hits].mean() if has_hits.any() else 0.0


def median_rank(rankings: Rankings) -> float | None:
    """Compute the median over the queries of `rankings` of the rank of the first hit."""
    return float(np.median(rankings.first_hit)) if rankings.full else None


RANDOM = "a random ranking"
RECALL = (
    "fraction of the queries with the right clip among the first k results: the query's own clip across modalities, "
    "any clip with its labels within one"
)

DISTANCE, PAIR_SCORE = "distance", "pair score"
SCORED_BY = (
    "what ranks the results: the distance of the vectors (of a net with maps: of their means over the locations), or "
    "the net's own pair score, the largest value of the map (with model.mean_weight partly its mean), which it was "
    "trained with"
)

RETRIEVAL = Section[Rankings](
    key="retrieval",
    title="Retrieval",
    about="Each clip's frame and sound search the frames and sounds of all clips (OtS sec. 4.2, table 1). Relevance is "
    "20 minus the number of steps between two classes in AudioSet's ontology; a label that the ontology lacks is "
    "relevant to itself only. Whether a clip without labels is relevant is not known: nDCG, mAP and the search within "
    "a modality leave it out, as a query and as a result; without any label they are absent. Equal results are ranked "
    "in a random order of each query's own.",
    measures=(
        Measure(
            "ndcg", "nDCG@{k}",
            "how relevant the first results are, and how early the relevant ones come; 1 is the ideal order",
            mean_ndcg, lambda r: r.random_ndcg.mean(), RANDOM, error=lambda r: mean_error(r.ndcg),
            headlines=(
                Headline(4, "sound to frame, nDCG", "aud-im"),
                Headline(5, "frame to sound, nDCG", "im-aud"),
                Headline(7, "frame to frame, nDCG", "im-im"),
            ),
        ),
        *(
            Measure(
                f"recall@{n}", f"recall@{n}", RECALL, partial(recall, n=n), partial(random_recall, n=n), RANDOM,
                error=partial(recall_error, n=n),
            )
            for n in RECALLS
        ),
        Measure(
            "map", "mAP", "mean average precision of the clips that share a label with the query",
            mean_average_precision, random_mean_average_precision, RANDOM, error=lambda r: mean_error(precisions(r)),
        ),
        Measure(
            "median_rank", "median rank", "rank of the first right clip; 1 is the best",
            median_rank, lambda r: random_median_rank(r.num_hits, r.num_items), RANDOM,
            error=lambda r: median_error(r.first_hit), lower_is_better=True, unit="rank",
        ),
    ),
    details=(
        Detail("k", "results that count in nDCG"),
        Detail("labels", "distinct labels", "{}", "label"),
        Detail("unlabelled", "clips without a label", "{} without labels", "clip", hidden=0),
        Detail("queries", "clips that are queries, a fixed random choice, if not all", "{}", "query clip"),
        Detail("ontology", "file of the class graph", "ontology {}"),
        Detail("gain", "what a result of relevance r counts: 2^r - 1 (exponential) or r (linear)", "gain {}"),
        Detail("moments", "aligned moments of a clip, in `clip`", "{} moments"),
        Detail("random", "nDCG of a random ranking, mean of the four directions"),
        Detail("components", "components of the CCA, in a comparison model"),
    ),
    groups={
        "im-im": "frame to frame", "im-aud": "frame to sound", "aud-im": "sound to frame", "aud-aud": "sound to sound",
    },
    group_details=(
        Detail("ndcg_of", "nDCG of the queries with each label"),
        Detail("scored_by", SCORED_BY, "by {}", hidden=DISTANCE),
    ),
    comparisons={("baselines", name): name for name in ("cca", "vgg16", "vgg16+cca")},
    compared=("ndcg",),
    variants={"clip": "mean over moments"},
)  # fmt: skip
DIRECTIONS = tuple(RETRIEVAL.groups)  # query - collection


def retrieve(
    queries: np.ndarray,
    collection: np.ndarray,
    relevance: SetRelevance | np.ndarray,
    label_set: np.ndarray,
    **options: Any,
) -> Values:
    """Compute all measures of one direction, see `RETRIEVAL`, each also as random_KEY, what a random ranking gets.

    Args:
        queries, collection, relevance, label_set: as for `rank_collection`.
        options: further arguments of `rank_collection`. Without full_ranking there is neither median_rank nor map.
    """
    return compute_measures(RETRIEVAL, rank_collection(queries, collection, relevance, label_set, **options))


def four_directions(
    v: np.ndarray,
    a: np.ndarray,
    clip_labels: Sequence[Sequence[str]],
    ontology: Ontology,
    k: int = 30,
    gain: Gain = "exponential",
    full_ranking: bool = True,
    queries: int = 0,
    cross_scores: CrossScores | None = None,
) -> Values:
    """Compute retrieval among N clips, one frame and one sound each (OtS sec. 4.2): metrics.json's section.

    Args:
        v, a: (N, D) float embeddings of frames and sounds.
        clip_labels: N lists of AudioSet mids, or other labels, which are relevant to themselves only.
        ontology: gives the relevance of labels to each other.
        k, gain, full_ranking: as for `rank_collection`.
        queries: how many clips are queries, drawn once and for all; 0 for all, or SOME_QUERIES of more than
            MOST_QUERIES clips. With Q of them the standard error of the mean is the queries' standard deviation /
            sqrt(Q). All of a million clips would be 10^12 products.
        cross_scores: ranks across modalities by these scores, the largest first; None for the distance of the vectors.

    Returns:
        `RETRIEVAL`'s details, and for each direction its measures. Within a modality there are none with fewer than two
        clips with labels.
    """
    labelled = np.array([bool(labels) for labels in clip_labels], bool)
    relevance, label_set = clip_relevance(clip_labels, ontology)
    out: Values = {"k": k, "gain": gain, "labels": len({label for labels in clip_labels for label in labels})}
    out |= {"unlabelled": int((~labelled).sum()), "ontology": ontology.source}
    labelled &= labelled.sum() > 1  # a single one has nothing to be compared with
    query_indices = np.arange(len(v))
    queries = queries or (SOME_QUERIES if len(v) > MOST_QUERIES else len(v))
    if queries < len(v):
        out["queries"] = queries
        query_indices = np.sort(np.random.default_rng(0).choice(len(v), queries, replace=False))
    sides = {"im": v, "aud": a}
    for direction in DIRECTIONS:
        query_side, _, collection_side = direction.partition("-")
        same = query_side == collection_side
        if same and not labelled[query_indices].any():
            continue
        distances = chunk = None
        if cross_scores and not same:
            distances, chunk = _as_distances(cross_scores, direction, query_indices), max(SCORES_AT_ONCE // len(v), 16)
        rankings = rank_collection(
            sides[query_side], sides[collection_side], relevance, label_set, k=k, gain=gain, same_modality=same,
            full_ranking=full_ranking, query_indices=query_indices, labelled=labelled,
            distances=distances, chunk=chunk,
        )  # fmt: skip
        by_label = _ndcg_by_label(rankings.ndcg, [clip_labels[int(clip)] for clip in query_indices if labelled[clip]])
        out[direction] = compute_measures(RETRIEVAL, rankings) | ({"ndcg_of": by_label} if by_label else {})
        out[direction]["scored_by"] = PAIR_SCORE if distances else DISTANCE
    random = [out[direction]["random_ndcg"] for direction in DIRECTIONS if "random_ndcg" in out.get(direction, {})]
    return out | ({"random": float(np.mean(random))} if random else {})


def _as_distances(scores: CrossScores, direction: str, query_indices: np.ndarray) -> DistanceFunction:
    """Make the distances of a ranking from scores: the largest is the nearest."""
    return lambda rows: -scores(direction, query_indices[rows])


def _ndcg_by_label(ndcg: np.ndarray, labels_of_queries: Sequence[Sequence[str]]) -> dict[str, float]:
    """Average the nDCG (L,) of the queries with each label."""
    queries_of: dict[str, list[int]] = {}
    for query, labels in enumerate(labels_of_queries):
        for label in dict.fromkeys(labels):
            queries_of.setdefault(label, []).append(query)
    return {label: float(ndcg[queries].mean()) for label, queries in queries_of.items()}
