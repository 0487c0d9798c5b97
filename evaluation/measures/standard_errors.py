"""Standard errors of measures: how much a figure would vary over other test clips of the same kind."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.sparse import csr_array
from scipy.special import betainc


def mean_error(values: np.ndarray) -> float | None:
    """Compute the standard error of a mean of independent `values` (N,): s / sqrt(N), None for fewer than two."""
    return float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else None


def median_error(values: np.ndarray) -> float | None:
    """Compute the standard error of the median of independent `values` (N,), None for fewer than two.

    It is what the bootstrap converges to, in closed form (Harrell & Davis, 1982): in a resample, the sorted values are
    the median with the weights of a beta distribution.
    """
    count = len(values)
    if count < 2:
        return None
    weights = np.diff(betainc((count + 1) / 2, (count + 1) / 2, np.arange(count + 1) / count))
    ordered = np.sort(np.asarray(values, np.float64))
    return float(np.sqrt(max(weights @ ordered**2 - (weights @ ordered) ** 2, 0.0)))


def bootstrap_error(statistic: Callable[[np.ndarray], float], count: int, rounds: int = 100) -> float | None:
    """Compute the standard error of any statistic of independent clips by the bootstrap (Efron, 1979).

    Args:
        statistic: maps (count,) int, how often each clip is in a resample, to its value.
        count: number of clips.
        rounds: number of resamples, the same ones every time.

    Returns:
        The standard deviation over the resamples; None for fewer than two clips.
    """
    if count < 2:
        return None
    rng = np.random.default_rng(0)
    resamples = rng.multinomial(count, np.full(count, 1 / count), size=rounds)
    return float(np.std([statistic(weights) for weights in resamples], ddof=1))


def shared_clip_error(values: np.ndarray, clips: Sequence[Sequence[int]]) -> float | None:
    """Compute the standard error of a mean over mixtures, of which those that share a clip depend on each other.

    The products of the deviations of all pairs of mixtures that share a clip are summed up, those of a mixture with
    itself included (Aronow, Samii & Assenova, 2015, "Cluster-robust variance estimation for dyadic data").

    Args:
        values: (M,) float, of the mixtures.
        clips: the clips of each mixture, ints.

    Returns:
        The error, at least that of independent mixtures where the sum is below it; None for fewer than two mixtures.
    """
    if len(values) < 2:
        return None
    row = np.repeat(np.arange(len(clips)), [len(one) for one in clips])
    _, column = np.unique([clip for one in clips for clip in one], return_inverse=True)
    has_clip = csr_array((np.ones(len(row)), (row, column)), (len(values), column.max() + 1))
    shared = has_clip @ has_clip.T
    shared.data[:] = 1
    deviations = values - values.mean()
    variance = max(deviations @ (shared @ deviations), deviations @ deviations)
    return float(np.sqrt(variance / (len(values) * (len(values) - 1))))


def pair_mean_error(
    positives: np.ndarray, negatives: np.ndarray, group_sizes: Sequence[int] | None = None
) -> float | None:
    """Compute the standard error of mean(positives) + mean(negatives), values of the pairs of frames and sounds.

    A clip takes part in its positive and in many negatives, by its frame and by its sound. What it adds to the sum is
    the unit that varies: the deviation of its positive, of the mean over its frame's negatives and of the mean over its
    sound's (Hájek projection; for the AUC, DeLong et al., 1988, with the clips as clusters).

    Args:
        positives: (P,) float, of the pairs of each clip.
        negatives: (N,) float, of the pairs of different clips.
        group_sizes: clips of each group in which all frames are paired with all sounds, in the order of `positives`;
            negatives of a group are in the order of a matrix of frames and sounds without its diagonal. None: all
            pairs are independent.

    Returns:
        The error; None for fewer than two positives or negatives.
    """
    if min(len(positives), len(negatives)) < 2:
        return None
    if group_sizes is None:
        return float(np.hypot(*(np.std(one, ddof=1) / len(one) ** 0.5 for one in (positives, negatives))))
    parts = positives - positives.mean()
    negative_mean, clip, pair = negatives.mean(), 0, 0
    for size in group_sizes:
        deviations = np.zeros((size, size))
        others = ~np.eye(size, dtype=bool)
        deviations[others] = negatives[pair : pair + size * (size - 1)] - negative_mean
        sums = deviations.sum(0) + deviations.sum(1)
        parts[clip : clip + size] += sums / max(size - 1, 1)
        clip, pair = clip + size, pair + size * (size - 1)
    return float(np.sqrt((parts**2).sum() / (len(parts) * (len(parts) - 1))))
