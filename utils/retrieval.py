"""Retrieval in four directions: nDCG@k over the ontology, recall, median rank, mean average precision.

Each beside what a random ranking gets, computed exactly. Pure functions on arrays.
"""

import numpy as np

from utils.ontology import TOP, clip_relevance

DIRECTIONS = ("im-im", "im-aud", "aud-im", "aud-aud")  # query - collection
RECALLS = (1, 5, 10)


def gains(relevance, gain="exponential"):
    """What a retrieved clip of relevance r counts: 2^r - 1 ("exponential") or r ("linear"), float64."""
    relevance = np.asarray(relevance, np.float64)
    return 2.0**relevance - 1 if gain == "exponential" else relevance


def discounts(count):
    """1 / log2(1 + position) for positions 1..count, float64."""
    return 1 / np.log2(np.arange(2, count + 2))


def ndcg(ranked, ideal, k=30):
    """Normalised discounted cumulative gain of the first k places (OtS sec. 4.2).

    Args:
        ranked: (Q, >=k or all) gains in the order of the ranking, best first.
        ideal: (Q, >=k or all) the largest gains of the whole collection, descending: not of what was retrieved.
        k: places that count.

    Returns:
        (Q,) float64 in 0..1; 0 where nothing in the collection is relevant.
    """
    places = min(k, ranked.shape[1], ideal.shape[1])
    best = ideal[:, :places] @ discounts(places)
    return np.divide(ranked[:, :places] @ discounts(places), best, out=np.zeros(len(ranked)), where=best > 0)


def rank(similarity, own=None):
    """Places of the collection, most similar first; ties fall in random order, the same at each call.

    Ties must not fall in the order of the collection: with collapsed embeddings all are ties, and a collection that
    is sorted by class would flatter them.

    Args:
        similarity: (Q, N) float. own: (Q,) places to leave out, the query itself; or None.

    Returns:
        (Q, N) int64, or (Q, N - 1) with `own`.
    """
    shuffled = np.random.default_rng(0).permutation(similarity.shape[1])
    similarity = similarity[:, shuffled].astype(np.float64)
    if own is not None:
        similarity[np.arange(len(own)), np.argsort(shuffled)[own]] = -np.inf
    order = shuffled[np.argsort(-similarity, axis=1, kind="stable")]
    return order[:, :-1] if own is not None else order


def retrieve(queries, collection, table, kind, same=False, k=30, gain="exponential", chunk=512):
    """Measures of one direction; query i and item i of the collection are of the same clip.

    Args:
        queries, collection: (N, D) float; the smaller the Euclidean distance the more similar.
        table, kind: of `utils.ontology.clip_relevance`.
        same: queries and collection are the same embeddings (im-im, aud-aud): the query is left out of its collection.
        k: of nDCG@k. gain: of `gains`. chunk: queries at a time; bounds the memory.

    Returns:
        dict of floats, each also as random_NAME, what a random ranking gets:
        ndcg: the mean over queries.
        recall@1, @5, @10: share of queries with a hit in the first places. Across modalities only the query's own clip
            is a hit; within one, where that is left out, any clip with a label of the query's (relevance 20).
        median_rank: of the first hit, 1 is best.
        map: mean average precision of the clips that share a label with the query; queries without one don't count.
    """
    count = len(queries)
    value = gains(table, gain)
    per_query = {name: [] for name in ("ndcg", "random_ndcg", "first", "hits", "ap", "random_ap")}
    items = count - same
    norms = (collection.astype(np.float64) ** 2).sum(1)
    for start in range(0, count, chunk):
        rows = np.arange(start, min(start + chunk, count))
        similarity = 2 * queries[rows].astype(np.float64) @ collection.T.astype(np.float64) - norms  # -d^2 + const
        order = rank(similarity, rows if same else None)  # (q, items)
        gain_of = value[kind[rows]][:, kind]  # (q, N)
        ranked = np.take_along_axis(gain_of, order, 1)
        ideal = -np.sort(-ranked, axis=1)  # of the whole collection
        per_query["ndcg"].append(ndcg(ranked, ideal, k))
        expected = np.repeat(ranked.mean(1, keepdims=True), items, 1)  # each place of a random ranking holds the mean
        per_query["random_ndcg"].append(ndcg(expected, ideal, k))
        shares = np.take_along_axis(table[kind[rows]][:, kind] == TOP, order, 1)
        hit = shares if same else order == rows[:, None]
        found = hit.any(1)
        per_query["first"].append(np.where(found, hit.argmax(1) + 1, items + 1))
        per_query["hits"].append(hit.sum(1))
        ap, random_ap = average_precision(shares)
        per_query["ap"].append(ap)
        per_query["random_ap"].append(random_ap)
    per_query = {name: np.concatenate(parts) for name, parts in per_query.items()}
    out = {name: float(np.nanmean(per_query[name])) if count else 0.0 for name in ("ndcg", "random_ndcg")}
    miss = _miss(per_query["hits"], items)  # (N, items): chance that a random ranking has no hit in the first n places
    for n in RECALLS:
        out[f"recall@{n}"] = float((per_query["first"] <= min(n, items)).mean())  # beyond all items: no hit
        out[f"random_recall@{n}"] = float(1 - miss[:, min(n, items) - 1].mean())
    out["median_rank"] = float(np.median(per_query["first"]))
    out["random_median_rank"] = float(np.searchsorted(-miss.mean(0), -0.5) + 1)
    judged = np.isfinite(per_query["ap"])
    out["map"] = float(per_query["ap"][judged].mean()) if judged.any() else 0.0
    out["random_map"] = float(per_query["random_ap"][judged].mean()) if judged.any() else 0.0
    return out


def average_precision(relevant):
    """Average precision of rankings, and its expectation under a random ranking.

    Args:
        relevant: (Q, N) bool in the order of the ranking.

    Returns:
        (ap, random): (Q,) float64 each, nan where nothing is relevant. The expectation for R of N relevant items is
        ((R - 1) / (N - 1) * (N - H_N) + H_N) / N with the harmonic number H_N.
    """
    items = relevant.shape[1]
    hits = relevant.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.cumsum(relevant, 1) / np.arange(1, items + 1)
        ap = (precision * relevant).sum(1) / hits
        harmonic = (1 / np.arange(1, items + 1)).sum()
        random = ((hits - 1) / max(items - 1, 1) * (items - harmonic) + harmonic) / items
    return ap, np.where(hits > 0, random, np.nan)


def _miss(hits, items):
    """(Q,) numbers of hits in a collection -> (Q, items): chance of no hit in the first 1, 2, ... random places."""
    distinct, which = np.unique(hits, return_inverse=True)
    n = np.arange(items)
    with np.errstate(invalid="ignore", divide="ignore"):
        each = np.clip((items - distinct[:, None] - n) / (items - n), 0, 1)  # no hit at place n + 1 given none before
    return np.cumprod(each, axis=1)[which]


def four_directions(v, a, clip_labels, ontology, k=30, gain="exponential"):
    """Retrieval among N clips, one frame and one second of sound each, every one a query once (OtS sec. 4.2).

    Args:
        v, a: (N, D) float embeddings of frames and sounds.
        clip_labels: list of N lists of AudioSet mids; all labels of a clip count.
        ontology: a `utils.ontology.Ontology`.
        k, gain: of `retrieve`.

    Returns:
        dict: k, gain, labels (how many different ones), ontology, random (nDCG of a random ranking, mean of the four
        directions), and for each direction the dict of `retrieve`.
    """
    table, kind = clip_relevance(clip_labels, ontology)
    sides = {"im": v, "aud": a}
    out = {"k": k, "gain": gain, "labels": len({label for labels in clip_labels for label in labels})}
    out["ontology"] = ontology.source
    for direction in DIRECTIONS:
        query, _, collection = direction.partition("-")
        out[direction] = retrieve(sides[query], sides[collection], table, kind, query == collection, k, gain)
    out["random"] = float(np.mean([out[direction]["random_ndcg"] for direction in DIRECTIONS]))
    return out
