"""A linear probe: how much of what a clip shows a linear classifier can read from a net's features. Arrays only.

Standardised features, logistic regression; its regularisation is chosen on clips that it wasn't fitted on. L3-Net's
authors probe so on ESC-50, with a linear support vector machine in the regression's place (arXiv 1705.08168).
"""

import warnings

import numpy as np
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from evaluation.measures.ranking_scores import average_precision
from utils.errors import UserError

STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # C of scikit-learn: the smaller, the more regular
HELD_OUT_FRACTION = 5  # one of so many training clips chooses among them
ITERATIONS = 300


def linear_probe(train, train_labels, test, test_labels, chooser=None):
    """Fit on one set of clips, measure on another.

    Args:
        train, test: (N, D) and (M, D) float features. train_labels, test_labels: lists of lists of class names.
        chooser: (features, labels) of a third set, which chooses the regularisation, or None for a fifth of the first.
            A net knows its own training clips too well to choose by them.

    Returns:
        dict: map, the mean over classes of the average precision of the ranking by that class's score, over the
        classes that both sets have; top1, the share of the test clips with one label (top1_clips) whose class gets the
        highest score; chance: {"map", of a random ranking; "top1", of always saying the commonest class}; classes,
        dims, strength (C).

    Raises:
        UserError: fewer than two classes are in both sets.
    """
    names = sorted({name for labels in train_labels for name in labels} & {n for ls in test_labels for n in ls})
    if len(names) < 2:
        raise UserError(f"a probe needs two classes or more in both sets of clips, and there are {len(names)}")
    truth, judged = _indicators(train_labels, names), _indicators(test_labels, names)
    scaler = StandardScaler().fit(train)
    train, test = scaler.transform(train), scaler.transform(test)
    if chooser is None:
        apart = np.random.default_rng(0).permutation(len(train)) % HELD_OUT_FRACTION == 0
        fit, fit_truth, choose, choose_truth = train[~apart], truth[~apart], train[apart], truth[apart]
    else:
        fit, fit_truth = train, truth
        choose, choose_truth = scaler.transform(chooser[0]), _indicators(chooser[1], names)

    strength = min(STRENGTHS, key=lambda c: _loss(_scores(fit, fit_truth, choose, c), choose_truth))
    scores = _scores(train, truth, test, strength)
    found, chance = _map(scores, judged)
    one = np.array([len(set(labels)) == 1 for labels in test_labels]) & judged.any(1)
    said, commonest = scores[one].argmax(1), truth.sum(0).argmax()
    top1 = float(judged[one][np.arange(one.sum()), said].mean()) if one.any() else 0.0
    by_chance = float(judged[one][:, commonest].mean()) if one.any() else 0.0
    out = {"top1": top1, "top1_clips": int(one.sum()), "map": found, "chance": {"top1": by_chance, "map": chance}}
    return out | {"classes": len(names), "dims": train.shape[1], "strength": strength}


def _indicators(labels, names):
    """(N, C) bool: which clip has which class."""
    return np.array([[name in own for name in names] for own in map(set, labels)], bool)


def _scores(train, truth, test, strength):
    """(M, C) log-odds of each class: one regression for all where each clip has one class, else one for each class."""

    def fitted(target):
        with warnings.catch_warnings():  # what is not yet at its best ranks as well
            warnings.simplefilter("ignore", ConvergenceWarning)
            return LogisticRegression(C=strength, max_iter=ITERATIONS).fit(train, target)

    out = np.full((len(test), truth.shape[1]), -np.inf)
    kinds = truth.sum(0)
    if (truth.sum(1) == 1).all() and (kinds > 0).sum() > 2:
        net = fitted(truth.argmax(1))
        sums = net.decision_function(test)
        # Of one class against all others, as the regressions below have it.
        out[:, net.classes_] = sums - np.stack([logsumexp(np.delete(sums, k, 1), 1) for k in range(sums.shape[1])], 1)
        return out
    for k in np.flatnonzero((kinds > 0) & (kinds < len(truth))):
        out[:, k] = fitted(truth[:, k]).decision_function(test)
    return out


def _loss(scores, truth):
    """Cross-entropy of log-odds. It chooses the regularisation: rankings are soon perfect and choose nothing."""
    fitted = np.isfinite(scores).all(0)
    return np.logaddexp(0, np.where(truth, -scores, scores)[:, fitted]).mean()


def _map(scores, truth):
    """Mean average precision over the classes that are there, and that of a random ranking."""
    there = truth.any(0)
    order = np.argsort(-scores[:, there], axis=0, kind="stable")  # (N, C)
    ap, random = average_precision(np.take_along_axis(truth[:, there], order, 0).T)
    return float(ap.mean()), float(random.mean())


def cross_validate(features, labels, folds):
    """`measure` on each fold, fitted on the others.

    Args:
        features: (N, D) float. labels: N class names. folds: (N,) int.

    Returns:
        dict: top1 and map, means over the folds; top1_spread and map_spread, their standard deviations; chance;
        classes, dims.
    """
    lists, found = [[label] for label in labels], []
    for fold in np.unique(folds):
        own = folds == fold
        rest, held = np.flatnonzero(~own), np.flatnonzero(own)
        found.append(linear_probe(features[rest], [lists[k] for k in rest], features[held], [lists[k] for k in held]))
    out = {"classes": len(set(labels)), "dims": features.shape[1]}
    for name in ("top1", "map"):
        values = [one[name] for one in found]
        out |= {name: float(np.mean(values)), f"{name}_spread": float(np.std(values, ddof=1))}
    return out | {"chance": {name: float(np.mean([one["chance"][name] for one in found])) for name in ("top1", "map")}}


def assign_folds(labels, folds=5):
    """Folds in which each class has about as many files, the same at each call: N class names -> (N,) int.

    Raises:
        UserError: a class has fewer files than there are folds.
    """
    names, counts = np.unique(labels, return_counts=True)
    if len(names) < 2 or counts.min() < folds:
        few = f"class {names[counts.argmin()]} has {counts.min()}" if len(names) > 1 else f"there is only {names[0]}"
        raise UserError(f"a probe of {folds} folds needs two classes of {folds} readable files or more: {few}")
    out = np.empty(len(labels), np.int64)
    for fold, (_, held) in enumerate(StratifiedKFold(folds, shuffle=True, random_state=0).split(labels, labels)):
        out[held] = fold
    return out
