"""A net that embeds all clips alike is at chance in every direction, of one instant and of the means over moments."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import MIDS

from configs.schema import Config
from evaluation.measures.ontology import Ontology
from evaluation.measures.retrieval import DIRECTIONS, RETRIEVAL, four_directions
from evaluation.tasks.embeddings import SplitEmbeddings, retrieval_vectors
from evaluation.tasks.retrieval import clip_retrieval, cross_scores
from evaluation.trained_net import TrainedNet
from models import build_net
from utils.config import override

CLIPS, MOMENTS, CLASSES = 180, 3, 6
NAMES = ("ndcg", "map", "recall@1", "recall@5", "recall@10", "median_rank")
ONTOLOGY = Ontology([{"id": mid, "name": mid, "child_ids": []} for mid in MIDS])


@pytest.fixture(scope="module", params=["AVENet", "AVOLNet", "L3Net"])
def collapsed(request):
    """(net, embeddings of one instant, of several moments): all the same, clips sorted by class."""
    config = override(Config(), {"model.name": request.param, "model.width": 4, "data.moments": MOMENTS})
    torch.manual_seed(0)
    net = TrainedNet(build_net(config.model).eval(), config, {}, "best.pt")
    with torch.no_grad():
        v, a = net.encoder.embed_frames(torch.randn(1, 3, 64, 64)), net.encoder.embed_sounds(torch.randn(1, 1, 257, 50))
    labels = [[MIDS[k * CLASSES // CLIPS]] for k in range(CLIPS)]

    def embeddings(*shape):
        both = (side.expand(CLIPS, *shape, *side.shape[1:]).contiguous() for side in (v, a))
        return SplitEmbeddings(None, None, *both, list(range(CLIPS)), [0.0] * CLIPS, labels, {}, MOMENTS)

    return net, embeddings(), embeddings(MOMENTS)


def assert_at_chance(found):
    declared = {measure.key for measure in RETRIEVAL.measures}
    assert declared == set(NAMES)
    for direction in DIRECTIONS:
        own = found[direction]
        for name in NAMES:
            chance = own[f"random_{name}"]
            # Of a fraction near 0 the error can be 0 by chance; that of random rankings is known.
            least = (chance * (1 - chance) / CLIPS) ** 0.5 if name.startswith("recall") else 0.0
            error = max(own[f"{name}_error"], least)
            assert abs(own[name] - chance) <= 4 * error, (direction, name, own[name], chance, error)


def test_of_one_instant(collapsed):
    net, instant, _ = collapsed
    scores = cross_scores(net, instant, all_queries=True)
    assert_at_chance(
        four_directions(*retrieval_vectors(net.encoder, instant), instant.labels, ONTOLOGY, cross_scores=scores)
    )


def test_of_the_means_over_moments(collapsed):
    net, _, moments = collapsed
    found = clip_retrieval(SimpleNamespace(net=net, config=net.config, moments=moments, ontology=ONTOLOGY))
    assert found["moments"] == MOMENTS
    assert_at_chance(found)


def test_one_order_for_all_queries_would_not_be(collapsed):
    """The test can fail: ties in the collection's order flatter or belittle a net by far more than the error."""
    net, instant, _ = collapsed
    v, a = retrieval_vectors(net.encoder, instant)
    nudged = a + np.linspace(0, 1e-3, CLIPS, dtype=a.dtype)[:, None] * np.sign(a)
    with pytest.raises(AssertionError):
        assert_at_chance(four_directions(v, nudged, instant.labels, ONTOLOGY))
