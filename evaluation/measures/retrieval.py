"""Retrieval in four directions: nDCG@k over the ontology, recall, median rank, mean average precision.

Each beside what a random ranking gets, computed exactly. Pure functions on arrays.
"""

import numpy as np

from evaluation.measures.ontology import MAX_RELEVANCE, clip_relevance

DIRECTIONS = ("im-im", "im-aud", "aud-im", "aud-aud")  # query - collection
RECALLS = (1, 5, 10)
CHUNK_ROWS = 2**15  # vectors that are in float64 at a time


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
    count = similarity.shape[1]
    shuffled = _shuffled(count)
    own = None if own is None else np.argsort(shuffled)[own]
    similarity = similarity[:, shuffled].astype(np.float64)
    unlike = similarity.max(1, keepdims=True) - similarity
    unlike *= _scale(unlike.max(1, keepdims=True), count)
    keys = _keys(unlike, own)
    keys.sort(1)
    return shuffled[_places(keys[:, own is not None :], count)]


def _shuffled(count):
    """The order in which ties of a collection fall."""
    return np.random.default_rng(0).permutation(count)


ROOM = 2.0**32  # how far rounding may take a scaled distance of 0 below it: one part of 2^19 of the largest


def _scale(largest, count):
    """By how much to multiply distances up to `largest` for `_keys` of a collection of `count` items.

    A power of two, so that nothing is rounded but what lies below the last bit that is kept.
    """
    _, exponent = np.frexp(largest)
    return np.ldexp(1.0, min(61 - _low_bits(count), 51) - exponent)


def _keys(unlike, own=None):
    """Whole numbers that sort as the collection is ranked, and that tell what they were made of.

    Numbers are sorted many times faster than places by numbers. From the highest bit down: how unlike the two are, to
    one part of 2^39 of the largest or finer; the place, which breaks ties; a bit that is free.

    Args:
        unlike: (Q, N) float distances, scaled by `_scale`.
        own: (Q,) places to be sorted first, or None.

    Returns:
        (Q, N) int64; ascending, the most similar is first.
    """
    count = unlike.shape[1]
    # In a number as large as this the last bits of the float are those of the whole number.
    keys = np.add(unlike, 2.0**52 + ROOM, dtype=np.float64).view(np.int64)
    keys <<= _low_bits(count)  # which drops the exponent
    keys |= np.arange(count) << 1
    if own is not None:
        keys[np.arange(len(own)), own] = np.iinfo(np.int64).min
    return keys


def _low_bits(count):
    """How many bits of a key hold the place and the free bit: at least 12, all that the float's exponent takes."""
    return max((count - 1).bit_length() + 1, 12)


def _places(keys, count):
    """The places among `count` items that `_keys` were made of: int64 of the same shape."""
    return (keys & ((1 << _low_bits(count)) - 1)) >> 1


def retrieve(
    queries, collection, table, kind, same=False, k=30, gain="exponential", whole=True, chunk=None, asked=None,
    parts=None,
):  # fmt: skip
    """Measures of one direction; query i and item i of the collection are of the same clip.

    Args:
        queries, collection: (N, D) float; the smaller the Euclidean distance the more similar.
        table, kind: of `evaluation.measures.ontology.clip_relevance`.
        same: queries and collection are the same embeddings (im-im, aud-aud): the query is left out of its collection.
        k: of nDCG@k. gain: of `gains`.
        whole: rank the whole collection. Without, only the first places are: half of the time, and there is neither
            median_rank nor map.
        chunk: queries at a time, which bounds the memory; by default some 50 MB, or 16 queries.
        asked: places of the clips that are queries; None for all. The collection stays whole.
        parts: {name: places among those queries}, whose nDCG alone is wanted too; or None.

    Returns:
        dict of floats, each also as random_NAME, what a random ranking gets:
        ndcg: the mean over queries.
        recall@1, @5, @10: share of queries with a hit in the first places. Across modalities only the query's own clip
            is a hit; within one, where that is left out, any clip with a label of the query's (relevance 20).
        median_rank: of the first hit, 1 is best.
        map: mean average precision of the clips that share a label with the query; queries without one don't count.
        With parts also ndcg_of: {name: nDCG of these queries}.
    """
    count = len(collection)
    asked = np.arange(count) if asked is None else asked
    items, value, shares = count - same, gains(np.arange(MAX_RELEVANCE + 1), gain), np.asarray(table) == MAX_RELEVANCE
    chunk = chunk or max(2**20 // max(count, 1), 16)  # what the cache holds, in lots that a product still fills
    top = count if whole else min(max(k, *RECALLS) + same, count)  # places that are put in order
    best, mean, sharing = _of_kinds(table, kind, value, same, k)
    shuffled = _shuffled(count)
    place = np.argsort(shuffled)  # where the items of the collection lie from now on
    kind_at, (left, right) = kind[shuffled], _for_distances(queries, asked, collection, shuffled)
    ndcgs, firsts, aps = np.zeros(len(asked)), np.zeros(len(asked), np.int64), np.zeros(len(asked))
    for start in range(0, len(asked), chunk):
        here = slice(start, start + chunk)
        rows = asked[here]
        keys = _keys(left[here] @ right.T, place[rows] if same else None)  # (q, N)
        if whole:
            keys |= shares[kind[rows]][:, kind_at]
        if not same:
            own = keys[np.arange(len(rows)), place[rows]]
            firsts[here] = 1 + (keys < own[:, None]).sum(1)
        if top < count:
            keys.partition(top - 1)
            keys = keys[:, :top].copy()
        keys.sort(1)
        keys = keys[:, int(same) :]
        levels = table[kind[rows][:, None], kind_at[_places(keys[:, : k if whole else top], count)]]
        ndcgs[here] = ndcg(value[levels], best[kind[rows]], k)
        relevant = (keys & 1).astype(bool) if whole else levels == MAX_RELEVANCE
        if whole:
            aps[here], _ = average_precision(relevant)
        if same:
            firsts[here] = np.where(relevant.any(1), relevant.argmax(1) + 1, items + 1)
    out = {"ndcg": float(ndcgs.mean()) if count else 0.0}
    if parts:
        out["ndcg_of"] = {name: float(ndcgs[part].mean()) for name, part in parts.items()}
    expected = np.repeat(mean[:, None], min(k, items), 1)  # each place of a random ranking holds the mean
    out["random_ndcg"] = float(ndcg(expected, best, k)[kind[asked]].mean()) if count else 0.0
    miss = _miss(sharing[kind[asked]] if same else np.ones(len(asked), np.int64), items)
    for n in RECALLS:
        out[f"recall@{n}"] = float((firsts <= min(n, items)).mean())  # beyond all items: no hit
        out[f"random_recall@{n}"] = float(1 - miss[min(n, items) - 1])
    if not whole:
        return out
    out["median_rank"] = float(np.median(firsts))
    out["random_median_rank"] = float(np.searchsorted(-miss, -0.5) + 1)
    judged = np.isfinite(aps)
    out["map"] = float(aps[judged].mean()) if judged.any() else 0.0
    out["random_map"] = float(_random_ap(sharing[kind[asked]][judged], items).mean()) if judged.any() else 0.0
    return out


def _for_distances(queries, asked, collection, order):
    """Matrices whose product holds the squared distances of queries and items, scaled for `_keys`.

    |q - c|^2 = -2 q c + |c|^2 + |q|^2 as one product, of (Q, D + 2) and (N, D + 2) floats of the embeddings' own type.
    From the collection's mean, so that embeddings which are all alike lose no digits. In lots: of a million vectors a
    copy in float64 is a gigabyte.

    Args:
        queries, collection: (N, D) float. asked, order: (Q,) and (N,) int, the rows that are taken of each.
    """
    middle = collection.mean(0, dtype=np.float64) if len(collection) else 0.0
    q, c = (_Centred(*side, middle) for side in ((queries, asked), (collection, order)))
    qq, cc = q.squares(), c.squares()
    scale = _scale(2 * (qq.max(initial=0) + cc.max(initial=0)), len(cc))
    kind, ones = np.result_type(queries, collection), np.ones
    return [q.beside(-2, (ones(len(qq)), qq), scale, kind), c.beside(1, (cc, ones(len(cc))), 1.0, kind)]


class _Centred:
    """Some rows of vectors, seen from a middle, a lot at a time in float64."""

    def __init__(self, vectors, rows, middle):
        self.vectors, self.rows, self.middle = vectors, rows, middle

    def __iter__(self):
        for start in range(0, len(self.rows), CHUNK_ROWS):
            yield slice(start, start + CHUNK_ROWS), self.vectors[self.rows[start : start + CHUNK_ROWS]] - self.middle

    def squares(self):
        """|x|^2 of each row: (R,) float64."""
        out = np.empty(len(self.rows))
        for where, lot in self:
            out[where] = (lot**2).sum(1)
        return out

    def beside(self, factor, columns, scale, kind):
        """(R, D + 2) of type `kind`: the rows times `factor`, and two columns, all times `scale`."""
        out = np.empty((len(self.rows), self.vectors.shape[1] + 2), kind)
        for where, lot in self:
            out[where, :-2] = factor * lot * scale
        out[:, -2], out[:, -1] = (column * scale for column in columns)
        return out


def _of_kinds(table, kind, value, same, k):
    """What a query's kind alone decides, of the U kinds that `kind` has.

    Args:
        table, kind: of `evaluation.measures.ontology.clip_relevance`. value: (TOP + 1,) what a clip of each relevance counts.
        same: the query is left out of its collection. k: places that count.

    Returns:
        (best, mean, sharing): (U, min(k, items)) the largest gains of the whole collection, descending; (U,) the mean
        gain of the collection; (U,) int64 how many of its clips share a label with the query.
    """
    kinds, items = len(table), len(kind) - same
    clips, levels = np.bincount(kind, minlength=kinds), np.empty((kinds, MAX_RELEVANCE + 1))
    for u in range(kinds):  # how many clips have each relevance to it
        levels[u] = np.bincount(table[u], clips, MAX_RELEVANCE + 1)
    if same:
        levels[np.arange(kinds), np.diagonal(table)] -= clips > 0
    reached = np.cumsum(levels[:, ::-1], 1)  # this many places are full of TOP, of TOP - 1 and above, ...
    below = sum(
        reached[:, [n]] <= np.arange(min(k, items)) for n in range(MAX_RELEVANCE)
    )  # (U, places): levels below TOP
    return value[MAX_RELEVANCE - below], levels @ value / max(items, 1), levels[:, MAX_RELEVANCE].astype(np.int64)


def average_precision(relevant):
    """Average precision of rankings, and its expectation under a random ranking.

    Args:
        relevant: (Q, N) bool in the order of the ranking.

    Returns:
        (ap, random): (Q,) float64 each, nan where nothing is relevant.
    """
    row, position = np.divmod(np.flatnonzero(relevant), relevant.shape[1])
    hits = np.bincount(row, minlength=len(relevant))
    before = np.arange(len(row)) - (np.cumsum(hits) - hits)[row]  # hits above this one
    with np.errstate(invalid="ignore"):
        ap = np.bincount(row, (before + 1) / (position + 1), len(relevant)) / hits
    return ap, _random_ap(hits, relevant.shape[1])


def _random_ap(hits, items):
    """Expected average precision of a random ranking with R hits among N items, nan where R is 0.

    ((R - 1) / (N - 1) * (N - H_N) + H_N) / N with the harmonic number H_N. (Q,) int64, int -> (Q,) float64.
    """
    harmonic = (1 / np.arange(1, items + 1)).sum()
    random = ((hits - 1) / max(items - 1, 1) * (items - harmonic) + harmonic) / max(items, 1)
    return np.where(hits > 0, random, np.nan)


def _miss(hits, items):
    """(Q,) numbers of hits in a collection -> (items,): mean chance of no hit in the first 1, 2, ... random places."""
    distinct, queries = np.unique(hits, return_counts=True)
    n = np.arange(items)
    total = np.zeros(items)
    for one, weight in zip(distinct, queries / max(len(hits), 1), strict=True):
        with np.errstate(invalid="ignore", divide="ignore"):
            total += weight * np.cumprod(np.clip((items - one - n) / (items - n), 0, 1))  # no hit at n + 1 either
    return total


def four_directions(v, a, clip_labels, ontology, k=30, gain="exponential", whole=True, queries=0):
    """Retrieval among N clips, one frame and one second of sound each, every one a query once (OtS sec. 4.2).

    Args:
        v, a: (N, D) float embeddings of frames and sounds.
        clip_labels: list of N lists of AudioSet mids; all labels of a clip count.
        ontology: a `evaluation.measures.ontology.Ontology`.
        k, gain, whole: of `retrieve`.
        queries: how many clips are queries, drawn once and for all; 0 for all. With Q of them the mean is off by about
            its deviation between queries / sqrt(Q). All of a million clips would be 10^12 products, a thousand 10^9.

    Returns:
        dict: k, gain, queries (if not all), labels (how many different ones), ontology, random (nDCG of a random
        ranking, mean of the four directions), and for each direction the dict of `retrieve`, ndcg_of being
        by label.
    """
    table, kind = clip_relevance(clip_labels, ontology)
    sides, of_label = {"im": v, "aud": a}, {}
    out = {"k": k, "gain": gain, "labels": len({label for labels in clip_labels for label in labels})}
    out["ontology"] = ontology.source
    asked = np.arange(len(v))
    if 0 < queries < len(v):
        out["queries"] = queries
        asked = np.sort(np.random.default_rng(0).choice(len(v), queries, replace=False))
    for place, clip in enumerate(asked.tolist()):
        for label in dict.fromkeys(clip_labels[clip]):
            of_label.setdefault(label, []).append(place)
    for direction in DIRECTIONS:
        query, _, collection = direction.partition("-")
        how = {"same": query == collection, "k": k, "gain": gain, "whole": whole, "asked": asked, "parts": of_label}
        out[direction] = retrieve(sides[query], sides[collection], table, kind, **how)
    out["random"] = float(np.mean([out[direction]["random_ndcg"] for direction in DIRECTIONS]))
    return out
