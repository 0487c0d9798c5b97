"""Task "retrieval": rank frames and sounds by their distance, in all four directions (OtS sec. 4)."""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

from dataset.reading.benchmarks.benchmark import Benchmark
from evaluation.given.nets import GivenEmbeddings
from evaluation.measures.ontology import Ontology, clip_relevance
from evaluation.measures.retrieval import DIRECTIONS, CrossScores, four_directions
from evaluation.pair_scores import PairScores
from evaluation.report.page_content import PageRetrieval
from evaluation.tasks.baselines import baseline_retrieval
from evaluation.tasks.embeddings import SplitEmbeddings, moment_vectors, retrieval_vectors
from evaluation.tasks.task import EvalContext, TaskResult
from evaluation.trained_net import TrainedNet
from models.interfaces import EmbeddingNet, LocalizingNet

DIRECTIONS_BY_LABEL = {"im-im", "aud-aud"}


class RetrievalTask:
    """nDCG, recall, mAP and median rank, for every net that embeds frames and sounds."""

    name = "retrieval"

    def applies_to(self, model: nn.Module) -> bool:
        """Check whether `model` embeds frames and sounds."""
        return isinstance(model, EmbeddingNet)

    def run(self, context: EvalContext) -> TaskResult:
        """Measure retrieval on the split of `context`, and of the baselines in its options: the section "retrieval".

        With data.moments, also that of clips: "clip".
        """
        embeddings, options, settings = context.embeddings, context.options, context.config.eval
        labels, ontology = embeddings.labels, context.ontology
        v, a = retrieval_vectors(context.net.encoder, embeddings)
        scores = cross_scores(context.net, embeddings, all_queries=not settings.queries)

        def measure(v: np.ndarray, a: np.ndarray, scores: CrossScores | None = None) -> dict[str, Any]:
            whole, queries = settings.full_ranking, settings.queries
            return four_directions(v, a, labels, ontology, settings.k, settings.gain, whole, queries, scores)

        measures = measure(v, a, scores)
        if options.baselines:
            clips = embeddings.clips
            assert not isinstance(clips, Benchmark)  # `choose_tasks` runs localization alone on benchmarks
            rows = baseline_retrieval(options.baselines, context.net, clips, v, a, measure, options.vgg16)
            measures["baselines"] = rows
        if context.config.data.moments > 1:
            measures["clip"] = clip_retrieval(context)
        page = PageRetrieval(v, a, relevance_of_clips(labels, ontology), scores)
        notes = retrieval_notes(measures, len(v), context.split)
        return context.embedding_result(
            {"retrieval": measures}, retrieval=page, notes=(*notes, *context.moment_notes())
        )


def retrieval_notes(measures: dict[str, Any], clips: int, split: str) -> tuple[str, ...]:
    """Say what of retrieval is not measured, and that a random choice of the clips are queries.

    Args:
        measures: of `four_directions`.
        clips: their number.
        split: their name.
    """
    notes = []
    if DIRECTIONS_BY_LABEL - measures.keys():
        notes.append(
            f"fewer than 2 clips of {split} have labels, so nDCG, mAP and retrieval within a modality are not "
            "measured: add labels to its vid2genre.json"
        )
    if "queries" in measures:
        error = measures["im-aud"].get("recall@10_error") or 0.0
        notes.append(
            f"{measures['queries']:,} of {clips:,} clips are the queries of retrieval, a fixed random choice "
            "(--eval.queries sets their number): all clips as queries would give figures within some two standard "
            f"errors, which stand beside each ({error:.4f} of recall@10, frame to sound)"
        )
    return tuple(notes)


def clip_retrieval(context: EvalContext) -> dict[str, Any]:
    """Measure retrieval among clips, of which data.moments aligned moments count as one (CAV-MAE Sync's way).

    The similarity of two clips is the mean over the moments: of the cosines, or of the net's own pair scores.

    Args:
        context: of the evaluation.

    Returns:
        The measures of each direction, and "moments".
    """
    moments, settings = context.moments, context.config.eval
    by_moment: list[PairScores] = []
    if isinstance(context.net.model, LocalizingNet):
        by_moment = [
            PairScores(context.net.model.pair_logits, v, a, context.net.device, not settings.queries)
            for v, a in zip(moments.v.unbind(1), moments.a.unbind(1), strict=True)
        ]

    def mean_scores(direction: str, queries: np.ndarray) -> np.ndarray:
        return np.mean([scores(direction, queries) for scores in by_moment], 0)

    v, a = moment_vectors(context.net.encoder, moments)
    found = four_directions(
        v, a, moments.labels, context.ontology, settings.k, settings.gain, settings.full_ranking, settings.queries,
        mean_scores if by_moment else None,
    )  # fmt: skip
    clip = {direction: found[direction] for direction in DIRECTIONS if direction in found}
    return clip | {"moments": moments.moments}


def relevance_of_clips(labels: list[list[str]], ontology: Ontology) -> Callable[[int, int], float]:
    """Make a function of two clips' indices: their relevance, -1 if one has no label.

    Args:
        labels: N lists of mids.
        ontology: the class graph.
    """
    relevance, label_set = clip_relevance(labels, ontology)
    return lambda i, j: float(relevance.between(label_set[i], label_set[j])) if labels[i] and labels[j] else -1.0


def cross_scores(net: TrainedNet, embeddings: SplitEmbeddings, all_queries: bool) -> PairScores | None:
    """Get the pair scores by which a net with maps retrieves across modalities; None for a net of vectors.

    What another program wrote says itself whether it does.

    Args:
        net: the trained net.
        embeddings: of the split.
        all_queries: all clips are queries.
    """
    model = net.embedding_net
    ranks = model.ranks_by_pair_scores if isinstance(model, GivenEmbeddings) else isinstance(model, LocalizingNet)
    return PairScores(model.pair_logits, embeddings.v, embeddings.a, net.device, all_queries) if ranks else None
