"""Linear probe: how much of a clip's classes a linear classifier can read from a net's features. Arrays only.

Standardized features, logistic regression; its regularization is chosen on clips that it wasn't fitted on. L3-Net's
authors do so on ESC-50, with a linear support vector machine instead of the regression (arXiv 1705.08168).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from sklearn.model_selection import StratifiedKFold

from evaluation.measures.linear_classifier import Labels, fit_probe, indicators
from evaluation.measures.measure import Detail, Measure, Section, Values, compute_measures
from evaluation.measures.ranking import rank
from evaluation.measures.ranking_scores import average_precision
from evaluation.measures.standard_errors import mean_error
from utils.errors import UserError

RESAMPLES = 100  # of the bootstrap of mAP's standard error


@dataclass(frozen=True)
class Predictions:
    """Predictions of a probe for M test clips.

    Attributes:
        scores: (M, C) float log-odds of each class.
        truth: (M, C) bool, which clip has which class.
        single: (M,) bool, clips with one label, which is among the C.
        most_common: index of the most common class of the training clips.
    """

    scores: np.ndarray
    truth: np.ndarray
    single: np.ndarray
    most_common: int

    @cached_property
    def correct(self) -> np.ndarray:
        """(S,) for each clip with one label, whether its class has the highest score; 1 / n if it is one of n."""
        best = self.scores == self.scores.max(1, keepdims=True)
        return ((self.truth & best).sum(1) / best.sum(1))[self.single]

    @cached_property
    def ranked_truth(self) -> tuple[np.ndarray, np.ndarray]:
        """For each of the K classes that any clip has: the clips by its scores (K, M), and which of them have it."""
        present = self.truth.any(0)
        order = rank(self.scores[:, present].T)  # equal scores at random: the clips may be sorted by class
        return order, np.take_along_axis(self.truth[:, present].T, order, 1)

    @cached_property
    def mean_average_precision(self) -> tuple[float, float]:
        """The mAP over the classes that any clip has, and that of a random ranking."""
        ap, random = average_precision(self.ranked_truth[1])
        return float(ap.mean()), float(random.mean())


Folds = Sequence[Predictions]
Score = Callable[[Predictions], float]


def mean_over_folds(folds: Folds, score: Score) -> float:
    """Compute the mean over `folds` of a measure of each (`score`)."""
    return float(np.mean([score(fold) for fold in folds]))


def error_over_folds(folds: Folds, error: Callable[[Predictions], float | None]) -> float | None:
    """Compute the standard error of a mean over `folds`, of different clips, from the `error` of each."""
    errors = [error(fold) for fold in folds]
    known = [one for one in errors if one is not None]
    return float(np.linalg.norm(known) / len(folds)) if len(known) == len(folds) else None


def _map(predictions: Predictions) -> float:
    return predictions.mean_average_precision[0]


def _random_map(predictions: Predictions) -> float:
    return predictions.mean_average_precision[1]


def _map_error(predictions: Predictions) -> float | None:
    """The standard deviation of the mAP over RESAMPLES bootstrap samples of the clips, always the same ones."""
    order, truth = predictions.ranked_truth
    count = order.shape[1]
    if count < 2:
        return None
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), RESAMPLES)  # how often each clip
    totals, classes = np.zeros((2, RESAMPLES))
    for clips, relevant in zip(order, truth, strict=True):
        weights = drawn[:, clips]
        hits = np.cumsum(weights * relevant, 1)
        precision = hits / np.maximum(np.cumsum(weights, 1), 1)
        known = hits[:, -1] > 0  # a resample may lack the class
        totals += np.divide((weights * relevant * precision).sum(1), hits[:, -1], out=np.zeros(RESAMPLES), where=known)
        classes += known
    return float(np.std(totals / np.maximum(classes, 1), ddof=1))


def _top1(predictions: Predictions) -> float:
    return predictions.correct.mean() if len(predictions.correct) else 0.0


def _top1_error(predictions: Predictions) -> float | None:
    return mean_error(predictions.correct)


def _most_common_top1(predictions: Predictions) -> float:
    truth = predictions.truth[predictions.single, predictions.most_common]
    return truth.mean() if len(truth) else 0.0


SCORES = {"map": _map, "top1": _top1}
PROBE = Section[Folds](
    key="probe",
    title="Linear probe",
    about="A linear classifier fitted with labels to the frozen features of each encoder (as arXiv 1705.08168 does on "
    "ESC-50). On a split it is fitted on train and chosen on val; clips without labels are left out of all three. On a "
    "folder of classes it is cross-validated: means over the folds.",
    measures=(
        Measure(
            "map", "mAP", "mean over the classes of the average precision of the test clips, ranked by their scores",
            partial(mean_over_folds, score=_map),
            partial(mean_over_folds, score=_random_map), "chance", ("chance", "map"),
            error=partial(error_over_folds, error=_map_error),
        ),
        Measure(
            "top1", "top-1", "fraction of the test clips with one label whose class has the highest score; chance is "
            "always the most common class",
            partial(mean_over_folds, score=_top1),
            partial(mean_over_folds, score=_most_common_top1), "chance", ("chance", "top1"),
            error=partial(error_over_folds, error=_top1_error), count_key="top1_clips",
        ),
    ),
    details=(
        Detail("train_clips", "clips that the classifier is fitted on", "{} to fit on", "clip"),
        Detail("test_clips", "clips that it is measured on", "{} to measure"),
        Detail("unlabelled", "clips of the split without labels", "{} without labels", "clip", hidden=0),
        Detail("folds", "folds of a folder of classes", "{}", "fold"),
        Detail("files", "readable files of the folder", "{}", "file"),
    ),
    groups={"audio": "sounds", "vision": "frames"},
    group_details=(
        Detail("classes", "classes that both sets of clips have", "{} classes"),
        Detail("dims", "dimensions of the features"),
        Detail("strength", "chosen regularization, C of scikit-learn"),
        Detail("top1_clips", "test clips with one label"),
        Detail("map_spread", "standard deviation of mAP over the folds"),
        Detail("top1_spread", "standard deviation of top-1 over the folds"),
        Detail("files", "readable files of this kind"),
    ),
    comparisons={("untrained",): "untrained"},
    compared=("map", "top1"),
)  # fmt: skip


def linear_probe(
    train: np.ndarray,
    train_labels: Labels,
    test: np.ndarray,
    test_labels: Labels,
    chooser: tuple[np.ndarray, Labels] | None = None,
) -> Values:
    """Fit a linear probe on one set of clips and measure it on another: a group of metrics.json's "probe".

    Args:
        train: (N, D) float features.
        train_labels: of N clips; those without any are left out, here and of the other sets.
        test: (M, D) float features.
        test_labels: of M clips.
        chooser: features and labels of a third set, on which the regularization is chosen; None, or without labels,
            for a fifth of the first. A net knows its own training clips too well to choose by them.

    Returns:
        the measures of `PROBE`, over the classes that both sets have, with chance; top1_clips, classes, dims, strength.

    Raises:
        UserError: fewer than two classes are in both sets.
    """
    predictions, strength = fit_and_predict(train, train_labels, test, test_labels, chooser)
    details = {"top1_clips": int(predictions.single.sum()), "classes": predictions.truth.shape[1]}
    return compute_measures(PROBE, [predictions]) | details | {"dims": train.shape[1], "strength": strength}


def fit_and_predict(
    train: np.ndarray,
    train_labels: Labels,
    test: np.ndarray,
    test_labels: Labels,
    chooser: tuple[np.ndarray, Labels] | None = None,
) -> tuple[Predictions, float]:
    """Fit a linear probe with the best of `STRENGTHS`: its predictions, and that strength.

    Args:
        train, train_labels, test, test_labels, chooser: as for `linear_probe`.
    """
    names = check_classes(train_labels, test_labels)
    (train, train_labels), (test, test_labels) = _labelled(train, train_labels), _labelled(test, test_labels)
    train_truth = indicators(train_labels, names)
    chooser = _labelled(*chooser) if chooser else None
    chosen = (chooser[0], indicators(chooser[1], names)) if chooser and chooser[1] else None
    probe = fit_probe(train, train_truth, chosen)
    return predictions_of(probe.log_odds(test), test_labels, names, train_truth), probe.strength


def predictions_of(scores: np.ndarray, labels: Labels, names: Sequence[str], train_truth: np.ndarray) -> Predictions:
    """Put together what the measures need of M test clips.

    Args:
        scores: (M, C) float log-odds of each class.
        labels: of the M clips, each with some.
        names: of the C classes.
        train_truth: (N, C) bool, which training clip has which class.
    """
    truth = indicators(labels, names)
    single = np.array([len(set(own)) == 1 for own in labels]) & truth.any(1)
    return Predictions(scores, truth, single, int(train_truth.sum(0).argmax()))


def check_classes(train_labels: Labels, test_labels: Labels) -> list[str]:
    """List the `shared_classes` of `train_labels` and `test_labels`; raise a UserError if there are fewer than two."""
    names = shared_classes(train_labels, test_labels)
    if len(names) < 2:
        raise UserError(f"a linear probe needs at least 2 classes in both sets of clips; there are {len(names)}")
    return names


def shared_classes(train_labels: Labels, test_labels: Labels) -> list[str]:
    """List the classes that clips of both sets have, sorted: `train_labels` and `test_labels` of their clips."""
    return sorted({name for own in train_labels for name in own} & {name for own in test_labels for name in own})


def _labelled(features: np.ndarray, labels: Labels) -> tuple[np.ndarray, Labels]:
    """The features (N, D) and labels of the clips that have any: of the others no class is known to be absent."""
    kept = [k for k, own in enumerate(labels) if own]
    return features[kept], [labels[k] for k in kept]


def cross_validate(features: np.ndarray, labels: Sequence[str], folds: np.ndarray) -> Values:
    """Measure a linear probe on each fold, fitted on the others: a group of metrics.json's "probe".

    Args:
        features: (N, D) float.
        labels: N class names.
        folds: (N,) int.

    Returns:
        the measures of `PROBE`, means over the folds, with chance; map_spread and top1_spread, classes, dims.
    """
    results = []
    for fold in np.unique(folds):
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        train_labels, test_labels = ([[labels[int(k)]] for k in rows] for rows in (train, test))
        results.append(fit_and_predict(features[train], train_labels, features[test], test_labels)[0])
    return compute_measures(PROBE, results) | spread(results) | {"classes": len(set(labels)), "dims": features.shape[1]}


def spread(folds: Folds) -> Values:
    """Compute the standard deviation of each measure over `folds`: map_spread and top1_spread."""
    return {f"{key}_spread": float(np.std([score(one) for one in folds], ddof=1)) for key, score in SCORES.items()}


def assign_folds(labels: Sequence[str], folds: int = 5) -> np.ndarray:
    """Split files into folds in which each class has about as many files, the same at each call.

    Args:
        labels: N class names.
        folds: how many.

    Returns:
        (N,) int64 fold of each file.

    Raises:
        UserError: a class has fewer files than there are folds.
    """
    names, counts = np.unique(labels, return_counts=True)
    if len(names) < 2 or counts.min() < folds:
        few = f"class {names[counts.argmin()]} has {counts.min()}" if len(names) > 1 else f"there is only {names[0]}"
        raise UserError(f"a probe of {folds} folds needs two classes of {folds} readable files or more: {few}")
    out = np.empty(len(labels), np.int64)
    for fold, (_, held_out) in enumerate(StratifiedKFold(folds, shuffle=True, random_state=0).split(labels, labels)):
        out[held_out] = fold
    return out
