"""Rank a collection by distance: exact, in chunks, equal distances in a random order of each query's own.

Equal distances must not keep the collection's order: all distances of a collapsed net are equal, and a collection that
is sorted by class would flatter it. Nor may all queries share one random order: the mean over the queries would then
be as uncertain as a single query's result.
"""

from collections.abc import Callable, Iterator

import numpy as np

CHUNK_ROWS = 2**15  # vectors that are in float64 at a time

# Distances of some of the Q queries (a slice) to all N items of a collection: (q, N) float, which may be overwritten.
DistanceFunction = Callable[[slice], np.ndarray]


def tie_keys(queries: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Draw the random numbers by which equal distances of a query are ordered, the same at each call.

    They are the outputs of SplitMix64 (Steele et al., 2014) for (query, item), and differ for different pairs. Only
    those of items that tie need to be computed: no permutation of the collection for each query.

    Args:
        queries: (...) int in 0..2^32 - 1, the queries' indices.
        items: (...) int in 0..2^32 - 1, the items' indices.

    Returns:
        (...) uint64.
    """
    keys = (queries.astype(np.uint64) << np.uint64(32)) ^ items.astype(np.uint64)
    keys += np.uint64(0x9E3779B97F4A7C15)
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))


def rank(similarity: np.ndarray, exclude: np.ndarray | None = None) -> np.ndarray:
    """Rank items by similarity, most similar first, equal ones in a random order of each query's own.

    Args:
        similarity: (Q, N) float.
        exclude: (Q,) the item that each query leaves out, such as the query itself; or None.

    Returns:
        (Q, N) int64 items, or (Q, N - 1) with `exclude`.
    """
    distances, queries = -similarity.astype(np.float64), np.arange(len(similarity))
    if exclude is not None:
        distances[queries, exclude] = -np.inf
    return nearest_columns(distances, distances.shape[1], queries)[:, int(exclude is not None) :]


def euclidean_distances(queries: np.ndarray, query_indices: np.ndarray, collection: np.ndarray) -> DistanceFunction:
    """Make a function of squared Euclidean distances; equal vectors of the collection get equal distances.

    Args:
        queries: (M, D) float.
        query_indices: (Q,) int, the rows of `queries` that are used.
        collection: (N, D) float.
    """
    distinct, column_of = _distinct_rows(collection)
    left, right = _distance_factors(queries, query_indices, collection, distinct)
    if len(distinct) == len(collection):
        return lambda rows: left[rows] @ right.T
    return lambda rows: (left[rows] @ right.T)[:, column_of]


def _distinct_rows(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find equal rows of (N, D) float: the first of each, (K,), and which of the K each row equals, (N,).

    A matrix product may round equal columns differently, so that equal vectors would be ordered by rounding errors.
    Rows are compared by a random hash of 64 bits: among a million rows, a collision has a probability of 10^-7.
    """
    words = np.ascontiguousarray(vectors).view(np.uint32)
    factors = np.random.default_rng(0).integers(2**64, size=words.shape[1], dtype=np.uint64)
    starts = range(0, len(words), CHUNK_ROWS)
    hashes = [(words[start : start + CHUNK_ROWS] * factors).sum(1, dtype=np.uint64) for start in starts]
    _, first, column_of = np.unique(np.concatenate(hashes), return_index=True, return_inverse=True)
    return (first, column_of) if len(first) < len(words) else (np.arange(len(words)), np.arange(len(words)))


def rank_by_distance(
    distances: DistanceFunction,
    query_indices: np.ndarray,
    num_items: int,
    num_ranked: int,
    exclude_own: bool = False,
    omitted: np.ndarray | None = None,
    chunk: int | None = None,
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Rank the items of a collection by distance to each query, nearest first, some queries at a time.

    Args:
        distances: of the queries, such as `euclidean_distances`.
        query_indices: (Q,) int, the item that each query belongs to.
        num_items: N, size of the collection.
        num_ranked: how many of the nearest items are put in order; at most those that are not omitted.
        exclude_own: leave each query's own item out.
        omitted: (N,) bool, items that are not ranked, but count in `own_rank`; None for none.
        chunk: queries at a time, which bounds the memory; by default some 50 MB, or 16 queries.

    Yields:
        (rows, items, own_rank): slice of the Q queries; (q, num_ranked) int64; (q,) int64 rank of each query's own
        item in the whole collection, 1 is the nearest (of no meaning with `exclude_own`).
    """
    chunk = chunk or max(2**20 // num_items, 16)
    for start in range(0, len(query_indices), chunk):
        rows = slice(start, start + chunk)
        own, chunk_distances = query_indices[rows], distances(rows)
        own_rank = own if exclude_own else _rank_of_column(chunk_distances, own)
        if omitted is not None and omitted.any():
            chunk_distances[:, omitted] = np.inf
        if exclude_own:
            chunk_distances[np.arange(len(own)), own] = -np.inf  # so that it comes first, and is dropped
        columns = nearest_columns(chunk_distances, num_ranked + exclude_own, own)[:, int(exclude_own) :]
        yield rows, columns, own_rank


def nearest_columns(distances: np.ndarray, count: int, queries: np.ndarray) -> np.ndarray:
    """Find the columns of the smallest distances of each row, in ascending order, equal ones by their `tie_keys`.

    Args:
        distances: (Q, N) float.
        count: columns to find, in 0..N.
        queries: (Q,) int, the rows' indices for `tie_keys`.

    Returns:
        (Q, count) int64.
    """
    if count in (0, distances.shape[1]):
        return _order_ties(np.argsort(distances, axis=1)[:, :count], distances, queries)
    columns = np.argpartition(distances, count - 1, axis=1)[:, :count]
    by_distance = np.argsort(np.take_along_axis(distances, columns, 1), axis=1)
    columns = _order_ties(np.take_along_axis(columns, by_distance, 1), distances, queries)
    last = np.take_along_axis(distances, columns[:, -1:], 1)
    ambiguous = np.count_nonzero(distances <= last, axis=1) > count  # columns outside are as near as the last one
    if ambiguous.any():
        tied = distances[ambiguous]
        columns[ambiguous] = _order_ties(np.argsort(tied, axis=1), tied, queries[ambiguous])[:, :count]
    return columns


def _order_ties(columns: np.ndarray, distances: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Put columns of equal distances into the order of their keys, in place: (Q, n) sorted by `distances` -> the same.

    Sorting without an order of ties, and these few columns again, is twice as fast as a stable sort of all.
    """
    ascending = np.take_along_axis(distances, columns, 1)
    equal = ascending[:, 1:] == ascending[:, :-1]
    if not equal.any():
        return columns
    first_of_run = np.ones(columns.shape, bool)
    first_of_run[:, 1:] = ~equal
    in_run = ~first_of_run
    in_run[:, :-1] |= equal
    tied, run = columns[in_run], np.cumsum(first_of_run[in_run], dtype=np.uint64)
    keys = tie_keys(queries[np.nonzero(in_run)[0]], tied)
    bits = np.uint64(int(run[-1]).bit_length())  # one sort, by run and then by key, is several times as fast as two
    columns[in_run] = tied[np.argsort((run << (np.uint64(64) - bits)) | (keys >> bits))]
    return columns


def _rank_of_column(distances: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Compute the rank of each query's own column: distances (Q, N), columns (Q,) -> (Q,) int64, 1 is the nearest."""
    own = np.take_along_axis(distances, columns[:, None], 1)
    ranks = 1 + np.count_nonzero(distances < own, axis=1)
    row, column = np.nonzero(distances == own)
    if len(row) > len(columns):  # others are as near
        before = tie_keys(columns[row], column) < tie_keys(columns, columns)[row]
        ranks += np.bincount(row[before], minlength=len(columns))
    return ranks


def _distance_factors(
    queries: np.ndarray, query_indices: np.ndarray, collection: np.ndarray, chosen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute two matrices whose product `left @ right.T` holds all squared Euclidean distances.

    |q - c|^2 = -2 q.c + |q|^2 + |c|^2 as one product. Vectors are taken from the collection's mean, in float64, so that
    embeddings which are nearly the same lose no digits.

    Args:
        queries: (M, D) float vectors, of which `query_indices` (Q,) are used.
        query_indices: (Q,) int, rows of `queries`.
        collection: (N, D) float vectors.
        chosen: (K,) int, the rows of `collection` that are used.

    Returns:
        left (Q, D + 2) and right (K, D + 2), of the vectors' type.
    """
    center = collection.mean(0, dtype=np.float64)
    dtype = np.result_type(queries, collection)
    left = np.ones((len(query_indices), queries.shape[1] + 2), dtype)
    right = np.ones((len(chosen), collection.shape[1] + 2), dtype)
    for rows, vectors in _centered(queries, query_indices, center):
        left[rows, :-2], left[rows, -1] = -2 * vectors, (vectors**2).sum(1)
    for rows, vectors in _centered(collection, chosen, center):
        right[rows, :-2], right[rows, -2] = vectors, (vectors**2).sum(1)
    return left, right


def _centered(vectors: np.ndarray, order: np.ndarray, center: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield (rows, float64 vectors minus `center`), CHUNK_ROWS at a time: a million copies would take a gigabyte."""
    for start in range(0, len(order), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        yield rows, vectors[order[rows]] - center
