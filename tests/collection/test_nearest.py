"""The nearest files of a collection: exact whatever the files' lengths, with vectors that stay on the disk."""

import numpy as np
import pytest

from collection import nearest
from collection.nearest import VectorIndex
from evaluation.speed.growth import search as growth_search

DIM = 16


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def plain(vectors, present, files, query, count):
    """{row: score} of the nearest files, in order, in a loop over rows."""
    scores = vectors.astype(np.float64) @ query.astype(np.float64)
    best = {}
    for row in np.flatnonzero(present):
        if files[row] not in best or scores[row] > scores[best[files[row]]]:
            best[files[row]] = row
    ordered = sorted(best.values(), key=lambda row: (-scores[row], row))[:count]
    return ordered, scores[ordered]


@pytest.mark.parametrize("spread", [1.0, 1e-2, 1e-4])  # of the vectors: the last is finer than half precision
@pytest.mark.parametrize("count", [1, 12, 500])
def test_the_nearest_files_are_those_of_a_plain_loop(spread, count):
    rng = np.random.default_rng(0)
    vectors = unit(rng.normal(size=DIM) + spread * rng.normal(size=(3000, DIM)))
    files, present = np.sort(rng.integers(0, 300, 3000)), rng.random(3000) < 0.8
    index = VectorIndex(vectors, present, files)
    for query in unit(rng.normal(size=DIM) + spread * rng.normal(size=(5, DIM))):
        found = index.search(query, count)
        rows, scores = plain(vectors, present, files, query, count)
        assert found.rows.tolist() == rows
        np.testing.assert_allclose(found.scores, scores, atol=1e-6)


def test_a_long_file_does_not_take_the_places_of_others():
    """All of its 5,000 rows are nearer than the nearest of any other file."""
    rng = np.random.default_rng(1)
    query = unit(rng.normal(size=DIM))
    vectors = np.concatenate([unit(query + 1e-3 * rng.normal(size=(5000, DIM))), unit(rng.normal(size=(60, DIM)))])
    files = np.concatenate([np.zeros(5000, int), 1 + np.arange(60) // 2])
    found = VectorIndex(vectors, np.ones(5060, bool), files).search(query, 12)
    assert len(set(files[found.rows])) == 12 and files[found.rows[0]] == 0
    assert found.rows.tolist() == plain(vectors, np.ones(5060, bool), files, query, 12)[0]


def test_equal_vectors_are_listed_in_the_order_of_their_rows_and_nothing_is_found_in_nothing():
    vectors = np.repeat(unit(np.ones((1, DIM))), 100, 0)
    index = VectorIndex(vectors, np.ones(100, bool), np.arange(100) // 2)
    assert index.search(vectors[0], 5).rows.tolist() == [0, 2, 4, 6, 8]
    empty = VectorIndex(vectors, np.zeros(100, bool), np.arange(100))
    assert len(empty.search(vectors[0], 5).rows) == len(empty.best_of_files(np.zeros(0), 5).rows) == 0


def test_rows_whose_files_are_in_any_order_are_searched_too():
    rng = np.random.default_rng(2)
    vectors, files, query = unit(rng.normal(size=(200, DIM))), rng.integers(0, 20, 200), unit(rng.normal(size=DIM))
    index = VectorIndex(vectors, np.ones(200, bool), files)
    assert index.search(query, 12).rows.tolist() == plain(vectors, np.ones(200, bool), files, query, 12)[0]
    scores = vectors[index.rows] @ query
    assert index.best_of_files(scores, 12).rows.tolist() == index.search(query, 12).rows.tolist()


def test_vectors_are_not_copied_in_full_precision(monkeypatch):
    """Half of their size is in memory, and what is read at a time."""
    monkeypatch.setattr(nearest, "CHUNK_BYTES", 2**20)
    found = growth_search.measure(50_000)
    size = 50_000 * growth_search.DIM * 4 / 2**20  # 24 MB, mapped; half of it in memory
    assert found["peak_mb"] < 1.5 * size + 8 and found["recall"] == 1


# -------------------------------------------------------------------------------------------------------------- FAISS


@pytest.fixture
def many(monkeypatch):
    """More than 5,000 rows count as many."""
    pytest.importorskip("faiss", reason="faiss-cpu isn't installed")
    monkeypatch.setattr(nearest, "IVF_ROWS", 5000)
    rng = np.random.default_rng(3)
    centers = unit(rng.normal(size=(100, DIM)))
    return unit(np.repeat(centers, 60, 0) + 0.3 * rng.normal(size=(6000, DIM)))


def test_many_rows_are_searched_by_an_index_that_says_what_it_finds(many):
    files, everything = np.arange(6000) // 3, np.ones(6000, bool)
    index = VectorIndex(many, everything, files)
    assert "index of 6,000 rows: recall" in index.note and index._half is None
    recall = float(index.note.split("recall ")[1][:5])
    assert recall >= nearest.RECALL
    hits = []
    for query in many[::300]:
        found, (rows, scores) = index.search(query, 12), plain(many, everything, files, query, 12)
        hits.append(np.isin(rows, found.rows).mean())
        shared = np.isin(found.rows, rows)
        assert found.scores[shared] == pytest.approx(scores[np.isin(rows, found.rows)], abs=1e-6)  # exact ones
        assert (np.diff(found.scores) <= 0).all() and len(set(files[found.rows])) == 12
    assert np.mean(hits) > 0.95


def test_a_long_file_does_not_take_the_places_of_others_in_an_index(many):
    """Whatever the index answers, it is asked for more, and where that does not do, all rows are compared."""
    vectors = np.concatenate([np.repeat(many[:1], 9000, 0), many])
    files, everything = np.concatenate([np.zeros(9000, int), 1 + np.arange(6000)]), np.ones(15000, bool)
    found = VectorIndex(vectors, everything, files).search(many[0], 12)
    assert found.rows.tolist() == plain(vectors, everything, files, many[0], 12)[0]


def test_without_faiss_all_rows_are_compared_and_the_note_says_what_to_install(many, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    index = VectorIndex(many, np.ones(6000, bool), np.arange(6000) // 3)
    assert index.note.startswith("exact search of 6,000 rows") and "pip install faiss-cpu" in index.note
    found = index.search(many[7], 12).rows.tolist()
    assert found == plain(many, np.ones(6000, bool), np.arange(6000) // 3, many[7], 12)[0]


@pytest.mark.slow
def test_a_million_rows_are_found_in_milliseconds():
    pytest.importorskip("faiss", reason="faiss-cpu isn't installed")
    found = growth_search.measure(1_000_000)
    assert found["recall"] > 0.97 and found["query_ms"] < 40
