"""Write what another program can read, or reads back: the embeddings of exactly the evaluated frames and sounds."""

from pathlib import Path

import numpy as np
import torch

from evaluation.given.vectors import MODALITIES
from evaluation.measures.correspondence import evaluation_groups
from evaluation.pair_scores import score_pairs
from evaluation.tasks.embeddings import retrieval_vectors
from evaluation.tasks.negative_sounds import validation_threshold
from evaluation.tasks.retrieval import cross_scores
from evaluation.tasks.task import EvalContext
from models.interfaces import EmbeddingNet
from utils.errors import UserError
from utils.files import atomic_write

MOST_LOG_ODDS = 2**27  # that are written, half a gigabyte: those of 11,000 clips


def write_embeddings(path: Path, context: EvalContext) -> None:
    """Write the embeddings that an evaluation of a net has measured, in the form of `evaluation.given.vectors`.

    Args:
        path: of the npz file.
        context: of the evaluation.

    Raises:
        UserError: frames and sounds have vectors of different lengths, or the file can't be written.
    """
    net, embeddings = context.net, context.embeddings
    v, a = retrieval_vectors(net.encoder, embeddings)
    if v.shape != a.shape:
        raise UserError(f"the frames have {v.shape[1]} dimensions and the sounds {a.shape[1]}: no --write_embeddings")
    count = len(embeddings)
    clips, times = np.array(embeddings.ids * 2), np.array(embeddings.times * 2)
    arrays = {"clip": clips, "modality": np.repeat(MODALITIES, count), "vector": np.concatenate([v, a]), "time": times}
    if isinstance(net.model, EmbeddingNet) and count**2 <= MOST_LOG_ODDS:
        arrays |= {"log_odds": _log_odds(context, net.model), "threshold": np.array(validation_threshold(net))}
        arrays["ranked_by"] = np.array("log_odds" if cross_scores(net, embeddings, all_queries=True) else "vector")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            np.savez(file, allow_pickle=False, **arrays)
    except OSError as error:
        raise UserError(f"{path} can't be written ({error.strerror}): choose another --write_embeddings") from None
    print(f"written: {path}, the embeddings of {count} frames and {count} sounds")


@torch.no_grad()
def _log_odds(context: EvalContext, model: EmbeddingNet) -> np.ndarray:
    """(N, N) scores of all pairs; those that correspondence measures are multiplied in the same groups as there."""
    v, a = context.embeddings.v, context.embeddings.a.to(context.net.device)
    scores = score_pairs(model.pair_logits, v, a, context.net.device).numpy()
    for group in evaluation_groups(len(v), context.config.eval.group):
        scores[np.ix_(group, group)] = model.pair_logits(v[group].to(context.net.device), a[group]).cpu().numpy()
    return scores
