"""Task "retrieval": rank frames and sounds by their distance, in all four directions (OtS sec. 4)."""

from typing import Any

import numpy as np
from torch import nn

from evaluation.measures.ontology import clip_relevance
from evaluation.measures.retrieval import four_directions
from evaluation.report.page_content import PageRetrieval
from evaluation.tasks.baselines import baseline_retrieval
from evaluation.tasks.embeddings import retrieval_vectors
from evaluation.tasks.task import EvalContext, TaskResult
from models.interfaces import EmbeddingNet


class RetrievalTask:
    """nDCG, recall, mAP and median rank, for every net that embeds frames and sounds."""

    name = "retrieval"

    def applies_to(self, model: nn.Module) -> bool:
        """Check whether `model` embeds frames and sounds."""
        return isinstance(model, EmbeddingNet)

    def run(self, context: EvalContext) -> TaskResult:
        """Measure retrieval on the split of `context`, and of the baselines in its options: the section "retrieval"."""
        embeddings, options, settings = context.embeddings, context.options, context.config.eval
        labels, ontology = embeddings.labels, context.ontology
        v, a = retrieval_vectors(context.net.encoder, embeddings)

        def measure(v: np.ndarray, a: np.ndarray) -> dict[str, Any]:
            whole, queries = settings.full_ranking, settings.queries
            return four_directions(v, a, labels, ontology, settings.k, settings.gain, whole, queries)

        measures = measure(v, a)
        if options.baselines:
            rows = baseline_retrieval(options.baselines, context.net, context.split, v, a, measure, options.vgg16)
            measures["baselines"] = rows
        table, label_set = clip_relevance(labels, ontology)
        page = PageRetrieval(v, a, lambda i, j: table[label_set[i], label_set[j]])
        return context.embedding_result({"retrieval": measures}, retrieval=page)
