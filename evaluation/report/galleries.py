"""What the report page shows and in which order: choices and numbers, pure functions on arrays."""

import numpy as np

from evaluation.measures.localization import box_mask, is_in_box, map_peaks, upsample
from evaluation.measures.ontology import MAX_RELEVANCE
from evaluation.measures.retrieval import DIRECTIONS, rank

GALLERY_QUERIES, GALLERY_RESULTS = 24, 8  # queries of a gallery, at most, and how many results of each
NEAR_RELEVANCE = MAX_RELEVANCE - 3  # relevance of a class near by: three steps in the ontology at most
CLIPS_PER_PART = 8  # clips in each part of the localisation
MAX_CLASSES = 30  # rows of the tables by class, at most
CROSS_CLIPS = 6  # frames and sounds of the mismatched pairs
TSNE_CLIPS = 600  # clips on the map of embeddings, at most
MARKS = {
    "own": "its own clip", "same": "same class", "near": "near class", "far": "other class",
    "unknown": "without a label",
}  # fmt: skip


def evenly_spaced(count, most):
    """`most` places of `count` in equal steps, the first and the last among them: list of int."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int)).tolist() if count else []


def common_classes(labels, most=MAX_CLASSES):
    """The labels with the most clips, then by name: list of at most `most` mids. labels: N lists of mids."""
    counts = {}
    for one in labels:
        for label in dict.fromkeys(one):
            counts[label] = counts.get(label, 0) + 1
    return sorted(counts, key=lambda label: (-counts[label], label))[:most]


def first_of_each_class(labels, most):
    """The first clip of each class in the order of the split, so that nothing is picked by its result.

    Args:
        labels: N lists of mids. most: clips at most; without labels, as many in equal steps.

    Returns:
        list of places, ascending.
    """
    first = {}
    for place, one in enumerate(labels):
        if one:
            first.setdefault(min(one), place)
    found = sorted(first.values()) or list(range(len(labels)))
    return [found[k] for k in evenly_spaced(len(found), most)]


def retrieval_galleries(vectors, labels, relevance):
    """The first results of some queries in each direction.

    Args:
        vectors: (v, a), (N, D) float each. labels: N lists of mids.
        relevance: callable (i, j) -> 0..20, of `evaluation.measures.ontology.clip_relevance`.

    Returns:
        {direction: list of {"query": place, "results": list of {"place", "mark", "relevance"}, "right": how many}}.
    """
    sides, queries, out = (
        dict(zip(("im", "aud"), vectors, strict=True)),
        first_of_each_class(labels, GALLERY_QUERIES),
        {},
    )
    for direction in DIRECTIONS:
        query, _, target = direction.partition("-")
        distance = np.stack([((sides[target] - sides[query][place]) ** 2).sum(1) for place in queries])
        found = rank(-distance, np.array(queries) if query == target else None)[:, :GALLERY_RESULTS].tolist()
        out[direction] = []
        for place, results in zip(queries, found, strict=True):
            judged = [
                {"place": k, "mark": result_mark(place, k, relevance, labels), "relevance": int(relevance(place, k))}
                for k in results
            ]
            right = sum(one["mark"] in ("own", "same") for one in judged)
            out[direction].append({"query": place, "results": judged, "right": right})
    return out


def result_mark(query, place, relevance, labels):
    """A key of MARKS: how a result stands to its query."""
    if place == query:
        return "own"
    if not labels[query] or not labels[place]:
        return "unknown"
    value = relevance(query, place)
    return "same" if value == MAX_RELEVANCE else "near" if value >= NEAR_RELEVANCE else "far"


def rank_heatmaps(logits, entries):
    """The maps in the order of how clearly their peak lies on what sounds.

    Args:
        logits: (N, h, w). entries: N lists of {"box", "sounding"}, empty where nothing is annotated.

    Returns:
        dict: judged: whether any object is annotated; parts: {name: list of {"place", "peak", "hit", "margin"}}. hit is
        None where no object that sounds is annotated; margin, in logits, the largest value in the boxes of what sounds
        minus the largest elsewhere: above 0 is a hit. Without boxes, margin is the largest logit.
    """
    found, size = [], 4 * logits.shape[1]
    judged = [k for k, one in enumerate(entries) if any(entry["sounding"] for entry in one)]
    for k in judged or range(len(logits)):
        full = upsample(logits[k : k + 1], size)
        peak = map_peaks(full)[0].tolist()
        one = {"place": k, "peak": peak, "hit": None, "margin": float(full.max())}
        if judged:
            boxes = [entry["box"] for entry in entries[k] if entry["sounding"]]
            within = box_mask(boxes, size).astype(bool)
            off = full[0][~within].max() if not within.all() else full.min()
            one |= {
                "hit": is_in_box(peak, boxes),
                "margin": float(full[0][within].max() - off) if within.any() else 0.0,
            }
        found.append(one)
    found.sort(key=lambda one: -one["margin"])
    most, middle = min(CLIPS_PER_PART, len(found)), len(found) // 2
    low = max(middle - most // 2, 0)
    parts = {"Best": found[:most], "Middle": found[low : low + most], "Worst": found[::-1][:most]}
    two = [one for one in found if any(not entry["sounding"] for entry in entries[one["place"]])]
    if judged and two:
        parts["With a silent object"] = [two[k] for k in evenly_spaced(len(two), most)]
    return {"judged": bool(judged), "parts": parts}


def tsne_map(vectors, seed=0):
    """Both embeddings on one plane by t-SNE (van der Maaten & Hinton, 2008), frames and sounds together.

    Each side's mean is taken off first: it parts all frames from all sounds, which would be all that the plane shows,
    and says nothing of which belong together.

    Args:
        vectors: (v, a), (N, D) float32 each, N at least 4; of other widths they have no plane in common.
        seed: of the start.

    Returns:
        (N, 4) float in 0..100: x and y of each frame, x and y of each sound; None where there is no such map.
    """
    from sklearn.manifold import TSNE  # takes a second to import

    v, a = (np.asarray(side, np.float32) for side in vectors)
    if len(v) < 4 or v.shape != a.shape:
        return None
    both = np.concatenate([v - v.mean(0), a - a.mean(0)])
    lengths = np.linalg.norm(both, axis=1, keepdims=True)
    if lengths.max() < 1e-6:
        return None  # collapsed: all lies on one point
    both /= np.maximum(lengths, 1e-12)
    perplexity = min(30.0, (2 * len(v) - 1) / 3)
    plane = TSNE(2, perplexity=perplexity, init="random", random_state=seed, max_iter=600).fit_transform(both)
    plane = (plane - plane.min(0)) / np.maximum(np.ptp(plane, axis=0), 1e-9) * 96 + 2
    return np.concatenate([plane[: len(v)], plane[len(v) :]], 1).round(2)
