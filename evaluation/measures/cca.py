"""Canonical correlation analysis: align two kinds of embeddings after training, the paper's "L3-Net + CCA" rows.

Fitted on the train split's pairs, in closed form; pure functions on arrays, all in float64.
"""

from dataclasses import dataclass

import numpy as np

from utils.errors import UserError


@dataclass(frozen=True)
class CCA:
    """Projections of both sides onto K components, the most correlated first.

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


def fit_cca(x: np.ndarray, y: np.ndarray, components: int = 128, ridge: float = 1e-6, chunk: int = 8192) -> CCA:
    """Fit the directions in which two embeddings of the same clips correlate most.

    Each side is whitened by its covariance; the singular vectors of the covariance of the whitened sides are the
    components.

    Args:
        x: (N, P) float.
        y: (N, Q) float; row i of both is of the same clip.
        components: how many to keep; 128 is the paper's. There are fewer where a side varies in fewer directions:
            never more than P, Q or N - 1.
        ridge: added to each variance, in units of the side's mean variance. Directions that hardly vary, such as those
            of collinear features, would otherwise be amplified; with enough full-rank data its effect is negligible.
        chunk: rows at a time; bounds the memory that float64 takes.

    Raises:
        UserError: fewer than two pairs, values that are not finite, or a side without any variation.
    """
    if len(x) < 2:
        raise UserError(f"CCA needs at least 2 pairs of embeddings and has {len(x)}: use a split with more clips")
    mean_x, mean_y = _mean(x, "first", chunk), _mean(y, "second", chunk)
    # Covariances, not an SVD of the data: 263k clips (the paper's) in 4096 dimensions would be 8.6 GB a copy.
    cov_xx = np.zeros((x.shape[1], x.shape[1]))
    cov_yy = np.zeros((y.shape[1], y.shape[1]))
    cov_xy = np.zeros((x.shape[1], y.shape[1]))
    for start in range(0, len(x), chunk):
        a, b = x[start : start + chunk] - mean_x, y[start : start + chunk] - mean_y  # float64, as the means
        cov_xx += a.T @ a
        cov_yy += b.T @ b
        cov_xy += a.T @ b
    freedom = len(x) - 1
    whiten_x, whiten_y = _whitening(cov_xx / freedom, ridge), _whitening(cov_yy / freedom, ridge)  # (P | Q, rank)
    u, correlations, vt = np.linalg.svd(whiten_x.T @ (cov_xy / freedom) @ whiten_y, full_matrices=False)
    weights_x, weights_y = whiten_x @ u[:, :components], whiten_y @ vt[:components].T
    return CCA(mean_x, mean_y, weights_x, weights_y, correlations[:components])


def project_cca(fitted: CCA, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Project embeddings of both sides onto the components, each to unit length, so that distances compare cosines.

    All components have equal weight, whatever their correlation: plain CCA has no scaling, and the paper mentions none.

    Args:
        fitted: from `fit_cca`.
        x: (M, P) float.
        y: (M, Q) float.

    Returns:
        (M, K) float64 of both sides, of length 1; 0 where an embedding is exactly the mean.
    """
    return (
        _unit_length((x - fitted.mean_x) @ fitted.weights_x),
        _unit_length((y - fitted.mean_y) @ fitted.weights_y),
    )


def _unit_length(scores: np.ndarray) -> np.ndarray:
    """Scale the rows of (M, K) to length 1, except for zeros."""
    lengths = np.linalg.norm(scores, axis=1, keepdims=True)
    return np.divide(scores, lengths, out=np.zeros_like(scores), where=lengths > 0)


def _mean(side: np.ndarray, name: str, chunk: int) -> np.ndarray:
    """Compute the mean of the rows: (N, D) -> (D,) float64; `name` says in an error which side it is."""
    total = sum(side[start : start + chunk].sum(0, dtype=np.float64) for start in range(0, len(side), chunk))
    if not np.isfinite(total).all():
        raise UserError(f"the {name} embeddings hold values that are not finite: CCA can't be fitted to them")
    return total / len(side)


def _whitening(covariance: np.ndarray, ridge: float) -> np.ndarray:
    """Compute (D, rank) from (D, D): its product with the data has the identity as covariance, except for the ridge."""
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]  # descending
    if values[0] <= 0:
        raise UserError("the embeddings of one side are all the same: CCA has nothing to align")
    # Values below the rounding error of the largest are not directions: constant, collinear, or more than N - 1.
    rank = int((values > values[0] * len(covariance) * np.finfo(float).eps).sum())
    mean = values[:rank].sum() / len(covariance)
    return vectors[:, :rank] / np.sqrt(values[:rank] + ridge * mean)
