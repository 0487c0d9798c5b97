"""Rankings: ties at random but the same each time, the same in chunks and in single precision."""

import tracemalloc
from itertools import permutations

import numpy as np
import pytest
from retrieval_cases import MEASURES, clips, retrieve

from evaluation.measures.ranking import euclidean_distances, nearest_columns, rank


def test_the_size_of_the_chunks_changes_nothing():
    rng = np.random.default_rng(9)
    table, kind, v, a = clips(rng, 45)
    a[10:20] = a[0]  # ties too
    for same in (False, True):
        whole = retrieve(v, a if not same else v, table, kind, same)
        for chunk in (1, 7, 44):
            assert retrieve(v, a if not same else v, table, kind, same, chunk=chunk) == pytest.approx(whole, rel=1e-12)


def test_fewer_clips_than_places_that_count():
    table, kind, v, a = clips(np.random.default_rng(10), 2, kinds=2)
    for same in (False, True):
        found = retrieve(v, v if same else a, table, kind, same, k=30)
        assert all(np.isfinite(value) for value in found.values()) and found["random_recall@10"] <= 1


def test_rank_breaks_ties_at_random_for_each_query_but_the_same_way_each_time():
    order = rank(np.zeros((3, 50)))
    assert (np.sort(order, 1) == np.arange(50)).all()
    for one, other in ((order[0], np.arange(50)), (order[0], order[1]), (order[1], order[2])):
        assert (one != other).mean() > 0.8
    assert np.array_equal(order, rank(np.zeros((3, 50))))
    without = rank(np.zeros((3, 50)), np.array([4, 5, 49]))
    assert without.shape == (3, 49) and [set(range(50)) - set(row) for row in without] == [{4}, {5}, {49}]
    assert rank(np.array([[0.1, 0.9, 0.5]])).tolist() == [[1, 2, 0]]


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9])
def test_rank_equals_sorting_places_by_similarity(scale):
    """Also where two differ in the tenth digit alone, and where some are equal."""
    rng = np.random.default_rng(11)
    similarity = rng.normal(size=(20, 3000)) * scale
    similarity[:, 1000:1100] = similarity[:, :100] * (1 + 1e-10)
    similarity[:, 2000:2100] = similarity[:, :100]
    own = rng.integers(0, 3000, 20)
    for found, left_out in ((rank(similarity), [[]] * 20), (rank(similarity, own), own[:, None])):
        for query, (row, out) in enumerate(zip(found, left_out, strict=True)):
            kept = np.setdiff1d(np.arange(3000), out)
            assert np.array_equal(np.sort(row), kept)
            assert np.array_equal(similarity[query, row], -np.sort(-similarity[query, kept]))


def test_every_order_of_equal_items_is_as_likely_and_each_item_as_often_at_each_place():
    """Of three equal items among others; over 6,000 queries each of the 6 orders comes 1,000 times, +- 29."""
    similarity = np.tile([0.5, 0.1, 0.5, 0.9, 0.5], (6000, 1))
    orders, counts = np.unique(rank(similarity)[:, 1:4], axis=0, return_counts=True)
    assert orders.tolist() == [list(one) for one in permutations((0, 2, 4))]
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(1000 * 5 / 6)
    many = rank(np.zeros((5000, 20)))
    for place in range(20):
        counts = np.bincount(many[:, place], minlength=20)
        assert np.abs(counts - 250).max() < 5 * np.sqrt(250 * 19 / 20)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_vectors_tie_wherever_they_lie_whatever_a_matrix_product_rounds(dtype):
    rng = np.random.default_rng(16)
    distinct = rng.normal(size=(37, 130)).astype(dtype)
    collection = distinct[rng.integers(0, 37, 1001)]
    queries = np.arange(1001)
    distances = euclidean_distances(rng.normal(size=(1001, 130)).astype(dtype), queries, collection)(slice(0, 50))
    for row in distances:
        assert len(np.unique(row)) == 37
    alone = rng.permutation(collection.shape[0]).astype(dtype)[:, None] + np.zeros(130, dtype)  # no two are equal
    exact = ((alone[:50, None].astype(np.float64) - alone[None]) ** 2).sum(2)
    np.testing.assert_allclose(euclidean_distances(alone, queries, alone)(slice(0, 50)), exact, atol=1e-5 * exact.max())


@pytest.mark.parametrize("count", [1, 7, 50, 199, 200])
def test_the_first_items_alone_are_those_of_the_whole_ranking_with_ties_too(count):
    distances = np.random.default_rng(17).integers(0, 8, (60, 200)).astype(float)  # some 25 items tie
    queries = np.arange(60)
    assert np.array_equal(nearest_columns(distances, count, queries), rank(-distances)[:, :count])


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize(("count", "k"), [(300, 30), (300, 3), (20, 30)])
def test_the_first_places_alone_give_the_same_ndcg_and_recall(same, count, k):
    rng = np.random.default_rng(13)
    table, kind, v, a = clips(rng, count, kinds=15)
    a[:9] = a[0]  # ties too
    a = a if same else v + a
    whole, first = (retrieve(a if same else v, a, table, kind, same, k, full_ranking=w) for w in (True, False))
    assert first.keys() >= {prefix + name for prefix in ("", "random_") for name in MEASURES[:4]}
    assert whole.keys() - first.keys() >= {"median_rank", "random_median_rank", "map", "random_map"}
    assert first == {name: whole[name] for name in first}


@pytest.mark.parametrize("same", [False, True])
def test_single_precision_ranks_as_double_does_also_where_all_embeddings_are_nearly_the_same(same):
    """Embeddings that share a direction have distances in the last digits of their scalar products."""
    rng = np.random.default_rng(14)
    table, kind, v, a = clips(rng, 400, kinds=15)
    v, a = ((1 + 1e-3 * side).astype(np.float32) for side in (v, v + 0.5 * a))
    single = retrieve(v, v if same else a, table, kind, same)
    double = retrieve(*(side.astype(np.float64) for side in (v, v if same else a)), table, kind, same)
    assert single == pytest.approx(double, abs=1e-6)


def test_a_clip_at_distance_0_comes_first():
    """Rounding may take such a distance below 0."""
    rng = np.random.default_rng(15)
    table, kind, v, _ = clips(rng, 3000)
    v = v.astype(np.float32) / np.linalg.norm(v, axis=1, keepdims=True).astype(np.float32)
    assert retrieve(v, v, table, kind, full_ranking=False)["recall@1"] == 1


def test_memory_is_bounded_by_the_chunks():
    rng = np.random.default_rng(12)
    table, kind, v, a = clips(rng, 5000)
    tracemalloc.start()
    retrieve(v, a, table, kind)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5000**2 * 8 / 2  # all similarities at once are twice as much
