"""Rank a collection by distance: exact, in chunks, equal distances in a fixed random order.

Equal distances must not keep the collection's order: all distances of a collapsed net are equal, and a collection that
is sorted by class would flatter it.
"""

from collections.abc import Iterator

import numpy as np

CHUNK_ROWS = 2**15  # vectors that are in float64 at a time


def tie_order(num_items: int) -> np.ndarray:
    """Get the order in which equal distances of `num_items` items fall: (num_items,) int64, the same at each call."""
    return np.random.default_rng(0).permutation(num_items)


def rank(similarity: np.ndarray, exclude: np.ndarray | None = None) -> np.ndarray:
    """Rank items by similarity, most similar first, equal ones in a fixed random order.

    Args:
        similarity: (Q, N) float.
        exclude: (Q,) the item that each query leaves out, such as the query itself; or None.

    Returns:
        (Q, N) int64 items, or (Q, N - 1) with `exclude`.
    """
    order = tie_order(similarity.shape[1])
    distances = -similarity[:, order].astype(np.float64)
    if exclude is not None:
        distances[np.arange(len(distances)), np.argsort(order)[exclude]] = -np.inf
    ranking = order[np.argsort(distances, axis=1, kind="stable")]
    return ranking if exclude is None else ranking[:, 1:]


def rank_by_distance(
    queries: np.ndarray,
    query_indices: np.ndarray,
    collection: np.ndarray,
    num_ranked: int,
    exclude_own: bool = False,
    chunk: int | None = None,
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Rank the items of a collection by Euclidean distance to each query, nearest first, some queries at a time.

    Args:
        queries: (M, D) float; row i belongs to item i of the collection.
        query_indices: (Q,) int, the rows of `queries` that are used.
        collection: (N, D) float.
        num_ranked: how many of the nearest items are put in order.
        exclude_own: leave each query's own item out.
        chunk: queries at a time, which bounds the memory; by default some 50 MB, or 16 queries.

    Yields:
        (rows, items, own_rank): slice of the Q queries; (q, num_ranked) int64; (q,) int64 rank of each query's own
        item in the whole collection, 1 is the nearest (of no meaning with `exclude_own`).
    """
    count = len(collection)
    chunk = chunk or max(2**20 // count, 16)
    order = tie_order(count)  # of the columns: equal distances fall in their order
    column_of = np.argsort(order)
    left, right = _distance_factors(queries, query_indices, collection, order)
    for start in range(0, len(query_indices), chunk):
        rows = slice(start, start + chunk)
        distances, own = left[rows] @ right.T, column_of[query_indices[rows]]
        own_rank = _rank_of_column(distances, own)
        if exclude_own:
            distances[np.arange(len(own)), own] = -np.inf  # so that it comes first, and is dropped
        columns = nearest_columns(distances, num_ranked + exclude_own)[:, int(exclude_own) :]
        yield rows, order[columns], own_rank


def nearest_columns(distances: np.ndarray, count: int) -> np.ndarray:
    """Find the columns of the smallest distances of each row, in ascending order, equal ones by column.

    Args:
        distances: (Q, N) float.
        count: columns to find, in 1..N.

    Returns:
        (Q, count) int64.
    """
    if count == distances.shape[1]:
        return _order_ties(np.argsort(distances, axis=1), distances)
    columns = np.argpartition(distances, count - 1, axis=1)[:, :count]
    columns.sort(axis=1)  # so that the stable sort leaves equal distances in the order of the columns
    by_distance = np.argsort(np.take_along_axis(distances, columns, 1), axis=1, kind="stable")
    columns = np.take_along_axis(columns, by_distance, 1)
    last = np.take_along_axis(distances, columns[:, -1:], 1)
    ambiguous = np.count_nonzero(distances <= last, axis=1) > count  # columns outside are as near as the last one
    columns[ambiguous] = np.argsort(distances[ambiguous], axis=1, kind="stable")[:, :count]
    return columns


def _order_ties(columns: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Put columns of equal distances into ascending order, in place: (Q, N) sorted by `distances` -> the same array.

    Sorting without an order of ties, and these few columns again, is twice as fast as a stable sort of all.
    """
    ascending = np.take_along_axis(distances, columns, 1)
    equal = ascending[:, 1:] == ascending[:, :-1]
    first_of_run = np.ones(columns.shape, bool)
    first_of_run[:, 1:] = ~equal
    in_run = ~first_of_run
    in_run[:, :-1] |= equal
    tied, run = columns[in_run], np.cumsum(first_of_run[in_run])
    columns[in_run] = tied[np.lexsort((tied, run))]
    return columns


def _rank_of_column(distances: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Compute the rank of one column in each row: distances (Q, N), columns (Q,) -> (Q,) int64, 1 is the nearest."""
    own = np.take_along_axis(distances, columns[:, None], 1)
    nearer = np.count_nonzero(distances < own, axis=1)
    equal_before = (distances == own) & (np.arange(distances.shape[1]) < columns[:, None])
    return 1 + nearer + np.count_nonzero(equal_before, axis=1)


def _distance_factors(
    queries: np.ndarray, query_indices: np.ndarray, collection: np.ndarray, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute two matrices whose product `left @ right.T` holds all squared Euclidean distances.

    |q - c|^2 = -2 q.c + |q|^2 + |c|^2 as one product. Vectors are taken from the collection's mean, in float64, so that
    embeddings which are nearly the same lose no digits.

    Args:
        queries: (M, D) float vectors, of which `query_indices` (Q,) are used.
        query_indices: (Q,) int, rows of `queries`.
        collection: (N, D) float vectors.
        order: (N,) int, the order in which `collection` is used.

    Returns:
        left (Q, D + 2) and right (N, D + 2), of the vectors' type.
    """
    center = collection.mean(0, dtype=np.float64)
    dtype = np.result_type(queries, collection)
    left = np.ones((len(query_indices), queries.shape[1] + 2), dtype)
    right = np.ones((len(order), collection.shape[1] + 2), dtype)
    for rows, vectors in _centered(queries, query_indices, center):
        left[rows, :-2], left[rows, -1] = -2 * vectors, (vectors**2).sum(1)
    for rows, vectors in _centered(collection, order, center):
        right[rows, :-2], right[rows, -2] = vectors, (vectors**2).sum(1)
    return left, right


def _centered(vectors: np.ndarray, order: np.ndarray, center: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield (rows, float64 vectors minus `center`), CHUNK_ROWS at a time: a million copies would take a gigabyte."""
    for start in range(0, len(order), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        yield rows, vectors[order[rows]] - center
