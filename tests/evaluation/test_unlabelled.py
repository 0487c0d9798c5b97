"""Clips without labels are not measured by labels: a perfect embedding scores 1, whatever share of them there is."""

import numpy as np
import pytest

from evaluation.measures import probe
from evaluation.measures.ontology import Ontology
from evaluation.measures.registry import undeclared
from evaluation.measures.retrieval import DIRECTIONS, four_directions

NAMES = [f"class{k}" for k in range(5)]
CLASSES = Ontology(
    [{"id": "root", "name": "root", "child_ids": NAMES}, *({"id": n, "name": n, "child_ids": []} for n in NAMES)], "o"
)
BY_LABEL = ("ndcg", "map", "random_ndcg", "random_map")


def collection(seed=0, count=80):
    """Labels and perfect embeddings: those of a class lie together, a clip's own pair nearest, classes far apart."""
    rng = np.random.default_rng(seed)
    kind = rng.permutation(np.arange(count) % 5)
    v = np.eye(5)[kind] * 10 + rng.uniform(-0.01, 0.01, (count, 5))
    return [[NAMES[k]] for k in kind], v.astype(np.float32), (v + 1e-5).astype(np.float32)


def without(labels, share, seed=0):
    """The labels, a random share of them removed; and which were."""
    lost = np.random.default_rng(seed).random(len(labels)) < share
    return [[] if gone else own for own, gone in zip(labels, lost, strict=True)], lost


@pytest.mark.parametrize("share", [0.0, 0.25, 0.7])
def test_a_perfect_embedding_scores_1_whatever_share_is_unlabelled(share):
    labels, v, a = collection()
    labels, lost = without(labels, share)
    found = four_directions(v, a, labels, CLASSES, k=10)
    assert found["unlabelled"] == lost.sum() and found["labels"] == 5
    for direction in DIRECTIONS:
        for key in ("ndcg", "map", "recall@1", "median_rank"):
            assert found[direction][key] == pytest.approx(1), (direction, key)
        assert set(found[direction]["ndcg_of"]) == set(NAMES)
    assert undeclared({"retrieval": found}) == []


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("queries", [0, 30])
def test_measures_by_label_are_those_of_the_labelled_clips_alone(full, queries):
    """The same vectors without the unlabelled clips; recall of a clip's own pair is over all clips as before."""
    rng = np.random.default_rng(1)
    labels, v, a = collection()
    v, a = v + rng.normal(size=v.shape).astype(np.float32) * 5, a + rng.normal(size=v.shape).astype(np.float32) * 5
    some, lost = without(labels, 0.4)
    options = {"k": 10, "full_ranking": full}
    found = four_directions(v, a, some, CLASSES, queries=queries, **options)
    whole = four_directions(v, a, labels, CLASSES, queries=queries, **options)
    kept = np.flatnonzero(~lost)
    alone = four_directions(v[kept], a[kept], [some[k] for k in kept], CLASSES, **options)
    by_label = [key for key in BY_LABEL if full or "map" not in key]
    for direction in DIRECTIONS:
        same = direction in ("im-im", "aud-aud")
        if not queries:
            keys = [*by_label, "recall@5", "random_recall@5"] if same else by_label
            for key in keys:
                assert found[direction][key] == pytest.approx(alone[direction][key]), (direction, key)
        if not same:
            for key in ("recall@1", "recall@10", "random_recall@10"):
                assert found[direction][key] == whole[direction][key], (direction, key)
    if queries:
        assert found["queries"] == 30 and found["im-im"]["ndcg"] != whole["im-im"]["ndcg"]


@pytest.mark.parametrize("labels", [[[]] * 20, [["class0"], *[[]] * 19]])
def test_without_labels_what_goes_by_labels_is_absent_and_the_rest_is_as_ever(labels):
    _, v, a = collection(count=20)
    found = four_directions(v, a, labels, CLASSES)
    assert "im-im" not in found and "aud-aud" not in found and "random" not in found
    for direction in ("im-aud", "aud-im"):
        assert found[direction]["recall@1"] == 1 and found[direction]["random_recall@10"] == 0.5
        assert not [key for key in found[direction] if "ndcg" in key or "map" in key]
    assert found["unlabelled"] == sum(not own for own in labels)


def test_labels_that_the_ontology_lacks_are_labels_and_relevant_to_themselves_only():
    """As of a folder's name: a perfect embedding of free labels scores 1, and clips of two of them are unrelated."""
    labels, v, a = collection()
    free = [[f"my {label}"] for (label,) in labels]
    found = four_directions(v, a, free, CLASSES, k=10)
    assert (found["unlabelled"], found["labels"]) == (0, 5)
    for direction in DIRECTIONS:
        assert found[direction]["ndcg"] == found[direction]["map"] == pytest.approx(1)
        # A random result is of the query's class, gain 2^20 - 1, or of another, 0, in one case of five.
        assert found[direction]["random_ndcg"] == pytest.approx(1 / 5, abs=0.02)


def test_the_probe_leaves_unlabelled_clips_out_of_all_its_sets():
    rng = np.random.default_rng(2)
    kind = rng.integers(0, 3, 300)
    features = np.eye(3)[kind] * 6 + rng.normal(size=(300, 3))
    labels = [[NAMES[k]] for k in kind]
    some, lost = without(labels, 0.4)
    parts = [slice(0, 120), slice(120, 200), slice(200, 300)]
    train, chooser, test = ((features[part], some[part]) for part in parts)
    found = probe.linear_probe(*train, *test, chooser)
    kept = [(features[part][~lost[part]], [own for own in some[part] if own]) for part in parts]
    assert found == probe.linear_probe(*kept[0], *kept[2], kept[1])
    assert found["map"] > 0.97 and found["chance"]["map"] == pytest.approx(1 / 3, abs=0.08)
    assert probe.linear_probe(*train, *test, (features[:9], [[]] * 9)) == probe.linear_probe(*train, *test)
