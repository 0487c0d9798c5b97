"""How a search of an embedded collection grows with its rows."""

import importlib.util
import tempfile
import time
from pathlib import Path

import numpy as np

from collection.arrays import open_npz, whole_array, write_npz
from collection.nearest import FILES_SHOWN, IVF_ROWS, VectorIndex
from evaluation.speed.growth.resource_use import measure_use

DIM = 128  # of the vectors (OtS sec. 3)
FILE_ROWS = 10  # seconds of a clip
GROUP_ROWS = 200  # that lie together, as those of a class do
NOISE = 1.0  # of a row beside what its group has in common, as lengths
QUERIES = 20


def measure(size: int) -> dict[str, float]:
    """Measure a search by vectors among made-up rows that lie in groups.

    Args:
        size: rows.

    Returns:
        "open_us_a_row", CPU time of opening: above IVF_ROWS rows an index is built; "peak_mb" (see `measure_use`) of
        it; "query_ms", CPU time; "recall" of the nearest files, compared with exact search; "index", 1 if FAISS
        searches.
    """
    with tempfile.TemporaryDirectory() as folder:
        vectors = _write_vectors(Path(folder) / "vectors.npz", size)
        with measure_use() as use:
            index = VectorIndex(vectors, np.ones(size, bool), np.arange(size) // FILE_ROWS)
        rng = np.random.default_rng(1)
        near = np.array(vectors[rng.integers(0, size, QUERIES)])
        queries = _unit(near + 0.5 * _unit(rng.standard_normal(near.shape, np.float32)))
        begin = time.process_time()
        found = [index.search(query, FILES_SHOWN).rows for query in queries]
        seconds = time.process_time() - begin
        recall = np.mean([
            np.isin(exact_search(vectors, query, FILES_SHOWN), rows).mean()
            for query, rows in zip(queries, found, strict=True)
        ])  # fmt: skip
    indexed = size > IVF_ROWS and importlib.util.find_spec("faiss") is not None
    return {
        "open_us_a_row": 1e6 * use["cpu_seconds"] / size, "peak_mb": use["peak_mb"],
        "query_ms": 1e3 * seconds / QUERIES, "recall": float(recall), "index": float(indexed),
    }  # fmt: skip


def exact_search(vectors: np.ndarray, query: np.ndarray, count: int) -> np.ndarray:
    """Find the best row of each of the nearest files with plain numpy.

    Args:
        vectors: (N, D) float32, FILE_ROWS of each file.
        query: (D,) float32.
        count: files.

    Returns:
        (count,) int64 rows.
    """
    order = np.argsort(-(vectors @ query), kind="stable")
    _, first = np.unique(order // FILE_ROWS, return_index=True)
    return order[np.sort(first)[:count]]


def _write_vectors(path: Path, size: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    centers = _unit(rng.standard_normal((size // GROUP_ROWS + 1, DIM), np.float32))
    rows = rng.integers(0, len(centers), size)
    vectors = rng.standard_normal((size, DIM), np.float32) * np.float32(NOISE / DIM**0.5)
    for start in range(0, size, GROUP_ROWS):
        some = slice(start, start + GROUP_ROWS)
        vectors[some] = _unit(vectors[some] + centers[rows[some]])
    with open(path, "wb") as file:
        write_npz(file, {"vectors": whole_array(vectors)})
    return open_npz(path)["vectors"].map()


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
