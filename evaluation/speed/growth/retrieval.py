"""How retrieval grows with the number of clips: up to 20,000 all are queries, of more a random choice."""

import numpy as np

from evaluation.measures.ontology import load_ontology
from evaluation.measures.retrieval import four_directions
from evaluation.speed.growth.resource_use import measure_use

DIM = 128  # of the vectors (OtS sec. 3)
MOST_LABELS = 4  # of a clip


def measure(size: int) -> dict[str, float]:
    """Measure retrieval in four directions among made-up clips with labels.

    Args:
        size: clips.

    Returns:
        "cpu_seconds", "peak_mb" (see `measure_use`), "queries", and "error", the standard error of recall@10 from
        frames to sounds.
    """
    rng, ontology = np.random.default_rng(0), load_ontology()
    labels = random_labels(rng, sorted(ontology.names), size)
    v, a = rng.standard_normal((2, size, DIM), np.float32)
    with measure_use() as use:
        found = four_directions(v, a, labels, ontology)
    return use | {"queries": found.get("queries", size), "error": found["im-aud"]["recall@10_error"]}


def random_labels(rng: np.random.Generator, names: list[str], size: int) -> list[list[str]]:
    """Draw 1 to MOST_LABELS classes for each of `size` clips, class n of `names` with a probability of about 1 / n.

    Args:
        rng: draws.
        names: ids of the classes.
        size: clips.
    """
    share = 1 / np.arange(1, len(names) + 1)
    counts = rng.integers(1, MOST_LABELS + 1, size)
    drawn = rng.choice(names, counts.sum(), p=share / share.sum())
    ends = np.cumsum(counts)
    return [sorted({str(name) for name in drawn[end - count : end]}) for count, end in zip(counts, ends, strict=True)]
