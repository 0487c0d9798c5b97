"""Exact nearest-neighbor search: matrix products in chunks, then the largest of each chunk.

A million vectors of 128 numbers take 0.5 GB, and a query takes a tenth of a second on two cores. No approximate index
is needed below that size.
"""

import numpy as np

CHUNK_SIMILARITIES = 2**23  # similarities computed at once: 32 MB, and as much again to order them
MAX_QUERIES = 1024  # queries per chunk
EXTRA_CANDIDATES = 16  # candidates beyond k: float32 rounding may swap near-equal ones, float64 restores their order


def nearest_vectors(queries: np.ndarray, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the k vectors with the largest dot product with each query (for unit vectors, the smallest distance).

    Needs about 100 MB in addition to its arguments, whatever their size.

    Args:
        queries: (Q, D) float.
        vectors: (N, D) float32; a np.memmap is read in chunks.
        k: number of neighbors.

    Returns:
        (similarities, indices): (Q, min(k, N)) float64, descending, and int64 rows of `vectors`. Of equal similarities,
        the lowest index comes first.
    """
    count, k = len(vectors), min(k, len(vectors))
    indices, similarities = np.empty((len(queries), k), np.int64), np.empty((len(queries), k))
    chunk = max(min(len(queries), MAX_QUERIES, CHUNK_SIMILARITIES // max(count, 1) or 64), 1)
    for start in range(0, len(queries), chunk):
        rows = slice(start, start + chunk)
        candidates = _candidates(np.asarray(queries[rows], np.float32), vectors, min(k + EXTRA_CANDIDATES, count))
        exact = np.einsum("qd,qkd->qk", queries[rows].astype(np.float64), vectors[candidates].astype(np.float64))
        order = np.lexsort((candidates, -exact))[:, :k]
        indices[rows] = np.take_along_axis(candidates, order, 1)
        similarities[rows] = np.take_along_axis(exact, order, 1)
    return similarities, indices


def _candidates(queries: np.ndarray, vectors: np.ndarray, k: int) -> np.ndarray:
    """Indices of the k largest float32 products, unordered: (Q, D), (N, D) -> (Q, k) int64."""
    chunk = max(CHUNK_SIMILARITIES // max(len(queries), 1), k)
    best, best_indices = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    for start in range(0, len(vectors), chunk):
        products = queries @ np.asarray(vectors[start : start + chunk]).T
        indices = np.broadcast_to(np.arange(start, start + products.shape[1]), products.shape)
        products, indices = _largest(products, indices, k)
        best = np.concatenate([best, products], 1)
        best_indices = np.concatenate([best_indices, indices], 1)
        best, best_indices = _largest(best, best_indices, k)
    return best_indices


def _largest(products: np.ndarray, indices: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k largest products of each row, unordered, and their indices: two (Q, M) -> two (Q, min(k, M))."""
    if products.shape[1] <= k:
        return products, indices
    top = np.argpartition(products, -k, axis=1)[:, -k:]
    return np.take_along_axis(products, top, 1), np.take_along_axis(indices, top, 1)
