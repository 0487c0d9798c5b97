"""Random collections, and all measures of one direction."""

import numpy as np

from evaluation.measures import retrieval

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
