"""Retrieval: scikit-learn's nDCG and average precision, plain loops, and queries and collections of the right side."""

from pathlib import Path

import numpy as np
import pytest
from retrieval_cases import MEASURES, clips, distances, retrieve
from sklearn.metrics import average_precision_score, ndcg_score

from evaluation.measures import ontology, retrieval
from evaluation.measures.ranking_scores import average_precision, discounts, gains, ndcg

ROOT = Path(__file__).parents[2]
# a -> (a1, a2, b1), root -> (a, b), b -> b1, and x -> y on its own.
CHILDREN = {"root": "a b", "a": "a1 a2 b1", "b": "b1", "x": "y", "a1": "", "a2": "", "b1": "", "y": ""}
HAND = ontology.Ontology([{"id": name, "name": name, "child_ids": c.split()} for name, c in CHILDREN.items()])


# ----------------------------------------------------------------------------------------------------- nDCG's oracle


@pytest.mark.parametrize("k", [1, 5, 30, 100])
@pytest.mark.parametrize("gain", ["exponential", "linear"])
@pytest.mark.parametrize("same", [False, True])
def test_ndcg_equals_scikit_learns(k, gain, same):
    rng = np.random.default_rng(k)
    table, kind, v, a = clips(rng, 60)
    a = v if same else a
    relevance = table[kind][:, kind].astype(float)
    value = 2**relevance - 1 if gain == "exponential" else relevance
    score = -distances(v, a)
    if same:  # the query is no part of its collection
        off = ~np.eye(60, dtype=bool)
        value, score = value[off].reshape(60, 59), score[off].reshape(60, 59)
    found = retrieve(v, a, table, kind, same, k, gain)["ndcg"]
    assert found == pytest.approx(ndcg_score(value, score, k=k), abs=1e-6)


def test_ndcg_of_single_rankings_equals_scikit_learns():
    rng = np.random.default_rng(0)
    gained = rng.integers(0, 1000, (200, 40)) * (rng.random((200, 40)) < 0.2)
    gained[:5] = 0  # nothing in the collection is relevant
    ideal = -np.sort(-gained, 1)
    expected = [ndcg_score(row[None], -np.arange(40)[None], k=10) for row in gained]
    np.testing.assert_allclose(ndcg(gained, ideal, 10), expected, atol=1e-9)
    assert (ndcg(gained, ideal, 10)[:5] == 0).all()


def test_ndcg_worked_by_hand():
    """Gains 3, 0, 7 retrieved of a collection that also holds 7 and 1: (3 + 7/2) / (7 + 7/log2(3) + 3/2)."""
    found = ndcg(np.array([[3.0, 0, 7, 7, 1]]), np.array([[7.0, 7, 3, 1, 0]]), k=3)
    assert found[0] == pytest.approx((3 + 7 / 2) / (7 + 7 / np.log2(3) + 3 / 2))


def test_the_ideal_is_that_of_the_whole_collection_not_of_what_was_retrieved():
    """The first 2 results are the worst of all and in their best order: judged by themselves they would get 1."""
    table = np.array([[20, 15, 10], [15, 20, 12], [10, 12, 20]])
    kind = np.array([0, 0, 0, 1, 1, 2, 2])
    v = np.array([[0.0]] * 7)
    a = np.array([[4.0], [5], [6], [2], [3], [0.1], [0.2]])  # class 2 is nearest to every query
    found = retrieve(v[:1].repeat(7, 0), a, table, kind, k=2)["ndcg"]
    per_class = [(2.0**r - 1) / (2.0**20 - 1) for r in (10, 12, 20)]
    assert found == pytest.approx(np.mean([per_class[0]] * 3 + [per_class[1]] * 2 + [per_class[2]] * 2))


def test_gains():
    assert gains([0, 1, 20]).tolist() == [0, 1, 2**20 - 1]
    assert gains([0, 1, 20], "linear").tolist() == [0, 1, 20]
    np.testing.assert_allclose(discounts(3), [1, 1 / np.log2(3), 0.5])


# -------------------------------------------------------------------------------------------------- other measures


def plain_measures(order, own, table, kind, same):
    """Recall, median rank and mAP from rankings (lists of clips), one query after the other."""
    first, precisions = [], []
    for query, ranking in enumerate(order):
        shares = [table[kind[query], kind[clip]] == 20 for clip in ranking]
        hits = shares if same else [clip == own[query] for clip in ranking]
        first.append(hits.index(True) + 1 if True in hits else len(hits) + 1)
        if any(shares):
            precisions.append(average_precision_score(shares, -np.arange(len(shares))))
    return {f"recall@{n}": np.mean(np.array(first) <= n) for n in (1, 5, 10)} | {
        "median_rank": np.median(first), "map": np.mean(precisions) if precisions else 0.0,
    }  # fmt: skip


@pytest.mark.parametrize("same", [False, True])
def test_recall_median_rank_and_map_equal_a_plain_loop(same):
    rng = np.random.default_rng(1)
    table, kind, v, a = clips(rng, 50, kinds=20)  # some clips are alone in their class
    assert same <= (np.bincount(kind) == 1).any()
    a = v if same else v + 0.7 * a
    score = distances(v, a)
    order = [[j for j in np.argsort(score[i]) if not (same and j == i)] for i in range(50)]
    found = retrieve(v, a, table, kind, same)
    assert {name: found[name] for name in MEASURES[1:]} == pytest.approx(
        plain_measures(order, range(50), table, kind, same)
    )


def test_average_precision_equals_scikit_learns():
    rng = np.random.default_rng(2)
    relevant = rng.random((100, 30)) < rng.random((100, 1)) ** 2
    relevant[0], relevant[1] = False, True
    ap, _ = average_precision(relevant)
    assert np.isnan(ap[0]) and ap[1] == 1
    for row, found in zip(relevant, ap, strict=True):
        if row.any():
            assert found == pytest.approx(average_precision_score(row, -np.arange(30)))


def test_queries_that_share_no_label_with_any_clip_do_not_count_in_map():
    table = np.diag([20, 20, 20])
    v = np.eye(4)
    found = retrieve(v, v, table, np.array([0, 0, 1, 2]), same=True)
    both = retrieve(v[:2], v[:2], table, np.array([0, 0]), same=True)
    assert both["map"] == 1 and 0 < found["map"] <= 1  # the mean over the first two queries alone
    alone = retrieve(v[:3], v[:3], table, np.array([0, 1, 2]), same=True)
    assert alone["map"] == alone["random_map"] == alone["ndcg"] == alone["recall@10"] == 0
    assert alone["median_rank"] == alone["random_median_rank"] == 3  # one after the last of two


# --------------------------------------------------------------------------------------------- what counts as good


@pytest.mark.parametrize("gain", ["exponential", "linear"])
def test_embeddings_ordered_by_relevance_get_1_in_every_direction(gain):
    """Chain of four classes: the farther in the ontology, the farther apart the embeddings."""
    links = [{"id": f"c{i}", "name": f"c{i}", "child_ids": [f"c{i + 1}"] if i < 3 else []} for i in range(4)]
    labels = [[f"c{i % 4}"] for i in range(40)]
    rng = np.random.default_rng(7)
    where = np.array([i % 4 for i in range(40)], float)[:, None]
    v, a = where + rng.uniform(-0.01, 0.01, (2, 40, 1))
    found = retrieval.four_directions(v, a, labels, ontology.Ontology(links, "chain"), k=30, gain=gain)
    for direction in retrieval.DIRECTIONS:
        assert found[direction]["ndcg"] == pytest.approx(1) and found[direction]["map"] == pytest.approx(1)
        assert 0 < found[direction]["random_ndcg"] < 1
    assert found["im-im"]["recall@1"] == found["aud-aud"]["recall@1"] == 1  # another clip of the class
    assert found["im-im"]["median_rank"] == 1
    assert (found["k"], found["gain"], found["labels"], found["ontology"]) == (30, gain, 4, "chain")


def test_directions_take_their_queries_and_collections_from_the_right_side():
    """Sounds of class 1 all lie at one place: as queries they find a mixture, as a collection they are never mixed."""
    labels = [["a1"], ["a1"], ["a1"], ["y"], ["y"], ["y"]]
    v = np.array([[0.0], [1], [2], [10], [11], [12]])
    a = np.array([[0.1], [1.1], [2.1], [4.0], [4.1], [4.2]])
    found = retrieval.four_directions(v, a, labels, HAND, k=3)
    relevance = np.array([[20] * 3 + [0] * 3] * 3 + [[0] * 3 + [20] * 3] * 3)
    sides = {"im": v, "aud": a}
    for query in sides:
        for collection in sides:
            off = ~np.eye(6, dtype=bool) if query == collection else np.ones((6, 6), bool)
            score = -distances(sides[query], sides[collection])
            rows = [(relevance[i][off[i]][None], score[i][off[i]][None]) for i in range(6)]
            expected = np.mean([ndcg_score(value, s, k=3) for value, s in rows])
            assert found[f"{query}-{collection}"]["ndcg"] == pytest.approx(expected, abs=1e-6)
    assert found["im-aud"]["ndcg"] != pytest.approx(found["aud-im"]["ndcg"], abs=0.02)
    assert found["random"] == pytest.approx(np.mean([found[d]["random_ndcg"] for d in retrieval.DIRECTIONS]))


def test_the_query_itself_is_no_result_within_a_modality_but_its_clip_is_one_across():
    rng = np.random.default_rng(8)
    table = np.diag([20] * 8)
    v = rng.normal(size=(8, 4))
    within, across = retrieve(v, v, table, np.arange(8), same=True), retrieve(v, v, table, np.arange(8))
    assert within["recall@10"] == 0 and within["ndcg"] == 0  # no other clip is relevant
    assert across["recall@1"] == across["ndcg"] == across["median_rank"] == 1


def test_the_hand_worked_example_of_the_ontology():
    """A query of acoustic guitar that finds a drum first: gain 2^15 - 1 where 2^20 - 1 was to be had."""
    guitar, drum, demo = "/m/042v_gx", "/m/026t6", ontology.load_ontology(ROOT / "data/demo_ontology.json")
    labels = [[guitar], [guitar], [drum]]
    v = np.array([[0.0], [5.0], [1.0]])
    found = retrieval.four_directions(v, v, labels, demo, k=1)["im-im"]
    first = (2**15 - 1) / (2**20 - 1)  # the nearest to clip 0 and to clip 1 is the drum, though a guitar is there
    assert found["ndcg"] == pytest.approx(np.mean([first, first, 1]))  # to the drum both guitars are as good
    found = retrieval.four_directions(v, v, labels, demo, k=1, gain="linear")["im-im"]
    assert found["ndcg"] == pytest.approx(np.mean([0.75, 0.75, 1]))


def test_a_clip_with_several_labels_is_judged_by_its_best_pair():
    labels = [["a1", "y"], ["x"], ["b"], ["a2", "b1"]]
    v = np.array([[0.0], [1.0], [2.0], [3.0]])
    found = retrieval.four_directions(v, v, labels, HAND, k=3, gain="linear")["im-im"]
    relevance = np.array([[20, 19, 17, 18], [19, 20, 0, 0], [17, 0, 20, 19], [18, 0, 19, 20]], float)
    order = [[1, 2, 3], [0, 2, 3], [1, 3, 0], [2, 1, 0]]  # by distance; clips 1 and 2 have a tie, of equal gain or not
    options = []
    for tie1 in ([0, 2], [2, 0]):
        for tie2 in ([1, 3], [3, 1]):
            order[1][:2], order[2][:2] = tie1, tie2
            ranked = np.array([relevance[i, row] for i, row in enumerate(order)])
            options.append(ndcg(ranked, -np.sort(-ranked, 1), 3).mean())
    assert min(abs(found["ndcg"] - option) for option in options) < 1e-9


def test_distance_is_euclidean_also_for_vectors_that_are_not_of_unit_length():
    table, kind = np.diag([20, 20]), np.array([0, 1])
    queries, collection = np.array([[1.0, 0], [3, 3]]), np.array([[1.1, 0], [30.0, 30]])  # the scalar product errs
    assert retrieve(queries, collection, table, kind)["recall@1"] == 0.5  # (3, 3) is nearer to (1.1, 0)
