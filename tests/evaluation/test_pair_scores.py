"""Pair scores: in chunks as in one piece, and what ranks across modalities for a net that learned by them."""

import json
import tracemalloc

import numpy as np
import pytest
import torch
from helpers import make_dataset, small_checkpoint

import eval
from evaluation import pair_scores
from evaluation.measures.ontology import Ontology
from evaluation.measures.retrieval import four_directions
from evaluation.pair_scores import PairScores, score_pairs
from evaluation.report.galleries import retrieval_galleries
from evaluation.report.page_content import PageRetrieval
from models.avolnet import AVOLNet

CLASSES = Ontology([{"id": name, "name": name, "child_ids": []} for name in "ab"])


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(pair_scores, "CHUNK_SOUNDS", 5)
    monkeypatch.setattr(pair_scores, "CHUNK_VALUES", {"cpu": 4 * 9 * 5})


def embedded(count=23, seed=0):
    """Maps of 3 x 3 vectors and sounds: (count, 4, 3, 3), (count, 4)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 4, 3, 3, generator=generator), torch.randn(count, 4, generator=generator)


def test_a_score_is_the_largest_value_of_the_scaled_product_over_the_map(small_chunks):
    net, (v, a) = AVOLNet(width=1, dim=4), embedded()
    net._set_conv7(0.7, -2.0)
    expected = [[max(0.7 * float(place @ sound) - 2 for place in one.flatten(1).T) for sound in a] for one in v]
    np.testing.assert_allclose(score_pairs(net.pair_logits, v, a, "cpu"), expected, rtol=1e-5, atol=1e-5)
    assert score_pairs(net.pair_logits, v[:0], a, "cpu").shape == (0, 23)


@pytest.mark.parametrize("kept", [True, False])
def test_both_directions_give_the_scores_of_a_query_with_the_whole_collection(kept, small_chunks):
    net, (v, a) = AVOLNet(width=1, dim=4), embedded()
    scores, queries = PairScores(net.pair_logits, v, a, "cpu", all_queries=kept), np.array([7, 0, 22])
    whole = net.pair_logits(v, a).detach().numpy()
    np.testing.assert_allclose(scores("im-aud", queries), whole[queries], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scores("aud-im", queries), whole.T[queries], rtol=1e-5, atol=1e-6)


def test_memory_is_bounded_by_the_scores_that_are_asked_for():
    class Shapes:
        """As pair_logits: notes the size of what it would compute at once."""

        largest = 0

        def __call__(self, v, a):
            self.largest = max(self.largest, len(v) * v[0, 0].numel() * len(a))
            return torch.zeros(len(v), len(a))

    net, v = Shapes(), torch.zeros(1, 2, 14, 14).expand(3000, -1, -1, -1)
    scores = PairScores(net, v, torch.zeros(3000, 2), "cpu", all_queries=False)
    tracemalloc.start()
    assert scores("im-aud", np.arange(10)).shape == scores("aud-im", np.arange(10)).shape == (10, 3000)
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()
    assert net.largest <= 2**20


def hidden_match(count=24):
    """A net and embeddings in which one location answers the own sound, and the mean over all points away from it."""
    net = AVOLNet(width=1, dim=8)
    net._set_conv7(1.0, 0.0)
    rng = np.random.default_rng(0)
    a = rng.normal(size=(count, 8))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    v = np.repeat(-a[:, :, None], 9, 2)
    v[:, :, 4] = 3 * a  # the mean over the 9 locations is -5/9 a
    return net, torch.tensor(v.reshape(count, 8, 3, 3), dtype=torch.float32), torch.tensor(a, dtype=torch.float32)


def test_across_modalities_the_pair_score_ranks_and_within_one_the_vectors_do():
    net, v, a = hidden_match()
    vectors = net.frame_vectors(v).numpy(), net.sound_vectors(a).numpy()
    labels = [["ab"[k % 2]] for k in range(24)]
    scores = PairScores(net.pair_logits, v, a, "cpu")
    found = four_directions(*vectors, labels, CLASSES, cross_scores=scores)
    plain = four_directions(*vectors, labels, CLASSES)
    for direction in ("im-aud", "aud-im"):
        assert found[direction]["recall@1"] == 1 and found[direction]["median_rank"] == 1
        assert plain[direction]["recall@1"] < 0.1 and plain[direction]["median_rank"] > 12
        assert found[direction]["scored_by"] == "pair score" and plain[direction]["scored_by"] == "distance"
    for direction in ("im-im", "aud-aud"):
        assert found[direction] == plain[direction]
    page = PageRetrieval(*vectors, lambda i, j: 20.0, scores)
    for direction in ("im-aud", "aud-im"):
        assert all(row.results[0].index == row.query for row in retrieval_galleries(page, labels)[direction])


def test_eval_says_what_ranked_the_results(tmp_path, capsys):
    root = make_dataset(tmp_path / "data", train=0, val=0, test=6, classes=2)
    small = {"data.frame_size": 64, "data.resize_size": 64, "train.workers": 0}
    for name, across in (("AVOLNet", "pair score"), ("AVENet", "distance")):
        checkpoint = small_checkpoint(tmp_path / name / "best.pt", **small, **{"model.name": name})
        words = [
            "--checkpoint",
            checkpoint,
            "--data.root",
            root,
            "--out",
            tmp_path / name / "out",
            "--tasks",
            "retrieval",
        ]
        eval.main([*map(str, words)])
        found = json.loads((tmp_path / name / "out" / "metrics.json").read_text())["retrieval"]
        expected = {"im-im": "distance", "im-aud": across, "aud-im": across, "aud-aud": "distance"}
        assert {direction: found[direction]["scored_by"] for direction in expected} == expected
        table, page = capsys.readouterr().out, (tmp_path / name / "out" / "report.html").read_text()
        assert ("im-aud (frame to sound), by pair score" in table) == (name == "AVOLNet")
        assert "aud-aud (sound to sound)  " in table  # by distance, as ever
        assert ("own pair score ranks" in page) == (name == "AVOLNet")
