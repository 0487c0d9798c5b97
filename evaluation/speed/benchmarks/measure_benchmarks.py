"""Benchmarks of the measures: nDCG of retrieval; SDR, SIR and SAR of separation."""

import math
import warnings
from typing import Any

import numpy as np

from evaluation.measures.bss_eval import bss_eval
from evaluation.measures.ontology import Ontology, load_ontology
from evaluation.measures.retrieval import DIRECTIONS, four_directions
from evaluation.speed.timing import comparison, interleave

K = 30  # of nDCG (OtS sec. 4.2)
MAX_DB = 150  # above it a difference is rounding: the SAR of the mixture is infinite


def baseline_ndcg(
    v: np.ndarray, a: np.ndarray, labels: list[list[str]], ontology: Ontology, k: int
) -> dict[str, float]:
    """Compute nDCG@k in loops over Python lists.

    Args:
        v: (N, D) embedded frames.
        a: (N, D) embedded sounds.
        labels: the classes of each of the N clips.
        ontology: of the classes.
        k: rank at which nDCG is cut off.

    Returns:
        {direction: mean nDCG in 0..1}.
    """
    names = sorted({name for clip_labels in labels for name in clip_labels})
    index = {name: n for n, name in enumerate(names)}
    relevance = ontology.relevance(names).tolist()
    sides, ndcg = {"im": v.tolist(), "aud": a.tolist()}, {}
    for direction in DIRECTIONS:
        query_side, _, collection_side = direction.partition("-")
        total = 0.0
        for i, query in enumerate(sides[query_side]):
            results = []  # (distance, gain)
            for j, item in enumerate(sides[collection_side]):
                if query_side != collection_side or i != j:
                    distance = sum((p - q) ** 2 for p, q in zip(query, item, strict=True))
                    best = max(relevance[index[one]][index[other]] for one in labels[i] for other in labels[j])
                    results.append((distance, 2.0**best - 1))
            gains = [gain for _, gain in sorted(results)]
            ideal = discounted_gain(sorted(gains, reverse=True), k)
            total += discounted_gain(gains, k) / ideal if ideal else 0.0
        ndcg[direction] = total / len(v)
    return ndcg


def discounted_gain(gains: list[float], k: int) -> float:
    """Compute DCG@k of the `gains` of ranked results."""
    return sum(gain / math.log2(rank + 2) for rank, gain in enumerate(gains[:k]))


def ndcg_4300(count: int = 4300, baseline_count: int = 100, rounds: int = 3) -> dict[str, Any]:
    """Benchmark nDCG@30 in four directions; baseline: loops over few clips, scaled by the square of their number.

    Sorting grows faster than the square, so the baseline is flattered. Ours computes recall as well.

    Args:
        count: clips.
        baseline_count: clips of the baseline.
        rounds: timed calls.
    """
    rng, ontology = np.random.default_rng(0), load_ontology()
    names = sorted(ontology.names)
    labels = [[str(name) for name in rng.choice(names, rng.integers(1, 5), replace=False)] for _ in range(count)]
    v, a = rng.normal(size=(2, count, 128)).astype(np.float32)

    def baseline() -> float:
        baseline_ndcg(v[:baseline_count], a[:baseline_count], labels[:baseline_count], ontology, K)
        return (baseline_count / count) ** 2

    def ours() -> float:
        four_directions(v, a, labels, ontology, K, full_ranking=False)
        return 1

    rates = interleave(rounds, {"baseline": baseline, "ours": ours})
    return comparison("evaluations/s", *rates, measured_on=baseline_count)


def separation(rounds: int = 5, seconds: int = 6, rate: int = 11025) -> dict[str, Any]:
    """Benchmark SDR, SIR and SAR of an estimate and of the mixture (SoP: 6 s at 11,025 Hz); baseline: mir_eval.

    Args:
        rounds: timed calls.
        seconds: length of the two sources.
        rate: Hz.
    """
    from mir_eval.separation import bss_eval_sources  # slow to import, needed by the tests only

    sources = 0.1 * np.random.default_rng(0).standard_normal((2, seconds * rate))
    estimate = sources + 0.1 * sources[::-1] + 0.1 * np.roll(sources, rate, 1)
    estimates = np.stack([estimate, np.stack([sources.sum(0)] * 2)])
    scores: dict[str, np.ndarray] = {}

    def baseline() -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # mir_eval announces that its separation module will move
            results = [bss_eval_sources(sources, one, compute_permutation=False)[:3] for one in estimates]
        scores["baseline"] = np.array(results)
        return 1

    def ours() -> int:
        scores["ours"] = np.stack(bss_eval(sources, estimates), 1)
        return 1

    rates = interleave(rounds, {"baseline": baseline, "ours": ours})
    difference = np.abs(np.minimum(scores["baseline"], MAX_DB) - np.minimum(scores["ours"], MAX_DB))
    return comparison("pairs/s", *rates, largest_difference_db=float(difference.max()))
