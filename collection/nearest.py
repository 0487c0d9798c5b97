"""The nearest vectors of a large collection, exactly: a product of matrices in chunks, and the largest of each.

A million vectors of 128 numbers are 0.5 GB and a query takes a tenth of a second on two cores, so no approximate index
is needed until far beyond that.
"""

import numpy as np

BLOCK_SIZE = 2**23  # similarities at a time: 32 MB, and as much again for their order
EXTRA_CANDIDATES = 16  # candidates beyond k: float32 products may swap near-equal ones, which float64 then puts right


def nearest_vectors(queries, collection, k):
    """The k items of a collection with the largest scalar product with each query.

    For unit vectors that is the smallest distance. Memory beyond the arguments: some 100 MB, whatever their number.

    Args:
        queries: (Q, D) float. collection: (N, D) float32, also a np.memmap, which is read in pieces.

    Returns:
        (products, places): (Q, min(k, N)) float64, descending, and int64; of equal ones the lowest place is first.
    """
    count, k = len(collection), min(k, len(collection))
    places, products = np.empty((len(queries), k), np.int64), np.empty((len(queries), k))
    lot = max(min(len(queries), 1024, BLOCK_SIZE // max(count, 1) or 64), 1)
    for start in range(0, len(queries), lot):
        rows = slice(start, start + lot)
        some = np.asarray(queries[rows], np.float32)
        near = _candidates(some, collection, min(k + EXTRA_CANDIDATES, count))  # (q, k + SPARE)
        exact = np.einsum("qd,qkd->qk", queries[rows].astype(np.float64), collection[near].astype(np.float64))
        order = np.lexsort((near, -exact))[:, :k]
        places[rows], products[rows] = np.take_along_axis(near, order, 1), np.take_along_axis(exact, order, 1)
    return products, places


def _candidates(queries, collection, k):
    """Places of the k largest products, in any order: (q, k) int64."""
    chunk = max(BLOCK_SIZE // max(len(queries), 1), k)
    best, where = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    for start in range(0, len(collection), chunk):
        found = queries @ np.asarray(collection[start : start + chunk]).T
        place = np.broadcast_to(np.arange(start, start + found.shape[1]), found.shape)
        if found.shape[1] > k:
            top = np.argpartition(found, -k, axis=1)[:, -k:]
            found, place = np.take_along_axis(found, top, 1), np.take_along_axis(place, top, 1)
        best, where = np.concatenate([best, found], 1), np.concatenate([where, place], 1)
        if best.shape[1] > k:
            top = np.argpartition(best, -k, axis=1)[:, -k:]
            best, where = np.take_along_axis(best, top, 1), np.take_along_axis(where, top, 1)
    return where
