"""Canonical correlation analysis: two kinds of embeddings aligned after training, the paper's "L3-Net + CCA" rows.

Fitted on the train split's pairs, in closed form; pure functions on arrays, all in float64.
"""

from dataclasses import dataclass

import numpy as np

from utils.errors import UserError


@dataclass(frozen=True)
class CCA:
    """Where to project both sides, K components, the most correlated first.

    Attributes:
        mean_x: (P,). mean_y: (Q,).
        weights_x: (P, K). weights_y: (Q, K): the scores (x - mean_x) @ weights_x have variance 1 on the fitted data.
        correlations: (K,) descending, of the two sides' scores on the fitted data.
    """

    mean_x: np.ndarray
    mean_y: np.ndarray
    weights_x: np.ndarray
    weights_y: np.ndarray
    correlations: np.ndarray


def fit_cca(x, y, components=128, ridge=1e-6, chunk=8192):
    """Find the directions in which two embeddings of the same clips correlate most.

    Each side is whitened by its covariance; the singular vectors of what the whitened sides have in common are the
    components.

    Args:
        x: (N, P) float. y: (N, Q) float. Row i of both is of the same clip.
        components: how many to keep; 128 is the paper's. There are fewer where a side has fewer directions
            that vary: never more than P, Q or N - 1.
        ridge: added to each variance, in units of the side's mean variance. Directions that hardly vary, such as those
            of collinear features, would otherwise be blown up; with plenty of full-rank data it changes nothing that
            counts.
        chunk: rows at a time; bounds the memory that float64 takes.

    Returns:
        a `CCA`.

    Raises:
        UserError: fewer than two pairs, values that are not finite, or a side without any variation.
    """
    if len(x) < 2:
        raise UserError(f"CCA needs at least 2 pairs of embeddings and has {len(x)}: use a split with more clips")
    mean_x, mean_y = (_mean(side, name, chunk) for side, name in ((x, "first"), (y, "second")))
    # Covariances, not an SVD of the data: 263k clips (the paper's) in 4096 dimensions would be 8.6 GB a copy.
    xx, yy, xy = 0, 0, 0
    for start in range(0, len(x), chunk):
        a, b = x[start : start + chunk] - mean_x, y[start : start + chunk] - mean_y  # float64, as the means
        xx, yy, xy = xx + a.T @ a, yy + b.T @ b, xy + a.T @ b
    whiten_x, whiten_y = (_whitening(cov / (len(x) - 1), ridge) for cov in (xx, yy))  # (P, rank), (Q, rank)
    u, correlations, vt = np.linalg.svd(whiten_x.T @ (xy / (len(x) - 1)) @ whiten_y, full_matrices=False)
    weights_x, weights_y = whiten_x @ u[:, :components], whiten_y @ vt[:components].T
    return CCA(mean_x, mean_y, weights_x, weights_y, correlations[:components])


def project_cca(fitted, x, y):
    """Scores of both sides, each clip's at unit length, so that a small distance means a large cosine.

    The plain scores: components count alike, whatever their correlation. Plain CCA scales nothing, and we found no word
    of the paper that says otherwise.

    Args:
        fitted: a `CCA`. x: (M, P) float. y: (M, Q) float.

    Returns:
        (v, a): (M, K) float64 each, of length 1; 0 where an embedding is exactly the mean.
    """
    sides = ((x, fitted.mean_x, fitted.weights_x), (y, fitted.mean_y, fitted.weights_y))
    scores = [(side - mean) @ weights for side, mean, weights in sides]
    lengths = [np.linalg.norm(score, axis=1, keepdims=True) for score in scores]
    return tuple(np.divide(s, n, out=np.zeros_like(s), where=n > 0) for s, n in zip(scores, lengths, strict=True))


def _mean(side, name, chunk):
    """Mean of the rows: (N, D) -> (D,) float64."""
    total = sum(side[start : start + chunk].sum(0, dtype=np.float64) for start in range(0, len(side), chunk))
    if not np.isfinite(total).all():
        raise UserError(f"the {name} embeddings hold values that are not finite: CCA can't be fitted to them")
    return total / len(side)


def _whitening(covariance, ridge):
    """(D, D) -> (D, rank): the data's product with it has the identity as covariance, but for the ridge."""
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]  # descending
    if values[0] <= 0:
        raise UserError("the embeddings of one side are all the same: CCA has nothing to align")
    # What is below the rounding error of the largest is no direction: constant, collinear, beyond N - 1.
    rank = int((values > values[0] * len(covariance) * np.finfo(float).eps).sum())
    mean = values[:rank].sum() / len(covariance)
    return vectors[:, :rank] / np.sqrt(values[:rank] + ridge * mean)
