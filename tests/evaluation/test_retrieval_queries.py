"""Retrieval of many clips: a random choice of them are queries, which the results say, with their standard error."""

import tracemalloc

import numpy as np
import pytest

from evaluation.measures import retrieval
from evaluation.measures.ontology import Ontology
from evaluation.measures.registry import undeclared
from evaluation.tasks.retrieval import retrieval_notes

CLASSES = Ontology(
    [{"id": "r", "name": "R", "child_ids": ["a", "b"]}, *({"id": c, "name": c, "child_ids": []} for c in "ab")]
)


def collection(count, seed=0):
    """Frames and sounds that find each other now and then, and labels."""
    rng = np.random.default_rng(seed)
    v = rng.normal(size=(count, 8)).astype(np.float32)
    a = v + 1.5 * rng.normal(size=v.shape).astype(np.float32)
    return v, a, [[("a", "b", "other")[k]] for k in rng.integers(0, 3, count)]


@pytest.fixture
def few(monkeypatch):
    """More than 200 clips count as many; 80 of them are queries then."""
    monkeypatch.setattr(retrieval, "MOST_QUERIES", 200)
    monkeypatch.setattr(retrieval, "SOME_QUERIES", 80)


def test_up_to_a_limit_all_clips_are_queries(few):
    v, a, labels = collection(200)
    found = retrieval.four_directions(v, a, labels, CLASSES)
    assert "queries" not in found and found == retrieval.four_directions(v, a, labels, CLASSES, queries=200)
    assert retrieval_notes(found, 200, "test") == ()


def test_beyond_it_a_fixed_random_choice_is_and_the_results_say_so(few):
    v, a, labels = collection(201)
    found = retrieval.four_directions(v, a, labels, CLASSES)
    assert found["queries"] == 80 and found == retrieval.four_directions(v, a, labels, CLASSES)
    assert found == retrieval.four_directions(v, a, labels, CLASSES, queries=80)  # the same as if it was asked for
    assert undeclared({"retrieval": found}) == []
    (note,) = retrieval_notes(found, 201, "test")
    assert note.startswith("80 of 201 clips are the queries") and "--eval.queries" in note
    assert f"({found['im-aud']['recall@10_error']:.4f} of recall@10" in note
    everything = retrieval.four_directions(v, a, labels, CLASSES, queries=10**9)
    assert "queries" not in everything and everything["im-aud"] != found["im-aud"]


def test_the_standard_error_is_how_far_a_choice_of_queries_errs(few):
    """Over many collections, the difference to all clips as queries is about as large as the error says."""
    ratios = []
    for seed in range(25):
        v, a, labels = collection(240, seed)
        some, whole = (retrieval.four_directions(v, a, labels, CLASSES, queries=q)["im-aud"] for q in (0, 240))
        ratios += [(some[key] - whole[key]) / some[f"{key}_error"] for key in ("ndcg", "map", "recall@10")]
    # Drawn without replacement, 80 of 240 clips err by sqrt(1 - 80 / 240) = .82 of it.
    assert np.std(ratios) == pytest.approx(0.82, abs=0.25) and abs(np.mean(ratios)) < 0.35


def test_memory_grows_with_the_clips_not_with_the_square_of_the_sets_of_labels():
    """A set of its own for each of 12,000 clips: a table of all sets would take 144 MB."""
    v, a, _ = collection(12_000)
    labels = [[f"tag{k}", "a"] for k in range(len(v))]
    tracemalloc.start()
    retrieval.four_directions(v, a, labels, CLASSES, queries=40, full_ranking=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6


@pytest.mark.slow
def test_100_000_clips_take_minutes():
    from evaluation.speed.growth.retrieval import measure

    assert measure(100_000)["cpu_seconds"] < 300
