"""Find the rows of a collection that are nearest to a query, the best row of each file: exact, or by FAISS of many.

The vectors stay on the disk, from where they are mapped. Memory holds them in half precision, of which an error of at
most HALF_ERROR is known: the rows that can be among the best by it are compared again in full precision, so that the
result is exact. Above IVF_ROWS rows an index of FAISS, where it is installed, looks into some cells of vectors only.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from collection.arrays import CHUNK_BYTES
from dataset.making.text import count_text

HALF_ERROR = 6e-4  # of a cosine with a vector in half precision: 2^-11, and what sums in float32 lose
ROWS_AT_A_TIME = 2**13  # of vectors in half precision that become float32: they stay in the processor's cache
IVF_ROWS = 200_000  # above which FAISS is used
CELLS = 1024  # of the index: a fixed number, so that the time to build it grows with the rows
TRAINING_ROWS = 40  # for each cell
ROWS_FOR_FILE = 30  # that are asked of the index for each file to find; then 16 times as many
RECALL_QUERIES = 16  # rows of the collection, with noise, for which the index is compared with exact search
QUERY_NOISE = 0.5  # its length: no query is a row of the collection
RECALL = 0.99  # of the 12 nearest files that an index must find, by looking into more cells
FILES_SHOWN = 12  # for which it is measured


class Nearest(NamedTuple):
    """The best row of each of the nearest files, nearest first.

    Attributes:
        rows: (K,) int64, of the collection.
        scores: (K,) float64.
    """

    rows: np.ndarray
    scores: np.ndarray


class VectorIndex:
    """The rows of one modality, to search.

    Args:
        vectors: (N, D) float32 unit vectors of the collection, mapped from its file.
        present: (N,) bool, rows that have a vector.
        files: (N,) int, file of each row.

    Attributes:
        rows: (M,) int64, the rows that have a vector, those of a file together.
        note: how it is searched, for people; "" of few rows.
    """

    def __init__(self, vectors: np.ndarray, present: np.ndarray, files: np.ndarray) -> None:
        self.vectors, self.rows, self.note = vectors, np.flatnonzero(present), ""
        own = np.asarray(files[self.rows])
        if len(own) and (np.diff(own) < 0).any():
            order = np.argsort(own, kind="stable")
            self.rows, own = self.rows[order], own[order]
        self._starts = np.flatnonzero(np.diff(own, prepend=-1))  # the first row of each file
        self._file = np.repeat(np.arange(len(self._starts)), np.diff(self._starts, append=len(own)))
        self._half: torch.Tensor | None = None
        self._index: Any = None
        if len(self.rows) > IVF_ROWS:
            self._open_index()
        if self._index is None:
            self._half = torch.empty(len(self.rows), vectors.shape[1], dtype=torch.float16)
            for start, chunk in self._chunks():
                self._half[start : start + len(chunk)] = torch.from_numpy(chunk)

    def search(self, query: np.ndarray, count: int) -> Nearest:
        """Find the files nearest to a vector by cosine.

        Args:
            query: (D,) float unit vector.
            count: files at most.
        """
        if not len(self.rows):
            return Nearest(self.rows, np.zeros(0))
        query = np.array(query, np.float32)
        found = self._from_index(query, count) if self._index is not None else None
        if found is None:
            scores = self._approximate(query)
            found = np.flatnonzero(scores >= self._threshold(scores, count) - 2 * HALF_ERROR)
        return self._best_of_files(found, self._exact(query, found), count)

    def best_of_files(self, scores: np.ndarray, count: int) -> Nearest:
        """Find the files of the best scores, each by its best row.

        Args:
            scores: (M,) float, of `rows`; higher is nearer.
            count: files at most.
        """
        if not len(self.rows):
            return Nearest(self.rows, np.zeros(0))
        best = np.flatnonzero(scores >= self._threshold(scores, count))
        return self._best_of_files(best, scores[best], count)

    def _threshold(self, scores: np.ndarray, count: int) -> float:
        """The score of the file at place `count`, each by the best of all `scores` (M,)."""
        of_files = np.maximum.reduceat(scores, self._starts)
        place = max(len(of_files) - count, 0)
        return float(np.partition(of_files, place)[place])

    def _best_of_files(self, places: np.ndarray, scores: np.ndarray, count: int) -> Nearest:
        """List the first row of each file, of rows at `places` with `scores`; of equal ones the first in the file."""
        order = np.lexsort((places, -scores))
        _, first = np.unique(self._file[places[order]], return_index=True)
        best = order[np.sort(first)[:count]]
        return Nearest(self.rows[places[best]], scores[best])

    def _chunks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Read all vectors, some at a time, each with its place; what is not finite, of a damaged file, becomes 0."""
        step = max(CHUNK_BYTES // (4 * self.vectors.shape[1] or 1), 1)
        for start in range(0, len(self.rows), step):
            some = np.asarray(self.vectors[self.rows[start : start + step]])
            yield start, np.nan_to_num(some, copy=False, posinf=0, neginf=0)

    def _exact(self, query: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Cosines in float64: equal vectors get equal ones."""
        scores, wide = np.empty(len(places)), query.astype(np.float64)
        for start in range(0, len(places), ROWS_AT_A_TIME):
            some = self.vectors[self.rows[places[start : start + ROWS_AT_A_TIME]]].astype(np.float64)
            scores[start : start + ROWS_AT_A_TIME] = np.nan_to_num((some * wide).sum(1))
        return scores

    def _approximate(self, query: np.ndarray) -> np.ndarray:
        """Cosines of all rows, (M,) float32, with errors up to HALF_ERROR."""
        if self._half is None:
            return np.concatenate([chunk @ query for _, chunk in self._chunks()])
        scores, wide = torch.empty(len(self._half)), torch.empty(ROWS_AT_A_TIME, len(query))
        for start in range(0, len(scores), ROWS_AT_A_TIME):
            some = self._half[start : start + ROWS_AT_A_TIME]
            torch.mv(wide[: len(some)].copy_(some), torch.from_numpy(query), out=scores[start : start + len(some)])
        return scores.numpy()

    # -------------------------------------------------------------------------------------------------------- FAISS

    def _open_index(self) -> None:
        """Build an index of cells (IVF) with vectors in half precision, which looks into enough cells."""
        try:
            import faiss  # optional
        except ModuleNotFoundError:
            rows = count_text(len(self.rows), "row")
            self.note = f"exact search of {rows}: an index makes it many times as fast (pip install faiss-cpu)"
            return
        cells = min(CELLS, len(self.rows) // TRAINING_ROWS)
        index: Any = faiss.index_factory(self.vectors.shape[1], f"IVF{cells},SQfp16", faiss.METRIC_INNER_PRODUCT)
        rng = np.random.default_rng(0)
        sample = np.sort(rng.choice(len(self.rows), min(TRAINING_ROWS * cells, len(self.rows)), replace=False))
        index.train(np.nan_to_num(self.vectors[self.rows[sample]]))
        for _, chunk in self._chunks():
            index.add(chunk)
        queries = self._sample_queries(rng)
        truth = [self.search(query, FILES_SHOWN).rows for query in queries]
        self._index, index.nprobe = index, 4
        while True:
            index.nprobe = min(2 * index.nprobe, cells)
            found = [self.search(query, FILES_SHOWN).rows for query in queries]
            recall = np.mean([np.isin(right, rows).mean() for right, rows in zip(truth, found, strict=True)])
            if recall >= RECALL or index.nprobe == cells:
                break
        self.note = (
            f"index of {count_text(len(self.rows), 'row')}: recall {recall:.3f} of the {FILES_SHOWN} nearest files "
            f"({index.nprobe} of {cells:,} cells), ranked exactly"
        )

    def _sample_queries(self, rng: np.random.Generator) -> np.ndarray:
        """Draw (RECALL_QUERIES, D) float32 unit vectors that are like those of queries."""
        near = self.vectors[self.rows[np.sort(rng.choice(len(self.rows), RECALL_QUERIES, replace=False))]]
        noise = rng.standard_normal(near.shape, np.float32)
        queries = near + QUERY_NOISE * noise / np.linalg.norm(noise, axis=1, keepdims=True)
        return np.asarray(queries / np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-9))

    def _from_index(self, query: np.ndarray, count: int) -> np.ndarray | None:
        """Places of candidates; None where too few files have them, so that exact search is needed."""
        for many in (ROWS_FOR_FILE, 16 * ROWS_FOR_FILE):
            _, places = self._index.search(query[None], min(many * count, len(self.rows)))
            places = places[0][places[0] >= 0]
            if len(np.unique(self._file[places])) >= min(count, len(self._starts)):
                return places
        return None
