"""A linear classifier of features: standardized features, logistic regression. Arrays only.

Its regularization is chosen on clips that it wasn't fitted on.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # C of scikit-learn: the smaller, the stronger the regularization
HELD_OUT = 5  # one in this many training clips is held out to choose it
MAX_ITERATIONS = 300

Labels = Sequence[Sequence[str]]  # class names of each clip


@dataclass(frozen=True)
class FittedProbe:
    """A linear classifier of D features into C classes.

    Attributes:
        mean, scale: (D,) float64, by which features are standardized.
        weights, bias: (C, D) and (C,) float64, of the standardized features.
        known: (C,) bool, classes that some, but not all of the training clips have.
        softmax: each clip has one class, so that the outputs are logits of a softmax, else log-odds.
        strength: chosen regularization, C of scikit-learn.
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    known: np.ndarray
    softmax: bool
    strength: float

    def log_odds(self, features: np.ndarray) -> np.ndarray:
        """Compute the log-odds of each class from `features`, (M, D) float -> (M, C); -inf of classes not known."""
        logits = (features - self.mean) / self.scale @ self.weights.T + self.bias
        return log_odds(logits, self.known, self.softmax)


def log_odds(logits: np.ndarray, known: np.ndarray, softmax: bool) -> np.ndarray:
    """Compute the log-odds of each class from the outputs of a classifier: of one class against all others.

    Args:
        logits: (M, C) float, its outputs.
        known: (C,) bool, the classes that it was fitted to.
        softmax: the outputs are logits of a softmax over those, else log-odds already.

    Returns:
        (M, C) float; -inf of classes that are not known.
    """
    out = np.full(logits.shape, -np.inf)
    own = logits[:, known]
    others = [logsumexp(np.delete(own, k, 1), 1) for k in range(own.shape[1])] if softmax else []
    out[:, known] = own - np.stack(others, 1) if softmax else own
    return out


def fit_probe(train: np.ndarray, truth: np.ndarray, chooser: tuple[np.ndarray, np.ndarray] | None) -> FittedProbe:
    """Fit a linear probe with the best of `STRENGTHS`.

    Args:
        train: (N, D) float features.
        truth: (N, C) bool, which clip has which class.
        chooser: (K, D) features and (K, C) truth of clips that choose the strength; None for a part of the N.
    """
    scaler = StandardScaler().fit(train)
    train = scaler.transform(train)
    if chooser is None:
        held_out = held_out_of(len(train))
        fit, choose = (train[~held_out], truth[~held_out]), (train[held_out], truth[held_out])
    else:
        fit, choose = (train, truth), (scaler.transform(chooser[0]), chooser[1])

    def strength_error(strength: float) -> float:
        weights, bias, known, softmax = _fit_weights(*fit, strength)
        return cross_entropy(log_odds(choose[0] @ weights.T + bias, known, softmax), choose[1])

    strength = min(STRENGTHS, key=strength_error)
    return FittedProbe(scaler.mean_, scaler.scale_, *_fit_weights(train, truth, strength), strength)


def held_out_of(count: int) -> np.ndarray:
    """Choose which of `count` training clips are held out to choose a setting: (count,) bool, always the same."""
    return np.random.default_rng(0).permutation(count) % HELD_OUT == 0


def indicators(labels: Labels, names: Sequence[str]) -> np.ndarray:
    """Mark which of N clips, by their `labels`, has which of the C classes in `names`: (N, C) bool."""
    return np.array([[name in own for name in names] for own in map(set, labels)], bool)


def _fit_weights(
    train: np.ndarray, truth: np.ndarray, strength: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Weights, bias, known and softmax of a `FittedProbe`.

    One regression for all classes where each clip has one class, else one for each class.
    """

    def fit(target: np.ndarray) -> LogisticRegression:
        with warnings.catch_warnings():  # a fit that has not quite converged ranks as well
            warnings.simplefilter("ignore", ConvergenceWarning)
            return LogisticRegression(C=strength, max_iter=MAX_ITERATIONS).fit(train, target)

    counts, weights, bias = truth.sum(0), np.zeros((truth.shape[1], train.shape[1])), np.zeros(truth.shape[1])
    known = (counts > 0) & (counts < len(truth))
    if (truth.sum(1) == 1).all() and known.sum() > 2:
        model = fit(truth.argmax(1))
        weights[model.classes_], bias[model.classes_] = model.coef_, model.intercept_
        return weights, bias, known, True
    for k in np.flatnonzero(known):
        model = fit(truth[:, k])
        weights[k], bias[k] = model.coef_[0], model.intercept_[0]
    return weights, bias, known, False


def cross_entropy(scores: np.ndarray, truth: np.ndarray) -> float:
    """Compute the cross-entropy of log-odds: it chooses settings, as rankings are soon perfect and choose nothing.

    Args:
        scores: (K, C) float log-odds; columns of -inf don't count.
        truth: (K, C) bool.
    """
    fitted = np.isfinite(scores).all(0)
    return np.logaddexp(0, np.where(truth, -scores, scores)[:, fitted]).mean()
