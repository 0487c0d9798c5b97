"""Score rankings: nDCG, average precision, and what random rankings get. Pure functions on arrays."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from scipy.special import ndtr

Gain = Literal["exponential", "linear"]


def gains(relevance: np.ndarray, gain: Gain = "exponential") -> np.ndarray:
    """Compute what a retrieved clip counts: 2^r - 1 ("exponential") or r ("linear") for `relevance` r; float64.

    `gain` chooses between them.
    """
    relevance = np.asarray(relevance, np.float64)
    return 2.0**relevance - 1 if gain == "exponential" else relevance


def discounts(count: int) -> np.ndarray:
    """Compute 1 / log2(1 + position) for positions 1..`count`: float64."""
    return 1 / np.log2(np.arange(2, count + 2))


def ndcg(ranked: np.ndarray, ideal: np.ndarray, k: int = 30) -> np.ndarray:
    """Compute nDCG@k, the normalised discounted cumulative gain of the first k results (OtS sec. 4.2).

    Args:
        ranked: (Q, >= k or all) gains in the order of the ranking, best first.
        ideal: (Q, >= k or all) the largest gains of the whole collection, descending: not of what was retrieved.
        k: results that count.

    Returns:
        (Q,) float64 in 0..1; 0 where nothing in the collection is relevant.
    """
    count = min(k, ranked.shape[1], ideal.shape[1])
    best = ideal[:, :count] @ discounts(count)
    return np.divide(ranked[:, :count] @ discounts(count), best, out=np.zeros(len(ranked)), where=best > 0)


def average_precision(relevant: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the average precision of rankings, and its expectation for random rankings.

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
    return ap, random_average_precision(hits, relevant.shape[1])


def random_average_precision(num_hits: np.ndarray, num_items: int) -> np.ndarray:
    """Compute the expected average precision of a random ranking: (Q,) float64, nan where there is no hit.

    With R hits among N items it is ((R - 1) / (N - 1) * (N - H_N) + H_N) / N, H_N being the harmonic number.

    Args:
        num_hits: (Q,) int, R.
        num_items: N.
    """
    harmonic = (1 / np.arange(1, num_items + 1)).sum()
    random = ((num_hits - 1) / max(num_items - 1, 1) * (num_items - harmonic) + harmonic) / max(num_items, 1)
    return np.where(num_hits > 0, random, np.nan)


def miss_probability(num_hits: np.ndarray, num_items: int) -> np.ndarray:
    """Compute the probability that the first 1, 2, ... results of a random ranking hold no hit, mean over queries.

    Args:
        num_hits: (Q,) int, hits in the collection.
        num_items: N, its size.

    Returns:
        (N,) float64, descending.
    """
    total = np.zeros(num_items)
    for queries, miss in _misses(num_hits, num_items):
        total += queries / len(num_hits) * miss[1:]
    return total


def random_median_rank(num_hits: np.ndarray, num_items: int) -> float:
    """Compute the expected median over Q queries of the rank of the first hit in random rankings.

    The median is above n if at most half of the queries have a hit among the first n results; the number of those that
    do is taken as normal, of the right mean and variance. With one hit each that gives (N + 1) / 2, which is exact;
    else it errs by less than .01 for 10 queries or more.

    Args:
        num_hits: (Q,) int, hits in the collection; without any, the rank is N + 1.
        num_items: N, size of the collection.
    """
    mean, variance = np.zeros((2, num_items + 1))  # of the queries with a hit among the first 0, 1, ..., N
    for queries, miss in _misses(num_hits, num_items):
        mean += queries * (1 - miss)
        variance += queries * miss * (1 - miss)
    std, total = np.sqrt(variance), 0.0
    for most in ((len(num_hits) - 1) // 2, len(num_hits) // 2):  # the two middle ranks of an even number of queries
        above = most + 0.5 - mean
        certain = np.where(above > 0, np.inf, -np.inf)
        total += ndtr(np.divide(above, std, out=certain, where=std > 0)).sum() / 2
    return round(float(total), 6)


def _misses(num_hits: np.ndarray, num_items: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield for each number of hits how many queries have it, and the probability of no hit.

    The latter is (N + 1,) float64: that the first 0, 1, ..., N results of a random ranking hold none.
    """
    left = num_items - np.arange(num_items)  # results that are not drawn yet
    for hits, queries in zip(*np.unique(num_hits, return_counts=True), strict=True):
        yield queries, np.concatenate([[1.0], np.cumprod(np.clip((left - hits) / left, 0, 1))])
