"""Retrieval: the random rows are the mean over random rankings, and what tells nothing scores like them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from retrieval_cases import clips, retrieve

from evaluation.measures import ontology, retrieval
from evaluation.measures.ranking_scores import random_median_rank

ROOT = Path(__file__).parents[2]
AUDIOSET = ROOT.parent / "shared/audioset"  # its own files, where they were downloaded beside the repository


# ------------------------------------------------------------------------------------------------------ random rows


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("gain", ["exponential", "linear"])
def test_random_rows_equal_the_mean_over_simulated_random_rankings(same, gain):
    rng = np.random.default_rng(3)
    count, rounds, k = 24, 1500, 5
    table, kind, v, a = clips(rng, count, kinds=8)
    value = (2.0**table - 1 if gain == "exponential" else table.astype(float))[kind][:, kind]
    found = retrieve(v, v if same else a, table, kind, same, k, gain)
    sums, firsts = {name: [] for name in ("ndcg", "recall@1", "recall@5", "recall@10", "map")}, []  # by query
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
    medians = np.median(np.stack(firsts), axis=0)  # of the queries, in each round
    assert found["random_median_rank"] == pytest.approx(medians.mean(), abs=4.5 * medians.std() / rounds**0.5 + 0.01)


def test_random_row_across_modalities_in_closed_form():
    """One hit among N: recall@n = n / N, and its rank, 1 to N, is (N + 1) / 2 in the middle."""
    rng = np.random.default_rng(4)
    for count, middle in ((40, 20.5), (41, 21), (300, 150.5)):
        table, kind, v, a = clips(rng, count)
        found = retrieve(v, a, table, kind)
        expected = [n / count for n in (1, 5, 10)]
        assert [found[f"random_recall@{n}"] for n in (1, 5, 10)] == pytest.approx(expected)
        assert found["random_median_rank"] == middle


def test_random_median_rank_of_queries_with_different_numbers_of_hits():
    """Also of queries without any, whose rank is one after the last."""
    rng = np.random.default_rng(7)
    for queries, items, hits in ((11, 60, (1, 2, 30)), (10, 60, (0, 1, 5)), (25, 9, (0, 3)), (12, 100, (0, 0, 1))):
        num_hits = rng.choice(hits, queries)
        draws = rng.random((4000, queries, items)).argsort(2) < num_hits[:, None]  # which places hold hits
        first = np.where(draws.any(2), draws.argmax(2) + 1, items + 1)
        medians = np.median(first, axis=1)
        error = medians.std() / 4000**0.5
        assert random_median_rank(num_hits, items) == pytest.approx(medians.mean(), abs=4.5 * error + 0.05)


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
    for name in ("ndcg", "map", "recall@1", "recall@10", "median_rank"):
        error = max(found[f"{name}_error"], 0.001)
        assert found[name] == pytest.approx(found[f"random_{name}"], abs=4.5 * error), name
    assert found["ndcg_error"] < 0.012


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_ndcg_of_collapsed_nets_spreads_as_that_of_random_rankings(same, dtype):
    """Over collections in another order; one order for all queries would spread by some 10 times as much."""
    rng = np.random.default_rng(8)
    table, kind, *_ = clips(rng, 100, kinds=6)
    value = 2.0 ** table[kind][:, kind] - 1
    one = np.repeat(rng.normal(size=(1, 16)), 100, 0).astype(dtype)
    discount = 1 / np.log2(np.arange(2, 12))
    found, expected = [], []
    for _ in range(150):
        order = rng.permutation(100)
        kind, value = kind[order], value[order][:, order]
        found.append(retrieve(one, one, table, kind, same, k=10, full_ranking=False)["ndcg"])
        scores = []
        for query in range(100):
            others = np.delete(value[query], query) if same else value[query]
            best = np.sort(others)[::-1][:10] @ discount
            scores.append(rng.permutation(others)[:10] @ discount / best)
        expected.append(np.mean(scores))
    assert np.std(found) == pytest.approx(np.std(expected), rel=0.3)  # the error of each is 6%
    assert np.mean(found) == pytest.approx(np.mean(expected), abs=5 * np.std(expected) / 150**0.5)


def test_random_embeddings_score_like_random_ones():
    rng = np.random.default_rng(6)
    table, kind, v, a = clips(rng, 300, kinds=12)
    for same in (False, True):
        found = retrieve(v, v if same else a, table, kind, same)
        for name in ("ndcg", "recall@10", "map"):
            assert found[name] == pytest.approx(found[f"random_{name}"], abs=0.05)


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
    exponential = retrieve(v, v, table, kind, full_ranking=False)
    assert exponential["random_ndcg"] == pytest.approx(0.36, abs=0.015)
    assert exponential["ndcg"] == pytest.approx(exponential["random_ndcg"], abs=5 * exponential["ndcg_error"])
    linear = retrieve(v, v, table, kind, gain="linear", full_ranking=False)
    assert linear["random_ndcg"] == pytest.approx(0.89, abs=0.015)
