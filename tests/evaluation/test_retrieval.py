"""Retrieval: scikit-learn's nDCG and average precision, random rows against simulated rankings, nothing flattered."""

import csv
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, ndcg_score

from evaluation.measures import ontology, retrieval
from evaluation.measures.ranking import rank
from evaluation.measures.ranking_scores import average_precision, discounts, gains, ndcg

ROOT = Path(__file__).parents[2]
AUDIOSET = ROOT.parent / "shared/audioset"  # its own files, where they were downloaded beside the repository
# a -> (a1, a2, b1), root -> (a, b), b -> b1, and x -> y on its own.
CHILDREN = {"root": "a b", "a": "a1 a2 b1", "b": "b1", "x": "y", "a1": "", "a2": "", "b1": "", "y": ""}
HAND = ontology.Ontology([{"id": name, "name": name, "child_ids": c.split()} for name, c in CHILDREN.items()])
MEASURES = ("ndcg", "recall@1", "recall@5", "recall@10", "median_rank", "map")


def relevances(rng, kinds):
    """A random symmetric table of relevances 0..19, and 20 of each kind to itself."""
    table = rng.integers(0, 20, (kinds, kinds))
    table = np.maximum(table, table.T)
    np.fill_diagonal(table, 20)
    return table


def clips(rng, count, kinds=7):
    """(table, kind, v, a): a collection with random classes and embeddings."""
    return relevances(rng, kinds), rng.integers(0, kinds, count), *rng.normal(size=(2, count, 5))


def retrieve(queries, collection, table, kind, same=False, k=30, gain="exponential", **options):
    """All measures of one direction; `same`: within a modality."""
    options |= {"same_modality": same, "k": k, "gain": gain}
    return retrieval.retrieve(queries, collection, table, kind, **options)


def distances(x, y):
    return np.linalg.norm(x[:, None] - y[None], axis=2)


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


# ------------------------------------------------------------------------------------------------------ random rows


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("gain", ["exponential", "linear"])
def test_random_rows_equal_the_mean_over_simulated_random_rankings(same, gain):
    rng = np.random.default_rng(3)
    count, rounds, k = 24, 1500, 5
    table, kind, v, a = clips(rng, count, kinds=8)
    value = (2.0**table - 1 if gain == "exponential" else table.astype(float))[kind][:, kind]
    found = retrieve(v, v if same else a, table, kind, same, k, gain)
    sums, firsts = {name: [] for name in ("ndcg", "recall@1", "recall@5", "recall@10", "map")}, []
    discount = 1 / np.log2(np.arange(2, k + 2))
    for query in range(count):
        others = np.array([j for j in range(count) if not (same and j == query)])
        rankings = rng.permuted(np.repeat(others[None], rounds, 0), axis=1)
        best = np.sort(value[query, others])[::-1][:k] @ discount
        sums["ndcg"].append(value[query, rankings[:, :k]] @ discount / best)
        shares = table[kind[query], kind[rankings]] == 20
        hits = shares if same else rankings == query
        first = np.where(hits.any(1), hits.argmax(1) + 1, len(others) + 1)
        firsts.append(first)
        for n in (1, 5, 10):
            sums[f"recall@{n}"].append(first <= n)
        if shares.any():
            precision = np.cumsum(shares, 1) / np.arange(1, len(others) + 1)
            sums["map"].append((precision * shares).sum(1) / shares.sum(1))
    for name, values in sums.items():
        values = np.array(values, float)
        error = np.sqrt(values.var(1).sum() / rounds) / len(values)
        assert found[f"random_{name}"] == pytest.approx(values.mean(), abs=4.5 * error + 1e-12), name
    ranks = np.sort(np.concatenate(firsts))
    middle = len(ranks) // 2
    slack = int(3 * np.sqrt(len(ranks)))
    assert ranks[middle - slack] <= found["random_median_rank"] <= ranks[middle + slack]


def test_random_row_across_modalities_in_closed_form():
    """One hit among N: recall@n = n / N, and half of the rankings have it by the N / 2-th place."""
    rng = np.random.default_rng(4)
    table, kind, v, a = clips(rng, 40)
    found = retrieve(v, a, table, kind)
    assert [found[f"random_recall@{n}"] for n in (1, 5, 10)] == pytest.approx([1 / 40, 5 / 40, 10 / 40])
    assert found["random_median_rank"] == 20


@pytest.mark.parametrize("direction", retrieval.DIRECTIONS)
def test_collapsed_embeddings_score_like_random_ones_in_a_collection_sorted_by_class(direction):
    """All are ties. In the collection's order a query's own class would lie in one piece, and its own clip at its own
    place: both would flatter a net that tells nothing."""
    names = [f"class{i}" for i in range(10)]
    labels = [[name] for name in names for _ in range(31)]
    classes = ontology.Ontology([{"id": n, "name": n, "child_ids": []} for n in names])
    rng = np.random.default_rng(5)
    one = rng.normal(size=16).astype(np.float32)
    constant = np.repeat(one[None] / np.linalg.norm(one), 310, 0)
    found = retrieval.four_directions(constant, constant, labels, classes)[direction]
    assert found["ndcg"] == pytest.approx(found["random_ndcg"], abs=0.02)
    assert found["map"] == pytest.approx(found["random_map"], abs=0.02)
    assert found["recall@10"] == pytest.approx(found["random_recall@10"], abs=0.15)
    assert found["median_rank"] > 0.5 * found["random_median_rank"]


def test_random_embeddings_score_like_random_ones():
    rng = np.random.default_rng(6)
    table, kind, v, a = clips(rng, 300, kinds=12)
    for same in (False, True):
        found = retrieve(v, v if same else a, table, kind, same)
        for name in ("ndcg", "recall@10", "map"):
            assert found[name] == pytest.approx(found[f"random_{name}"], abs=0.05)


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


def test_rank_breaks_ties_at_random_but_the_same_way_each_time():
    order = rank(np.zeros((3, 50)))
    assert (order == order[0]).all() and sorted(order[0]) == list(range(50))
    assert (order[0] != np.arange(50)).mean() > 0.8
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
    shuffled = np.random.default_rng(0).permutation(3000)
    without = similarity.copy()
    without[np.arange(20), own] = -np.inf
    for found, wanted in ((rank(similarity), similarity), (rank(similarity, own), without)):
        order = shuffled[np.argsort(-wanted[:, shuffled], axis=1, kind="stable")]
        assert np.array_equal(found, order[:, : found.shape[1]])


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


# ----------------------------------------------------------------------------------------------------- AudioSet's own


@pytest.mark.skipif(not (AUDIOSET / "eval_segments.csv").exists(), reason="AudioSet's files are not here")
def test_a_random_ranking_of_audiosets_evaluation_clips_scores_what_the_paper_makes_likely():
    """4,361 clips of the 110 classes. The paper's random row is 0.407; gain 2^r - 1 on all labels is the nearest."""
    file = AUDIOSET / "ontology.json"
    children = {c["id"]: c["child_ids"] for c in json.loads(file.read_text(encoding="utf-8"))}
    classes = ontology.load_ontology(file)
    kept = {mid for mid in classes.names if classes.name(mid) in ("Musical instrument", "Singing", "Tools")}
    while new := {child for mid in kept for child in children[mid]} - kept:
        kept |= new
    assert len(kept) == 110
    with open(AUDIOSET / "eval_segments.csv", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file, skipinitialspace=True) if not row[0].startswith("#")]
    labels = [row[3].split(",") for row in rows]
    labels = [mids for mids in labels if kept & set(mids)]
    assert len(labels) == 4361
    table, kind = ontology.clip_relevance(labels, classes)
    v = np.zeros((len(labels), 1))
    exponential = retrieve(v, v, table, kind)
    assert exponential["random_ndcg"] == pytest.approx(0.36, abs=0.015)
    # A collapsed net: one random list for all queries, so a draw around the random row, not its mean.
    assert exponential["ndcg"] == pytest.approx(exponential["random_ndcg"], abs=0.06)
    assert retrieve(v, v, table, kind, gain="linear")["random_ndcg"] == pytest.approx(0.89, abs=0.015)
