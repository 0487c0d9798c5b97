"""Exact nearest neighbors in chunks and bounded memory; retrieval with a subset of the queries."""

import subprocess
import sys

import numpy as np
import pytest
from kill_and_resume import REPOSITORY, one_thread

from collection import nearest as module
from collection.nearest import nearest_vectors
from evaluation.measures.ontology import load_ontology
from evaluation.measures.retrieval import four_directions

MIDS = ("/m/07y_7", "/m/07gql", "/m/05r5c", "/m/026t6")


def unit(count, dims, seed):
    vectors = np.random.default_rng(seed).standard_normal((count, dims), np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("chunk", [10**3, 10**5, 2**23])
def test_chunks_of_any_size_give_the_neighbors_of_the_full_product(monkeypatch, chunk):
    monkeypatch.setattr(module, "CHUNK_SIMILARITIES", chunk)
    queries, collection = unit(40, 32, 0), unit(10_000, 32, 1)
    similarities, indices = nearest_vectors(queries, collection, 30)
    exact = queries.astype(np.float64) @ collection.astype(np.float64).T
    expected = np.argsort(-exact, axis=1, kind="stable")[:, :30]
    assert np.array_equal(indices, expected)
    assert np.allclose(similarities, np.take_along_axis(exact, expected, 1), atol=1e-12)


def test_ties_are_in_order_and_a_small_collection_gives_all():
    collection = np.repeat(unit(3, 8, 0), 4, axis=0)
    similarities, indices = nearest_vectors(collection[4:5], collection, 50)
    assert (
        indices[0].shape == (12,) and indices[0, :4].tolist() == [4, 5, 6, 7] and similarities[0, 0] == pytest.approx(1)
    )
    assert nearest_vectors(unit(0, 8, 0), collection, 5)[1].shape == (0, 5)


def test_a_memory_mapped_collection_is_searched(tmp_path):
    collection = unit(5000, 16, 3)
    np.save(tmp_path / "x.npy", collection)
    found = nearest_vectors(collection[:3], np.load(tmp_path / "x.npy", mmap_mode="r"), 4)
    assert found[1][:, 0].tolist() == [0, 1, 2]


def clips(count, dims, seed=0):
    """Frames and sounds (N, D) of clips of four overlapping classes, and their labels."""
    random = np.random.default_rng(seed)
    kind = random.integers(0, len(MIDS), count)
    centres = random.standard_normal((len(MIDS), dims))
    sides = [(centres[kind] + 2.5 * random.standard_normal((count, dims))).astype(np.float32) for _ in range(2)]
    sides = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides]
    return *sides, [[MIDS[k]] for k in kind]


def test_a_subset_of_the_queries_gives_the_same_within_the_standard_error():
    v, a, labels = clips(10_000, 16)
    whole = four_directions(v, a, labels, load_ontology(), full_ranking=False)
    part = four_directions(v, a, labels, load_ontology(), full_ranking=False, queries=500)
    assert part["queries"] == 500 and "queries" not in whole
    for direction in ("im-im", "im-aud", "aud-im", "aud-aud"):
        assert part[direction].keys() == whole[direction].keys()
        assert abs(part[direction]["ndcg"] - whole[direction]["ndcg"]) < 3 * 0.5 / np.sqrt(500)  # 0..1: at most 0.5
        assert part[direction]["ndcg"] != whole[direction]["ndcg"]
        assert part[direction]["random_ndcg"] == pytest.approx(whole[direction]["random_ndcg"], abs=0.02)
    again = four_directions(v, a, labels, load_ontology(), full_ranking=False, queries=500)
    assert again == part
    assert four_directions(v, a, labels, load_ontology(), full_ranking=False, queries=10_000) == whole


MEMORY = """
import resource
from test_nearest import MIDS, unit
from collection.nearest import nearest_vectors
from evaluation.measures.ontology import load_ontology
from evaluation.measures.retrieval import four_directions
def most(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
v, a = unit(COUNT, 128, 0), unit(COUNT, 128, 1)
ontology, labels, before = load_ontology(), [[MIDS[k % 4]] for k in range(COUNT)], most()
nearest_vectors(v[:50], a, 30)
near = most()
four_directions(v, a, labels, ontology, full_ranking=False, queries=16)
print(before, near, most())
"""


def test_memory_beyond_the_vectors_is_bounded():
    count = 100_000
    environment = one_thread() | {
        "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}:{REPOSITORY / 'tests/collection'}"
    }
    words = [sys.executable, "-c", MEMORY.replace("COUNT", str(count))]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    before, near, whole = map(float, done.stdout.split())  # MB
    side = count * 128 * 4 / 2**20  # of one modality's vectors
    assert near - before < 150, done.stdout
    assert whole - before < 1.5 * side + 100, done.stdout  # the collection in the order of ties, and a lot in float64
